//! What the log promises: everything appended comes back in order, a torn tail is cut, damage is named.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod syncs;

use nori_env::{
    FaultFs, FaultPlan, Fs, ManualClock, MemFs, OpenMode, OsFs, PoolTasks, PowerLoss, SeededTasks,
    SegmentKind, Tasks, Zeros,
};
use nori_observe::{NullMeter, Registry};
use nori_wal::{
    Group, Mark, Resume, SEGMENT_HEADER_BYTES, SegmentReader, Span, Wal, WalError, WalOptions,
    replay, segment_name,
};
use proptest::prelude::*;
use proptest::test_runner::Config;
use std::path::Path;
use std::sync::Arc;

const OPTIONS: WalOptions = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };

const FROM_FIRST: Span = Span { from: 1, begun: 0 };

fn open(fs: impl Fs + 'static, dir: &Path) -> Wal {
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    Wal::create(dir, Arc::new(fs), tasks, &NullMeter, OPTIONS, Resume::at(1)).unwrap()
}

fn mem() -> (MemFs, &'static Path) {
    let (fs, dir) = (MemFs::new(), Path::new("/store"));
    fs.create_dir(dir).unwrap();
    (fs, dir)
}

fn payload(n: u64) -> Vec<u8> {
    vec![n as u8; 1 + (n as usize * 37) % 300]
}

fn read_back(fs: &dyn Fs, dir: &Path) -> Result<Vec<u64>, WalError> {
    let mut seen = Vec::new();
    replay(fs, dir, FROM_FIRST, |group: Group<'_>| {
        assert_eq!(group.payload, payload(group.first_seqno));
        seen.push(group.first_seqno);
        Ok::<(), WalError>(())
    })?;
    Ok(seen)
}

#[test]
fn groups_come_back_in_order_over_many_segments() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    for n in 1..=200 {
        wal.append(n, 1, &payload(n)).unwrap();
    }
    assert!(wal.tail().0 > 3, "the test is to cross segments");
    assert_eq!(read_back(&fs, dir).unwrap(), (1..=200).collect::<Vec<_>>());
    wal.append(201, 1, &payload(201)).unwrap();
    let big = vec![9; 3 * OPTIONS.segment_bytes as usize];
    let before = wal.tail().0;
    wal.append(202, 1, &big).unwrap();
    assert_eq!(wal.tail().0, before + 1);
    let mut last = Vec::new();
    replay(&fs, dir, FROM_FIRST, |group| {
        last = group.payload.to_vec();
        Ok::<(), WalError>(())
    })
    .unwrap();
    assert_eq!(last, big);
}

#[test]
fn groups_larger_and_smaller_than_a_piece_come_back_and_a_torn_one_is_not_there() {
    let (fs, dir) = mem();
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let options = WalOptions { segment_bytes: 2 << 20, ..OPTIONS };
    let files = Arc::new(fs.clone());
    let wal = Wal::create(dir, files, tasks, &NullMeter, options, Resume::at(1)).unwrap();
    // Most pieces end inside of a group, some inside of a header, and some groups are several pieces long.
    let bytes_of = |n: u64| [37, 4_063, 65_533, 262_144, 700_001][n as usize % 5];
    let payload = |n: u64| -> Vec<u8> { (0..bytes_of(n)).map(|at| (n + at / 7) as u8).collect() };
    let mut bytes = 0;
    for n in 1..=40 {
        wal.append(n, 1, &payload(n)).unwrap();
        bytes += 32 + bytes_of(n).next_multiple_of(8);
    }
    let read = || {
        let mut places = Vec::new();
        let replayed = replay(&fs, dir, FROM_FIRST, |group| {
            places.push((group.segment, group.offset));
            let n = places.len() as u64;
            assert_eq!((group.first_seqno, group.payload), (n, &payload(n)[..]));
            Ok::<(), WalError>(())
        });
        (places, replayed.unwrap())
    };
    let (places, found) = read();
    assert_eq!((found.groups, found.bytes, found.torn_bytes), (40, bytes, 0));
    assert!(places.last().unwrap().0 >= 4, "several segments");
    // A bit in the middle of the last group but one, which is several pieces long.
    let (segment, offset) = places[38];
    fs.flip(&dir.join(segment_name(segment)), offset + bytes_of(39) / 2, 1).unwrap();
    let (left, found) = read();
    assert_eq!(left, places[..38]);
    assert_eq!((found.groups, found.tail_segment), (38, Some(segment)));
    assert!(found.torn_bytes >= 32 + bytes_of(39), "only {} bytes", found.torn_bytes);
}

