//! The logs of a few shards as they should be, and changes of them that are drawn.

use crate::{Batch, NodeLog};
use bytes::Bytes;
use nori_consensus::chance::Chance;
use nori_consensus::{Entry, EntryKind, Index, LogId, ShardId, Slice, Store, Term, WriteId};
use std::collections::BTreeMap;

pub(super) const SHARDS: [ShardId; 3] = [ShardId(1), ShardId(2), ShardId(7)];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Model {
    shards: BTreeMap<ShardId, Shard>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Shard {
    hard_state: Bytes,
    base: LogId,
    entries: Vec<Entry>,
}

impl Shard {
    fn last(&self) -> LogId {
        self.entries.last().map_or(self.base, |entry| entry.id)
    }

    fn put(&mut self, store: &Store) {
        if let Some(hard_state) = &store.hard_state {
            self.hard_state = hard_state.clone();
        }
        if let Some(from) = store.truncate_from {
            self.entries.retain(|entry| entry.id.index < from);
        }
        self.entries.extend(store.entries.iter().cloned());
    }

    fn release(&mut self, through: Index) {
        let gone = self.entries.iter().take_while(|entry| entry.id.index <= through);
        self.base = gone.last().map_or(self.base, |entry| entry.id);
        self.entries.retain(|entry| entry.id.index > through);
    }
}

/// A few entries behind `after`, in its term or a later one.
fn draw_entries(after: LogId, chance: &mut Chance) -> Vec<Entry> {
    let term = Term(after.term.0.max(1) + chance.below(3) / 2);
    (1..=chance.between(1, 4))
        .map(|n| {
            let payload = vec![chance.below(256) as u8; chance.between(1, 700) as usize];
            let id = LogId { term, index: Index(after.index.0 + n) };
            Entry { id, kind: EntryKind::Data, payload: payload.into() }
        })
        .collect()
}

fn store(truncate_from: Option<Index>, entries: Vec<Entry>, hard_state: Option<Bytes>) -> Store {
    Store { write: WriteId(1), hard_state, truncate_from, entries, sync: true }
}

impl Model {
    /// A batch of changes of some shards, and what they come to.
    pub(super) fn draw(&self, chance: &mut Chance) -> (Batch, Self) {
        let (mut batch, mut next) = (Batch::default(), self.clone());
        for shard in SHARDS {
            if chance.hits(500_000) {
                next.draw_of(shard, chance, &mut batch);
            }
        }
        (batch, next)
    }

    fn draw_of(&mut self, shard: ShardId, chance: &mut Chance, batch: &mut Batch) {
        let model = self.shards.entry(shard).or_default();
        match chance.below(20) {
            0 => {
                batch.forget(shard);
                self.shards.remove(&shard);
            }
            1 => {
                let last = model.last();
                let to = LogId { term: last.term.next(), index: Index(last.index.0 + 10) };
                (model.base, model.entries) = (to, Vec::new());
                batch.reset(shard, to);
            }
            2..=6 => {
                let through = Index(chance.between(model.base.index.0, model.last().index.0));
                model.release(through);
                batch.release(shard, through);
            }
            7..=9 if !model.entries.is_empty() => {
                // The tail is another's.
                let at = chance.below(model.entries.len() as u64) as usize;
                let from = model.entries[at].id.index;
                let before = if at == 0 { model.base } else { model.entries[at - 1].id };
                let newer = LogId { term: model.last().term.next(), ..before };
                let entries =
                    if chance.hits(300_000) { Vec::new() } else { draw_entries(newer, chance) };
                let store = store(Some(from), entries, None);
                model.put(&store);
                batch.store(shard, store);
            }
            _ => {
                let hard_state =
                    chance.hits(300_000).then(|| vec![chance.below(256) as u8; 24].into());
                let entries = draw_entries(model.last(), chance);
                let store = store(None, entries, hard_state);
                model.put(&store);
                batch.store(shard, store);
            }
        }
    }

    /// What is in `log`.
    pub(super) fn of(log: &dyn NodeLog) -> Self {
        let read = |shard: ShardId| {
            let view = log.view(shard).expect("a view of a log that is there");
            let (first, last) = (view.first(), view.last());
            let before = Index(first.0 - 1);
            let base = LogId {
                term: view.term(before).expect("the term before the first entry"),
                index: before,
            };
            let (mut entries, mut from) = (Vec::new(), first);
            while from <= last.index {
                match view.slice(from, last.index.next(), 1_000) {
                    Slice::Ready(more) => {
                        from = Index(from.0 + more.len() as u64);
                        entries.extend(more);
                    }
                    Slice::Pending => {
                        assert!(log.fetch(shard).expect("a fetch"), "it was asked for");
                    }
                }
            }
            Shard { hard_state: log.hard_state(shard), base, entries }
        };
        let shards = log.shards().into_iter().map(|shard| (shard, read(shard)));
        // A shard of which nothing is known is none.
        Self { shards: shards.filter(|(_, shard)| *shard != Shard::default()).collect() }
    }

    fn known(&self) -> Self {
        let known = self.shards.iter().filter(|(_, shard)| **shard != Shard::default());
        Self { shards: known.map(|(id, shard)| (*id, shard.clone())).collect() }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        self.known() == other.known()
    }

    /// Whether a shard is the same in both.
    pub(super) fn has_same(&self, shard: ShardId, other: &Self) -> bool {
        self.known().shards.get(&shard) == other.known().shards.get(&shard)
    }

    pub(super) fn assert_is(&self, log: &dyn NodeLog) {
        assert_eq!(self.known(), Self::of(log));
    }
}

/// A state that is behind has what it lacks at hand after a recall.
///
/// # Panics
///
/// If it has not.
pub(super) fn assert_recalls(log: &dyn NodeLog, shard: ShardId, chance: &mut Chance) {
    let view = log.view(shard).expect("a view");
    let (first, last) = (view.first(), view.last().index);
    let applied = Index(chance.between(first.0 - 1, last.0));
    log.recall(shard, applied).expect("a recall");
    let mut from = applied.next();
    while from <= last {
        let Slice::Ready(entries) = view.slice(from, last.next(), usize::MAX) else {
            panic!("entry {from} of {shard} was recalled and is not at hand");
        };
        from = Index(from.0 + entries.len() as u64);
    }
    log.applied(shard, last);
}
