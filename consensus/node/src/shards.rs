//! The replicas of a node: what they are told, and what they are made of.

mod install;
mod log;
mod snapshots;
mod turn;

pub(crate) use install::{Before, Done as InstallDone};
pub(crate) use snapshots::{Done as SnapshotDone, Wanted};

use crate::error::NodeError;
use crate::host::Host;
use crate::inbox::{Inbox, Note, Waker};
use crate::packet::{self, BadPacket, ClusterId, Frame, Packet};
use crate::snapshot::{Shipment, TransferId};
use crate::stages::{Following, Stages};
use crate::wheel::Wheel;
use bytes::Bytes;
use nori_consensus::{
    ConsensusFactory, Index, Input, Instant, LogId, NodeId, Role, ShardId, SnapshotHandle,
    Standing, Status, Term,
};
use nori_env::{Class, Durability, Tasks};
use nori_kv::{Engine, EngineFactory};
use nori_raft_log::NodeLog;
use norikv_replica::{
    Answer, Now, Opening, Replica, ReplicaError, Request, RequestId, Settings, State,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

/// What a node is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Its number.
    pub me: NodeId,
    /// Its cluster's.
    pub cluster: ClusterId,
    /// How often it was started, this time included: more than in every earlier life.
    pub boots: u64,
    /// Where it keeps what is its own: `shards` and `snapshots`.
    pub dir: PathBuf,
    /// What a write survives that was acknowledged. Promises are synced whatever this says.
    pub durability: Durability,
    /// Of every replica.
    pub replica: Settings,
    /// Above so many segments of the log, what keeps the oldest from going is flushed or written anew.
    pub log_segments_max: u64,
    /// Entries of a shard that are no more bytes than this are written anew rather than flushed.
    pub log_rewrite_bytes_max: u64,
}

/// What a node is made of.
#[derive(Clone)]
pub struct Parts {
    /// Makes the state of a shard; without a log of its own.
    pub engine: Arc<dyn EngineFactory>,
    /// With these.
    pub engine_parts: nori_kv::Parts,
    /// The protocol.
    pub protocol: Arc<dyn ConsensusFactory>,
    /// The log of all shards.
    pub log: Arc<dyn NodeLog>,
    /// What the machine calls its own start; empty if it does not.
    pub machine_boot: String,
    /// Wakes the driver.
    pub waker: Waker,
}

/// A shard to open.
#[derive(Clone, Debug)]
pub struct ShardOpening {
    /// Which.
    pub shard: ShardId,
    /// The membership of the founding, as the protocol makes it; empty where this node joins.
    pub founding: Bytes,
    /// Whether the replica can keep what it promised.
    pub standing: Standing,
    /// Whom the group prefers as leader.
    pub priority: u8,
}

/// Something for the driver.
#[derive(Debug)]
pub enum Output {
    /// Send a packet. It may be lost; those of one peer arrive in order, or not at all.
    Send {
        /// To whom.
        to: NodeId,
        /// What.
        packet: Bytes,
    },
    /// A request has ended.
    Answer {
        /// Of which shard.
        shard: ShardId,
        /// How.
        answer: Answer,
    },
    /// Who leads a shard, or what this node's replica is, is another.
    RoleChanged {
        /// Which.
        shard: ShardId,
        /// What it is.
        role: Role,
        /// Since when.
        term: Term,
        /// Who leads.
        leader: Option<NodeId>,
    },
    /// A replica cannot go on. Its requests get no answers any more; to open the shard again begins its next life.
    Failed {
        /// Of which shard.
        shard: ShardId,
        /// Why.
        why: NodeError,
    },
    /// Nothing is left of a replica.
    Destroyed {
        /// Of which shard.
        shard: ShardId,
    },
    /// A replica that was to be opened elsewhere has begun its life, or why not.
    Opened {
        /// Of which shard.
        shard: ShardId,
        /// Whether it has.
        result: Result<(), String>,
    },
    /// Something that was to be done with the disk is done.
    Chore {
        /// What.
        chore: Chore,
        /// Whether it is.
        result: Result<(), String>,
    },
}

/// What a node has done with its disk where waiting for it keeps nobody waiting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chore {
    /// The map of this epoch was kept.
    MapKept(u64),
    /// The file of a shard was removed whose replica is gone.
    ShardForgotten(ShardId),
    /// The file of a shard says that its replica is doubtful no more.
    DoubtEnded(ShardId),
}

