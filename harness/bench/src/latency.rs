//! Latencies: one histogram per kind of operation, written as interval logs that other tools read.
//!
//! Recorded in nanoseconds from 1 ns to 60 s with three digits; a longer one counts as 60 s. A file
//! `latency/*.hlog` holds one interval a second and kind of operation (HdrHistogram V2, compressed, with
//! StartTime and BaseTime, `Interval_Max` in milliseconds); a `.hgrm` holds the whole phase as the
//! percentile table that HdrHistogram's plotter takes. The plots and tables of the report are made from
//! these files, so what is not in them is not shown. Intervals are written as they come and not kept.

use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use hdrhistogram::serialization::interval_log::{
    IntervalLogIterator, IntervalLogWriterBuilder, LogEntry, Tag,
};
use hdrhistogram::serialization::{Deserializer, V2DeflateSerializer};
use nori_workloads::OpKind;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Longest latency told apart, in nanoseconds.
const NANOS_MAX: u64 = 60_000_000_000;
const DIGITS: u8 = 3;
/// `Interval_Max` is written in milliseconds, as Java's tools expect.
const NANOS_PER_MILLI: f64 = 1e6;
/// A percentile is told only if so many samples lie beyond it.
const SAMPLES_BEYOND_MIN: f64 = 10.0;

/// An empty histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, NANOS_MAX, DIGITS).expect("1 ns to 60 s with 3 digits is legal")
}

/// Latencies of the kinds of operation.
#[derive(Clone, Debug)]
pub(crate) struct Latencies([Histogram<u64>; OpKind::ALL.len()]);

impl Latencies {
    pub(crate) fn new() -> Self {
        Self(std::array::from_fn(|_| histogram()))
    }

    pub(crate) fn record(&mut self, kind: OpKind, nanos: u64) {
        self.0[kind as usize].saturating_record(nanos.max(1));
    }

    pub(crate) fn of(&self, kind: OpKind) -> &Histogram<u64> {
        &self.0[kind as usize]
    }

    /// Adds what was recorded in `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            if !theirs.is_empty() {
                mine.add(theirs).expect("both have the same bounds");
            }
        }
    }

    /// Forgets everything; keeps the memory.
    pub(crate) fn clear(&mut self) {
        for histogram in self.0.iter_mut().filter(|histogram| !histogram.is_empty()) {
            histogram.reset();
        }
    }

    /// The kinds of which there is at least one, in the order of tables.
    pub(crate) fn seen(&self) -> impl Iterator<Item = (OpKind, &Histogram<u64>)> {
        OpKind::ALL.into_iter().map(|kind| (kind, self.of(kind))).filter(|(_, h)| !h.is_empty())
    }

    /// All kinds in one.
    pub(crate) fn total(&self) -> Histogram<u64> {
        let mut total = histogram();
        for (_, one) in self.seen() {
            total.add(one).expect("both have the same bounds");
        }
        total
    }
}

/// What only an open loop has: times from when operations were meant to be sent, and how late an idle client sent them.
#[derive(Clone, Debug)]
pub(crate) struct OpenLatencies {
    response: Latencies,
    lag: Histogram<u64>,
    /// Time in which operations were overdue: of it in the engine, and of it the client's own.
    behind_in_engine_nanos: u64,
    behind_own_nanos: u64,
}

impl OpenLatencies {
    pub(crate) fn new() -> Self {
        Self {
            response: Latencies::new(),
            lag: histogram(),
            behind_in_engine_nanos: 0,
            behind_own_nanos: 0,
        }
    }

    /// Notes a response time.
    pub(crate) fn record(&mut self, kind: OpKind, nanos: u64) {
        self.response.record(kind, nanos);
    }

    /// Notes how late a client sent that had been waiting to send.
    pub(crate) fn record_lag(&mut self, nanos: u64) {
        self.lag.saturating_record(nanos.max(1));
    }

    /// Notes what an overdue operation still took: the client, until it sent it, and the engine.
    pub(crate) fn record_behind(&mut self, own_nanos: u64, in_engine_nanos: u64) {
        self.behind_own_nanos += own_nanos;
        self.behind_in_engine_nanos += in_engine_nanos;
    }

