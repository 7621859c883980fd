//! The tables that are printed when an experiment has ended.

use crate::distrust;
use crate::effect::{SAME_WITHIN, Verdict};
use crate::latency::{Latencies, quantile_us};
use crate::note::APART_LOOK_FOR;
use crate::out;
use crate::plot::{micros, short, thousands};
use crate::ratios::{Metric, Ratio, ratios};
use crate::rows::ALL;
use crate::stored::{Cell, Stored};
use std::path::Path;

/// Characters of a line of text between tables.
const LINE_CHARS: usize = 120;

/// A table of text: a heading row, then rows. The first column is left-aligned, others right-aligned.
fn aligned(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max()
    };
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let cell = |(index, (text, width)): (usize, (&String, &usize))| {
        if index == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
    };
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

/// Throughput, then latencies: a row for each workload, a column for each target. Of targets that stand apart below the others.
pub(crate) fn tables(stored: &Stored) -> Vec<String> {
    let mut lines = of_targets(stored, false);
    if let Some(apart) = &stored.note.apart {
        let heading = format!("{} ({APART_LOOK_FOR})", apart.title.to_uppercase());
        lines.push(String::new());
        lines.extend(wrapped(&heading, LINE_CHARS));
        lines.extend(of_targets(stored, true));
    }
    if stored.cells().iter().any(|cell| stored.is_open(cell)) {
        lines.extend(distrust::warnings(stored).iter().map(|what| format!("warning: {what}")));
    }
    lines
}

/// The tables of targets that stand apart, or of the others.
fn of_targets(stored: &Stored, is_apart: bool) -> Vec<String> {
    let mut lines = vec!["operations a second (higher is better, * is the best)".to_owned()];
    let (cells, targets) = (stored.cells_apart(is_apart), stored.targets_apart(is_apart));
    let has_errors = |cell: &Cell| targets.iter().any(|t| stored.errors(cell, t) > 0);
    if cells.iter().any(has_errors) {
        lines.push("! operations failed: the rate is not one of work done".into());
    }
    lines.extend(aligned(&matrix(&cells, &targets, |cell, targets| {
        let sound: Vec<Option<f64>> =
            targets.iter().map(|target| stored.sound_ops_per_s(cell, target)).collect();
        let best = sound.iter().flatten().copied().fold(0.0, f64::max);
        let show = |(sound, target): (&Option<f64>, &String)| match (
            sound,
            stored.ops_per_s(cell, target),
        ) {
            (Some(rate), _) if *rate == best && targets.len() > 1 => {
                format!("{}*", short(*rate))
            }
            (Some(rate), _) => format!("{} ", short(*rate)),
            (None, Some(rate)) => format!("{}!", short(rate)),
            (None, None) => format!("{} ", stored.lack(target)),
        };
        sound.iter().zip(targets).map(show).collect()
    })));
    lines.extend(latencies(stored, (&cells, &targets), "service", Stored::latencies));
    let open: Vec<Cell> = cells.into_iter().filter(|cell| stored.is_open(cell)).collect();
    if !open.is_empty() {
        lines.extend(latencies(stored, (&open, &targets), "response", Stored::responses));
    }
    lines
}

/// A text in lines of so many characters, broken between words.
fn wrapped(text: &str, chars: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut().filter(|line| line.len() + 1 + word.len() <= chars) {
            Some(line) => *line += &format!(" {word}"),
            None => lines.push(word.to_owned()),
        }
    }
    lines
}

/// One of the times that operations took, of some cells.
fn latencies(
    stored: &Stored,
    (cells, targets): (&[Cell], &[String]),
    what: &str,
    of: fn(&Stored, &Cell, &str) -> Latencies,
) -> Vec<String> {
    let heading = format!("{what} time, all operations: p50 / p99 / p99.9 (lower is better)");
    let mut lines = vec![String::new(), heading];
    lines.extend(aligned(&matrix(cells, targets, |cell, targets| {
        let of_target = |target: &String| match stored.rows_of(cell, target, ALL).next() {
            Some(_) => percentiles(&of(stored, cell, target)),
            None => stored.lack(target).into(),
        };
        targets.iter().map(of_target).collect()
    })));
    lines
}

