//! The door to the world: what a member asks of its driver, and what it tells it.

use crate::{Address, Generation, Identity, Incarnation, Instant, NodeId};
use bytes::Bytes;
use std::time::Duration;

/// The world as a member needs it.
///
/// # Contract
///
/// * No call comes back into the member: what follows from it is a later input.
/// * [`Runtime::send_to`] never blocks. A [`Class::Datagram`] may be lost, doubled and overtaken, and so may a [`Class::Stream`] when its
///   connection fails; but a stream that arrives has arrived whole, up to the `stream_bytes_max` of the settings.
/// * A timer is handed back once, by `Swim::timer`, when its time has come, and not before. A late one is late, no more.
/// * Packets that arrived before a timer's time are best handed in before it: a member judges others by what it has read.
pub trait Runtime {
    /// Takes note of what happened.
    fn notify(&mut self, event: Event);
    /// Sends `packet` to `to`.
    fn send_to(&mut self, to: &Address, class: Class, packet: Bytes);
    /// Hands `timer` back in `after`.
    fn submit_after(&mut self, after: Duration, timer: Timer);
}

/// How a packet travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// As one datagram (UDP): cheap, and may be lost.
    Datagram,
    /// Over a reliable stream (TCP).
    Stream,
}

/// A timer a member has asked for. Its meaning is the member's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    pub(crate) due: Instant,
    pub(crate) kind: TimerKind,
}

impl Timer {
    /// When it is to be handed back.
    pub fn due(&self) -> Instant {
        self.due
    }
}

/// What a timer is for. The numbers are of probes, or of suspicions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum TimerKind {
    /// The time for the direct answer is over.
    ProbeTimeout(u32),
    /// The time for every answer is over.
    Verdict(u32),
    /// The next probe.
    Period,
    /// Whom we asked for another has not answered in time for him.
    Nack(u32),
    /// An answer to that would come too late.
    RelayEnd(u32),
    /// The suspicion of this incarnation of this member may have run out.
    Suspicion(Identity, Incarnation),
    /// More rumours.
    Gossip,
    /// The next exchange of all that is known.
    Sync,
    /// Nobody has answered the joining yet, perhaps.
    Join,
    /// A member is to be forgotten if it is still down since this time.
    Forget(Identity, Instant),
    /// The leaving ends, whether all have heard of it or not.
    LeaveEnd,
}

/// What happened, for whoever acts on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A member is there: for the first time, or after it was down or forgotten.
    Up {
        /// Which.
        member: Identity,
        /// Where.
        address: Address,
        /// What it says of itself.
        metadata: Bytes,
    },
    /// A node came back as a later boot. What the earlier one knew is gone.
    Restarted {
        /// The later boot.
        member: Identity,
        /// The earlier boot.
        earlier: Generation,
        /// Where it is now.
        address: Address,
        /// What it says of itself.
        metadata: Bytes,
    },
    /// A direct probe of this member has had no answer in time. Others are being asked.
    ProbeFailed {
        /// Of which.
        member: Identity,
    },
    /// A member may be down.
    Suspected {
        /// Which.
        member: Identity,
        /// Who says so: the first of those who do.
        by: NodeId,
    },
    /// A member has refuted a suspicion.
    Cleared {
        /// Which.
        member: Identity,
    },
    /// A member is down.
    Down {
        /// Which.
        member: Identity,
    },
    /// A member has left of its own will.
    Left {
        /// Which.
        member: Identity,
    },
    /// A member says something new of itself, or is reached elsewhere.
    Changed {
        /// Which.
        member: Identity,
        /// Where.
        address: Address,
        /// What it says now.
        metadata: Bytes,
    },
    /// A member that was down or had left is no longer remembered.
    Forgotten {
        /// Which.
        member: Identity,
    },
    /// This member has refuted what was said of it.
    Refuted {
        /// By which incarnation.
        incarnation: Incarnation,
    },
    /// A later boot of this node is about: this one is silent from now on, and ought to end.
    Superseded {
        /// The later boot.
        by: Generation,
    },
    /// This member has left, and is silent from now on.
    Gone,
}
