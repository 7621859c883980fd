//! What a dump promises: it shows every part and entry, names every damage, and goes on behind it.

use super::*;
use crate::testing::{DIR, ENTRIES, table};
use nori_env::MemFs;

fn flip(fs: &MemFs, at: usize) {
    let path = Path::new(DIR).join(table_name(3));
    let mut content = fs.read(&path).unwrap();
    content[at] ^= 1;
    fs.remove(&path).unwrap();
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&content, 0).unwrap();
}

fn dumped(fs: &MemFs) -> (TableDump, Vec<Vec<u8>>) {
    let mut keys = Vec::new();
    let dump = dump(fs, Path::new(DIR), 3, &mut |_, entry| keys.push(entry.key.to_vec()));
    (dump.unwrap(), keys)
}

#[test]
fn every_part_and_entry_of_a_whole_table_is_shown() {
    let (dump, keys) = dumped(&table());
    assert!(dump.damage.is_empty(), "{:?}", dump.damage);
    assert_eq!((dump.entries, keys.len() as u64), (ENTRIES, ENTRIES));
    assert!(keys.is_sorted() && keys[199] == b"key00199");
    assert_eq!(dump.blocks, Some(dump.blocks_read));
    assert!(dump.blocks_read > 3);
    assert_eq!(dump.range_tombstones.tombstones(), 1);
    assert_eq!(dump.properties.unwrap().entries, ENTRIES);
    let filter = dump.filter.unwrap();
    assert!(filter.is_known && filter.policy == "blocked-bloom" && filter.memory_bytes > 200);
    let footer = dump.footer.unwrap();
    assert!(footer.filter.offset < footer.index.offset && footer.properties.bytes > 0);
}

#[test]
fn a_damaged_block_is_named_and_the_next_ones_are_shown() {
    let fs = table();
    flip(&fs, 100);
    let (dump, keys) = dumped(&fs);
    assert_eq!(dump.damage.len(), 1);
    let error = dump.damage[0].to_string();
    assert!(error.contains("0000000003.table") && error.contains("byte 0"), "{error}");
    assert_eq!(dump.blocks, Some(dump.blocks_read + 1));
    assert!(keys.len() < 200 && keys.last().unwrap() == b"key00199");
}

#[test]
fn a_damaged_filter_hides_no_entry_and_a_damaged_footer_is_told() {
    let whole = dumped(&table()).0;
    let fs = table();
    flip(&fs, whole.footer.unwrap().filter.offset as usize + 5);
    let (dump, keys) = dumped(&fs);
    assert_eq!((dump.damage.len(), keys.len()), (1, 200));
    let fs = table();
    flip(&fs, whole.bytes as usize - 20);
    let (dump, keys) = dumped(&fs);
    assert!(dump.footer.is_none() && dump.damage.len() == 1 && keys.is_empty());
}

#[test]
fn every_flipped_bit_is_damage() {
    let whole = dumped(&table()).0;
    for at in (0..whole.bytes as usize).step_by(7) {
        let fs = table();
        flip(&fs, at);
        assert!(!dumped(&fs).0.damage.is_empty(), "byte {at}");
    }
}
