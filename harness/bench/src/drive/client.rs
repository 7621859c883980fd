//! One client thread: its loop, and the slot through which it hands over what it measured.

use super::pace::{Pace, backlog};
use super::schedule::Schedule;
use super::{Counts, PhaseJob, Recorded};
use nori_kv::{Durability, Engine, KeyRange, ReadOptions, Row, WriteBatch};
use nori_workloads::{KeyCodec, KeyNumber, Op, OpKind, OpStream, Phase, PhaseKind, ValueCodec};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A client with more errors than this gives up: its store is broken, and errors are quick.
const ERRORS_MAX: u64 = 100;
/// Operations that are drawn, and their keys written, in one go, where that changes none of them. Between two
/// times that are taken the processor can do nothing beforehand; in one go it does several at once.
const AHEAD: usize = 32;
/// Records that the unmeasured rest of a load writes at once.
const FILL_BATCH: usize = 2_000;

/// Where a client puts what the coordinator takes. One to a pair of cache lines.
#[repr(align(128))]
pub(super) struct Slot {
    ops: AtomicU64,
    errors: AtomicU64,
    /// Bytes of keys that did not exist before.
    bytes_inserted: AtomicU64,
    /// In an open loop, when the operation at hand was to be sent: nanoseconds since the client began.
    intended_nanos: AtomicU64,
    /// In a load, nanoseconds from its beginning to the end of what the client measures; 0 until then.
    measured_nanos: AtomicU64,
    /// Whether the coordinator wants the client's histograms.
    wanted: AtomicBool,
    handed_over: Mutex<HandedOver>,
}

struct HandedOver {
    /// Whether the coordinator has yet to take it.
    is_full: bool,
    recorded: Recorded,
}

impl Slot {
    pub(super) fn new(is_open: bool) -> Self {
        let handed_over = HandedOver { is_full: false, recorded: Recorded::new(is_open) };
        Self {
            ops: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            bytes_inserted: AtomicU64::new(0),
            intended_nanos: AtomicU64::new(0),
            measured_nanos: AtomicU64::new(0),
            wanted: AtomicBool::new(false),
            handed_over: Mutex::new(handed_over),
        }
    }

    /// Operations ended so far.
    pub(super) fn ops(&self) -> u64 {
        self.ops.load(Ordering::Relaxed)
    }

    /// Of them failed.
    pub(super) fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Bytes of keys and values that are new.
    pub(super) fn bytes_inserted(&self) -> u64 {
        self.bytes_inserted.load(Ordering::Relaxed)
    }

    /// Operations of an open loop that are due and have not ended, `elapsed` after its clients began.
    pub(super) fn backlog(&self, elapsed: Duration, gap_nanos: f64) -> f64 {
        backlog(elapsed, self.intended_nanos.load(Ordering::Relaxed), gap_nanos)
    }

    /// How long the client of a load measured, once it has ended that and handed it over.
    pub(super) fn measured(&self) -> Option<Duration> {
        // Acquire: with it everything that was handed over before is seen.
        let nanos = self.measured_nanos.load(Ordering::Acquire);
        (nanos > 0).then(|| Duration::from_nanos(nanos))
    }

