//! What a dump promises: it shows what is there, ends where a replay does, and never stops at damage.

use super::*;
use crate::{Resume, Wal, WalOptions, segment_name};
use nori_env::{ManualClock, MemFs, OpenMode, SeededTasks, SegmentKind};
use nori_observe::NullMeter;
use std::sync::Arc;

const DIR: &str = "/store";

/// A log of two segments; the first has a mark behind its first group, and every second group is synced.
fn log() -> MemFs {
    let fs = MemFs::new();
    fs.create_dir(Path::new(DIR)).unwrap();
    let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
    let options = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };
    let files = Arc::new(fs.clone());
    let wal =
        Wal::create(Path::new(DIR), files, tasks, &NullMeter, options, Resume::at(1)).unwrap();
    for n in 1..=6 {
        let position = wal.append(n, 1, &[n as u8; 20]).unwrap();
        if n % 2 == 0 {
            wal.sync(position).unwrap();
        }
        if n == 1 {
            wal.mark(Mark { number: 1, bytes: 40 }).unwrap();
        }
        if n == 4 {
            wal.rotate(0).unwrap();
        }
    }
    fs
}

fn flip(fs: &MemFs, number: u64, at: usize) {
    let path = Path::new(DIR).join(segment_name(number));
    let mut content = fs.read(&path).unwrap();
    content[at] ^= 1;
    fs.remove(&path).unwrap();
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&content, 0).unwrap();
}

/// The dump, and of each record: offset, sequence number, whether it lies behind the end.
fn dumped(fs: &MemFs, number: u64) -> (SegmentDump, Vec<(u64, u64, bool)>) {
    let mut records = Vec::new();
    let dump = dump(fs, Path::new(DIR), number, &mut |record| {
        records.push((record.offset, record.first_seqno, record.is_behind));
    });
    (dump.unwrap(), records)
}

#[test]
fn every_group_and_mark_is_shown_with_its_place() {
    let (dump, records) = dumped(&log(), 1);
    let all = [(64, 1, false), (120, 0, false), (168, 2, false), (224, 3, false), (280, 4, false)];
    assert_eq!(records, all);
    assert_eq!((dump.groups, dump.marks, dump.ops, dump.end), (4, 1, 4, 336));
    assert_eq!((dump.ending, dump.sealed_at, dump.damage.len()), (Ending::Zeros, Some(336), 0));
    let (second, _) = dumped(&log(), 2);
    let header = second.header.unwrap();
    assert_eq!((header.predecessor, header.predecessor_end, header.mark.bytes), (1, 336, 40));
    let fs = log();
    let path = Path::new(DIR).join(segment_name(3));
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&[0; 512], 0).unwrap();
    let (unused, records) = dumped(&fs, 3);
    assert!(unused.header.is_none() && records.is_empty() && unused.damage.is_empty());
}

#[test]
fn a_group_that_was_promised_is_damage_and_what_lies_behind_it_is_shown() {
    let fs = log();
    flip(&fs, 1, 168 + 40);
    let (dump, records) = dumped(&fs, 1);
    assert_eq!(records[2..], [(224, 3, true), (280, 4, true)]);
    assert_eq!((dump.ending, dump.end, dump.behind), (Ending::Damaged, 168, 2));
    let error = dump.damage[0].to_string();
    assert!(error.contains("0000000001.wal is damaged at byte 168"), "{error}");
}

#[test]
fn a_group_that_nobody_promised_is_a_torn_tail() {
    let fs = log();
    flip(&fs, 2, 64 + 56 + 40);
    let (dump, records) = dumped(&fs, 2);
    assert_eq!(records, [(64, 5, false)]);
    assert_eq!((dump.ending, dump.end, dump.rest_bytes), (Ending::Torn, 120, 52));
    assert!(dump.damage.is_empty());
}

#[test]
fn a_promise_of_a_later_segment_counts() {
    let fs = log();
    // The last group of the first segment: only the second segment knows that it was safe.
    flip(&fs, 1, 280 + 40);
    assert_eq!(dumped(&fs, 1).0.ending, Ending::Damaged);
}

#[test]
fn a_header_that_cannot_be_read_hides_no_group() {
    let fs = log();
    flip(&fs, 1, 20);
    let (dump, records) = dumped(&fs, 1);
    assert!(dump.header.is_none() && records.len() == 5 && records.iter().all(|(.., b)| *b));
    assert!(dump.damage[0].to_string().contains("header cannot be read"));
}

#[test]
fn no_flipped_bit_makes_a_dump_panic_or_end_elsewhere_than_a_replay() {
    for at in 0..336 {
        let fs = log();
        flip(&fs, 1, at);
        let (dump, _) = dumped(&fs, 1);
        let mut groups = 0;
        let span = crate::Span { from: 1, begun: 0 };
        let replayed = crate::replay(&fs, Path::new(DIR), span, |group| {
            groups += u64::from(group.segment == 1);
            Ok::<(), WalError>(())
        });
        assert_eq!(dump.groups, groups, "byte {at}");
        assert_eq!(dump.damage.is_empty(), replayed.is_ok(), "byte {at}: {:?}", dump.damage);
    }
}

#[test]
fn a_segment_that_was_cut_is_damage_and_its_groups_are_shown() {
    let fs = log();
    fs.truncate(&Path::new(DIR).join(segment_name(2)), 1_000).unwrap();
    let (dump, records) = dumped(&fs, 2);
    assert_eq!(records.len() as u64, dump.groups + dump.marks);
    let [WalError::Damaged { offset: 1_000, .. }] = &dump.damage[..] else {
        panic!("{:?}", dump.damage)
    };
}
