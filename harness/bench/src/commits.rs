//! `commits.csv`: where the time of a cluster's writes went, for each phase, node and stage.
//!
//! A node counts the stages of some of its writes in buckets ([`norikv_server`], `/metrics`). What it had counted before a phase is taken off what it has after it. Percentiles are
//! read from buckets, those of several nodes or runs from the sums of their buckets: never from each other.

use crate::out;
use crate::rows::read_csv;
use crate::stored::{Cell, Stored};
use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The file in a run's directory.
pub(crate) const FILE: &str = "commits.csv";
/// The stages in their order, as nodes name them.
pub(crate) const STAGES: [&str; 6] = ["queue", "append", "sync", "replicate", "apply", "reply"];
/// All of them together, in the place of a stage.
pub(crate) const WHOLE: &str = "whole";

/// A node answers a look within this.
const PATIENCE: Duration = Duration::from_secs(10);
/// A percentile rests on so many samples beyond it.
const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// One row. The order of the fields is the order of the columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct CommitRow {
    pub(crate) workload: String,
    pub(crate) phase: String,
    /// From 1.
    pub(crate) node: u32,
    pub(crate) stage: String,
    pub(crate) writes: u64,
    pub(crate) mean_us: Option<f64>,
    pub(crate) p50_us: Option<f64>,
    pub(crate) p99_us: Option<f64>,
    pub(crate) p999_us: Option<f64>,
    /// `low-high:count` of each bucket that has any, in microseconds.
    pub(crate) buckets: String,
}

/// How long something took, by buckets of microseconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Times {
    /// Low and high bound, and how many; rising. The last bound may be infinite.
    buckets: Vec<(f64, f64, u64)>,
    sum_us: f64,
}

impl Times {
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|(.., count)| count).sum()
    }

    pub(crate) fn mean_us(&self) -> Option<f64> {
        (self.count() > 0).then(|| self.sum_us / self.count() as f64)
    }

    /// The time that a share `q` took at most, between the bounds of its bucket by how far in it lies; `None` where too few lie beyond.
    pub(crate) fn quantile_us(&self, q: f64) -> Option<f64> {
        let count = self.count() as f64;
        if count * (1.0 - q) < SAMPLES_BEYOND_MIN - 0.5 {
            return None;
        }
        let mut left = count * q;
        for (low, high, count) in self.buckets.iter().filter(|(.., count)| *count > 0) {
            let count = *count as f64;
            if left <= count {
                return Some(if high.is_finite() {
                    low + (high - low) * left / count
                } else {
                    *low
                });
            }
            left -= count;
        }
        None
    }

    /// What was added since `before`, which has the same buckets or none.
    fn since(&self, before: &Self) -> Self {
        let held = |n: usize| before.buckets.get(n).map_or(0, |(.., count)| *count);
        let less = |(n, (low, high, count)): (usize, &(f64, f64, u64))| {
            (*low, *high, count.saturating_sub(held(n)))
        };
        Self {
            buckets: self.buckets.iter().enumerate().map(less).collect(),
            sum_us: (self.sum_us - before.sum_us).max(0.0),
        }
    }

    /// The times of both.
    fn add(&mut self, other: &Self) {
        for (low, high, count) in &other.buckets {
            match self.buckets.iter_mut().find(|of| (of.0, of.1) == (*low, *high)) {
                Some(of) => of.2 += count,
                None => self.buckets.push((*low, *high, *count)),
            }
        }
        self.buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        self.sum_us += other.sum_us;
    }

    fn encode(&self) -> String {
        let mut text = String::new();
        for (low, high, count) in self.buckets.iter().filter(|(.., count)| *count > 0) {
            let gap = if text.is_empty() { "" } else { " " };
            // Writing to a string does not fail.
            let _ = write!(text, "{gap}{low}-{high}:{count}");
        }
        text
    }

    fn decode(text: &str, sum_us: f64) -> Option<Self> {
        let bucket = |word: &str| {
            let (bounds, count) = word.split_once(':')?;
            let (low, high) = bounds.split_once('-')?;
            Some((low.parse().ok()?, high.parse().ok()?, count.parse().ok()?))
        };
        let buckets = text.split_whitespace().map(bucket).collect::<Option<_>>()?;
        Some(Self { buckets, sum_us })
    }
}

