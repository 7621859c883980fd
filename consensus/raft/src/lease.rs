//! When a leader may answer without asking.
//!
//! **By quorum.** A majority that answered a round sent at `s` (the leader's clock) votes for nobody before an election's time has passed on each of
//! their clocks. So until `s + lease` on the leader's clock nobody else leads, with
//! `lease = 0.9 * election_min - drift`, where `drift` is what two clocks may differ by in an election's time.
//! It counts from sending, never from hearing.
//!
//! **By log** (LeaseGuard). The newest entry of its own that is committed was appended at `c` on the leader's clock. Whoever leads after it has
//! that entry, got it no earlier, and commits nothing until an election's time has passed since on its own clock. So until
//! `c + lease` nothing is committed but by this leader. What comes of a transfer or a vote does not matter.

use nori_consensus::{Instant, Settings};
use std::time::Duration;

/// How long a lease lasts from the moment its round was sent.
pub(crate) fn lease_time(settings: &Settings) -> Duration {
    let election = settings.election_min;
    let drift = election * settings.drift_ppm / 1_000_000 * 2;
    (election * 9 / 10).saturating_sub(drift)
}

/// A leader's lease.
#[derive(Debug, Default)]
pub(crate) struct Lease {
    /// It ends here.
    until: Option<Instant>,
    /// For the rest of the term there is none: somebody was told to campaign, and may do so at any time.
    is_void: bool,
}

impl Lease {
    /// It rests on what was so at `since`: a round that a quorum answered was sent, or an entry that is committed was appended.
    pub(crate) fn renew(&mut self, since: Instant, settings: &Settings) {
        self.until = self.until.max(Some(since.after(lease_time(settings))));
    }

    /// There is none any more in this term.
    pub(crate) fn void(&mut self) {
        self.is_void = true;
    }

    /// There is none until the next round.
    pub(crate) fn lapse(&mut self) {
        self.until = None;
    }

    /// Until when it holds, if it holds `now`.
    pub(crate) fn holds(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| !self.is_void && now < *until)
    }
}