/// The replicas of a node, on its log.
pub struct Shards {
    config: Config,
    parts: Parts,
    inbox: Arc<Inbox>,
    hosts: BTreeMap<ShardId, Host>,
    /// Those that may have something to drain or to do.
    ready: BTreeSet<ShardId>,
    wheel: Wheel,
    /// Batches that were appended and are not safe yet, in order.
    flights: VecDeque<turn::Flight>,
    packets: BTreeMap<NodeId, Packet>,
    shipments: BTreeMap<TransferId, Shipment>,
    arrivals: BTreeMap<(NodeId, TransferId), snapshots::Receiving>,
    received: BTreeMap<SnapshotHandle, snapshots::Received>,
    /// Snapshots that could not be shipped: when the replica is told, so that it does not ask for the next at once.
    unshipped: Vec<(Instant, ShardId, NodeId)>,
    /// Shards whose state is going.
    doomed: BTreeSet<ShardId>,
    /// Those whose state is gone, and whose log goes next.
    gone: BTreeSet<ShardId>,
    turns: u64,
    last_transfer: u64,
    last_handle: SnapshotHandle,
    /// How many replicas were opened in this life of the node.
    openings: u64,
    tidying: log::Tidying,
    following: Following,
    outputs: Vec<Output>,
}

impl Shards {
    /// A node without a shard.
    pub fn new(config: Config, parts: Parts) -> Self {
        let inbox = Inbox::new(Arc::clone(&parts.waker));
        Self {
            last_transfer: config.boots << 32,
            following: Following::new(Arc::clone(&parts.engine_parts.clock)),
            config,
            parts,
            inbox,
            hosts: BTreeMap::new(),
            ready: BTreeSet::new(),
            wheel: Wheel::default(),
            flights: VecDeque::new(),
            packets: BTreeMap::new(),
            shipments: BTreeMap::new(),
            arrivals: BTreeMap::new(),
            received: BTreeMap::new(),
            unshipped: Vec::new(),
            doomed: BTreeSet::new(),
            gone: BTreeSet::new(),
            turns: 0,
            last_handle: SnapshotHandle::ZERO,
            openings: 0,
            tidying: log::Tidying::default(),
            outputs: Vec::new(),
        }
    }

    /// Begins a life of a shard's replica, for the first time or again. Waits for the disk.
    ///
    /// # Errors
    ///
    /// If its log or state cannot be read, or do not go together.
    pub fn open_shard(&mut self, now: Now, opening: ShardOpening) -> Result<(), NodeError> {
        let shard = opening.shard;
        let state = self.state_opener(shard).open();
        self.begin_life(now, opening, state?)
    }

    /// The same, but what waits for the disk does so elsewhere, after `before`. [`Output::Opened`] says what came of it.
    pub(crate) fn open_shard_elsewhere(&self, opening: ShardOpening, before: Before) {
        let opener = self.state_opener(opening.shard);
        self.inbox.submit(self.tasks(), Class::Flush, move || {
            let state = before().and_then(|()| opener.open().map_err(|error| error.to_string()));
            Note::Opened(Box::new(opening), state)
        });
    }

    fn opened(&mut self, now: Now, opening: ShardOpening, state: Result<State, String>) {
        let shard = opening.shard;
        let begun = state.and_then(|state| {
            self.begin_life(now, opening, state).map_err(|error| error.to_string())
        });
        self.outputs.push(Output::Opened { shard, result: begun });
    }

    /// Has something done with the disk elsewhere. [`Output::Chore`] says when it is.
    pub(crate) fn do_elsewhere(&self, chore: Chore, work: Before) {
        self.inbox.submit(self.tasks(), Class::Flush, move || Note::Chore(chore, work()));
    }

    fn begin_life(
        &mut self,
        now: Now,
        opening: ShardOpening,
        state: State,
    ) -> Result<(), NodeError> {
        let ShardOpening { shard, founding, standing, priority } = opening;
        let wrong = |why| NodeError::Replica { shard, why };
        self.match_log(shard, state.applied())?;
        self.forget_intent(shard)?;
        self.openings += 1;
        let life = (self.config.boots << 20) + self.openings;
        let replica = Replica::open(
            Opening {
                me: self.config.me,
                shard,
                protocol: &*self.parts.protocol,
                founding,
                state,
                log: self.parts.log.view(shard)?,
                hard_state: self.parts.log.hard_state(shard),
                life,
                seed: self.parts.engine_parts.entropy.next_u64(),
                standing,
                priority,
                settings: self.config.replica.clone(),
            },
            now,
        )
        .map_err(wrong)?;
        self.hosts.insert(shard, Host::new(replica, life));
        self.ready.insert(shard);
        Ok(())
    }

    /// A life ended between the installation of a state and the reset of the log: the log follows.
    fn match_log(&self, shard: ShardId, applied: LogId) -> Result<(), NodeError> {
        let view = self.parts.log.view(shard)?;
        if applied.index.next() < view.first() {
            // Entries that the state lacks were let go: it is not the state that they were let go for.
            let why = ReplicaError::Log { at: applied.index.next() };
            return Err(NodeError::Replica { shard, why });
        }
        if applied != LogId::ZERO && view.term(applied.index) != Some(applied.term) {
            let mut batch = nori_raft_log::Batch::default();
            batch.reset(shard, applied);
            let mark = self.parts.log.append(batch)?;
            self.parts.log.sync(&mark)?;
        }
        Ok(())
    }

