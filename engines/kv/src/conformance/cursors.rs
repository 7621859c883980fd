//! Cursors: every row of the range once, in order, both ways, from one state of the store.

use super::Law;
use super::bench::{Bench, Pair, at, ok, rows, rows_back, same};
use crate::{Cursor, Engine, Feature, KeyRange, ReadOptions, Reader};
use nori_env::{Entropy, SeededEntropy};
use std::collections::BTreeMap;
use std::ops::Bound;

pub(super) const LAWS: &[Law] = &[
    Law { name: "a cursor over nothing has no row", needs: &[], check: nothing },
    Law { name: "a cursor passes every row once in order of bytes", needs: &[], check: forward },
    Law { name: "the end of a range is outside", needs: &[], check: bounds },
    Law { name: "seek goes to the first row at or after a key", needs: &[], check: seek },
    Law { name: "a cursor sees the store as it was", needs: &[Feature::Snapshots], check: frozen },
    Law { name: "many cursors live side by side", needs: &[Feature::Snapshots], check: many },
    Law { name: "a cursor outlives the engine's handle", needs: &[], check: outlives },
    Law { name: "a cursor goes backwards", needs: &[Feature::Reverse], check: backward },
    Law {
        name: "seek back goes to the last row at or before a key",
        needs: &[Feature::Reverse],
        check: seek_back,
    },
    Law {
        name: "a cursor turns round at every row and at both ends",
        needs: &[Feature::Reverse],
        check: turns,
    },
    Law {
        name: "a cursor walks like a finger on a sorted list",
        needs: &[Feature::Reverse],
        check: walk,
    },
];

/// Keys that sort differently as numbers, as text, and as signed bytes; some are prefixes of others.
const KEYS: [&[u8]; 14] = [
    b"\x00",
    b"\x00\x00",
    b"\x00\xff",
    b"\x01",
    b"10",
    b"2",
    b"a",
    b"a\x00",
    b"aa",
    b"b",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff\xff",
];

/// A store with `KEYS`, half of them written twice, and a deleted key between any two.
fn filled(bench: &Bench<'_>) -> (std::sync::Arc<dyn Engine>, BTreeMap<Vec<u8>, Vec<u8>>) {
    let engine = bench.open();
    let mut expected = BTreeMap::new();
    for (n, key) in KEYS.iter().enumerate() {
        let beside = [key, &b"\x01deleted"[..]].concat();
        bench.put(&*engine, &beside, b"gone");
        bench.put(&*engine, key, b"old");
        if n % 2 == 0 {
            bench.put(&*engine, key, &[n as u8; 5]);
        }
        bench.delete(&*engine, &beside);
        expected.insert(key.to_vec(), if n % 2 == 0 { vec![n as u8; 5] } else { b"old".to_vec() });
    }
    (engine, expected)
}

fn within(expected: &BTreeMap<Vec<u8>, Vec<u8>>, range: &KeyRange) -> Vec<Pair> {
    let inside = expected.iter().filter(|(key, _)| range.contains(key));
    inside.map(|(key, value)| (key.clone(), value.clone())).collect()
}

fn ranges() -> Vec<KeyRange> {
    let mut ranges = vec![KeyRange::all(), KeyRange::prefix(b"a"), KeyRange::prefix(b"\xff")];
    ranges.extend([
        KeyRange::between(b"c", b"d"),
        KeyRange::between(b"b", b"a"),
        KeyRange::between(b"", b""),
    ]);
    ranges.push(KeyRange::from(b"\xff\xff\xff"));
    for (n, start) in KEYS.iter().enumerate() {
        ranges.push(KeyRange::from(start));
        ranges.push(KeyRange::between(b"", start));
        ranges.extend(KEYS.iter().skip(n % 3).step_by(3).map(|end| KeyRange::between(start, end)));
    }
    ranges
}

fn open_cursor(reader: &(impl Reader + ?Sized), range: &KeyRange) -> Box<dyn Cursor> {
    let cursor = ok("cursor", reader.cursor(range, &ReadOptions::default()));
    assert!(cursor.row().is_none(), "a new cursor is at a row");
    cursor
}

fn nothing(bench: &Bench<'_>) {
    let engine = bench.open();
    let check = |range: &KeyRange| {
        let mut cursor = open_cursor(&*engine, range);
        for _ in 0..2 {
            assert!(!ok("next", cursor.next()) && cursor.row().is_none());
            assert!(!ok("seek", cursor.seek(b"a")) && cursor.row().is_none());
            if bench.capabilities().has(Feature::Reverse) {
                assert!(!ok("prev", cursor.prev()) && cursor.row().is_none());
                assert!(!ok("seek_back", cursor.seek_back(b"a")) && cursor.row().is_none());
            }
        }
    };
    check(&KeyRange::all());
    bench.put(&*engine, b"a", b"1");
    check(&KeyRange::between(b"b", b"c"));
    check(&KeyRange::between(b"a", b"a"));
    check(&KeyRange::between(b"c", b"a"));
    bench.delete(&*engine, b"a");
    check(&KeyRange::all());
}

