//! The tables that are printed when an experiment has ended.

use crate::plot::{micros, short};
use crate::rows::{ALL, Row};
use crate::stored::{Cell, Stored};

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

/// Throughput, then latencies: a row for each workload, a column for each target.
pub(crate) fn tables(stored: &Stored) -> Vec<String> {
    let mut lines = vec!["operations a second (higher is better, * is the best)".to_owned()];
    lines.extend(aligned(&matrix(stored, |cell, targets| {
        let rates: Vec<Option<f64>> =
            targets.iter().map(|target| stored.ops_per_s(cell, target)).collect();
        let best = rates.iter().flatten().copied().fold(0.0, f64::max);
        let show = |(rate, target): (&Option<f64>, &String)| match rate {
            Some(rate) if *rate == best && rates.len() > 1 => format!("{}*", short(*rate)),
            Some(rate) => format!("{} ", short(*rate)),
            None => format!("{} ", stored.lack(target)),
        };
        rates.iter().zip(targets).map(show).collect()
    })));
    lines.push(String::new());
    lines.push("service time, all operations: p50 / p99 / p99.9 (lower is better)".to_owned());
    lines.extend(aligned(&matrix(stored, |cell, targets| {
        let of = |target: &String| {
            let row = stored.rows_of(cell, target, ALL).next();
            row.map_or_else(|| stored.lack(target).into(), percentiles)
        };
        targets.iter().map(of).collect()
    })));
    lines
}

fn matrix(stored: &Stored, cells_of: impl Fn(&Cell, &[String]) -> Vec<String>) -> Vec<Vec<String>> {
    let targets = stored.targets();
    let mut rows = vec![std::iter::once(String::new()).chain(targets.iter().cloned()).collect()];
    for cell in stored.cells() {
        let mut row = vec![cell.name()];
        row.extend(cells_of(&cell, &targets));
        rows.push(row);
    }
    rows
}

fn percentiles(row: &Row) -> String {
    let show = |value: Option<f64>| value.map_or("-".into(), micros);
    [row.svc_p50_us, row.svc_p99_us, row.svc_p999_us].map(show).join(" / ")
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
        crate::testing::small_experiment(dir.path());
        let lines = tables(&Stored::read(dir.path()).unwrap());
        assert!(lines[1].contains("noop"));
        assert!(lines[2].starts_with("load") && lines[3].starts_with("ycsb-a"), "{lines:?}");
        assert!(lines[2].contains('*'));
        assert!(lines.iter().any(|line| line.matches(" / ").count() == 4), "{lines:?}");
    }
}
