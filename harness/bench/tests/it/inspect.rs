//! Files of a store, shown without opening it: whole ones, damaged ones, and what is none.

use crate::{bench, said};
use nori_kv::{Durability, Parts, WriteBatch};
use norikv_parts::{EngineRequest, engine};
use std::fs;
use std::path::{Path, PathBuf};

/// Whatever must be there for the test to be about anything.
#[track_caller]
fn sure<T>(outcome: Result<T, impl std::fmt::Display>) -> T {
    outcome.unwrap_or_else(|error| panic!("{error}"))
}

/// A closed store with a table, a log and a manifest.
fn store(dir: &Path) -> PathBuf {
    let store = dir.join("store");
    let request = EngineRequest { memory_bytes: 1 << 20, choices: &[] };
    let factory = sure(sure(engine("nori-lsm")).build(&request));
    let open = sure(factory.open(&store, sure(Parts::os(1))));
    for n in 0..200_u32 {
        let mut batch = WriteBatch::new();
        batch.put(format!("key-{n:04}").as_bytes(), &[n as u8; 100]);
        sure(open.write(&batch, Durability::Sync));
        if n == 100 {
            sure(open.maintain().expect("an operator's calls").flush());
        }
    }
    store
}

/// The file of the store with that extension that says most.
fn file(store: &Path, extension: &str) -> String {
    let names = sure(fs::read_dir(store)).map(|entry| sure(entry).path());
    let all = names.filter(|path| path.extension().is_some_and(|of| of == extension));
    // The newest segment may be one that was made ready and not begun.
    let used = all.filter(|path| sure(fs::read(path))[0] != 0);
    used.max().expect("such a file").display().to_string()
}

#[test]
fn every_kind_of_file_is_shown_as_lines_and_as_json() {
    let dir = sure(tempfile::tempdir());
    let store = store(dir.path());
    for (kind, line, field) in [
        ("table", "entries_read: 101", "properties"),
        ("wal", "ops: 99", "header"),
        ("manifest", "torn_bytes: 0", "tree"),
    ] {
        let path = file(&store, kind);
        let output = bench(&["inspect", kind, &path, "--limit", "3"], dir.path());
        let lines = said(&output.stdout);
        assert!(output.status.success(), "{kind}: {}", said(&output.stderr));
        assert!(lines.lines().any(|shown| shown == line), "{kind}: {lines}");
        let output = bench(&["inspect", kind, &path, "--json"], dir.path());
        let value: serde_json::Value = sure(serde_json::from_slice(&output.stdout));
        assert!(!value[field].is_null(), "{kind}: {value}");
        assert_eq!(value["damage"].as_array().map(Vec::len), Some(0));
    }
}

#[test]
fn a_manifest_that_lost_its_end_is_damaged_and_what_only_an_opening_tells_is_said() {
    let dir = sure(tempfile::tempdir());
    let store = store(dir.path());
    let path = file(&store, "manifest");
    let whole = sure(fs::read(&path));
    // The log vouches for all of it, so half a record is no torn tail.
    sure(fs::write(&path, &whole[..whole.len() - 5]));
    let output = bench(&["inspect", "manifest", &path], dir.path());
    let (told, error) = (said(&output.stdout), said(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{told}{error}");
    let words = format!("the log says {} bytes were safe", whole.len());
    assert!(told.contains("damage: 1") && error.contains(&words), "{told}{error}");
    let request = EngineRequest { memory_bytes: 1 << 20, choices: &[] };
    let factory = sure(sure(engine("nori-lsm")).build(&request));
    let opened = factory.open(&store, sure(Parts::os(1)));
    let refused = opened.err().map(|error| error.to_string());
    assert!(refused.as_ref().is_some_and(|error| error.contains(&words)), "{refused:?}");
    sure(fs::write(&path, &whole));
    let told = said(&bench(&["inspect", "manifest", &path], dir.path()).stdout);
    assert!(told.contains("damage: 0"), "{told}");
    assert!(told.contains("left_to_opening: whether CURRENT names it"), "{told}");
}

#[test]
fn damage_is_named_and_the_rest_is_shown_and_what_is_no_file_of_a_store_is_refused() {
    let dir = sure(tempfile::tempdir());
    let store = store(dir.path());
    let path = file(&store, "table");
    let mut bytes = sure(fs::read(&path));
    bytes[10] ^= 1;
    sure(fs::write(&path, bytes));
    let output = bench(&["inspect", "table", &path], dir.path());
    assert_eq!(output.status.code(), Some(1));
    let error = said(&output.stderr);
    assert!(error.contains("is damaged at byte 0"), "{error}");
    assert!(said(&output.stdout).contains("policy=blocked-bloom"), "the rest is shown");
    for wrong in [
        ["inspect", "table", "nothing.table"],
        ["inspect", "wal", path.as_str()],
        ["inspect", "tabel", path.as_str()],
    ] {
        let output = bench(&wrong, dir.path());
        let error = said(&output.stderr);
        assert_eq!((output.status.code(), error.lines().count()), (Some(2), 1), "{error}");
    }
}
