//! The shape of the tree, which the suite cannot see.

use super::*;
use nori_kv::Kind;

fn put(memtable: &BpTreeMemtable, key: &[u8], seqno: u64) {
    let seqno = SeqNo::new(seqno).unwrap();
    memtable.insert(EntryRef { key, seqno, kind: Kind::Put, expires: None, value: b"" });
}

/// Checks every invariant of every node; answers with the number of records in leaves.
fn check(node: NodeRef<'_>, leaves: &mut usize) -> usize {
    node.assert_invariants();
    if node.is_leaf() {
        *leaves += 1;
        return node.count();
    }
    (0..=node.count()).map(|at| check(node.child(at).unwrap(), leaves)).sum()
}

#[test]
fn nodes_keep_their_invariants_whatever_the_order() {
    let orders: [fn(u64) -> u64; 4] = [
        |n| n,
        |n| u64::MAX - n,
        |n| n.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        |n| n % 7 * 1_000_000 + n,
    ];
    for order in orders {
        let memtable = BpTreeMemtable::default();
        for n in 0..30_000 {
            put(&memtable, format!("user{:020}", order(n)).as_bytes(), n + 1);
        }
        assert_eq!(check(memtable.root(), &mut 0), 30_000);
        assert_eq!(memtable.root().level(), 2, "a flat tree");
    }
}

#[test]
fn ascending_keys_leave_full_leaves() {
    let memtable = BpTreeMemtable::default();
    (0..10_000_u64).for_each(|n| put(&memtable, &n.to_be_bytes(), n + 1));
    let mut leaves = 0;
    let records = check(memtable.root(), &mut leaves);
    assert!(records / leaves >= CAPACITY - 2, "{records} records in {leaves} leaves");
}

#[test]
fn equal_prefixes_are_rare_below_the_edges() {
    // Keys that differ only far behind their start still compare by their inlined bytes.
    let memtable = BpTreeMemtable::default();
    for n in 0..20_000_u64 {
        let key = format!("a/long/path/that/all/share/{:012}", n.wrapping_mul(7919) % 1_000_000);
        put(&memtable, key.as_bytes(), n + 1);
    }
    let root = memtable.root();
    let inner = root.child(root.count() / 2).unwrap();
    let leaf = if inner.is_leaf() { inner } else { inner.child(inner.count() / 2).unwrap() };
    assert!(leaf.distinct_prefixes() == leaf.count());
}
