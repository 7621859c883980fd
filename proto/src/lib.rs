//! The wire of NoriKV: what is said between clients, nodes and tests, as `norikv/v1/*.proto` defines it.
//!
//! Here are generated types and nothing else. Whoever speaks the wire turns them into types of its own at the border; no crate below does
//! ever see them.

/// Package `norikv.v1`.
#[allow(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the definitions carry the words"
)]
pub mod v1 {
    tonic::include_proto!("norikv.v1");

    /// All definitions, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("norikv.v1");
}
