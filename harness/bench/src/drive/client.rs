//! One client thread: its loop, and the slot through which it hands over what it measured.

use super::{Counts, PhaseJob};
use crate::latency::Latencies;
use nori_kv::{Durability, Engine, KeyRange, ReadOptions, Row, WriteBatch};
use nori_workloads::{KeyCodec, KeyNumber, Op, OpKind, OpStream, ValueCodec};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A client with more errors than this gives up: its store is broken, and errors are quick.
const ERRORS_MAX: u64 = 100;

/// Where a client puts what the coordinator takes. One to a pair of cache lines.
#[repr(align(128))]
#[derive(Default)]
pub(super) struct Slot {
    ops: AtomicU64,
    /// Whether the coordinator wants the client's histograms.
    wanted: AtomicBool,
    handed_over: Mutex<Option<Latencies>>,
}

impl Slot {
    /// Operations ended so far.
    pub(super) fn ops(&self) -> u64 {
        self.ops.load(Ordering::Relaxed)
    }

    /// Asks the client for what it recorded.
    pub(super) fn ask(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Adds what the client handed over to `interval`, and forgets it.
    pub(super) fn take(&self, interval: &mut Latencies) {
        let mut handed = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(latencies) = handed.as_mut() {
            interval.add(latencies);
            latencies.clear();
        }
    }

    fn hand_over(&self, latencies: &mut Latencies) {
        let mut handed = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        handed.get_or_insert_with(Latencies::new).add(latencies);
        latencies.clear();
        self.wanted.store(false, Ordering::Relaxed);
    }
}

/// What a client came to.
pub(super) struct ClientOutcome {
    pub(super) counts: Counts,
    pub(super) first_error: Option<String>,
    pub(super) began: Instant,
    pub(super) end: Instant,
}

/// A client and everything its loop touches.
pub(super) struct Client {
    engine: Arc<dyn Engine>,
    stream: OpStream,
    keys: KeyCodec,
    values: ValueCodec,
    durability: Durability,
    options: ReadOptions,
    checks: bool,
    key: Vec<u8>,
    /// Key made from a scanned value's number, to compare with the scanned key.
    other_key: Vec<u8>,
    value: Vec<u8>,
    batch: WriteBatch,
    range: KeyRange,
    counts: Counts,
    first_error: Option<String>,
}

/// Why an operation failed, before it is a sentence.
enum Failure {
    Engine(nori_kv::Error),
    Missing,
    Value(String),
}

impl From<nori_kv::Error> for Failure {
    fn from(error: nori_kv::Error) -> Self {
        Self::Engine(error)
    }
}

impl Client {
    pub(super) fn new(job: &PhaseJob<'_>, stream: OpStream) -> Self {
        Self {
            engine: Arc::clone(job.engine),
            stream,
            keys: KeyCodec::new(&job.workload.keys),
            values: ValueCodec::new(&job.workload.values),
            durability: job.durability,
            options: ReadOptions::default(),
            checks: job.checks,
            key: Vec::new(),
            other_key: Vec::new(),
            value: Vec::new(),
            batch: WriteBatch::new(),
            range: KeyRange::all(),
            counts: Counts::default(),
            first_error: None,
        }
    }

    /// Runs to the end of the stream or for `duration`.
    pub(super) fn run(mut self, slot: &Slot, duration: Option<Duration>) -> ClientOutcome {
        let mut latencies = Latencies::new();
        let began = Instant::now();
        // A phase without a time limit ends with its stream.
        let deadline = duration.map(|duration| began + duration);
        let (mut ops, mut errors, mut end) = (0, 0, began);
        while let Some(op) = self.stream.next_op() {
            self.prepare(&op);
            let start = Instant::now();
            let outcome = self.perform(&op);
            end = Instant::now();
            latencies.record(op.kind, end.duration_since(start).as_nanos() as u64);
            ops += 1;
            slot.ops.store(ops, Ordering::Relaxed);
            self.counts.ops[op.kind as usize] += 1;
            if let Err(failure) = outcome {
                errors += 1;
                self.note(&op, failure);
                if errors > ERRORS_MAX {
                    break;
                }
            } else if op.kind == OpKind::Insert {
                self.stream.acknowledge_insert();
            }
            if slot.wanted.load(Ordering::Relaxed) {
                slot.hand_over(&mut latencies);
            }
            if deadline.is_some_and(|deadline| end >= deadline) {
                break;
            }
        }
        slot.hand_over(&mut latencies);
        ClientOutcome { counts: self.counts, first_error: self.first_error, began, end }
    }

