//! raft-rs as its documentation says to drive it: a thread a node, its own log in memory, its messages as they are.

use super::NODES;
use super::clients::{Client, measure};
use super::driver::await_leader;
use anyhow::{Result, anyhow};
use raft::eraftpb::{ConfState, Entry, EntryType, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

const TICK: Duration = Duration::from_millis(25);
const BATCH: usize = 1_024;
/// Entries behind what is applied that stay in the log.
const KEPT: u64 = 10_000;

enum Event {
    Message(Box<Message>),
    Propose(Vec<Client>),
    End,
}

struct Node {
    raw: RawNode<MemStorage>,
    inbox: Receiver<Event>,
    peers: BTreeMap<u64, Sender<Event>>,
    done: Sender<Vec<Client>>,
    leader: Arc<AtomicU64>,
    compacted: u64,
    is_ended: bool,
}

impl Node {
    fn new(
        me: u64,
        inbox: Receiver<Event>,
        peers: BTreeMap<u64, Sender<Event>>,
        done: Sender<Vec<Client>>,
        leader: Arc<AtomicU64>,
    ) -> Result<Self> {
        let config = Config {
            id: me,
            election_tick: 12,
            heartbeat_tick: 2,
            max_inflight_msgs: 256,
            max_size_per_msg: 1 << 20,
            check_quorum: true,
            pre_vote: true,
            ..Config::default()
        };
        let voters = (1..=NODES).collect::<Vec<_>>();
        let storage = MemStorage::new_with_conf_state(ConfState::from((voters, Vec::new())));
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raw = RawNode::new(&config, storage, &logger)?;
        Ok(Self { raw, inbox, peers, done, leader, compacted: 0, is_ended: false })
    }

    fn run(mut self) -> Result<()> {
        let mut tick = Instant::now() + TICK;
        while !self.is_ended {
            match self.inbox.recv_timeout(tick.saturating_duration_since(Instant::now())) {
                Ok(event) => self.take(event),
                Err(RecvTimeoutError::Timeout) => {
                    self.raw.tick();
                    tick += TICK;
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(()),
            }
            for _ in 1..BATCH {
                match self.inbox.try_recv() {
                    Ok(event) => self.take(event),
                    Err(_) => break,
                }
            }
            while self.raw.has_ready() {
                self.ready()?;
            }
        }
        Ok(())
    }

    fn take(&mut self, event: Event) {
        match event {
            Event::Message(message) => {
                let _ = self.raw.step(*message);
            }
            Event::Propose(clients) => {
                for client in clients {
                    let _ = self.raw.propose(client.to_le_bytes().to_vec(), Vec::new());
                }
            }
            Event::End => self.is_ended = true,
        }
    }

    fn ready(&mut self) -> Result<()> {
        let mut ready = self.raw.ready();
        if self.raw.raft.state == StateRole::Leader {
            self.leader.store(self.raw.raft.id, Ordering::Relaxed);
        }
        self.send(ready.take_messages());
        let mut done = self.apply(ready.take_committed_entries());
        if !ready.entries().is_empty() {
            self.raw.store().wl().append(ready.entries())?;
        }
        if let Some(hard_state) = ready.hs() {
            self.raw.store().wl().set_hardstate(hard_state.clone());
        }
        self.send(ready.take_persisted_messages());
        let mut light = self.raw.advance(ready);
        self.send(light.take_messages());
        done.extend(self.apply(light.take_committed_entries()));
        self.raw.advance_apply();
        if !done.is_empty() {
            let _ = self.done.send(done);
        }
        let applied = self.raw.raft.raft_log.applied;
        if applied > self.compacted + 2 * KEPT {
            self.compacted = applied - KEPT;
            self.raw.store().wl().compact(self.compacted)?;
        }
        Ok(())
    }

    fn send(&self, messages: Vec<Message>) {
        for message in messages {
            if let Some(peer) = self.peers.get(&message.to) {
                let _ = peer.send(Event::Message(Box::new(message)));
            }
        }
    }

    /// Does nothing with entries; whose they are, on the node that leads.
    fn apply(&self, entries: Vec<Entry>) -> Vec<Client> {
        if self.raw.raft.state != StateRole::Leader {
            return Vec::new();
        }
        let clients = entries.into_iter().filter_map(|entry| {
            let client = entry.context.first_chunk().map(|client| Client::from_le_bytes(*client));
            client.filter(|_| entry.entry_type == EntryType::EntryNormal)
        });
        clients.collect()
    }
}

/// Entries a second.
///
/// # Errors
///
/// If it does not come to a leader.
pub(crate) fn run(clients: usize, time: Duration) -> Result<f64> {
    let leader = Arc::new(AtomicU64::new(0));
    let (done, ended) = channel();
    let (outboxes, inboxes): (Vec<_>, Vec<_>) = (1..=NODES).map(|_| channel()).unzip();
    let peers: BTreeMap<u64, Sender<Event>> = (1..=NODES).zip(outboxes).collect();
    let threads: Vec<_> = (1..=NODES)
        .zip(inboxes)
        .map(|(me, inbox)| {
            let (peers, done, leader) = (peers.clone(), done.clone(), Arc::clone(&leader));
            std::thread::spawn(move || Node::new(me, inbox, peers, done, leader)?.run())
        })
        .collect();
    drop(done);
    let rate = await_leader(&leader).and_then(|leader| {
        let leader = &peers[&leader];
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
