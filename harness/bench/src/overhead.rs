//! What the harness itself costs for an operation, measured on the engine that does nothing.

use crate::drive::{PhaseJob, run_phase};
use anyhow::Result;
use nori_kv::{Durability, Parts};
use nori_workloads::{Ledger, Overrides, Span, built_in};
use norikv_parts::{EngineRequest, MEMORY_BYTES_MIN, engine};
use serde::{Deserialize, Serialize};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const PROBE: Duration = Duration::from_millis(400);

/// Nanoseconds for one operation of YCSB A with 100-byte values and one client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Overhead {
    /// From one operation to the next: making key and value, taking times, recording.
    pub(crate) per_op_ns: f64,
    /// What of it lies between the two times and so is part of every service time.
    pub(crate) in_service_ns: f64,
}

/// What the harness costs.
pub(crate) fn measure(seed: u64) -> Result<Overhead> {
    Ok(probe(seed)?.0)
}

/// What the harness costs, and of how many operations that is the mean.
pub(crate) fn probe(seed: u64) -> Result<(Overhead, u64)> {
    let overrides = Overrides {
        records: Some(1_000_000),
        value_bytes: Some(100),
        threads: Some(1),
        ops: None,
        duration: Some(Span(PROBE)),
        load_duration: None,
        load: None,
    };
    let file = built_in("ycsb-a").expect("YCSB A is built in");
    let workload = file.workload()?.with(&overrides)?;
    let factory =
        engine("noop")?.build(&EngineRequest { memory_bytes: MEMORY_BYTES_MIN, choices: &[] })?;
    let engine = factory.open(Path::new(""), Parts::os(1)?)?;
    let job = PhaseJob {
        engine: &engine,
        tasks: None,
        workload: &workload,
        phase: 1,
        seed,
        number: 1,
        durability: Durability::None,
        ledger: Arc::new(Ledger::new(workload.keys.records, 1)),
        checks: false,
        rate: None,
    };
    let outcome = run_phase(&job, &mut |_| {})?;
    let ops = outcome.counts.ops_total().max(1);
    let overhead = Overhead {
        per_op_ns: outcome.seconds * 1e9 / ops as f64,
        in_service_ns: outcome.latencies.total().mean(),
    };
    Ok((overhead, ops))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_probe_measures_something_and_its_service_time_is_part_of_it() {
        let overhead = measure(1).unwrap();
        assert!(overhead.per_op_ns > 1.0 && overhead.per_op_ns < 100_000.0, "{overhead:?}");
        assert!(overhead.in_service_ns < overhead.per_op_ns, "{overhead:?}");
    }
}
