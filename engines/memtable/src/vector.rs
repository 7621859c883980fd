//! A vector that is sorted when somebody looks: the cheapest insert there is.
//!
//! 1. An insert copies the entry and appends its address to the *tail*.
//! 2. A read sorts the tail first, if there is one, and makes it a *run*. While a run is not more than
//!    twice as long as the one behind it, the two are merged; so there are few runs, and each entry is
//!    merged few times, even if inserts and reads take turns.
//! 3. A read then searches every run.
//! 4. Sealing merges all into one run.
//!
//! It is for replay and for loads that nobody reads before they are flushed. Beside the address stand
//! the first sixteen bytes of the key, so that most comparisons need no look at the record: eight are often the name of a
//! kind of record and a few digits. The first read
//! after many inserts takes as long as the sort of them, and others wait for it.

#![expect(unsafe_code, reason = "the vectors hold records of the arena beside them")]

use crate::Memtable;
use crate::cursor::{Neighbours, RecordCursor};
use crate::kind::Kind;
use crate::record::{Arena, Record};
use nori_kv::{EntryCursor, EntryRef, SeqNo};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Records a cursor takes at a time: enough to make the search for the first of them cheap.
const NEAR: usize = 64;

/// The memtable `vector`.
#[derive(Default)]
pub struct VectorMemtable {
    state: RwLock<State>,
    /// As in `state`, for those who do not hold it.
    bytes: AtomicU64,
    len: AtomicU64,
}

#[derive(Default)]
struct State {
    /// Each in internal order; `runs[i].len() > 2 * runs[i + 1].len()`.
    runs: Vec<Vec<Keyed>>,
    /// In the order of the inserts.
    tail: Vec<Keyed>,
    arena: Arena,
    is_sealed: bool,
}

/// A record and the first bytes of its key.
///
/// Invariant: the record is of the arena beside it.
#[derive(Clone, Copy)]
struct Keyed {
    prefix: Prefix,
    record: Record,
}

/// Two words rather than one number of 128 bits, which would be aligned to 16 bytes.
type Prefix = [u64; 2];

/// The first sixteen bytes as numbers of the same order; a short key is filled up with zeros, so that of
/// two different prefixes the smaller one is of the smaller key, and equal ones tell nothing.
fn prefix(key: &[u8]) -> Prefix {
    let mut bytes = [0; 16];
    let len = key.len().min(16);
    bytes[..len].copy_from_slice(&key[..len]);
    let both = u128::from_be_bytes(bytes);
    [(both >> 64) as u64, both as u64]
}

impl Keyed {
    fn cmp_position(&self, own: Prefix, key: &[u8], seqno: SeqNo) -> Ordering {
        // SAFETY: the arena is in the same `State`.
        self.prefix.cmp(&own).then_with(|| unsafe { self.record.cmp_position(key, seqno) })
    }

    fn cmp(&self, other: &Self) -> Ordering {
        self.prefix.cmp(&other.prefix).then_with(|| {
            // SAFETY: the arena is in the same `State`.
            let (key, seqno) = unsafe { other.record.position() };
            // SAFETY: as above.
            unsafe { self.record.cmp_position(key, seqno) }
        })
    }
}

impl State {
    /// Makes the tail a run, and merges runs until each is more than twice as long as the next.
    fn sort_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let mut run = std::mem::take(&mut self.tail);
        run.sort_unstable_by(Keyed::cmp);
        while let Some(before) = self.runs.pop_if(|before| before.len() <= 2 * run.len()) {
            run = merged(before, run);
        }
        self.runs.push(run);
    }

    /// Where in `run` the first entry at (or, if `beyond`, after) a place is.
    fn rank(run: &[Keyed], key: &[u8], seqno: SeqNo, beyond: bool) -> usize {
        let own = prefix(key);
        run.partition_point(|keyed| match keyed.cmp_position(own, key, seqno) {
            Ordering::Less => true,
            Ordering::Equal => beyond,
            Ordering::Greater => false,
        })
    }
}

/// Two runs as one. The stable sort of the standard library finds the two runs and only merges them.
fn merged(mut older: Vec<Keyed>, newer: Vec<Keyed>) -> Vec<Keyed> {
    older.extend(newer);
    older.sort_by(Keyed::cmp);
    older
}

impl VectorMemtable {
    /// The state with no tail.
    fn sorted(&self) -> RwLockReadGuard<'_, State> {
        let state = self.state.read();
        if state.tail.is_empty() {
            return state;
        }
        drop(state);
        let mut state = self.state.write();
        state.sort_tail();
        RwLockWriteGuard::downgrade(state)
    }
}

