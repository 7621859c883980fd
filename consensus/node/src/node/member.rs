//! A node that is a member: its replicas, what it knows of the others, and what it says to them.

use super::conduct::Conducting;
use super::requests::Waiting;
use super::swimming::Swimming;
use super::{Event, Fatal, Output, Settings, map_shard, placed};
use crate::charter::{Addresses, Charter, Files, Identity};
use crate::conductor::Report;
use crate::control::Control;
use crate::founding::{Candidate, Introduction};
use crate::packet::BadPacket;
use crate::roster::{Listed, Roster};
use crate::shards::{Config, Output as ShardOutput, Parts, ShardOpening, Shards};
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Input, Instant, Membership, NodeId, Role, ShardId, Standing, Term};
use nori_env::Durability;
use nori_swim::MemberState;
use norikv_placement::{self as placement, Epoch, ShardMap};
use norikv_replica::{Now, RequestId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How often a member looks after what needs no hurry: reports, replicas that failed, leaders that ought to be others.
const CHORES: Duration = Duration::from_millis(200);
/// Reports are made this often, and whenever they say something new.
const REPORT: Duration = Duration::from_secs(2);
/// A replica that failed is opened again after this, and after twice as long each time.
pub(super) const REOPEN: Duration = Duration::from_secs(1);
pub(super) const REOPEN_MAX: Duration = Duration::from_secs(60);
/// A leader that was told to hand over is told again after this.
const HAND_OVER: Duration = Duration::from_secs(10);
/// Addresses of nodes that are no members are kept of so many.
const STRANGERS_MAX: usize = 256;
/// The map as this node knew it last when it did something by it.
pub(super) const MAP: &str = "MAP";
pub(super) const NEVER: Instant = Instant { nanos: u64::MAX };

/// A member of a cluster.
pub struct Member {
    pub(super) settings: Settings,
    pub(super) me: NodeId,
    pub(super) charter: Charter,
    /// The newest map that this node has seen.
    pub(super) map: ShardMap,
    /// Where nodes are, as the charter, the map's news or the failure detector said last.
    pub(super) addresses: BTreeMap<NodeId, Addresses>,
    pub(super) shards: Shards,
    pub(super) swimming: Swimming,
    pub(super) conducting: Conducting,
    pub(super) roster: Roster,
    /// This node has been in a map.
    pub(super) has_joined: bool,
    /// The epoch of the map that is kept on the disk.
    pub(super) kept: Epoch,
    /// A newer one is being kept; and whether with it that this node has joined.
    pub(super) keeping: Option<bool>,
    /// Shards whose replicas are being opened.
    pub(super) opening: BTreeSet<ShardId>,
    /// What each shard was founded as on this node.
    pub(super) foundings: BTreeMap<ShardId, Bytes>,
    pub(super) parts: Parts,
    /// Replicas that failed: when they are opened again, and after how long the next time.
    pub(super) failed: BTreeMap<ShardId, (Instant, Duration)>,
    /// Shards whose replicas are being removed.
    pub(super) closing: BTreeSet<ShardId>,
    pub(super) leaders: BTreeMap<ShardId, (Term, Option<NodeId>)>,
    handed_over: BTreeMap<ShardId, Instant>,
    pub(super) chores_at: Instant,
    reported_at: Instant,
    reported: Vec<Report>,
    /// From here on the next is told of the map.
    told: NodeId,
    /// Replicas that may have promised what they do not know any more, as their files say.
    pub(super) doubtful: BTreeSet<ShardId>,
    /// Of these, whose files are being changed for they were brought up.
    pub(super) settling: BTreeSet<ShardId>,
    /// Stale reads that the leader's word may be needed for.
    pub(super) stale: Vec<Waiting>,
    /// Read indices that are being found out: for whom, and as of when.
    pub(super) indices: BTreeMap<RequestId, (NodeId, Instant)>,
    /// Read indices that leaders were asked for: when, by this node's clock, and of which shard.
    pub(super) asking: BTreeSet<(Instant, ShardId)>,
    pub(super) outputs: Vec<Output>,
    shard_outputs: Vec<ShardOutput>,
}

impl Member {
    /// Begins to be one. Waits for the disk.
    pub(super) fn begin(
        settings: &Settings,
        identity: &Identity,
        parts: Parts,
        charter: Charter,
        now: Now,
    ) -> Result<Self, Fatal> {
        let shards_dir = settings.dir.join("shards");
        let config = Config {
            me: identity.node,
            cluster: charter.cluster,
            boots: identity.boots,
            dir: settings.dir.clone(),
            durability: settings.durability,
            replica: settings.replica.clone(),
            log_segments_max: settings.log_segments_max,
            log_rewrite_bytes_max: settings.log_rewrite_bytes_max,
        };
        let swimming = Swimming::begin(settings, identity, &charter, &parts, now)?;
        let mut member = Self {
            me: identity.node,
            map: charter.map.clone(),
            addresses: charter.founders.iter().cloned().collect(),
            shards: Shards::new(config, parts.clone()),
            swimming,
            conducting: Conducting::default(),
            roster: Roster::new(shards_dir),
            has_joined: charter.map.members().contains_key(&placement::NodeId(identity.node.0)),
            kept: charter.map.epoch(),
            keeping: None,
            opening: BTreeSet::new(),
            foundings: BTreeMap::new(),
            failed: BTreeMap::new(),
            closing: BTreeSet::new(),
            leaders: BTreeMap::new(),
            handed_over: BTreeMap::new(),
            chores_at: now.steady,
            reported_at: now.steady,
            reported: Vec::new(),
            told: NodeId(0),
            doubtful: BTreeSet::new(),
            settling: BTreeSet::new(),
            stale: Vec::new(),
            indices: BTreeMap::new(),
            asking: BTreeSet::new(),
            outputs: Vec::new(),
            shard_outputs: Vec::new(),
            settings: settings.clone(),
            charter,
            parts,
        };
        let has_joined = member.roster.has_joined(Self::files(&member.parts))?;
        member.has_joined |= has_joined;
        member.take_up_map()?;
        member.addresses.insert(member.me, settings.candidate.addresses.clone());
        member.swim_join(now)?;
        member.open_all(now, identity)?;
        member.shards.sweep_snapshots();
        Ok(member)
    }

    pub(super) fn files(parts: &Parts) -> Files<'_> {
        Files { fs: &*parts.engine_parts.fs, tasks: &*parts.engine_parts.tasks }
    }

    /// Opens the replicas that this node has; a founder has those of the charter first of all.
    fn open_all(&mut self, now: Now, identity: &Identity) -> Result<(), Fatal> {
        let parts = self.parts.clone();
        let files = Self::files(&parts);
        if !self.roster.is_founded(files)? {
            for (shard, placed) in self.charter.map.shards() {
                let voters = || placed.voters.iter().map(|node| NodeId(node.0));
                if voters().any(|node| node == self.me) {
                    let founding = Membership::founding(voters());
                    let founding = parts.protocol.founding(&founding);
                    self.roster.add(files, ShardId(u64::from(shard.0)), &founding, false)?;
                }
            }
            self.roster.set_founded(files)?;
        }
        // Unsynced writes may be lost only if the machine itself was started again.
        let machine = parts.machine_boot.as_str();
        let may_lack = self.settings.durability != Durability::Sync
            && identity.boots > 1
            && (machine.is_empty() || machine != identity.machine_boot)
            && !mutant::is(Mutant::BootIgnored);
        for (shard, listed) in self.roster.shards(files)? {
            match listed {
                Listed::Here { founding, mut is_doubtful } => {
                    is_doubtful &= !mutant::is(Mutant::DoubtEndsAtStart);
                    if may_lack && !is_doubtful {
                        self.roster.add(files, shard, &founding, true)?;
                    }
                    if may_lack || is_doubtful {
                        self.doubtful.insert(shard);
                    }
                    self.foundings.insert(shard, founding);
                    // One that cannot begin is no reason for the others not to.
                    if let Err(error) = self.open(now, shard) {
                        self.note_failure(now, shard, error.to_string());
                    }
                }
                Listed::Doomed => {
                    self.foundings.insert(shard, Bytes::new());
                    self.closing.insert(shard);
                    self.shards.destroy_shard(shard, Box::new(|| Ok(())));
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, now: Now, shard: ShardId) -> Result<(), Fatal> {
        let opening = self.opening_of(shard);
        Ok(self.shards.open_shard(now, opening)?)
    }

    pub(super) fn opening_of(&self, shard: ShardId) -> ShardOpening {
        let founding = self.foundings.get(&shard).cloned().unwrap_or_default();
        let is_doubtful = self.doubtful.contains(&shard);
        let standing = if is_doubtful { Standing::Doubtful } else { Standing::Whole };
        ShardOpening { shard, founding, standing, priority: 0 }
    }

    /// The cluster's charter.
    pub fn charter(&self) -> &Charter {
        &self.charter
    }

    /// The newest map that this node has seen. Its last shard is the one with the map itself: no client's key is in it.
    pub fn map(&self) -> &ShardMap {
        &self.map
    }

    /// The number of shards with clients' keys.
    pub fn client_shards(&self) -> u32 {
        self.map.shard_count().get() - 1
    }

    /// Where a node is reached, as far as this one knows.
    pub fn addresses(&self, node: NodeId) -> Option<&Addresses> {
        self.addresses.get(&node)
    }

    /// How a member is seen; this node is alive.
    pub fn seen(&self, node: NodeId) -> Option<MemberState> {
        if node == self.me {
            return Some(MemberState::Alive);
        }
        self.swimming.seen.get(&node).copied()
    }

    /// Who leads a shard, and in which term, as far as this node knows; else who ought to.
    pub fn leader(&self, shard: ShardId) -> (Term, Option<NodeId>) {
        if let Some((term, Some(leader))) = self.leaders.get(&shard) {
            return (*term, Some(*leader));
        }
        let placed = placed(shard).and_then(|shard| self.map.shard(shard));
        (Term::ZERO, placed.and_then(|shard| shard.leader).map(|node| NodeId(node.0)))
    }

    /// The replicas of this node.
    pub fn replicas(&self) -> &Shards {
        &self.shards
    }

    /// The same, to ask something of them.
    pub fn replicas_mut(&mut self) -> &mut Shards {
        &mut self.shards
    }

    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.seen(node)
            .is_some_and(|state| matches!(state, MemberState::Alive | MemberState::Suspect))
    }

    /// Somebody who is fresh introduces itself: it is told of the charter, and is to be a member.
    pub(super) fn welcome(&mut self, now: Now, candidate: Candidate) -> Introduction {
        if candidate.cluster != self.charter.name {
            let (ours, theirs) = (&self.charter.name, &candidate.cluster);
            return Introduction::Refused(format!(
                "this is the cluster {ours:?}, and it wants {theirs:?}"
            ));
        }
        if candidate.check_protocol("", &self.charter.protocol).is_err() {
            let (ours, theirs) = (&self.charter.protocol, &candidate.protocol);
            return Introduction::Refused(format!(
                "this cluster runs the replication protocol {ours:?}, and it is set to {theirs:?}"
            ));
        }
        if self.may_know_more() {
            self.addresses.insert(candidate.node, candidate.addresses.clone());
        }
        self.wants_in(now, candidate.node, candidate);
        Introduction::Charter(self.charter.clone())
    }

    /// Somebody comes with a charter.
    pub(super) fn compare(&self, charter: &Charter) -> Introduction {
        if charter.cluster == self.charter.cluster {
            return Introduction::Charter(self.charter.clone());
        }
        Introduction::Refused(format!(
            "this node is of the cluster {:?} already, of another founding",
            self.charter.name
        ))
    }

    /// Whether there is room for one more address of a node that is no member: anybody may say that he wants to be one.
    fn may_know_more(&self) -> bool {
        self.addresses.len() < self.map.members().len() + STRANGERS_MAX
    }

    pub(super) fn receive(
        &mut self,
        now: Now,
        from: NodeId,
        packet: &Bytes,
    ) -> Result<(), BadPacket> {
        let mut bodies = Vec::new();
        self.shards.receive(now, from, packet, &mut bodies)?;
        for control in bodies.iter().filter_map(Control::decode) {
            self.control(now, from, control);
        }
        Ok(())
    }

    pub(super) fn say(&mut self, to: NodeId, control: &Control) {
        if to != self.me {
            self.shards.control(to, &control.encode());
        }
    }

    fn control(&mut self, now: Now, from: NodeId, control: Control) {
        match control {
            Control::Epoch(epoch) if epoch > self.map.epoch().0 => {
                self.say(from, &Control::AskMap(self.map.epoch().0));
            }
            Control::Epoch(epoch) if epoch < self.map.epoch().0 => self.tell_map(from),
            Control::Epoch(_) => {}
            Control::AskMap(epoch) => {
                if epoch < self.map.epoch().0 {
                    self.tell_map(from);
                }
            }
            Control::Map { map, addresses } => {
                for (node, addresses) in addresses {
                    self.addresses.entry(node).or_insert(addresses);
                }
                if let Ok(map) = ShardMap::decode(&map) {
                    self.adopt(now, map);
                }
            }
            Control::Reports(reports) => self.hear_reports(now, from, reports),
            Control::Reform { shard, change } => self.reform(now, shard, change),
            Control::AskIndex { shard, asked } => self.index_for(now, from, shard, asked),
            Control::Index { shard, asked, index } => self.index_heard(now, shard, asked, index),
            Control::Join { node, addresses, zone, weight } => {
                let mut candidate = self.settings.candidate.clone();
                (candidate.node, candidate.addresses) = (node, addresses.clone());
                (candidate.zone, candidate.weight) = (zone, weight);
                if self.may_know_more() {
                    self.addresses.entry(node).or_insert(addresses);
                }
                // Passed on once: by who it asked, to who conducts.
                if from == node || self.conducts() {
                    self.wants_in(now, node, candidate);
                }
            }
        }
    }

    fn tell_map(&mut self, to: NodeId) {
        let members = self.map.members().keys().map(|node| NodeId(node.0));
        let addresses =
            members.filter_map(|node| Some((node, self.addresses.get(&node)?.clone()))).collect();
        let map = self.map.encode().into();
        self.say(to, &Control::Map { map, addresses });
    }

    /// Takes a map that may be newer, and does on this node what it says.
    pub(super) fn adopt(&mut self, now: Now, map: ShardMap) {
        if map.epoch() <= self.map.epoch() && self.map.epoch() > Epoch(1) {
            return;
        }
        let is_news = map.epoch() > self.map.epoch();
        self.map = map;
        if is_news {
            let epoch = self.map.epoch().0;
            self.outputs.push(Output::Event(Event::MapChanged { epoch }));
            let others: Vec<NodeId> = self.swimming.seen.keys().copied().collect();
            others.into_iter().for_each(|node| self.say(node, &Control::Epoch(epoch)));
        }
        self.chores_at = now.steady;
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [Some(self.chores_at), self.shards.deadline(), self.swimming.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn turn(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), Fatal> {
        self.swim_timers(now)?;
        if now.steady >= self.chores_at {
            self.chores_at = now.steady.after(CHORES);
            self.follow_map();
            self.reopen(now);
            self.end_doubt();
            self.expire_stale(now);
            self.hand_over(now);
            self.report(now);
            self.conduct(now);
        }
        let mut from_shards = std::mem::take(&mut self.shard_outputs);
        loop {
            self.shards.turn(now, &mut from_shards)?;
            let mut has_more = false;
            for output in from_shards.drain(..) {
                has_more |= self.shard_output(now, output);
            }
            if !has_more {
                break;
            }
        }
        self.shard_outputs = from_shards;
        outputs.append(&mut self.outputs);
        Ok(())
    }

    /// Passes on what the replicas have to say; whether they are to take another turn for it.
    fn shard_output(&mut self, now: Now, output: ShardOutput) -> bool {
        match output {
            ShardOutput::Send { to, packet } => self.outputs.push(Output::Send { to, packet }),
            ShardOutput::Answer { shard, answer } => return self.answered(now, shard, answer),
            ShardOutput::RoleChanged { shard, role, term, leader } => {
                self.leaders.insert(shard, (term, leader));
                if shard == map_shard(&self.map) {
                    self.map_led(role);
                    self.chores_at = now.steady;
                }
                self.outputs.push(Output::Event(Event::RoleChanged { shard, role, term, leader }));
            }
            ShardOutput::Failed { shard, why } => {
                if shard == map_shard(&self.map) {
                    self.map_led(Role::Halted);
                }
                self.note_failure(now, shard, why.to_string());
            }
            ShardOutput::Destroyed { shard } => self.destroyed(shard),
            ShardOutput::Opened { shard, result } => self.opened(now, shard, result),
            ShardOutput::Chore { chore, result } => self.chore_done(now, chore, result),
        }
        false
    }

    /// Who leads though another ought to hands over, if that one lives.
    fn hand_over(&mut self, now: Now) {
        let mut due = Vec::new();
        for (shard, status) in self.shards.shards() {
            let placed = placed(shard).and_then(|shard| self.map.shard(shard));
            let preferred = placed.and_then(|placed| placed.leader).map(|node| NodeId(node.0));
            let last = self.handed_over.get(&shard);
            if status.role == Role::Leader
                && let Some(to) = preferred
                && to != self.me
                && status.membership.voters.contains(&to)
                && self.swimming.has_lived(to, now.steady)
                && last.is_none_or(|at| now.steady.since(*at) >= HAND_OVER)
            {
                due.push((shard, to));
            }
        }
        for (shard, to) in due {
            self.handed_over.insert(shard, now.steady);
            self.shards.step(now, shard, Input::TransferRequested { to });
        }
    }

    /// Tells the conductor what is so on this node, if there is news or it is time.
    fn report(&mut self, now: Now) {
        let reports: Vec<Report> = self
            .shards
            .shards()
            .map(|(shard, status)| {
                let is_settled = status.membership.at <= status.commit
                    && !status.membership.is_joint()
                    && status.role == Role::Leader;
                Report {
                    shard,
                    role: status.role,
                    term: status.term,
                    commit: status.commit,
                    applied: status.applied,
                    is_doubtful: self.doubtful.contains(&shard),
                    membership: is_settled.then(|| (*status.membership).clone()),
                }
            })
            .collect();
        // How far entries have come is news only for who learns.
        let is_news = |new: &Report, old: &Report| {
            (new.shard, new.role, new.term, &new.membership)
                != (old.shard, old.role, old.term, &old.membership)
                || new.role == Role::Learner
        };
        let has_news = reports.len() != self.reported.len()
            || reports.iter().zip(&self.reported).any(|(new, old)| is_news(new, old));
        if !has_news && now.steady.since(self.reported_at) < REPORT {
            return;
        }
        (self.reported, self.reported_at) = (reports.clone(), now.steady);
        // Which of them conducts is known best to themselves.
        for keeper in self.keepers() {
            if keeper == self.me {
                self.hear_reports(now, keeper, reports.clone());
            } else {
                self.say(keeper, &Control::Reports(reports.clone()));
                self.say(keeper, &Control::Epoch(self.map.epoch().0));
            }
        }
        self.tell_epoch();
        self.ask_in();
    }

    /// Says which map this node has to the next of the others: a packet that was lost is made up for.
    fn tell_epoch(&mut self) {
        let next = self.swimming.seen.range(self.told..).next();
        let next = next.or_else(|| self.swimming.seen.first_key_value()).map(|(node, _)| *node);
        if let Some(node) = next {
            self.told = NodeId(node.0.wrapping_add(1));
            self.say(node, &Control::Epoch(self.map.epoch().0));
        }
    }

    /// Hands over everything that this node leads, and tells the others that it leaves. What is left to do, [`is_gone`](Self::is_gone) says.
    pub fn leave(&mut self, now: Now) -> Result<(), Fatal> {
        self.swim_leave(now)?;
        let led: Vec<(ShardId, Option<NodeId>)> = self
            .shards
            .shards()
            .filter(|(_, status)| status.role == Role::Leader)
            .map(|(shard, status)| {
                let others = status.membership.voters.iter().copied();
                (shard, others.filter(|node| *node != self.me).find(|node| self.is_up(*node)))
            })
            .collect();
        for (shard, to) in led {
            if let Some(to) = to {
                self.shards.step(now, shard, Input::TransferRequested { to });
            }
        }
        Ok(())
    }

    /// Whether this node leads nothing that another could lead.
    pub fn is_gone(&self) -> bool {
        let has_others = |voters: &BTreeSet<NodeId>| {
            voters.iter().any(|node| *node != self.me && self.is_up(*node))
        };
        !self
            .shards
            .shards()
            .any(|(_, status)| status.role == Role::Leader && has_others(&status.membership.voters))
    }
}

/// Requests of the node's own have this bit in their numbers; those of clients must not.
pub(super) const INTERNAL: u64 = 1 << 63;
