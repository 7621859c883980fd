//! The quick experiment: our engine against its peers, then our server as three nodes under each protocol, in under three minutes.
//!
//! Engines run the whole suite of YCSB, one client each; clusters a load of their own, for what they do has other bounds. The two are shown apart: no number
//! of one compares with the other's.

use super::{MEMORY_DEFAULT, SEED_DEFAULT, carry_out};
use crate::experiment::{Apart, Experiment};
use crate::names::{self, baseline, parse_bytes, parse_number, steps, targets, usage};
use crate::registry::{Entry, engines};
use crate::remote;
use anyhow::Result;
use clap::Args;
use nori_kv::Durability;
use nori_workloads::{Overrides, Span};
use norikv_parts::Role;
use std::path::PathBuf;
use std::time::Duration;

/// Records of the quick experiment: enough that a 16 MiB budget is exceeded many times over, and that loading takes
/// the quickest engine about three seconds.
const RECORDS: u64 = 1_800_000;
const VALUE_BYTES: u64 = 100;
const PHASE: Duration = Duration::from_secs(3);
/// Loading is measured for so long; what an engine has not loaded by then it loads in batches. One that commits in
/// 100 microseconds would take three minutes on its own.
const LOAD: Duration = Duration::from_secs(6);
/// Clusters of the quick experiment have a load of their own: what they do is bounded by round trips between processes, not by memory.
const CLUSTER_RECORDS: u64 = 20_000;
/// Clients of a cluster: fewer leave it idle while they wait.
const CLUSTER_CLIENTS: u32 = 16;
const CLUSTER_LOAD: Duration = Duration::from_secs(2);
/// The load, a phase with writes and one without.
const CLUSTER_PHASES: [&str; 3] = [names::SUITE, "ycsb-a", "ycsb-c"];

#[derive(Args)]
pub(super) struct QuickArgs {
    /// Records loaded; into clusters 20,000 at most
    #[arg(long, value_parser = parse_number, allow_negative_numbers = true, default_value_t = RECORDS)]
    records: u64,
    /// Length of each phase but the load, as in 500ms or 3s
    #[arg(long, default_value_t = Span(PHASE))]
    duration: Span,
    /// Where the results go
    #[arg(long, default_value = "results/quick")]
    out: PathBuf,
    /// Print the rows of the summary as JSON and nothing else
    #[arg(long)]
    json: bool,
}

impl Default for QuickArgs {
    fn default() -> Self {
        let (records, duration) = (RECORDS, Span(PHASE));
        Self { records, duration, out: "results/quick".into(), json: false }
    }
}

/// Engines of the quick experiment: ours, and peers with matched settings. Not sled, whose writes of class `os` need a
/// flush each: the others would wait for it.
fn racing() -> Vec<String> {
    let is_quick = |e: &Entry| matches!(e.role, Role::Ours | Role::Matched) && e.name != "sled";
    let racing = engines().into_iter().filter(is_quick);
    racing.map(|entry| entry.name.to_owned()).collect()
}

pub(super) fn quick(args: &QuickArgs) -> Result<()> {
    let overrides = Overrides {
        records: Some(args.records),
        value_bytes: Some(VALUE_BYTES),
        threads: Some(1),
        ops: None,
        duration: Some(args.duration),
        load_duration: Some(Span(LOAD)),
        load: None,
    };
    let memory_bytes = parse_bytes(MEMORY_DEFAULT).map_err(usage)?;
    let targets = targets(&racing(), &[], memory_bytes)?;
    let experiment = Experiment {
        name: "quick".into(),
        dir: args.out.clone(),
        references: Vec::new(),
        baseline: baseline(None, &targets)?,
        targets,
        steps: steps(names::SUITE, &overrides)?,
        memory_bytes,
        durability: Durability::Os.to_string(),
        seed: SEED_DEFAULT,
        blocks: 1,
        is_resumed: false,
        keeps_stores: false,
        apart: Some(clusters(args, memory_bytes)?),
    };
    carry_out(&experiment, args.json)
}

/// The clusters of the quick experiment: our server under each protocol.
fn clusters(args: &QuickArgs, memory_bytes: u64) -> Result<Apart> {
    let overrides = Overrides {
        records: Some(args.records.min(CLUSTER_RECORDS)),
        value_bytes: Some(VALUE_BYTES),
        threads: Some(CLUSTER_CLIENTS),
        duration: Some(args.duration),
        load_duration: Some(Span(CLUSTER_LOAD)),
        ..Overrides::default()
    };
    let mut steps = steps(names::SUITE, &overrides)?;
    steps.retain(|step| CLUSTER_PHASES.contains(&step.label.as_str()));
    for step in &mut steps {
        step.label = format!("cluster-{}", step.label);
    }
    let targets = targets(&remote::ours(), &[], memory_bytes)?;
    Ok(Apart { title: "three nodes on this machine".into(), targets, steps })
}
