//! Batches: whole or not at all, in order, and numbered.

use super::Law;
use super::bench::{Bench, at, holds, ok, rows};
use crate::{
    Capabilities, Engine, ErrorKind, Feature, KeyRange, ReadOptions, SeqNo, Tick, WriteBatch,
};
use nori_env::{Class, Job, Signal, Slice, Step};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

pub(super) const LAWS: &[Law] = &[
    Law { name: "sequence numbers grow by one per operation", needs: &[], check: numbered },
    Law { name: "every class that is offered writes, and no other", needs: &[], check: classes },
    Law { name: "later operations of a batch win", needs: &[Feature::Batches], check: ordered },
    Law { name: "a large batch is written whole", needs: &[Feature::Batches], check: large },
    Law { name: "no reader sees half a batch", needs: &[Feature::Batches], check: whole },
    Law {
        name: "a range delete removes what was there and nothing else",
        needs: &[Feature::RangeDeletes],
        check: range_delete,
    },
    Law { name: "an expired put is not seen", needs: &[Feature::Expiry], check: expiry },
];

fn numbered(bench: &Bench<'_>) {
    let engine = bench.open();
    let empty = bench.write(&*engine, |_| ());
    let first = bench.put(&*engine, b"a", b"1");
    assert_eq!(first, empty.plus(1), "one operation takes one number");
    assert_eq!(bench.write(&*engine, |_| ()), first, "an empty batch takes no number");
    assert_eq!(bench.delete(&*engine, b"not there"), first.plus(1), "a delete takes a number");
    if bench.capabilities().has(Feature::Batches) {
        let last = bench.write(&*engine, |batch| {
            batch.put(b"a", b"2").put(b"a", b"3").delete(b"b");
        });
        assert_eq!(last, first.plus(4), "three operations take three numbers");
    }
    let before = bench.put(&*engine, b"c", b"1");
    bench.close(engine);
    let engine = bench.open();
    assert!(bench.put(&*engine, b"d", b"1") > before, "numbers grow across a reopen");
    assert!(before > SeqNo::ZERO);
}

fn classes(bench: &Bench<'_>) {
    let engine = bench.open();
    let capabilities = bench.capabilities();
    for (n, durability) in Capabilities::ALL_DURABILITIES.into_iter().enumerate() {
        let key = [b'k', n as u8];
        let mut batch = WriteBatch::new();
        batch.put(&key, b"1");
        let result = engine.write(&batch, durability);
        if capabilities.offers(durability) {
            ok("write", result);
            holds(&*engine, &key, Some(b"1"));
        } else {
            let Err(error) = result else { panic!("{durability} is not offered but was taken") };
            assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
            holds(&*engine, &key, None);
        }
    }
}

fn ordered(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"c", b"0");
    bench.write(&*engine, |batch| {
        batch.put(b"a", b"1").put(b"a", b"2").delete(b"a");
        batch.delete(b"b").put(b"b", b"3");
        batch.put(b"c", b"4").put(b"c", b"5");
    });
    holds(&*engine, b"a", None);
    holds(&*engine, b"b", Some(b"3"));
    holds(&*engine, b"c", Some(b"5"));
}

fn large(bench: &Bench<'_>) {
    let engine = bench.open();
    let key = |n: u32| format!("key-{n:06}").into_bytes();
    bench.write(&*engine, |batch| {
        for n in (0..10_000).rev() {
            batch.put(&key(n), &n.to_le_bytes());
        }
    });
    let found = rows(&*engine, &KeyRange::all());
    assert_eq!(found.len(), 10_000);
    for (n, (k, v)) in (0..).zip(&found) {
        assert!(*k == key(n) && *v == n.to_le_bytes(), "row {n} is wrong");
    }
    bench.write(&*engine, |batch| {
        for n in 0..10_000 {
            batch.delete(&key(n));
        }
    });
    assert!(rows(&*engine, &KeyRange::all()).is_empty());
}

/// Scans over and over and counts the scans whose values differ from one another.
struct Scanner {
    engine: Arc<dyn Engine>,
    stop: Arc<AtomicBool>,
    scans: Arc<AtomicU64>,
    torn: Arc<AtomicU64>,
    started: Signal,
    done: Signal,
}

impl Job for Scanner {
    fn step(&mut self, _slice: &Slice) -> Step {
        if self.stop.load(Ordering::SeqCst) {
            self.done.fire();
            return Step::Done;
        }
        if is_torn(&*self.engine) {
            self.torn.fetch_add(1, Ordering::SeqCst);
        }
        self.scans.fetch_add(1, Ordering::SeqCst);
        self.started.fire();
        Step::Again
    }

    fn panicked(&mut self) {
        self.torn.fetch_add(1, Ordering::SeqCst);
        self.started.fire();
        self.done.fire();
    }
}

