//! A small experiment for tests, made in this process on the engine that does nothing.

use crate::experiment::{Note, Planned};
use crate::names::steps;
use crate::overhead::Overhead;
use crate::plan::RunPlan;
use crate::worker::carry_out;
use nori_workloads::Overrides;
use std::path::Path;

/// Runs a load and YCSB A for two targets and leaves the runs in `dir`.
pub(crate) fn small_experiment(dir: &Path) {
    let overrides = Overrides {
        records: Some(20_000),
        value_bytes: Some(100),
        ops: Some(50_000),
        ..Overrides::default()
    };
    let mut suite = steps("ycsb", &overrides).unwrap();
    suite.truncate(2);
    let mut runs = Vec::new();
    for (position, target) in (1..).zip(["noop", "noop+cache=<none>"]) {
        let run_id = format!("1-run-{position}");
        runs.push(Planned { run_id: run_id.clone(), target: target.into(), phases: suite.len() });
        let plan = RunPlan {
            run_id: run_id.clone(),
            experiment: "small".into(),
            block: 1,
            position,
            target: target.into(),
            engine: "noop".into(),
            choices: Vec::new(),
            memory_bytes: 1 << 20,
            durability: "os".into(),
            seed: 1,
            steps: suite.clone(),
            dir: dir.join("runs").join(&run_id),
            data_dir: dir.join("data").join(&run_id),
            argv: vec!["norikv-bench".into()],
        };
        carry_out(&plan, &mut |_| {}).unwrap();
    }
    let note = Note {
        schema: "norikv.experiment-result/1".into(),
        name: "small".into(),
        started_at: "2026-01-01T00:00:00Z".into(),
        argv: vec!["norikv-bench".into()],
        seed: 1,
        harness: Overhead { per_op_ns: 100.0, in_service_ns: 40.0 },
        runs,
    };
    note.write(dir).unwrap();
}
