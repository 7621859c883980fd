//! The shape of the list, which the suite cannot see, and inserts that meet at one place.

use super::*;
use std::thread;

fn put(memtable: &SkipListMemtable, key: &[u8], seqno: u64) {
    let seqno = SeqNo::new(seqno).unwrap();
    let kind = nori_kv::Kind::Put;
    memtable.insert(EntryRef { key, seqno, kind, expires: None, value: b"" });
}

/// The records of a level, in the order of its links.
fn level(memtable: &SkipListMemtable, level: usize) -> Vec<(Vec<u8>, SeqNo)> {
    let mut at = memtable.head();
    let mut all = Vec::new();
    // SAFETY: every node is reached on this very level.
    while let Some(next) = unsafe { at.next(level) } {
        // SAFETY: the memtable is here.
        let (key, seqno) = unsafe { next.record().position() };
        all.push((key.to_vec(), seqno));
        at = next;
    }
    all
}

/// Every level is in strict order and holds only what the one below holds.
fn check(memtable: &SkipListMemtable) -> Vec<usize> {
    let levels: Vec<_> = (0..TOWER_MAX).map(|at| level(memtable, at)).collect();
    for records in &levels {
        assert!(records.is_sorted_by(|(a, m), (b, n)| a.cmp(b).then(n.cmp(m)).is_lt()));
    }
    for pair in levels.windows(2) {
        let mut below = pair[0].iter();
        assert!(pair[1].iter().all(|record| below.any(|other| other == record)));
    }
    levels.iter().map(Vec::len).collect()
}

#[test]
fn each_level_holds_half_of_the_one_below() {
    let memtable = SkipListMemtable::default();
    for n in 0..100_000_u64 {
        put(&memtable, &n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes(), n + 1);
    }
    let counts = check(&memtable);
    assert_eq!(counts[0], 100_000);
    for pair in counts[..10].windows(2) {
        let expected = pair[0] as f64 / 2.0;
        // Five standard deviations.
        let tolerance = 5.0 * (expected * 0.5).sqrt();
        assert!((pair[1] as f64 - expected).abs() < tolerance, "{counts:?}");
    }
}

#[test]
fn writers_that_meet_at_one_place_lose_nothing() {
    // All writers insert versions of three keys, so nearly every link is contended, at the front, in
    // the middle and at the end, and each writer's own order is against that of the list.
    const WRITERS: u64 = 4;
    const EACH: u64 = 5_000;
    for round in 0..4 {
        let memtable = SkipListMemtable::default();
        thread::scope(|scope| {
            for writer in 0..WRITERS {
                let memtable = &memtable;
                scope.spawn(move || {
                    for n in 0..EACH {
                        let key = [b"a", b"b", b"c"][((n + round) % 3) as usize];
                        let seqno = n * WRITERS + writer + 1;
                        put(memtable, key, seqno);
                        let at = SeqNo::new(seqno).unwrap();
                        let found = memtable.get(key, at).unwrap();
                        assert_eq!((found.key, found.seqno), (&key[..], at));
                    }
                });
            }
        });
        assert_eq!(check(&memtable)[0] as u64, WRITERS * EACH);
        assert_eq!(memtable.len() as u64, WRITERS * EACH);
    }
}

#[test]
fn a_backward_walk_reads_pieces_and_not_the_whole() {
    let memtable = Arc::new(SkipListMemtable::default());
    for n in 0..20_000_u64 {
        put(&memtable, &n.to_be_bytes(), n + 1);
    }
    let mut longest = 0;
    for n in (1..20_000_u64).step_by(37) {
        let mut out = Vec::new();
        memtable.before(Some((&n.to_be_bytes(), SeqNo::MAX)), &mut out);
        // SAFETY: the memtable is here.
        let (last, _) = unsafe { out.last().unwrap().position() };
        assert_eq!(last, (n - 1).to_be_bytes());
        longest = longest.max(out.len());
    }
    assert!(longest < 1_000, "{longest} records for one step");
}
