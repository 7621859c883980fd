//! A table for unit tests.

use crate::{TableBuilder, TableOptions, codec, table_name};
use nori_env::{Fs, MemFs, OpenMode};
use nori_filter::FilterContext;
use nori_kv::{EntryRef, Kind, RangeTombstones, SeqNo, Tick};
use std::path::Path;

pub(crate) const DIR: &str = "/store";
pub(crate) const ENTRIES: u64 = 200;

/// Table 3: keys in order, each one put, in several blocks, and a range tombstone.
pub(crate) fn table() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIR)).unwrap();
    let path = Path::new(DIR).join(table_name(3));
    let file = fs.open(&path, OpenMode::CreateNew).unwrap();
    let options = TableOptions {
        codec: codec("raw").unwrap(),
        block_bytes: 512,
        filter: nori_filter::policy("blocked-bloom").unwrap(),
        filter_context: FilterContext {
            level: 0,
            is_last_level: false,
            keys_expected: 200,
            bits_per_key: 10.0,
        },
        created: Tick(1),
        prefix_bytes: 0,
    };
    let mut builder = TableBuilder::new(file, &path, 3, options);
    for n in 0..ENTRIES {
        let (key, seqno) = (format!("key{n:05}"), SeqNo::new(n + 1).unwrap());
        let key = key.as_bytes();
        builder
            .add(&EntryRef { key, seqno, kind: Kind::Put, expires: None, value: &[7; 20] })
            .unwrap();
    }
    let mut ranges = RangeTombstones::default();
    ranges.add(b"key00010", b"key00020", SeqNo::new(500).unwrap());
    builder.finish(&ranges.fragments()).unwrap();
    fs
}
