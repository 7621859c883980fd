//! `openraft`: databend's Raft behind our seam.
//!
//! 1. It is made of tasks and wants a runtime, a log, a state machine and a network. All four are ours: its tasks run when the replica is stepped, until
//!    all of them wait; its clock moves with the steps; its chance is the seed's.
//! 2. Its log and state machine do nothing but say what is to be done ([`Effect`](nori_consensus::Effect)), and wait for the input that ends it.
//! 3. A request is a message with a number; the answer names it, and the life it was made in.
//! 4. What was proposed here has its place as soon as its entry is appended: the ticket travels inside.
//! 5. While a snapshot is installed its writes are held back.
//! 6. A snapshot to send has no content; the driver ships what covers it. One that arrives at a log that has its last entry is not installed.
//! 7. Who led in a term and starts anew in it does not lead on: it may have sent entries that it lost.

mod channels;
mod message;
mod network;
mod replica;
mod runtime;
mod shared;
mod storage;
mod types;
mod watch;

use bytes::Bytes;
use message::Message;
use nori_consensus::{
    Boot, BootError, Capabilities, Consensus, ConsensusFactory, Feature, Membership, Settings,
};

/// Makes replicas of the protocol `openraft`.
#[derive(Clone, Debug)]
pub struct OpenRaft {
    settings: Settings,
}

impl OpenRaft {
    /// By these numbers, as far as it knows them: it has no window, no limit of what is uncommitted, and no sleep.
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

const FEATURES: [Feature; 8] = [
    Feature::Replication,
    Feature::PreVote,
    Feature::ParallelAppend,
    Feature::Learners,
    Feature::MembershipChange,
    Feature::Transfer,
    Feature::ReadIndex,
    Feature::Snapshots,
];

impl ConsensusFactory for OpenRaft {
    fn name(&self) -> &'static str {
        "openraft"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::of(FEATURES)
    }

    fn founding(&self, membership: &Membership) -> Bytes {
        types::to_bytes(&types::founding(membership))
    }

    fn describe(&self, message: &Bytes) -> String {
        let inner = crate::envelope::open(message).map(|(_, inner)| inner);
        match inner.and_then(|inner| types::from_bytes::<Message>(&inner)) {
            Some(message) => format!("{}.{} {:?}", message.life, message.call, message.body),
            None => format!("{} bytes that are no message", message.len()),
        }
    }

    fn boot(&self, boot: Boot) -> Result<Box<dyn Consensus>, BootError> {
        Ok(Box::new(replica::Replica::new(&boot, self.settings.clone())?))
    }
}