    /// The share of the client's own in the time in which operations were overdue.
    pub(crate) fn own_share(&self) -> f64 {
        let own = self.behind_own_nanos as f64;
        own / (own + self.behind_in_engine_nanos as f64).max(1.0)
    }

    pub(crate) fn response(&self) -> &Latencies {
        &self.response
    }

    pub(crate) fn lag(&self) -> &Histogram<u64> {
        &self.lag
    }

    /// Adds what was recorded in `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        self.response.add(&other.response);
        self.lag.add(&other.lag).expect("both have the same bounds");
        self.record_behind(other.behind_own_nanos, other.behind_in_engine_nanos);
    }

    /// Forgets everything; keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.response.clear();
        self.lag.reset();
        (self.behind_in_engine_nanos, self.behind_own_nanos) = (0, 0);
    }
}

/// Which of an open loop's two times a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Measure {
    /// From sending to the answer.
    Service,
    /// From when it was meant to be sent to the answer.
    Response,
}

impl Measure {
    /// The file of a phase's intervals.
    pub(crate) fn log_name(self, stem: &str) -> String {
        match self {
            Self::Service => format!("{stem}.hlog"),
            Self::Response => format!("{stem}.response.hlog"),
        }
    }

    /// The word in names of percentile tables and in comments.
    fn name(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Response => "response",
        }
    }
}

/// The latency in microseconds below which a share `q` of the samples lies; `None` where fewer than ten
/// samples lie beyond it, for then it would be an accident.
pub(crate) fn quantile_us(histogram: &Histogram<u64>, q: f64) -> Option<f64> {
    let beyond = histogram.len() as f64 * (1.0 - q);
    // Half a sample of slack: n (1 - q) of exactly 10 must not fail by rounding.
    (beyond >= SAMPLES_BEYOND_MIN - 0.5).then(|| histogram.value_at_quantile(q) as f64 / 1_000.0)
}

/// The file of the intervals of one phase. Each interval is in the file when [`push`](Self::push) returns, and nothing
/// of it is kept.
pub(crate) struct IntervalLog {
    path: PathBuf,
    file: File,
    header: IntervalLogWriterBuilder,
    serializer: V2DeflateSerializer,
    /// One interval as text. Kept for its memory.
    lines: Vec<u8>,
}

impl IntervalLog {
    /// Creates the file in `dir` for a phase that begins at `started`.
    pub(crate) fn create(
        dir: &Path,
        stem: &str,
        measure: Measure,
        started: SystemTime,
    ) -> Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("creating {}", dir.display()))?;
        let path = dir.join(measure.log_name(stem));
        let mut file =
            File::create(&path).with_context(|| format!("creating {}", path.display()))?;
        let mut serializer = V2DeflateSerializer::new();
        let comment = format!(
            "{} times of norikv-bench, in nanoseconds; the tag is the operation",
            measure.name()
        );
        IntervalLogWriterBuilder::new()
            .add_comment(&comment)
            .with_start_time(started)
            .with_base_time(started)
            .with_max_value_divisor(NANOS_PER_MILLI)
            .begin_log_with(&mut file, &mut serializer)?;
        let mut header = IntervalLogWriterBuilder::new();
        header.with_max_value_divisor(NANOS_PER_MILLI);
        Ok(Self { path, file, header, serializer, lines: Vec::new() })
    }

    /// Writes what was recorded from `start`, counted from the phase's beginning, for `length`.
    pub(crate) fn push(
        &mut self,
        latencies: &Latencies,
        start: Duration,
        length: Duration,
    ) -> Result<()> {
        self.lines.clear();
        let mut log = self.header.begin_log_with(&mut self.lines, &mut self.serializer)?;
        for (kind, histogram) in latencies.seen() {
            // `write_histogram` fails on I/O or on a tag with a comma; these have none.
            let tag = Tag::new(kind.name());
            log.write_histogram(histogram, start, length, tag)
                .map_err(|error| anyhow::anyhow!("writing {}: {error:?}", self.path.display()))?;
        }
        // The divisor is announced with each beginning; in the file it stands once.
        let mut lines = self.lines.split_inclusive(|byte| *byte == b'\n');
        lines
            .try_for_each(|line| match line.first() {
                Some(b'#') => Ok(()),
                _ => self.file.write_all(line),
            })
            .with_context(|| format!("writing {}", self.path.display()))
    }
}

