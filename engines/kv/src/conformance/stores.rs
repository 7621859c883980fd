//! Stores: opened, closed, opened again, destroyed; one folder each.

use super::Law;
use super::bench::{Bench, holds, ok, rows, same};
use crate::{Engine, ErrorKind, Feature, KeyRange, Result};
use nori_env::OpenMode;
use std::sync::Arc;

pub(super) const LAWS: &[Law] = &[
    Law { name: "opening a folder that is missing makes an empty store", needs: &[], check: made },
    Law {
        name: "a store that was closed opens with all that was written",
        needs: &[],
        check: reopened,
    },
    Law { name: "a store survives many reopens with few writes each", needs: &[], check: often },
    Law { name: "a store does not see another one", needs: &[], check: apart },
    Law {
        name: "a store that is open is not opened again",
        needs: &[Feature::Lock],
        check: locked,
    },
    Law { name: "destroy removes the store and nothing else", needs: &[], check: destroyed },
    Law { name: "an open store is not destroyed", needs: &[Feature::Lock], check: not_destroyed },
    Law {
        name: "a factory tells its name, settings and row the same each time",
        needs: &[],
        check: told,
    },
];

fn made(bench: &Bench<'_>) {
    let engine = bench.open_in(&bench.dir.join("deep").join("er"));
    assert!(rows(&*engine, &KeyRange::all()).is_empty());
    drop(engine);
    let engine = bench.open_in(&bench.dir.join("deep").join("er"));
    assert!(rows(&*engine, &KeyRange::all()).is_empty(), "an empty store opens again");
}

fn reopened(bench: &Bench<'_>) {
    let key = |n: u32| format!("key-{n:05}").into_bytes();
    let engine = bench.open();
    for n in 0..2_000 {
        bench.put(&*engine, &key(n), &[n as u8; 100]);
    }
    for n in (0..2_000).step_by(3) {
        bench.delete(&*engine, &key(n));
    }
    bench.put(&*engine, &key(1), b"changed");
    bench.put(&*engine, b"big", &vec![0xCD; 1 << 20]);
    let before = rows(&*engine, &KeyRange::all());
    bench.close(engine);
    let engine = bench.open();
    same("rows after a reopen", &rows(&*engine, &KeyRange::all()), &before);
    holds(&*engine, &key(0), None);
    holds(&*engine, &key(1), Some(b"changed"));
    bench.put(&*engine, &key(0), b"again");
    bench.close(engine);
    let engine = bench.open();
    holds(&*engine, &key(0), Some(b"again"));
    holds(&*engine, &key(1), Some(b"changed"));
    holds(&*engine, b"big", Some(&vec![0xCD; 1 << 20]));
}

fn often(bench: &Bench<'_>) {
    for round in 0..15_u8 {
        let engine = bench.open();
        for earlier in 0..round {
            holds(&*engine, &[b'k', earlier], Some(&[earlier]));
        }
        holds(&*engine, b"same", round.checked_sub(1).as_ref().map(std::slice::from_ref));
        bench.put(&*engine, &[b'k', round], &[round]);
        bench.put(&*engine, b"same", &[round]);
        bench.close(engine);
    }
}

fn apart(bench: &Bench<'_>) {
    let one = bench.open_in(&bench.dir.join("one"));
    let two = bench.open_in(&bench.dir.join("two"));
    bench.put(&*one, b"a", b"1");
    bench.put(&*two, b"b", b"2");
    holds(&*one, b"b", None);
    holds(&*two, b"a", None);
    bench.close(one);
    holds(&*two, b"b", Some(b"2"));
    let one = bench.open_in(&bench.dir.join("one"));
    holds(&*one, b"a", Some(b"1"));
    holds(&*one, b"b", None);
}

/// The error of an open, which has no `Debug` to print when it is `Ok`.
fn refusal(opened: Result<Arc<dyn Engine>>) -> ErrorKind {
    match opened {
        Ok(_) => panic!("the store was opened twice"),
        Err(error) => error.kind(),
    }
}

fn locked(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"a", b"1");
    for _ in 0..2 {
        let again = bench.factory.open(&bench.dir, bench.parts.clone());
        assert_eq!(refusal(again), ErrorKind::Busy);
    }
    holds(&*engine, b"a", Some(b"1"));
    bench.put(&*engine, b"b", b"2");
    bench.close(engine);
    let engine = bench.open();
    holds(&*engine, b"b", Some(b"2"));
}

fn destroyed(bench: &Bench<'_>) {
    let (dir, beside) = (bench.dir.join("store"), bench.dir.join("store-beside"));
    let kept = bench.open_in(&beside);
    bench.put(&*kept, b"a", b"1");
    let engine = bench.open_in(&dir);
    bench.put(&*engine, b"a", b"1");
    drop(engine);
    let foreign = dir.join("not-the-stores-own");
    let fs = &bench.parts.fs;
    let create = || fs.create_dir(&dir).and_then(|()| fs.open(&foreign, OpenMode::CreateNew));
    create().expect("a file can be made in the folder of a closed store");
    ok("destroy", bench.factory.destroy(&dir, &bench.parts));
    assert!(
        matches!(fs.exists(&foreign), Ok(true)),
        "destroy removed a file that is not the store's"
    );
    let engine = bench.open_in(&dir);
    assert!(rows(&*engine, &KeyRange::all()).is_empty(), "a destroyed store has rows");
    holds(&*kept, b"a", Some(b"1"));
    drop(engine);
    ok("destroy", bench.factory.destroy(&dir, &bench.parts));
    ok("destroy of what is not there", bench.factory.destroy(&dir, &bench.parts));
}

fn not_destroyed(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.put(&*engine, b"a", b"1");
    let Err(error) = bench.factory.destroy(&bench.dir, &bench.parts) else {
        panic!("an open store was destroyed");
    };
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    holds(&*engine, b"a", Some(b"1"));
    bench.close(engine);
    holds(&*bench.open(), b"a", Some(b"1"));
}

fn told(bench: &Bench<'_>) {
    let factory = bench.factory;
    assert!(!factory.name().is_empty());
    assert!(!factory.name().contains(char::is_whitespace), "a name is one word");
    let before = (factory.name().to_owned(), factory.settings(), factory.capabilities());
    let mut names: Vec<_> = before.1.iter().map(|(name, _)| name.clone()).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), before.1.len(), "a setting has one value");
    assert!(!before.2.durabilities().is_empty());
    let engine = bench.open();
    bench.put(&*engine, b"a", b"1");
    assert_eq!((factory.name().to_owned(), factory.settings(), factory.capabilities()), before);
    let stats = engine.stats();
    let mut counted: Vec<_> = stats.numbers.iter().map(|(name, _)| *name).collect();
    counted.sort_unstable();
    counted.dedup();
    assert_eq!(counted.len(), stats.numbers.len(), "a number has one name");
}
