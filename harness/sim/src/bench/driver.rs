//! A small driver of replicas behind our seam: a thread each, which steps with everything that came, drains once, and begins what came out.

use super::NODES;
use super::clients::{Client, measure};
use super::mem_log::QuickLog;
use anyhow::{Result, anyhow};
use bytes::Bytes;
use nori_consensus::{
    Boot, Consensus, ConsensusFactory, Effect, Index, Input, Instant, LogView, Membership, NodeId,
    Role, Settings, ShardId, Standing, Ticket,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// Steps with this many inputs at most before it drains.
const BATCH: usize = 1_024;
/// The state is said to be safe as often as this, in entries.
const FLUSH_EVERY: u64 = 10_000;

enum Event {
    Message(NodeId, Bytes),
    Propose(Vec<Client>),
    End,
}

struct Node {
    me: NodeId,
    replica: Box<dyn Consensus>,
    log: Arc<QuickLog>,
    inbox: Receiver<Event>,
    peers: BTreeMap<NodeId, Sender<Event>>,
    done: Sender<Vec<Client>>,
    leader: Arc<AtomicU64>,
    begun: std::time::Instant,
    /// Entries of clients of this node, in order.
    under_way: VecDeque<(Index, Client)>,
    /// Proposals that were refused: their clients try again at the next turn.
    again: Vec<Client>,
    flushed: Index,
    effects: Vec<Effect>,
    ended: bool,
}

impl Node {
    fn now(&self) -> Instant {
        Instant { nanos: self.begun.elapsed().as_nanos() as u64 }
    }

    fn run(mut self) {
        self.settle();
        while !self.ended {
            let wait = match self.replica.deadline() {
                Some(deadline) => {
                    Duration::from_nanos(deadline.nanos.saturating_sub(self.now().nanos))
                }
                None => Duration::from_secs(1),
            };
            let wait =
                if self.again.is_empty() { wait } else { Duration::from_millis(1).min(wait) };
            match self.inbox.recv_timeout(wait) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {
                    let again = std::mem::take(&mut self.again);
                    self.take(Event::Propose(again));
                    let now = self.now();
                    if self.replica.deadline().is_some_and(|deadline| deadline <= now) {
                        self.replica.step(now, Input::TimerFired);
                    }
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
            for _ in 1..BATCH {
                match self.inbox.try_recv() {
                    Ok(event) => self.take(event),
                    Err(_) => break,
                }
            }
            self.settle();
        }
    }

    fn take(&mut self, event: Event) {
        let now = self.now();
        match event {
            Event::Message(from, message) => {
                self.replica.step(now, Input::Received { from, message });
            }
            Event::Propose(clients) => {
                for client in clients {
                    let ticket = Ticket(u64::from(client));
                    self.replica.step(now, Input::Proposed { ticket, payload: Bytes::new() });
                }
            }
            Event::End => self.ended = true,
        }
    }

    /// Drains and begins until nothing more comes.
    fn settle(&mut self) {
        let mut done = Vec::new();
        loop {
            let mut effects = std::mem::take(&mut self.effects);
            self.replica.drain(&mut effects);
            if effects.is_empty() {
                self.effects = effects;
                break;
            }
            let (mut stored, mut applied) = (None, None);
            for effect in effects.drain(..) {
                self.begin(effect, &mut stored, &mut applied);
            }
            self.effects = effects;
            let now = self.now();
            if let Some(write) = stored {
                self.replica.step(now, Input::Stored { write, result: Ok(()) });
            }
            if let Some(through) = applied {
                self.replica.step(now, Input::Applied { through });
                let is_done = |(index, _): &mut (Index, Client)| *index <= through;
                while let Some((_, client)) = self.under_way.pop_front_if(is_done) {
                    done.push(client);
                }
                if through.0 >= self.flushed.0 + FLUSH_EVERY {
                    self.flushed = through;
                    self.replica.step(now, Input::DurablyApplied { through });
                }
            }
        }
        if !done.is_empty() {
            let _ = self.done.send(done);
        }
    }

    fn begin(
        &mut self,
        effect: Effect,
        stored: &mut Option<nori_consensus::WriteId>,
        applied: &mut Option<Index>,
    ) {
        match effect {
            Effect::Store(store) => {
                *stored = Some(store.write);
                self.log.put(store);
            }
            // Whatever it waits for is safe: it was put before.
            Effect::Send { to, message, .. } => {
                if let Some(peer) = self.peers.get(&to) {
                    let _ = peer.send(Event::Message(self.me, message));
                }
            }
            Effect::Apply { through, .. } => *applied = Some(through),
            Effect::Accepted { ticket, at } => {
                self.under_way.push_back((at.index, ticket.0 as Client));
            }
            Effect::Rejected { ticket, .. } => self.again.push(ticket.0 as Client),
            Effect::TruncateLog { through } => self.log.release(through),
            Effect::RoleChanged { role: Role::Leader, .. } => {
                self.leader.store(self.me.0, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        election_min: Duration::from_millis(300),
        heartbeat: Duration::from_millis(50),
        ..Settings::default()
    }
}

fn factory(protocol: &str) -> Result<Arc<dyn ConsensusFactory>> {
    crate::seed::factory(protocol, settings())
}

/// Entries a second of a protocol behind the seam.
///
/// # Errors
///
/// If it is unknown, or does not come to a leader.
pub(crate) fn run(protocol: &str, clients: usize, time: Duration) -> Result<f64> {
    let factory = factory(protocol)?;
    let membership = factory.founding(&Membership::founding((1..=NODES).map(NodeId)));
    let (leader, begun) = (Arc::new(AtomicU64::new(0)), std::time::Instant::now());
    let (done, ended) = channel();
    let (outboxes, inboxes): (Vec<_>, Vec<_>) = (1..=NODES).map(|_| channel()).unzip();
    let peers: BTreeMap<NodeId, Sender<Event>> = (1..=NODES).map(NodeId).zip(outboxes).collect();
    let threads: Vec<_> = peers
        .keys()
        .copied()
        .zip(inboxes)
        .map(|(me, inbox)| {
            let (peers, done, leader) = (peers.clone(), done.clone(), Arc::clone(&leader));
            let (membership, factory) = (membership.clone(), Arc::clone(&factory));
            // A replica lives and dies on its thread.
            std::thread::spawn(move || -> Result<()> {
                let log = Arc::new(QuickLog::default());
                let booted = factory.boot(begin(me, membership, &log));
                let replica = booted.map_err(|error| anyhow!("{error}"))?;
                let node = Node {
                    me,
                    replica,
                    log,
                    inbox,
                    peers,
                    done,
                    leader,
                    begun,
                    under_way: VecDeque::new(),
                    again: Vec::new(),
                    flushed: Index::ZERO,
                    effects: Vec::new(),
                    ended: false,
                };
                node.run();
                Ok(())
            })
        })
        .collect();
    drop(done);
    let rate = await_leader(&leader).and_then(|leader| {
        let leader = &peers[&NodeId(leader)];
        let propose = |clients| {
            leader.send(Event::Propose(clients)).map_err(|_| anyhow!("the leader is gone"))
        };
        measure(clients, time, propose, &ended)
    });
    for peer in peers.values() {
        let _ = peer.send(Event::End);
    }
    for thread in threads {
        thread.join().map_err(|_| anyhow!("a node panicked"))??;
    }
    rate
}

pub(super) fn begin(me: NodeId, membership: Bytes, log: &Arc<QuickLog>) -> Boot {
    Boot {
        me,
        shard: ShardId(1),
        seed: me.0,
        life: 1,
        now: Instant::default(),
        hard_state: Bytes::new(),
        membership,
        snapshot: None,
        applied: Index::ZERO,
        log: Arc::clone(log) as Arc<dyn LogView>,
        standing: Standing::Whole,
        priority: 0,
    }
}

/// Waits until somebody leads.
///
/// # Errors
///
/// If nobody does for long.
pub(crate) fn await_leader(leader: &AtomicU64) -> Result<u64> {
    for _ in 0..2_000 {
        match leader.load(Ordering::Relaxed) {
            0 => std::thread::sleep(Duration::from_millis(10)),
            leader => {
                // Until it has committed something, and the others know it.
                std::thread::sleep(Duration::from_millis(200));
                return Ok(leader);
            }
        }
    }
    Err(anyhow!("nobody leads after 20 seconds"))
}
