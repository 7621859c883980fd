//! A cluster as a store: whatever its client is, calls of the bench become requests, and wait for their answers.

use super::nodes::Nodes;
use bytes::Bytes;
use nori_kv::{
    Cursor, Durability, Engine, EngineStats, Error, KeyRange, Kind, ReadOptions, Reader, Result,
    Row, SeqNo, WriteBatch,
};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::Runtime;

/// Rows that a cursor asks for at once.
const PAGE: usize = 128;

/// What is asked of a cluster through its client.
pub(super) trait Requests: Send + Sync + 'static {
    /// Who is named where something cannot be done.
    const NAME: &'static str;
    type Error: Display;

    /// The value of a key.
    async fn get(&self, key: &[u8]) -> std::result::Result<Option<Bytes>, Self::Error>;
    /// Puts a value, or deletes.
    async fn write(&self, key: &[u8], value: Option<&[u8]>)
    -> std::result::Result<(), Self::Error>;
    /// The first `limit` rows from `start` on, in order; `end` is not among them.
    async fn scan(
        &self,
        start: Vec<u8>,
        end: Option<&[u8]>,
        limit: usize,
    ) -> std::result::Result<Vec<(Bytes, Bytes)>, Self::Error>;
}

/// A cluster that runs.
struct Cluster<R> {
    requests: R,
    runtime: Runtime,
    nodes: Mutex<Nodes>,
}

/// See the module. Clones are the same.
pub(super) struct Store<R>(Arc<Cluster<R>>);

impl<R> Clone for Store<R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<R: Requests> Store<R> {
    pub(super) fn new(requests: R, runtime: Runtime, nodes: Nodes) -> Self {
        Self(Arc::new(Cluster { requests, runtime, nodes: Mutex::new(nodes) }))
    }

    fn wait<T>(&self, answer: impl Future<Output = std::result::Result<T, R::Error>>) -> Result<T> {
        let answer = self.0.runtime.block_on(answer);
        answer.map_err(|error| Error::Invalid { what: error.to_string() })
    }

    fn lacks(what: &'static str) -> Error {
        Error::Unsupported { engine: R::NAME, what }
    }
}

impl<R: Requests> Reader for Store<R> {
    fn read(
        &self,
        key: &[u8],
        _options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> Result<bool> {
        let value = self.wait(self.0.requests.get(key))?;
        if let Some(value) = &value {
            sink(Row { key, value });
        }
        Ok(value.is_some())
    }

    fn cursor(&self, range: &KeyRange, _options: &ReadOptions) -> Result<Box<dyn Cursor>> {
        let (store, range) = (self.clone(), range.clone());
        Ok(Box::new(Scanned { store, range, rows: Vec::new(), at: 0, is_last: false }))
    }
}

impl<R: Requests> Engine for Store<R> {
    /// Across shards there is no batch: its operations are requests of their own, all at once.
    fn write(&self, batch: &WriteBatch, _durability: Durability) -> Result<SeqNo> {
        let all = batch.iter().map(|(kind, key, value)| {
            let is_put = kind.kind == Kind::Put;
            self.0.requests.write(key, is_put.then_some(value))
        });
        self.wait(futures_util::future::try_join_all(all))?;
        Ok(SeqNo::ZERO)
    }

    fn snapshot(&self) -> Result<Arc<dyn Reader>> {
        Err(Self::lacks("snapshots"))
    }

    fn stats(&self) -> EngineStats {
        // A node that has ended is told when the next request fails.
        let _ = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner).check();
        EngineStats::default()
    }
}

/// A cursor that reads a page ahead.
struct Scanned<R> {
    store: Store<R>,
    range: KeyRange,
    rows: Vec<(Bytes, Bytes)>,
    /// Of the row after this one, if it is not 0.
    at: usize,
    /// The page is the last.
    is_last: bool,
}

impl<R: Requests> Scanned<R> {
    fn page(&mut self, start: Vec<u8>) -> Result<bool> {
        let requests = &self.store.0.requests;
        self.rows = self.store.wait(requests.scan(start, self.range.end.as_deref(), PAGE))?;
        self.is_last = self.rows.len() < PAGE;
        self.at = usize::from(!self.rows.is_empty());
        Ok(self.at > 0)
    }
}

impl<R: Requests> Cursor for Scanned<R> {
    fn seek(&mut self, key: &[u8]) -> Result<bool> {
        let start = key.max(&self.range.start).to_vec();
        self.page(start)
    }

    fn seek_back(&mut self, _key: &[u8]) -> Result<bool> {
        Err(Store::<R>::lacks("reading backwards"))
    }

    fn next(&mut self) -> Result<bool> {
        if self.at < self.rows.len() {
            self.at += 1;
            return Ok(true);
        }
        if self.is_last {
            self.at = 0;
            return Ok(false);
        }
        let start = match self.rows.last() {
            Some((last, _)) => [&last[..], &[0]].concat(),
            None => self.range.start.clone(),
        };
        self.page(start)
    }

    fn prev(&mut self) -> Result<bool> {
        Err(Store::<R>::lacks("reading backwards"))
    }

    fn row(&self) -> Option<Row<'_>> {
        let (key, value) = self.rows.get(self.at.checked_sub(1)?)?;
        Some(Row { key, value })
    }
}
