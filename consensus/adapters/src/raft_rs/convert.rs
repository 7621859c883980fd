//! Our words in those of raft-rs, and back.

use bytes::Bytes;
use nori_consensus::{Change, Entry, EntryKind, Index, LogId, Membership, NodeId, Term};
use protobuf::Message as _;
use raft::eraftpb::{
    self, ConfChange, ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState, EntryType,
};
use raft_proto::ConfChangeI as _;
use std::collections::BTreeSet;

/// What stands in the context of an entry with a proposal: it may be empty, and so is a leader's first.
const PROPOSAL: &[u8] = &[1];

/// An entry of raft-rs as ours. What kind of change it has goes into the payload's first byte.
pub(super) fn to_ours(entry: &eraftpb::Entry) -> Entry {
    let id = LogId { term: Term(entry.term), index: Index(entry.index) };
    let change = |version: u8| Bytes::from([&[version], &entry.data[..]].concat());
    let (kind, payload) = match entry.get_entry_type() {
        EntryType::EntryNormal if entry.context.is_empty() => (EntryKind::Noop, Bytes::new()),
        EntryType::EntryNormal => (EntryKind::Data, entry.data.clone()),
        EntryType::EntryConfChange => (EntryKind::Config, change(1)),
        EntryType::EntryConfChangeV2 => (EntryKind::Config, change(2)),
    };
    Entry { id, kind, payload }
}

/// The same back.
pub(super) fn to_theirs(entry: Entry) -> eraftpb::Entry {
    let mut theirs = eraftpb::Entry::default();
    (theirs.term, theirs.index) = (entry.id.term.0, entry.id.index.0);
    match entry.kind {
        EntryKind::Noop => {}
        EntryKind::Data => {
            theirs.data = entry.payload;
            theirs.context = Bytes::from_static(PROPOSAL);
        }
        EntryKind::Config => {
            let is_first = entry.payload.first() == Some(&1);
            theirs.set_entry_type(if is_first {
                EntryType::EntryConfChange
            } else {
                EntryType::EntryConfChangeV2
            });
            theirs.data = entry.payload.slice(1.min(entry.payload.len())..);
        }
    }
    theirs
}

/// The context of a proposal.
pub(super) fn proposal_context() -> Vec<u8> {
    PROPOSAL.to_vec()
}

/// The change that an entry asks for; `None` if it is no change, or none that can be read.
pub(super) fn change_of(entry: &eraftpb::Entry) -> Option<ConfChangeV2> {
    match entry.get_entry_type() {
        EntryType::EntryNormal => None,
        EntryType::EntryConfChange => {
            let mut change = ConfChange::default();
            change.merge_from_bytes(&entry.data).ok()?;
            Some(change.into_v2())
        }
        EntryType::EntryConfChangeV2 => {
            let mut change = ConfChangeV2::default();
            change.merge_from_bytes(&entry.data).ok()?;
            Some(change)
        }
    }
}

fn single(kind: ConfChangeType, node: u64) -> ConfChangeSingle {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = node;
    single
}

/// The steps from `now` to what is wanted. They carry `now`, for who joins and has heard of no membership: that of the founding is in no log.
pub(super) fn steps(config: &Config, change: &Change) -> ConfChangeV2 {
    let now = config.membership();
    let mut steps = Vec::new();
    let mut step = |kind, node: NodeId| steps.push(single(kind, node.0));
    for node in change.voters.difference(&now.voters) {
        step(ConfChangeType::AddNode, *node);
    }
    for node in change.learners.difference(&now.learners) {
        step(ConfChangeType::AddLearnerNode, *node);
    }
    for node in now.nodes() {
        if !change.voters.contains(&node) && !change.learners.contains(&node) {
            step(ConfChangeType::RemoveNode, node);
        }
    }
    let mut all = ConfChangeV2::default();
    all.set_changes(steps.into());
    all.context = config.encode();
    all
}

/// The steps, one at a time, that make the membership that `change` was thought out from, for who has none.
pub(super) fn steps_before(change: &ConfChangeV2) -> Vec<ConfChangeV2> {
    let before = Config::decode(&change.context).unwrap_or_default().state;
    let voters = before.voters.iter().map(|node| single(ConfChangeType::AddNode, *node));
    let learners = before.learners.iter().map(|node| single(ConfChangeType::AddLearnerNode, *node));
    let one = |step| {
        let mut change = ConfChangeV2::default();
        change.set_changes(vec![step].into());
        change
    };
    voters.chain(learners).map(one).collect()
}

/// A membership with the entry that made it so: what goes with the state and its snapshots.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Config {
    pub(super) at: Index,
    pub(super) state: ConfState,
}

impl Config {
    /// That of a group that is being founded.
    pub(super) fn founding(membership: &Membership) -> Self {
        let ids = |nodes: &BTreeSet<NodeId>| nodes.iter().map(|node| node.0).collect();
        let (voters, learners) = (ids(&membership.voters), ids(&membership.learners));
        let state = ConfState { voters, learners, ..ConfState::default() };
        Self { at: membership.at, state }
    }

    /// That of an entry. The order in which nodes are told is made the same on every replica.
    pub(super) fn of(at: Index, mut state: ConfState) -> Self {
        for nodes in [
            &mut state.voters,
            &mut state.voters_outgoing,
            &mut state.learners,
            &mut state.learners_next,
        ] {
            nodes.sort_unstable();
        }
        Self { at, state }
    }

    pub(super) fn encode(&self) -> Bytes {
        let state = self.state.write_to_bytes().unwrap_or_default();
        [&self.at.0.to_le_bytes()[..], &state].concat().into()
    }

    /// Of nothing, that of one that joins.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.is_empty() {
            return Some(Self::default());
        }
        let at = Index(u64::from_le_bytes(*bytes.first_chunk()?));
        let mut state = ConfState::default();
        state.merge_from_bytes(&bytes[8..]).ok()?;
        Some(Self { at, state })
    }

    pub(super) fn membership(&self) -> Membership {
        let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
        Membership {
            at: self.at,
            voters: nodes(&self.state.voters),
            outgoing: nodes(&self.state.voters_outgoing),
            learners: nodes(&self.state.learners),
        }
    }
}
