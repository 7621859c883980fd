//! How a phase of a run went over time, read back from its files: seconds, levels, and what the engine did meanwhile.
//!
//! Series count seconds from the run's beginning, events microseconds of the engine's own clock. The events of phases bear
//! both, and so put everything on one axis, which begins with the phase. What an engine did has a beginning and an
//! end: an event of an end says how long it took; what began and did not end goes on to the end of the axis.

use crate::rows::ALL;
use crate::series::{IntervalRow, LevelRow, read_intervals, read_levels};
use crate::stored::{Cell, StoredRun};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// Fewer seconds are no course.
pub(crate) const SECONDS_MIN: usize = 5;

/// A phase over time.
pub(crate) struct Course {
    /// All kinds of operation together. `t_s` counts from the beginning of the phase, here and below.
    pub(crate) seconds: Vec<IntervalRow>,
    /// Empty for an engine without levels.
    pub(crate) levels: Vec<LevelRow>,
    /// In order of their beginnings. Empty for an engine that tells nothing.
    pub(crate) works: Vec<Work>,
    pub(crate) length_s: f64,
}

/// Something that took its time.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Work {
    /// `begin_s <= end_s`
    pub(crate) begin_s: f64,
    pub(crate) end_s: f64,
    pub(crate) what: What,
    /// Why it was done. Empty if the engine did not say.
    pub(crate) reason: String,
    /// The level that the reason names.
    pub(crate) level: Option<u8>,
    pub(crate) bytes_out: u64,
}

/// What an engine does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Flush,
    /// Into this level.
    Compaction(u8),
    /// Writers wait, or are only slowed down.
    Stall {
        is_stop: bool,
    },
}

impl Work {
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.begin_s <= other.end_s && other.begin_s <= self.end_s
    }

    /// Whether this is what the stall waits for: a flush where memtables are full, else work on the level that is full.
    pub(crate) fn holds_up(&self, stall: &Self) -> bool {
        let is_awaited = match self.what {
            What::Flush => stall.level.is_none(),
            What::Compaction(_) => stall.level.is_some() && self.level == stall.level,
            What::Stall { .. } => false,
        };
        is_awaited && self.overlaps(stall)
    }
}

/// A line of `events.jsonl`, as far as it matters here.
#[derive(Deserialize)]
struct Line {
    #[serde(default)]
    t_us: u64,
    kind: String,
    t_s: Option<f64>,
    #[serde(default)]
    reason: String,
    level: Option<u8>,
    level_out: Option<u8>,
    job: Option<u64>,
    is_stop: Option<u64>,
    took_micros: Option<u64>,
    #[serde(default)]
    bytes_out: u64,
}

impl Course {
    /// The course of a phase; `None` where there is too little of it, or the run is of a version that did not keep it.
    pub(crate) fn read(run: &StoredRun, cell: &Cell) -> Result<Option<Self>> {
        let is_of = |row: &IntervalRow| {
            row.op == ALL && row.workload == cell.workload && row.phase == cell.phase
        };
        let mut seconds = read_intervals(&run.dir)?;
        seconds.retain(is_of);
        let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else { return Ok(None) };
        let (begin_s, end_s) = (first.t_s, last.t_s + last.seconds);
        if seconds.len() < SECONDS_MIN {
            return Ok(None);
        }
        let length_s = end_s - begin_s;
        seconds.iter_mut().for_each(|row| row.t_s -= begin_s);
        let mut levels = read_levels(&run.dir)?;
        levels.retain(|row| (begin_s..=end_s + 1.0).contains(&row.t_s));
        levels.iter_mut().for_each(|row| row.t_s = (row.t_s - begin_s).min(length_s));
        let mut works = read_works(&run.dir.join("events.jsonl"))?;
        works.retain(|work| work.end_s >= begin_s && work.begin_s <= end_s);
        for work in &mut works {
            work.begin_s = (work.begin_s - begin_s).max(0.0);
            work.end_s = (work.end_s - begin_s).min(length_s);
        }
        works.sort_by(|a, b| a.begin_s.total_cmp(&b.begin_s));
        Ok(Some(Self { seconds, levels, works, length_s }))
    }

    pub(crate) fn stalls(&self) -> impl Iterator<Item = &Work> {
        self.works.iter().filter(|work| matches!(work.what, What::Stall { .. }))
    }

    /// Whether operations had their times.
    pub(crate) fn is_open(&self) -> bool {
        self.seconds.iter().any(|row| row.offered.is_some())
    }
}

/// What the file tells, on the clock of the series.
fn read_works(path: &Path) -> Result<Vec<Work>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    // The last line of a run that was killed may be cut off; of one that ended it has been looked at.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = Vec::new();
    for (number, line) in whole.lines().enumerate() {
        let line: Line = serde_json::from_str(line)
            .with_context(|| format!("{}:{}", path.display(), number + 1))?;
        lines.push(line);
    }
    Ok(works(&lines))
}

