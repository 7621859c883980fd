//! What every memtable must keep, as checks that panic when it is not kept.
//!
//! An implementation calls [`memtable_keeps_its_contract`] in a test. Everything but the threads is
//! seeded, so a failure repeats; what threads do is checked for any interleaving.

use crate::{Memtable, MemtableFactory};
use nori_kv::{EntryCursor, EntryRef, Kind, SeqNo, Tick};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Runs all given pieces of work at the same time and returns when all are done. Threads are not
/// this crate's to make, so the test that runs the suite brings them.
pub type Together<'t> = &'t dyn Fn(Vec<Box<dyn FnOnce() + Send>>);

/// What an entry holds beside its position.
type Content = (Kind, Option<Tick>, Vec<u8>);
/// The truth: entries in internal order.
type Model = BTreeMap<(Vec<u8>, Reverse<SeqNo>), Content>;

/// Panics unless the memtables of `factory` keep the contract of [`Memtable`].
pub fn memtable_keeps_its_contract(factory: &dyn MemtableFactory, together: Together<'_>) {
    an_empty_one_is_empty(factory);
    for (seed, keys) in KEY_MAKERS.iter().enumerate() {
        for entries in [1, 2, 63, 64, 65, 130, 5_000] {
            agrees_with_a_sorted_map(factory, *keys, entries, seed as u64);
        }
    }
    many_versions_of_one_key_stay_in_order(factory);
    bytes_grow_with_what_is_held(factory);
    a_cursor_keeps_what_it_was_opened_on(factory);
    a_returned_insert_is_seen_by_all_threads(factory, together);
    a_reader_never_sees_a_gap_below_what_is_published(factory, together);
}

/// Makes the key of the `i`-th entry from the number `i` and a random one.
type KeyMaker = fn(u64, u64) -> Vec<u8>;

const KEY_MAKERS: [KeyMaker; 7] = [
    |i, _| i.to_be_bytes().to_vec(),
    |i, _| (u64::MAX - i).to_be_bytes().to_vec(),
    |_, random| format!("user{random:020}").into_bytes(),
    // Few keys, so many versions of each.
    |_, random| format!("a rather long common start/{:02}", random % 30).into_bytes(),
    // Keys that begin with each other, and zeros where padding would be.
    |_, random| vec![(random % 3) as u8 * 127; (random / 3 % 20) as usize],
    // Equal in the first and in the last sixteen bytes.
    |_, random| [&[b'x'; 16][..], &random.to_le_bytes()[..3], &[b'y'; 16]].concat(),
    |_, random| random.to_be_bytes()[..(random % 4) as usize].to_vec(),
];

fn an_empty_one_is_empty(factory: &dyn MemtableFactory) {
    let memtable = factory.create();
    assert!(memtable.is_empty());
    assert!(memtable.get(b"", SeqNo::MAX).is_none());
    assert!(memtable.bytes() < 64 << 10, "an idle store has a memtable too");
    let mut cursor = memtable.cursor();
    assert!(!cursor.next().expect("in memory") && cursor.entry().is_none());
    assert!(!cursor.prev().expect("in memory") && cursor.entry().is_none());
    assert!(!cursor.seek(b"k", SeqNo::MAX).expect("in memory") && cursor.entry().is_none());
}

fn agrees_with_a_sorted_map(
    factory: &dyn MemtableFactory,
    keys: KeyMaker,
    entries: u64,
    seed: u64,
) {
    let mut random = Random(seed << 32 | entries);
    let memtable = factory.create();
    let mut model = Model::new();
    let mut made: Vec<Vec<u8>> = Vec::new();
    for i in 0..entries {
        let key = keys(i, random.next());
        // Sequence numbers are unique but come in a shuffled order.
        let seqno = seqno(1 + (i ^ 5));
        let value = vec![random.next() as u8; (random.next() % 40) as usize];
        let kind = if random.next().is_multiple_of(4) { Kind::Delete } else { Kind::Put };
        let expires = random.next().is_multiple_of(8).then_some(Tick(i));
        memtable.insert(EntryRef { key: &key, seqno, kind, expires, value: &value });
        model.insert((key.clone(), Reverse(seqno)), (kind, expires, value));
        made.push(key);
    }
    assert_eq!(memtable.len(), model.len());
    for sealed in [false, true] {
        if sealed {
            memtable.seal();
            memtable.seal();
        }
        gets_agree(memtable.as_ref(), &model, &made, &mut random);
        scans_agree(&memtable, &model);
        walks_agree(&memtable, &model, &made, &mut random);
    }
}

fn gets_agree(memtable: &dyn Memtable, model: &Model, made: &[Vec<u8>], random: &mut Random) {
    for key in made {
        let mut absent = key.clone();
        absent.push(random.next() as u8);
        for at in [seqno(0), seqno(random.next() % (made.len() as u64 + 8)), SeqNo::MAX] {
            for key in [key, &absent] {
                let truth = model.range((key.clone(), Reverse(at))..).next();
                let truth = truth.filter(|((found, _), _)| found == key).map(entry_of);
                assert_eq!(memtable.get(key, at), truth, "get {key:?} at {at}");
            }
        }
    }
}

