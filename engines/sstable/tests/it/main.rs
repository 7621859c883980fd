//! What tables promise: every entry comes back in both directions, and every changed byte is found and located.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod ahead;
mod sealed;

use nori_env::{Entropy, Fs, MemFs, OpenMode, OsFs, SeededEntropy};
use nori_filter::{Filter, FilterBuilder, FilterContext, FilterError, FilterPolicy};
use nori_kv::{
    EntryCursor, EntryRef, ErrorKind, Fragments, KeyRange, Kind, RangeTombstones, SeqNo, Tick,
};
use nori_sstable::{
    Access, Cache, Fetch, Table, TableBuilder, TableContext, TableOptions, Tally, cache_policy,
    codec, table_name,
};
use std::path::Path;
use std::sync::Arc;

type Entry = (Vec<u8>, u64, Kind, Vec<u8>);

const DIR: &str = "/store";

fn options(codec_name: &str, filter: &str) -> TableOptions {
    TableOptions {
        codec: codec(codec_name).unwrap(),
        block_bytes: 512,
        filter: nori_filter::policy(filter).unwrap(),
        filter_context: FilterContext {
            level: 0,
            is_last_level: false,
            keys_expected: 1000,
            bits_per_key: 10.0,
        },
        created: Tick(1),
        prefix_bytes: 0,
    }
}

fn context(fs: &MemFs, cache_name: &str) -> TableContext {
    let cache = Cache::new(cache_policy(cache_name, 8 << 10).unwrap(), 8 << 10);
    TableContext::new(Arc::new(fs.clone()), cache, Access::Pread)
}

/// The bytes of the examples on a format page, one after the other: lines of an offset, two spaces and bytes in hex.
fn examples(page: &str) -> String {
    let line = |line: &str| {
        let (offset, bytes) = line.strip_prefix("    ")?.split_once("  ")?;
        let is_offset = offset.len() == 4 && offset.bytes().all(|b| b.is_ascii_hexdigit());
        is_offset.then(|| bytes.replace(' ', ""))
    };
    page.lines().filter_map(line).collect()
}

fn entries(seed: u64, keys: u64) -> Vec<Entry> {
    let entropy = SeededEntropy::new(seed);
    let mut entries = Vec::new();
    for n in 0..keys {
        let key = format!("user{:06}", n * 3).into_bytes();
        // One key with so many versions that they fill several blocks.
        let versions = if n == keys / 2 { 200 } else { 1 + entropy.below(3) };
        for version in (0..versions).rev() {
            let seqno = 1 + version * keys + n;
            let kind = if entropy.below(5) == 0 { Kind::Delete } else { Kind::Put };
            let len = if kind == Kind::Put { entropy.below(60) as usize } else { 0 };
            entries.push((key.clone(), seqno, kind, vec![version as u8; len]));
        }
    }
    entries
}

fn build(fs: &MemFs, number: u64, options: &TableOptions, entries: &[Entry]) {
    build_with(fs, number, options, entries, &Fragments::default());
}

fn build_with(
    fs: &MemFs,
    number: u64,
    options: &TableOptions,
    entries: &[Entry],
    ranges: &Fragments,
) {
    fs.create_dir(Path::new(DIR)).unwrap();
    let path = Path::new(DIR).join(table_name(number));
    let file = fs.open(&path, OpenMode::CreateNew).unwrap();
    let mut builder = TableBuilder::new(file, &path, number, options.clone());
    for (key, seqno, kind, value) in entries {
        let seqno = SeqNo::new(*seqno).unwrap();
        builder.add(&EntryRef { key, seqno, kind: *kind, expires: None, value }).unwrap();
    }
    let (_, properties, bytes) = builder.finish(ranges).unwrap();
    assert_eq!(properties.entries, entries.len() as u64);
    assert_eq!(fs.read(&path).unwrap().len() as u64, bytes);
}

fn owned(entry: EntryRef<'_>) -> Entry {
    (entry.key.to_vec(), entry.seqno.value(), entry.kind, entry.value.to_vec())
}

#[test]
fn every_entry_comes_back_whatever_the_parts() {
    for codec_name in ["raw", "lz4"] {
        for filter in ["none", "blocked-bloom"] {
            for (cache, access) in
                [("none", Access::Pread), ("lru", Access::Pread), ("lru", Access::Mmap)]
            {
                let (fs, entries) = (MemFs::new(), entries(1, 300));
                build(&fs, 7, &options(codec_name, filter), &entries);
                let mut context = context(&fs, cache);
                context.access = access;
                let table = Table::open(&context, Path::new(DIR), 7).unwrap();
                for _ in 0..2 {
                    check_gets(&table, &entries);
                    check_walks(&table, &entries);
                }
                assert_eq!(table.verify().unwrap(), entries.len() as u64);
            }
        }
    }
}

