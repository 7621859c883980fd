//! The operator's calls: none of them changes what is read.

use super::Law;
use super::bench::{Bench, holds, ok, rows, same};
use crate::{Engine, ErrorKind, Feature, KeyRange, Maintain, ReadOptions, Tick};

pub(super) const LAWS: &[Law] = &[
    Law { name: "a flush changes nothing that is read", needs: &[Feature::Flush], check: flush },
    Law {
        name: "a compaction changes nothing that is read",
        needs: &[Feature::Compact],
        check: compact,
    },
    Law { name: "a scrub finds a whole store whole", needs: &[Feature::Scrub], check: scrub },
    Law { name: "settling changes nothing that is read", needs: &[Feature::Settle], check: settle },
    Law {
        name: "a checkpoint is a copy that later writes do not reach",
        needs: &[Feature::Checkpoint],
        check: checkpoint,
    },
    Law {
        name: "what expired below the floor stays unseen",
        needs: &[Feature::Expiry, Feature::Compact],
        check: floor,
    },
];

fn operator(engine: &dyn Engine) -> &dyn Maintain {
    engine.maintain().expect("an engine with such a feature has the operator's calls")
}

/// Writes, overwrites and deletes between calls of `act`, and compares the rows around each, and at the end
/// after a reopen.
fn unchanged(bench: &Bench<'_>, act: impl Fn(&dyn Maintain)) {
    let engine = bench.open();
    act(operator(&*engine));
    let key = |n: u32| format!("{:04}", n * 7 % 1_000).into_bytes();
    for round in 0..4_u32 {
        for n in 0..300 {
            bench.put(&*engine, &key(n + round * 100), &(n + round).to_le_bytes());
        }
        for n in (0..300).step_by(5) {
            bench.delete(&*engine, &key(n + round * 50));
        }
        let before = rows(&*engine, &KeyRange::all());
        act(operator(&*engine));
        same("rows after the call", &rows(&*engine, &KeyRange::all()), &before);
        for (key, value) in before.iter().step_by(17) {
            holds(&*engine, key, Some(value));
        }
        holds(&*engine, &key(round * 50), None);
    }
    let before = rows(&*engine, &KeyRange::all());
    bench.close(engine);
    same("rows after a reopen", &rows(&*bench.open(), &KeyRange::all()), &before);
}

fn flush(bench: &Bench<'_>) {
    unchanged(bench, |operator| ok("flush", operator.flush()));
}

fn compact(bench: &Bench<'_>) {
    let ranges =
        [KeyRange::all(), KeyRange::between(b"0300", b"0500"), KeyRange::between(b"x", b"y")];
    unchanged(bench, |operator| {
        for range in &ranges {
            ok("compact", operator.compact(range));
        }
    });
}

fn scrub(bench: &Bench<'_>) {
    unchanged(bench, |operator| {
        let scrubbed = ok("scrub", operator.scrub());
        assert!(scrubbed.damage.is_empty(), "{:?}", scrubbed.damage);
        if bench.capabilities().has(Feature::Flush) {
            ok("flush", operator.flush());
            let scrubbed = ok("scrub", operator.scrub());
            assert!(scrubbed.damage.is_empty() && scrubbed.bytes > 0, "{scrubbed:?}");
        }
    });
}

fn settle(bench: &Bench<'_>) {
    unchanged(bench, |operator| ok("settle", operator.settle()));
}

fn checkpoint(bench: &Bench<'_>) {
    let (copy, installed) = (bench.dir.join("copy"), bench.dir.join("installed"));
    let engine = bench.open_in(&bench.dir.join("store"));
    bench.put(&*engine, b"a", b"1");
    bench.put(&*engine, b"b", b"1");
    ok("checkpoint", operator(&*engine).checkpoint(&copy));
    bench.put(&*engine, b"a", b"2");
    bench.delete(&*engine, b"b");
    let opened = bench.open_in(&copy);
    holds(&*opened, b"a", Some(b"1"));
    holds(&*opened, b"b", Some(b"1"));
    bench.close(opened);
    ok("install", bench.factory.install(&installed, &copy, &bench.parts));
    let opened = bench.open_in(&installed);
    holds(&*opened, b"b", Some(b"1"));
    bench.put(&*opened, b"b", b"3");
    holds(&*engine, b"a", Some(b"2"));
    holds(&*engine, b"b", None);
    bench.close(opened);
    holds(&*bench.open_in(&copy), b"b", Some(b"1"));
    let Err(error) = operator(&*engine).checkpoint(&copy) else {
        panic!("a checkpoint over a store")
    };
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
}

fn floor(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"a", b"old");
    bench.write(&*engine, |batch| {
        batch.put_until(b"a", b"1", Tick(10)).put_until(b"b", b"2", Tick(30));
    });
    ok("set_expiry_floor", operator(&*engine).set_expiry_floor(Tick(20)));
    ok("compact", operator(&*engine).compact(&KeyRange::all()));
    let found = |key: &[u8], now: u64| {
        let options = ReadOptions { now: Tick(now), ..ReadOptions::default() };
        ok("read", engine.read(key, &options, &mut |row| assert_eq!(row.key, key)))
    };
    assert!(!found(b"a", 20), "what expired before the floor, or what it hid, is seen");
    assert!(found(b"b", 20) && found(b"b", 29) && !found(b"b", 30));
    assert!(
        !found(b"a", 0) && !found(b"a", 5),
        "a reader behind the floor sees the store at the floor"
    );
}
