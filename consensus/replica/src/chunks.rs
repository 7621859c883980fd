//! What is remembered of identities, as rows: many answers to a row.
//!
//! A row for each answer would be half of all rows that a store of small values takes, and one more to take it away. So they stand in
//! **chunks**:
//!
//! 1. An answer goes behind those before it into the open chunk. Its row is the tail of the entry (see [`nori_kv::Replicated`]): the
//!    store writes it only where the entries end that a crash leaves.
//! 2. The answer that makes it full puts the row into the batch of its entry, under the same key; the next begins another chunk, which is
//!    named after its first entry. A chunk that an earlier life left open is closed.
//! 3. A closed chunk of which no answer **counts** any more, for all are forgotten or a later one of the same session is elsewhere, goes
//!    with one of the next entries. Until then its row has what does not count: who reads rows takes the later answer, and goes by
//!    the floor, which is beside them.
//!
//! So of rows that stay there are never more than answers that count, and one. Those that go stay until later entries take them away, each of them so many: where
//! no entry follows they stay. Chunks end where lives end: replicas have different ones, with the same answers in the same order. Which answers count is not
//! decided here.

use crate::codec::{put_bytes, take_bytes};
use crate::error::ReplicaError;
use crate::identities::Remembered;
use crate::rows;
use bytes::Bytes;
use foldhash::HashMap;
use nori_consensus::Index;
use nori_kv::WriteBatch;

/// So many answers make a chunk full: its row is copied once for each of them.
const ANSWERS_MAX: usize = 32;

/// One entry takes away at most so many rows; the next one goes on.
const GONE_MAX: usize = 1_024;

/// The rows.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    /// How many answers count in each, by its first entry: `>= 1`, except in the open one.
    counting: HashMap<Index, usize>,
    open: Option<Open>,
    /// Rows of which nothing counts.
    gone: Vec<Index>,
}

/// The chunk that grows: `1 <= answers < ANSWERS_MAX` between entries.
#[derive(Debug)]
struct Open {
    first: Index,
    answers: usize,
    value: Vec<u8>,
}

/// What an entry does to the rows.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    /// The bytes of the open chunk before the entry added to it.
    added: Option<usize>,
    /// So many of `gone` are taken away.
    gone: usize,
}

impl Chunks {
    /// Reads the row of an earlier life: its answers, oldest first, with the chunk's name.
    ///
    /// # Errors
    ///
    /// If this program writes no such row.
    pub(crate) fn read(
        key: &[u8],
        value: &[u8],
        mut take: impl FnMut(Index, &[u8], Remembered),
    ) -> Result<Index, ReplicaError> {
        let damaged = || ReplicaError::Row { what: "answers to identities" };
        let first = Index(rows::of_chunk(key).ok_or_else(damaged)?);
        let mut from = Bytes::copy_from_slice(value);
        while !from.is_empty() {
            let name = take_bytes(&mut from).ok_or_else(damaged)?;
            take(first, &name, Remembered::take(&mut from).ok_or_else(damaged)?);
        }
        Ok(first)
    }

    /// The rows of earlier lives are `all`; those of answers that count are in `counting`, as often as there are such answers.
    pub(crate) fn found(&mut self, all: Vec<Index>, counting: impl Iterator<Item = Index>) {
        counting.for_each(|first| self.count(first));
        self.gone = all.into_iter().filter(|first| !self.counting.contains_key(first)).collect();
    }

    /// The chunk that takes the answer of entry `at`.
    pub(crate) fn next(&self, at: Index) -> Index {
        self.open.as_ref().map_or(at, |open| open.first)
    }

    /// Drafts the rows of entry `at`, which gave that answer: into `batch` what is for good, into `tail` what grows. Then the
    /// entry is applied, and [`Self::keep`] follows, or [`Self::undo`].
    pub(crate) fn draft(
        &mut self,
        at: Index,
        answer: Option<(&[u8], &Remembered)>,
        batch: &mut WriteBatch,
        tail: &mut WriteBatch,
    ) -> Draft {
        let added = answer.map(|(name, answer)| self.add(at, name, answer));
        if added.is_some() {
            self.write(batch, tail);
        }
        let gone = self.gone.len().min(GONE_MAX);
        for first in &self.gone[..gone] {
            batch.delete(&rows::chunk_key(first.0));
        }
        Draft { added, gone }
    }

    fn add(&mut self, at: Index, name: &[u8], answer: &Remembered) -> usize {
        let open = self.open.get_or_insert(Open { first: at, answers: 0, value: Vec::new() });
        let before = open.value.len();
        put_bytes(&mut open.value, name);
        answer.put(&mut open.value);
        open.answers += 1;
        before
    }

    fn write(&self, batch: &mut WriteBatch, tail: &mut WriteBatch) {
        tail.clear();
        if let Some(open) = &self.open {
            let into = if open.answers == ANSWERS_MAX { batch } else { tail };
            into.put(&rows::chunk_key(open.first.0), &open.value);
        }
    }

    /// The entry is applied, and its answer counts.
    pub(crate) fn keep(&mut self, draft: Draft) {
        self.gone.drain(..draft.gone);
        if let Some(first) = self.open.as_ref().map(|open| open.first)
            && draft.added.is_some()
        {
            self.count(first);
        }
        if let Some(open) = self.open.take_if(|open| open.answers == ANSWERS_MAX)
            && !self.counting.contains_key(&open.first)
        {
            self.gone.push(open.first);
        }
    }

    /// The entry is not; `tail` is what it was before.
    pub(crate) fn undo(&mut self, draft: Draft, tail: &mut WriteBatch) {
        let Some(bytes) = draft.added else { return };
        if let Some(open) = &mut self.open {
            open.answers -= 1;
            open.value.truncate(bytes);
        }
        self.open.take_if(|open| open.answers == 0);
        self.write(&mut WriteBatch::new(), tail);
    }

    fn count(&mut self, first: Index) {
        *self.counting.entry(first).or_insert(0) += 1;
    }

    /// One that did does not any more.
    pub(crate) fn discount(&mut self, first: Index) {
        let Some(counting) = self.counting.get_mut(&first) else { return };
        *counting -= 1;
        if *counting == 0 {
            self.counting.remove(&first);
            if self.open.as_ref().is_none_or(|open| open.first != first) {
                self.gone.push(first);
            }
        }
    }
}