fn ranges(all: &[(&str, &str, u64)]) -> Fragments {
    let mut ranges = RangeTombstones::default();
    for (start, end, seqno) in all {
        ranges.add(start.as_bytes(), end.as_bytes(), SeqNo::new(*seqno).unwrap());
    }
    ranges.fragments()
}

#[test]
fn range_tombstones_come_back_and_widen_the_span() {
    let (fs, entries) = (MemFs::new(), entries(1, 300));
    let ranges = ranges(&[("a", "user0001", 5), ("user0000", "user9", 900_000)]);
    build_with(&fs, 7, &options("lz4", "blocked-bloom"), &entries, &ranges);
    let table = Table::open(&context(&fs, "lru"), Path::new(DIR), 7).unwrap();
    assert_eq!(table.ranges(), &ranges);
    let of = table.properties();
    assert_eq!((&of.key_min[..], &of.key_max[..]), (&b"a"[..], &b"user9"[..]));
    assert!(of.is_max_excluded && table.spans(b"user8") && !table.spans(b"user9"));
    assert_eq!((of.range_tombstones, of.seqno_max.value()), (4, 900_000));
    check_gets(&table, &entries);
    check_walks(&table, &entries);
    assert_eq!(table.verify().unwrap(), entries.len() as u64);
}

#[test]
fn a_table_may_hold_range_tombstones_alone() {
    let fs = MemFs::new();
    build_with(&fs, 7, &options("raw", "blocked-bloom"), &[], &ranges(&[("b", "d", 3)]));
    let table = Table::open(&context(&fs, "lru"), Path::new(DIR), 7).unwrap();
    assert_eq!(table.ranges().cover(b"c", SeqNo::MAX).value(), 3);
    let hash = nori_filter::key_hash(b"c");
    let found =
        table.get((b"c", hash), SeqNo::MAX, Fetch::Fill, &mut Tally::default(), &mut |_| {});
    assert!(!found.unwrap());
    for fetch in [Fetch::Fill, Fetch::Pass] {
        let mut cursor = table.cursor(fetch);
        assert!(!cursor.next().unwrap() && !cursor.prev().unwrap());
        assert!(!cursor.seek(b"c", SeqNo::MAX).unwrap() && !cursor.prev().unwrap());
    }
    assert_eq!(table.verify().unwrap(), 0);
}

fn check_gets(table: &Table, entries: &[Entry]) {
    let entropy = SeededEntropy::new(9);
    let mut tally = Tally::default();
    for _ in 0..2000 {
        let key = format!("user{:06}", entropy.below(920)).into_bytes();
        let at = SeqNo::new(entropy.below(70_000)).unwrap();
        let expected = entries.iter().find(|(k, s, ..)| *k == key && *s <= at.value());
        let mut found = None;
        let hash = nori_filter::key_hash(&key);
        let has = table.get((&key, hash), at, Fetch::Fill, &mut tally, &mut |entry| {
            found = Some(owned(entry));
        });
        assert_eq!((has.unwrap(), found.as_ref()), (expected.is_some(), expected));
    }
    assert!(tally.runs_probed == 2000);
}

fn check_walks(table: &Arc<Table>, entries: &[Entry]) {
    for fetch in [Fetch::Fill, Fetch::Pass] {
        let mut cursor = table.cursor(fetch);
        assert_eq!(cursor.entry(), None);
        let mut forward = Vec::new();
        while cursor.next().unwrap() {
            forward.push(owned(cursor.entry().unwrap()));
        }
        assert!(forward == entries);
        assert!(!cursor.next().unwrap() && cursor.entry().is_none());
        let mut backward = Vec::new();
        while cursor.prev().unwrap() {
            backward.push(owned(cursor.entry().unwrap()));
        }
        backward.reverse();
        assert!(backward == entries);
        assert!(!cursor.prev().unwrap() && cursor.next().unwrap());
        let entropy = SeededEntropy::new(3);
        // Half of the time the key whose versions fill several blocks.
        let many = entries[entries.len() / 2].0.clone();
        for _ in 0..500 {
            let any = format!("user{:06}", entropy.below(920)).into_bytes();
            let key = if entropy.below(2) == 0 { many.clone() } else { any };
            let seqno = entropy.below(70_000);
            let at =
                entries.partition_point(|(k, s, ..)| (k, u64::MAX - s) < (&key, u64::MAX - seqno));
            assert_eq!(cursor.seek(&key, SeqNo::new(seqno).unwrap()).unwrap(), at < entries.len());
            assert_eq!(cursor.entry().map(owned).as_ref(), entries.get(at));
            assert_eq!(cursor.prev().unwrap(), at > 0);
            assert_eq!(cursor.entry().map(owned).as_ref(), at.checked_sub(1).map(|n| &entries[n]));
        }
    }
}

