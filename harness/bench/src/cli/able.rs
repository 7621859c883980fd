//! Whether the engines that are named can do what the command line asks of them, before anything is started.

use crate::names::{Target, usage};
use crate::out;
use crate::plan::Step;
use crate::registry::{Entry, engine, engines};
use anyhow::Result;
use nori_kv::{Durability, Feature};
use nori_workloads::Mix;
use norikv_parts::{EngineRequest, Role};

/// Whether every engine that is named has files to keep.
pub(super) fn check_kept(names: &[String]) -> Result<()> {
    let of_name = |entry: &Entry| names.contains(&entry.name.to_owned());
    let has_none = |entry: &Entry| matches!(entry.role, Role::Oracle | Role::Probe);
    match engines().iter().find(|entry| of_name(entry) && has_none(entry)) {
        Some(entry) => {
            Err(usage(format!("--keep: {} has no files that could be kept", entry.name)))
        }
        None => Ok(()),
    }
}

/// What the phases ask of an engine beyond single reads, writes and scans, and the operation that does.
pub(super) fn needs(steps: &[Step]) -> Vec<(Feature, &'static str)> {
    let any = |share: fn(&Mix) -> f64| {
        steps.iter().any(|step| share(&step.workload.phases[step.phase].mix) > 0.0)
    };
    let needs = [
        (Feature::RangeDeletes, "delete_range", any(|mix| mix.delete_range)),
        (Feature::Batches, "batch", any(|mix| mix.batch)),
    ];
    needs.into_iter().filter(|need| need.2).map(|(feature, op, _)| (feature, op)).collect()
}

/// The targets that can do `durability` and what the workload `needs`. One that cannot is left out of `all` with a note, and refused where it
/// was named: all targets of an experiment have the same class, or their numbers could not be compared.
pub(super) fn offering(
    targets: Vec<Target>,
    durability: Durability,
    needs: &[(Feature, &str)],
    memory_bytes: u64,
    is_all: bool,
) -> Result<Vec<Target>> {
    let mut able = Vec::new();
    for target in targets {
        let request = EngineRequest { memory_bytes, choices: &target.choices };
        let capabilities = engine(&target.engine)?.build(&request)?.capabilities();
        if let Some((_, op)) = needs.iter().find(|(feature, _)| !capabilities.has(*feature)) {
            let what = format!("{} cannot do the operation `{op}` of this workload", target.engine);
            if !is_all {
                return Err(usage(what));
            }
            out::error(&format!("{what}: left out"));
            continue;
        }
        if capabilities.offers(durability) {
            able.push(target);
            continue;
        }
        let what = format!("{} does not offer durability `{durability}`", target.engine);
        if !is_all {
            let offered: Vec<String> =
                capabilities.durabilities().iter().map(|class| format!("`{class}`")).collect();
            let first = capabilities.durabilities().first();
            let give =
                first.map_or(String::new(), |class| format!("; give `--durability {class}`"));
            return Err(usage(format!("{what}, only {}{give}", offered.join(", "))));
        }
        out::error(&format!("{what}: left out"));
    }
    Ok(able)
}
