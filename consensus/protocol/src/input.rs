//! What a replica is told.

use crate::{Change, Index, LogId, NodeId, SnapshotHandle, Ticket, WriteId};
use bytes::Bytes;
use thiserror::Error;

/// Something that happened, or is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A message of another replica of this group came. It may be late, repeated, of another life or no message at all.
    Received {
        /// Who sent it, as the driver knows it.
        from: NodeId,
        /// As it was sent, if all is well.
        message: Bytes,
    },
    /// An entry with this payload is wanted. Its ticket ends in `Accepted` or `Rejected`.
    Proposed {
        /// The driver's name for it.
        ticket: Ticket,
        /// What the entry is to say.
        payload: Bytes,
    },
    /// A read is wanted that sees every write that ended before it began. Its ticket ends in `ReadReady` or `Rejected`.
    ReadRequested {
        /// The driver's name for it.
        ticket: Ticket,
        /// What the read may rest upon.
        consistency: Consistency,
    },
    /// Another membership is wanted. Its ticket ends in `Accepted`, at the entry that begins the change, or `Rejected`.
    MembershipRequested {
        /// The driver's name for it.
        ticket: Ticket,
        /// The membership that is wanted, and from which.
        change: Change,
    },
    /// This leader should hand over to that voter. What comes of it, roles tell.
    TransferRequested {
        /// Who is to lead.
        to: NodeId,
    },
    /// This replica should try to lead now. Ignored while a leader's lease may rest on what this replica has answered.
    CampaignRequested,
    /// A `Store` ended; they end in order.
    Stored {
        /// Which.
        write: WriteId,
        /// A fault ends the replica: what is on its disk is unknown until its next life.
        result: Result<(), StorageFault>,
    },
    /// What a slice was waiting for is at hand.
    LogFetched,
    /// The state of the shard has everything up to here. Only grows.
    Applied {
        /// Inclusive.
        through: Index,
    },
    /// No crash of this node takes the state back before here. Only grows, up to `Applied`.
    DurablyApplied {
        /// Inclusive.
        through: Index,
    },
    /// There is no room for entries up to here: they are to go, though who lags may want them, and will get a snapshot instead. At most what was told to be
    /// durably applied.
    LogReleased {
        /// Inclusive.
        through: Index,
    },
    /// What was handed out to be applied and has not been, in bytes.
    ApplyDebt {
        /// Of payloads.
        bytes: u64,
    },
    /// A snapshot that was asked for is there.
    SnapshotBuilt {
        /// Which.
        snapshot: Snapshot,
    },
    /// Another replica's snapshot came whole.
    SnapshotArrived {
        /// Who sent it.
        from: NodeId,
        /// The message it was shipped with.
        message: Bytes,
        /// Which.
        snapshot: Snapshot,
    },
    /// The state is that of the snapshot, and the log begins behind it.
    SnapshotInstalled {
        /// The last entry it covers.
        through: LogId,
    },
    /// The shipping of a snapshot ended.
    SnapshotShipped {
        /// To whom.
        to: NodeId,
        /// Whether it arrived whole.
        is_delivered: bool,
    },
    /// Messages to a peer do not get through at present.
    PeerUnreachable {
        /// Which.
        peer: NodeId,
    },
    /// A peer is dead, as far as the cluster knows. Who sleeps wakes up.
    PeerDown {
        /// Which.
        peer: NodeId,
    },
    /// A peer lives, as far as the cluster knows.
    PeerUp {
        /// Which.
        peer: NodeId,
    },
    /// The time that was asked for has come; or not yet, and then nothing happens.
    TimerFired,
}

/// What a read may rest upon. A stale read needs no consensus and is never asked for here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// A majority that says, after the request, that this is the leader.
    Linearizable,
    /// The leader's lease, if it has one; the same promise as long as clocks drift no more than the settings say.
    Lease,
}

/// A snapshot that the driver keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The last entry it covers.
    pub through: LogId,
    /// The membership as of that entry, as [`Apply`](crate::Effect::Apply) told it.
    pub membership: Bytes,
    /// Its name.
    pub handle: SnapshotHandle,
}

/// Why something could not be stored.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the log could not be written: {what}")]
pub struct StorageFault {
    /// As the log says it.
    pub what: String,
}
