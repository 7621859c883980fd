//! A small experiment for tests, made in this process on the engine that does nothing.

use crate::blocks::block_seed;
use crate::names::steps;
use crate::note::{Note, Planned};
use crate::overhead::Overhead;
use crate::plan::{RunPlan, Step};
use crate::worker::carry_out;
use nori_workloads::{Overrides, Workload};
use std::collections::BTreeMap;
use std::path::Path;

const TARGETS: [&str; 2] = ["noop", "noop+cache=<none>"];

/// A note without runs.
pub(crate) fn note() -> Note {
    Note {
        schema: "norikv.experiment-result/1".into(),
        name: "small".into(),
        started_at: "2026-01-01T00:00:00Z".into(),
        argv: vec!["norikv-bench".into()],
        seed: 1,
        blocks: 1,
        targets: TARGETS.map(str::to_owned).into(),
        baseline: TARGETS[0].into(),
        offered: BTreeMap::new(),
        apart: None,
        harness: Overhead { per_op_ns: 100.0, in_service_ns: 40.0 },
        runs: Vec::new(),
    }
}

/// The phases of a workload file on an engine.
pub(crate) fn plan_of(dir: &Path, engine: &str, workload: &str) -> RunPlan {
    let workload = Workload::parse("w.toml", workload).unwrap();
    let step = |phase| Step { label: workload.name.clone(), workload: workload.clone(), phase };
    RunPlan {
        engine: engine.into(),
        target: engine.into(),
        steps: (0..workload.phases.len()).map(step).collect(),
        ..small_plan(dir, 1, 1, engine)
    }
}

/// A load and YCSB A.
pub(crate) fn small_plan(dir: &Path, block: u32, position: u32, target: &str) -> RunPlan {
    let overrides = Overrides {
        records: Some(20_000),
        value_bytes: Some(100),
        ops: Some(50_000),
        ..Overrides::default()
    };
    let mut suite = steps("ycsb", &overrides).unwrap();
    suite.truncate(2);
    let run_id = format!("{block}-run-{position}");
    RunPlan {
        experiment: "small".into(),
        block,
        position,
        target: target.into(),
        engine: "noop".into(),
        choices: Vec::new(),
        memory_bytes: 1 << 20,
        durability: "os".into(),
        seed: block_seed(1, block),
        steps: suite,
        offered: BTreeMap::new(),
        is_reference: false,
        dir: dir.join("runs").join(&run_id),
        data_dir: dir.join("data").join(&run_id),
        keeps_store: false,
        argv: vec!["norikv-bench".into()],
        run_id,
    }
}

/// Runs a load and YCSB A for two targets, `blocks` times, and leaves the runs in `dir`.
pub(crate) fn small_experiment(dir: &Path, blocks: u32) {
    let mut note = note();
    note.blocks = blocks;
    for block in 1..=blocks {
        for (position, target) in (1..).zip(TARGETS) {
            let plan = small_plan(dir, block, position, target);
            carry_out(&plan, &mut |_| {}).unwrap();
            note.runs.push(Planned::of(&plan));
        }
    }
    note.write(dir).unwrap();
}