#[test]
fn a_table_of_an_unknown_format_version_is_refused_by_name() {
    let (fs, entries) = (MemFs::new(), entries(2, 40));
    build(&fs, 3, &options("raw", "none"), &entries);
    let path = Path::new(DIR).join(table_name(3));
    let mut bytes = fs.read(&path).unwrap();
    let footer = bytes.len() - 64;
    bytes[footer + 48] = 2;
    let place = nori_env::crc32c(&3u64.to_le_bytes());
    let checksum = nori_env::crc32c_append(place, &bytes[footer..footer + 52]);
    bytes[footer + 52..footer + 56].copy_from_slice(&checksum.to_le_bytes());
    fs.remove(&path).unwrap();
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&bytes, 0).unwrap();
    let error = Table::open(&context(&fs, "none"), Path::new(DIR), 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(
        text.contains(&table_name(3)) && text.contains("format version 2 is not known"),
        "{text}"
    );
}

/// A filter of a later program: the default one under a name that nobody knows here.
#[derive(Debug)]
struct Unheard(Arc<dyn FilterPolicy>);

impl FilterPolicy for Unheard {
    fn name(&self) -> &'static str {
        "of-tomorrow"
    }

    fn builder(&self, context: &FilterContext) -> Option<Box<dyn FilterBuilder>> {
        self.0.builder(context)
    }

    fn open(&self, block: &[u8]) -> Result<Box<dyn Filter>, FilterError> {
        self.0.open(block)
    }
}

#[test]
fn a_table_whose_filter_is_unknown_is_read_without_it() {
    let (fs, entries) = (MemFs::new(), entries(1, 300));
    let known = options("raw", "blocked-bloom");
    let filter = Arc::new(Unheard(Arc::clone(&known.filter)));
    build(&fs, 7, &TableOptions { filter, ..known.clone() }, &entries);
    build(&fs, 8, &known, &entries);
    let (hash, at) = (nori_filter::key_hash(b"user000001"), SeqNo::new(70_000).unwrap());
    for (number, probes) in [(7, 0), (8, 1)] {
        let table = Table::open(&context(&fs, "lru"), Path::new(DIR), number).unwrap();
        check_gets(&table, &entries);
        check_walks(&table, &entries);
        let mut tally = Tally::default();
        assert!(
            !table.get((b"user000001", hash), at, Fetch::Fill, &mut tally, &mut |_| ()).unwrap()
        );
        assert_eq!(tally.filter_probes, probes);
    }
}

#[test]
fn every_flipped_bit_is_located_and_never_a_wrong_answer() {
    let (fs, entries) = (MemFs::new(), entries(2, 40));
    let ranges = ranges(&[("user000030", "user0001", 900_000)]);
    build_with(&fs, 3, &options("lz4", "blocked-bloom"), &entries, &ranges);
    let path = Path::new(DIR).join(table_name(3));
    let len = fs.read(&path).unwrap().len() as u64;
    for at in 0..len {
        let mask = 1 << (at % 8);
        fs.flip(&path, at, mask).unwrap();
        let seen = Table::open(&context(&fs, "none"), Path::new(DIR), 3).and_then(|t| t.verify());
        let error = seen.expect_err("a flipped bit was not seen");
        assert_eq!(error.kind(), ErrorKind::Corrupt, "byte {at}: {error}");
        assert!(error.to_string().contains(&table_name(3)), "{error}");
        fs.flip(&path, at, mask).unwrap();
    }
}

