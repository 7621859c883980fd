//! Rows in order of key, over one shard or all of them, in pieces.
//!
//! 1. Of each shard there is a view, as of one moment of that shard.
//! 2. Of each view some rows are at hand; when they are used up the next are read, on a thread that may wait for the disk.
//! 3. The smallest of what is at hand comes next; a key is of one shard only, so there are no two of it.
//!
//! Memory: what is at hand of all shards together is about a piece, or a row of each where rows are long; it is counted as answers are ([`crate::room`]).

use crate::errors::Failure;
use crate::room::{Held, Room};
use crate::serving::{Limits, Serving, blocking, internal};
use bytes::Bytes;
use norikv_replica::{Freshness, View};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// What is wanted.
#[derive(Clone, Debug)]
pub struct Range {
    /// The first key.
    pub start: Bytes,
    /// The first that is not wanted any more.
    pub end: Option<Bytes>,
    /// The most rows.
    pub limit: Option<u64>,
    /// Without values.
    pub keys_only: bool,
}

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value; empty where only keys were asked for.
    pub value: Bytes,
    /// Which write put it.
    pub version: u64,
}

/// Some of the rows.
#[derive(Clone, Debug)]
pub struct Piece {
    /// In order of key.
    pub rows: Vec<Row>,
    /// Where to go on; empty if these were the last.
    pub next: Bytes,
}

impl Piece {
    /// About what it takes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.rows.iter().map(Row::bytes).sum()
    }
}

impl Row {
    fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + ROW_BYTES
    }
}

/// What a row takes beside its key and value.
const ROW_BYTES: usize = 96;

/// The first key behind all that begin with `prefix`; `None` if there is none.
pub(crate) fn behind(prefix: &[u8]) -> Option<Bytes> {
    let last = prefix.iter().rposition(|byte| *byte < 0xff)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end.into())
}

/// A view of each of these shards, or whom to ask.
pub(crate) async fn views(
    serving: &Serving,
    shards: &[u32],
    freshness: Freshness,
) -> Result<Vec<View>, Failure> {
    let mut views = Vec::with_capacity(shards.len());
    for shard in shards {
        match serving.view(*shard, freshness).await {
            Ok(view) => views.push(view),
            Err(Failure::NotLeader { .. }) if shards.len() > 1 => {
                let what =
                    "no node leads all shards: scan them one by one, each where its leader is";
                return Err(Failure::WrongShard { what, shards: vec![*shard] });
            }
            Err(failure) => return Err(failure),
        }
    }
    Ok(views)
}

/// The rows of a shard that are at hand.
struct Source {
    view: View,
    rows: VecDeque<Row>,
    /// Room for them.
    held: Option<Held>,
    /// Where reading goes on; `None`: there is no more.
    next: Option<Bytes>,
}

/// The rows of some shards, merged.
pub(crate) struct Merged {
    sources: Vec<Source>,
    range: Range,
    /// How many more may come.
    left: u64,
    rows_max: usize,
    bytes_max: usize,
    /// Of each source.
    rows_at_hand: usize,
    bytes_at_hand: usize,
    answers: Room,
}

impl Merged {
    pub(crate) fn new(views: Vec<View>, range: Range, limits: &Limits, answers: &Room) -> Self {
        let rows_at_hand = (limits.scan_rows_max / views.len().max(1)).max(16);
        let bytes_at_hand = limits.scan_bytes_max / views.len().max(1);
        let source = |view| {
            let next = Some(range.start.clone());
            Source { view, rows: VecDeque::new(), held: None, next }
        };
        Self {
            sources: views.into_iter().map(source).collect(),
            left: range.limit.unwrap_or(u64::MAX),
            rows_max: limits.scan_rows_max,
            bytes_max: limits.scan_bytes_max,
            rows_at_hand,
            bytes_at_hand,
            answers: answers.clone(),
            range,
        }
    }

    /// The next piece. After the last, whose `next` is empty, there is none.
    pub(crate) async fn next(&mut self) -> Result<Piece, Failure> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        loop {
            self.refill().await?;
            let heads = self.sources.iter_mut().filter(|source| !source.rows.is_empty());
            let Some(first) = heads.min_by(|a, b| a.rows[0].key.cmp(&b.rows[0].key)) else {
                return Ok(Piece { rows, next: Bytes::new() });
            };
            if self.left == 0 {
                return Ok(Piece { rows, next: Bytes::new() });
            }
            if rows.len() >= self.rows_max || bytes >= self.bytes_max {
                let next = first.rows[0].key.clone();
                return Ok(Piece { rows, next });
            }
            if let Some(row) = first.rows.pop_front() {
                bytes += row.key.len() + row.value.len();
                self.left -= 1;
                rows.push(row);
            }
        }
    }

    /// Reads on where nothing is at hand.
    async fn refill(&mut self) -> Result<(), Failure> {
        let rows_max =
            self.rows_at_hand.min(usize::try_from(self.left).unwrap_or(usize::MAX)).max(1);
        let bytes_max = self.bytes_at_hand;
        for source in &mut self.sources {
            if !source.rows.is_empty() {
                continue;
            }
            let Some(start) = source.next.take() else { continue };
            let (view, range) = (source.view.clone(), self.range.clone());
            source.held = None;
            let answers = self.answers.clone();
            let read = move || {
                let (rows, next) = read(&view, &start, &range, rows_max, bytes_max)?;
                let held = answers.hold(rows.iter().map(Row::bytes).sum())?;
                Ok::<_, Failure>((rows, next, held))
            };
            (source.rows, source.next, source.held) = blocking(read).await??;
        }
        Ok(())
    }
}

/// Rows, and where to go on.
type Part = (VecDeque<Row>, Option<Bytes>);

/// Some rows of a view from `start` on, and where to go on.
fn read(
    view: &View,
    start: &[u8],
    range: &Range,
    rows_max: usize,
    bytes_max: usize,
) -> Result<Part, Failure> {
    let (mut rows, mut bytes, mut next) = (VecDeque::new(), 0, None);
    let mut take = |key: &[u8], version: u64, value: &[u8]| {
        if rows.len() >= rows_max || bytes >= bytes_max {
            next = Some(Bytes::copy_from_slice(key));
            return ControlFlow::Break(());
        }
        let value = if range.keys_only { Bytes::new() } else { Bytes::copy_from_slice(value) };
        bytes += key.len() + value.len();
        rows.push_back(Row { key: Bytes::copy_from_slice(key), value, version });
        ControlFlow::Continue(())
    };
    view.scan(start, range.end.as_deref(), &mut take).map_err(internal)?;
    Ok((rows, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behind_a_prefix_is_the_next_of_its_length_or_shorter() {
        assert_eq!(behind(b"ab").as_deref(), Some(&b"ac"[..]));
        assert_eq!(behind(b"a\xff\xff").as_deref(), Some(&b"b"[..]));
        assert_eq!(behind(b"\xff").as_deref(), None);
        assert_eq!(behind(b"").as_deref(), None);
    }
}
