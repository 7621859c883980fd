//! All counts in the text format of Prometheus, version 0.0.4.
//!
//! 1. A name of the house is `snake_case` with its unit last (`wal_bytes`, `stall_micros`). On the wire it is `norikv_` and that in base units, with `_total` behind it
//!    if it only grows: `norikv_wal_bytes_total`, `norikv_stall_seconds_total`.
//! 2. Beside what the parts fetched by name there are numbers with labels, which whoever knows them writes when they are asked for ([`Labelled`]).
//!
//! Source: the exposition formats and the naming rules in Prometheus' documentation.

use nori_observe::{Counter, Gauge, Meter, Times, VizEvent};
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

/// Events that are kept for whoever asks; older ones go, and are counted.
const EVENTS_MAX: usize = 4_096;

/// A label and its value.
pub type Label<'l> = (&'l str, &'l str);

/// Takes numbers with labels.
#[derive(Debug, Default)]
pub struct Labelled {
    /// By full name: what it is, what it means, and its lines.
    families: BTreeMap<String, Family>,
}

#[derive(Debug)]
struct Family {
    kind: &'static str,
    help: String,
    lines: Vec<String>,
}

impl Labelled {
    /// A number that is set.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[Label<'_>], value: f64) {
        self.put("gauge", format!("norikv_{name}"), help, labels, value);
    }

    /// A number that only grows.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[Label<'_>], value: f64) {
        self.put("counter", format!("norikv_{name}_total"), help, labels, value);
    }

    /// Times; the name says `seconds`, as all of them are on the wire.
    pub fn histogram(&mut self, name: &str, help: &str, labels: &[Label<'_>], times: &Times) {
        let name = format!("norikv_{name}");
        let new = || Family { kind: "histogram", help: help.to_owned(), lines: Vec::new() };
        let lines = &mut self.families.entry(name.clone()).or_insert_with(new).lines;
        let mut through = 0;
        for (bound_micros, count) in times.buckets() {
            through += count;
            let bound =
                bound_micros.map_or("+Inf".to_owned(), |micros| format!("{}", micros / 1e6));
            let with_bound = [labels, &[("le", bound.as_str())]].concat();
            lines.push(format!("{name}_bucket{} {through}", braced(&with_bound)));
        }
        let seconds = times.sum_nanos as f64 / 1e9;
        lines.push(format!("{name}_sum{} {seconds}", braced(labels)));
        lines.push(format!("{name}_count{} {through}", braced(labels)));
    }

    fn put(
        &mut self,
        kind: &'static str,
        name: String,
        help: &str,
        labels: &[Label<'_>],
        value: f64,
    ) {
        let line = format!("{name}{} {value}", braced(labels));
        let new = || Family { kind, help: help.to_owned(), lines: Vec::new() };
        self.families.entry(name).or_insert_with(new).lines.push(line);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (name, Family { kind, help, lines }) in &self.families {
            // Writing to a string does not fail.
            let _ = writeln!(text, "# HELP {name} {help}");
            let _ = writeln!(text, "# TYPE {name} {kind}");
            lines.iter().for_each(|line| {
                let _ = writeln!(text, "{line}");
            });
        }
        text
    }
}

/// Labels as they stand behind a name; nothing where there are none.
fn braced(labels: &[Label<'_>]) -> String {
    if labels.is_empty() {
        return String::new();
    }
    let all: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", all.join(","))
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[derive(Debug, Default)]
struct Inner {
    counters: BTreeMap<&'static str, Counter>,
    gauges: BTreeMap<&'static str, Gauge>,
    events: VecDeque<VizEvent>,
    events_dropped: u64,
}

/// The counts of a server.
#[derive(Debug, Default)]
pub struct Exposition {
    inner: Mutex<Inner>,
}

impl Exposition {
    /// All of them as text, with what `more` adds.
    pub fn text(&self, more: impl FnOnce(&mut Labelled)) -> String {
        let mut all = Labelled::default();
        {
            let inner = self.inner.lock();
            for (name, counter) in &inner.counters {
                let (name, scale) = based(name);
                all.counter(&name, &words(&name), &[], counter.value() as f64 * scale);
            }
            for (name, gauge) in &inner.gauges {
                let (name, scale) = based(name);
                all.gauge(&name, &words(&name), &[], gauge.value() as f64 * scale);
            }
            let dropped = inner.events_dropped as f64;
            all.counter("events_dropped", "Events that went before anybody asked.", &[], dropped);
        }
        more(&mut all);
        all.text()
    }

    /// Takes the events since the last call, oldest first.
    pub fn drain_events(&self) -> Vec<VizEvent> {
        std::mem::take(&mut self.inner.lock().events).into()
    }
}

/// A name in base units, and what its numbers are multiplied by.
fn based(name: &str) -> (String, f64) {
    let units = [("_nanos", 1e-9), ("_micros", 1e-6), ("_millis", 1e-3)];
    for (unit, scale) in units {
        if let Some(stem) = name.strip_suffix(unit) {
            return (format!("{stem}_seconds"), scale);
        }
    }
    (name.to_owned(), 1.0)
}

/// What a name says, as a sentence.
fn words(name: &str) -> String {
    let mut text = name.replace('_', " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text + "."
}

impl Meter for Exposition {
    fn counter(&self, name: &'static str) -> Counter {
        self.inner.lock().counters.entry(name).or_default().clone()
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        self.inner.lock().gauges.entry(name).or_default().clone()
    }

    fn event(&self, event: VizEvent) {
        let mut inner = self.inner.lock();
        if inner.events.len() >= EVENTS_MAX {
            inner.events.pop_front();
            inner.events_dropped += 1;
        }
        inner.events.push_back(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_in_base_units_with_help_and_type() {
        let exposition = Exposition::default();
        exposition.counter("stall_micros").add(1_500_000);
        exposition.gauge("debt_bytes").set(7);
        let text = exposition.text(|more| {
            more.gauge("raft_is_leader", "Whether it leads.", &[("shard", "3")], 1.0);
            more.gauge("raft_is_leader", "Whether it leads.", &[("shard", "a\"b")], 0.0);
        });
        for line in [
            "# HELP norikv_debt_bytes Debt bytes.",
            "# TYPE norikv_debt_bytes gauge",
            "norikv_debt_bytes 7",
            "# TYPE norikv_stall_seconds_total counter",
            "norikv_stall_seconds_total 1.5",
            "norikv_raft_is_leader{shard=\"3\"} 1",
            "norikv_raft_is_leader{shard=\"a\\\"b\"} 0",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} in\n{text}");
        }
        assert_eq!(text.matches("# TYPE norikv_raft_is_leader ").count(), 1);
    }

    #[test]
    fn times_are_counted_up_to_each_bound_and_end_with_their_sum() {
        let times = nori_observe::Histogram::default();
        for micros in [3, 3, 1_500, 60_000_000] {
            times.record(std::time::Duration::from_micros(micros));
        }
        let text = Exposition::default().text(|more| {
            let labels = [("stage", "sync")];
            more.histogram("commit_stage_seconds", "By stage.", &labels, &times.snapshot());
        });
        for line in [
            "# TYPE norikv_commit_stage_seconds histogram",
            "norikv_commit_stage_seconds_bucket{stage=\"sync\",le=\"0.000002\"} 0",
            "norikv_commit_stage_seconds_bucket{stage=\"sync\",le=\"0.000003\"} 2",
            "norikv_commit_stage_seconds_bucket{stage=\"sync\",le=\"0.001536\"} 3",
            "norikv_commit_stage_seconds_bucket{stage=\"sync\",le=\"+Inf\"} 4",
            "norikv_commit_stage_seconds_sum{stage=\"sync\"} 60.001506",
            "norikv_commit_stage_seconds_count{stage=\"sync\"} 4",
        ] {
            assert!(text.lines().any(|of| of == line), "{line} in\n{text}");
        }
    }

    #[test]
    fn the_newest_events_are_kept() {
        let exposition = Exposition::default();
        for at_nanos in 0..EVENTS_MAX as u64 + 3 {
            let why = std::borrow::Cow::Borrowed("");
            exposition.event(VizEvent { at_nanos, kind: "flush_end", why, fields: vec![] });
        }
        let events = exposition.drain_events();
        assert_eq!((events.len(), events[0].at_nanos), (EVENTS_MAX, 3));
        assert!(exposition.text(|_| {}).contains("norikv_events_dropped_total 3"));
    }
}
