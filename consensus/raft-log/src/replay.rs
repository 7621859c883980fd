//! What the records of a log come to, when it is opened.
//!
//! Records are taken in order, from the oldest segment that is still there. Of a shard the beginning may be gone with older
//! segments; then what is still needed of it was written once more, as copies, before they went. So there may be gaps while
//! records are taken, and none at the end.

use crate::error::{LogError, Result};
use crate::record::{Body, Records};
use crate::shard::{Ground, Place, State};
use bytes::Bytes;
use nori_consensus::{Entry, Index, LogId, ShardId};
use std::collections::BTreeMap;
use std::path::Path;

/// The shards as far as the records were taken.
#[derive(Debug)]
pub(crate) struct Fold {
    shards: BTreeMap<ShardId, Found>,
    /// The number of the next record.
    pub(crate) next_record: u64,
}

#[derive(Debug, Default)]
struct Found {
    hard: (Bytes, u32),
    base: (LogId, u32),
    entries: BTreeMap<Index, (Entry, Place)>,
}

impl Fold {
    /// Of a log without records: the first has the number 1.
    pub(crate) fn new() -> Self {
        Self { shards: BTreeMap::new(), next_record: 1 }
    }

    /// Takes the records of a group, the first of which has the number `first`.
    pub(crate) fn take(
        &mut self,
        file: &Path,
        ground: Ground,
        (first, count): (u64, u32),
        payload: &Bytes,
    ) -> Result<()> {
        let damaged = |at: usize, what: &str| {
            Err(LogError::damaged(file, u64::from(ground.payload_at) + at as u64, what))
        };
        if first < self.next_record {
            return damaged(0, "the numbers of records go back");
        }
        let mut taken = 0;
        for record in Records::new(payload) {
            match record {
                Ok((_, shard, body)) => self.apply(shard, body, ground),
                Err((at, what)) => return damaged(at, what),
            }
            taken += 1;
        }
        if taken != count {
            return damaged(0, "a group has not as many records as it says");
        }
        self.next_record = first + u64::from(count);
        Ok(())
    }

    fn apply(&mut self, shard: ShardId, body: Body, ground: Ground) {
        if body == Body::Forget {
            self.shards.remove(&shard);
            return;
        }
        let found = self.shards.entry(shard).or_default();
        match body {
            Body::Entries { entries, is_copy } => {
                if !is_copy && let Some((first, _)) = entries.first() {
                    found.entries.split_off(&first.id.index);
                }
                for (entry, span) in entries {
                    let place = ground.place(entry.id.term, span);
                    if entry.id.index > found.base.0.index {
                        found.entries.insert(entry.id.index, (entry, place));
                    }
                }
            }
            Body::Cut(from) => drop(found.entries.split_off(&from)),
            Body::Promise(hard_state) => found.hard = (hard_state, ground.segment),
            Body::Release(through) => {
                found.entries = found.entries.split_off(&through.index.next());
                found.base = (through, ground.segment);
            }
            Body::Reset(to) => {
                found.entries.clear();
                found.base = (to, ground.segment);
            }
            Body::Forget => {}
        }
    }

    /// The logs of all shards.
    pub(crate) fn finish(self) -> Result<BTreeMap<ShardId, State>> {
        let finished = self.shards.into_iter().map(|(shard, found)| {
            let mut due = found.base.0.index.next();
            for index in found.entries.keys() {
                if *index != due {
                    let what = format!("entry {due} is missing, and {index} is there");
                    return Err(LogError::Gap { shard, what });
                }
                due = due.next();
            }
            let entries = found.entries.into_values().collect();
            Ok((shard, State::found(found.hard, found.base, entries)))
        });
        finished.collect()
    }
}