#[test]
fn real_files_come_back_through_both_kinds_of_writer() {
    for kind in [SegmentKind::Pwrite, SegmentKind::Mapped] {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(nori_env::OsClock::default());
        let tasks: Arc<dyn Tasks> = Arc::new(PoolTasks::new(1, clock).unwrap());
        let options = WalOptions { kind, ..OPTIONS };
        let wal =
            Wal::create(dir.path(), Arc::new(OsFs), tasks, &NullMeter, options, Resume::at(1))
                .unwrap();
        for n in 1..=100 {
            let position = wal.append(n, 1, &payload(n)).unwrap();
            if n % 10 == 0 {
                wal.sync(position).unwrap();
            }
        }
        assert_eq!(read_back(&OsFs, dir.path()).unwrap(), (1..=100).collect::<Vec<_>>());
        wal.remove_below(wal.tail().0).unwrap();
        let names = OsFs.list(dir.path()).unwrap();
        assert!(names.contains(&segment_name(wal.tail().0)) && !names.contains(&segment_name(1)));
    }
}

#[test]
fn what_was_synced_survives_any_power_loss_and_the_rest_is_a_prefix() {
    for seed in 0..200 {
        let dir = Path::new("/store");
        let fs = FaultFs::new(FaultPlan::default());
        fs.create_dir(dir).unwrap();
        fs.sync_dir(Path::new("/")).unwrap();
        let wal = open(fs.clone(), dir);
        let synced = 1 + seed % 70;
        for n in 1..=70 {
            let position = wal.append(n, 1, &payload(n)).unwrap();
            if n == synced {
                wal.sync(position).unwrap();
            }
        }
        let image = fs.after_power_loss(PowerLoss::Draws(seed));
        let seen = read_back(&image, dir).unwrap();
        assert!(seen.len() as u64 >= synced, "seed {seed}: {} of {synced}", seen.len());
        assert_eq!(seen, (1..=seen.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_flipped_bit_below_a_promise_is_damage_and_names_its_place() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    let position = wal.append(1, 1, &payload(1)).unwrap();
    wal.sync(position).unwrap();
    wal.append(2, 1, &payload(2)).unwrap();
    let first = dir.join(segment_name(1));
    fs.flip(&first, SEGMENT_HEADER_BYTES as u64 + 40, 1).unwrap();
    let error = read_back(&fs, dir).unwrap_err();
    let WalError::Damaged { file, offset, .. } = &error else { panic!("{error}") };
    assert_eq!((file, *offset), (&first, SEGMENT_HEADER_BYTES as u64));
}

#[test]
fn a_flipped_bit_above_every_promise_is_a_torn_tail() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    for n in 1..=3 {
        wal.append(n, 1, &payload(n)).unwrap();
    }
    let second = SEGMENT_HEADER_BYTES as u64 + 32 + 40;
    fs.flip(&dir.join(segment_name(1)), second, 1).unwrap();
    assert_eq!(read_back(&fs, dir).unwrap(), [1]);
}

/// As many cases as the environment asks for; what fails is kept in no file.
fn config() -> Config {
    let is_asked = std::env::var_os("PROPTEST_CASES").is_some();
    let cases = if is_asked { Config::default().cases } else { 500 };
    Config { cases, failure_persistence: None, ..Config::default() }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn changed_bytes_anywhere_leave_a_prefix_or_are_damage(
        changes in prop::collection::vec((1..3u64, 0..900usize, any::<u8>()), 1..6),
        cut in prop::option::weighted(0.2, (1..3u64, 0..4200u64)),
    ) {
        let (fs, dir) = mem();
        let wal = open(fs.clone(), dir);
        for n in 1..=12 {
            wal.append(n, 1, &payload(n)).unwrap();
            if n == 6 {
                wal.rotate(0).unwrap();
            }
        }
        drop(wal);
        for (segment, at, byte) in changes {
            let path = dir.join(segment_name(segment));
            let now = fs.read(&path).unwrap()[at];
            fs.flip(&path, at as u64, now ^ byte).unwrap();
        }
        if let Some((segment, len)) = cut {
            fs.truncate(&dir.join(segment_name(segment)), len).unwrap();
        }
        match read_back(&fs, dir) {
            Ok(seen) => prop_assert_eq!(&seen, &(1..=seen.len() as u64).collect::<Vec<_>>()),
            Err(error) => prop_assert!(matches!(error, WalError::Damaged { .. }), "{}", error),
        }
    }
}

#[test]
fn a_missing_segment_is_damage() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    for n in 1..=100 {
        let position = wal.append(n, 1, &payload(n)).unwrap();
        wal.sync(position).unwrap();
    }
    fs.remove(&dir.join(segment_name(2))).unwrap();
    assert!(matches!(read_back(&fs, dir), Err(WalError::Damaged { .. })));
    fs.remove(&dir.join(segment_name(1))).unwrap();
    assert!(matches!(read_back(&fs, dir), Err(WalError::Damaged { .. })));
}

fn missing(fs: &MemFs, dir: &Path, span: Span) -> String {
    let outcome = replay(fs, dir, span, |_| Ok::<(), WalError>(()));
    match outcome.unwrap_err() {
        WalError::Damaged { file, .. } => file.file_name().unwrap().to_str().unwrap().to_owned(),
        other => panic!("{other}"),
    }
}

#[test]
fn a_missing_segment_is_named_wherever_it_was() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    for n in 1..=100 {
        wal.append(n, 1, &payload(n)).unwrap();
    }
    let begun = wal.tail().0;
    drop(wal);
    let span = Span { begun, ..FROM_FIRST };
    fs.segment(&dir.join(segment_name(begun + 1)), SegmentKind::Pwrite, Zeros::Written, 4096)
        .unwrap();
    // The newest one: the one made ready behind it is there.
    fs.remove(&dir.join(segment_name(begun))).unwrap();
    assert_eq!(missing(&fs, dir, FROM_FIRST), segment_name(begun));
    // That one, too: only the owner knows.
    fs.remove(&dir.join(segment_name(begun + 1))).unwrap();
    assert!(replay(&fs, dir, FROM_FIRST, |_| Ok::<(), WalError>(())).is_ok());
    assert_eq!(missing(&fs, dir, span), segment_name(begun));
    for n in 1..begun {
        fs.remove(&dir.join(segment_name(n))).unwrap();
    }
    assert_eq!(missing(&fs, dir, span), segment_name(1));
    assert!(replay(&fs, dir, FROM_FIRST, |_| Ok::<(), WalError>(())).is_ok(), "a log not begun");
}

