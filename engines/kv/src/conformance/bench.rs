//! What a law works with: a folder, the parts, and short words for what laws do most.

use crate::{
    Capabilities, Cursor, Durability, Engine, EngineFactory, Feature, KeyRange, Parts, ReadOptions,
    Reader, Result, Row, SeqNo, WriteBatch,
};
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A key and its value, owned.
pub(super) type Pair = (Vec<u8>, Vec<u8>);

/// A law's own folder, and the factory under test.
pub(super) struct Bench<'a> {
    pub(super) factory: &'a dyn EngineFactory,
    pub(super) parts: Parts,
    pub(super) dir: PathBuf,
}

impl<'a> Bench<'a> {
    pub(super) fn new(factory: &'a dyn EngineFactory, parts: Parts, dir: PathBuf) -> Self {
        Self { factory, parts, dir }
    }

    pub(super) fn capabilities(&self) -> Capabilities {
        self.factory.capabilities()
    }

    /// Opens the store in the law's folder.
    pub(super) fn open(&self) -> Arc<dyn Engine> {
        self.open_in(&self.dir)
    }

    pub(super) fn open_in(&self, dir: &Path) -> Arc<dyn Engine> {
        ok("open", self.factory.open(dir, self.parts.clone()))
    }

    /// The class that laws write with: `os` where it is offered, for it is quick and survives a close.
    pub(super) fn durability(&self) -> Durability {
        let capabilities = self.capabilities();
        let offered = capabilities.durabilities();
        if capabilities.offers(Durability::Os) {
            return Durability::Os;
        }
        *offered.first().expect("a capability row offers at least one class")
    }

    /// Closes a store that will be opened again. Nothing but a flush keeps writes of class `none`, and not every store has a log that they
    /// enter.
    pub(super) fn close(&self, engine: Arc<dyn Engine>) {
        if self.durability() == Durability::None
            && self.capabilities().has(Feature::Flush)
            && let Some(operator) = engine.maintain()
        {
            ok("flush", operator.flush());
        }
    }

    /// Writes one batch that `fill` fills.
    pub(super) fn write(&self, engine: &dyn Engine, fill: impl FnOnce(&mut WriteBatch)) -> SeqNo {
        let mut batch = WriteBatch::new();
        fill(&mut batch);
        ok("write", engine.write(&batch, self.durability()))
    }

    pub(super) fn put(&self, engine: &dyn Engine, key: &[u8], value: &[u8]) -> SeqNo {
        self.write(engine, |batch| {
            batch.put(key, value);
        })
    }

    pub(super) fn delete(&self, engine: &dyn Engine, key: &[u8]) -> SeqNo {
        self.write(engine, |batch| {
            batch.delete(key);
        })
    }
}

/// The result, or a panic that says what failed.
#[track_caller]
pub(super) fn ok<T>(what: &str, result: Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{what} failed: {error}"),
    }
}

/// The value of `key`, asked for in both ways.
#[track_caller]
pub(super) fn value(reader: &(impl Reader + ?Sized), key: &[u8]) -> Option<Vec<u8>> {
    let (mut rows, mut calls) = (Vec::new(), 0);
    let found = reader.read(key, &ReadOptions::default(), &mut |row| {
        calls += 1;
        rows.push(owned(row));
    });
    let found = ok("read", found);
    assert_eq!(calls, usize::from(found), "read of {} lent {calls} rows", shown(key));
    if let Some((lent, _)) = rows.first() {
        assert_eq!(lent, key, "read of {} lent the row of {}", shown(key), shown(lent));
    }
    let lent = rows.pop().map(|(_, value)| value);
    let got = ok("get", reader.get(key)).map(|value| value.to_vec());
    assert!(got == lent, "get and read of {} disagree", shown(key));
    lent
}

/// Checks what `key` holds.
#[track_caller]
pub(super) fn holds(reader: &(impl Reader + ?Sized), key: &[u8], expected: Option<&[u8]>) {
    let found = value(reader, key);
    assert!(
        found.as_deref() == expected,
        "{} holds {}, expected {}",
        shown(key),
        shown_value(found.as_deref()),
        shown_value(expected)
    );
}

pub(super) fn owned(row: Row<'_>) -> Pair {
    (row.key.to_vec(), row.value.to_vec())
}

/// The rows of `range` from first to last.
#[track_caller]
pub(super) fn rows(reader: &(impl Reader + ?Sized), range: &KeyRange) -> Vec<Pair> {
    let mut cursor = ok("cursor", reader.cursor(range, &ReadOptions::default()));
    let mut rows = Vec::new();
    while ok("next", cursor.next()) {
        rows.push(owned(cursor.row().expect("a cursor that went to a row is at it")));
    }
    assert!(cursor.row().is_none(), "a cursor off the end lends a row");
    rows
}

/// The rows of `range` from last to first.
#[track_caller]
pub(super) fn rows_back(reader: &(impl Reader + ?Sized), range: &KeyRange) -> Vec<Pair> {
    let mut cursor = ok("cursor", reader.cursor(range, &ReadOptions::default()));
    let mut rows = Vec::new();
    while ok("prev", cursor.prev()) {
        rows.push(owned(cursor.row().expect("a cursor that went to a row is at it")));
    }
    assert!(cursor.row().is_none(), "a cursor off the end lends a row");
    rows
}

/// The key at the position; that the position call told the truth is checked as well.
#[track_caller]
pub(super) fn at(cursor: &dyn Cursor, moved: Result<bool>) -> Option<Vec<u8>> {
    let is_at = ok("moving a cursor", moved);
    let row = cursor.row();
    assert_eq!(row.is_some(), is_at, "a position call and the row disagree");
    row.map(|row| row.key.to_vec())
}

/// Two lists that must be equal, without printing them whole.
#[track_caller]
pub(super) fn same<T: PartialEq + Debug>(what: &str, found: &[T], expected: &[T]) {
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    if let Some(at) = differs {
        panic!("{what}: at place {at} there is {:?}, expected {:?}", found[at], expected[at]);
    }
    assert_eq!(found.len(), expected.len(), "{what}: the number of rows");
}

/// Bytes for a message.
pub(super) fn shown(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=40 => format!("\"{}\"", bytes.escape_ascii()),
        len => format!("\"{}...\" of {len} bytes", bytes[..40].escape_ascii()),
    }
}

fn shown_value(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "nothing".to_owned(), shown)
}
