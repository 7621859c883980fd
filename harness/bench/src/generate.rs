//! `norikv-bench gen`: what a workload does, without an engine that does it.
//!
//! The run phases of a workload, drawn as a run with the same seed draws them. Clients take turns, and each
//! operation is acknowledged at once; so with one thread it is the stream of the run, and with more one of the possible
//! ones. A load is not shown: it inserts key numbers 0, 1, 2, ....

use crate::names::usage;
use crate::out;
use crate::plan::Step;
use anyhow::Result;
use nori_workloads::{
    KeyCodec, KeyFormat, KeyNumber, Ledger, Op, OpKind, OpStream, PhaseKind, StreamId, ValueCodec,
    Workload,
};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

/// The workload file.
pub(crate) fn toml(steps: &[Step]) -> Result<()> {
    let first = steps.first().map(|step| &step.workload);
    if steps.iter().any(|step| Some(&step.workload) != first) {
        return Err(usage("`ycsb` is six workloads; --toml prints one, as in `gen ycsb-a --toml`"));
    }
    let text = first.map_or_else(String::new, Workload::to_toml);
    out::many(|to| to.write_all(text.as_bytes()))
}

/// A line for each operation: its kind and its key, then what else there is to it, with tabs in between.
pub(crate) fn operations(steps: &[Step], seed: u64, is_json: bool) -> Result<()> {
    bounded(steps)?;
    out::many(|to| {
        each(steps, seed, &mut |codecs, stream, op| {
            let mut line = Line::new(codecs, stream, op);
            if is_json { line.json(to) } else { line.plain(to) }
        })
    })
}

/// A line for each key number that was picked, rising: the number and how often. What is inserted is not picked, and
/// an absent key has no number.
pub(crate) fn histogram(steps: &[Step], seed: u64, is_json: bool) -> Result<()> {
    bounded(steps)?;
    let mut counts = Counts::default();
    each(steps, seed, &mut |_, stream, op| {
        match op.kind {
            OpKind::Insert | OpKind::ReadAbsent => {}
            OpKind::Batch => stream.batch().iter().for_each(|number| counts.add(*number)),
            _ => counts.add(op.key),
        }
        Ok(())
    })?;
    out::many(|to| {
        for (number, count) in counts.all() {
            if is_json {
                writeln!(to, "{}", json!({ "key_number": number, "count": count }))?;
            } else {
                writeln!(to, "{number}\t{count}")?;
            }
        }
        Ok(())
    })
}

/// Counts by key number. Most numbers are small and lie close together.
#[derive(Default)]
struct Counts {
    dense: Vec<u64>,
    rest: BTreeMap<KeyNumber, u64>,
}

/// Numbers below are counted in a list: 128 MiB at most.
const DENSE_MAX: u64 = 1 << 24;

impl Counts {
    fn add(&mut self, number: KeyNumber) {
        if number >= DENSE_MAX {
            *self.rest.entry(number).or_default() += 1;
            return;
        }
        let at = number as usize;
        if at >= self.dense.len() {
            self.dense.resize((at + 1).next_power_of_two(), 0);
        }
        self.dense[at] += 1;
    }

    fn all(&self) -> impl Iterator<Item = (KeyNumber, u64)> {
        let dense = (0..).zip(self.dense.iter().copied()).filter(|(_, count)| *count > 0);
        dense.chain(self.rest.iter().map(|(number, count)| (*number, *count)))
    }
}

/// Phases that end with time alone have no number of operations to show.
fn bounded(steps: &[Step]) -> Result<()> {
    let endless = |step: &&Step| {
        step.kind() == PhaseKind::Run && step.workload.phases[step.phase].ops.is_none()
    };
    match steps.iter().find(endless) {
        Some(step) => {
            Err(usage(format!("{} ends after a time; say how many: --ops N", step.label)))
        }
        None => Ok(()),
    }
}

