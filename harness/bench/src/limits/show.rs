//! The lines that people read.

use super::Found;
use super::row::{Bound, Figure, Row, Worth};
use crate::out;
use crate::plot::thousands;

/// Prints a section: its name, what it measures, then a line for each row with its physical figures below.
pub(super) fn section(found: &Found) {
    lines(found.name, found.about, &found.rows).iter().for_each(|line| out::line(line));
    found.doubts.iter().for_each(|why| out::line(&format!("  NOT TO BE BELIEVED: {why}")));
}

fn lines(name: &str, about: &str, rows: &[Row]) -> Vec<String> {
    let width = |figures: &mut dyn Iterator<Item = &Figure>| {
        figures.map(|figure| figure.what.chars().count()).max().unwrap_or(0)
    };
    let what = width(&mut rows.iter().map(|row| &row.figure))
        .max(width(&mut rows.iter().flat_map(|row| &row.physical)) + 2);
    let line = |indent: &str, figure: &Figure, bounds: &[Bound]| {
        let text = format!(
            "  {:what$}  {:>14}  {:12}  {}",
            format!("{indent}{}", figure.what),
            format!("{} {}", value(figure.value), figure.unit),
            count(figure),
            bounds.iter().map(|bound| said(bound, &figure.unit)).collect::<Vec<_>>().join(", "),
        );
        text.trim_end().to_owned()
    };
    let mut lines = vec![String::new(), format!("{name}: {about}")];
    for (n, row) in rows.iter().enumerate() {
        lines.push(line("", &row.figure, &row.bounds));
        // Rows that stand together are held against the same figures; once is enough.
        if rows.get(n + 1).is_none_or(|next| next.physical != row.physical) {
            lines.extend(row.physical.iter().map(|figure| line("| ", figure, &[])));
        }
    }
    lines
}

/// Three digits that count.
fn value(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => thousands(value.round() as u64),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn count(figure: &Figure) -> String {
    match figure.trials {
        1 => format!("n {}", thousands(figure.n)),
        trials => format!("n {trials} x {}", thousands(figure.n / u64::from(trials))),
    }
}

fn said(bound: &Bound, unit: &str) -> String {
    let worth = match bound.worth {
        Worth::Goal => "goal",
        Worth::Floor => "floor",
    };
    let sign = if bound.is_most { "<=" } else { ">=" };
    let holds = if bound.holds { "holds" } else { "MISSED" };
    // Bounds are round numbers or have one decimal: shown as they are.
    format!("{worth} {sign} {} {unit} {holds}", (bound.value * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_figure_n_bound_and_the_physical_figure_below() {
        let physical = [Figure { trials: 5, ..Figure::new("a clock", 25.0, "ns", 5_000) }];
        let row = Row::new(Figure::new("an op", 123.4, "ns", 1_000), &physical);
        let row = row.at_most(Worth::Goal, 150.0).at_most(Worth::Floor, 100.0);
        let lines = lines("x", "y", &[row.clone(), row]);
        assert_eq!(lines[1], "x: y");
        let figure = "  an op              123 ns  n 1,000       goal <= 150 ns holds, floor <= 100 ns MISSED";
        assert_eq!(lines[2], figure);
        assert_eq!(lines[3], figure, "what both are held against stands once");
        assert_eq!(lines[4], "  | a clock         25.0 ns  n 5 x 1,000");
        assert_eq!(lines.len(), 5);
    }
}
