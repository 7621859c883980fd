//! The network: a stream from each node to each, in order, and datagrams that are in none.

use nori_consensus::NodeId;
use nori_consensus::chance::Chance;
use std::collections::{BTreeMap, BTreeSet};

/// A direction between two machines.
pub(super) type Link = (usize, usize);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Net {
    /// Nothing goes here.
    blocked: BTreeSet<Link>,
    /// What goes here takes so many times longer.
    clogged: BTreeMap<Link, u64>,
    /// The last packet of a stream arrives then.
    last: BTreeMap<Link, u64>,
    /// How often a stream was broken: what was on it before never arrives.
    epochs: BTreeMap<Link, u64>,
}

impl Net {
    /// When a packet of a stream arrives, and in which epoch of it; `None`: never.
    pub(super) fn packet(
        &mut self,
        time: u64,
        link: Link,
        chance: &mut Chance,
        delay: (u64, u64),
        loss_ppm: u32,
    ) -> Option<(u64, u64)> {
        if self.blocked.contains(&link) || chance.hits(loss_ppm) {
            return None;
        }
        let times = self.clogged.get(&link).copied().unwrap_or(1);
        let at = time + chance.between(delay.0, delay.1) * times;
        let last = self.last.entry(link).or_default();
        *last = at.max(*last + 1);
        Some((*last, self.epoch(link)))
    }

    /// When a datagram, or an answer to a client, arrives.
    pub(super) fn datagram(
        &self,
        time: u64,
        link: Link,
        chance: &mut Chance,
        delay: (u64, u64),
        loss_ppm: u32,
    ) -> Option<u64> {
        if self.blocked.contains(&link) || chance.hits(loss_ppm) {
            return None;
        }
        let times = self.clogged.get(&link).copied().unwrap_or(1);
        Some(time + chance.between(delay.0, delay.1) * times)
    }

    pub(super) fn epoch(&self, link: Link) -> u64 {
        self.epochs.get(&link).copied().unwrap_or(0)
    }

    /// Breaks a stream.
    pub(super) fn reset(&mut self, link: Link) {
        *self.epochs.entry(link).or_default() += 1;
    }

    /// Breaks all streams of a machine, in both directions.
    pub(super) fn reset_all(&mut self, machine: usize, machines: usize) {
        for other in 0..machines {
            self.reset((machine, other));
            self.reset((other, machine));
        }
    }

    pub(super) fn block(&mut self, link: Link) {
        self.blocked.insert(link);
    }

    pub(super) fn unblock(&mut self, link: Link) {
        self.blocked.remove(&link);
    }

    pub(super) fn clog(&mut self, link: Link, times: u64) {
        self.clogged.insert(link, times);
    }

    pub(super) fn is_blocked(&self, link: Link) -> bool {
        self.blocked.contains(&link)
    }

    /// Everything goes again.
    pub(super) fn heal(&mut self) {
        self.blocked.clear();
        self.clogged.clear();
    }
}

/// Which machine a node is on.
pub(super) fn machine_of(ids: &BTreeMap<NodeId, usize>, node: NodeId) -> Option<usize> {
    ids.get(&node).copied()
}
