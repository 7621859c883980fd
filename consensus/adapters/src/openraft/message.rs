//! What openraft's replicas say to each other: requests, and answers that name the request and the life it was made in.

use super::shared::class_of_append;
use super::types::{TheirVote, Types};
use nori_consensus::MessageClass;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Message {
    /// Of who asked.
    pub(super) life: u64,
    /// The request, counted within that life.
    pub(super) call: u64,
    pub(super) body: Body,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Body {
    Append(AppendEntriesRequest<Types>),
    Appended(AppendEntriesResponse<Types>),
    PreVote(VoteRequest<Types>),
    PreVoted(VoteResponse<Types>),
    Vote(VoteRequest<Types>),
    Voted(VoteResponse<Types>),
    Transfer(TransferLeaderRequest<Types>),
    Transferred(TransferLeaderResponse<Types>),
    /// Goes with a snapshot.
    Snapshot(TheirVote),
    Installed(SnapshotResponse<Types>),
}

impl Body {
    pub(super) fn class(&self) -> MessageClass {
        match self {
            Self::Append(append) => class_of_append(append.entries.len()),
            Self::Appended(_) => MessageClass::Append,
            Self::PreVote(_) | Self::PreVoted(_) | Self::Vote(_) | Self::Voted(_) => {
                MessageClass::Vote
            }
            Self::Snapshot(_) | Self::Installed(_) => MessageClass::Snapshot,
            Self::Transfer(_) | Self::Transferred(_) => MessageClass::Other,
        }
    }
}
