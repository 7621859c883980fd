//! Which runs an experiment has, and in which order: randomised complete blocks.
//!
//! A block is every target once. Its seed draws two things: the operations, which are the same for all its targets, and
//! their order, so that what drifts with time (a warm disk, a busy neighbour) falls on each target alike. The
//! first block has the experiment's own seed; later ones have others, so that no result hangs on one stream of
//! operations. With a single block nothing is compared, and targets run in the order in which they were named.

use crate::experiment::Experiment;
use crate::names::Target;
use crate::plan::{RunPlan, Step, file_name};
use anyhow::Result;
use nori_workloads::Rng;
use std::collections::BTreeMap;

/// The stream of random numbers that orders are drawn from; clients have low numbers.
const ORDER_STREAM: u64 = u64::MAX;

/// The plans of all runs, in the order in which they are to be carried out.
pub(crate) fn plans(experiment: &Experiment, argv: &[String]) -> Result<Vec<RunPlan>> {
    let mut plans = Vec::new();
    for block in 1..=experiment.blocks {
        let seed = block_seed(experiment.seed, block);
        let mut order: Vec<(&Target, &[Step])> = experiment.races().collect();
        if experiment.blocks > 1 {
            shuffle(&mut order, &mut Rng::new(seed, ORDER_STREAM));
        }
        for (position, (target, steps)) in (1..).zip(order) {
            plans.push(plan(experiment, target, steps, (block, position), seed, argv)?);
        }
    }
    Ok(plans)
}

/// The plan that measures what steps ask of `target`, in the directory that is removed with the experiment's stores.
pub(crate) fn reference(
    experiment: &Experiment,
    target: &Target,
    argv: &[String],
) -> Result<RunPlan> {
    let plan = plan(experiment, target, &experiment.steps, (1, 0), experiment.seed, argv)?;
    let dir = experiment.dir.join("data").join(format!("reference-{}", plan.run_id));
    let data_dir = dir.join("data");
    Ok(RunPlan { is_reference: true, keeps_store: false, data_dir, dir, ..plan })
}

/// The seed of a block's operations and order.
pub(crate) fn block_seed(seed: u64, block: u32) -> u64 {
    if block == 1 {
        return seed;
    }
    xxhash_rust::xxh3::xxh3_64_with_seed(&block.to_le_bytes(), seed)
}

/// Every order is as likely as any other (Fisher and Yates).
fn shuffle<T>(items: &mut [T], rng: &mut Rng) {
    for left in (2..=items.len()).rev() {
        items.swap(left - 1, rng.below(left as u64) as usize);
    }
}

fn plan(
    experiment: &Experiment,
    target: &Target,
    steps: &[Step],
    (block, position): (u32, u32),
    seed: u64,
    argv: &[String],
) -> Result<RunPlan> {
    let name = target.name();
    let identity =
        serde_json::to_vec(&(&name, steps, experiment.memory_bytes, &experiment.durability, seed))?;
    let hash = xxhash_rust::xxh3::xxh3_64(&identity) >> 32;
    let run_id = format!("{block}-{}-{}-{hash:08x}", file_name(&name), experiment.name);
    let dir = experiment.dir.join("runs").join(&run_id);
    let keeps_store = experiment.keeps_stores;
    let data_dir = match keeps_store {
        true => dir.clone(),
        false => experiment.dir.join("data").join(&run_id),
    };
    Ok(RunPlan {
        experiment: experiment.name.clone(),
        block,
        position,
        target: name,
        engine: target.engine.clone(),
        choices: target.choices.clone(),
        memory_bytes: experiment.memory_bytes,
        durability: experiment.durability.clone(),
        seed,
        steps: steps.to_vec(),
        offered: BTreeMap::new(),
        is_reference: false,
        dir,
        data_dir,
        keeps_store,
        argv: argv.to_vec(),
        run_id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn experiment(blocks: u32, seed: u64) -> Experiment {
        let target =
            |engine: &str| Target { engine: engine.into(), choices: Vec::new(), label: None };
        Experiment {
            name: "x".into(),
            dir: "out".into(),
            targets: ["a", "b", "c"].map(target).into(),
            steps: Vec::new(),
            memory_bytes: 1 << 20,
            durability: "os".into(),
            seed,
            blocks,
            references: Vec::new(),
            baseline: "a".into(),
            is_resumed: false,
            keeps_stores: false,
            apart: None,
        }
    }

    fn planned(blocks: u32, seed: u64) -> Vec<RunPlan> {
        plans(&experiment(blocks, seed), &[]).unwrap()
    }

    fn order(block: &[RunPlan]) -> String {
        block.iter().map(|plan| plan.target.as_str()).collect()
    }

    #[test]
    fn a_block_is_every_target_once_with_one_seed() {
        let plans = planned(8, 42);
        assert_eq!(plans.len(), 24);
        for (number, block) in (1..).zip(plans.chunks(3)) {
            let targets: BTreeSet<&str> = block.iter().map(|plan| plan.target.as_str()).collect();
            assert_eq!(targets.len(), 3);
            let places: Vec<(u32, u32)> = block.iter().map(|p| (p.block, p.position)).collect();
            assert_eq!(places, [(number, 1), (number, 2), (number, 3)]);
            assert!(block.iter().all(|plan| plan.seed == block[0].seed));
        }
        let distinct =
            |of: fn(&RunPlan) -> String| plans.iter().map(of).collect::<BTreeSet<_>>().len();
        assert_eq!(distinct(|plan| plan.seed.to_string()), 8, "each block has a seed of its own");
        assert_eq!(distinct(|plan| plan.run_id.clone()), 24);
        assert_eq!(plans[0].seed, 42);
    }

    #[test]
    fn orders_are_drawn_and_hang_on_the_seed_alone() {
        let orders = |seed| planned(20, seed).chunks(3).map(order).collect::<Vec<_>>();
        assert_eq!(orders(42), orders(42));
        assert_ne!(orders(42), orders(43));
        let seen: BTreeSet<String> = (0..20).flat_map(orders).collect();
        assert_eq!(seen.len(), 6, "all orders of three occur: {seen:?}");
        assert_eq!(order(&planned(1, 43)), "abc", "a single block is in the order of its names");
    }
}
