//! The bytes of maps and commands, version 1.
//!
//! Numbers are little-endian. A *list* is the count of its items, then the items; a *node* is 8 bytes.
//!
//! | map | bytes |
//! |---|---|
//! | version | 1 |
//! | epoch | 8 |
//! | replicas | 1 |
//! | members: count, then node and member each, in ascending order | 4, each 8 + member |
//! | shards: count, then voters, learners, target (lists with a count of 1 byte), leader (its place in voters plus one, or 0) | 4, each |
//!
//! A *member* is its weight (4), its state (0 active, 1 draining) and the zone's name after its length (1). A command is a
//! version (1), the epoch it was made at (8), a tag (1) and what the tag says; the tags stand at [`put_change`].
//!
//! The log or file that carries these bytes has the checksum. The decoders take any bytes: what is not exactly one map or
//! command is an error that names the place, never a panic, and nothing is allocated for items whose bytes are not
//! there. What is decoded obeys every invariant of [`ShardMap`]; [`Command`]s are checked when applied.

use crate::map::{LEARNERS_MAX, check_member_count, is_ascending};
use crate::{
    Change, Command, Epoch, Member, MemberState, NodeId, PlacementError, REPLICAS_MAX,
    ReplicaCount, Shard, ShardCount, ShardId, ShardMap, Step, Weight, Zone,
};
use std::collections::BTreeMap;

const VERSION: u8 = 1;

impl ShardMap {
    /// The map's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.epoch.0.to_le_bytes());
        out.push(self.replicas.get());
        out.extend((self.members.len() as u32).to_le_bytes());
        for (node, member) in &self.members {
            out.extend(node.0.to_le_bytes());
            put_member(&mut out, member);
        }
        out.extend((self.shards.len() as u32).to_le_bytes());
        for shard in &self.shards {
            put_nodes(&mut out, &shard.voters);
            put_nodes(&mut out, &shard.learners);
            put_nodes(&mut out, &shard.target);
            let place = shard.leader.and_then(|leader| shard.voters.binary_search(&leader).ok());
            out.push(place.map_or(0, |place| place as u8 + 1));
        }
        out
    }

    /// The map of these bytes; [`PlacementError::UnknownVersion`] or [`PlacementError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PlacementError> {
        let mut reader = Reader { what: "shard map", bytes, at: 0 };
        reader.version()?;
        let epoch = Epoch(reader.u64()?);
        let replicas = reader.checked(|reader| ReplicaCount::new(reader.u8()?))?;
        let mut members = BTreeMap::new();
        let count = reader.count(MEMBER_BYTES_MIN)?;
        reader.checked(|_| check_member_count(count))?;
        for _ in 0..count {
            let node = reader.node()?;
            if members.last_key_value().is_some_and(|(last, _)| *last >= node) {
                return Err(reader.malformed());
            }
            members.insert(node, reader.member()?);
        }
        let count = reader.count(SHARD_BYTES_MIN)?;
        reader.checked(|_| ShardCount::new(count as u32))?;
        let mut map = Self { epoch, replicas, members, shards: Vec::with_capacity(count) };
        for _ in 0..count {
            let shard = reader.shard(&map.members)?;
            map.shards.push(shard);
        }
        reader.end()?;
        Ok(map)
    }
}

impl Command {
    /// The command's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(self.made_at.0.to_le_bytes());
        put_change(&mut out, &self.change);
        out
    }

    /// The command of these bytes; [`PlacementError::UnknownVersion`] or [`PlacementError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PlacementError> {
        let mut reader = Reader { what: "placement command", bytes, at: 0 };
        reader.version()?;
        let made_at = Epoch(reader.u64()?);
        let change = reader.change()?;
        reader.end()?;
        Ok(Self { made_at, change })
    }
}

/// A node, a weight, a state, the length of a name.
const MEMBER_BYTES_MIN: usize = 8 + 4 + 1 + 1;
/// Three counts and a leader.
const SHARD_BYTES_MIN: usize = 4;
/// A shard and a count.
const TARGET_BYTES_MIN: usize = 5;

fn put_member(out: &mut Vec<u8>, member: &Member) {
    out.extend(member.weight.get().to_le_bytes());
    put_state(out, member.state);
    out.push(member.zone.name().len() as u8);
    out.extend(member.zone.name().as_bytes());
}

fn put_state(out: &mut Vec<u8>, state: MemberState) {
    out.push(match state {
        MemberState::Active => 0,
        MemberState::Draining => 1,
    });
}

/// Lists of nodes have at most 255: larger ones are cut, and refused where they are applied.
fn put_nodes(out: &mut Vec<u8>, nodes: &[NodeId]) {
    let nodes = &nodes[..nodes.len().min(usize::from(u8::MAX))];
    out.push(nodes.len() as u8);
    nodes.iter().for_each(|node| out.extend(node.0.to_le_bytes()));
}

fn put_change(out: &mut Vec<u8>, change: &Change) {
    let mut tagged = |tag: u8, shard: Option<ShardId>, node: Option<NodeId>| {
        out.push(tag);
        out.extend(shard.into_iter().flat_map(|shard| shard.0.to_le_bytes()));
        out.extend(node.into_iter().flat_map(|node| node.0.to_le_bytes()));
    };
    match change {
        Change::Join { node, member } => {
            tagged(0, None, Some(*node));
            put_member(out, member);
        }
        Change::Alter { node, weight, state } => {
            tagged(1, None, Some(*node));
            out.extend(weight.get().to_le_bytes());
            put_state(out, *state);
        }
        Change::Leave(node) => tagged(2, None, Some(*node)),
        Change::SetReplicas(replicas) => {
            tagged(3, None, None);
            out.push(replicas.get());
        }
        Change::Retarget(targets) => {
            tagged(4, None, None);
            out.extend((targets.len() as u32).to_le_bytes());
            for (shard, voters) in targets {
                out.extend(shard.0.to_le_bytes());
                put_nodes(out, voters);
            }
        }
        Change::Step(Step::AddLearner { shard, node }) => tagged(5, Some(*shard), Some(*node)),
        Change::Step(Step::Promote { shard, joins, leaves }) => {
            tagged(6, Some(*shard), None);
            put_nodes(out, joins);
            put_nodes(out, leaves);
        }
        Change::Step(Step::Remove { shard, node }) => tagged(7, Some(*shard), Some(*node)),
        Change::Step(Step::TransferLeader { shard, node }) => tagged(8, Some(*shard), Some(*node)),
    }
}