/// Writes, per kind of operation, `<stem>.<op>.service.hgrm` or `<stem>.<op>.response.hgrm`.
pub(crate) fn write_percentiles(
    latencies: &Latencies,
    measure: Measure,
    dir: &Path,
    stem: &str,
) -> Result<()> {
    for (kind, histogram) in latencies.seen() {
        let name = format!("{stem}.{}.{}.hgrm", kind.name(), measure.name());
        write_percentile_table(histogram, &dir.join(name))?;
    }
    Ok(())
}

/// Writes `<stem>.sched_lag.hgrm`.
pub(crate) fn write_lag(lag: &Histogram<u64>, dir: &Path, stem: &str) -> Result<()> {
    write_percentile_table(lag, &dir.join(format!("{stem}.sched_lag.hgrm")))
}

fn write_percentile_table(histogram: &Histogram<u64>, path: &Path) -> Result<()> {
    std::fs::write(path, percentile_table(histogram))
        .with_context(|| format!("writing {}", path.display()))
}

/// Reads an `.hlog` back: all its intervals in one.
pub(crate) fn read_log(path: &Path) -> Result<Latencies> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let mut all = Latencies::new();
    let mut deserializer = Deserializer::new();
    for entry in IntervalLogIterator::new(&text) {
        let Ok(entry) = entry else { bail!("{} is no interval log", path.display()) };
        let LogEntry::Interval(interval) = entry else { continue };
        let tag = interval.tag().map(|tag| tag.as_str()).unwrap_or_default();
        let Some(kind) = OpKind::ALL.into_iter().find(|kind| kind.name() == tag) else {
            bail!("{} has an interval of unknown operation `{tag}`", path.display());
        };
        let histogram: Histogram<u64> = deserializer
            .deserialize(&mut decode_base64(interval.encoded_histogram())?.as_slice())
            .map_err(|error| anyhow::anyhow!("{}: {error}", path.display()))?;
        all.0[kind as usize].add(&histogram).map_err(|error| anyhow::anyhow!("{error:?}"))?;
    }
    Ok(all)
}

/// Standard base64 with padding. Only what an interval log needs.
fn decode_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut held) = (0_u32, 0);
    for byte in text.trim_end_matches('=').bytes() {
        let six = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("byte {byte} is not base64"),
        };
        bits = (bits << 6) | u32::from(six);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
        }
    }
    Ok(bytes)
}

