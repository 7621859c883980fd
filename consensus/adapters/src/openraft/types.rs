//! The types openraft is made of here, and how they become ours.
//!
//! Its logs begin at index 0 with the founding membership; ours begin at 1. Whoever founds a group, or joins one, is taken for somebody who
//! has applied that entry and let it go, so an index means the same to both.

use super::channels::OnceSender;
use super::runtime::Runtime;
use bytes::Bytes;
use nori_consensus::{Entry, EntryKind, Index, LogId, Membership, NodeId, Ticket};
use openraft::entry::RaftEntry;
use openraft::impls::leader_id_std;
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, RaftTypeConfig};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A proposal. The ticket is known where it was proposed, and travels nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Proposal {
    pub(super) payload: Bytes,
    #[serde(skip)]
    pub(super) ticket: Option<Ticket>,
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.payload.len())
    }
}

/// Who leads, as a log names it: a term.
pub(super) type Committed = <leader_id_std::LeaderId<u64, u64> as RaftLeaderId>::Committed;

/// openraft's types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Types;

impl RaftTypeConfig for Types {
    type D = Proposal;
    type R = ();
    type NodeId = u64;
    type Node = ();
    type Term = u64;
    type LeaderId = leader_id_std::LeaderId<u64, u64>;
    type Vote = openraft::impls::Vote<Self::LeaderId>;
    type Payload = EntryPayload<Proposal, u64, ()>;
    type Entry = openraft::impls::Entry<Committed, Self::Payload>;
    type AsyncRuntime = Runtime;
    type Responder<T: 'static> = openraft::impls::OneshotResponder<Self, T>;
    type Batch<T: 'static> = openraft::impls::InlineBatch<T>;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(super) type TheirEntry = <Types as RaftTypeConfig>::Entry;
pub(super) type TheirLogId = openraft::LogId<Committed>;
pub(super) type TheirMembership = openraft::Membership<u64, ()>;
pub(super) type TheirStored = openraft::StoredMembership<Committed, u64, ()>;
pub(super) type TheirVote = <Types as RaftTypeConfig>::Vote;
pub(super) type Done<T> = OnceSender<T>;

/// Our name of a log id; of none, the one before the first entry.
pub(super) fn our_id(id: Option<&TheirLogId>) -> LogId {
    id.map_or(LogId::ZERO, |id| LogId::new(**id.committed_leader_id(), id.index))
}

pub(super) fn their_id(id: LogId) -> TheirLogId {
    openraft::LogId::new(Committed::from(id.term.0), id.index.0)
}

/// Bytes of something of openraft's.
pub(super) fn to_bytes<T: Serialize>(value: &T) -> Bytes {
    // Nothing here has a map of unknown length or a failing serializer.
    postcard::to_stdvec(value).unwrap_or_default().into()
}

pub(super) fn from_bytes<T: for<'de> Deserialize<'de>>(bytes: &[u8]) -> Option<T> {
    postcard::from_bytes(bytes).ok()
}

pub(super) fn our_entry(entry: &TheirEntry) -> Entry {
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (EntryKind::Noop, Bytes::new()),
        EntryPayload::Normal(proposal) => (EntryKind::Data, proposal.payload.clone()),
        EntryPayload::Membership(membership) => (EntryKind::Config, to_bytes(membership)),
    };
    Entry { id: our_id(Some(&entry.log_id)), kind, payload }
}

/// `None` if it is none of openraft's.
pub(super) fn their_entry(entry: &Entry) -> Option<TheirEntry> {
    let payload = match entry.kind {
        EntryKind::Noop => EntryPayload::Blank,
        EntryKind::Data => {
            EntryPayload::Normal(Proposal { payload: entry.payload.clone(), ticket: None })
        }
        EntryKind::Config => EntryPayload::Membership(from_bytes(&entry.payload)?),
    };
    Some(TheirEntry::new(their_id(entry.id), payload))
}

/// The membership that `stored` tells of, as ours.
pub(super) fn our_membership(stored: &TheirStored) -> Membership {
    let nodes = |of: &BTreeSet<u64>| of.iter().copied().map(NodeId).collect::<BTreeSet<_>>();
    let configs = stored.membership().get_joint_config();
    let voters = configs.last().map(nodes).unwrap_or_default();
    let outgoing = if configs.len() > 1 { nodes(&configs[0]) } else { BTreeSet::new() };
    let learners = stored.membership().learner_ids().map(NodeId).collect();
    let at = stored.log_id().as_ref().map_or(Index::ZERO, |id| Index(id.index));
    Membership { at, voters, outgoing, learners }
}

/// What a founder begins with.
pub(super) fn founding(membership: &Membership) -> TheirStored {
    let voters = membership.voters.iter().map(|node| node.0).collect::<BTreeSet<_>>();
    let learners = membership.learners.iter().map(|node| node.0).collect::<Vec<_>>();
    let theirs = TheirMembership::new_with_defaults(vec![voters], learners);
    TheirStored::new(Some(their_id(LogId::ZERO)), theirs)
}
