//! Reads that wait: for an entry of the leader's term to commit, then for a round that began after they were asked for.
//!
//! One round at a time is under way for reads; what comes meanwhile shares the next (Ongaro, section 6.4).

use crate::message::Round;
use nori_consensus::{Index, Ticket};

#[derive(Debug, Default)]
pub(crate) struct Reads {
    /// No round has begun since they came.
    pub(crate) waiting: Vec<Ticket>,
    /// Those of the round under way, and what was committed when it began.
    asked: Option<(Round, Index, Vec<Ticket>)>,
}

impl Reads {
    pub(crate) fn count(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |(_, _, tickets)| tickets.len())
    }

    /// Whether a round should begin.
    pub(crate) fn want_round(&self) -> bool {
        self.asked.is_none() && !self.waiting.is_empty()
    }

    /// `round` begins, with `commit` committed.
    pub(crate) fn ask(&mut self, round: Round, commit: Index) {
        debug_assert!(self.asked.is_none());
        self.asked = Some((round, commit, std::mem::take(&mut self.waiting)));
    }

    /// A quorum has answered `round`: what is ready by it.
    pub(crate) fn answered(&mut self, round: Round) -> Option<(Index, Vec<Ticket>)> {
        let (_, commit, tickets) = self.asked.take_if(|(of, ..)| *of <= round)?;
        Some((commit, tickets))
    }

    /// All of them; the office is lost.
    pub(crate) fn take(&mut self) -> Vec<Ticket> {
        let mut all = std::mem::take(&mut self.waiting);
        if let Some((_, _, tickets)) = self.asked.take() {
            all.extend(tickets);
        }
        all
    }
}
