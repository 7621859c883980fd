//! Bytes that a checksum vouches for and that are wrong all the same: from a program with an error, or from an enemy. No decoder behind
//! the checksums panics, hangs or takes memory for what is not there; and the example of the format page is read as it says.

use crate::{DIR, build_with, context, entries, examples, options, ranges};
use nori_env::{Fs, MemFs, OpenMode};
use nori_kv::{EntryCursor, EntryRef, ErrorKind, Fragments, Kind, SeqNo, Tick};
use nori_sstable::{Fetch, Table, Tally, dump, table_name};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::path::Path;

const NUMBER: u64 = 2;
const FOOTER_BYTES: usize = 64;
const TRAILER_BYTES: usize = 9;

/// Cases unless `PROPTEST_CASES` says otherwise: a few seconds.
const CASES: u32 = 1_000;

fn config() -> Config {
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if is_asked { Config::default().cases } else { CASES };
    Config { cases, failure_persistence: None, ..Config::default() }
}

fn put_file(content: &[u8]) -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIR)).unwrap();
    let path = Path::new(DIR).join(table_name(NUMBER));
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(content, 0).unwrap();
    fs
}

/// A whole table and where its blocks begin and end.
fn whole(codec_name: &str) -> (Vec<u8>, Vec<(usize, usize)>) {
    let fs = MemFs::new();
    let ranges = ranges(&[("user000030", "user0001", 900_000)]);
    build_with(&fs, NUMBER, &options(codec_name, "blocked-bloom"), &entries(2, 40), &ranges);
    let mut begins = std::collections::BTreeSet::new();
    let seen = dump(&fs, Path::new(DIR), NUMBER, &mut |offset, _| {
        begins.insert(offset as usize);
    });
    let footer = seen.unwrap().footer.unwrap();
    for part in [footer.filter, footer.index, footer.range_tombstones, footer.properties] {
        begins.insert(part.offset as usize);
    }
    let content = fs.read(&Path::new(DIR).join(table_name(NUMBER))).unwrap();
    let mut ends: Vec<usize> = begins.iter().skip(1).copied().collect();
    ends.push(content.len() - FOOTER_BYTES);
    (content, begins.into_iter().zip(ends).collect())
}

/// Makes every checksum right.
fn seal(content: &mut [u8], blocks: &[(usize, usize)]) {
    for (begin, end) in blocks {
        let mut place = NUMBER.to_le_bytes().to_vec();
        place.extend_from_slice(&(*begin as u64).to_le_bytes());
        let sum = nori_env::crc32c_append(nori_env::crc32c(&place), &content[*begin..end - 4]);
        content[end - 4..*end].copy_from_slice(&sum.to_le_bytes());
    }
    let at = content.len() - FOOTER_BYTES;
    let sum =
        nori_env::crc32c_append(nori_env::crc32c(&NUMBER.to_le_bytes()), &content[at..at + 52]);
    content[at + 52..at + 56].copy_from_slice(&sum.to_le_bytes());
}

/// Reads the table in every way there is; each answer is a row, none, or an error of kind `Corrupt`.
fn read_everything(fs: &MemFs) -> Result<(), TestCaseError> {
    let corrupt = |error: nori_kv::Error| {
        prop_assert_eq!(error.kind(), ErrorKind::Corrupt, "{}", error);
        Ok(())
    };
    let shown = dump(fs, Path::new(DIR), NUMBER, &mut |_, _| {});
    prop_assert!(shown.is_ok(), "damage is no error of a dump");
    let table = match Table::open(&context(fs, "lru"), Path::new(DIR), NUMBER) {
        Ok(table) => table,
        Err(error) => return corrupt(error),
    };
    if let Err(error) = table.verify() {
        corrupt(error)?;
    }
    for (key, ..) in entries(2, 40) {
        let key_hash = nori_filter::key_hash(&key);
        let mut tally = Tally::default();
        let found = table.get((&key, key_hash), SeqNo::MAX, Fetch::Fill, &mut tally, &mut |_| {});
        found.map_or_else(corrupt, |_| Ok(()))?;
    }
    for goes_forward in [true, false] {
        let mut cursor = table.cursor(Fetch::Pass);
        // Far more than the entries there are: a walk that does not end is a failure, too.
        for n in 0.. {
            prop_assert!(n < 10_000, "a walk does not end");
            match if goes_forward { cursor.next() } else { cursor.prev() } {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => {
                    corrupt(error)?;
                    break;
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn wrong_bytes_under_right_checksums_are_refused_or_read_without_panic(
        codec_name in prop::sample::select(vec!["raw", "lz4", "zstd"]),
        // Blocks counted from the end, where the parts are that others depend on; then a byte of it.
        changes in prop::collection::vec((0..8usize, any::<prop::sample::Index>(), any::<u8>()), 1..4),
        footer in prop::option::weighted(0.2, (0..48usize, any::<u8>())),
    ) {
        let (mut content, blocks) = whole(codec_name);
        for (from_end, at, byte) in changes {
            let (begin, end) = blocks[blocks.len() - 1 - from_end % blocks.len()];
            content[begin + at.index(end - begin - 4)] = byte;
        }
        if let Some((at, byte)) = footer {
            let at = content.len() - FOOTER_BYTES + at;
            content[at] = byte;
        }
        seal(&mut content, &blocks);
        read_everything(&put_file(&content))?;
    }

    #[test]
    fn any_bytes_for_a_block_under_a_right_checksum_are_refused_or_read_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..80),
        from_end in 0..8usize,
        codec in 0..4u8,
    ) {
        let (mut content, blocks) = whole("raw");
        let (begin, end) = blocks[blocks.len() - 1 - from_end % blocks.len()];
        let used = bytes.len().min(end - begin - TRAILER_BYTES);
        content[begin..begin + used].copy_from_slice(&bytes[..used]);
        content[end - TRAILER_BYTES] = codec;
        seal(&mut content, &blocks);
        read_everything(&put_file(&content))?;
    }
}

#[test]
fn sealing_a_whole_table_again_changes_nothing() {
    let (content, blocks) = whole("lz4");
    assert!(blocks.len() > 6, "the table is to have several blocks");
    let mut again = content.clone();
    seal(&mut again, &blocks);
    assert_eq!(again, content);
}

#[test]
fn the_bytes_of_the_format_page_are_what_is_written_and_read() {
    let page = examples(include_str!("../../../../docs/formats/table.md"));
    let mut options = options("raw", "blocked-bloom");
    options.created = Tick(0);
    let entries = [
        (b"key-1".to_vec(), 2, Kind::Put, b"one".to_vec()),
        (b"key-2".to_vec(), 1, Kind::Delete, Vec::new()),
    ];
    let fs = MemFs::new();
    build_with(&fs, NUMBER, &options, &entries, &Fragments::default());
    let content = fs.read(&Path::new(DIR).join(table_name(NUMBER))).unwrap();
    let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, page);
    let digits = |at: usize| u8::from_str_radix(&page[at..at + 2], 16).unwrap();
    let fs = put_file(&(0..page.len()).step_by(2).map(digits).collect::<Vec<_>>());
    let table = Table::open(&context(&fs, "none"), Path::new(DIR), NUMBER).unwrap();
    let (mut cursor, mut read) = (table.cursor(Fetch::Pass), Vec::new());
    while cursor.next().unwrap() {
        let EntryRef { key, seqno, kind, value, .. } = cursor.entry().unwrap();
        read.push((key.to_vec(), seqno.value(), kind, value.to_vec()));
    }
    assert_eq!(read, entries);
}
