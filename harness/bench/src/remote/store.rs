//! A cluster as a store: whatever its client is, calls of the bench become requests, and wait for their answers.

use super::nodes::Nodes;
use crate::drive::TaskStore;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, TryFutureExt as _};
use nori_kv::{
    Cursor, Durability, Engine, EngineStats, Error, KeyRange, Kind, ReadOptions, Reader, Result,
    Row, SeqNo, WriteBatch,
};
use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::runtime::{Handle, Runtime};

/// Rows that a cursor asks for at once.
const PAGE: usize = 128;

/// What comes of a request.
type Outcome<T, R> = std::result::Result<T, <R as Requests>::Error>;

/// What is asked of a cluster through its client.
pub(super) trait Requests: Send + Sync + 'static {
    /// Who is named where something cannot be done.
    const NAME: &'static str;
    type Error: Display + Send;

    /// The value of a key.
    fn get(&self, key: &[u8]) -> impl Future<Output = Outcome<Option<Bytes>, Self>> + Send;
    /// Puts a value, or deletes.
    fn write(
        &self,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> impl Future<Output = Outcome<(), Self>> + Send;
    /// The first `limit` rows from `start` on, in order; `end` is not among them.
    fn scan(
        &self,
        start: Vec<u8>,
        end: Option<&[u8]>,
        limit: usize,
    ) -> impl Future<Output = Outcome<Vec<(Bytes, Bytes)>, Self>> + Send;
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
        self.0.runtime.block_on(answer).map_err(in_words)
    }

    async fn write_all(&self, batch: &WriteBatch) -> Outcome<(), R> {
        // Across shards there is no batch: its operations are requests of their own, all at once.
        let mut all = batch.iter().map(|(kind, key, value)| {
            let is_put = kind.kind == Kind::Put;
            self.0.requests.write(key, is_put.then_some(value))
        });
        if batch.len() == 1
            && let Some(one) = all.next()
        {
            return one.await;
        }
        futures_util::future::try_join_all(all).await.map(drop)
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
    fn write(&self, batch: &WriteBatch, _durability: Durability) -> Result<SeqNo> {
        self.wait(self.write_all(batch))?;
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

impl<R: Requests> TaskStore for Store<R> {
    fn runtime(&self) -> &Handle {
        self.0.runtime.handle()
    }

    fn read<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>> {
        self.0.requests.get(key).map_err(in_words).boxed()
    }

    fn write<'a>(&'a self, batch: &'a WriteBatch) -> BoxFuture<'a, Result<()>> {
        self.write_all(batch).map_err(in_words).boxed()
    }

    fn scan<'a>(
        &'a self,
        start: &'a [u8],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>> {
        self.0.requests.scan(start.to_vec(), None, limit).map_err(in_words).boxed()
    }
}

/// As the bench says it.
fn in_words(error: impl Display) -> Error {
    Error::Invalid { what: error.to_string() }
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
