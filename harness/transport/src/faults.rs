//! What tests do to a node on purpose: packets that are lost, answers that are lost or late, requests that are refused.
//!
//! All of it is off, and costs one load each, until a test asks for it; only servers that live in memory let anybody ask ([`crate::test_control`]).

use crate::driver::Network;
use crate::errors::Failure;
use bytes::Bytes;
use nori_consensus::NodeId;
use nori_swim::Class;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Of a million.
const MILLION: u64 = 1_000_000;

/// What goes wrong with requests of clients on one node.
#[derive(Debug, Default)]
pub struct Faults {
    answer_loss_ppm: AtomicU32,
    answer_delay_ms: AtomicU64,
    overloaded_next: AtomicU32,
    draws: AtomicU64,
}

impl Faults {
    /// From now on.
    pub fn set(&self, answer_loss_ppm: u32, answer_delay: Duration, overloaded_next: u32) {
        self.answer_loss_ppm.store(answer_loss_ppm, Ordering::Relaxed);
        let millis = u64::try_from(answer_delay.as_millis()).unwrap_or(u64::MAX);
        self.answer_delay_ms.store(millis, Ordering::Relaxed);
        self.overloaded_next.store(overloaded_next, Ordering::Relaxed);
    }

    /// Before a request is looked at.
    ///
    /// # Errors
    ///
    /// [`Failure::Overloaded`], as often as was asked for.
    pub(crate) fn before(&self) -> Result<(), Failure> {
        if self.overloaded_next.load(Ordering::Relaxed) == 0 {
            return Ok(());
        }
        let less = |left: u32| left.checked_sub(1);
        match self.overloaded_next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
            Ok(_) => Err(Failure::Overloaded),
            Err(_) => Ok(()),
        }
    }

    /// Before an answer goes out, after the work was done.
    ///
    /// # Errors
    ///
    /// [`Failure::Unknown`] in place of an answer that is to be lost.
    pub(crate) async fn after(&self) -> Result<(), Failure> {
        let delay = self.answer_delay_ms.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_millis(delay)).await;
        }
        let loss = u64::from(self.answer_loss_ppm.load(Ordering::Relaxed));
        if loss > 0 && draw(&self.draws) < loss { Err(Failure::Unknown) } else { Ok(()) }
    }
}

/// A number below a million, the next of a sequence (splitmix64).
fn draw(draws: &AtomicU64) -> u64 {
    let mut z = draws.fetch_add(0x9E37_79B9_7F4A_7C15, Ordering::Relaxed);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) % MILLION
}

/// What goes wrong between the nodes of a process.
#[derive(Debug, Default)]
pub struct Wires {
    /// From whom, to whom nothing goes.
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    has_cut: AtomicBool,
    /// Whose a peer or failure detector's address is.
    addresses: Mutex<BTreeMap<String, NodeId>>,
    loss_ppm: AtomicU32,
    draws: AtomicU64,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Wires {
    /// An address of a node.
    pub fn know(&self, address: String, node: NodeId) {
        lock(&self.addresses).insert(address, node);
    }

    /// Nothing goes from these to those.
    pub fn cut(&self, from: &[NodeId], to: &[NodeId]) {
        let mut cut = lock(&self.cut);
        for from in from {
            cut.extend(to.iter().map(|to| (*from, *to)).filter(|(from, to)| from != to));
        }
        self.has_cut.store(!cut.is_empty(), Ordering::Relaxed);
    }

    /// Everything goes again.
    pub fn heal(&self) {
        lock(&self.cut).clear();
        self.has_cut.store(false, Ordering::Relaxed);
    }

    /// Of a million packets so many are lost.
    pub fn set_loss(&self, ppm: u32) {
        self.loss_ppm.store(ppm, Ordering::Relaxed);
    }

    fn goes(&self, from: NodeId, to: Option<NodeId>) -> bool {
        let loss = u64::from(self.loss_ppm.load(Ordering::Relaxed));
        if loss > 0 && draw(&self.draws) < loss {
            return false;
        }
        let is_cut = |to| lock(&self.cut).contains(&(from, to));
        !self.has_cut.load(Ordering::Relaxed) || !to.is_some_and(is_cut)
    }

    fn node_at(&self, address: &str) -> Option<NodeId> {
        lock(&self.addresses).get(address).copied()
    }
}

/// A network with wires that can be cut.
pub struct Wired {
    /// Whose.
    pub me: NodeId,
    /// What carries.
    pub inner: Box<dyn Network>,
    /// What goes wrong.
    pub wires: Arc<Wires>,
}

impl Network for Wired {
    fn send(&self, to: NodeId, address: Option<&str>, packet: Bytes) {
        if self.wires.goes(self.me, Some(to)) {
            self.inner.send(to, address, packet);
        }
    }

    fn introduce(&self, address: String, packet: Bytes) {
        if self.wires.goes(self.me, self.wires.node_at(&address)) {
            self.inner.introduce(address, packet);
        }
    }

    fn gossip(&self, to: String, class: Class, packet: Bytes) {
        if self.wires.goes(self.me, self.wires.node_at(&to)) {
            self.inner.gossip(to, class, packet);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_does_not_go_in_that_direction_until_it_is_healed() {
        let wires = Wires::default();
        let (a, b) = (NodeId(1), NodeId(2));
        wires.cut(&[a], &[a, b]);
        assert!(!wires.goes(a, Some(b)) && wires.goes(b, Some(a)) && wires.goes(a, Some(a)));
        wires.know("host:1".to_owned(), b);
        assert_eq!(wires.node_at("host:1"), Some(b));
        wires.heal();
        assert!(wires.goes(a, Some(b)));
        wires.set_loss(1_000_000);
        assert!(!wires.goes(a, Some(b)));
    }

    #[test]
    fn so_many_requests_are_refused_and_no_more() {
        let faults = Faults::default();
        assert!(faults.before().is_ok());
        faults.set(0, Duration::ZERO, 2);
        let refused = (0..5).filter(|_| faults.before().is_err()).count();
        assert_eq!(refused, 2);
    }
}
