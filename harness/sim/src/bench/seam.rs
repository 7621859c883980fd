//! What the seam costs: the same group on one thread, its replicas behind the trait and as what they are, by turns.
//!
//! Nothing waits: a proposal is made, and messages and writes are carried about until nothing moves. So the only difference is how a replica is
//! called, and a difference of a percent shows.

use super::driver::{begin, settings};
use super::mem_log::QuickLog;
use super::{NODES, median};
use anyhow::{Result, anyhow, bail};
use bytes::Bytes;
use nori_consensus::{
    Boot, Consensus, ConsensusFactory, Effect, Index, Input, Instant, Membership, NodeId, Role,
    Ticket,
};
use nori_raft::NoriRaft;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Entries that are proposed before messages are carried.
const AT_ONCE: u64 = 8;
/// Entries between a look at the clock.
const STRIDE: u64 = 512;
/// The state is said to be safe as often as this, in entries.
const FLUSH_EVERY: u64 = 10_000;

struct Member<C: ?Sized> {
    replica: Box<C>,
    log: Arc<QuickLog>,
    applied: Index,
    flushed: Index,
}

/// A group on one thread.
struct Group<C: ?Sized> {
    members: Vec<Member<C>>,
    now: Instant,
    leader: Option<NodeId>,
    letters: VecDeque<(NodeId, NodeId, Bytes)>,
    effects: Vec<Effect>,
}

impl<C: Consensus + ?Sized> Group<C> {
    fn new(boot: impl Fn(Boot) -> Result<Box<C>>, membership: &Bytes) -> Result<Self> {
        let member = |me| {
            let log = Arc::new(QuickLog::default());
            let replica = boot(begin(NodeId(me), membership.clone(), &log))?;
            Ok(Member { replica, log, applied: Index::ZERO, flushed: Index::ZERO })
        };
        let members = (1..=NODES).map(member).collect::<Result<Vec<_>>>()?;
        let (letters, effects) = (VecDeque::new(), Vec::new());
        Ok(Self { members, now: Instant::default(), leader: None, letters, effects })
    }

    fn member(&mut self, node: NodeId) -> &mut Member<C> {
        &mut self.members[node.0 as usize - 1]
    }

    /// Lets time pass until somebody leads.
    fn elect(&mut self) -> Result<NodeId> {
        for _ in 0..10_000 {
            if let Some(leader) = self.leader {
                return Ok(leader);
            }
            self.now = self.now.after(Duration::from_millis(1));
            for node in (1..=NODES).map(NodeId) {
                self.step(node, Input::TimerFired);
            }
            self.carry();
        }
        bail!("nobody leads after ten seconds")
    }

    fn step(&mut self, node: NodeId, input: Input) {
        let now = self.now;
        self.member(node).replica.step(now, input);
    }

    /// Carries about what there is until nothing moves.
    fn carry(&mut self) {
        (1..=NODES).for_each(|node| self.settle(NodeId(node)));
        while let Some((from, to, message)) = self.letters.pop_front() {
            self.step(to, Input::Received { from, message });
            self.settle(to);
        }
    }

    fn settle(&mut self, node: NodeId) {
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            self.member(node).replica.drain(&mut effects);
            let is_over = effects.is_empty();
            for effect in effects.drain(..) {
                self.begin(node, effect);
            }
            self.effects = effects;
            if is_over {
                return;
            }
        }
    }

    fn begin(&mut self, node: NodeId, effect: Effect) {
        match effect {
            Effect::Store(store) => {
                let write = store.write;
                self.member(node).log.put(store);
                self.step(node, Input::Stored { write, result: Ok(()) });
            }
            Effect::Send { to, message, .. } => self.letters.push_back((node, to, message)),
            Effect::Apply { through, .. } => {
                self.member(node).applied = through;
                self.step(node, Input::Applied { through });
                if through.0 >= self.member(node).flushed.0 + FLUSH_EVERY {
                    self.member(node).flushed = through;
                    self.step(node, Input::DurablyApplied { through });
                }
            }
            Effect::TruncateLog { through } => self.member(node).log.release(through),
            Effect::RoleChanged { role: Role::Leader, .. } => self.leader = Some(node),
            _ => {}
        }
    }

    /// Entries a second.
    fn run(&mut self, time: Duration) -> Result<f64> {
        let leader = self.elect()?;
        let before = self.member(leader).applied;
        let begun = std::time::Instant::now();
        while begun.elapsed() < time {
            for _ in 0..STRIDE / AT_ONCE {
                for ticket in 0..AT_ONCE {
                    let (ticket, payload) = (Ticket(ticket), Bytes::new());
                    self.step(leader, Input::Proposed { ticket, payload });
                }
                self.carry();
            }
            // Leases and elections are not what is measured; the clock only has to move.
            self.now = self.now.after(Duration::from_micros(10));
        }
        let entries = self.member(leader).applied.0 - before.0;
        Ok(entries as f64 / begun.elapsed().as_secs_f64())
    }
}

/// Entries a second behind the seam over those without it: the median of many pairs.
///
/// # Errors
///
/// If nobody comes to lead.
pub(super) fn ratio(pairs: usize, time: Duration) -> Result<f64> {
    let factory = NoriRaft::new(settings()).map_err(|fault| anyhow!(fault))?;
    let membership = factory.founding(&Membership::founding((1..=NODES).map(NodeId)));
    let seam = |boot: Boot| factory.boot(boot).map_err(|error| anyhow!("{error}"));
    let direct =
        |boot: Boot| factory.replica(&boot).map(Box::new).map_err(|error| anyhow!("{error}"));
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        let run_seam = || Group::new(seam, &membership)?.run(time);
        let run_direct = || Group::new(direct, &membership)?.run(time);
        // Which comes first is no advantage to either.
        let (with, without) = if pair % 2 == 0 {
            let with = run_seam()?;
            (with, run_direct()?)
        } else {
            let without = run_direct()?;
            (run_seam()?, without)
        };
        ratios.push(with / without);
    }
    Ok(median(&ratios))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_on_one_thread_applies_what_is_proposed() {
        let ratio = ratio(2, Duration::from_millis(50)).expect("it leads");
        assert!(ratio > 0.0 && ratio.is_finite(), "{ratio}");
    }
}
