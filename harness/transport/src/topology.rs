//! Who is where, as one node knows it: what its loop publishes, and everything outside of the loop looks at.

use nori_consensus::{NodeId, Role, ShardId};
use norikv_node::{Member, Node};
use norikv_placement as placement;
use norikv_placement::ShardCount;
use serde::Serialize;
use std::collections::BTreeMap;

/// Members and shards.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Topology {
    /// The node that says so.
    pub me: u64,
    /// The cluster's number; 0 as long as the node is of none.
    pub cluster_id: u64,
    /// What people call it.
    pub cluster_name: String,
    /// How often the shard map was changed; 0 as long as the node is of no cluster.
    pub epoch: u64,
    /// The members of the cluster, by number.
    pub nodes: Vec<NodeView>,
    /// The shards with keys of clients, by number from 0 on.
    pub shards: Vec<ShardView>,
    /// The shard with the map.
    pub map_shard: Option<ShardView>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeView {
    /// Its number.
    pub node_id: u64,
    /// What people call it.
    pub name: String,
    /// Where clients reach it, as host:port.
    pub client_address: String,
    /// Where other nodes do.
    pub peer_address: String,
    /// Where the failure detectors of others do.
    pub swim_address: String,
    /// Where its HTTP is.
    pub http_address: String,
    /// What it fails together with.
    pub zone: String,
    /// How much it can take.
    pub weight: u32,
    /// How it is seen.
    pub state: NodeState,
}

/// How a member is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answers.
    Up,
    /// Some say that it does not.
    Suspect,
    /// It does not.
    Down,
    /// It answers, and is to hold nothing.
    Draining,
    /// Nothing was heard of it since this node began.
    Unheard,
}

/// A shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ShardView {
    /// Its number.
    pub shard: u32,
    /// Who votes in its group, as the map has it.
    pub voters: Vec<u64>,
    /// Who learns.
    pub learners: Vec<u64>,
    /// Who leads, as far as the node knows; 0: nobody.
    pub leader: u64,
    /// In which term; 0 where the node has no replica and knows only who ought to lead.
    pub term: u64,
    /// What the node's own replica is.
    pub role: Option<&'static str>,
}

impl Topology {
    /// The shard that a key belongs to; `None` as long as the node is of no cluster.
    pub fn shard_of(&self, key: &[u8]) -> Option<u32> {
        let count = u32::try_from(self.shards.len()).ok()?;
        Some(placement::shard_of(key, ShardCount::new(count).ok()?).0)
    }

    /// A member by its number.
    pub fn node(&self, node: u64) -> Option<&NodeView> {
        self.nodes.iter().find(|view| view.node_id == node)
    }

    /// The member that leads a shard, as far as the node knows.
    pub fn leader_of(&self, shard: u32) -> Option<&NodeView> {
        self.node(self.shards.get(shard as usize)?.leader)
    }

    /// Whether every replica of this node has a leader that it hears, which is when it can serve; else the first of those that have none.
    pub fn is_ready(&self) -> Result<(), String> {
        if self.epoch == 0 {
            return Err("the node is of no cluster yet".to_owned());
        }
        let lost = self.shards.iter().chain(&self.map_shard);
        let mut lost = lost.filter(|view| view.role.is_some() && view.leader == 0);
        match lost.next() {
            None => Ok(()),
            Some(view) => Err(format!("shard {} has no leader that this node hears", view.shard)),
        }
    }

    /// In one sentence: how the cluster is.
    pub fn sentence(&self) -> String {
        if self.epoch == 0 {
            return "The node is of no cluster yet.".to_owned();
        }
        let named = |state| {
            let nodes = self.nodes.iter().filter(|node| node.state == state);
            nodes.map(|node| node.name.as_str()).collect::<Vec<&str>>()
        };
        let (down, silent) = (named(NodeState::Down), named(NodeState::Suspect));
        let unheard = named(NodeState::Unheard);
        let leaderless = self.shards.iter().filter(|shard| shard.leader == 0).count();
        let moving = self.shards.iter().filter(|shard| !shard.learners.is_empty()).count();
        let mut text = format!(
            "Cluster {:?}: {} of {} nodes up, {} shards",
            self.cluster_name,
            self.nodes.len() - down.len() - silent.len() - unheard.len(),
            self.nodes.len(),
            self.shards.len()
        );
        text += &match leaderless {
            0 => ", each with a leader".to_owned(),
            1 => ", one of them without a leader".to_owned(),
            n => format!(", {n} of them without a leader"),
        };
        if moving > 0 {
            text += &format!("; {moving} are moving");
        }
        if !silent.is_empty() {
            text += &format!("; not answering: {}", silent.join(", "));
        }
        for (what, nodes) in [("down", down), ("not heard of yet", unheard)] {
            if !nodes.is_empty() {
                text += &format!("; {what}: {}", nodes.join(", "));
            }
        }
        text + "."
    }
}

/// What the node knows now.
pub(crate) fn of(node: &Node) -> Topology {
    let me = node.id().0;
    let Some(member) = node.member() else { return Topology { me, ..Topology::default() } };
    let map = member.map();
    let here: BTreeMap<ShardId, _> = member.replicas().shards().collect();
    let view = |(number, placed): (placement::ShardId, &placement::Shard)| {
        let shard = ShardId(u64::from(number.0));
        let (term, leader, role) = match here.get(&shard) {
            Some(status) => {
                (status.term, status.leader.unwrap_or(NodeId(0)), Some(role_name(status.role)))
            }
            None => {
                let (term, leader) = member.leader(shard);
                (term, leader.unwrap_or(NodeId(0)), None)
            }
        };
        ShardView {
            shard: number.0,
            voters: placed.voters.iter().map(|node| node.0).collect(),
            learners: placed.learners.iter().map(|node| node.0).collect(),
            leader: leader.0,
            term: term.0,
            role,
        }
    };
    let mut shards: Vec<ShardView> = map.shards().map(view).collect();
    let map_shard = shards.pop();
    Topology {
        me,
        cluster_id: member.charter().cluster.0,
        cluster_name: member.charter().name.clone(),
        epoch: map.epoch().0,
        nodes: map
            .members()
            .iter()
            .map(|(node, placed)| node_view(member, *node, placed))
            .collect(),
        shards,
        map_shard,
    }
}

fn node_view(member: &Member, node: placement::NodeId, placed: &placement::Member) -> NodeView {
    let id = NodeId(node.0);
    let addresses = member.addresses(id).cloned().unwrap_or_default();
    let state = match member.seen(id) {
        Some(nori_swim::MemberState::Alive) => match placed.state {
            placement::MemberState::Draining => NodeState::Draining,
            placement::MemberState::Active => NodeState::Up,
        },
        Some(nori_swim::MemberState::Suspect) => NodeState::Suspect,
        Some(_) => NodeState::Down,
        None => NodeState::Unheard,
    };
    NodeView {
        node_id: node.0,
        name: addresses.name,
        client_address: addresses.client,
        peer_address: addresses.peer,
        swim_address: addresses.swim,
        http_address: addresses.http,
        zone: placed.zone.name().to_owned(),
        weight: placed.weight.get(),
        state,
    }
}

/// What a replica's role is called.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Leader => "leader",
        Role::Candidate => "candidate",
        Role::PreCandidate => "pre-candidate",
        Role::Follower => "follower",
        Role::Learner => "learner",
        Role::Halted => "halted",
    }
}
