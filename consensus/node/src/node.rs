//! A whole node: from a folder and a list of seeds to a member of a cluster that holds its share.
//!
//! A node is **fresh** until it has a charter ([`crate::founding`]), and a **member** from then on:
//!
//! 1. Its replicas are those of its roster. The shard map says which those ought to be; a newer map opens and closes replicas.
//! 2. The map is a row of the last shard, which is a shard like any other but that no client's key is in it. Whoever leads it **conducts**: it decides about members and
//!    targets and asks leaders for the steps ([`crate::conductor`]).
//! 3. Maps spread by epochs: who has a newer one says so to all, who has an older one asks.
//! 4. Who lives is the failure detector's word. It moves nothing: it wakes replicas that sleep, and keeps the conductor from asking the dead.

mod conduct;
mod holdings;
mod member;
mod requests;
mod swimming;

pub use member::Member;

use crate::charter::{Addresses, Charter, CharterError, Files, Identity};
use crate::error::NodeError;
use crate::founding::{Candidate, Founding, FoundingError, Introduction, Verdict};
use crate::packet::BadPacket;
use crate::shards::Parts;
use crate::stages::Stages;
use bytes::Bytes;
use nori_consensus::{Input, Instant, NodeId, Role, ShardId, Term};
use nori_env::Durability;
use norikv_placement::{self as placement, ShardMap};
use norikv_replica::{Answer, Now, Request, RequestId};
use std::path::PathBuf;

/// What is a good bound between writing entries anew and flushing: a flush costs a table and its syncs.
pub const LOG_REWRITE_BYTES_MAX: u64 = 256 << 10;

/// What a node is set to.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What it is, and what cluster it is to be of. `candidate.node` is that of its identity.
    pub candidate: Candidate,
    /// The peer addresses of those that found the cluster, the same list for all; empty for one that is alone.
    pub seeds: Vec<String>,
    /// Where it keeps everything but its log.
    pub dir: PathBuf,
    /// What a write survives that was acknowledged.
    pub durability: Durability,
    /// Of every replica.
    pub replica: norikv_replica::Settings,
    /// Above so many segments of the log, what keeps the oldest from going is flushed or written anew.
    pub log_segments_max: u64,
    /// Entries of a shard that are no more bytes than this are written anew rather than flushed: [`LOG_REWRITE_BYTES_MAX`], unless for tests.
    pub log_rewrite_bytes_max: u64,
    /// Of the failure detector.
    pub swim: nori_swim::Settings,
    /// How many shards may move onto or off one node at once.
    pub moves: placement::MoveLimit,
}

/// Something for whoever drives the node.
#[derive(Debug)]
pub enum Output {
    /// Send a packet to a node. It may be lost; those to one node arrive in order, or not at all.
    Send {
        /// To whom; where that is, [`Node::addresses`] says.
        to: NodeId,
        /// What.
        packet: Bytes,
    },
    /// Introduce this node to whoever is at a peer address, and hand in what comes back ([`Node::introduced`]).
    Introduce {
        /// Where.
        address: String,
        /// By these bytes.
        packet: Bytes,
    },
    /// Send a packet of the failure detector.
    Gossip {
        /// The address of somebody's failure detector.
        to: String,
        /// As a datagram, or over a stream.
        class: nori_swim::Class,
        /// What.
        packet: Bytes,
    },
    /// A client's request has ended.
    Answer {
        /// Of which shard.
        shard: ShardId,
        /// How.
        answer: Answer,
    },
    /// An operator's request has ended.
    Decided {
        /// Which.
        request: RequestId,
        /// How.
        result: Result<(), Refused>,
    },
    /// For those who watch: something is different now.
    Event(Event),
}

/// Something that has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// This node is a member of a cluster.
    Chartered {
        /// Its name.
        name: String,
    },
    /// There is another map.
    MapChanged {
        /// Its epoch.
        epoch: u64,
    },
    /// Who leads a shard, or what this node's replica is.
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
    /// This node has no replica of a shard any more: the group has let it go.
    ReplicaGone {
        /// Which.
        shard: ShardId,
    },
    /// What the failure detector says of a member.
    Member {
        /// Which.
        node: NodeId,
        /// How it is seen.
        state: nori_swim::MemberState,
    },
    /// A replica has ended, and will be opened again.
    Failed {
        /// Of which shard.
        shard: ShardId,
        /// Why.
        why: String,
    },
}

/// Why an operator's request was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Another node conducts.
    #[error("this node does not conduct the cluster")]
    NotConductor {
        /// Which does, if that is known.
        conductor: Option<NodeId>,
    },
    /// It breaks a rule of the map.
    #[error(transparent)]
    Placement(#[from] placement::PlacementError),
    /// Nobody knows.
    #[error("the conductor was replaced before the request ended; look whether it was done")]
    Unknown,
}

