//! What was proposed, and what may still come of it.
//!
//! 1. A payload that is proposed is **open** once more. Its first application anywhere, and a certain rejection, close it once.
//! 2. Nothing is applied for the first time that is not open: it was never proposed, or was refused, or was taken twice.
//! 3. A ticket is accepted with the name of an entry that has its payload.
//!
//! What died with its process, or was superseded, stays open: it may yet take effect.

use super::happening::fold;
use crate::{Entry, EntryKind, LogId, Rejection, Ticket};
use std::collections::BTreeMap;

#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Proposals whose tickets have not ended, each with the number that stands for its payload.
    asked: BTreeMap<Ticket, u64>,
    /// How often each payload is open, by the number that stands for it. Never zero.
    open: BTreeMap<u64, u32>,
}

impl Ledger {
    pub(super) fn propose(&mut self, ticket: Ticket, payload: &[u8]) {
        let payload = fold(payload);
        self.asked.insert(ticket, payload);
        *self.open.entry(payload).or_default() += 1;
    }

    /// The process died.
    pub(super) fn lose(&mut self, ticket: Ticket) {
        self.asked.remove(&ticket);
    }

    /// `entry` is what was found at the place that the ticket got, in the log or applied.
    pub(super) fn accept(
        &mut self,
        ticket: Ticket,
        at: LogId,
        entry: Option<&Entry>,
    ) -> Result<(), String> {
        let Some(payload) = self.asked.remove(&ticket) else { return Ok(()) };
        match entry {
            Some(entry) if entry.id == at && fold(&entry.payload) == payload => Ok(()),
            Some(entry) if entry.id == at => {
                Err(format!("{ticket} is accepted at {at}, which is another's entry"))
            }
            _ => Err(format!("{ticket} is accepted at {at}, which is nowhere")),
        }
    }

    pub(super) fn reject(&mut self, ticket: Ticket, why: Rejection) {
        let asked = self.asked.remove(&ticket);
        if let Some(payload) = asked.filter(|_| why.is_certain()) {
            self.close(payload);
        }
    }

    /// An entry is applied for the first time anywhere.
    pub(super) fn apply(&mut self, entry: &Entry) -> Result<(), String> {
        if entry.kind != EntryKind::Data || self.close(fold(&entry.payload)) {
            return Ok(());
        }
        Err(format!(
            "{} is applied: nobody proposed it, or not as often, or it was refused",
            entry.id
        ))
    }

    /// Whether it was open.
    fn close(&mut self, payload: u64) -> bool {
        let Some(open) = self.open.get_mut(&payload) else { return false };
        *open -= 1;
        if *open == 0 {
            self.open.remove(&payload);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn entry(index: u64, payload: &'static [u8]) -> Entry {
        let payload = Bytes::from_static(payload);
        Entry { id: LogId::new(1, index), kind: EntryKind::Data, payload }
    }

    fn propose(ledger: &mut Ledger, ticket: u64, payload: &'static [u8]) {
        ledger.propose(Ticket(ticket), payload);
    }

    #[test]
    fn a_payload_is_applied_as_often_as_it_was_proposed_and_not_refused() {
        let mut ledger = Ledger::default();
        for ticket in 1..=3 {
            propose(&mut ledger, ticket, b"a");
        }
        ledger.reject(Ticket(1), Rejection::Overloaded);
        ledger.reject(Ticket(2), Rejection::Superseded);
        ledger.lose(Ticket(3));
        assert_eq!(ledger.apply(&entry(1, b"a")), Ok(()));
        assert!(ledger.apply(&entry(2, b"b")).is_err());
        assert_eq!(ledger.apply(&entry(2, b"a")), Ok(()));
        assert!(ledger.apply(&entry(3, b"a")).is_err());
    }

    #[test]
    fn a_ticket_gets_the_place_of_its_own_entry() {
        let mut ledger = Ledger::default();
        for ticket in 1..=4 {
            propose(&mut ledger, ticket, b"a");
        }
        let (at, other) = (LogId::new(1, 1), LogId::new(2, 1));
        assert_eq!(ledger.accept(Ticket(1), at, Some(&entry(1, b"a"))), Ok(()));
        assert!(ledger.accept(Ticket(2), at, Some(&entry(1, b"b"))).is_err());
        assert!(ledger.accept(Ticket(3), other, Some(&entry(1, b"a"))).is_err());
        assert!(ledger.accept(Ticket(4), at, None).is_err());
    }
}