fn entry_of<'m>(
    ((key, Reverse(seqno)), (kind, expires, value)): (&'m (Vec<u8>, Reverse<SeqNo>), &'m Content),
) -> EntryRef<'m> {
    EntryRef { key, seqno: *seqno, kind: *kind, expires: *expires, value }
}

fn scans_agree(memtable: &Arc<dyn Memtable>, model: &Model) {
    let truth: Vec<EntryRef<'_>> = model.iter().map(entry_of).collect();
    let mut cursor = Arc::clone(memtable).cursor();
    for entry in &truth {
        assert!(cursor.next().expect("in memory"));
        assert_eq!(cursor.entry().as_ref(), Some(entry));
    }
    assert!(!cursor.next().expect("in memory") && !cursor.next().expect("in memory"));
    for entry in truth.iter().rev() {
        assert!(cursor.prev().expect("in memory"));
        assert_eq!(cursor.entry().as_ref(), Some(entry));
    }
    assert!(!cursor.prev().expect("in memory") && !cursor.prev().expect("in memory"));
    assert_eq!(cursor.next().expect("in memory"), !truth.is_empty());
    assert_eq!(cursor.entry().as_ref(), truth.first());
}

/// Seeks and steps at random, beside an index into the sorted truth: -1 is off the start, the length
/// is off the end.
fn walks_agree(memtable: &Arc<dyn Memtable>, model: &Model, made: &[Vec<u8>], random: &mut Random) {
    let truth: Vec<EntryRef<'_>> = model.iter().map(entry_of).collect();
    let mut cursor = Arc::clone(memtable).cursor();
    assert!(cursor.prev().expect("in memory"), "a new cursor is off the end as well");
    let end = truth.len() as isize;
    let mut at = end - 1;
    for _ in 0..400 {
        let moved = match random.next() % 5 {
            0 => {
                let key = &made[(random.next() % made.len() as u64) as usize];
                let key = &key[..key.len() - (random.next() as usize % 2).min(key.len())];
                let seqno = seqno(random.next() % (made.len() as u64 + 2));
                let sought = (key.to_vec(), Reverse(seqno));
                at =
                    truth.partition_point(|e| (e.key.to_vec(), Reverse(e.seqno)) < sought) as isize;
                cursor.seek(key, seqno)
            }
            1 | 2 => {
                at = (at + 1).min(end);
                cursor.next()
            }
            _ => {
                at = (at - 1).max(-1);
                cursor.prev()
            }
        };
        let there = usize::try_from(at).ok().and_then(|at| truth.get(at));
        assert_eq!(cursor.entry().as_ref(), there, "at {at} of {end}");
        assert_eq!(moved.expect("in memory"), there.is_some());
    }
}

fn many_versions_of_one_key_stay_in_order(factory: &dyn MemtableFactory) {
    let memtable = factory.create();
    for n in 1..=3_000 {
        for key in [&b"before"[..], b"key", b"key\0"] {
            let seqno = seqno(n * 3 + key.len() as u64 % 3);
            memtable.insert(EntryRef { key, seqno, kind: Kind::Put, expires: None, value: b"v" });
        }
    }
    for n in (1..=3_000).step_by(7) {
        let found = memtable.get(b"key", seqno(n * 3 + 2)).expect("a version is old enough");
        assert_eq!((found.key, found.seqno), (&b"key"[..], seqno(n * 3)));
    }
    assert!(memtable.get(b"key", seqno(2)).is_none(), "all versions are newer");
}

fn bytes_grow_with_what_is_held(factory: &dyn MemtableFactory) {
    let memtable = factory.create();
    let empty = memtable.bytes();
    let mut random = Random(3);
    let value = [1; 100];
    for n in 0..50_000 {
        let key = random.next().to_be_bytes();
        let seqno = seqno(n + 1);
        memtable.insert(EntryRef {
            key: &key,
            seqno,
            kind: Kind::Put,
            expires: None,
            value: &value,
        });
    }
    let held = memtable.bytes() - empty;
    assert!(held >= 50_000 * 108, "{held} bytes are less than the keys and values");
    assert!(held <= 50_000 * (108 + 120), "{held} bytes are more than an index can need");
}

fn a_cursor_keeps_what_it_was_opened_on(factory: &dyn MemtableFactory) {
    let memtable = factory.create();
    let put = |n: u64| {
        let (key, seqno) = (n.to_be_bytes(), seqno(n + 1));
        memtable.insert(EntryRef { key: &key, seqno, kind: Kind::Put, expires: None, value: &key });
    };
    (0..2_000).map(|n| n * 2).for_each(put);
    let mut forward = Arc::clone(&memtable).cursor();
    let mut backward = Arc::clone(&memtable).cursor();
    let (mut seen_forward, mut seen_backward) = (Vec::new(), Vec::new());
    for n in 0..2_000_u64 {
        put(n * 2 + 1); // entries appear around both cursors while they move
        assert!(forward.next().expect("in memory") && backward.prev().expect("in memory"));
        for (cursor, seen) in [(&forward, &mut seen_forward), (&backward, &mut seen_backward)] {
            seen.push(key_of(cursor.entry().expect("there is one")));
        }
    }
    while forward.next().expect("in memory") {
        seen_forward.push(key_of(forward.entry().expect("there is one")));
    }
    while backward.prev().expect("in memory") {
        seen_backward.push(key_of(backward.entry().expect("there is one")));
    }
    drop(memtable);
    seen_backward.reverse();
    for seen in [seen_forward, seen_backward] {
        assert!(seen.is_sorted_by(|a, b| a < b), "in order, each once");
        let even = seen.iter().filter(|n| n.is_multiple_of(2)).count();
        assert_eq!(even, 2_000, "what was there when the cursor was opened");
    }
}

