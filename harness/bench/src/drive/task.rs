//! One client as a task: for stores that are asked over a network, whose clients mostly wait.
//!
//! A thread that waits for an answer is woken by the thread that read it: two switches for each operation, which on a machine that the store's processes share are
//! taken from them. Two hundred tasks share the threads that read the answers. The steps are those of a client with a thread of its own.

use super::client::{Client, ClientOutcome, Failure};
use super::course::Course;
use super::slot::Slot;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use nori_kv::{Cursor, Error, Result, Row, WriteBatch};
use nori_workloads::{Op, OpKind};
use std::time::{Duration, Instant};
use tokio::runtime::Handle;

/// A store whose answers tasks wait for.
///
/// # Contract
///
/// The futures are polled on its runtime only, and do what the calls of the [`nori_kv::Engine`] beside it do.
pub(crate) trait TaskStore: Send + Sync {
    /// Where its clients' tasks run.
    fn runtime(&self) -> &Handle;
    /// The value of a key.
    fn read<'a>(&'a self, key: &'a [u8]) -> BoxFuture<'a, Result<Option<Bytes>>>;
    /// Writes a batch.
    fn write<'a>(&'a self, batch: &'a WriteBatch) -> BoxFuture<'a, Result<()>>;
    /// The first `limit` rows from `start` on, in order.
    fn scan<'a>(
        &'a self,
        start: &'a [u8],
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<(Bytes, Bytes)>>>;
}

impl Client {
    /// Runs a closed loop from now to the end of the stream or for `duration`.
    pub(super) async fn run_as_task(
        mut self,
        store: &dyn TaskStore,
        slot: &Slot,
        duration: Option<Duration>,
    ) -> ClientOutcome {
        let mut course = Course::new(slot, Instant::now(), duration, None);
        while let Some(op) = self.next_op() {
            self.prepare(&op);
            let Some(start) = course.start() else { break };
            let outcome = self.ask(store, &op).await;
            if !self.ended(&mut course, &op, start, outcome) {
                break;
            }
        }
        if self.end_measuring(&mut course) {
            while let Some(op) = self.next_filling() {
                let written = store.write(&self.batch).await;
                if !self.filled(&mut course, &op, written) {
                    break;
                }
            }
        }
        course.outcome(self)
    }

    /// The operation itself: what is timed.
    async fn ask(&mut self, store: &dyn TaskStore, op: &Op) -> std::result::Result<(), Failure> {
        match op.kind {
            OpKind::Read | OpKind::ReadAbsent => self.ask_row(store, op).await,
            OpKind::Scan => {
                let rows = store.scan(&self.key, op.scan_length as usize).await?;
                self.walk(op, &mut Rows { rows, at: 0 })
            }
            OpKind::Rmw => {
                self.ask_row(store, op).await?;
                self.ask_write(store, op).await
            }
            _ => self.ask_write(store, op).await,
        }
    }

    async fn ask_row(
        &mut self,
        store: &dyn TaskStore,
        op: &Op,
    ) -> std::result::Result<(), Failure> {
        let value = store.read(&self.key).await?;
        self.read_by(op, |_, key, _, sink| {
            if let Some(value) = &value {
                sink(Row { key, value });
            }
            Ok(value.is_some())
        })
    }

    async fn ask_write(
        &mut self,
        store: &dyn TaskStore,
        op: &Op,
    ) -> std::result::Result<(), Failure> {
        store.write(&self.batch).await?;
        self.count_written(op);
        Ok(())
    }
}

/// Rows that are all there.
struct Rows {
    rows: Vec<(Bytes, Bytes)>,
    /// Of the row after this one, if it is not 0.
    at: usize,
}

impl Rows {
    fn only_forward() -> Error {
        Error::Unsupported { engine: "a page of rows", what: "anything but the next row" }
    }
}

impl Cursor for Rows {
    fn seek(&mut self, _key: &[u8]) -> Result<bool> {
        Err(Self::only_forward())
    }

    fn seek_back(&mut self, _key: &[u8]) -> Result<bool> {
        Err(Self::only_forward())
    }

    fn next(&mut self) -> Result<bool> {
        self.at += 1;
        Ok(self.at <= self.rows.len())
    }

    fn prev(&mut self) -> Result<bool> {
        Err(Self::only_forward())
    }

    fn row(&self) -> Option<Row<'_>> {
        let (key, value) = self.rows.get(self.at.checked_sub(1)?)?;
        Some(Row { key, value })
    }
}
