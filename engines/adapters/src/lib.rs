//! Other people's engines behind the seam of `nori_kv`, so that they are driven exactly as our own.
//!
//! Each peer comes in two rows ([`Preset`]): `matched`, under its plain name, has the memory budget, filters and
//! compression of the engines it is compared with; `default`, as in `fjall:default`, is the peer as
//! shipped. A ratio is taken to the better of the two.
//!
//! What an adapter promises:
//!
//! * An operation costs the peer's own work and little more: handles are opened once, reads are lent, cursors
//!   stream.
//! * A durability class means what it means everywhere, or the capability row leaves it out. The means are
//!   in each module's header; tests kill a process and count syncs.
//! * What the peer cannot do answers `Unsupported`, and the row says so.
//!
//! The peers keep their own files and threads: of [`Parts`](nori_kv::Parts) only the tasks and the clock are used,
//! and only for timed syncs. Sequence numbers are the adapter's (see [`book`]).

mod book;
mod fjall;
mod lmdb;
mod peer;
mod redb;
#[cfg(feature = "rocksdb")]
mod rocksdb;
mod sled;
mod timed;
mod walk;

use nori_kv::EngineFactory;
use peer::PeerFactory;
use std::sync::Arc;

/// Which row of a peer is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// As its authors ship it.
    Shipped,
    /// Given what the engines it is compared with are given: this many bytes of memory for caches and write
    /// buffers, bloom filters of 10 bits a key where it has filters, and no compression.
    Matched {
        /// Bytes for caches and write buffers together.
        memory_bytes: u64,
    },
}

/// A row that can be opened by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The name in experiment files and tables.
    pub name: &'static str,
    /// What it is, in a line.
    pub about: &'static str,
}

const ROCKSDB: Listed = Listed {
    name: "rocksdb",
    about: "RocksDB 11: the LSM tree in C++; same memory, filters and compression as ours",
};
const ROCKSDB_DEFAULT: Listed = Listed {
    name: "rocksdb:default",
    about: "RocksDB 11 as shipped: 32 MiB cache, 64 MiB memtables, no filters, snappy",
};

/// Every row that is not built in, with the cargo feature that builds it in.
pub const NOT_BUILT_IN: &[(Listed, &str)] = &[
    #[cfg(not(feature = "rocksdb"))]
    (ROCKSDB, "rocksdb"),
    #[cfg(not(feature = "rocksdb"))]
    (ROCKSDB_DEFAULT, "rocksdb"),
];

/// Every row that is built in, in the order in which tables show them. RocksDB's are, with the cargo feature `rocksdb`.
pub const ROWS: &[Listed] = &[
    #[cfg(feature = "rocksdb")]
    ROCKSDB,
    #[cfg(feature = "rocksdb")]
    ROCKSDB_DEFAULT,
    Listed {
        name: "fjall",
        about: "fjall 3: an LSM tree in Rust; same memory, filters and compression as ours",
    },
    Listed {
        name: "fjall:default",
        about: "fjall 3 as shipped: 32 MiB cache, 64 MiB memtables, lz4",
    },
    Listed { name: "redb", about: "redb 4: a copy-on-write B-tree in Rust; same memory as ours" },
    Listed { name: "redb:default", about: "redb 4 as shipped: 1 GiB cache" },
    Listed {
        name: "sled",
        about: "sled 0.34: a log-structured B-link tree in Rust; same memory as ours; a flush per write",
    },
    Listed { name: "sled:default", about: "sled 0.34 as shipped: 1 GiB cache; a flush per write" },
    Listed {
        name: "lmdb",
        about: "LMDB through heed: a mapped B-tree in C; no read-ahead; the page cache is its cache",
    },
    Listed { name: "lmdb:default", about: "LMDB through heed as shipped, with read-ahead" },
];

/// The factory of the row called `name`; matched rows get `memory_bytes`. `None` if there is no such row.
pub fn factory(name: &str, memory_bytes: u64) -> Option<Arc<dyn EngineFactory>> {
    let (peer, preset) = match name.split_once(':') {
        Some((peer, "default")) => (peer, Preset::Shipped),
        Some(_) => return None,
        None => (name, Preset::Matched { memory_bytes }),
    };
    match peer {
        "fjall" => Some(Arc::new(PeerFactory::<fjall::Fjall>::new(preset))),
        #[cfg(feature = "rocksdb")]
        "rocksdb" => Some(Arc::new(PeerFactory::<rocksdb::RocksDb>::new(preset))),
        "sled" => Some(Arc::new(PeerFactory::<sled::Sled>::new(preset))),
        "redb" => Some(Arc::new(PeerFactory::<redb::Redb>::new(preset))),
        "lmdb" => Some(Arc::new(PeerFactory::<lmdb::Lmdb>::new(preset))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_listed_row_opens_under_its_name_and_no_other_does() {
        for row in ROWS {
            assert_eq!(factory(row.name, 64 << 20).unwrap().name(), row.name);
        }
        for name in ["", "fjal", "fjall:", "fjall:matched", "rocks"] {
            assert!(factory(name, 64 << 20).is_none(), "{name}");
        }
        for (row, feature) in NOT_BUILT_IN {
            assert!(factory(row.name, 64 << 20).is_none(), "{} is built in", row.name);
            assert!(!feature.is_empty());
        }
    }
}
