//! The seam itself.

use crate::{Effect, Input, Instant, Status};

/// One replica of one group, as a state machine: inputs in, effects out.
///
/// There is no clock, socket, disk, thread or randomness in it but what `now` and the seed bring. It is stepped on one thread and
/// need not be `Send`.
///
/// # Contract
///
/// The driver steps with a `now` that never goes back, drains after each step or after several, begins the effects in the order in which they were
/// drained, and tells the end of each that has one. Then:
///
/// 1. The same seed and inputs give the same effects, byte for byte.
/// 2. A message that says `after` a write need not be right before that write and all before it are safe; what a replica
///    says in any other is true already.
/// 3. Writes are numbered 1, 2, 3 .., and a later one never brings back what an earlier one replaced: terms and votes
///    of hard states only grow, entries adjoin.
/// 4. What is to be applied is contiguous, is committed, and is safe on this replica.
/// 5. Every ticket ends once. Nothing is dropped in silence.
/// 6. A read is ready only after an entry of the leader's term was committed, and by a check of its leadership that *began after* the request; one
///    that rests on a lease says until when.
/// 7. After a write failed nothing comes out any more but the end of tickets and the change of the role.
/// 8. A timer that fires early changes nothing.
/// 9. Messages that are damaged, late, of another life, of another group or of somebody unknown are ignored or answered; none makes it panic.
pub trait Consensus {
    /// Takes an input.
    fn step(&mut self, now: Instant, input: Input);

    /// Appends to `effects` what came of the steps since the last call.
    fn drain(&mut self, effects: &mut Vec<Effect>);

    /// When it wants a [`TimerFired`](Input::TimerFired). `None`: it sleeps, and only an input wakes it.
    fn deadline(&self) -> Option<Instant>;

    /// What it is now.
    fn status(&self) -> Status;
}
