//! Whether a history of one key could be that of one register, by the crate `porcupine-rs` (the algorithm of Horn and Kroening, "Faster linearizability checking via P-compositionality", FORTE
//! 2015).

use crate::history::{Asked, Operation, Seen};
use porcupine_rs::{CheckResult, Model, check_operations_timeout};
use std::time::Duration;

/// A history of one key that takes longer is too long to be told.
const PATIENCE: Duration = Duration::from_secs(60);

/// A register: the number of its value, if it has one.
#[derive(Clone)]
struct Register;

impl Model for Register {
    type State = Option<u64>;
    type Op = (Asked, Seen);
    type Metadata = ();

    fn init() -> Self::State {
        None
    }

    fn step(state: &Self::State, (asked, seen): &Self::Op) -> (bool, Self::State) {
        let next = match (asked, seen) {
            (Asked::Get, Seen::Row(row)) => (row == state).then_some(*state),
            (Asked::Put(value), Seen::Done | Seen::Unknown) => Some(Some(*value)),
            (Asked::Delete, Seen::Done | Seen::Unknown) => Some(None),
            (Asked::PutIf(value, expected), Seen::Done) => {
                (expected == state).then_some(Some(*value))
            }
            (Asked::PutIf(_, expected), Seen::Mismatch) => (expected != state).then_some(*state),
            // It may have been done or not; if its condition did not hold, it was not.
            (Asked::PutIf(value, expected), Seen::Unknown) => {
                Some(if expected == state { Some(*value) } else { *state })
            }
            _ => None,
        };
        (next.is_some(), next.unwrap_or(*state))
    }
}

/// Whether it could.
pub(crate) fn is_linearizable(operations: &[Operation]) -> bool {
    let time = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
    let history: Vec<porcupine_rs::Operation<Register>> = operations
        .iter()
        .map(|of| porcupine_rs::Operation {
            client_id: Some(of.client),
            call_time: time(of.call),
            return_time: time(of.end),
            op: (of.asked.clone(), of.seen.clone()),
            metadata: None,
        })
        .collect();
    check_operations_timeout::<Register>(&history, PATIENCE) == CheckResult::Ok
}