fn forward(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    same("all rows", &rows(&*engine, &KeyRange::all()), &within(&expected, &KeyRange::all()));
    let mut cursor = open_cursor(&*engine, &KeyRange::all());
    while ok("next", cursor.next()) {}
    for _ in 0..3 {
        assert!(
            !ok("next", cursor.next()) && cursor.row().is_none(),
            "past the end there is nothing"
        );
    }
}

fn bounds(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    for range in ranges() {
        same(&format!("rows of {range:?}"), &rows(&*engine, &range), &within(&expected, &range));
    }
}

/// What is looked for: each key, the keys around it, and both extremes.
fn probes() -> Vec<Vec<u8>> {
    let mut probes = vec![Vec::new(), vec![0xFF; 9], vec![b'q'; 2_000]];
    for key in KEYS {
        probes.push(key.to_vec());
        probes.push([key, &b"\x00"[..]].concat());
        probes.push([key, &b"\x01deleted"[..]].concat());
    }
    probes
}

fn seek(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    for range in
        [KeyRange::all(), KeyRange::between(b"\x00\x00", b"b"), KeyRange::between(b"c", b"d")]
    {
        let inside = within(&expected, &range);
        let mut cursor = open_cursor(&*engine, &range);
        for probe in probes() {
            let first = inside.iter().position(|(key, _)| *key >= probe);
            let moved = cursor.seek(&probe);
            assert_eq!(
                at(&*cursor, moved),
                first.map(|n| inside[n].0.clone()),
                "seek {probe:?} in {range:?}"
            );
            let after = first.and_then(|n| inside.get(n + 1));
            let moved = cursor.next();
            assert_eq!(
                at(&*cursor, moved),
                after.map(|row| row.0.clone()),
                "next after seek {probe:?}"
            );
        }
    }
}

fn seek_back(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    for range in
        [KeyRange::all(), KeyRange::between(b"\x00\x00", b"b"), KeyRange::between(b"c", b"d")]
    {
        let inside = within(&expected, &range);
        let mut cursor = open_cursor(&*engine, &range);
        for probe in probes() {
            let last = inside.iter().rposition(|(key, _)| *key <= probe);
            let moved = cursor.seek_back(&probe);
            assert_eq!(
                at(&*cursor, moved),
                last.map(|n| inside[n].0.clone()),
                "seek_back {probe:?} in {range:?}"
            );
            let before = last.and_then(|n| n.checked_sub(1));
            let moved = cursor.prev();
            assert_eq!(
                at(&*cursor, moved),
                before.map(|n| inside[n].0.clone()),
                "prev after seek_back {probe:?}"
            );
        }
    }
}

fn frozen(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    let mut cursor = open_cursor(&*engine, &KeyRange::all());
    for key in KEYS {
        bench.put(&*engine, key, b"newer");
        bench.delete(&*engine, key);
        bench.put(&*engine, &[key, &b"\x02"[..]].concat(), b"later");
    }
    let mut seen = Vec::new();
    while ok("next", cursor.next()) {
        seen.extend(cursor.row().map(super::bench::owned));
    }
    same("rows of a cursor made before", &seen, &within(&expected, &KeyRange::all()));
    let moved = cursor.seek(b"a");
    assert_eq!(at(&*cursor, moved), Some(b"a".to_vec()), "a seek stays in the cursor's state");
}

fn many(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    let inside = within(&expected, &KeyRange::all());
    let mut cursors: Vec<_> = (0..20).map(|_| open_cursor(&*engine, &KeyRange::all())).collect();
    for (n, cursor) in cursors.iter_mut().enumerate() {
        for _ in 0..=(n % inside.len()) {
            assert!(ok("next", cursor.next()));
        }
        bench.put(&*engine, b"zz", &[n as u8]);
    }
    for (n, cursor) in cursors.iter().enumerate() {
        let row = cursor.row().map(super::bench::owned);
        assert_eq!(row.as_ref(), inside.get(n % inside.len()), "cursor {n}");
    }
}

fn outlives(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    let mut cursor = open_cursor(&*engine, &KeyRange::all());
    assert!(ok("next", cursor.next()));
    drop(engine);
    let mut seen: Vec<Pair> = cursor.row().map(super::bench::owned).into_iter().collect();
    while ok("next", cursor.next()) {
        seen.extend(cursor.row().map(super::bench::owned));
    }
    same("rows after the handle was dropped", &seen, &within(&expected, &KeyRange::all()));
}