/// What nodes have counted, each by stage.
type Counted = Vec<BTreeMap<String, Times>>;

/// The stages in the text of `/metrics`.
fn parse(text: &str) -> BTreeMap<String, Times> {
    let mut all: BTreeMap<String, Times> = BTreeMap::new();
    // Of each stage, how many were counted up to the last bound, and that bound.
    let mut through: BTreeMap<String, (f64, u64)> = BTreeMap::new();
    for line in text.lines() {
        let Some(rest) = line.strip_prefix("norikv_commit_") else { continue };
        let Some((name, value)) = rest.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let stage = label(name, "stage").unwrap_or(WHOLE).to_owned();
        if let Some(bound) = label(name, "le") {
            let micros = |seconds: f64| (seconds * 1e9).round() / 1e3;
            let high =
                if bound == "+Inf" { f64::INFINITY } else { bound.parse().map_or(0.0, micros) };
            let (low, before) =
                through.insert(stage.clone(), (high, value as u64)).unwrap_or_default();
            let count = (value as u64).saturating_sub(before);
            all.entry(stage).or_default().buckets.push((low, high, count));
        } else if name.split('{').next().is_some_and(|name| name.ends_with("_sum")) {
            all.entry(stage).or_default().sum_us = value * 1e6;
        }
    }
    all
}

/// The value of a label.
fn label<'n>(name: &'n str, label: &str) -> Option<&'n str> {
    let (_, rest) = name.split_once(&format!("{label}=\""))?;
    rest.split('"').next()
}

/// Asks a node what it has counted.
fn scrape(at: SocketAddr) -> Result<BTreeMap<String, Times>> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {at}\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer of HTTP")?;
    let status = head.lines().next().unwrap_or_default();
    ensure!(status.contains(" 200 "), "it answered `{status}`");
    Ok(parse(body))
}

/// Keeps what the nodes of a cluster count.
pub(crate) struct Commits {
    /// Where each node tells its counts.
    nodes: Vec<SocketAddr>,
    path: PathBuf,
    before: Counted,
    rows: Vec<CommitRow>,
}

impl Commits {
    pub(crate) fn new(nodes: Vec<SocketAddr>, dir: &Path) -> Self {
        Self { nodes, path: dir.join(FILE), before: Vec::new(), rows: Vec::new() }
    }

    fn look(&self) -> Result<Counted> {
        let of_node = |at: &SocketAddr| {
            scrape(*at).with_context(|| format!("asking the node at {at} what it has counted"))
        };
        self.nodes.iter().map(of_node).collect()
    }

    /// A phase begins.
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.before = self.look()?;
        Ok(())
    }

    /// It has ended: what came of it is in the file. A node that led no write of it has no row.
    pub(crate) fn end(&mut self, workload: &str, phase: &str) -> Result<()> {
        for (n, (after, before)) in self.look()?.iter().zip(&self.before).enumerate() {
            for stage in STAGES.into_iter().chain([WHOLE]) {
                let none = Times::default();
                let (Some(after), before) = (after.get(stage), before.get(stage).unwrap_or(&none))
                else {
                    continue;
                };
                let times = after.since(before);
                if times.count() == 0 {
                    continue;
                }
                self.rows.push(CommitRow {
                    workload: workload.to_owned(),
                    phase: phase.to_owned(),
                    node: n as u32 + 1,
                    stage: stage.to_owned(),
                    writes: times.count(),
                    mean_us: times.mean_us(),
                    p50_us: times.quantile_us(0.5),
                    p99_us: times.quantile_us(0.99),
                    p999_us: times.quantile_us(0.999),
                    buckets: times.encode(),
                });
            }
        }
        if self.rows.is_empty() {
            return Ok(());
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        for row in &self.rows {
            writer.serialize(row)?;
        }
        out::replace(&self.path, &writer.into_inner().map_err(csv::IntoInnerError::into_error)?)
    }
}