#[test]
fn a_table_cut_anywhere_is_an_error() {
    let (fs, entries) = (MemFs::new(), entries(2, 20));
    build(&fs, 3, &options("raw", "none"), &entries);
    let path = Path::new(DIR).join(table_name(3));
    for len in (0..fs.read(&path).unwrap().len() as u64).rev() {
        fs.truncate(&path, len).unwrap();
        let error = Table::open(&context(&fs, "none"), Path::new(DIR), 3).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[test]
fn a_flipped_bit_under_a_mapping_is_seen_by_every_walk() {
    for codec_name in ["raw", "zstd"] {
        let (fs, entries) = (MemFs::new(), entries(3, 20));
        build(&fs, 3, &options(codec_name, "none"), &entries);
        let path = Path::new(DIR).join(table_name(3));
        for at in 0..fs.read(&path).unwrap().len() as u64 {
            let mask = 1 << (at % 8);
            fs.flip(&path, at, mask).unwrap();
            for fetch in [Fetch::Pass, Fetch::Fill] {
                let mut context = context(&fs, "lru");
                context.access = Access::Mmap;
                let seen = Table::open(&context, Path::new(DIR), 3).and_then(|table| {
                    let mut cursor = table.cursor(fetch);
                    while cursor.next()? {}
                    Ok(())
                });
                assert_eq!(seen.expect_err("not seen").kind(), ErrorKind::Corrupt, "byte {at}");
            }
            fs.flip(&path, at, mask).unwrap();
        }
    }
}

#[test]
fn a_block_in_memory_stays_what_was_verified_though_its_file_changes() {
    let entries = entries(1, 300);
    for access in [Access::Pread, Access::Mmap] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(table_name(7));
        let file = OsFs.open(&path, OpenMode::CreateNew).unwrap();
        let mut builder = TableBuilder::new(Arc::clone(&file), &path, 7, options("raw", "none"));
        for (key, seqno, kind, value) in &entries {
            let seqno = SeqNo::new(*seqno).unwrap();
            let entry = EntryRef { key, seqno, kind: *kind, expires: None, value };
            builder.add(&entry).unwrap();
        }
        builder.finish(&Fragments::default()).unwrap();
        let cache = Cache::new(cache_policy("lru", 1 << 20).unwrap(), 1 << 20);
        let context = TableContext::new(Arc::new(OsFs), Arc::clone(&cache), access);
        let table = Table::open(&context, dir.path(), 7).unwrap();
        check_walks(&table, &entries);
        assert!(cache.bytes() as u64 > table.bytes() / 2, "what is in memory is counted");
        file.write_at(&vec![0; 4096], 0).unwrap();
        let mut cursor = table.cursor(Fetch::CacheOnly);
        for (key, ..) in &entries {
            assert!(cursor.next().unwrap());
            assert_eq!(cursor.entry().unwrap().key, key);
        }
        let mut cursor = table.cursor(Fetch::Pass);
        assert_eq!(cursor.next().unwrap_err().kind(), ErrorKind::Corrupt);
    }
}

#[test]
fn a_table_under_another_number_is_refused() {
    let (fs, entries) = (MemFs::new(), entries(2, 20));
    build(&fs, 3, &options("raw", "none"), &entries);
    let dir = Path::new(DIR);
    fs.rename(&dir.join(table_name(3)), &dir.join(table_name(4))).unwrap();
    assert_eq!(Table::open(&context(&fs, "none"), dir, 4).unwrap_err().kind(), ErrorKind::Corrupt);
}

#[test]
fn an_obsolete_table_takes_its_file_along_and_frees_the_cache() {
    let (fs, entries) = (MemFs::new(), entries(2, 60));
    build(&fs, 3, &options("raw", "none"), &entries);
    let context = context(&fs, "lru");
    let table = Table::open(&context, Path::new(DIR), 3).unwrap();
    check_walks(&table, &entries);
    assert!(context.cache.bytes() > 0 && context.cache.bytes() <= 8 << 10);
    table.mark_obsolete();
    drop(table);
    assert_eq!(context.cache.bytes(), 0);
    assert_eq!(fs.list(Path::new(DIR)).unwrap(), [""; 0]);
}

#[test]
fn tables_that_go_while_others_fill_the_cache_leave_it_whole() {
    let fs = MemFs::new();
    let entries = entries(4, 200);
    for number in 1..=40 {
        build(&fs, number, &options("raw", "none"), &entries);
    }
    let context = context(&fs, "lru");
    // Each thread opens tables of its own, fills the small cache from them and drops them: the last handle to a table's
    // slots is often the one that an eviction in another thread holds.
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (context, entries) = (&context, &entries);
            scope.spawn(move || {
                for round in 0..300u64 {
                    let number = 1 + (thread * 10 + round) % 40;
                    let table = Table::open(context, Path::new(DIR), number).unwrap();
                    let mut cursor = table.cursor(Fetch::Fill);
                    for entry in entries.iter().step_by(7).take(20 + (round % 50) as usize) {
                        assert!(cursor.seek(&entry.0, SeqNo::MAX).unwrap());
                    }
                }
            });
        }
    });
    assert_eq!(context.cache.bytes(), 0);
}