/// Whether a scan sees values of two batches, or only some of the keys.
fn is_torn(engine: &dyn Engine) -> bool {
    let found = rows(engine, &KeyRange::prefix(b"part-"));
    let differ = found.iter().any(|(_, value)| *value != found[0].1);
    differ || !(found.is_empty() || found.len() == usize::from(PARTS))
}

/// Keys of a batch whose parts must always agree.
const PARTS: u8 = 8;
/// Batches written while scanners run, at least and at most. In a simulation nothing scans meanwhile.
const ROUNDS_MIN: u32 = 300;
const ROUNDS_MAX: u32 = 5_000;
/// Scans on threads that are enough.
const SCANS: u64 = 500;

fn whole(bench: &Bench<'_>) {
    let engine = bench.open();
    let (stop, scans) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let torn = Arc::new(AtomicU64::new(0));
    let mut done = Vec::new();
    for _ in 0..2 {
        let scanner = Scanner {
            engine: Arc::clone(&engine),
            stop: Arc::clone(&stop),
            scans: Arc::clone(&scans),
            torn: Arc::clone(&torn),
            started: Signal::new(),
            done: Signal::new(),
        };
        let started = scanner.started.clone();
        done.push(scanner.done.clone());
        bench.parts.tasks.submit(Class::CompactionDeep, Box::new(scanner));
        let _ = bench.parts.tasks.wait(&started);
    }
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && scans.load(Ordering::SeqCst) >= SCANS {
            break;
        }
        bench.write(&*engine, |batch| {
            for part in 0..PARTS {
                batch.put(&[b"part-", &[part][..]].concat(), &round.to_le_bytes());
            }
        });
    }
    stop.store(true, Ordering::SeqCst);
    for signal in done {
        let _ = bench.parts.tasks.wait(&signal);
    }
    assert_eq!(torn.load(Ordering::SeqCst), 0, "scans that saw half a batch");
}

fn range_delete(bench: &Bench<'_>) {
    let engine = bench.open();
    let keys = |found: Vec<(Vec<u8>, Vec<u8>)>| -> Vec<u8> {
        found.into_iter().map(|(k, _)| k[0]).collect()
    };
    for key in b'a'..=b'h' {
        bench.put(&*engine, &[key], b"1");
    }
    let last = bench.put(&*engine, b"z", b"1");
    let deleted = bench.write(&*engine, |batch| {
        batch.delete_range(b"c", b"f");
    });
    assert_eq!(deleted, last.plus(1), "a range delete takes one number");
    assert_eq!(keys(rows(&*engine, &KeyRange::all())), b"abfghz");
    holds(&*engine, b"c", None);
    holds(&*engine, b"f", Some(b"1"));
    bench.put(&*engine, b"d", b"2");
    holds(&*engine, b"d", Some(b"2"));
    for (start, end) in [(&b"f"[..], &b"f"[..]), (b"z", b"a")] {
        bench.write(&*engine, |batch| {
            batch.delete_range(start, end);
        });
    }
    assert_eq!(keys(rows(&*engine, &KeyRange::all())), b"abdfghz", "empty ranges delete nothing");
    bench.write(&*engine, |batch| {
        batch.put(b"ga", b"3").delete_range(b"g", b"h").put(b"gb", b"4");
    });
    assert_eq!(keys(rows(&*engine, &KeyRange::all())), b"abdfghz");
    holds(&*engine, b"ga", None);
    holds(&*engine, b"gb", Some(b"4"));
    bench.close(engine);
    let engine = bench.open();
    assert_eq!(keys(rows(&*engine, &KeyRange::all())), b"abdfghz", "after a reopen");
    holds(&*engine, b"c", None);
}

fn expiry(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"a", b"old");
    bench.write(&*engine, |batch| {
        batch.put_until(b"a", b"1", Tick(10)).put_until(b"b", b"2", Tick(20)).put(b"c", b"3");
    });
    let seen = |engine: &dyn Engine, now: u64| -> Vec<u8> {
        let options = ReadOptions { now: Tick(now), ..ReadOptions::default() };
        let mut cursor = ok("cursor", engine.cursor(&KeyRange::all(), &options));
        let mut keys = Vec::new();
        loop {
            let moved = cursor.next();
            match at(&*cursor, moved) {
                Some(key) => keys.push(key[0]),
                None => break keys,
            }
        }
    };
    let check = |engine: &dyn Engine| {
        for (now, expected) in
            [(0, &b"abc"[..]), (9, b"abc"), (10, b"bc"), (19, b"bc"), (20, b"c"), (u64::MAX, b"c")]
        {
            assert_eq!(seen(engine, now), expected, "at tick {now}");
            let options = ReadOptions { now: Tick(now), ..ReadOptions::default() };
            let found =
                ok("read", engine.read(b"a", &options, &mut |row| assert_eq!(row.value, b"1")));
            assert_eq!(found, expected.contains(&b'a'), "point read at tick {now}");
        }
    };
    check(&*engine);
    bench.close(engine);
    check(&*bench.open());
}
