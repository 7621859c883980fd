//! Watches one life of one replica: the laws that show in what goes in and comes out of it alone.
//!
//! What needs several replicas to be seen - that two never lead in one term, that what is committed stays - is left to whoever has
//! several. The monitor sees every input before the replica does, and every effect when it is drained; it stands between the
//! two in tests and simulations.

use crate::{
    Effect, Entry, EntryKind, Index, Input, Instant, LogId, LogView, Rejection, Role, Status,
    Store, Term, Ticket, WriteId,
};
use std::collections::{BTreeMap, VecDeque};
use thiserror::Error;

/// A law that was broken.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("law {law} is broken: {what}")]
pub struct Breach {
    /// Its number in the contract of [`Consensus`](crate::Consensus).
    pub law: u8,
    /// How.
    pub what: String,
}

/// What a ticket was given out for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Entry,
    Read { is_lease: bool },
}

/// The watch over one life.
#[derive(Debug)]
pub struct Monitor {
    last_write: WriteId,
    /// Writes under way, each with the last entry of it that no later one truncated.
    writes: VecDeque<(WriteId, Index)>,
    /// Entries above what was handed out, as drained: `above[n]` has the index `handed_out + 1 + n`, and the last that of `last`.
    above: VecDeque<(Term, EntryKind)>,
    last: LogId,
    /// The last entry that is safe here.
    safe: Index,
    handed_out: Index,
    durably_applied: Index,
    open: BTreeMap<Ticket, Asked>,
    is_installing: bool,
    is_halted: bool,
    /// An early timer was the only input since the last drain.
    is_early: bool,
    effects: u64,
}

fn breach(law: u8, what: impl Into<String>) -> Result<(), Breach> {
    Err(Breach { law, what: what.into() })
}

impl Monitor {
    /// The watch over a life that begins with `log`, of which `applied` is in the state.
    pub fn new(log: &dyn LogView, applied: Index) -> Self {
        let last = log.last();
        Self {
            last_write: WriteId::ZERO,
            writes: VecDeque::new(),
            above: VecDeque::new(),
            last,
            safe: last.index,
            handed_out: applied,
            durably_applied: Index::ZERO,
            open: BTreeMap::new(),
            is_installing: false,
            is_halted: false,
            is_early: false,
            effects: 0,
        }
    }

    /// Takes note of `entries` that the log had when the life began, above what was applied.
    pub fn found(&mut self, entries: &[Entry]) {
        self.above.extend(entries.iter().map(|e| (e.id.term, e.kind)));
    }

    /// The entry at `index`, if it is above what was handed out.
    fn above(&self, index: Index) -> Option<(Term, EntryKind)> {
        let place = index.0.checked_sub(self.handed_out.0 + 1)?;
        self.above.get(place as usize).copied()
    }