/// The rows of a run; none where it is of no cluster of ours, or of a version that did not keep them.
pub(crate) fn read(dir: &Path) -> Result<Vec<CommitRow>> {
    let path = dir.join(FILE);
    if !path.exists() {
        return Ok(Vec::new());
    }
    let rows: Vec<CommitRow> = read_csv(&path)?;
    for row in &rows {
        let is_whole = times_of(row).is_some_and(|times| times.count() == row.writes);
        ensure!(
            is_whole,
            "{} has not the buckets of {} {} {}: it is damaged",
            path.display(),
            row.workload,
            row.phase,
            row.stage
        );
    }
    Ok(rows)
}

fn times_of(row: &CommitRow) -> Option<Times> {
    Times::decode(&row.buckets, row.mean_us.unwrap_or(0.0) * row.writes as f64)
}

/// The stages of a target's writes in a phase, and their whole: all nodes and blocks together. Empty where nothing was counted.
pub(crate) fn stages(
    stored: &Stored,
    cell: &Cell,
    target: &str,
) -> Result<BTreeMap<String, Times>> {
    let mut all: BTreeMap<String, Times> = BTreeMap::new();
    for run in stored.runs.iter().filter(|run| run.manifest.engine.target == target) {
        for row in read(&run.dir)? {
            if (&row.workload, &row.phase) == (&cell.workload, &cell.phase)
                && let Some(times) = times_of(&row)
            {
                all.entry(row.stage).or_default().add(&times);
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# TYPE norikv_commit_seconds histogram
norikv_commit_seconds_bucket{le=\"0.000001\"} 0
norikv_commit_seconds_bucket{le=\"0.00000125\"} 40
norikv_commit_seconds_bucket{le=\"+Inf\"} 50
norikv_commit_seconds_sum 0.5
norikv_commit_seconds_count 50
norikv_commit_stage_seconds_bucket{stage=\"sync\",le=\"0.000001\"} 7
norikv_commit_stage_seconds_bucket{stage=\"sync\",le=\"+Inf\"} 7
norikv_commit_stage_seconds_sum{stage=\"sync\"} 0.000006
norikv_rpc_requests_total{kind=\"get\",result=\"OK\"} 3
";

    #[test]
    fn what_a_node_tells_is_read_by_stage() {
        let all = parse(TEXT);
        assert_eq!(all.keys().collect::<Vec<_>>(), ["sync", WHOLE]);
        let whole = &all[WHOLE];
        let buckets = [(0.0, 1.0, 0), (1.0, 1.25, 40), (1.25, f64::INFINITY, 10)];
        assert_eq!(whole.buckets, buckets);
        assert_eq!((whole.count(), whole.mean_us()), (50, Some(10_000.0)));
        assert_eq!((all["sync"].count(), all["sync"].sum_us.round()), (7, 6.0));
    }

    #[test]
    fn percentiles_lie_within_their_buckets_and_need_samples_beyond() {
        let times = &parse(TEXT)[WHOLE];
        assert_eq!(times.quantile_us(0.4), Some(1.125), "half of the way through a bucket");
        assert_eq!(times.quantile_us(0.99), None);
        assert_eq!(Times::default().mean_us(), None);
    }

    #[test]
    fn counts_of_nodes_add_up_and_those_of_before_are_taken_off() {
        let after = parse(TEXT)[WHOLE].clone();
        let mut both = after.clone();
        both.add(&Times { buckets: vec![(1.0, 1.25, 2), (9.0, 10.0, 1)], sum_us: 12.0 });
        assert_eq!((both.count(), both.sum_us), (53, 500_012.0));
        assert_eq!(both.encode(), "1-1.25:42 1.25-inf:10 9-10:1");
        assert_eq!(Times::decode(&after.encode(), 1.0).unwrap().count(), 50);
        let none = after.since(&after);
        assert_eq!((none.count(), none.encode().as_str()), (0, ""));
        assert!(Times::decode("1-2:x", 0.0).is_none());
    }
}
