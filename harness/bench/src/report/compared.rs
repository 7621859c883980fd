//! How the targets compare with the baseline, over the blocks.

use super::{Table, Value, escape};
use crate::effect::{SAME_WITHIN, Verdict};
use crate::ratios::{Metric, Ratio};
use crate::table::interval;

/// The part of the page; nothing where no ratio has an interval, for then it would say no more than the rates do.
pub(super) fn section(ratios: &[Ratio]) -> String {
    let Some(first) = ratios.iter().find(|ratio| ratio.ratio_low.is_some()) else {
        return String::new();
    };
    let headings =
        ["workload", "metric", "target", "ratio", "95 % interval", "p", "blocks", "verdict"];
    let table = Table {
        headings: headings.map(str::to_owned).into(),
        rows: ratios.iter().map(row).collect(),
    };
    let percent = SAME_WITHIN * 100.0;
    format!(
        "<h2>Compared with {}</h2><p>Each block of runs gives a ratio of target to baseline; shown are their geometric mean, \
         Student's interval on their logarithms and the exact p of the sign-flip test. <i>Lower</i> and <i>higher</i> are said \
         of the metric, not of its worth, where six blocks or more differ by more than {percent} % and not by accident; <i>same</i>, \
         where the whole interval lies within {percent} %. <i>NAME:better</i> is, in each block, the better of a peer's row \
         with our settings and its row as shipped. The intervals of many rows are not corrected for there being many.</p>{}",
        escape(&first.baseline),
        table.html("ratios")
    )
}

fn row(ratio: &Ratio) -> Vec<Value> {
    let metric = Metric::ALL.into_iter().find(|metric| metric.column() == ratio.metric);
    let (name, up) = metric.map_or(("?", false), |m| (m.name(), m.is_higher_better()));
    let class = match (ratio.verdict, up) {
        (Verdict::Undecided, _) => "none",
        (Verdict::Higher, true) | (Verdict::Lower, false) => "best",
        _ => "",
    };
    vec![
        Value::text(ratio.cell().name()),
        Value::text(name),
        Value::text(ratio.target.clone()),
        Value::number(format!("{:.3}", ratio.ratio), ratio.ratio),
        Value { class: "number", ..Value::text(interval(ratio)) },
        Value::number(format!("{:.4}", ratio.p), ratio.p),
        Value::number(ratio.blocks.to_string(), ratio.blocks as f64),
        Value { class, ..Value::text(ratio.verdict.name()) },
    ]
}