fn key_of(entry: EntryRef<'_>) -> u64 {
    u64::from_be_bytes(entry.key.try_into().expect("the keys of this test have eight bytes"))
}

/// Four writers; each reads its own writes back at once and in the end everybody's.
fn a_returned_insert_is_seen_by_all_threads(factory: &dyn MemtableFactory, together: Together<'_>) {
    const EACH: u64 = 6_000;
    let memtable = factory.create();
    let writer = |w: u64| {
        let memtable = Arc::clone(&memtable);
        let work = move || {
            let mut random = Random(w);
            for n in 0..EACH {
                // Neighbours of other writers' keys, in an order of its own.
                let key = (random.next() << 2 | w).to_be_bytes();
                let seqno = seqno(n * 4 + w + 1);
                let entry =
                    EntryRef { key: &key, seqno, kind: Kind::Put, expires: None, value: &key };
                memtable.insert(entry);
                assert_eq!(memtable.get(&key, SeqNo::MAX), Some(entry));
            }
        };
        Box::new(work) as Box<dyn FnOnce() + Send>
    };
    together((0..4).map(writer).collect());
    assert_eq!(memtable.len() as u64, 4 * EACH);
    for w in 0..4 {
        let mut random = Random(w);
        for _ in 0..EACH {
            let key = (random.next() << 2 | w).to_be_bytes();
            assert!(memtable.get(&key, SeqNo::MAX).is_some_and(|entry| entry.value == key));
        }
    }
    let mut cursor = Arc::clone(&memtable).cursor();
    let mut seen = Vec::new();
    while cursor.next().expect("in memory") {
        seen.push(key_of(cursor.entry().expect("there is one")));
    }
    assert!(seen.len() as u64 == 4 * EACH && seen.is_sorted_by(|a, b| a < b));
}

/// One writer publishes after each insert how far it is; readers check that everything up to there is
/// found by get and by cursors of both directions, while nodes are split under them.
fn a_reader_never_sees_a_gap_below_what_is_published(
    factory: &dyn MemtableFactory,
    together: Together<'_>,
) {
    const ALL: u64 = 20_000;
    let memtable = factory.create();
    let published = Arc::new(AtomicU64::new(0));
    // An odd multiplier permutes the numbers, so the n-th key is known to the readers.
    let key_at = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes();

    let (into, done) = (Arc::clone(&memtable), Arc::clone(&published));
    let write = move || {
        for n in 0..ALL {
            let (key, seqno) = (key_at(n), seqno(n + 1));
            into.insert(EntryRef { key: &key, seqno, kind: Kind::Put, expires: None, value: &key });
            done.store(n + 1, Ordering::Release);
        }
    };
    let (of, until) = (Arc::clone(&memtable), Arc::clone(&published));
    let point_reads = move || {
        let mut random = Random(1);
        while until.load(Ordering::Acquire) < ALL {
            let visible = until.load(Ordering::Acquire);
            for _ in 0..50.min(visible) {
                let key = key_at(random.next() % visible);
                let found = of.get(&key, seqno(visible)).expect("published");
                assert_eq!((found.key, found.value), (&key[..], &key[..]));
            }
        }
    };
    let (of, until) = (Arc::clone(&memtable), Arc::clone(&published));
    let scans = move || {
        while until.load(Ordering::Acquire) < ALL {
            let visible = until.load(Ordering::Acquire);
            for backward in [false, true] {
                let seen = visible_keys(Arc::clone(&of).cursor().as_mut(), backward, visible);
                assert_eq!(seen, visible, "entries of {visible} published ones");
            }
        }
    };
    together(vec![Box::new(write), Box::new(point_reads), Box::new(scans)]);
}

/// Counts the entries up to the sequence number `visible` and checks their order.
fn visible_keys(cursor: &mut dyn EntryCursor, backward: bool, visible: u64) -> u64 {
    let (mut seen, mut last) = (0, None);
    while if backward { cursor.prev() } else { cursor.next() }.expect("in memory") {
        let entry = cursor.entry().expect("there is one");
        let key = key_of(entry);
        assert!(last.is_none_or(|last| if backward { key < last } else { last < key }));
        last = Some(key);
        seen += u64::from(entry.seqno <= seqno(visible));
    }
    seen
}

fn seqno(value: u64) -> SeqNo {
    SeqNo::new(value).expect("the suite uses small numbers")
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
