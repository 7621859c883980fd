//! What is to happen, by time and then by the order in which it was asked for.

use crate::{Class, Instant, Timer};
use bytes::Bytes;
use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

/// What happens to a member.
pub(super) enum Happening {
    /// A timer of its boot of that number.
    Timer(u64, Timer),
    Packet(Class, Bytes),
}

struct Entry {
    at: Instant,
    /// The how-many-eth it is of all. No two have one number
    number: u64,
    member: usize,
    happening: Happening,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// What is to happen.
#[derive(Default)]
pub(super) struct Queue {
    entries: BinaryHeap<Reverse<Entry>>,
    pushed: u64,
}

impl Queue {
    pub(super) fn push(&mut self, at: Instant, member: usize, happening: Happening) {
        self.entries.push(Reverse(Entry { at, number: self.pushed, member, happening }));
        self.pushed += 1;
    }

    /// The next, if it is no later than `end`.
    pub(super) fn pop_before(&mut self, end: Instant) -> Option<(Instant, usize, Happening)> {
        if self.entries.peek()?.0.at > end {
            return None;
        }
        let Reverse(entry) = self.entries.pop()?;
        Some((entry.at, entry.member, entry.happening))
    }
}
