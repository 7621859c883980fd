//! Any byte flipped, any file cut or missing: found and located, or a torn tail; never a panic, never a wrong answer.

use crate::parts::factory;
use nori_env::{Durability, Fs, MemFs, OpenMode};
use nori_kv::{EngineFactory, Error, ErrorKind, KeyRange, ReadOptions, Result, WriteBatch};
use nori_model::trial::{copy_of, seeded};
use nori_observe::NullMeter;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/damage/store";
const KEYS: u32 = 60;

/// The state after each batch: key `n % KEYS` has value `n`.
fn expected(batches: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut rows = std::collections::BTreeMap::new();
    for n in 0..batches {
        rows.insert(key(n), value(n));
    }
    rows.into_iter().collect()
}

fn key(n: u32) -> Vec<u8> {
    format!("key-{:02}", n % KEYS).into_bytes()
}

fn value(n: u32) -> Vec<u8> {
    format!("value-{n}-{}", "x".repeat((n % 50) as usize)).into_bytes()
}

/// A store of some tables and a log with synced and unsynced groups, closed.
fn store(batches: u32) -> MemFs {
    let fs = MemFs::new();
    let (parts, tasks) = seeded(5, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts).unwrap();
    for n in 0..batches {
        let mut batch = WriteBatch::new();
        batch.put(&key(n), &value(n));
        let class = if n % 3 == 0 { Durability::Sync } else { Durability::Os };
        engine.write(&batch, class).unwrap();
        tasks.run(3);
    }
    drop(engine);
    fs
}

fn read_all(fs: &MemFs) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let (parts, _tasks) = seeded(6, fs.clone(), Arc::new(NullMeter));
    let engine = factory(&[]).open(Path::new(DIR), parts)?;
    let mut rows = vec![];
    let mut cursor = engine.cursor(&KeyRange::all(), &ReadOptions::default())?;
    while cursor.next()? {
        let row = cursor.row().unwrap();
        rows.push((row.key.to_vec(), row.value.to_vec()));
    }
    for n in 0..KEYS {
        let found = engine.get(&key(n))?;
        let scanned = rows.iter().find(|row| row.0 == key(n)).map(|row| &row.1[..]);
        assert_eq!(found.as_deref(), scanned);
    }
    Ok(rows)
}

/// What a damaged store may answer: all of it, an error that names a file, or the state of an earlier batch of the log.
fn is_honest(outcome: &Result<Vec<(Vec<u8>, Vec<u8>)>>, batches: u32, floor: u32) -> bool {
    match outcome {
        Ok(rows) => (floor..=batches).any(|upto| *rows == expected(upto)),
        Err(Error::Corrupt { file, .. }) => file.starts_with(DIR),
        Err(_) => false,
    }
}

fn copy(fs: &MemFs) -> MemFs {
    copy_of(fs, Path::new(DIR))
}

#[test]
fn every_flipped_byte_of_every_file_is_found_or_harmless() {
    const BATCHES: u32 = 160;
    let whole = store(BATCHES);
    assert_eq!(read_all(&copy(&whole)).unwrap(), expected(BATCHES));
    let dir = Path::new(DIR);
    let mut flips = [0u32; 2];
    for name in whole.list(dir).unwrap() {
        let path = dir.join(&name);
        let len = whole.read(&path).unwrap().len() as u64;
        // A log segment is mostly zeros that were never written: look there less often.
        let stride = if name.ends_with(".wal") { 11 } else { 1 };
        for at in (0..len).step_by(stride) {
            let fs = copy(&whole);
            fs.flip(&path, at, 1 << (at % 8)).unwrap();
            let outcome = read_all(&fs);
            let floor = if name.ends_with(".wal") { 0 } else { BATCHES };
            assert!(
                is_honest(&outcome, BATCHES, floor),
                "{name} at {at}: {:?}",
                outcome.map(|rows| rows.len())
            );
            flips[usize::from(outcome.is_err())] += 1;
        }
    }
    let [harmless, found] = flips;
    println!("{} bytes flipped: {found} found, {harmless} harmless or torn tail", harmless + found);
    assert!(found > 1000);
}