struct Reader<'b> {
    what: &'static str,
    bytes: &'b [u8],
    /// at <= bytes.len()
    at: usize,
}

impl Reader<'_> {
    fn malformed(&self) -> PlacementError {
        PlacementError::Malformed { what: self.what, at: self.at }
    }

    /// What a bound refuses is malformed here.
    fn checked<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, PlacementError>,
    ) -> Result<T, PlacementError> {
        read(self).map_err(|_| self.malformed())
    }

    fn take(&mut self, count: usize) -> Result<&[u8], PlacementError> {
        let end = self.at.checked_add(count).filter(|&end| end <= self.bytes.len());
        let Some(end) = end else { return Err(self.malformed()) };
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PlacementError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn u8(&mut self) -> Result<u8, PlacementError> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, PlacementError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, PlacementError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A count of items of at least so many bytes, which must be there.
    fn count(&mut self, item_bytes_min: usize) -> Result<usize, PlacementError> {
        let count = self.u32()? as usize;
        if count > (self.bytes.len() - self.at) / item_bytes_min {
            return Err(self.malformed());
        }
        Ok(count)
    }

    fn version(&mut self) -> Result<(), PlacementError> {
        match self.u8()? {
            VERSION => Ok(()),
            found => Err(PlacementError::UnknownVersion { what: self.what, found, known: VERSION }),
        }
    }

    fn end(&self) -> Result<(), PlacementError> {
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.malformed()) }
    }

    fn node(&mut self) -> Result<NodeId, PlacementError> {
        self.u64().map(NodeId)
    }

    fn shard_id(&mut self) -> Result<ShardId, PlacementError> {
        self.u32().map(ShardId)
    }

    /// A list of nodes, as long as its count of one byte says.
    fn nodes(&mut self) -> Result<Vec<NodeId>, PlacementError> {
        let count = usize::from(self.u8()?);
        (0..count).map(|_| self.node()).collect()
    }

    fn weight(&mut self) -> Result<Weight, PlacementError> {
        self.checked(|reader| Weight::new(reader.u32()?))
    }

    fn state(&mut self) -> Result<MemberState, PlacementError> {
        match self.u8()? {
            0 => Ok(MemberState::Active),
            1 => Ok(MemberState::Draining),
            _ => Err(self.malformed()),
        }
    }

    fn member(&mut self) -> Result<Member, PlacementError> {
        let (weight, state) = (self.weight()?, self.state()?);
        let name_bytes = usize::from(self.u8()?);
        let name = std::str::from_utf8(self.take(name_bytes)?).map(Zone::new);
        match name {
            Ok(Ok(zone)) => Ok(Member { zone, weight, state }),
            _ => Err(self.malformed()),
        }
    }

    fn shard(&mut self, members: &BTreeMap<NodeId, Member>) -> Result<Shard, PlacementError> {
        let (voters, learners, target) = (self.nodes()?, self.nodes()?, self.nodes()?);
        let voters_ok = |list: &[NodeId]| (1..=usize::from(REPLICAS_MAX)).contains(&list.len());
        let list_ok = |list: &[NodeId]| {
            is_ascending(list) && list.iter().all(|node| members.contains_key(node))
        };
        let are_ok = [&voters, &learners, &target].into_iter().all(|list| list_ok(list))
            && voters_ok(&voters)
            && voters_ok(&target)
            && learners.len() <= LEARNERS_MAX
            && learners.iter().all(|learner| !voters.contains(learner));
        if !are_ok {
            return Err(self.malformed());
        }
        let leader = match usize::from(self.u8()?).checked_sub(1) {
            None => None,
            Some(place) => Some(*voters.get(place).ok_or_else(|| self.malformed())?),
        };
        Ok(Shard { voters, learners, target, leader })
    }

    fn change(&mut self) -> Result<Change, PlacementError> {
        Ok(match self.u8()? {
            0 => Change::Join { node: self.node()?, member: self.member()? },
            1 => Change::Alter { node: self.node()?, weight: self.weight()?, state: self.state()? },
            2 => Change::Leave(self.node()?),
            3 => Change::SetReplicas(self.checked(|reader| ReplicaCount::new(reader.u8()?))?),
            4 => {
                let count = self.count(TARGET_BYTES_MIN)?;
                let target = |_| Ok((self.shard_id()?, self.nodes()?));
                Change::Retarget((0..count).map(target).collect::<Result<_, PlacementError>>()?)
            }
            5 => Change::Step(Step::AddLearner { shard: self.shard_id()?, node: self.node()? }),
            6 => Change::Step(Step::Promote {
                shard: self.shard_id()?,
                joins: self.nodes()?,
                leaves: self.nodes()?,
            }),
            7 => Change::Step(Step::Remove { shard: self.shard_id()?, node: self.node()? }),
            8 => Change::Step(Step::TransferLeader { shard: self.shard_id()?, node: self.node()? }),
            _ => return Err(self.malformed()),
        })
    }
}
