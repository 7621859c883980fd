//! Other people's replication protocols behind our seam, to be compared with ours and simulated like it.
//!
//! | name | crate | what the adapter has to mend |
//! |---|---|---|
//! | `raft-rs` | `raft` 0.7, of TiKV | its own randomness; proposals and reads that it drops without a word; a snapshot that is asked for where it is needed |
//! | `openraft` | `openraft` 0.10 (alpha), of databend | it wants a runtime: its tasks, clock and chance are the step's |
//!
//! Each declares what it can do ([`Capabilities`](nori_consensus::Capabilities)), and not more. What it promises beyond is the contract of
//! [`Consensus`](nori_consensus::Consensus).

mod envelope;
mod openraft;
mod overlay;
mod raft_rs;

pub use openraft::OpenRaft;
pub use raft_rs::RaftRs;
