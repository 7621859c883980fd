//! The wire of NoriKV: what is said between clients, nodes and tests, as `norikv/v1/*.proto` defines it.
//!
//! Here are generated types, the [`codec`] and the [`socket`] that both ends put them on, and the [`channel`] of who asks, with the [`pipe`] for many small requests. Whoever speaks the wire turns the types into types of its own at the border; no crate below
//! does ever see them.

pub mod causes;
pub mod channel;
pub mod codec;
pub mod pipe;
pub mod socket;

/// Package `norikv.v1`.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the definitions carry the words"
)]
pub mod v1 {
    tonic::include_proto!("norikv.v1");

    /// All definitions, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] = tonic::include_file_descriptor_set!("norikv.v1");
}

#[cfg(test)]
mod tests {
    use super::v1;
    use prost::Message as _;

    #[test]
    fn every_service_is_among_the_definitions() {
        let set = prost_types::FileDescriptorSet::decode(v1::FILE_DESCRIPTOR_SET).unwrap();
        let services = set.file.iter().flat_map(|file| &file.service);
        let names: Vec<&str> = services.map(prost_types::ServiceDescriptorProto::name).collect();
        assert_eq!(names, ["Kv", "Cluster", "Admin", "Peer", "TestControl"]);
    }
}
