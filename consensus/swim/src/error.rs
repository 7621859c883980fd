//! Why an order or a packet is refused. After every one of these the member is as it was and goes on.

use thiserror::Error;

/// Whatever a member refuses.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SwimError {
    /// A number is outside its bounds: mend the settings or the call. Nothing has changed.
    #[error("{what} must be from {min} to {max}, not {given}")]
    OutOfBounds {
        /// What it is, with its unit.
        what: &'static str,
        /// The least that is allowed.
        min: u64,
        /// The most that is allowed.
        max: u64,
        /// What was given.
        given: u64,
    },
    /// The member has not started, has left, or has been superseded by a later boot. Nothing has changed.
    #[error("the member does not run")]
    NotRunning,
    /// The ring holds no such key. Nothing has changed.
    #[error("the keyring has no such key")]
    UnknownKey,
    /// The primary key cannot be taken away: make another one primary first. Nothing has changed.
    #[error("the key is the primary one")]
    PrimaryKey,
    /// A packet is refused, and counted; a driver drops it. What is known of others has not changed.
    #[error("packet refused: {0}")]
    Packet(#[from] Refusal),
}

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum Refusal {
    /// It ends too early.
    #[error("it ends too early")]
    Short,
    /// It is longer than a packet of its class may be.
    #[error("it is too long")]
    Long,
    /// Its checksum is wrong.
    #[error("its checksum is wrong")]
    Damaged,
    /// It is of a version this program does not know.
    #[error("it is of version {0}, which this program does not know")]
    Version(u8),
    /// It is of another cluster.
    #[error("it is of another cluster")]
    ForeignCluster,
    /// It is plain, and this cluster seals its packets.
    #[error("it is not sealed")]
    Unsealed,
    /// It is sealed, and this member has no keys.
    #[error("it is sealed, and there is no key")]
    Sealed,
    /// No key of the ring opens it.
    #[error("no key opens it")]
    Unauthentic,
    /// It holds something that cannot be.
    #[error("it has a {0} that there cannot be")]
    Malformed(&'static str),
    /// It asks for another identity: the one that was at this address before, say. The sender is told who is here now.
    #[error("it is meant for another")]
    NotForMe,
    /// It comes from this very node, or says so. If from a later boot, this one is superseded.
    #[error("it comes from this node itself")]
    FromMyself,
    /// It comes from an earlier boot of a node of which a later one is known. The sender is told so.
    #[error("it comes from an earlier boot of its node")]
    StaleSender,
}
