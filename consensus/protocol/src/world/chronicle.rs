//! What happened in a world, and the laws that only all replicas together can break.

use super::ledger::Ledger;
use super::occurrence::{Counts, Occurrence};
use super::reforms::Reforms;
use crate::host::Event;
use crate::{Entry, Index, Instant, LogId, MemLog, NodeId, Rejection, Role, Term, Ticket};
use std::collections::BTreeMap;

/// How a ticket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a place in the log.
    Accepted(LogId),
    /// In nothing.
    Rejected(Rejection),
    /// The read may be done.
    Ready {
        /// The state to wait for.
        after_applying: Index,
        /// Whether its lease, if it rests on one, held when the answer came out.
        is_valid: bool,
    },
    /// Its process died.
    Lost,
}

/// A read that has not ended: the last entry that anybody had applied when it began.
type Floor = Index;

/// The chronicle of a world.
#[derive(Debug, Default)]
pub struct Chronicle {
    leaders: BTreeMap<Term, NodeId>,
    /// What was applied first at each place; `applied[n]` has the index `n + 1`.
    applied: Vec<Entry>,
    /// By ticket, which the world numbers from one on.
    outcomes: Vec<Option<Outcome>>,
    reads: BTreeMap<Ticket, Floor>,
    ledger: Ledger,
    pub(super) reforms: Reforms,
    /// Over everything that happened, in order.
    digest: u64,
    /// In words, if it was asked for.
    lines: Option<Vec<String>>,
    counts: Counts,
}

impl Chronicle {
    /// Keeps what happens in words too, from now on.
    pub fn keep_lines(&mut self) {
        self.lines.get_or_insert_default();
    }

    /// What happened, in words.
    pub fn lines(&self) -> &[String] {
        self.lines.as_deref().unwrap_or_default()
    }

    /// Two runs with the same digest were the same.
    pub fn digest(&self) -> u64 {
        self.digest
    }

    /// How often each kind of thing happened.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What everybody who has applied so far applied.
    pub fn applied(&self) -> &[Entry] {
        &self.applied
    }

    /// How the ticket ended, if it did.
    pub fn outcome(&self, ticket: Ticket) -> Option<Outcome> {
        self.outcomes.get(ticket.0 as usize).copied().flatten()
    }

    /// Whether the ticket's entry was applied; `None` if that is not decided yet, or it never had one.
    pub fn took_effect(&self, ticket: Ticket) -> Option<bool> {
        let Outcome::Accepted(at) = self.outcome(ticket)? else { return None };
        Some(self.applied.get(at.index.0 as usize - 1)?.id == at)
    }

    /// Who led in each term.
    pub fn leaders(&self) -> &BTreeMap<Term, NodeId> {
        &self.leaders
    }

    /// Counts something that happened.
    pub(super) fn count(&mut self, what: Occurrence) {
        self.counts.add(what);
    }

    /// Takes note of something, in numbers, and in words if they are wanted.
    pub(super) fn note(
        &mut self,
        at: Instant,
        node: NodeId,
        numbers: &[u64],
        words: impl FnOnce() -> String,
    ) {
        for number in [at.nanos, node.0].iter().chain(numbers) {
            // A step of xxHash's kind is enough: nobody chooses the numbers.
            self.digest =
                (self.digest ^ number).wrapping_mul(0x9E37_79B1_85EB_CA87).rotate_left(31);
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at} {node} {}", words()));
        }
    }

    fn end(&mut self, ticket: Ticket, outcome: Outcome) {
        let place = ticket.0 as usize;
        if place >= self.outcomes.len() {
            self.outcomes.resize(place + 1, None);
        }
        self.outcomes[place] = Some(outcome);
    }

    pub(super) fn propose(&mut self, ticket: Ticket, payload: &[u8]) {
        self.ledger.propose(ticket, payload);
    }

    pub(super) fn begin_read(&mut self, ticket: Ticket) {
        self.reads.insert(ticket, Index(self.applied.len() as u64));
    }

    pub(super) fn lose(&mut self, tickets: Vec<Ticket>) {
        for ticket in tickets {
            self.reads.remove(&ticket);
            self.ledger.lose(ticket);
            self.reforms.lose(ticket);
            self.end(ticket, Outcome::Lost);
        }
    }

    /// Takes note of an event on `node`, whose clock shows `local` and whose log is `log`.
    pub(super) fn event(
        &mut self,
        node: NodeId,
        local: Instant,
        event: &Event,
        log: &MemLog,
    ) -> Result<(), String> {
        match event {
            Event::Accepted { ticket, at } => {
                self.reforms.accept(*ticket, *at, log)?;
                let applied = || self.applied.get(at.index.0 as usize - 1).cloned();
                let entry = log.entry(at.index).or_else(applied);
                self.ledger.accept(*ticket, *at, entry.as_ref())?;
                self.end(*ticket, Outcome::Accepted(*at));
            }
            Event::Rejected { ticket, why } => {
                self.reads.remove(ticket);
                self.ledger.reject(*ticket, *why);
                self.reforms.lose(*ticket);
                self.end(*ticket, Outcome::Rejected(*why));
            }
            Event::ReadReady { ticket, after_applying, valid_until } => {
                let is_valid = valid_until.is_none_or(|until| local <= until);
                let floor = self.reads.remove(ticket).unwrap_or_default();
                if is_valid && *after_applying < floor {
                    return Err(format!(
                        "a read waits for {after_applying}, and {floor} was applied before it began"
                    ));
                }
                let outcome = Outcome::Ready { after_applying: *after_applying, is_valid };
                self.end(*ticket, outcome);
            }
            Event::RoleChanged { role: Role::Leader, term, .. } => {
                let known = *self.leaders.entry(*term).or_insert(node);
                if known != node {
                    return Err(format!("{node} leads in {term}, and so did {known}"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Takes note of entries that a node applied.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> Result<(), String> {
        for entry in entries {
            match self.applied.get(entry.id.index.0 as usize - 1) {
                None if entry.id.index.0 == self.applied.len() as u64 + 1 => {
                    self.ledger.apply(entry)?;
                    self.reforms.apply(entry);
                    self.applied.push(entry.clone());
                }
                None => {
                    return Err(format!("{} is applied, and what is before it nowhere", entry.id));
                }
                Some(known) if known == entry => {}
                Some(known) => {
                    return Err(format!("{} is applied where {} was", entry.id, known.id));
                }
            }
        }
        Ok(())
    }
}
