//! Rows in order, over all shards.
//!
//! 1. Of each shard there is a stream from who leads it, and some rows at hand.
//! 2. The smallest of what is at hand comes next.
//! 3. A stream that breaks is begun anew behind the last row that came; from there on its shard is seen as of a later moment. One that ends is whole only if its last piece
//!    says so: otherwise it broke, too.
//! 4. Each row is there within the client's deadline, however much has to be begun anew for it.

use crate::call::{Call, Target, pause, spread};
use crate::client::Inner;
use crate::error::{Error, ErrorKind, Failed, Next, failed, unanswered};
use crate::options::{Consistency, ScanOptions};
use bytes::{BufMut as _, Bytes, BytesMut};
use futures_core::Stream;
use futures_util::future::try_join_all;
use futures_util::stream;
use norikv_proto::pipe::Pipe;
use norikv_proto::v1;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;
use tonic::{Response, Streaming};

/// A row of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Bytes,
    /// Its value; empty where only keys were asked for.
    pub value: Bytes,
    /// Which write put it.
    pub version: u64,
}

struct Source {
    shard: u32,
    /// And who sends it.
    stream: Option<(Streaming<v1::ScanResponse>, String)>,
    rows: VecDeque<Row>,
    /// Where it goes on; empty: at the start of what was asked for.
    next: Bytes,
    is_done: bool,
}

/// Rows that are being read.
pub struct Scan {
    inner: Arc<Inner>,
    options: ScanOptions,
    /// `None`: nothing was asked for yet.
    sources: Option<Vec<Source>>,
    /// How many more may come.
    left: u64,
    is_over: bool,
}

impl Scan {
    pub(crate) fn new(inner: Arc<Inner>, options: ScanOptions) -> Self {
        let left = if options.limit > 0 { options.limit } else { u64::MAX };
        Self { inner, options, sources: None, left, is_over: false }
    }

    /// The next row; `None` if there is no more. After an error there is none either.
    pub async fn next(&mut self) -> Option<Result<Row, Error>> {
        if self.is_over || self.left == 0 {
            return None;
        }
        match self.step().await {
            Ok(Some(row)) => {
                self.left -= 1;
                Some(Ok(row))
            }
            Ok(None) => {
                self.is_over = true;
                None
            }
            Err(error) => {
                self.is_over = true;
                Some(Err(error))
            }
        }
    }

    /// The rows as a stream.
    pub fn into_stream(self) -> impl Stream<Item = Result<Row, Error>> + Send {
        stream::unfold(self, |mut scan| async move { scan.next().await.map(|row| (row, scan)) })
    }

    /// All of them at once.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub async fn collect(mut self) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await {
            rows.push(row?);
        }
        Ok(rows)
    }

    async fn step(&mut self) -> Result<Option<Row>, Error> {
        let until = Instant::now() + self.inner.deadline;
        let sources = match &mut self.sources {
            Some(sources) => sources,
            None => {
                let topology = self.inner.topology(until).await?;
                let source = |shard| Source {
                    shard,
                    stream: None,
                    rows: VecDeque::new(),
                    next: Bytes::new(),
                    is_done: false,
                };
                self.sources.insert((0..topology.shards.len() as u32).map(source).collect())
            }
        };
        let (inner, options) = (&*self.inner, &self.options);
        let wanting = sources.iter_mut().filter(|source| source.rows.is_empty() && !source.is_done);
        try_join_all(wanting.map(|source| source.refill(inner, options, until))).await?;
        let filled = sources.iter_mut().filter(|source| !source.rows.is_empty());
        let first = filled.min_by(|a, b| a.rows[0].key.cmp(&b.rows[0].key));
        Ok(first.and_then(|source| source.rows.pop_front()))
    }
}

/// A stream has ended, and has not said that there are no more rows.
fn cut_short(address: &str) -> Failed {
    let what = format!("{address} has ended a scan before its last row");
    Failed { error: Error::new(ErrorKind::Unavailable, what), next: Next::Wait(None) }
}

impl Source {
    /// Takes the next rows of the stream, which is begun if there is none.
    async fn refill(
        &mut self,
        inner: &Inner,
        options: &ScanOptions,
        until: Instant,
    ) -> Result<(), Error> {
        let mut failures = 0;
        while self.rows.is_empty() && !self.is_done {
            let (stream, address) = match &mut self.stream {
                Some(stream) => stream,
                None => {
                    let stream = self.open(inner, options, until).await?;
                    self.stream.insert(stream)
                }
            };
            let left = until.saturating_duration_since(Instant::now()).min(inner.attempt);
            let failed = match tokio::time::timeout(left, stream.message()).await {
                Ok(Ok(Some(piece))) => {
                    self.take(piece);
                    continue;
                }
                Ok(Ok(None)) => cut_short(address),
                Ok(Err(status)) => failed(&status, address, false),
                Err(_) => unanswered(address, left),
            };
            failures += 1;
            let wait = match failed.next {
                Next::Wait(Some(after)) => spread(after),
                _ => pause(&inner.retry, failures),
            };
            if failed.next == Next::Stop || Instant::now() + wait >= until {
                return Err(failed.error);
            }
            if failed.next == Next::Elsewhere {
                inner.routes.suspect(address);
            }
            self.stream = None;
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    fn take(&mut self, piece: v1::ScanResponse) {
        self.is_done = piece.next.is_empty();
        let rows = piece.rows.into_iter();
        self.rows.extend(rows.map(|row| Row {
            key: row.key,
            value: row.value,
            version: row.version,
        }));
        if let Some(last) = self.rows.back() {
            let mut behind = BytesMut::from(&last.key[..]);
            behind.put_u8(0);
            self.next = behind.freeze();
        }
    }

    async fn open(
        &self,
        inner: &Inner,
        options: &ScanOptions,
        until: Instant,
    ) -> Result<(Streaming<v1::ScanResponse>, String), Error> {
        let consistency = options.consistency.unwrap_or(inner.consistency);
        let start = if self.next.is_empty() { &options.start } else { &self.next };
        let request = v1::ScanRequest {
            start: start.clone(),
            end: options.end.clone(),
            prefix: options.prefix.clone(),
            limit: options.limit,
            keys_only: options.keys_only,
            read: Some(consistency.wire()),
            shard: Some(self.shard),
        };
        let is_any = matches!(consistency, Consistency::Stale { .. });
        let call = Call { target: Target::Shard(self.shard), is_write: false, is_any };
        let scan = |pipe: Pipe| {
            let request = request.clone();
            async move { pipe.kv().scan(request).await.map(Response::into_inner) }
        };
        inner.run_until(until, call, scan).await
    }
}

#[cfg(test)]
mod tests;
