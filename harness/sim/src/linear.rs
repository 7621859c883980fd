//! Whether a history of one key could be that of one register, by the crate `porcupine-rs` (the algorithm of Horn and Kroening, "Faster linearizability checking via P-compositionality", FORTE
//! 2015).

use crate::history::{Asked, Operation, Seen};
use porcupine_rs::{CheckResult, Model, check_operations_timeout};
use std::time::Duration;

/// A history of one key that takes longer is too long to be told.
const PATIENCE: Duration = Duration::from_secs(60);

/// A register: the number of its value, if it has one, and whether that goes by itself. When it has gone only a request shows that finds it gone, and then it has for ever: every
/// order in which it went earlier allows the same.
#[derive(Clone)]
struct Register;

impl Model for Register {
    type State = (Option<u64>, bool);
    type Op = (Asked, Seen);
    type Metadata = ();

    fn init() -> Self::State {
        (None, false)
    }

    fn step(state: &Self::State, (asked, seen): &Self::Op) -> (bool, Self::State) {
        let (value, goes) = state;
        let put = |value: u64| Some((Some(value), false));
        let next = match (asked, seen) {
            (Asked::Get, Seen::Row(row)) if row == value => Some(*state),
            (Asked::Get, Seen::Row(None)) if *goes => Some((None, false)),
            (Asked::Put(value), Seen::Done | Seen::Unknown) => put(*value),
            (Asked::PutUntil(value), Seen::Done | Seen::Unknown) => Some((Some(*value), true)),
            (Asked::Delete, Seen::Done | Seen::Unknown) => Some((None, false)),
            (Asked::PutIf(new, expected), Seen::Done) => {
                let holds = expected == value || (*goes && expected.is_none());
                if holds { put(*new) } else { None }
            }
            (Asked::PutIf(_, expected), Seen::Mismatch) if expected != value => Some(*state),
            (Asked::PutIf(_, Some(_)), Seen::Mismatch) if *goes => Some((None, false)),
            // It may have been done or not; if its condition did not hold, it was not.
            (Asked::PutIf(new, expected), Seen::Unknown) => {
                let may_hold = expected == value || (*goes && expected.is_none());
                if may_hold { put(*new) } else { Some(*state) }
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