impl fmt::Debug for VectorMemtable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VectorMemtable").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Kind for VectorMemtable {
    const NAME: &'static str = "vector";
    const NAME_INDEXED: &'static str = "vector+hash";

    fn add(&self, entry: EntryRef<'_>) -> Record {
        let prefix = prefix(entry.key);
        let mut state = self.state.write();
        assert!(!state.is_sealed, "a sealed memtable takes no entries");
        let record = state.arena.push(entry);
        state.tail.push(Keyed { prefix, record });
        let len = self.len.load(Relaxed) + 1;
        self.len.store(len, Relaxed);
        let index_bytes = len * size_of::<Keyed>() as u64;
        self.bytes.store(state.arena.used_bytes() + index_bytes, Relaxed);
        record
    }
}

impl Memtable for VectorMemtable {
    fn insert(&self, entry: EntryRef<'_>) {
        self.add(entry);
    }

    fn get(&self, key: &[u8], at: SeqNo) -> Option<EntryRef<'_>> {
        let state = self.sorted();
        let in_run = |run: &Vec<Keyed>| {
            let keyed = run.get(State::rank(run, key, at, false))?;
            // SAFETY: the arena lives as long as `self`; records do not move when the lock is given
            // back.
            let entry: EntryRef<'_> = unsafe { keyed.record.entry() };
            (entry.key == key).then_some(entry)
        };
        state.runs.iter().filter_map(in_run).max_by_key(|entry| entry.seqno)
    }

    fn cursor(self: Arc<Self>) -> Box<dyn EntryCursor> {
        Box::new(RecordCursor::new(self))
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Relaxed)
    }

    fn len(&self) -> usize {
        self.len.load(Relaxed) as usize
    }

    fn seal(&self) {
        let mut state = self.state.write();
        state.is_sealed = true;
        state.sort_tail();
        let runs = std::mem::take(&mut state.runs);
        // Shortest first, so that the long ones are copied once.
        state.runs.extend(runs.into_iter().rev().reduce(|newer, older| merged(older, newer)));
    }
}

impl Neighbours for VectorMemtable {
    fn from(&self, key: &[u8], seqno: SeqNo, beyond: bool, out: &mut Vec<Record>) {
        let state = self.sorted();
        let mut near: Vec<Keyed> = Vec::new();
        for run in &state.runs {
            let at = State::rank(run, key, seqno, beyond);
            near.extend(run[at..].iter().take(NEAR));
        }
        near.sort_by(Keyed::cmp);
        out.extend(near.iter().take(NEAR).map(|keyed| keyed.record));
    }

    fn before(&self, position: Option<(&[u8], SeqNo)>, out: &mut Vec<Record>) {
        let state = self.sorted();
        let mut near: Vec<Keyed> = Vec::new();
        for run in &state.runs {
            let end =
                position.map_or(run.len(), |(key, seqno)| State::rank(run, key, seqno, false));
            near.extend(&run[end.saturating_sub(NEAR)..end]);
        }
        near.sort_by(Keyed::cmp);
        let skipped = near.len().saturating_sub(NEAR);
        out.extend(near[skipped..].iter().map(|keyed| keyed.record));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(memtable: &VectorMemtable, n: u64) {
        let key = n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();
        let seqno = SeqNo::new(n + 1).unwrap();
        let kind = nori_kv::Kind::Put;
        memtable.insert(EntryRef { key: &key, seqno, kind, expires: None, value: b"" });
    }

    #[test]
    fn runs_stay_few_when_reads_and_inserts_take_turns() {
        let memtable = VectorMemtable::default();
        for n in 0..5_000 {
            put(&memtable, n);
            if n % 3 != 0 {
                assert!(memtable.get(&[], SeqNo::MAX).is_none());
                let state = memtable.state.read();
                assert!(state.tail.is_empty());
                let falls = |pair: &[Vec<Keyed>]| pair[0].len() > 2 * pair[1].len();
                assert!(state.runs.windows(2).all(falls), "after {n}");
            }
        }
    }

    #[test]
    fn sealing_leaves_one_run_in_order() {
        let memtable = VectorMemtable::default();
        for n in 0..1_000 {
            put(&memtable, n);
            if n % 300 == 0 {
                memtable.get(&[], SeqNo::MAX);
            }
        }
        memtable.seal();
        let state = memtable.state.read();
        assert_eq!((state.runs.len(), state.runs[0].len()), (1, 1_000));
        assert!(state.runs[0].is_sorted_by(|a, b| a.cmp(b).is_lt()));
    }
}