/// Calls `use_op` with each operation of each run phase.
fn each(
    steps: &[Step],
    seed: u64,
    use_op: &mut dyn FnMut(&Codecs, &OpStream, &Op) -> io::Result<()>,
) -> io::Result<()> {
    let mut existing: Option<Arc<Ledger>> = None;
    for (step, number) in steps.iter().zip(0..) {
        if step.kind() != PhaseKind::Run {
            continue;
        }
        let mut step = step.clone();
        let clients = step.workload.phases[step.phase].load.threads;
        let ledger = match &existing {
            Some(existing) => existing.next(clients),
            None => Ledger::new(step.workload.keys.records, clients),
        };
        step.workload.keys.records = ledger.settled();
        let ledger = Arc::new(ledger);
        let codecs = Codecs::new(&step.workload);
        let stream = |client| {
            let id = StreamId { seed, phase: number, client };
            OpStream::new(&step.workload, step.phase, id, Arc::clone(&ledger))
        };
        let mut streams: Vec<OpStream> = (0..clients).map(stream).collect();
        while !streams.is_empty() {
            let mut outcome = Ok(());
            streams.retain_mut(|stream| {
                let Some(op) = stream.next_op() else { return false };
                if outcome.is_ok() {
                    outcome = use_op(&codecs, stream, &op);
                }
                stream.acknowledge(&op);
                true
            });
            outcome?;
        }
        existing = Some(ledger);
    }
    Ok(())
}

/// Writers of a workload's keys and values.
struct Codecs {
    keys: KeyCodec,
    values: ValueCodec,
    is_text: bool,
}

impl Codecs {
    fn new(workload: &Workload) -> Self {
        Self {
            keys: KeyCodec::new(&workload.keys),
            values: ValueCodec::new(&workload.values),
            is_text: matches!(workload.keys.format, KeyFormat::Ycsb { .. }),
        }
    }
}

/// One operation and what is needed to write it.
struct Line<'a> {
    codecs: &'a Codecs,
    op: &'a Op,
    batch: &'a [KeyNumber],
    key: Vec<u8>,
}

impl<'a> Line<'a> {
    fn new(codecs: &'a Codecs, stream: &'a OpStream, op: &'a Op) -> Self {
        let batch = if op.kind == OpKind::Batch { stream.batch() } else { &[] };
        Self { codecs, op, batch, key: Vec::new() }
    }

    /// The key of a number; one of bytes in hexadecimal digits.
    fn key(&mut self, number: KeyNumber) -> String {
        self.codecs.keys.write(number, &mut self.key);
        if self.codecs.is_text {
            return String::from_utf8_lossy(&self.key).into_owned();
        }
        self.key.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn value_bytes(&self, number: KeyNumber) -> usize {
        self.codecs.values.value_bytes(number, self.op.version)
    }

    fn plain(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let op = self.op;
        write!(to, "{}", op.kind.name())?;
        match op.kind {
            OpKind::Batch => {
                for number in self.batch {
                    write!(to, "\t{}\t{}", self.key(*number), self.value_bytes(*number))?;
                }
                return writeln!(to);
            }
            _ => write!(to, "\t{}", self.key(op.key))?,
        }
        match op.kind {
            OpKind::Insert | OpKind::Update | OpKind::Rmw => {
                writeln!(to, "\t{}", self.value_bytes(op.key))
            }
            OpKind::Scan => writeln!(to, "\t{}", op.scan_length),
            OpKind::DeleteRange => {
                writeln!(to, "\t{}", self.key(op.key + u64::from(op.range_length)))
            }
            _ => writeln!(to),
        }
    }

    fn json(&mut self, to: &mut dyn Write) -> io::Result<()> {
        let op = self.op;
        let mut line = json!({ "op": op.kind.name(), "key": self.key(op.key) });
        match op.kind {
            OpKind::Insert | OpKind::Update | OpKind::Rmw => {
                line["value_bytes"] = json!(self.value_bytes(op.key));
            }
            OpKind::Scan => line["scan_length"] = json!(op.scan_length),
            OpKind::DeleteRange => {
                line["end"] = json!(self.key(op.key + u64::from(op.range_length)));
            }
            OpKind::Batch => {
                let batch = self.batch;
                let written = |number: &KeyNumber| json!({ "key": self.key(*number), "value_bytes": self.value_bytes(*number) });
                let writes: Vec<_> = batch.iter().map(written).collect();
                line = json!({ "op": op.kind.name(), "writes": writes });
            }
            _ => {}
        }
        if op.kind != OpKind::ReadAbsent && op.kind != OpKind::Batch {
            line["key_number"] = json!(op.key);
        }
        writeln!(to, "{line}")
    }
}
