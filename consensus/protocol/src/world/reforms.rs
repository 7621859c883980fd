//! Changes of the membership, and what comes of them.
//!
//! 1. A membership is everybody's of one entry: two who know that of the same entry know the same.
//! 2. Between the membership that an accepted change was thought out from and its own entry there is no other.
//! 3. What ends a change is what was asked for: its voters, and its learners at least, for not every protocol can let go of all others.
//! 4. Who begins a life knows the last membership that it has applied, or a later one (the world asks [`Reforms::applied_upto`]).

use crate::{Change, Entry, EntryKind, Index, LogId, LogView, MemLog, Membership, Ticket};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct Reforms {
    /// Those whose tickets have not ended.
    asked: BTreeMap<Ticket, Change>,
    /// Those that have an entry.
    accepted: BTreeMap<LogId, Change>,
    /// Memberships as anybody knew them who had the entry.
    known: BTreeMap<LogId, Arc<Membership>>,
    /// Entries that are memberships, of those that were applied.
    applied: BTreeSet<Index>,
}

impl Reforms {
    pub(super) fn ask(&mut self, ticket: Ticket, change: &Change) {
        self.asked.insert(ticket, change.clone());
    }

    /// The ticket ended without an entry, or its process died.
    pub(super) fn lose(&mut self, ticket: Ticket) {
        self.asked.remove(&ticket);
    }

    /// The ticket has the entry `at` of `log`.
    pub(super) fn accept(&mut self, ticket: Ticket, at: LogId, log: &MemLog) -> Result<(), String> {
        let Some(change) = self.asked.remove(&ticket) else { return Ok(()) };
        match last_before(log, at.index).filter(|other| other.index > change.from) {
            Some(other) => Err(format!(
                "{ticket} is accepted at {at}: it was thought out from {}, and {other} came since",
                change.from
            )),
            None => {
                self.accepted.insert(at, change);
                Ok(())
            }
        }
    }

    /// Somebody with `log` knows `membership`, which is of the entry `at`.
    pub(super) fn know(
        &mut self,
        at: LogId,
        membership: &Arc<Membership>,
        log: &MemLog,
    ) -> Result<(), String> {
        if let Some(known) = self.known.get(&at) {
            return match known == membership {
                true => Ok(()),
                false => Err(format!("the membership of {at} is {membership}, and was {known}")),
            };
        }
        self.known.insert(at, Arc::clone(membership));
        if membership.is_joint() {
            return Ok(());
        }
        let is_joint = |of: &LogId| self.known.get(of).is_some_and(|known| known.is_joint());
        let begun = || last_before(log, at.index).filter(is_joint);
        let change = self.accepted.get(&at).or_else(|| self.accepted.get(&begun()?));
        match change.filter(|change| !is_done(change, membership)) {
            Some(Change { voters, learners, .. }) => {
                Err(format!("a change to {voters:?} and {learners:?} ends in {membership}"))
            }
            None => Ok(()),
        }
    }

    /// An entry is applied for the first time anywhere.
    pub(super) fn apply(&mut self, entry: &Entry) {
        if entry.kind == EntryKind::Config {
            self.applied.insert(entry.id.index);
        }
    }

    /// The last entry up to `index` that is a membership, of those that were applied.
    pub(super) fn applied_upto(&self, index: Index) -> Option<Index> {
        self.applied.range(..=index).next_back().copied()
    }
}

fn is_done(change: &Change, membership: &Membership) -> bool {
    membership.voters == change.voters && membership.learners.is_superset(&change.learners)
}

/// The last membership in `log` before `index`.
fn last_before(log: &MemLog, index: Index) -> Option<LogId> {
    let before = (log.first().0..index.0).rev();
    let entries = before.filter_map(|index| log.entry(Index(index)));
    entries.filter(|entry| entry.kind == EntryKind::Config).map(|entry| entry.id).next()
}
