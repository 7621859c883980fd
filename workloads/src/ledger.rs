//! Which keys exist: the loaded ones and the inserts that were acknowledged, without those that were deleted.
//!
//! Client `t` of `T` inserts the numbers `base + t`, `base + t + T`, `base + t + 2T`, ...: which numbers it
//! inserts depends on nothing but how many it has inserted, and one count per client says exactly
//! which exist. No window that could overflow, no lock.
//!
//! Where a phase deletes, client `t` names only keys of its own: the loaded numbers that leave the remainder `t` when
//! divided by `T`, and what it inserted. So no client reads what another is about to delete, and what a client does
//! depends on nothing that another does.

use crate::KeyNumber;
use crate::deleted::Deleted;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One count to a cache line, so that clients do not slow each other down.
#[repr(align(128))]
#[derive(Debug, Default)]
struct Count(AtomicU64);

/// The keys that exist while a phase runs. Shared by its clients.
#[derive(Debug)]
pub struct Ledger {
    /// All numbers below it exist.
    base: u64,
    /// Acknowledged inserts per client.
    acknowledged: Box<[Count]>,
    /// Of the numbers that were acknowledged, in this phase or before.
    deleted: Arc<Deleted>,
}

/// Whose keys a client may name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// All that exist.
    All,
    /// Those of one client.
    Own(u32),
}

impl Ledger {
    /// Keys `0..base` exist, and `clients` clients (at least one) may insert.
    pub fn new(base: u64, clients: u32) -> Self {
        assert!(clients > 0, "a phase has a client");
        let acknowledged = (0..clients).map(|_| Count::default()).collect();
        Self { base, acknowledged, deleted: Arc::default() }
    }

    /// What exists after the phase of this ledger, for the `clients` of the next.
    pub fn next(&self, clients: u32) -> Self {
        Self { deleted: Arc::clone(&self.deleted), ..Self::new(self.settled(), clients) }
    }

    /// The number that `client` inserts after `done` inserts of its own.
    pub fn insert_number(&self, client: u32, done: u64) -> KeyNumber {
        self.base + u64::from(client) + done * self.acknowledged.len() as u64
    }

    /// Takes note that the next insert of `client` was acknowledged.
    pub fn acknowledge(&self, client: u32) {
        if !self.deleted.is_empty() {
            // A number above a gap of an earlier phase may have been deleted in it, and is given out again.
            self.deleted.remove(self.insert_number(client, self.count(client)));
        }
        self.acknowledged[client as usize].0.fetch_add(1, Ordering::Release);
    }

    /// Takes note that the key was deleted; whether it existed.
    pub fn delete(&self, number: KeyNumber) -> bool {
        self.is_acknowledged(number) && self.deleted.insert(number)
    }

    /// Takes note that a deleted key was written again.
    pub fn revive(&self, number: KeyNumber) {
        self.deleted.remove(number);
    }

    /// Whether no key is deleted.
    pub(crate) fn is_whole(&self) -> bool {
        self.deleted.is_empty()
    }

    /// Whether the key exists.
    pub fn exists(&self, number: KeyNumber) -> bool {
        self.is_acknowledged(number) && !self.deleted.contains(number)
    }

    /// Whether the key was loaded or inserted. It may have been deleted since.
    pub fn is_acknowledged(&self, number: KeyNumber) -> bool {
        let Some(above) = number.checked_sub(self.base) else {
            return true;
        };
        let clients = self.acknowledged.len() as u64;
        let count = &self.acknowledged[(above % clients) as usize];
        above / clients < count.0.load(Ordering::Acquire)
    }

    /// All numbers below it exist: there is no gap.
    pub fn settled(&self) -> u64 {
        let clients = self.acknowledged.len() as u64;
        let counts = self.acknowledged.iter().zip(0_u64..);
        let first_gap = counts.map(|(count, t)| count.0.load(Ordering::Acquire) * clients + t);
        self.base + first_gap.min().unwrap_or(0)
    }

    /// Acknowledged inserts of new keys by one client.
    fn count(&self, client: u32) -> u64 {
        self.acknowledged[client as usize].0.load(Ordering::Acquire)
    }

    /// How many of the keys `0..base` belong to `client`.
    fn base_count(&self, client: u32) -> u64 {
        let (client, clients) = (u64::from(client), self.acknowledged.len() as u64);
        self.base / clients + u64::from(client < self.base % clients)
    }

    /// How many numbers were ever acknowledged within `reach`, deleted or not; without those above the first gap,
    /// where it reaches all.
    pub(crate) fn reached(&self, reach: Reach) -> u64 {
        match reach {
            Reach::All => self.settled(),
            Reach::Own(client) => self.base_count(client) + self.count(client),
        }
    }

