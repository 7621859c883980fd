//! Targets that stand apart: a table of their own, with what to look for in it.

use super::{Table, Value, escape, with_errors};
use crate::latency::quantile_us;
use crate::note::APART_LOOK_FOR;
use crate::plot::{micros, short};
use crate::stored::{Cell, Stored};

/// The part of the page; nothing where none stands apart.
pub(super) fn section(stored: &Stored) -> String {
    let Some(apart) = &stored.note.apart else { return String::new() };
    let headings = ["workload", "target", "ops/s", "to the best", "p50", "p99", "p99.9"];
    let mut rows = Vec::new();
    for cell in stored.cells_apart(true) {
        let sound = |target: &String| stored.sound_ops_per_s(&cell, target);
        let best = apart.targets.iter().filter_map(sound).fold(0.0, f64::max);
        rows.extend(apart.targets.iter().map(|target| row(stored, &cell, target, best)));
    }
    let table = Table { headings: headings.map(str::to_owned).into(), rows };
    let mut title = apart.title.clone();
    if let Some(first) = title.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    format!("<h2>{}</h2><p>{}</p>{}", escape(&title), escape(APART_LOOK_FOR), table.html("apart"))
}

fn row(stored: &Stored, cell: &Cell, target: &str, best: f64) -> Vec<Value> {
    let sound = stored.sound_ops_per_s(cell, target);
    let rate = match (sound, stored.ops_per_s(cell, target)) {
        (Some(rate), _) if rate >= best => {
            Value { class: "number best", ..Value::number(short(rate), rate) }
        }
        (Some(rate), _) => Value::number(short(rate), rate),
        (None, Some(rate)) => with_errors(rate, stored.errors(cell, target)),
        (None, None) => Value { class: "number none", ..Value::text(stored.lack(target)) },
    };
    let times = stored.latencies(cell, target).total();
    let quantile = |q| Value::maybe(quantile_us(&times, q), micros);
    vec![
        Value::text(cell.name()),
        Value::text(target),
        rate,
        Value::maybe(sound.map(|rate| rate / best), |ratio| format!("{ratio:.2}x")),
        quantile(0.5),
        quantile(0.99),
        quantile(0.999),
    ]
}
