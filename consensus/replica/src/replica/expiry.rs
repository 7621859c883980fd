//! When the shard's time goes on: by entries that the leader proposes once something is due.
//!
//! Due are rows that expire, identities that have been remembered for long enough, or that are too many. Before a write with an identity the time is
//! brought up as well, if it is far behind: the identity's stamp would else be of long ago, and the next expiry take it away at once.

use super::{Open, Replica};
use crate::command::Command;
use crate::request::Now;
use nori_consensus::{Input, Instant, Role, Term};
use nori_kv::Tick;
use std::time::Duration;

/// The time may be behind by this part of the window when something is remembered.
const BEHIND: u32 = 8;
/// After an entry that expires failed, the next one is proposed so much later.
const PAUSE: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Expiry {
    /// An entry is under way, which was proposed in this term.
    under_way: Option<Term>,
    /// Nothing is proposed before.
    not_before: Instant,
    /// When something is due, as of the last look.
    due: Option<Instant>,
}

impl Expiry {
    /// The entry that was under way is applied: the next one may follow at once.
    pub(super) fn succeed(&mut self) {
        (self.under_way, self.not_before) = (None, Instant::default());
    }

    /// Nothing came of it.
    pub(super) fn fail(&mut self) {
        self.under_way = None;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due.filter(|_| self.under_way.is_none()).map(|due| due.max(self.not_before))
    }
}

impl Replica {
    /// Proposes that the time go on, if this leads and something is due. Whether it did.
    pub(super) fn expire(&mut self, now: Now) -> bool {
        self.expiry.due = None;
        let status = self.consensus.status();
        // What was proposed in another term may never be heard of again.
        self.expiry.under_way.take_if(|term| *term != status.term);
        if self.expiry.under_way.is_some() || status.role != Role::Leader {
            return false;
        }
        let Some(due) = self.due(now.wall) else { return false };
        if due > now.wall {
            let wait = Duration::from_millis(due.0 - now.wall.0);
            self.expiry.due = Some(now.steady.after(wait));
            return false;
        }
        if now.steady < self.expiry.not_before {
            self.expiry.due = Some(now.steady);
            return false;
        }
        self.propose_expiry(now);
        true
    }

    /// Brings the shard's time up before something is remembered, if it is far behind.
    pub(super) fn catch_up(&mut self, now: Now) {
        let behind_max = self.settings.identity_window / BEHIND;
        let Some(machine) = &self.machine else { return };
        let behind = Duration::from_millis(now.wall.0.saturating_sub(machine.time().0));
        if self.expiry.under_way.is_none() && behind > behind_max {
            self.propose_expiry(now);
        }
    }

    fn propose_expiry(&mut self, now: Now) {
        let Some(floor) = self.floor(now.wall) else { return };
        self.expiry.under_way = Some(self.consensus.status().term);
        self.expiry.not_before = now.steady.after(PAUSE);
        let payload = Command::Expire { upto: now.wall, floor }.encode();
        let ticket = self.open_ticket(Open::Expire);
        self.consensus.step(now.steady, Input::Proposed { ticket, payload });
    }

    /// When the next entry that expires is due; the present if it is overdue.
    fn due(&self, wall: Tick) -> Option<Tick> {
        let machine = self.machine.as_ref()?;
        let identities = machine.identities();
        if identities.len() > self.settings.identities_max {
            return Some(wall);
        }
        let window = self.window();
        let oldest = identities.stamp(0).map(|stamp| Tick(stamp.0.saturating_add(window)));
        [machine.next_expiry(), oldest].into_iter().flatten().min()
    }

    /// Up to where identities are to be forgotten.
    fn floor(&self, wall: Tick) -> Option<Tick> {
        let identities = self.machine.as_ref()?.identities();
        let old = Tick(wall.0.saturating_sub(self.window()));
        let surplus = identities.len().checked_sub(self.settings.identities_max + 1);
        let many = surplus.and_then(|n| identities.stamp(n)).unwrap_or_default();
        Some(old.max(many))
    }

    /// How long identities are remembered, in milliseconds.
    fn window(&self) -> u64 {
        u64::try_from(self.settings.identity_window.as_millis()).unwrap_or(u64::MAX)
    }
}