/// A store's cursor asks it for runs; here it is one table with keys `a0..` and `c0..`.
fn table_of_prefixes(filter: &str, prefix_bytes: usize) -> (Arc<Table>, TableContext) {
    let fs = MemFs::new();
    let entries: Vec<Entry> = [b'a', b'c']
        .into_iter()
        .flat_map(|first| (0..200).map(move |n| (first, n)))
        .map(|(first, n)| {
            let key = [&[first; 4][..], format!("{n:04}").as_bytes()].concat();
            (key, n + 1, Kind::Put, b"v".to_vec())
        })
        .collect();
    build(&fs, 1, &TableOptions { prefix_bytes, ..options("raw", filter) }, &entries);
    let context = context(&fs, "lru");
    (Table::open(&context, Path::new(DIR), 1).unwrap(), context)
}

#[test]
fn a_range_within_one_prefix_asks_the_filter_and_no_other_does() {
    for filter in nori_filter::policies().iter().map(|entry| entry.name) {
        let (table, _context) = table_of_prefixes(filter, 4);
        let mut tally = Tally::default();
        let mut asked = |range: KeyRange| {
            let before = tally.prefix_probes;
            let answer = table.may_hold(&range, &mut tally);
            (answer, tally.prefix_probes > before)
        };
        let has_filter = filter != "none";
        for present in [b"aaaa", b"cccc"] {
            assert_eq!(asked(KeyRange::prefix(present)), (true, has_filter));
        }
        let longer = KeyRange::between(b"aaaa0100", b"aaaa0101");
        assert_eq!(asked(longer), (true, has_filter), "all its keys begin with aaaa");
        assert_eq!(asked(KeyRange::prefix(b"bbbb")), (!has_filter, has_filter));
        assert_eq!(asked(KeyRange::between(b"bbbb", b"bbbc")), (!has_filter, has_filter));
        for wide in [KeyRange::prefix(b"bbb"), KeyRange::between(b"bbbb", b"bbbd")] {
            assert_eq!(asked(wide), (true, false), "its keys may begin in several ways");
        }
        assert_eq!(asked(KeyRange::from(b"bbbb")), (true, false));
        assert_eq!(asked(KeyRange::prefix(b"dddd")), (false, false), "behind the last key");
    }
    let (table, _context) = table_of_prefixes("bloom", 0);
    let mut tally = Tally::default();
    assert!(table.may_hold(&KeyRange::prefix(b"bbbb"), &mut tally));
    assert_eq!(tally, Tally::default());
}

#[test]
fn memory_alone_gives_what_was_read_before_and_nothing_else() {
    let (table, _context) = table_of_prefixes("bloom", 0);
    let get = |key: &[u8], fetch| {
        let (hash, mut tally) = (nori_filter::key_hash(key), Tally::default());
        let found = table.get((key, hash), SeqNo::MAX, fetch, &mut tally, &mut |_| {});
        (found.map_err(|error| error.kind()), tally.cache_misses)
    };
    let key = b"cccc0150";
    assert_eq!(get(key, Fetch::CacheOnly), (Err(ErrorKind::WouldBlock), 0));
    assert_eq!(get(b"bbbb", Fetch::CacheOnly).0, Ok(false), "its filter is in memory");
    assert_eq!(get(key, Fetch::Pass), (Ok(true), 1));
    assert_eq!(get(key, Fetch::CacheOnly).0, Err(ErrorKind::WouldBlock), "it was not to stay");
    assert_eq!(get(key, Fetch::Fill), (Ok(true), 1));
    assert_eq!(get(key, Fetch::CacheOnly), (Ok(true), 0));
    let mut cursor = table.cursor(Fetch::CacheOnly);
    assert!(cursor.seek(key, SeqNo::MAX).unwrap());
    assert_eq!(cursor.seek(b"aaaa", SeqNo::MAX).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert!(cursor.seek(key, SeqNo::MAX).unwrap(), "after an error another call is allowed");
}

#[test]
fn the_memory_of_tables_is_counted_while_anybody_holds_them() {
    let (table, context) = table_of_prefixes("bloom", 0);
    assert_eq!(context.memory_bytes(), table.memory_bytes());
    let held = Arc::clone(&table);
    drop(table);
    assert!(context.memory_bytes() > 0);
    drop(held);
    assert_eq!(context.memory_bytes(), 0);
}
