//! One client on a thread of its own: its loop, and each of its operations. One that is a task of its store's makes the same steps ([`super::task`]).

use super::course::Course;
use super::pace::Pace;
use super::schedule::Schedule;
use super::slot::Slot;
use super::{Counts, PhaseJob};
use nori_kv::{Cursor, Durability, Engine, KeyRange, ReadOptions, Row, WriteBatch};
use nori_workloads::{KeyCodec, KeyNumber, Op, OpKind, OpStream, Phase, PhaseKind, ValueCodec};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A client with more errors than this gives up: its store is broken, and errors are quick.
const ERRORS_MAX: u64 = 100;
/// Operations that are drawn, and their keys written, in one go, where that changes none of them. Between two
/// times that are taken the processor can do nothing beforehand; in one go it does several at once.
const AHEAD: usize = 32;
/// Records that the unmeasured rest of a load writes at once.
const FILL_BATCH: usize = 2_000;

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
    pub(super) key: Vec<u8>,
    /// Key made from a scanned value's number, to compare with the scanned key.
    other_key: Vec<u8>,
    value: Vec<u8>,
    pub(super) batch: WriteBatch,
    range: KeyRange,
    /// Of the batch at hand of the rest of a load.
    filling: Vec<(Vec<u8>, Op)>,
    pub(super) counts: Counts,
    pub(super) first_error: Option<String>,
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
pub(super) struct Failure(Box<Why>);

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
            filling: Vec::new(),
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
        let pace = self.schedule.take().map(|schedule| Pace::new(schedule, began));
        let mut course = Course::new(slot, began, duration, pace);
        while let Some(op) = self.next_op() {
            self.prepare(&op);
            let Some(start) = course.start() else { break };
            let outcome = self.perform(&op);
            if !self.ended(&mut course, &op, start, outcome) {
                break;
            }
        }
        if self.end_measuring(&mut course) {
            while let Some(op) = self.next_filling() {
                let written = self.engine.write(&self.batch, self.durability);
                if !self.filled(&mut course, &op, written) {
                    break;
                }
            }
        }
        course.outcome(self)
    }

    /// Keeps account of an operation that has just ended; whether there is to be another.
    #[inline]
    pub(super) fn ended(
        &mut self,
        course: &mut Course<'_>,
        op: &Op,
        start: Instant,
        outcome: Result<(), Failure>,
    ) -> bool {
        course.record(op.kind, start);
        self.counts.ops[op.kind as usize] += 1;
        if let Err(failure) = outcome {
            self.note(op, failure);
            if course.count_error() > ERRORS_MAX {
                return false;
            }
        } else {
            self.acknowledge(op);
            course.slot.bytes_inserted.store(self.counts.bytes_inserted, Ordering::Relaxed);
        }
        course.goes_on()
    }

    /// Hands over the last of what was measured. Whether there is a rest of a load to be written.
    pub(super) fn end_measuring(&mut self, course: &mut Course<'_>) -> bool {
        course.hand_over();
        if self.stream.is_exhausted() {
            self.note(&NOTHING, Failure(Box::new(Why::Exhausted)));
        }
        if self.is_load {
            course.note_measured();
        }
        self.is_load && course.errors() == 0
    }

    /// Makes the next batch of what a load has not written by its deadline, in order of key, which suits trees; the last of its operations. Counted as bytes and as
    /// records filled, not as operations.
    pub(super) fn next_filling(&mut self) -> Option<Op> {
        let mut rows = std::mem::take(&mut self.filling);
        rows.clear();
        while rows.len() < FILL_BATCH
            && let Some(op) = self.next_op()
        {
            rows.push((self.key.clone(), op));
        }
        let last = rows.last().map(|(_, op)| *op);
        rows.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        self.batch.clear();
        for (key, op) in &rows {
            self.values.write(op.key, op.version, &mut self.value);
            self.batch.put(key, &self.value);
        }
        self.filling = rows;
        last
    }

    /// Keeps account of such a batch; whether there may be another.
    pub(super) fn filled<T>(
        &mut self,
        course: &mut Course<'_>,
        last: &Op,
        written: nori_kv::Result<T>,
    ) -> bool {
        if let Err(error) = written {
            self.note(last, error.into());
            return false;
        }
        for (_, op) in &self.filling {
            self.stream.acknowledge(op);
        }
        self.counts.filled += self.batch.len() as u64;
        self.counts.bytes_written += self.batch.payload_bytes();
        self.counts.bytes_inserted += self.batch.payload_bytes();
        course.slot.bytes_inserted.store(self.counts.bytes_inserted, Ordering::Relaxed);
        course.count_filled(self.batch.len() as u64);
        true
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
    pub(super) fn next_op(&mut self) -> Option<Op> {
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
    pub(super) fn prepare(&mut self, op: &Op) {
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
            OpKind::Read | OpKind::ReadAbsent => self.read(op),
            OpKind::Scan => self.scan(op),
            OpKind::Rmw => {
                self.read(op)?;
                self.write(op)
            }
            _ => self.write(op),
        }
    }

    /// Writes the batch.
    fn write(&mut self, op: &Op) -> Result<(), Failure> {
        self.engine.write(&self.batch, self.durability)?;
        self.count_written(op);
        Ok(())
    }

    /// The batch was written.
    pub(super) fn count_written(&mut self, op: &Op) {
        let bytes = self.batch.payload_bytes();
        self.counts.bytes_written += bytes;
        if op.kind == OpKind::Insert {
            self.counts.bytes_inserted += bytes;
        }
    }

    fn read(&mut self, op: &Op) -> Result<(), Failure> {
        self.read_by(op, |engine, key, options, sink| engine.read(key, options, sink))
    }

    /// A read, however the row is got.
    #[inline]
    pub(super) fn read_by(
        &mut self,
        op: &Op,
        read: impl FnOnce(
            &dyn Engine,
            &[u8],
            &ReadOptions,
            &mut dyn FnMut(Row<'_>),
        ) -> nori_kv::Result<bool>,
    ) -> Result<(), Failure> {
        let is_absent = op.kind == OpKind::ReadAbsent;
        let (mut bytes, mut fault) = (0, None);
        let check = op.check && self.checks && !is_absent;
        let (values, number) = (&self.values, op.key);
        let found = read(&*self.engine, &self.key, &self.options, &mut |row| {
            bytes = row.key.len() + row.value.len();
            if check {
                fault = values.check(number, row.value).err();
            }
        })?;
        self.counts.bytes_read += bytes as u64;
        match (found, is_absent) {
            (false, false) => return Err(Failure::missing()),
            (true, true) if self.checks => return Err(Failure::present()),
            _ => {}
        }
        if check {
            self.counts.checked += 1;
        }
        fault.map_or(Ok(()), |fault| Err(Failure::value(fault.to_string())))
    }

    fn scan(&mut self, op: &Op) -> Result<(), Failure> {
        let mut cursor = self.engine.cursor(&self.range, &self.options)?;
        self.walk(op, &mut *cursor)
    }

    /// Walks as far as a scan goes.
    pub(super) fn walk(&mut self, op: &Op, cursor: &mut dyn Cursor) -> Result<(), Failure> {
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
