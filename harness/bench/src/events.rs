//! `events.jsonl`: what the engine and the run did, each with its time.
//!
//! The engine sends events through its meter, from any of its threads; the registry keeps them in memory,
//! and they are written when a phase has ended, so that writing them never gets between the operations that are measured.

use anyhow::{Context, Result};
use nori_observe::{Registry, VizEvent};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// A moment on both clocks of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// On the engine's clock, which stamps its events.
    pub(crate) nanos: u64,
    /// Seconds since the run's first phase began: the clock of the series.
    pub(crate) t_s: f64,
}

/// A rate that is a share of what a closed loop reached.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Calibrated {
    pub(crate) closed_ops_per_s: f64,
    /// How long the closed loop ran.
    pub(crate) seconds: f64,
    /// Operations a second of the open loop.
    pub(crate) rate: f64,
}

/// The file.
pub(crate) struct EventLog(BufWriter<File>);

impl EventLog {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(BufWriter::new(file)))
    }

    /// Notes that the run began or ended a phase. Both clocks stand in the line, so that who reads it can put events
    /// and series on one axis.
    pub(crate) fn phase(
        &mut self,
        at: Moment,
        kind: &str,
        workload: &str,
        phase: &str,
    ) -> Result<()> {
        let line = serde_json::json!({
            "t_us": at.nanos / 1_000, "kind": kind, "workload": workload, "phase": phase, "t_s": at.t_s,
        });
        Ok(writeln!(self.0, "{line}")?)
    }

    /// Notes what an open loop's rate was made from.
    pub(crate) fn calibrated(&mut self, at: Moment, calibrated: &Calibrated) -> Result<()> {
        let line = serde_json::json!({
            "t_us": at.nanos / 1_000, "kind": "calibrated", "t_s": at.t_s,
            "closed_ops_per_s": calibrated.closed_ops_per_s,
            "seconds": calibrated.seconds, "offered_rate": calibrated.rate,
        });
        Ok(writeln!(self.0, "{line}")?)
    }

    /// Writes what the registry kept since the last call.
    pub(crate) fn drain(&mut self, registry: &Registry) -> Result<()> {
        let (events, dropped) = registry.drain_events();
        for event in events {
            writeln!(self.0, "{}", line(&event))?;
        }
        if dropped > 0 {
            writeln!(self.0, "{}", serde_json::json!({ "kind": "dropped", "events": dropped }))?;
        }
        Ok(self.0.flush()?)
    }
}

fn line(event: &VizEvent) -> Value {
    let mut object = Map::new();
    object.insert("t_us".into(), (event.at_nanos / 1_000).into());
    object.insert("kind".into(), event.kind.into());
    if !event.why.is_empty() {
        object.insert("reason".into(), event.why.clone().into());
    }
    for (name, number) in &event.fields {
        object.insert((*name).into(), (*number).into());
    }
    Value::Object(object)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_observe::Meter;

    #[test]
    fn events_become_lines_with_their_numbers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        let queue = Registry::default();
        queue.event(VizEvent {
            at_nanos: 5_000,
            kind: "flush_end",
            why: "memtable_full".into(),
            fields: vec![("bytes_out", 7)],
        });
        let mut log = EventLog::create(&path).unwrap();
        log.phase(Moment { nanos: 1_000, t_s: 0.5 }, "phase_begin", "ycsb", "load").unwrap();
        log.drain(&queue).unwrap();
        log.drain(&queue).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<Value> = text.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!((&lines[0]["t_us"], &lines[0]["phase"]), (&1.into(), &"load".into()));
        assert_eq!(
            (&lines[1]["bytes_out"], &lines[1]["reason"]),
            (&7.into(), &"memtable_full".into())
        );
    }
}
