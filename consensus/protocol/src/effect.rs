//! What a replica wants done.

use crate::{Entry, Index, Instant, LogId, NodeId, Role, SnapshotHandle, Term, Ticket, WriteId};
use bytes::Bytes;
use thiserror::Error;

/// Something to do. Effects come in causal order; the driver begins them in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Make this safe, all of it or nothing; [`Stored`](crate::Input::Stored) says when it is. Never empty.
    Store(Store),
    /// Send a message.
    Send {
        /// To whom; never to itself.
        to: NodeId,
        /// What for, as far as that matters for how it is sent.
        class: MessageClass,
        /// What.
        message: Bytes,
        /// Not before this write, and all before it, are safe.
        after: Option<WriteId>,
    },
    /// Apply these entries to the state, in order. The ranges of a life adjoin; the first begins behind what was applied at boot, or
    /// behind a snapshot that was installed.
    Apply {
        /// The first.
        from: Index,
        /// The last. `from <= through`.
        through: Index,
        /// From `through` on the membership is this: it is stored with the state, and with every snapshot of it, and comes back with
        /// [`Boot`](crate::Boot). Only if `through` is an entry that changed it; an entry that does ends its range.
        membership: Option<Bytes>,
    },
    /// The proposal or change has this place in the log. It took effect if and only if the entry that is applied there
    /// has this name; until then nobody knows.
    Accepted {
        /// Whose.
        ticket: Ticket,
        /// Its entry. It comes before the `Apply` that has it.
        at: LogId,
    },
    /// Nothing will come of the ticket.
    Rejected {
        /// Whose.
        ticket: Ticket,
        /// Why, and whether that is certain.
        why: Rejection,
    },
    /// The read may be done once the state has everything up to `after_applying`.
    ReadReady {
        /// Whose.
        ticket: Ticket,
        /// The state to wait for.
        after_applying: Index,
        /// The value that was read counts only if it is not later than this *after* the read. `None`: it counts.
        valid_until: Option<Instant>,
    },
    /// Make a snapshot of the state, as it is now or later; [`SnapshotBuilt`](crate::Input::SnapshotBuilt) brings it.
    BuildSnapshot,
    /// Bring a peer a snapshot, with a message; [`SnapshotShipped`](crate::Input::SnapshotShipped) says when it ended. One at a
    /// time for each peer.
    ShipSnapshot {
        /// To whom.
        to: NodeId,
        /// What goes with it.
        message: Bytes,
        /// Any snapshot that covers this much will do.
        at_least: Index,
    },
    /// Put the state and the log at this snapshot: first the state, then the log, and a crash between them is finished when the
    /// node starts. Until [`SnapshotInstalled`](crate::Input::SnapshotInstalled) nothing is stored or applied.
    InstallSnapshot {
        /// Which.
        handle: SnapshotHandle,
        /// The log is empty then, and begins behind this.
        reset_log_to: LogId,
    },
    /// Entries up to here are not needed any more; never above what is durably applied.
    TruncateLog {
        /// Inclusive.
        through: Index,
    },
    /// Who leads, or what this replica is, is another.
    RoleChanged {
        /// What it is.
        role: Role,
        /// Since when.
        term: Term,
        /// Who leads, if that is known.
        leader: Option<NodeId>,
    },
}

/// What to make safe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// Its name.
    pub write: WriteId,
    /// In place of the one before, if it changed: what the replica must never forget.
    pub hard_state: Option<Bytes>,
    /// First of all, entries from here on go.
    pub truncate_from: Option<Index>,
    /// Then these come; they adjoin what is left.
    pub entries: Vec<Entry>,
    /// Whether it must outlive the machine whatever the durability of the group is; so must every hard state.
    pub sync: bool,
}

/// What a message is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageClass {
    /// Part of an election.
    Vote,
    /// Entries, and answers to them.
    Append,
    /// A sign of life, and the answer: those of many groups may travel in one.
    Heartbeat,
    /// About a snapshot.
    Snapshot,
    /// Anything else.
    Other,
}

/// Why a ticket ended in nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Rejection {
    /// Another replica leads, or none.
    #[error("not the leader")]
    NotLeader {
        /// Whom to ask instead.
        leader: Option<NodeId>,
    },
    /// There is more under way than may be.
    #[error("too much is under way; ask again later")]
    Overloaded,
    /// The leader is handing over.
    #[error("the leader is handing over")]
    Transferring,
    /// A change of the membership is under way, or the leader has not committed an entry of its term yet.
    #[error("another change is under way")]
    ChangePending,
    /// The change was made from another membership than the present one.
    #[error("the membership has changed since")]
    Outdated,
    /// There cannot be such a membership.
    #[error("there can be no such membership")]
    Impossible,
    /// The protocol has no such thing.
    #[error("this protocol cannot do that")]
    Unsupported,
    /// The replica lost its office, or was halted, before the ticket ended. What was proposed may yet take effect.
    #[error("the leader was replaced; the outcome is unknown")]
    Superseded,
}

impl Rejection {
    /// Whether what was asked for certainly has not taken effect and never will.
    pub fn is_certain(self) -> bool {
        self != Self::Superseded
    }
}
