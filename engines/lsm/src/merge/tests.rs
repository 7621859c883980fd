//! Which children a skip moves, and where a turn goes after it.

use super::*;
use nori_kv::Kind;

/// A key and a sequence number.
type At = (u8, u64);

/// Entries in internal order, and how often it was sought.
struct Listed {
    entries: Vec<At>,
    /// The entry is `entries[place - 1]`; off the ends elsewhere.
    place: usize,
    seeks: usize,
}

fn seqno(value: u64) -> SeqNo {
    SeqNo::new(value).unwrap()
}

fn listed(entries: &[At]) -> Listed {
    Listed { entries: entries.to_vec(), place: 0, seeks: 0 }
}

impl EntryCursor for Listed {
    fn seek(&mut self, key: &[u8], at: SeqNo) -> Result<bool> {
        self.seeks += 1;
        let is_before = |(k, s): &At| (&[*k][..], at) < (key, seqno(*s));
        self.place = 1 + self.entries.partition_point(is_before);
        Ok(self.entry().is_some())
    }

    fn next(&mut self) -> Result<bool> {
        self.place = (self.place + 1).min(self.entries.len() + 1);
        Ok(self.entry().is_some())
    }

    fn prev(&mut self) -> Result<bool> {
        self.place = self.place.saturating_sub(1);
        Ok(self.entry().is_some())
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        let (key, at) = self.entries.get(self.place.checked_sub(1)?)?;
        let key = std::slice::from_ref(key);
        Some(EntryRef { key, seqno: seqno(*at), kind: Kind::Put, expires: None, value: b"" })
    }
}

fn at(merge: &MergeCursor<Listed>) -> Option<At> {
    merge.entry().map(|entry| (entry.key[0], entry.seqno.value()))
}

fn seeks(merge: &mut MergeCursor<Listed>) -> Vec<usize> {
    merge.children_mut().map(|child| std::mem::take(&mut child.seeks)).collect()
}

/// Two children with odd and even versions of the key 5, and one with its neighbours.
fn merge() -> MergeCursor<Listed> {
    let of_five = |odd: u64| -> Vec<At> { (0..50).rev().map(|n| (5, 1 + 2 * n + odd)).collect() };
    let neighbours = [(4, 200), (6, 201)];
    MergeCursor::new([listed(&of_five(0)), listed(&of_five(1)), listed(&neighbours)])
}

#[test]
fn versions_are_skipped_forward_by_a_seek_of_those_that_stand_on_them() {
    let mut merge = merge();
    merge.seek(&[5], SeqNo::MAX).unwrap();
    assert_eq!(at(&merge), Some((5, 100)));
    seeks(&mut merge);
    assert!(merge.skip_to(&[5], seqno(41)).unwrap());
    assert_eq!((at(&merge), seeks(&mut merge)), (Some((5, 41)), vec![1, 1, 0]));
    assert!(merge.next().unwrap());
    assert_eq!(at(&merge), Some((5, 40)));
    assert!(merge.skip_to(&[5], SeqNo::ZERO).unwrap());
    assert_eq!((at(&merge), seeks(&mut merge)), (Some((6, 201)), vec![1, 1, 0]));
    assert!(merge.prev().unwrap());
    assert_eq!(at(&merge), Some((5, 1)), "a turn finds what was skipped");
}

#[test]
fn versions_are_skipped_backward_to_the_newest_of_each_child_and_then_all() {
    let mut merge = merge();
    merge.seek_before(&[6]).unwrap();
    assert_eq!(at(&merge), Some((5, 1)));
    seeks(&mut merge);
    assert!(merge.skip_to(&[5], seqno(41)).unwrap());
    assert_eq!((at(&merge), seeks(&mut merge)), (Some((5, 40)), vec![1, 1, 0]));
    assert!(merge.prev().unwrap() && at(&merge) == Some((5, 41)));
    assert!(merge.prev().unwrap() && at(&merge) == Some((5, 42)));
    assert!(merge.skip_before(&[5]).unwrap());
    assert_eq!((at(&merge), seeks(&mut merge)), (Some((4, 200)), vec![1, 1, 0]));
    assert!(merge.next().unwrap());
    assert_eq!(at(&merge), Some((5, 100)), "a turn finds what was skipped");
}

#[test]
fn skipping_the_last_key_ends_off_the_end() {
    let mut merge = MergeCursor::new([listed(&[(5, 2)]), listed(&[(5, 1)])]);
    assert!(merge.next().unwrap() && !merge.skip_to(&[5], SeqNo::ZERO).unwrap());
    assert!(at(&merge).is_none() && !merge.next().unwrap());
    assert!(merge.prev().unwrap() && at(&merge) == Some((5, 1)));
    assert!(!merge.skip_before(&[5]).unwrap() && at(&merge).is_none());
    assert!(merge.next().unwrap() && at(&merge) == Some((5, 2)));
}
