//! What a replica says of itself.

use crate::{Index, Instant, LogId, Membership, NodeId, Term};
use std::sync::Arc;

/// What a replica is to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It takes proposals.
    Leader,
    /// It asks for votes.
    Candidate,
    /// It asks whether it would get votes.
    PreCandidate,
    /// It follows, and votes.
    Follower,
    /// It follows without a vote; so does one that is no member.
    Learner,
    /// Its log failed: it does nothing until its next life.
    Halted,
}

/// A replica at one moment. `applied <= commit <= last.index`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// In which term.
    pub term: Term,
    /// Who leads, if it knows.
    pub leader: Option<NodeId>,
    /// The last entry that it knows to be committed.
    pub commit: Index,
    /// The last entry that it was told is applied.
    pub applied: Index,
    /// The last entry of its log.
    pub last: LogId,
    /// The newest membership in its log, committed or not.
    pub membership: Arc<Membership>,
    /// A leader's lease, if it holds one.
    pub lease_until: Option<Instant>,
    /// It began [`Doubtful`](crate::Standing::Doubtful), and is not yet brought to what was committed then.
    pub is_doubtful: bool,
}