#[test]
fn the_newest_mark_is_found_also_behind_the_tail_and_without_the_first_segment() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    let mark = |bytes| Mark { number: 7, bytes };
    let found = || replay(&fs, dir, FROM_FIRST, |_| Ok::<(), WalError>(()));
    wal.mark(mark(100)).unwrap();
    let behind = wal.append(1, 1, &payload(1)).unwrap();
    assert_eq!(found().unwrap().mark, mark(100));
    wal.mark(mark(200)).unwrap();
    assert_eq!(found().unwrap().mark, mark(200));
    let at = behind as u32 - 40;
    fs.flip(&dir.join(segment_name(1)), u64::from(at), 1).unwrap();
    let torn = found().unwrap();
    assert_eq!((torn.groups, torn.mark), (0, mark(200)));
    // The header of the next segment has it, too.
    wal.rotate(0).unwrap();
    fs.remove(&dir.join(segment_name(1))).unwrap();
    assert!(found().is_err());
    assert_eq!(nori_wal::last_mark(&fs, dir).unwrap(), mark(200));
}

#[test]
fn a_segment_of_an_unknown_format_version_is_refused_by_name() {
    let (fs, dir) = mem();
    drop(open(fs.clone(), dir));
    let path = dir.join(segment_name(1));
    let mut header = fs.read(&path).unwrap()[..SEGMENT_HEADER_BYTES].to_vec();
    header[8] = 2;
    let checksum = nori_env::crc32c(&header[..60]);
    header[60..].copy_from_slice(&checksum.to_le_bytes());
    fs.remove(&path).unwrap();
    fs.segment(&path, SegmentKind::Pwrite, Zeros::Written, 4096).unwrap().put(0, &header).unwrap();
    let error = read_back(&fs, dir).unwrap_err();
    assert!(matches!(&error, WalError::Damaged { file, .. } if *file == path));
    assert!(error.to_string().contains("format version 2 is not known"), "{error}");
}