    /// Makes the key, and for a write the value and the batch.
    fn prepare(&mut self, op: &Op) {
        self.keys.write(op.key, &mut self.key);
        match op.kind {
            OpKind::Insert | OpKind::Update | OpKind::Rmw => {
                self.values.write(op.key, op.version, &mut self.value);
                self.batch.clear();
                self.batch.put(&self.key, &self.value);
            }
            OpKind::Scan => {
                self.range.start.clear();
                self.range.start.extend_from_slice(&self.key);
            }
            OpKind::Read => {}
        }
    }

    /// The operation itself: what is timed.
    fn perform(&mut self, op: &Op) -> Result<(), Failure> {
        match op.kind {
            OpKind::Read => self.read(op),
            OpKind::Scan => self.scan(op),
            OpKind::Insert => {
                let bytes = self.write()?;
                self.counts.bytes_inserted += bytes;
                Ok(())
            }
            OpKind::Update => self.write().map(|_| ()),
            OpKind::Rmw => {
                self.read(op)?;
                self.write().map(|_| ())
            }
        }
    }

    /// Writes the batch; its bytes of key and value.
    fn write(&mut self) -> Result<u64, Failure> {
        self.engine.write(&self.batch, self.durability)?;
        let bytes = (self.key.len() + self.value.len()) as u64;
        self.counts.bytes_written += bytes;
        Ok(bytes)
    }

    fn read(&mut self, op: &Op) -> Result<(), Failure> {
        let (mut bytes, mut fault) = (0, None);
        let check = op.check && self.checks;
        let (values, number) = (&self.values, op.key);
        let found = self.engine.read(&self.key, &self.options, &mut |row| {
            bytes = row.key.len() + row.value.len();
            if check {
                fault = values.check(number, row.value).err();
            }
        })?;
        self.counts.bytes_read += bytes as u64;
        if !found {
            return Err(Failure::Missing);
        }
        if check {
            self.counts.checked += 1;
        }
        fault.map_or(Ok(()), |fault| Err(Failure::Value(fault.to_string())))
    }

    fn scan(&mut self, op: &Op) -> Result<(), Failure> {
        let mut cursor = self.engine.cursor(&self.range, &self.options)?;
        let mut bytes = 0;
        let mut fault = None;
        for index in 0..op.scan_length {
            if !cursor.next()? {
                // The key space may end; but the first key exists.
                fault = (index == 0).then_some(Failure::Missing);
                break;
            }
            let Some(row) = cursor.row() else {
                fault = Some(Failure::Value("the cursor has no row after next".into()));
                break;
            };
            bytes += (row.key.len() + row.value.len()) as u64;
            if self.checks && index == 0 && row.key != self.key.as_slice() {
                fault = Some(Failure::Missing);
                break;
            }
            if op.check && self.checks {
                let first = index == 0;
                fault = fault.or(self.check_row(row, first.then_some(op.key)));
            }
        }
        self.counts.bytes_read += bytes;
        fault.map_or(Ok(()), Err)
    }

    /// Checks a scanned row; the first of a scan is of key number `expected`.
    fn check_row(&mut self, row: Row<'_>, expected: Option<KeyNumber>) -> Option<Failure> {
        self.counts.checked += 1;
        // A value that is too short to say whose it is cannot be checked.
        let number = expected.or_else(|| ValueCodec::claimed_number(row.value))?;
        self.keys.write(number, &mut self.other_key);
        if row.key != self.other_key.as_slice() {
            let key = String::from_utf8_lossy(row.key).into_owned();
            return Some(Failure::Value(format!("key {key} holds a value of key number {number}")));
        }
        let fault = self.values.check(number, row.value).err()?;
        Some(Failure::Value(fault.to_string()))
    }

    #[cold]
    fn note(&mut self, op: &Op, failure: Failure) {
        self.counts.errors[op.kind as usize] += 1;
        let key = String::from_utf8_lossy(&self.key);
        let what = match failure {
            Failure::Engine(error) => error.to_string(),
            Failure::Missing => "the key was written and is not there".into(),
            Failure::Value(what) => format!("the value is wrong: {what}"),
        };
        let sentence = || format!("{} of {key} (key number {}): {what}", op.kind.name(), op.key);
        self.first_error.get_or_insert_with(sentence);
    }
}
