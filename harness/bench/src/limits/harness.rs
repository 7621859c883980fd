//! What the bench itself costs for an operation, in a closed loop on the engine that does nothing.

use super::job::Job;
use super::row::{Figure, Row, Worth, median};
use super::{Section, physical};
use crate::overhead;
use anyhow::Result;

pub(super) const SECTION: Section = Section {
    name: "harness",
    about: "what the bench itself costs for an operation, which is in every other figure",
    seconds: [4, 4],
    jobs: || vec![String::new()],
    measure,
};

const TRIALS: u32 = 5;
const GOAL_NS: f64 = 150.0;
const FLOOR_NS: f64 = 200.0;

fn measure(job: &mut Job<'_>) -> Result<()> {
    let clock = physical::two_clock_reads(job.count(1_000_000));
    let (mut per_op, mut in_service, mut n) = (Vec::new(), Vec::new(), 0);
    for trial in 0..TRIALS {
        job.at(f64::from(trial) / f64::from(TRIALS), "the engine that does nothing");
        let (cost, ops) = overhead::probe(1 + u64::from(trial))?;
        per_op.push(cost.per_op_ns);
        in_service.push(cost.in_service_ns);
        n += ops;
    }
    let figure = |what: &str, values| Figure {
        trials: TRIALS,
        ..Figure::new(what, median(values), "ns", n)
    };
    let per_op =
        Row::new(figure("from one operation to the next", per_op), std::slice::from_ref(&clock));
    job.found(per_op.at_most(Worth::Goal, GOAL_NS).at_most(Worth::Floor, FLOOR_NS));
    job.found(Row::new(figure("of it in every service time", in_service), &[clock]));
    Ok(())
}
