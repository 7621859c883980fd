//! `raft-rs`: the Raft of TiKV behind our seam.
//!
//! 1. Time goes in **ticks**, half a heartbeat each; those that have passed are made up for before each step.
//! 2. Its election timeouts come from a generator of its own; after each step they are overwritten with a draw of ours.
//! 3. What it drops without a word is rejected: a proposal while it hands over, a read before an entry of the term has
//!    committed (which waits here until one has), everything that was open when the office is lost.
//! 4. A `Ready` becomes effects at once; it is told that one is persisted when the write is that came of it, or, if none came of it, when the
//!    one before is.
//! 5. A membership counts for it from the moment when its entry is handed out to be applied.
//! 6. Where it wants a snapshot to send, it gets the name of what was handed out; the driver ships what covers that.

mod convert;
mod replica;
mod storage;

use bytes::Bytes;
use convert::Config;
use nori_consensus::{
    Boot, BootError, Capabilities, Consensus, ConsensusFactory, Feature, Membership, Settings,
};
use protobuf::Message as _;
use raft::eraftpb::Message;

/// Makes replicas of the protocol `raft-rs`.
#[derive(Clone, Debug)]
pub struct RaftRs {
    settings: Settings,
}

impl RaftRs {
    /// By these numbers, as far as it knows them: it has no window in bytes, and no sleep.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn new(settings: Settings) -> Result<Self, String> {
        match settings.fault() {
            Some(fault) => Err(fault),
            None => Ok(Self { settings }),
        }
    }
}

const FEATURES: [Feature; 10] = [
    Feature::Replication,
    Feature::PreVote,
    Feature::CheckQuorum,
    Feature::ParallelAppend,
    Feature::Pipelining,
    Feature::Learners,
    Feature::MembershipChange,
    Feature::Transfer,
    Feature::ReadIndex,
    Feature::Snapshots,
];

impl ConsensusFactory for RaftRs {
    fn name(&self) -> &'static str {
        "raft-rs"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::of(FEATURES)
    }

    fn founding(&self, membership: &Membership) -> Bytes {
        Config::founding(membership).encode()
    }

    fn describe(&self, message: &Bytes) -> String {
        let Some((_, inner)) = crate::envelope::open(message) else {
            return format!("{} bytes that are no message", message.len());
        };
        let mut theirs = Message::default();
        match theirs.merge_from_bytes(&inner) {
            Ok(()) => format!("{theirs:?}"),
            Err(_) => format!("{} bytes that are no message", inner.len()),
        }
    }

    fn boot(&self, boot: Boot) -> Result<Box<dyn Consensus>, BootError> {
        Ok(Box::new(replica::Replica::new(boot, self.settings.clone())?))
    }
}