#[test]
fn a_file_cut_anywhere_or_missing_is_found_or_a_torn_tail() {
    const BATCHES: u32 = 250;
    let whole = store(BATCHES);
    let dir = Path::new(DIR);
    for name in whole.list(dir).unwrap() {
        let path = dir.join(&name);
        let len = whole.read(&path).unwrap().len() as u64;
        for cut in (0..len).step_by(37) {
            let fs = copy(&whole);
            fs.truncate(&path, cut).unwrap();
            let outcome = read_all(&fs);
            let floor = if name.ends_with(".wal") { 0 } else { BATCHES };
            assert!(is_honest(&outcome, BATCHES, floor), "{name} cut to {cut}: {outcome:?}");
        }
        let fs = copy(&whole);
        fs.remove(&path).unwrap();
        let outcome = read_all(&fs);
        assert!(is_honest(&outcome, BATCHES, 0), "{name} missing: {outcome:?}");
        if name == "CURRENT" {
            assert_eq!(outcome.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    }
}

/// The names in the store that end in `suffix`, sorted.
fn names(fs: &MemFs, suffix: &str) -> Vec<String> {
    let names = fs.list(Path::new(DIR)).unwrap();
    names.into_iter().filter(|name| name.ends_with(suffix)).collect()
}

/// The file and offset that the error of opening `fs` and reading all of it names.
fn blamed(fs: &MemFs) -> (String, u64) {
    match read_all(fs) {
        Err(Error::Corrupt { file, offset, .. }) => {
            (file.file_name().unwrap().to_str().unwrap().to_owned(), offset)
        }
        other => panic!("{:?}", other.map(|rows| rows.len())),
    }
}

#[test]
fn every_cut_of_the_manifest_is_told_by_its_name_and_offset() {
    let whole = store(600);
    let name = names(&whole, ".manifest").remove(0);
    let path = Path::new(DIR).join(&name);
    let len = whole.read(&path).unwrap().len() as u64;
    assert!(len > 200, "the test is to cut several edits");
    for cut in 0..len {
        let fs = copy(&whole);
        fs.truncate(&path, cut).unwrap();
        let (file, offset) = blamed(&fs);
        assert!(file == name && offset <= cut, "cut to {cut}: {file} at {offset}");
    }
}

#[test]
fn an_older_manifest_is_not_taken_for_the_one_in_force() {
    let whole = store(160);
    let dir = Path::new(DIR);
    let old = copy(&whole);
    // Opening begins a new manifest.
    read_all(&whole).unwrap();
    let fs = copy(&whole);
    for name in ["CURRENT".to_owned(), names(&old, ".manifest").remove(0)] {
        let path = dir.join(&name);
        let _ = fs.remove(&path);
        let file = fs.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(&old.read(&path).unwrap(), 0).unwrap();
    }
    let (file, _) = blamed(&fs);
    assert!(file == "CURRENT", "{file}");
}

#[test]
fn a_missing_table_is_told_at_the_edit_that_names_it() {
    let whole = store(250);
    let name = names(&whole, ".manifest").remove(0);
    let manifest = whole.read(&Path::new(DIR).join(&name)).unwrap();
    let word = |at: usize| u32::from_le_bytes(*manifest[at..].first_chunk().unwrap()) as usize;
    let mut records = vec![];
    let mut at = 16;
    while at < manifest.len() {
        records.push(at as u64);
        at += 8 + word(at);
    }
    let tables = names(&whole, ".table");
    let mut told = std::collections::BTreeSet::new();
    for table in &tables {
        let fs = copy(&whole);
        fs.remove(&Path::new(DIR).join(table)).unwrap();
        let (file, offset) = blamed(&fs);
        assert!(file == name && records.contains(&offset), "{table}: {file} at {offset}");
        told.insert(offset);
    }
    assert!(told.len() > 1 && !told.contains(&records[0]), "{told:?}");
}

#[test]
fn the_last_segments_of_the_log_are_missed_however_many_are_gone() {
    const BATCHES: u32 = 160;
    for reopened in [false, true] {
        let whole = store(BATCHES);
        if reopened {
            // Nothing is flushed after this opening: only its own edit says that the log has begun.
            read_all(&whole).unwrap();
        }
        let segments = names(&whole, ".wal");
        // The newest may have been made ready and not begun.
        let is_used = |name: &String| whole.read(&Path::new(DIR).join(name)).unwrap()[0] != 0;
        let used = segments.iter().filter(|name| is_used(name)).count();
        for left in 0..used {
            let fs = copy(&whole);
            for name in &segments[left..] {
                fs.remove(&Path::new(DIR).join(name)).unwrap();
            }
            let (file, _) = blamed(&fs);
            assert_eq!(file, segments[left], "{left} of {segments:?} left");
        }
    }
}

/// A group's first number is replaced, with a checksum that says so too.
fn renumber(fs: &MemFs, name: &str, at: u64, seqno: u64) {
    let path = Path::new(DIR).join(name);
    let mut content = fs.read(&path).unwrap();
    let place = [&content[16..24], &at.to_le_bytes()].concat();
    let header = &mut content[at as usize..][..32];
    header[16..24].copy_from_slice(&seqno.to_le_bytes());
    let checksum = nori_env::crc32c_append(nori_env::crc32c(&place), &header[4..]);
    header[..4].copy_from_slice(&checksum.to_le_bytes());
    fs.remove(&path).unwrap();
    fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&content, 0).unwrap();
}

#[test]
fn a_sequence_number_that_cannot_be_is_told_from_one_that_goes_back() {
    let whole = store(1);
    let name = names(&whole, ".wal").remove(0);
    for seqno in [0, u64::MAX] {
        let fs = copy(&whole);
        // Behind the segment's header and a mark.
        renumber(&fs, &name, 64 + 48, seqno);
        assert_eq!(blamed(&fs), (name.clone(), 64 + 48));
        let text = read_all(&fs).unwrap_err().to_string();
        let told = format!("sequence number {seqno}");
        assert!(text.contains(&told) && !text.contains(" after "), "{text}");
    }
}

#[test]
fn a_manifest_of_an_unknown_format_version_is_refused_by_name() {
    let fs = store(50);
    let name = names(&fs, ".manifest").remove(0);
    fs.flip(&Path::new(DIR).join(&name), 8, 2).unwrap();
    let error = read_all(&fs).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    let text = error.to_string();
    assert!(text.contains(&name) && text.contains("format version 3 is not known"), "{text}");
}

#[test]
fn files_of_others_are_left_alone() {
    let fs = store(50);
    let dir = Path::new(DIR);
    let theirs = dir.join("notes.txt");
    fs.open(&theirs, OpenMode::CreateNew).unwrap().write_at(b"mine", 0).unwrap();
    read_all(&fs).unwrap();
    let (parts, _tasks) = seeded(6, fs.clone(), Arc::new(NullMeter));
    factory(&[]).destroy(dir, &parts).unwrap();
    assert_eq!(fs.list(dir).unwrap(), ["notes.txt"]);
}

#[test]
fn a_scrub_finds_every_flipped_byte_of_tables_and_manifest_in_an_open_store() {
    let whole = store(250);
    let dir = Path::new(DIR);
    let open = || {
        let fs = copy(&whole);
        let (parts, _tasks) = seeded(6, fs.clone(), Arc::new(NullMeter));
        (factory(&[]).open(dir, parts).unwrap(), fs)
    };
    // Each opening begins the same new manifest.
    let (_engine, opened) = open();
    let mut flips = [0; 3];
    for name in opened.list(dir).unwrap() {
        let kinds = [".table", ".manifest", "CURRENT"];
        let Some(kind) = kinds.iter().position(|kind| name.ends_with(kind)) else { continue };
        let path = dir.join(&name);
        for at in (0..opened.read(&path).unwrap().len() as u64).step_by(5) {
            let (engine, fs) = open();
            fs.flip(&path, at, 1 << (at % 8)).unwrap();
            let scrubbed = engine.maintain().unwrap().scrub().unwrap();
            let [Error::Corrupt { file, .. }] = &scrubbed.damage[..] else {
                panic!("{name} at {at}: {:?}", scrubbed.damage)
            };
            assert_eq!(**file, *path, "{name} at {at}");
            assert!(scrubbed.files > 1, "the other files are read all the same");
            flips[kind] += 1;
        }
    }
    assert!(flips[0] > 300 && flips[1] > 10 && flips[2] > 2, "{flips:?}");
}