    /// Asks the client for what it recorded.
    pub(super) fn ask(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether the client has yet to answer.
    pub(super) fn is_asked(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Adds what the client handed over to `interval`, and forgets it. `spare` is empty, and is afterwards.
    pub(super) fn take(&self, interval: &mut Recorded, spare: &mut Recorded) {
        {
            let mut handed = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut handed.is_full) {
                return;
            }
            std::mem::swap(&mut handed.recorded, spare);
        }
        interval.add(spare);
        spare.clear();
    }

    /// Gives what was recorded to the coordinator. What it gave before and has been taken it gets back, empty, in
    /// exchange: a client that is to send on time has none to spare for adding up histograms.
    fn hand_over(&self, recorded: &mut Recorded) {
        let mut handed = self.handed_over.lock().unwrap_or_else(PoisonError::into_inner);
        if handed.is_full {
            handed.recorded.add(recorded);
            recorded.clear();
        } else {
            std::mem::swap(&mut handed.recorded, recorded);
            handed.is_full = true;
        }
        self.wanted.store(false, Ordering::Relaxed);
    }
}

/// What a client came to.
pub(super) struct ClientOutcome {
    pub(super) counts: Counts,
    pub(super) first_error: Option<String>,
    pub(super) began: Instant,
    pub(super) end: Instant,
    /// How long after its time the last operation of an open loop was sent.
    pub(super) late: Duration,
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
    /// Whether it goes on after the deadline, unmeasured.
    is_load: bool,
    /// Operations and keys that were drawn; those in `taken..drawn` are to be done. Its length is how many may be
    /// drawn ahead.
    ready: Box<[(Op, Vec<u8>)]>,
    /// `taken <= drawn <= ready.len()`
    taken: usize,
    drawn: usize,
    /// Of the operation at hand.
    key: Vec<u8>,
    /// Key made from a scanned value's number, to compare with the scanned key.
    other_key: Vec<u8>,
    value: Vec<u8>,
    batch: WriteBatch,
    range: KeyRange,
    counts: Counts,
    first_error: Option<String>,
    /// Of an open loop.
    schedule: Option<Schedule>,
}

/// What stands in the place of an operation that is not drawn yet.
const NOTHING: Op =
    Op { kind: OpKind::Read, key: 0, version: 0, scan_length: 0, range_length: 0, check: false };

/// How many operations of the phase may be drawn before the first of them has ended. Where a mix inserts or deletes,
/// which keys exist may change with each of them; and the stream holds the keys of one batch.
fn ahead(phase: &Phase) -> usize {
    let mix = &phase.mix;
    let one_by_one = mix.insert > 0.0 || mix.deletes() || mix.batch > 0.0;
    if phase.kind == PhaseKind::Run && one_by_one { 1 } else { AHEAD }
}

/// Why an operation failed, before it is a sentence. One word, so that the outcome of each operation that does not
/// fail is a register and not a copy of an error's bytes.
struct Failure(Box<Why>);

enum Why {
    Engine(nori_kv::Error),
    Missing,
    Present,
    Exhausted,
    Value(String),
}

impl Failure {
    #[cold]
    fn missing() -> Self {
        Self(Box::new(Why::Missing))
    }

    #[cold]
    fn present() -> Self {
        Self(Box::new(Why::Present))
    }

    #[cold]
    fn value(what: String) -> Self {
        Self(Box::new(Why::Value(what)))
    }
}

impl From<nori_kv::Error> for Failure {
    #[cold]
    #[inline(never)]
    fn from(error: nori_kv::Error) -> Self {
        Self(Box::new(Why::Engine(error)))
    }
}

impl Client {
    pub(super) fn new(job: &PhaseJob<'_>, stream: OpStream, schedule: Option<Schedule>) -> Self {
        Self {
            engine: Arc::clone(job.engine),
            stream,
            keys: KeyCodec::new(&job.workload.keys),
            values: ValueCodec::new(&job.workload.values),
            durability: job.durability,
            options: ReadOptions::default(),
            checks: job.checks,
            is_load: job.workload.phases[job.phase].kind == PhaseKind::Load,
            ready: vec![(NOTHING, Vec::new()); ahead(&job.workload.phases[job.phase])].into(),
            taken: 0,
            drawn: 0,
            key: Vec::new(),
            other_key: Vec::new(),
            value: Vec::new(),
            batch: WriteBatch::new(),
            range: KeyRange::all(),
            counts: Counts::default(),
            first_error: None,
            schedule,
        }
    }