fn backward(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    for range in ranges() {
        let mut inside = within(&expected, &range);
        inside.reverse();
        same(&format!("rows of {range:?} backwards"), &rows_back(&*engine, &range), &inside);
    }
}

fn turns(bench: &Bench<'_>) {
    let (engine, expected) = filled(bench);
    let range = KeyRange::between(b"\x00\x00", b"\xff");
    let inside = within(&expected, &range);
    let key = |n: usize| Some(inside[n].0.clone());
    let mut cursor = open_cursor(&*engine, &range);
    for n in 0..inside.len() {
        let moved = cursor.next();
        assert_eq!(at(&*cursor, moved), key(n));
        let moved = cursor.prev();
        assert_eq!(at(&*cursor, moved), n.checked_sub(1).and_then(key), "back from row {n}");
        let moved = cursor.next();
        assert_eq!(at(&*cursor, moved), key(n), "forth to row {n}");
    }
    for _ in 0..2 {
        assert!(!ok("next", cursor.next()), "past the last row");
    }
    let moved = cursor.prev();
    assert_eq!(at(&*cursor, moved), key(inside.len() - 1), "from past the end to the last row");
    while ok("prev", cursor.prev()) {}
    assert!(!ok("prev", cursor.prev()), "before the first row");
    let moved = cursor.next();
    assert_eq!(at(&*cursor, moved), key(0), "from before the start to the first row");
    let moved = cursor.seek(b"\xff\xff\xff");
    assert_eq!(at(&*cursor, moved), None, "a seek past the range");
    let moved = cursor.prev();
    assert_eq!(at(&*cursor, moved), key(inside.len() - 1), "back from a seek past the range");
    let moved = cursor.seek_back(b"");
    assert_eq!(at(&*cursor, moved), None, "a seek before the range");
    let moved = cursor.next();
    assert_eq!(at(&*cursor, moved), key(0), "forth from a seek before the range");
}

/// A finger on a sorted list: `at` counts the rows before it and is a row's place, or -1, or the length.
struct Finger {
    at: isize,
    is_fresh: bool,
}

impl Finger {
    fn step(&mut self, rows: isize, forward: bool) {
        let fresh = std::mem::take(&mut self.is_fresh);
        self.at = match (fresh, forward) {
            (true, true) => 0,
            (true, false) => rows - 1,
            (false, true) => (self.at + 1).min(rows),
            (false, false) => (self.at - 1).max(-1),
        };
    }
}

fn walk(bench: &Bench<'_>) {
    let engine = bench.open();
    let entropy = SeededEntropy::new(7);
    let key = |n: u64| format!("{:03}", n * 2).into_bytes();
    let mut expected = BTreeMap::new();
    for n in 0..200 {
        if entropy.below(3) > 0 {
            bench.put(&*engine, &key(n), &n.to_le_bytes());
            expected.insert(key(n), n.to_le_bytes().to_vec());
        }
    }
    for _ in 0..30 {
        let (start, end) = (entropy.below(500), entropy.below(500));
        let text = |n: u64| format!("{n:03}").into_bytes();
        let range = KeyRange::between(&text(start.min(end)), &text(start.max(end)));
        let inside = within(&expected, &range);
        let mut cursor = open_cursor(&*engine, &range);
        let mut finger = Finger { at: -1, is_fresh: true };
        for step in 0..60 {
            let probe = text(entropy.below(500));
            let len = inside.len() as isize;
            let moved = match entropy.below(6) {
                0 => {
                    finger = Finger {
                        at: count_below(&inside, Bound::Excluded(&probe)),
                        is_fresh: false,
                    };
                    cursor.seek(&probe)
                }
                1 => {
                    finger = Finger {
                        at: count_below(&inside, Bound::Included(&probe)) - 1,
                        is_fresh: false,
                    };
                    cursor.seek_back(&probe)
                }
                2 | 3 => {
                    finger.step(len, true);
                    cursor.next()
                }
                _ => {
                    finger.step(len, false);
                    cursor.prev()
                }
            };
            let there = usize::try_from(finger.at).ok().and_then(|n| inside.get(n));
            assert_eq!(
                at(&*cursor, moved).as_ref(),
                there.map(|row| &row.0),
                "step {step} in {range:?}"
            );
            assert_eq!(cursor.row().map(|row| row.value), there.map(|row| row.1.as_slice()));
        }
    }
}

/// The number of rows below a key, or at and below it.
fn count_below(rows: &[Pair], bound: Bound<&Vec<u8>>) -> isize {
    let is_below = |key: &Vec<u8>| match bound {
        Bound::Included(probe) => key <= probe,
        Bound::Excluded(probe) => key < probe,
        Bound::Unbounded => true,
    };
    rows.iter().filter(|(key, _)| is_below(key)).count() as isize
}