fn matrix(
    cells: &[Cell],
    targets: &[String],
    cells_of: impl Fn(&Cell, &[String]) -> Vec<String>,
) -> Vec<Vec<String>> {
    let mut rows = vec![std::iter::once(String::new()).chain(targets.iter().cloned()).collect()];
    for cell in cells {
        let mut row = vec![cell.name()];
        row.extend(cells_of(cell, targets));
        rows.push(row);
    }
    rows
}

/// Over all blocks: histograms are merged, percentiles never averaged.
fn percentiles(blocks: &Latencies) -> String {
    let merged = blocks.total();
    let show = |q| quantile_us(&merged, q).map_or("-".into(), micros);
    [0.5, 0.99, 0.999].map(show).join(" / ")
}

/// The columns of ratios, each with what it shows: the first of these that there is. So a percentile of an open loop is of
/// response times, and of a closed one, which has none, of service times.
const RATIO_COLUMNS: [(&str, &[Metric]); 5] = [
    ("ops/s", &[Metric::OpsPerS]),
    ("p50", &[Metric::ResponseP50, Metric::ServiceP50]),
    ("p99", &[Metric::ResponseP99, Metric::ServiceP99]),
    ("p99.9", &[Metric::ResponseP999, Metric::ServiceP999]),
    ("CPU/op", &[Metric::CpuPerOp]),
];

/// What the ratios say: a row for each workload and target.
pub(crate) fn ratio_table(ratios: &[Ratio]) -> Vec<String> {
    let Some(first) = ratios.first() else { return Vec::new() };
    let percent = SAME_WITHIN * 100.0;
    let mut lines = vec![
        format!("ratio to {}: geometric mean over the blocks, 95 % interval", first.baseline),
        format!("< lower, > higher, = same within {percent} %, ? undecided"),
    ];
    let is_response = |metric: &&Metric| metric.column().starts_with("rsp_");
    let responses: Vec<&str> =
        Metric::ALL.iter().filter(is_response).map(|metric| metric.column()).collect();
    if ratios.iter().any(|ratio| responses.contains(&ratio.metric.as_str())) {
        lines.push(
            "percentiles of open loops are of response times, others of service times".into(),
        );
    }
    let mut heading = vec![String::new(), "target".to_owned(), "blocks".to_owned()];
    heading.extend(RATIO_COLUMNS.map(|(name, _)| name.to_owned()));
    let mut rows = vec![heading];
    let mut of: Vec<(Cell, &str)> = Vec::new();
    for ratio in ratios {
        let pair = (ratio.cell(), ratio.target.as_str());
        if !of.contains(&pair) {
            of.push(pair);
        }
    }
    let mut named: Option<&Cell> = None;
    for (cell, target) in &of {
        let is_of = |ratio: &&Ratio| ratio.cell() == *cell && ratio.target == *target;
        let these: Vec<&Ratio> = ratios.iter().filter(is_of).collect();
        let blocks = these.iter().map(|ratio| ratio.blocks).max().unwrap_or(0);
        let name = if named == Some(cell) { String::new() } else { cell.name() };
        named = Some(cell);
        let mut row = vec![name, (*target).to_owned(), blocks.to_string()];
        row.extend(RATIO_COLUMNS.map(|(_, metrics)| {
            let of = |metric: &Metric| these.iter().find(|ratio| ratio.metric == metric.column());
            let ratio = metrics.iter().find_map(of);
            ratio.map_or("-  ".into(), |ratio| match blocks - ratio.blocks {
                0 => shown(ratio),
                // Of fewer blocks than the row says.
                _ => format!("{} of {}", shown(ratio), ratio.blocks),
            })
        }));
        rows.push(row);
    }
    lines.extend(aligned(&rows));
    lines
}

fn shown(ratio: &Ratio) -> String {
    let sign = match ratio.verdict {
        Verdict::Lower => '<',
        Verdict::Higher => '>',
        Verdict::Same => '=',
        Verdict::Undecided => '?',
    };
    format!("{:.2} {} {sign}", ratio.ratio, interval(ratio))
}

/// The interval in brackets, or nothing.
pub(crate) fn interval(ratio: &Ratio) -> String {
    let bounds = ratio.ratio_low.zip(ratio.ratio_high);
    bounds.map_or(String::new(), |(low, high)| format!("[{low:.2}, {high:.2}]"))
}