    /// Runs from `began` to the end of the stream or for `duration`.
    pub(super) fn run(
        mut self,
        slot: &Slot,
        began: Instant,
        duration: Option<Duration>,
    ) -> ClientOutcome {
        let mut pace = self.schedule.take().map(|schedule| Pace::new(schedule, began));
        let mut recorded = Recorded::new(pace.is_some());
        // A phase without a time limit ends with its stream.
        let deadline = duration.map(|duration| began + duration);
        let (mut ops, mut errors, mut end, mut late) = (0, 0, began, Duration::ZERO);
        while let Some(op) = self.next_op() {
            self.prepare(&op);
            let start = match &mut pace {
                None => Instant::now(),
                Some(pace) => {
                    let intended = pace.next();
                    slot.intended_nanos.store(pace.intended_nanos(), Ordering::Relaxed);
                    if deadline.is_some_and(|deadline| intended >= deadline) {
                        break;
                    }
                    pace.wait(&mut recorded)
                }
            };
            let outcome = self.perform(&op);
            end = Instant::now();
            recorded.latencies.record(op.kind, end.duration_since(start).as_nanos() as u64);
            if let Some(pace) = &mut pace {
                late = pace.ended(op.kind, start, end, &mut recorded);
            }
            ops += 1;
            slot.ops.store(ops, Ordering::Relaxed);
            self.counts.ops[op.kind as usize] += 1;
            if let Err(failure) = outcome {
                errors += 1;
                slot.errors.store(errors, Ordering::Relaxed);
                self.note(&op, failure);
                if errors > ERRORS_MAX {
                    break;
                }
            } else {
                self.acknowledge(&op);
                slot.bytes_inserted.store(self.counts.bytes_inserted, Ordering::Relaxed);
            }
            if slot.wanted.load(Ordering::Relaxed) {
                slot.hand_over(&mut recorded);
            }
            if deadline.is_some_and(|deadline| end >= deadline) {
                break;
            }
        }
        slot.hand_over(&mut recorded);
        if self.stream.is_exhausted() {
            self.note(&NOTHING, Failure(Box::new(Why::Exhausted)));
        }
        if self.is_load {
            let nanos = end.duration_since(began).as_nanos() as u64;
            slot.measured_nanos.store(nanos.max(1), Ordering::Release);
            if errors == 0 {
                self.fill(slot, ops);
            }
        }
        ClientOutcome { counts: self.counts, first_error: self.first_error, began, end, late }
    }

    /// Writes what a load has not written by its deadline, in batches in order of key, which suits trees. Counted
    /// as bytes and as records filled, not as operations.
    fn fill(&mut self, slot: &Slot, mut ops: u64) {
        let mut rows: Vec<(Vec<u8>, Op)> = Vec::with_capacity(FILL_BATCH);
        loop {
            rows.clear();
            while rows.len() < FILL_BATCH
                && let Some(op) = self.next_op()
            {
                rows.push((self.key.clone(), op));
            }
            let Some((_, last)) = rows.last().cloned() else { return };
            rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
            self.batch.clear();
            for (key, op) in &rows {
                self.values.write(op.key, op.version, &mut self.value);
                self.batch.put(key, &self.value);
            }
            if let Err(error) = self.engine.write(&self.batch, self.durability) {
                self.note(&last, error.into());
                return;
            }
            rows.iter().for_each(|(_, op)| _ = self.stream.acknowledge(op));
            self.counts.filled += self.batch.len() as u64;
            self.counts.bytes_written += self.batch.payload_bytes();
            self.counts.bytes_inserted += self.batch.payload_bytes();
            slot.bytes_inserted.store(self.counts.bytes_inserted, Ordering::Relaxed);
            ops += self.batch.len() as u64;
            slot.ops.store(ops, Ordering::Relaxed);
        }
    }

    /// Tells the stream what was done, and keeps account of what is gone.
    fn acknowledge(&mut self, op: &Op) {
        let gone = self.stream.acknowledge(op);
        if gone > 0 {
            // Told only where all values have one length, and then so have the keys of a range.
            let each = self.key.len() + self.values.value_bytes(op.key, op.version);
            self.counts.bytes_deleted += gone * each as u64;
        }
    }

    /// The next operation; its key is in `self.key`.
    fn next_op(&mut self) -> Option<Op> {
        if self.taken == self.drawn {
            self.draw();
        }
        let (op, key) = self.ready[..self.drawn].get_mut(self.taken)?;
        self.taken += 1;
        std::mem::swap(&mut self.key, key);
        Some(*op)
    }

