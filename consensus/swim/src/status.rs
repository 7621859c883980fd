//! What an observer sees of a member and of those it knows.

use crate::{Address, Identity, Incarnation, Instant, NodeId};
use bytes::Bytes;
use std::time::Duration;

/// How another member is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    /// It answers, as far as is known.
    Alive,
    /// It has not answered, and may refute it.
    Suspect,
    /// It has not refuted it.
    Down,
    /// It has left of its own will.
    Left,
}

/// Where a member itself stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Phase {
    /// Made and not started.
    Fresh,
    /// It probes and answers.
    Running,
    /// It is telling the others that it leaves.
    Leaving,
    /// It has left.
    Gone,
    /// A later boot of its node is about.
    Superseded,
}

/// Another member as it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Which.
    pub identity: Identity,
    /// Where.
    pub address: Address,
    /// What it says of itself.
    pub metadata: Bytes,
    /// Its state.
    pub state: MemberState,
    /// The incarnation the state is of.
    pub incarnation: Incarnation,
    /// Since when it has been in that state.
    pub since: Instant,
    /// When the suspicion ends in [`MemberState::Down`], if it is suspect and nothing else comes.
    pub suspicion_deadline: Option<Instant>,
    /// Who suspects it, if it is suspect.
    pub accusers: Vec<NodeId>,
    /// The smoothed round trip of direct probes of it.
    pub rtt: Option<Duration>,
}

/// A member and all it knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Who it is.
    pub identity: Identity,
    /// Where it stands.
    pub phase: Phase,
    /// Its own incarnation.
    pub incarnation: Incarnation,
    /// 0 is healthy; every failure that may be its own fault adds one, and stretches its patience.
    pub local_health: u32,
    /// News it still passes on.
    pub rumours: usize,
    /// The others, by node.
    pub members: Vec<MemberStatus>,
}