/// Prints what an experiment came to, and where it lies.
pub(crate) fn show(stored: &Stored, dir: &Path) {
    if stored.rows().next().is_none() {
        out::line("no phase ended");
        stored.failures().iter().for_each(|why| out::line(&format!("FAILED  {why}")));
        return;
    }
    let ratios = ratios(stored);
    // Without an interval a ratio says no more than the rates themselves.
    if ratios.iter().any(|ratio| ratio.ratio_low.is_some()) {
        out::line("");
        ratio_table(&ratios).iter().for_each(|line| out::line(line));
    }
    out::line("");
    tables(stored).iter().for_each(|line| out::line(line));
    let of_phases = || stored.rows().filter(|row| row.op == ALL);
    let errors: u64 = of_phases().map(|row| row.errors).sum();
    let checked: u64 = of_phases().filter_map(|row| row.checked).sum();
    out::line("");
    // A wrong value is an error, so without errors all that were checked were right.
    let unfinished = stored.unfinished();
    let scope = if unfinished.is_empty() { "" } else { " in the phases that ended" };
    let values = format!("{} value{}", thousands(checked), if checked == 1 { "" } else { "s" });
    out::line(&match (errors, checked) {
        (0, 0) => format!("0 errors{scope}; no value was checked"),
        (0, _) => format!("0 errors{scope}; {values} checked, all right"),
        _ => format!("{} ERRORS{scope}; {values} checked", thousands(errors)),
    });
    for run in unfinished {
        out::line(&format!("NOT FINISHED  {}: {}", run.target, run.how_far));
    }
    for why in stored.failures() {
        out::line(&format!("FAILED  {why}"));
    }
    for (run, why) in stored.invalid() {
        out::line(&format!("INVALID  {run}: {why}"));
    }
    out::line(&format!("report  {}", dir.join("report.html").display()));
    let ratios = if ratios.is_empty() { "" } else { ", ratios.csv" };
    out::line(&format!("data    {}{ratios}", dir.join("summary.csv").display()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["".into(), "fjall".into(), "redb".into()],
            vec!["load".into(), "1.2M*".into(), "9 ".into()],
        ];
        assert_eq!(aligned(&rows), ["      fjall  redb", "load  1.2M*    9"]);
    }

    #[test]
    fn every_workload_and_target_has_a_cell() {
        let dir = tempfile::tempdir().unwrap();
        crate::testing::small_experiment(dir.path(), 1);
        let lines = tables(&Stored::read(dir.path()).unwrap());
        assert!(lines[1].contains("noop"));
        assert!(lines[2].starts_with("load") && lines[3].starts_with("ycsb-a"), "{lines:?}");
        assert!(lines[2].contains('*'));
        assert!(lines.iter().any(|line| line.matches(" / ").count() == 4), "{lines:?}");
    }

    #[test]
    fn each_ratio_stands_with_its_interval_and_its_verdict() {
        let ratio = |metric: Metric, target: &str, ratio, verdict| Ratio {
            experiment: "x".into(),
            workload: "ycsb-a".into(),
            phase: "run".into(),
            metric: metric.column().into(),
            target: target.into(),
            baseline: "ours".into(),
            blocks: 6,
            ratio,
            ratio_low: Some(ratio / 1.25),
            ratio_high: Some(ratio * 1.25),
            p: 0.03125,
            verdict,
        };
        let lines = ratio_table(&[
            ratio(Metric::OpsPerS, "peer", 0.5, Verdict::Lower),
            ratio(Metric::OpsPerS, "other", 1.0, Verdict::Same),
            ratio(Metric::ServiceP99, "peer", 2.0, Verdict::Undecided),
        ]);
        assert!(lines[0].starts_with("ratio to ours"), "{lines:?}");
        let words =
            |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>().join(" ");
        assert_eq!(words(&lines[3]), "ycsb-a peer 6 0.50 [0.40, 0.62] < - 2.00 [1.60, 2.50] ? - -");
        assert_eq!(words(&lines[4]), "other 6 1.00 [0.80, 1.25] = - - - -");
        assert_eq!(ratio_table(&[]), Vec::<String>::new());
        // Of an open loop both times are there, and the one that its user waits for is shown.
        let lines = ratio_table(&[
            ratio(Metric::ServiceP99, "peer", 2.0, Verdict::Higher),
            ratio(Metric::ResponseP99, "peer", 8.0, Verdict::Higher),
        ]);
        assert!(lines[2].starts_with("percentiles of open loops are of response times"));
        assert_eq!(words(&lines[4]), "ycsb-a peer 6 - - 8.00 [6.40, 10.00] > - -");
    }
}