    /// The tickets that have not ended.
    pub fn open(&self) -> impl Iterator<Item = Ticket> + '_ {
        self.open.keys().copied()
    }

    /// How many effects there were.
    pub fn effects(&self) -> u64 {
        self.effects
    }

    /// Sees an input; `deadline` is the replica's before it.
    pub fn input(&mut self, now: Instant, input: &Input, deadline: Option<Instant>) {
        self.is_early =
            *input == Input::TimerFired && deadline.is_none_or(|deadline| now < deadline);
        match input {
            Input::Proposed { ticket, .. } | Input::MembershipRequested { ticket, .. } => {
                self.open.insert(*ticket, Asked::Entry);
            }
            Input::ReadRequested { ticket, consistency } => {
                let is_lease = *consistency == crate::Consistency::Lease;
                self.open.insert(*ticket, Asked::Read { is_lease });
            }
            Input::Stored { write, result: Ok(()) } => self.stored(*write),
            Input::Stored { result: Err(_), .. } => self.is_halted = true,
            Input::DurablyApplied { through } => self.durably_applied = *through,
            Input::SnapshotInstalled { through } => {
                self.is_installing = false;
                (self.last, self.safe, self.handed_out) = (*through, through.index, through.index);
                self.above.clear();
            }
            _ => {}
        }
    }

    fn stored(&mut self, write: WriteId) {
        while let Some((_, last)) = self.writes.pop_front_if(|(of, _)| *of <= write) {
            self.safe = self.safe.max(last);
        }
    }

    /// Sees what was drained after one step, and the status after it.
    ///
    /// # Errors
    ///
    /// The first law that they break.
    pub fn drained(&mut self, effects: &[Effect], status: &Status) -> Result<(), Breach> {
        if self.is_early && !effects.is_empty() {
            return breach(8, format!("an early timer made {:?}", effects[0]));
        }
        for effect in effects {
            self.effects += 1;
            self.effect(effect, status)?;
        }
        if status.commit > status.last.index || status.applied > status.commit {
            return breach(4, format!("applied <= committed <= last does not hold of {status:?}"));
        }
        Ok(())
    }

    fn effect(&mut self, effect: &Effect, status: &Status) -> Result<(), Breach> {
        let ends = matches!(effect, Effect::Rejected { .. });
        let halts = matches!(effect, Effect::RoleChanged { role: Role::Halted, .. });
        if self.is_halted && !ends && !halts {
            return breach(7, format!("a halted replica wants {effect:?}"));
        }
        match effect {
            Effect::Store(store) => self.store(store),
            Effect::Send { after, .. } if *after > Some(self.last_write) => {
                breach(2, format!("a message waits for {after:?}, which was not drained"))
            }
            Effect::Apply { from, through, membership } => {
                self.apply(*from, *through, membership.is_some())
            }
            Effect::Accepted { ticket, at } => self.accepted(*ticket, *at),
            Effect::Rejected { ticket, why } => self.rejected(*ticket, *why),
            Effect::ReadReady { ticket, after_applying, valid_until } => {
                self.read_ready(*ticket, *after_applying, *valid_until, status)
            }
            Effect::InstallSnapshot { reset_log_to, .. } => {
                self.is_installing = true;
                if reset_log_to.index <= self.handed_out {
                    return breach(4, format!("a snapshot at {reset_log_to} takes the state back"));
                }
                Ok(())
            }
            Effect::TruncateLog { through } if *through > self.durably_applied => {
                let known = self.durably_applied;
                breach(4, format!("entries up to {through} may go, but {known} is durably applied"))
            }
            _ => Ok(()),
        }
    }

    fn store(&mut self, store: &Store) -> Result<(), Breach> {
        if store.write != self.last_write.next() {
            return breach(3, format!("{} follows {}", store.write, self.last_write));
        }
        if self.is_installing {
            return breach(3, format!("{} while a snapshot is installed", store.write));
        }
        self.last_write = store.write;
        if store.hard_state.is_some() && !store.sync {
            return breach(3, format!("the hard state of {} is not synced", store.write));
        }
        if store.hard_state.is_none() && store.truncate_from.is_none() && store.entries.is_empty() {
            return breach(3, format!("{} is empty", store.write));
        }
        if let Some(from) = store.truncate_from {
            if from <= self.handed_out || from > self.last.index {
                let (handed, last) = (self.handed_out, self.last);
                return breach(3, format!("{from} of {handed}..={last} is truncated"));
            }
            self.truncate(from);
        }
        for entry in &store.entries {
            if entry.id.index != self.last.index.next() || entry.id.term < self.last.term {
                return breach(3, format!("entry {} follows {}", entry.id, self.last));
            }
            self.last = entry.id;
            self.above.push_back((entry.id.term, entry.kind));
        }
        self.writes.push_back((store.write, self.last.index));
        Ok(())
    }

    fn truncate(&mut self, from: Index) {
        let index = Index(from.0 - 1);
        let term = self.above(index).map_or(Term::ZERO, |(term, _)| term);
        self.above.truncate((index.0 - self.handed_out.0) as usize);
        self.last = LogId { term, index };
        self.safe = self.safe.min(index);
        self.writes.iter_mut().for_each(|(_, last)| *last = index.min(*last));
    }

    fn apply(&mut self, from: Index, through: Index, has_members: bool) -> Result<(), Breach> {
        if from != self.handed_out.next() || through < from {
            return breach(4, format!("{from}..={through} is applied after {}", self.handed_out));
        }
        if through > self.safe {
            return breach(4, format!("{through} is applied, and {} is safe", self.safe));
        }
        if self.is_installing {
            return breach(4, "entries are applied while a snapshot is installed");
        }
        for index in (from.0..=through.0).map(Index) {
            let Some((_, kind)) = self.above.pop_front() else { break };
            if (kind == EntryKind::Config) != (has_members && index == through) {
                return breach(4, format!("{kind:?} at {index} of {from}..={through}"));
            }
        }
        self.handed_out = through;
        Ok(())
    }

    fn accepted(&mut self, ticket: Ticket, at: LogId) -> Result<(), Breach> {
        if self.open.remove(&ticket) != Some(Asked::Entry) {
            return breach(5, format!("{ticket} is accepted and was not open"));
        }
        if self.above(at.index).map(|(term, _)| term) != Some(at.term) {
            return breach(5, format!("{ticket} is accepted at {at}, which is not in the log"));
        }
        Ok(())
    }

    fn rejected(&mut self, ticket: Ticket, why: Rejection) -> Result<(), Breach> {
        match self.open.remove(&ticket) {
            Some(_) => Ok(()),
            None => breach(5, format!("{ticket} is rejected ({why}) and was not open")),
        }
    }

    fn read_ready(
        &mut self,
        ticket: Ticket,
        after_applying: Index,
        valid_until: Option<Instant>,
        status: &Status,
    ) -> Result<(), Breach> {
        let Some(Asked::Read { is_lease }) = self.open.remove(&ticket) else {
            return breach(5, format!("{ticket} is ready and was not open"));
        };
        if valid_until.is_some() && !is_lease {
            return breach(6, format!("{ticket} asked for no lease and rests on one"));
        }
        if after_applying > status.commit {
            return breach(
                6,
                format!("{ticket} waits for {after_applying}, which is not committed"),
            );
        }
        Ok(())
    }
}
