//! The seam of every replication protocol.
//!
//! 1. A **replica** ([`Consensus`]) is a state machine without a world: it is told what happened ([`Input`]) and says what is to be
//!    done ([`Effect`]).
//! 2. Its **driver** has the world: the log, the network, the clock, the state of the shard. A simulation is a driver, and so is a
//!    server; both run the same replica.
//! 3. What replicas say to each other, and what they must not forget, are bytes to everybody else.
//! 4. The **laws** ([`Consensus`], `# Contract`) hold for every protocol. [`monitor`] watches one replica's, [`conformance`] puts
//!    groups of them through a world of its own.
//!
//! Here are the seam, its laws, the protocol without replication ([`solo`]) and a log in memory. What a protocol does is left to
//! protocols; what clients may rely on, to whoever applies entries.

mod boot;
pub mod chance;
pub mod conformance;
mod consensus;
mod effect;
mod entry;
pub mod host;
mod ids;
mod input;
mod log_view;
mod mem_log;
mod membership;
pub mod monitor;
pub mod mutant;
mod settings;
mod solo;
mod status;
mod time;
pub mod world;

pub use boot::{Boot, BootError, Capabilities, ConsensusFactory, Feature, Standing};
pub use consensus::Consensus;
pub use effect::{Effect, MessageClass, Rejection, Store};
pub use entry::{ENTRY_OVERHEAD_BYTES, Entry, EntryKind};
pub use ids::{Index, LogId, NodeId, ShardId, SnapshotHandle, Term, Ticket, WriteId};
pub use input::{Consistency, Input, Snapshot, StorageFault};
pub use log_view::{LogView, Slice};
pub use mem_log::MemLog;
pub use membership::{Change, Membership};
pub use settings::{LeaseKind, Settings};
pub use solo::Solo;
pub use status::{Role, Status};
pub use time::Instant;