fn works(lines: &[Line]) -> Vec<Work> {
    let both = lines.iter().find_map(|line| Some((line.t_us as f64 / 1e6, line.t_s?)));
    let Some((engine_s, series_s)) = both else { return Vec::new() };
    let at = |line: &Line| line.t_us as f64 / 1e6 - engine_s + series_s;
    let mut works = Vec::new();
    // What has begun: of each kind and job the line that says so.
    let mut begun: BTreeMap<(&str, u64), &Line> = BTreeMap::new();
    for line in lines {
        let Some(what) = what_of(line) else { continue };
        let (kind, is_end) =
            line.kind.rsplit_once('_').map_or(("", false), |(kind, edge)| (kind, edge == "end"));
        let key = (kind, line.job.or(line.is_stop).unwrap_or(0));
        if !is_end {
            begun.insert(key, line);
            continue;
        }
        begun.remove(&key);
        let end_s = at(line);
        let begin_s = end_s - line.took_micros.unwrap_or(0) as f64 / 1e6;
        works.push(work(line, what, begin_s, end_s));
    }
    let unended = begun.into_values().filter_map(|line| {
        let begin_s = at(line);
        Some(work(line, what_of(line)?, begin_s, f64::INFINITY))
    });
    works.extend(unended);
    works
}

fn what_of(line: &Line) -> Option<What> {
    match line.kind.as_str() {
        "flush_begin" | "flush_end" => Some(What::Flush),
        "compaction_begin" | "compaction_end" => line.level_out.map(What::Compaction),
        "stall_begin" | "stall_end" => Some(What::Stall { is_stop: line.is_stop != Some(0) }),
        _ => None,
    }
}

fn work(line: &Line, what: What, begin_s: f64, end_s: f64) -> Work {
    let (reason, level, bytes_out) = (line.reason.clone(), line.level, line.bytes_out);
    Work { begin_s, end_s, what, reason, level, bytes_out }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVENTS: &str = r#"{"t_us":5000000,"kind":"phase_begin","workload":"w","phase":"run","t_s":1.0}
{"t_us":6000000,"kind":"compaction_begin","reason":"run_count","level":0,"level_out":1,"job":3,"bytes_in":9}
{"t_us":6500000,"kind":"stall_begin","reason":"run_count","level":0,"is_stop":1}
{"t_us":6600000,"kind":"flush_end","reason":"memtable_full","bytes_out":70,"took_micros":50000}
{"t_us":7000000,"kind":"compaction_end","reason":"run_count","level":0,"level_out":1,"job":3,"bytes_out":8,"took_micros":1000000}
{"t_us":7000100,"kind":"stall_end","reason":"run_count","level":0,"is_stop":1,"took_micros":500100}
{"t_us":7500000,"kind":"compaction_begin","reason":"level_saturation","level":1,"level_out":2,"job":4}
{"t_us":8000000,"kind":"phase_end","workload":"w","phase":"run","t_s":4.0}"#;

    fn read(text: &str) -> Vec<Work> {
        let lines: Vec<Line> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        works(&lines)
    }

    #[test]
    fn events_become_spans_on_the_clock_of_the_series() {
        let works = read(EVENTS);
        let spans: Vec<(What, f64, f64)> =
            works.iter().map(|work| (work.what, work.begin_s, work.end_s)).collect();
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(spans[0].0 == What::Flush && near(spans[0].1, 2.55) && near(spans[0].2, 2.6));
        assert!(spans[1].0 == What::Compaction(1) && near(spans[1].1, 2.0));
        assert!(spans[2].0 == What::Stall { is_stop: true } && near(spans[2].1, 2.5));
        assert!(spans[3].0 == What::Compaction(2) && spans[3].2.is_infinite(), "it goes on");
        assert_eq!(spans.len(), 4);
    }

    #[test]
    fn a_stall_lies_over_the_compaction_it_waits_for() {
        let works = read(EVENTS);
        let stall = &works[2];
        assert!(works[1].holds_up(stall), "the compaction out of the level that is full");
        assert!(!works[0].holds_up(stall), "no flush empties a level");
        assert!(!works[3].holds_up(stall), "another level, and later");
    }

    #[test]
    fn without_both_clocks_nothing_is_placed() {
        assert!(read(&EVENTS.replace(",\"t_s\":1.0", "").replace(",\"t_s\":4.0", "")).is_empty());
    }

    #[test]
    fn a_last_line_that_was_cut_off_is_left_out_and_any_other_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.jsonl");
        std::fs::write(&path, EVENTS.to_owned() + "\n{\"t_us\":8100000,\"kind\":\"flu").unwrap();
        assert_eq!(read_works(&path).unwrap(), read(EVENTS));
        std::fs::write(&path, EVENTS.replacen("\"job\":3,", "\"job\":", 1) + "\n").unwrap();
        let error = format!("{:#}", read_works(&path).unwrap_err());
        assert!(error.contains("events.jsonl:2"), "{error}");
    }
}
