//! What the report says of how peers were set: only what their manifests bear out.

use crate::plot::bytes;
use crate::registry::engines;
use crate::stored::{Stored, StoredRun};
use norikv_parts::Role;

/// What the name of a peer's shipped row ends with.
const SHIPPED: &str = ":default";
/// The setting of an engine that was given a budget.
const BUDGET: &str = "cache_bytes";

/// Sentences about memory and settings; none where no peer ran.
pub(super) fn sentences(stored: &Stored) -> Vec<String> {
    let named = |is_meant: &dyn Fn(&StoredRun) -> bool| {
        let is_of = |target: &String| {
            let mut runs = stored.runs.iter();
            runs.any(|run| run.manifest.engine.target == *target && is_meant(run))
        };
        stored.targets().into_iter().filter(is_of).collect::<Vec<String>>()
    };
    let matched = named(&is_matched);
    let shipped = named(&is_shipped);
    let alone = named(&|run| is_matched(run) && !has_budget(run));
    let budgeted = named(&|run| (is_matched(run) || is_ours(run)) && has_budget(run));
    let mut all = Vec::new();
    let of_budgeted =
        stored.runs.iter().filter(|run| budgeted.contains(&run.manifest.engine.target));
    let mut budgets: Vec<u64> = of_budgeted.map(|run| run.manifest.engine.memory_bytes).collect();
    budgets.dedup();
    if let ([budget], [_, _, ..]) = (&*budgets, &*budgeted)
        && !matched.is_empty()
    {
        let (who, budget) = (budgeted.join(", "), bytes(*budget));
        all.push(format!("The same memory budget, {budget}, was given to {who}."));
    }
    if !alone.is_empty() {
        let who = alone.join(", ");
        all.push(format!("Without a memory budget, with all of the page cache: {who}."));
    }
    if !matched.is_empty() {
        let who = matched.join(", ");
        all.push(format!(
            "Set to match what ours is by default, and not as tuned by their authors: {who}. They compress nothing, and \
             have our filters where they have any."
        ));
    }
    let clusters = named(&|run| role(run) == Some(Role::Cluster));
    if !clusters.is_empty() {
        let who = clusters.join(", ");
        all.push(format!(
            "Clients and all nodes share this machine, its disk among them, and packets go through memory: of {who} ratios in one \
             run mean something, absolute numbers little, and neither compares with an engine in the client's own process."
        ));
    }
    if !shipped.is_empty() {
        let who = shipped.join(", ");
        all.push(format!("As shipped, with memory, filters and compression of their own: {who}."));
    }
    all
}

/// The role of the run's engine; `None` for one that is not built in here.
fn role(run: &StoredRun) -> Option<Role> {
    let entry = engines().into_iter().find(|entry| entry.name == run.manifest.engine.name);
    entry.map(|entry| entry.role)
}

fn is_ours(run: &StoredRun) -> bool {
    role(run) == Some(Role::Ours)
}

fn is_shipped(run: &StoredRun) -> bool {
    run.manifest.engine.name.ends_with(SHIPPED)
}

fn is_matched(run: &StoredRun) -> bool {
    !is_shipped(run) && matches!(role(run), None | Some(Role::Matched))
}

/// Whether the engine says how much of the memory it was given its cache has.
fn has_budget(run: &StoredRun) -> bool {
    let settings = &run.manifest.engine.settings;
    settings.iter().any(|(name, value)| name == BUDGET && value.parse::<u64>().is_ok())
}
