//! Which keys exist: the loaded ones, and the inserts that were acknowledged.
//!
//! Client `t` of `T` inserts the numbers `base + t`, `base + t + T`, `base + t + 2T`, ...: which numbers it
//! inserts depends on nothing but how many it has inserted, and one count per client says exactly
//! which exist. No window that could overflow, no lock.

use crate::KeyNumber;
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
}

impl Ledger {
    /// Keys `0..base` exist, and `clients` clients (at least one) may insert.
    pub fn new(base: u64, clients: u32) -> Self {
        assert!(clients > 0, "a phase has a client");
        Self { base, acknowledged: (0..clients).map(|_| Count::default()).collect() }
    }

    /// The number that `client` inserts after `done` inserts of its own.
    pub fn insert_number(&self, client: u32, done: u64) -> KeyNumber {
        self.base + u64::from(client) + done * self.acknowledged.len() as u64
    }

    /// Takes note that the next insert of `client` was acknowledged.
    pub fn acknowledge(&self, client: u32) {
        self.acknowledged[client as usize].0.fetch_add(1, Ordering::Release);
    }

    /// Whether the key exists.
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
