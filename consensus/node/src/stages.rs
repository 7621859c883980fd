//! Where the time of a write goes, from when it is handed in to when its answer is handed on.
//!
//! Whoever drives the node follows some of its writes ([`Following::begin`]); of the others nothing is noted. The stages follow each other without a gap:
//!
//! | stage | it ends when |
//! |---|---|
//! | `append` | the batch with the entry is appended to the log of this node |
//! | `sync` | this node's log has it safely, or it is committed without that |
//! | `replicate` | it is committed: a majority has it |
//! | `apply` | the state has it, and the answer is known |
//! | `reply` | the answer is handed on |
//!
//! The protocol sends an entry to others while this node's own sync goes on, so `replicate` is what waiting for others adds to `sync`, and not how long they took.
//! The times are those of the clock that the node's parts have, read only for writes that are followed; nothing hangs on them.

use nori_consensus::{Index, ShardId, Store, WriteId};
use nori_env::{Clock, Instant};
use norikv_replica::RequestId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Writes of a shard that are followed at once. More are not: those that are say enough.
const FOLLOWED_MAX: usize = 256;
/// A write without an answer for so long will have none.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// How long each stage of a write took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Until its batch was appended.
    pub append: Duration,
    /// Until this node's log had it safely, as far as that was waited for.
    pub sync: Duration,
    /// Until a majority had it.
    pub replicate: Duration,
    /// Until the state had it.
    pub apply: Duration,
    /// Until its answer was handed on.
    pub reply: Duration,
}

impl Stages {
    /// All of them, in order, with their names.
    pub fn named(&self) -> [(&'static str, Duration); 5] {
        [
            ("append", self.append),
            ("sync", self.sync),
            ("replicate", self.replicate),
            ("apply", self.apply),
            ("reply", self.reply),
        ]
    }

    /// All of them together.
    pub fn total(&self) -> Duration {
        self.named().iter().map(|(_, took)| *took).sum()
    }
}

/// A write that is followed: what has happened to it, and when.
struct Followed {
    id: RequestId,
    begun: Instant,
    /// Its place in the log, once it has one.
    index: Option<Index>,
    /// The write that has its entry.
    write: Option<WriteId>,
    appended: Option<Instant>,
    synced: Option<Instant>,
    committed: Option<Instant>,
    applied: Option<Instant>,
}

/// The writes that are followed.
pub(crate) struct Following {
    clock: Arc<dyn Clock>,
    /// Each in order of `begun`; none is empty.
    of: BTreeMap<ShardId, VecDeque<Followed>>,
}

impl Following {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, of: BTreeMap::new() }
    }

    /// Follows a write from now on.
    pub(crate) fn begin(&mut self, shard: ShardId, id: RequestId) {
        let begun = self.clock.now();
        let of_shard = self.of.entry(shard).or_default();
        let is_lost = |first: &mut Followed| begun.since(first.begun) >= LOST_AFTER;
        while of_shard.pop_front_if(is_lost).is_some() {}
        if of_shard.len() < FOLLOWED_MAX {
            let (index, write) = (None, None);
            let (appended, synced, committed, applied) = (None, None, None, None);
            let followed =
                Followed { id, begun, index, write, appended, synced, committed, applied };
            of_shard.push_back(followed);
        }
    }

    /// These writes have their places in the log.
    pub(crate) fn placed(&mut self, shard: ShardId, placed: &[(RequestId, Index)]) {
        let Some(of_shard) = self.of.get_mut(&shard) else { return };
        for (id, index) in placed {
            if let Some(followed) = of_shard.iter_mut().find(|followed| followed.id == *id) {
                followed.index = Some(*index);
            }
        }
    }

    /// This goes into the batch that is appended next.
    pub(crate) fn stored(&mut self, shard: ShardId, store: &Store) {
        let Some(last) = store.entries.last().map(|entry| entry.id.index) else { return };
        for followed in self.of.get_mut(&shard).into_iter().flatten() {
            if followed.write.is_none() && followed.index.is_some_and(|index| index <= last) {
                followed.write = Some(store.write);
            }
        }
    }

    /// The batch is appended.
    pub(crate) fn appended(&mut self) {
        let all = self.of.values_mut().flatten();
        let is_of_it = |followed: &&mut Followed| followed.write.is_some();
        stamp(&*self.clock, all.filter(is_of_it).map(|followed| &mut followed.appended));
    }

    /// Everything up to the write `write` is safe here.
    pub(crate) fn synced(&mut self, shard: ShardId, write: WriteId) {
        let all = self.of.get_mut(&shard).into_iter().flatten();
        let is_safe = |followed: &&mut Followed| followed.write.is_some_and(|of| of <= write);
        stamp(&*self.clock, all.filter(is_safe).map(|followed| &mut followed.synced));
    }

    /// Everything up to `through` may be applied.
    pub(crate) fn committed(&mut self, shard: ShardId, through: Index) {
        let all = self.of.get_mut(&shard).into_iter().flatten();
        let is_committed =
            |followed: &&mut Followed| followed.index.is_some_and(|index| index <= through);
        stamp(&*self.clock, all.filter(is_committed).map(|followed| &mut followed.committed));
    }

    /// The request has its answer.
    pub(crate) fn applied(&mut self, shard: ShardId, id: RequestId) {
        let all = self.of.get_mut(&shard).into_iter().flatten();
        let is_it = |followed: &&mut Followed| followed.id == id;
        stamp(&*self.clock, all.filter(is_it).map(|followed| &mut followed.applied));
    }

    /// Where its time went, up to now; `None` if it was not followed, or did not go all the way.
    pub(crate) fn end(&mut self, shard: ShardId, id: RequestId) -> Option<Stages> {
        let of_shard = self.of.get_mut(&shard)?;
        let place = of_shard.iter().position(|followed| followed.id == id);
        let followed = place.and_then(|place| of_shard.remove(place));
        if of_shard.is_empty() {
            self.of.remove(&shard);
        }
        followed?.stages(self.clock.now())
    }
}

/// Notes the present where nothing is noted. Of many at once the clock is read once, and of none not at all.
fn stamp<'f>(clock: &dyn Clock, moments: impl Iterator<Item = &'f mut Option<Instant>>) {
    let mut now = None;
    for moment in moments.filter(|moment| moment.is_none()) {
        *moment = Some(*now.get_or_insert_with(|| clock.now()));
    }
}

impl Followed {
    fn stages(&self, now: Instant) -> Option<Stages> {
        let appended = self.appended?;
        let (committed, applied) = (self.committed?.max(appended), self.applied?);
        let synced = self.synced.map_or(committed, |at| at.clamp(appended, committed));
        Some(Stages {
            append: appended.since(self.begun),
            sync: synced.since(appended),
            replicate: committed.since(synced),
            apply: applied.since(committed),
            reply: now.since(applied),
        })
    }
}

#[cfg(test)]
mod tests;