/// The table of percentiles that HdrHistogram's plotter reads, values in milliseconds.
fn percentile_table(histogram: &Histogram<u64>) -> String {
    use std::fmt::Write as _;
    let mut out = format!(
        "{:>12} {:>14} {:>10} {:>14}\n\n",
        "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
    );
    let millis = |nanos: f64| nanos / NANOS_PER_MILLI;
    let mut seen = 0;
    for step in histogram.iter_quantiles(5) {
        seen += step.count_since_last_iteration();
        let (value, q) = (millis(step.value_iterated_to() as f64), step.quantile_iterated_to());
        // The last row has no fourth field: the plotter takes rows of exactly four.
        let _ = if q < 1.0 {
            writeln!(out, "{value:12.3} {q:2.12} {seen:10} {:14.2}", 1.0 / (1.0 - q))
        } else {
            writeln!(out, "{value:12.3} {q:2.12} {seen:10}")
        };
    }
    let _ = writeln!(
        out,
        "#[Mean    = {:12.3}, StdDeviation   = {:12.3}]",
        millis(histogram.mean()),
        millis(histogram.stdev())
    );
    let _ = writeln!(
        out,
        "#[Max     = {:12.3}, Total count    = {:12}]",
        millis(histogram.max() as f64),
        histogram.len()
    );
    let _ = writeln!(
        out,
        "#[Buckets = {:12}, SubBuckets     = {:12}]",
        histogram.buckets(),
        2_u64 << 10
    );
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(number: u64) -> Latencies {
        let mut latencies = Latencies::new();
        for i in 1..=1_000 {
            latencies.record(OpKind::Read, i * 1_000);
            latencies.record(OpKind::Update, (number + 1) * 5_000);
        }
        latencies
    }

    fn push(log: &mut IntervalLog, number: u64) -> Latencies {
        let latencies = second(number);
        log.push(&latencies, Duration::from_secs(number), Duration::from_secs(1)).unwrap();
        latencies
    }

    fn create(dir: &Path) -> IntervalLog {
        IntervalLog::create(dir, "x", Measure::Service, SystemTime::now()).unwrap()
    }

    /// Three seconds in `x.hlog`, and all of them in one.
    fn sample(dir: &Path) -> Latencies {
        let mut log = create(dir);
        let mut total = Latencies::new();
        for number in 0..3 {
            total.add(&push(&mut log, number));
        }
        total
    }

    #[test]
    fn a_log_read_back_holds_what_was_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let total = sample(dir.path());
        let all = read_log(&dir.path().join("x.hlog")).unwrap();
        assert_eq!(all.of(OpKind::Read).len(), 3_000);
        assert_eq!(all.of(OpKind::Update).len(), 3_000);
        assert_eq!(all.of(OpKind::Scan).len(), 0);
        assert_eq!(*all.of(OpKind::Read), *total.of(OpKind::Read));
        assert_eq!(all.total().len(), 6_000);
    }

    #[test]
    fn an_interval_is_in_the_file_when_it_has_been_pushed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = create(dir.path());
        for number in 0..2 {
            push(&mut log, number);
            let all = read_log(&dir.path().join("x.hlog")).unwrap();
            assert_eq!(all.of(OpKind::Read).len(), 1_000 * (number + 1));
        }
        let text = std::fs::read_to_string(dir.path().join("x.hlog")).unwrap();
        assert_eq!(text.matches("MaxValueDivisor").count(), 1, "{text}");
    }

    #[test]
    fn a_log_has_both_times_and_its_maxima_in_milliseconds() {
        let dir = tempfile::tempdir().unwrap();
        sample(dir.path());
        let text = std::fs::read_to_string(dir.path().join("x.hlog")).unwrap();
        assert!(text.contains("#[StartTime: ") && text.contains("#[BaseTime: "), "{text}");
        let line = text.lines().find(|line| line.starts_with("Tag=read,")).unwrap();
        let max: f64 = line.split(',').nth(3).unwrap().parse().unwrap();
        assert!((max - 1.0).abs() < 0.01, "1,000,000 ns are 1 ms, not {max}");
        assert!(line.contains(",HISTFAA"), "V2, compressed: {line}");
    }

    #[test]
    fn a_percentile_needs_ten_samples_beyond_it() {
        let mut h = histogram();
        for i in 1..=1_000 {
            h.record(i * 1_000).unwrap();
        }
        assert!(quantile_us(&h, 0.99).is_some());
        assert_eq!(quantile_us(&h, 0.999), None);
        let p50 = quantile_us(&h, 0.5).unwrap();
        assert!((p50 - 500.0).abs() < 1.0, "{p50}");
    }

    #[test]
    fn only_the_last_row_of_a_percentile_table_lacks_a_field() {
        let dir = tempfile::tempdir().unwrap();
        let table = percentile_table(sample(dir.path()).of(OpKind::Read));
        let rows: Vec<usize> = table
            .lines()
            .skip(2)
            .filter(|line| !line.starts_with('#'))
            .map(|line| line.split_whitespace().count())
            .collect();
        assert_eq!(rows.last(), Some(&3));
        assert!(rows.len() > 10 && rows[..rows.len() - 1].iter().all(|n| *n == 4), "{table}");
    }

    #[test]
    fn a_latency_beyond_the_range_counts_as_the_longest() {
        let mut one = Latencies::new();
        one.record(OpKind::Read, u64::MAX);
        one.record(OpKind::Read, 0);
        assert_eq!(one.of(OpKind::Read).len(), 2);
        assert!(one.of(OpKind::Read).max() >= NANOS_MAX);
    }
}