#[test]
fn a_failed_sync_is_final_for_every_caller() {
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan::default());
    fs.create_dir(dir).unwrap();
    let wal = open(fs.clone(), dir);
    let position = wal.append(1, 1, &payload(1)).unwrap();
    fs.set_plan(FaultPlan { fail_at_sync: Some(fs.syncs() + 1), ..FaultPlan::default() });
    assert!(wal.sync(position).is_err());
    fs.set_plan(FaultPlan::default());
    assert!(wal.sync(position).is_err());
}

#[test]
fn concurrent_syncs_share_and_all_return_safe() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(nori_env::OsClock::default());
    let tasks: Arc<dyn Tasks> = Arc::new(PoolTasks::new(1, clock).unwrap());
    let meter = Registry::default();
    let wal =
        Wal::create(dir.path(), Arc::new(OsFs), tasks, &meter, OPTIONS, Resume::at(1)).unwrap();
    let appends = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..20 {
                    let position = {
                        let mut n = appends.lock().unwrap();
                        *n += 1;
                        wal.append(*n, 1, &payload(*n)).unwrap()
                    };
                    wal.sync(position).unwrap();
                }
            });
        }
    });
    assert_eq!(read_back(&OsFs, dir.path()).unwrap().len(), 160);
}

#[test]
fn a_segment_that_somebody_cut_or_replaced_is_damage_though_nothing_promises_more() {
    for (cut, begun) in [(0, 1), (64, 1), (2_000, 0), (4_095, 0)] {
        let (fs, dir) = mem();
        let wal = open(fs.clone(), dir);
        wal.append(1, 1, &[7; 100]).unwrap();
        drop(wal);
        let path = dir.join(segment_name(1));
        fs.truncate(&path, cut).unwrap();
        let span = Span { from: 1, begun };
        let outcome = replay(&fs, dir, span, |_| Ok::<(), WalError>(()));
        let Err(WalError::Damaged { file, offset, .. }) = outcome else {
            panic!("cut to {cut}: {outcome:?}")
        };
        assert!(file == path && offset <= cut, "cut to {cut}: {offset}");
    }
    // Another file under its name.
    let (fs, dir) = mem();
    drop(open(fs.clone(), dir));
    let path = dir.join(segment_name(1));
    fs.remove(&path).unwrap();
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&[0x7f; 8_192], 0).unwrap();
    let replaced = |begun| replay(&fs, dir, Span { from: 1, begun }, |_| Ok::<(), WalError>(()));
    assert!(matches!(replaced(1), Err(WalError::Damaged { offset: 0, .. })));
    assert_eq!(replaced(0).unwrap().groups, 0, "one that never began may be anything");
}