/// Why a node cannot go on, or not begin.
#[derive(Debug, thiserror::Error)]
pub enum Fatal {
    /// Its folder cannot be used.
    #[error(transparent)]
    Charter(#[from] CharterError),
    /// It cannot be of the cluster.
    #[error(transparent)]
    Founding(#[from] FoundingError),
    /// Its log or a replica cannot go on.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// What it is set to cannot be.
    #[error("the failure detector: {0}")]
    Swim(#[from] nori_swim::SwimError),
    /// Another process runs with this node's folder, or a copy of it.
    #[error("a later start of this node is about: its folder is in use twice")]
    Superseded,
}

/// A node.
pub struct Node {
    settings: Settings,
    identity: Identity,
    parts: Parts,
    phase: Phase,
    outputs: Vec<Output>,
}

enum Phase {
    Fresh(Box<Founding>),
    Member(Box<Member>),
}

impl Node {
    /// Begins a life. Waits for the disk.
    ///
    /// # Errors
    ///
    /// [`Fatal`].
    pub fn boot(
        settings: Settings,
        identity: Identity,
        parts: Parts,
        now: Now,
    ) -> Result<Self, Fatal> {
        let files = Files { fs: &*parts.engine_parts.fs, tasks: &*parts.engine_parts.tasks };
        let phase = match Charter::read(&settings.dir, files)? {
            Some(charter) => {
                let whose = format!("the cluster of {}", settings.dir.display());
                settings.candidate.check_protocol(&whose, &charter.protocol)?;
                let member = Member::begin(&settings, &identity, parts.clone(), charter, now)?;
                Phase::Member(Box::new(member))
            }
            None => {
                let candidate = settings.candidate.clone();
                Phase::Fresh(Box::new(Founding::new(now.steady, candidate, &settings.seeds)))
            }
        };
        let mut node = Self { settings, identity, parts, phase, outputs: Vec::new() };
        if let Phase::Fresh(founding) = &node.phase {
            let verdict = founding.judge(node.lot())?;
            node.follow(now, verdict)?;
        }
        Ok(node)
    }

    /// Its number.
    pub fn id(&self) -> NodeId {
        self.identity.node
    }

    /// What it is as a member; `None` while it is fresh.
    pub fn member(&self) -> Option<&Member> {
        match &self.phase {
            Phase::Fresh(_) => None,
            Phase::Member(member) => Some(member),
        }
    }

    /// The same, to ask something of it.
    pub fn member_mut(&mut self) -> Option<&mut Member> {
        match &mut self.phase {
            Phase::Fresh(_) => None,
            Phase::Member(member) => Some(member),
        }
    }

    /// Where a node is reached, as far as this one knows.
    pub fn addresses(&self, node: NodeId) -> Option<&Addresses> {
        self.member()?.addresses(node)
    }

    fn lot(&self) -> u64 {
        self.parts.engine_parts.entropy.next_u64() >> 11
    }

    /// Somebody introduces itself: what it is told.
    ///
    /// # Errors
    ///
    /// If this node has to end.
    pub fn introduction(&mut self, now: Now, by: &str, packet: &Bytes) -> Result<Bytes, Fatal> {
        let refused = |why: &str| Ok(Introduction::Refused(why.to_owned()).encode());
        let Some(introduction) = Introduction::decode(packet) else {
            return refused("it is no introduction that this program knows");
        };
        let answer = match (&mut self.phase, introduction) {
            (_, Introduction::Refused(_)) => return refused("nobody asked"),
            (Phase::Member(member), Introduction::Fresh(candidate)) => {
                member.welcome(now, candidate)
            }
            (Phase::Member(member), Introduction::Charter(charter)) => member.compare(&charter),
            (Phase::Fresh(founding), Introduction::Fresh(candidate)) => {
                let seed = candidate.addresses.peer.clone();
                let answer = founding.answer();
                let lot = self.parts.engine_parts.entropy.next_u64() >> 11;
                let verdict = founding.heard(&seed, Introduction::Fresh(candidate), lot);
                // A stranger's mistake is not this node's end.
                if let Ok(verdict) = verdict {
                    self.follow(now, verdict)?;
                }
                match self.member() {
                    Some(member) => Introduction::Charter(member.charter().clone()),
                    None => answer,
                }
            }
            (Phase::Fresh(founding), Introduction::Charter(charter)) => {
                match founding.offered(by, charter) {
                    Ok(verdict) => {
                        self.follow(now, verdict)?;
                        match self.member() {
                            Some(member) => Introduction::Charter(member.charter().clone()),
                            None => Introduction::Refused("it could not be adopted".to_owned()),
                        }
                    }
                    Err(error) => Introduction::Refused(error.to_string()),
                }
            }
        };
        Ok(answer.encode())
    }

    /// What came back from an introduction.
    ///
    /// # Errors
    ///
    /// If this node cannot be of the cluster.
    pub fn introduced(&mut self, now: Now, address: &str, answer: &Bytes) -> Result<(), Fatal> {
        let Some(answer) = Introduction::decode(answer) else { return Ok(()) };
        let lot = self.lot();
        match &mut self.phase {
            Phase::Member(_) => Ok(()),
            Phase::Fresh(founding) => {
                let verdict = founding.heard(address, answer, lot)?;
                self.follow(now, verdict)
            }
        }
    }

    /// Does what follows from an introduction. Waits for the disk: a node does it once.
    fn follow(&mut self, now: Now, verdict: Verdict) -> Result<(), Fatal> {
        let (charter, is_founder) = match verdict {
            Verdict::Wait => return Ok(()),
            Verdict::Found(charter) => (charter, true),
            Verdict::Adopt(charter) => (charter, false),
        };
        let files =
            Files { fs: &*self.parts.engine_parts.fs, tasks: &*self.parts.engine_parts.tasks };
        charter.write(&self.settings.dir, files)?;
        if is_founder {
            // Whoever does not hear of it now will ask.
            let packet = Introduction::Charter(charter.clone()).encode();
            for (node, addresses) in &charter.founders {
                if *node != self.identity.node {
                    let (address, packet) = (addresses.peer.clone(), packet.clone());
                    self.outputs.push(Output::Introduce { address, packet });
                }
            }
        }
        self.outputs.push(Output::Event(Event::Chartered { name: charter.name.clone() }));
        let parts = self.parts.clone();
        let member = Member::begin(&self.settings, &self.identity, parts, charter, now)?;
        self.phase = Phase::Member(Box::new(member));
        Ok(())
    }

    /// A packet came from `from`, as whoever drives this node knows it.
    ///
    /// # Errors
    ///
    /// If it is none for this node.
    pub fn receive(&mut self, now: Now, from: NodeId, packet: &Bytes) -> Result<(), BadPacket> {
        match &mut self.phase {
            Phase::Fresh(_) => Err(BadPacket::OtherCluster),
            Phase::Member(member) => member.receive(now, from, packet),
        }
    }

    /// A packet of somebody's failure detector came. One that is none for this node is passed over: that is counted there.
    pub fn gossip(&mut self, now: Now, class: nori_swim::Class, packet: &Bytes) {
        if let Phase::Member(member) = &mut self.phase {
            member.gossip(now, class, packet);
        }
    }

    /// Whoever drives this node cannot reach another one. Groups that sleep wake up for it: sooner than the failure detector is certain, for here somebody waits.
    pub fn unreachable(&mut self, now: Now, peer: NodeId) {
        if let Phase::Member(member) = &mut self.phase {
            for input in [Input::PeerUnreachable { peer }, Input::PeerDown { peer }] {
                member.replicas_mut().step_all(now, &input);
            }
        }
    }

    /// Bounds the segments of the log, as [`Settings::log_segments_max`] does, from now on.
    pub fn bound_log(&mut self, segments_max: u64) {
        if let Phase::Member(member) = &mut self.phase {
            member.replicas_mut().bound_log(segments_max);
        }
    }

    /// A client's request; whether this node has a replica of the shard. The answer comes as an output.
    pub fn request(&mut self, now: Now, shard: ShardId, id: RequestId, request: Request) -> bool {
        match &mut self.phase {
            Phase::Fresh(_) => false,
            Phase::Member(member) => member.request(now, shard, id, request),
        }
    }

    /// Follows the way of a write that is handed in next ([`Self::request`]).
    pub fn trace(&mut self, shard: ShardId, id: RequestId) {
        if let Phase::Member(member) = &mut self.phase {
            member.replicas_mut().follow(shard, id);
        }
    }

    /// Where the time of a write went that was followed, up to now; `None` if it did not go all the way. To be asked once.
    pub fn traced(&mut self, shard: ShardId, id: RequestId) -> Option<Stages> {
        self.member_mut()?.replicas_mut().followed(shard, id)
    }

    /// An operator's request to change the map. What comes of it is an output.
    pub fn decide(&mut self, request: RequestId, change: placement::Change) {
        match &mut self.phase {
            Phase::Fresh(_) => {
                let result = Err(Refused::NotConductor { conductor: None });
                self.outputs.push(Output::Decided { request, result });
            }
            Phase::Member(member) => member.decide(request, change),
        }
    }

    /// When to take a turn though nothing happened.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Fresh(founding) => Some(founding.deadline()),
            Phase::Member(member) => member.deadline(),
        }
    }

    /// Everything that can be done now.
    ///
    /// # Errors
    ///
    /// If this node has to end.
    pub fn turn(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), Fatal> {
        match &mut self.phase {
            Phase::Fresh(founding) => {
                for (address, packet) in founding.introductions(now.steady) {
                    self.outputs.push(Output::Introduce { address, packet });
                }
            }
            Phase::Member(member) => member.turn(now, &mut self.outputs)?,
        }
        outputs.append(&mut self.outputs);
        Ok(())
    }
}

/// The number of a shard in the map.
pub(crate) fn placed(shard: ShardId) -> Option<placement::ShardId> {
    u32::try_from(shard.0).ok().map(placement::ShardId)
}

/// The shard with the map itself: the last.
pub(crate) fn map_shard(map: &ShardMap) -> ShardId {
    ShardId(u64::from(map.shard_count().get()) - 1)
}

#[cfg(test)]
mod tests;
