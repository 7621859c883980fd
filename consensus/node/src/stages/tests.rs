//! The stages add up whatever order things happen in, and nothing is kept of what has ended.

use super::*;
use nori_consensus::{Entry, EntryKind, LogId, Term};
use nori_env::ManualClock;

const SHARD: ShardId = ShardId(3);
const ID: RequestId = RequestId(7);

struct Way {
    clock: ManualClock,
    following: Following,
}

impl Way {
    fn new() -> Self {
        let clock = ManualClock::default();
        Self { following: Following::new(Arc::new(clock.clone())), clock }
    }

    fn after(&mut self, millis: u64) -> &mut Following {
        self.clock.advance(Duration::from_millis(millis));
        &mut self.following
    }

    fn stored(&mut self, write: u64, through: u64) {
        let id = LogId { term: Term(1), index: Index(through) };
        let entry = Entry { id, kind: EntryKind::Data, payload: bytes::Bytes::new() };
        let store = Store {
            write: WriteId(write),
            hard_state: None,
            truncate_from: None,
            entries: vec![entry],
            sync: false,
        };
        self.following.stored(SHARD, &store);
    }

    /// A write with the place 5 that the write 2 of the log has.
    fn appended() -> Self {
        let mut way = Self::new();
        way.following.begin(SHARD, ID);
        way.stored(1, 4);
        way.following.placed(SHARD, &[(RequestId(6), Index(4)), (ID, Index(5))]);
        way.after(1).appended();
        way.stored(2, 5);
        way.after(1).appended();
        way
    }
}

fn millis(stages: [u64; 5]) -> Option<Stages> {
    let [append, sync, replicate, apply, reply] = stages.map(Duration::from_millis);
    Some(Stages { append, sync, replicate, apply, reply })
}

#[test]
fn each_stage_ends_where_the_next_begins() {
    let mut way = Way::appended();
    way.after(1).synced(SHARD, WriteId(1));
    way.after(3).synced(SHARD, WriteId(2));
    way.after(1).committed(SHARD, Index(4));
    way.after(7).committed(SHARD, Index(9));
    way.after(16).applied(SHARD, ID);
    way.after(32).synced(SHARD, WriteId(3));
    let stages = way.following.end(SHARD, ID);
    assert_eq!(stages, millis([2, 4, 8, 16, 32]));
    assert_eq!(stages.unwrap().total(), Duration::from_millis(62));
    assert_eq!(way.following.end(SHARD, ID), None, "it is asked for once");
    assert!(way.following.of.is_empty());
}

#[test]
fn a_commit_without_this_nodes_own_sync_waits_for_no_sync() {
    let mut way = Way::appended();
    way.after(5).committed(SHARD, Index(5));
    way.after(1).synced(SHARD, WriteId(2));
    way.after(1).applied(SHARD, ID);
    assert_eq!(way.following.end(SHARD, ID), millis([2, 5, 0, 2, 0]));
}

#[test]
fn what_was_refused_or_is_not_followed_has_no_stages() {
    let mut way = Way::new();
    way.following.begin(SHARD, ID);
    way.following.applied(SHARD, ID);
    assert_eq!(way.following.end(SHARD, ID), None, "it had no place in the log");
    assert_eq!(way.following.end(ShardId(4), ID), None);
    assert!(way.following.of.is_empty());
}

#[test]
fn no_more_than_so_many_are_followed_and_those_without_an_answer_make_room() {
    let mut way = Way::new();
    for id in 0..2 * FOLLOWED_MAX as u64 {
        way.following.begin(SHARD, RequestId(id));
    }
    assert_eq!(way.following.of[&SHARD].len(), FOLLOWED_MAX);
    way.after(60_000).begin(SHARD, ID);
    assert_eq!(way.following.of[&SHARD].len(), 1);
}