/// A file with a hole of a tebibyte, which nobody could read to its end.
#[test]
fn a_segment_that_is_far_too_long_is_damage_without_being_read() {
    for (unused, what) in [(false, "and was made with 4096"), (true, "more than a segment can")] {
        let dir = tempfile::tempdir().unwrap();
        let wal = open(OsFs, dir.path());
        for n in 1..=100 {
            wal.append(n, 1, &payload(n)).unwrap();
        }
        let last = wal.tail().0;
        assert!(last > 3, "{last} segments");
        drop(wal);
        let number = if unused { last + 1 } else { 2 };
        let path = dir.path().join(segment_name(number));
        let file = std::fs::File::options().create(true).append(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = read_back(&OsFs, dir.path()).unwrap_err().to_string();
        assert!(error.contains(&segment_name(number)) && error.contains(what), "{error}");
        let shown = nori_wal::dump(&OsFs, dir.path(), number, &mut |_| {}).unwrap();
        assert!(shown.bytes == 1 << 40 && !shown.damage.is_empty(), "{:?}", shown.damage);
        // What the log vouches for is told all the same.
        nori_wal::last_mark(&OsFs, dir.path()).unwrap();
    }
}

/// The header of a segment's first group claims `payload_bytes`, with a checksum that says so too.
fn claim(fs: &dyn Fs, path: &Path, number: u64, payload_bytes: u32) {
    let at = SEGMENT_HEADER_BYTES as u64;
    let mut content = fs.read(path).unwrap();
    let header = &mut content[SEGMENT_HEADER_BYTES..][..32];
    header[8..12].copy_from_slice(&payload_bytes.to_le_bytes());
    let place = [number.to_le_bytes(), at.to_le_bytes()].concat();
    let checksum = nori_env::crc32c_append(nori_env::crc32c(&place), &header[4..]);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    fs.remove(path).unwrap();
    fs.open(path, OpenMode::CreateNew).unwrap().write_at(&content, 0).unwrap();
}

#[test]
fn nothing_is_read_of_what_a_group_claims_beyond_its_segment() {
    const SEGMENT_BYTES: u64 = 4 << 20;
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan::default());
    fs.create_dir(dir).unwrap();
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let options = WalOptions { segment_bytes: SEGMENT_BYTES, ..OPTIONS };
    let wal = Wal::create(dir, Arc::new(fs.clone()), tasks, &NullMeter, options, Resume::at(1));
    wal.unwrap().append(1, 1, &[7; 1000]).unwrap();
    let path = dir.join(segment_name(1));
    let room = SEGMENT_BYTES as u32 - SEGMENT_HEADER_BYTES as u32 - 32;
    for (payload_bytes, reads) in [(1000, 0), (room, 1), (room + 1, 0), (u32::MAX, 0)] {
        claim(&fs, &path, 1, payload_bytes);
        let mut reader = SegmentReader::open(&fs, dir, 1).unwrap();
        let before = fs.reads();
        assert_eq!(reader.next().unwrap().is_some(), payload_bytes == 1000);
        assert_eq!(fs.reads() - before, reads, "{payload_bytes} bytes claimed");
    }
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

#[test]
fn the_bytes_of_the_format_page_are_what_is_written() {
    let (fs, dir) = mem();
    let wal = open(fs.clone(), dir);
    wal.mark(Mark { number: 1, bytes: 40 }).unwrap();
    wal.append(1, 1, &[1, 1, b'k', 1, b'v']).unwrap();
    wal.rotate(0).unwrap();
    let page = examples(include_str!("../../../../docs/formats/wal.md"));
    let (first, second) = page.split_at(2 * 0x98);
    for (number, example) in [(1, first), (2, second)] {
        let content = fs.read(&dir.join(segment_name(number))).unwrap();
        let hex: String = content.iter().map(|byte| format!("{byte:02x}")).collect();
        let (used, zeros) = hex.split_at(example.len());
        assert_eq!(used, example);
        assert!(zeros.bytes().all(|digit| digit == b'0'));
    }
    let mut read = Vec::new();
    let replayed = replay(&fs, dir, Span { from: 1, begun: 2 }, |group| {
        read.push((group.segment, group.first_seqno, group.ops, group.payload.to_vec()));
        Ok::<(), WalError>(())
    });
    assert_eq!(replayed.unwrap().mark, Mark { number: 1, bytes: 40 });
    assert_eq!(read, [(1, 1, 1, vec![1, 1, b'k', 1, b'v'])]);
}