    /// Draws operations as long as there are some and there is room.
    fn draw(&mut self) {
        (self.taken, self.drawn) = (0, 0);
        for (op, key) in &mut self.ready {
            let Some(next) = self.stream.next_op() else { break };
            *op = next;
            self.keys.write(next.key, key);
            self.drawn += 1;
        }
    }

    /// For a write, makes the value and the batch.
    fn prepare(&mut self, op: &Op) {
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
            OpKind::Delete | OpKind::DeleteBlind => {
                self.batch.clear();
                self.batch.delete(&self.key);
            }
            OpKind::DeleteRange => {
                self.keys.write(op.key + u64::from(op.range_length), &mut self.other_key);
                self.batch.clear();
                self.batch.delete_range(&self.key, &self.other_key);
            }
            OpKind::Batch => {
                self.batch.clear();
                for number in self.stream.batch() {
                    self.keys.write(*number, &mut self.other_key);
                    self.values.write(*number, op.version, &mut self.value);
                    self.batch.put(&self.other_key, &self.value);
                }
            }
            OpKind::Read | OpKind::ReadAbsent => {}
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
            OpKind::Update
            | OpKind::Delete
            | OpKind::DeleteBlind
            | OpKind::DeleteRange
            | OpKind::Batch => self.write().map(|_| ()),
            OpKind::ReadAbsent => self.read_absent(),
            OpKind::Rmw => {
                self.read(op)?;
                self.write().map(|_| ())
            }
        }
    }

    /// Writes the batch; its bytes of key and value.
    fn write(&mut self) -> Result<u64, Failure> {
        self.engine.write(&self.batch, self.durability)?;
        let bytes = self.batch.payload_bytes();
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
            return Err(Failure::missing());
        }
        if check {
            self.counts.checked += 1;
        }
        fault.map_or(Ok(()), |fault| Err(Failure::value(fault.to_string())))
    }

    fn read_absent(&mut self) -> Result<(), Failure> {
        let mut bytes = 0;
        let found = self.engine.read(&self.key, &self.options, &mut |row| {
            bytes = row.key.len() + row.value.len();
        })?;
        self.counts.bytes_read += bytes as u64;
        if found && self.checks {
            return Err(Failure::present());
        }
        Ok(())
    }

    fn scan(&mut self, op: &Op) -> Result<(), Failure> {
        let mut cursor = self.engine.cursor(&self.range, &self.options)?;
        let mut bytes = 0;
        let mut fault = None;
        for index in 0..op.scan_length {
            if !cursor.next()? {
                // The key space may end; but the first key exists.
                fault = (index == 0).then(Failure::missing);
                break;
            }
            let Some(row) = cursor.row() else {
                fault = Some(Failure::value("the cursor has no row after next".into()));
                break;
            };
            bytes += (row.key.len() + row.value.len()) as u64;
            if self.checks && index == 0 && row.key != self.key.as_slice() {
                fault = Some(Failure::missing());
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
            return Some(Failure::value(format!("key {key} holds a value of key number {number}")));
        }
        let fault = self.values.check(number, row.value).err()?;
        Some(Failure::value(fault.to_string()))
    }

    #[cold]
    fn note(&mut self, op: &Op, failure: Failure) {
        self.counts.errors[op.kind as usize] += 1;
        let key = String::from_utf8_lossy(&self.key);
        let what = match *failure.0 {
            Why::Engine(error) => error.to_string(),
            Why::Missing => "the key was written and is not there".into(),
            Why::Present => "the key was never written and has a value".into(),
            Why::Exhausted => {
                let what = "deletes left no key that exists to this client, and the phase is not at its end";
                self.first_error.get_or_insert_with(|| what.into());
                return;
            }
            Why::Value(what) => format!("the value is wrong: {what}"),
        };
        let sentence = || format!("{} of {key} (key number {}): {what}", op.kind.name(), op.key);
        self.first_error.get_or_insert_with(sentence);
    }
}