    /// A packet came from `from`, as the driver knows it. What in it is not for replicas goes into `others`.
    ///
    /// # Errors
    ///
    /// If it is none for this node; nothing of it counts then.
    pub(crate) fn receive(
        &mut self,
        now: Now,
        from: NodeId,
        packet: &Bytes,
        others: &mut Vec<Bytes>,
    ) -> Result<(), BadPacket> {
        let (sender, frames) = packet::open(packet, self.config.cluster, self.config.me)?;
        if sender != from {
            return Err(BadPacket::OtherNode(sender));
        }
        for frame in frames {
            match frame {
                Frame::Message { shard, message, .. } => {
                    self.step(now, shard, Input::Received { from, message });
                }
                Frame::Snapshot(body) => self.snapshot_note(now, from, &body),
                Frame::Control(body) => others.push(body),
            }
        }
        Ok(())
    }

    /// A client's request of a shard; whether this node has a replica of it. Its answer comes as an output.
    pub fn request(&mut self, now: Now, shard: ShardId, id: RequestId, request: Request) -> bool {
        let Some(host) = self.hosts.get_mut(&shard) else { return false };
        host.replica.request(now, id, request);
        self.ready.insert(shard);
        true
    }

    /// Follows the way of a write that is handed in next.
    pub(crate) fn follow(&mut self, shard: ShardId, id: RequestId) {
        self.following.begin(shard, id);
    }

    /// Where the time of a write went that was answered, if it was followed.
    pub(crate) fn followed(&mut self, shard: ShardId, id: RequestId) -> Option<Stages> {
        self.following.end(shard, id)
    }

    /// Tells the replica of a shard something, if there is one.
    pub fn step(&mut self, now: Now, shard: ShardId, input: Input) {
        if let Some(host) = self.hosts.get_mut(&shard) {
            host.replica.step(now, input);
            self.ready.insert(shard);
        }
    }

    /// Whether writes of an earlier life of the shard's replica are not safe yet: the next one would take them for safe.
    pub(crate) fn is_landing(&self, shard: ShardId) -> bool {
        self.flights.iter().any(|flight| flight.has(shard))
    }

    /// Tells all replicas the same.
    pub fn step_all(&mut self, now: Now, input: &Input) {
        let shards: Vec<ShardId> = self.hosts.keys().copied().collect();
        shards.into_iter().for_each(|shard| self.step(now, shard, input.clone()));
    }

    /// Bounds the segments of the log from now on.
    pub(crate) fn bound_log(&mut self, segments_max: u64) {
        self.config.log_segments_max = segments_max;
    }

    /// Says something of the node's own to another, in the next packet.
    pub(crate) fn control(&mut self, to: NodeId, body: &[u8]) {
        self.packet(to).control(body);
    }

    /// Ends a replica for good: after `before`, its state and its log go. [`Output::Destroyed`] says when they have.
    pub(crate) fn destroy_shard(&mut self, shard: ShardId, before: Before) {
        self.hosts.remove(&shard);
        self.wheel.set(shard, None);
        self.ready.remove(&shard);
        self.forget_transfers(shard);
        self.doomed.insert(shard);
        self.destroy(shard, before);
    }

    /// By the leader's word, everything that was written to the shard before `asked` is in the entries up to `index`.
    pub fn refresh(&mut self, shard: ShardId, asked: Instant, index: Index) {
        if let Some(host) = self.hosts.get_mut(&shard) {
            host.replica.refresh(asked, index);
        }
    }

    /// When to take a turn though nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.ready.is_empty() {
            // The last turn was long enough.
            return Some(Instant::default());
        }
        let all = [self.wheel.next(), self.next_transfer(), self.tidying.deadline()];
        all.into_iter().flatten().min()
    }

    /// The shards that have a replica here, and what it says of itself.
    pub fn shards(&self) -> impl Iterator<Item = (ShardId, Status)> + '_ {
        self.hosts.iter().map(|(shard, host)| (*shard, host.replica.status()))
    }

    /// The last entry that the state of a shard has; `None` if there is no replica here, or its state is being replaced.
    pub fn applied(&self, shard: ShardId) -> Option<LogId> {
        self.hosts.get(&shard)?.replica.applied()
    }

    /// Whether the state of a shard is being replaced.
    pub fn is_installing(&self, shard: ShardId) -> bool {
        self.hosts.get(&shard).is_some_and(|host| host.replica.applied().is_none())
    }

    /// The last entry that no crash takes away from the state of a shard; `None` as above.
    pub fn safe(&self, shard: ShardId) -> Option<LogId> {
        self.hosts.get(&shard)?.replica.safe()
    }

    /// The engine with the state of a shard, for what operators do; `None` as above.
    pub fn engine(&self, shard: ShardId) -> Option<Arc<dyn Engine>> {
        self.hosts.get(&shard)?.replica.engine().cloned()
    }

    fn shard_dir(&self, shard: ShardId) -> PathBuf {
        self.config.dir.join("shards").join(shard.0.to_string())
    }

    fn tasks(&self) -> &dyn Tasks {
        &*self.parts.engine_parts.tasks
    }
}