    /// All numbers that a draw within `reach` may give lie below it. It rises with no other client's inserts.
    pub(crate) fn newest_end(&self, reach: Reach) -> u64 {
        match reach {
            Reach::All => self.settled(),
            Reach::Own(client) => self.base + self.count(client) * self.acknowledged.len() as u64,
        }
    }

    /// The number in place `index` of those that [`Self::reached`] counts. They rise.
    pub(crate) fn at(&self, reach: Reach, index: u64) -> KeyNumber {
        let Reach::Own(client) = reach else { return index };
        match index.checked_sub(self.base_count(client)) {
            None => u64::from(client) + index * self.acknowledged.len() as u64,
            Some(done) => self.insert_number(client, done),
        }
    }

    /// The place of the number within `reach` that stands for `number`: itself, or the client's own among the
    /// neighbours that are dealt out together. At least [`Self::reached`] if there is none.
    pub(crate) fn index(&self, reach: Reach, number: KeyNumber) -> u64 {
        let Reach::Own(client) = reach else { return number };
        let clients = self.acknowledged.len() as u64;
        let in_base = self.base_count(client);
        match number.checked_sub(self.base) {
            None => (number / clients).min(in_base.saturating_sub(1)),
            Some(above) => in_base.saturating_add(above / clients),
        }
    }

    /// How many inserts were acknowledged.
    pub fn inserted(&self) -> u64 {
        self.acknowledged.iter().map(|count| count.0.load(Ordering::Acquire)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_exists_once_its_insert_is_acknowledged_and_not_before() {
        let ledger = Ledger::new(100, 3);
        assert!(ledger.is_acknowledged(99) && !ledger.is_acknowledged(100));
        assert_eq!(ledger.insert_number(1, 0), 101);
        ledger.acknowledge(1);
        assert!(ledger.is_acknowledged(101) && !ledger.is_acknowledged(104));
        assert_eq!(ledger.settled(), 100, "100 is still a gap");
        ledger.acknowledge(0);
        assert_eq!(ledger.settled(), 102);
        ledger.acknowledge(2);
        assert_eq!(ledger.settled(), 103);
        assert_eq!(ledger.inserted(), 3);
    }

    #[test]
    fn every_key_belongs_to_one_client_and_has_its_place_there() {
        for (base, clients) in [(0, 1), (2, 3), (10, 3), (100, 7)] {
            let ledger = Ledger::new(base, clients);
            (0..clients).for_each(|t| (0..t % 3).for_each(|_| ledger.acknowledge(t)));
            let mut all = Vec::new();
            for t in 0..clients {
                let reach = Reach::Own(t);
                for index in 0..ledger.reached(reach) {
                    let number = ledger.at(reach, index);
                    assert!(ledger.exists(number), "{number} of {base}, {clients}");
                    assert_eq!(ledger.index(reach, number), index);
                    all.push(number);
                }
            }
            let count = all.len() as u64;
            assert_eq!(count, base + ledger.inserted());
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len() as u64, count, "no key has two owners");
        }
    }

    #[test]
    fn a_deleted_key_is_gone_until_it_is_written_again_and_in_later_phases_too() {
        let ledger = Ledger::new(10, 2);
        assert!(ledger.is_whole() && ledger.delete(4) && !ledger.exists(4));
        assert!(!ledger.delete(4), "it was gone");
        assert!(!ledger.delete(10), "it never was");
        let next = ledger.next(3);
        assert!(!next.exists(4) && next.is_acknowledged(4) && next.exists(5));
        next.revive(4);
        assert!(next.exists(4) && next.is_whole());
    }

    #[test]
    fn a_number_above_a_gap_that_was_deleted_exists_when_it_is_inserted_anew() {
        let ledger = Ledger::new(10, 2);
        ledger.acknowledge(1);
        assert!(ledger.delete(11));
        let next = ledger.next(1);
        assert!(!next.exists(11));
        next.acknowledge(0);
        assert!(next.exists(10) && !next.exists(11));
        next.acknowledge(0);
        assert!(next.exists(11));
    }

    #[test]
    fn numbers_of_clients_never_meet() {
        let ledger = Ledger::new(7, 4);
        let mut all: Vec<u64> = (0..4)
            .flat_map(|t| (0..50).map(move |i| (t, i)))
            .map(|(t, i)| ledger.insert_number(t, i))
            .collect();
        all.sort_unstable();
        assert_eq!(all, (7..207).collect::<Vec<_>>());
    }
}
