//! `report.html`: an experiment on one page that needs nothing but itself.
//!
//! No request leaves the page: style, script, plots and data are inside. Without its script it still shows
//! everything; the script only sorts and filters. The table comes first, what the numbers cannot say comes
//! with them, and the command that makes them again stands beside.

mod apart;
mod compared;
mod peers;

use crate::distrust;
use crate::manifest::FAILED;
use crate::plot::{Drawn, Kind, bytes, micros, short, thousands, too_short};
use crate::ratios::Ratio;
use crate::rows::{ALL, Row};
use crate::stored::Stored;
use anyhow::{Context, Result};
use nori_workloads::{LoadModel, PhaseKind};
use std::fmt::Write;
use std::path::Path;

const PAGE: &str = include_str!("report/page.html");
const STYLE: &str = include_str!("report/style.css");
const SCRIPT: &str = include_str!("report/script.js");

/// Writes the report into `dir`.
pub(crate) fn write(stored: &Stored, plots: &[Drawn], ratios: &[Ratio], dir: &Path) -> Result<()> {
    let note = &stored.note;
    let rows: Vec<&Row> = stored.rows().collect();
    // `<` inside a script element could end it, or hide what follows.
    let data = serde_json::to_string(&rows)?.replace('<', "\\u003c");
    let parts = [
        ("title", escape(&format!("NoriKV bench: {}", note.name))),
        ("started", escape(&note.started_at)),
        ("style", STYLE.to_owned()),
        ("ratios", compared::section(ratios)),
        ("verdicts", verdicts(stored)),
        ("apart", apart::section(stored)),
        ("failures", failures(stored)),
        ("plots", figures(plots) + &no_course(stored)),
        ("details", details(stored)),
        ("counters", counters(stored)),
        ("checkout", checkout(stored).into()),
        ("command", escape(&note.command())),
        ("again", escape(&format!("cargo run --release -- report {}", dir.display()))),
        ("limits", limits(stored)),
        ("machine", machine(stored)),
        ("data", data),
        ("script", SCRIPT.to_owned()),
    ];
    let path = dir.join("report.html");
    std::fs::write(&path, fill(PAGE, &parts)).with_context(|| format!("writing {}", path.display()))
}

/// Puts parts in place of `{{name}}`, in one pass: what is put in is not looked at again.
fn fill(page: &str, parts: &[(&str, String)]) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some((before, after)) = rest.split_once("{{") {
        out.push_str(before);
        let (name, tail) = after.split_once("}}").unwrap_or((after, ""));
        let part = parts.iter().find(|(known, _)| *known == name);
        out.push_str(part.map_or("", |(_, text)| text));
        rest = tail;
    }
    out.push_str(rest);
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table whose cells are `(text, number to sort by, class)`.
struct Table {
    headings: Vec<String>,
    rows: Vec<Vec<Value>>,
}

struct Value {
    text: String,
    sort: Option<f64>,
    class: &'static str,
}

impl Value {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), sort: None, class: "" }
    }

    fn number(text: String, sort: f64) -> Self {
        Self { text, sort: Some(sort), class: "number" }
    }

    /// A number that may not have been measured.
    fn maybe(value: Option<f64>, show: impl Fn(f64) -> String) -> Self {
        value.map_or_else(
            || Self { text: "-".into(), sort: None, class: "number none" },
            |value| Self::number(show(value), value),
        )
    }
}

impl Table {
    fn html(&self, id: &str) -> String {
        let mut out = format!("<div class=\"wide\"><table id=\"{id}\"><thead><tr>");
        for (column, heading) in self.headings.iter().enumerate() {
            let first = self.rows.first().and_then(|row| row.get(column));
            let is_number = first.is_some_and(|value| value.class.starts_with("number"));
            let class = if is_number { " class=\"number\"" } else { "" };
            let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(heading));
        }
        out.push_str("</tr></thead><tbody>\n");
        for row in &self.rows {
            out.push_str("<tr>");
            for value in row {
                let sort =
                    value.sort.map_or(String::new(), |sort| format!(" data-sort=\"{sort}\""));
                let _ =
                    write!(out, "<td class=\"{}\"{sort}>{}</td>", value.class, escape(&value.text));
            }
            out.push_str("</tr>\n");
        }
        out.push_str("</tbody></table></div>");
        out
    }
}

/// Throughput of each workload and target, with its ratio to the best.
fn verdicts(stored: &Stored) -> String {
    let targets = stored.targets_apart(false);
    let mut headings = vec!["workload".to_owned()];
    headings.extend(targets.iter().cloned());
    let row = |cell: crate::stored::Cell| {
        let sound: Vec<Option<f64>> =
            targets.iter().map(|target| stored.sound_ops_per_s(&cell, target)).collect();
        let best = sound.iter().flatten().copied().fold(0.0, f64::max);
        let show = |(rate, target): (&Option<f64>, &String)| match rate {
            Some(rate) if *rate >= best => Value {
                class: "number best",
                ..Value::number(format!("{} (best)", short(*rate)), *rate)
            },
            Some(rate) => {
                let text = format!("{} ({:.2}x)", short(*rate), rate / best);
                Value::number(text, *rate)
            }
            None => match stored.ops_per_s(&cell, target) {
                Some(rate) => with_errors(rate, stored.errors(&cell, target)),
                None => {
                    Value { text: stored.lack(target).into(), sort: None, class: "number none" }
                }
            },
        };
        let shown = sound.iter().zip(&targets).map(show);
        std::iter::once(Value::text(cell.name())).chain(shown).collect()
    };
    let rows = stored.cells_apart(false).into_iter().map(row).collect();
    Table { headings, rows }.html("verdicts")
}

/// A rate that is not one of work done.
fn with_errors(rate: f64, errors: u64) -> Value {
    let text = format!("{} ({} failed)", short(rate), thousands(errors));
    Value { class: "number bad", ..Value::number(text, rate) }
}

/// What went wrong or did not come to its end, if anything did.
fn failures(stored: &Stored) -> String {
    let mut out = String::new();
    for run in stored.unfinished() {
        let (target, how_far) = (escape(&run.target), escape(&run.how_far));
        let _ = write!(out, "<p class=\"failure\"><b>{target} did not finish:</b> {how_far}</p>");
    }
    for (target, why) in stored.invalid() {
        let (target, why) = (escape(&target), escape(&why));
        let _ = write!(out, "<p class=\"failure\"><b>{target} is invalid:</b> {why}</p>");
    }
    for what in distrust::warnings(stored) {
        let _ = write!(out, "<p class=\"failure\"><b>Warning:</b> {}</p>", escape(&what));
    }
    let failed = stored.runs.iter().filter(|run| run.manifest.status.state == FAILED);
    for run in failed {
        for reason in &run.manifest.status.reasons {
            let target = escape(&run.manifest.engine.target);
            let _ =
                write!(out, "<p class=\"failure\"><b>{target} failed:</b> {}</p>", escape(reason));
        }
    }
    out
}

fn figures(plots: &[Drawn]) -> String {
    let mut out = String::new();
    let mut heading: Option<&str> = None;
    for plot in plots {
        let name = plot.cell.as_deref().unwrap_or("All workloads");
        if heading != Some(name) {
            heading = Some(name);
            let _ = write!(out, "<h3>{}</h3>", escape(name));
        }
        // An XML declaration may not stand inside a page.
        let svg = plot.svg.find("<svg").map_or(plot.svg.as_str(), |at| &plot.svg[at..]);
        let label = escape(&plot.stem);
        let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{label}\" "), 1);
        let _ = write!(
            out,
            "<figure>{svg}<figcaption><a href=\"plots/{label}.svg\">SVG</a> \
             <a href=\"plots/{label}.png\">PNG</a> <a href=\"summary.csv\">data</a></figcaption></figure>"
        );
    }
    out
}

/// Why nothing is shown over time, where phases were too short.
fn no_course(stored: &Stored) -> String {
    match too_short(stored) {
        short if short.is_empty() => short,
        short => {
            let needs = escape(Kind::LatencyOverTime.needs());
            format!("<p>A plot over time needs {needs}: {}.</p>", escape(&short))
        }
    }
}

/// Latencies, one row for each workload, kind of operation and target.
fn details(stored: &Stored) -> String {
    let headings = [
        "workload",
        "operation",
        "target",
        "block",
        "ops/s",
        "offered",
        "operations",
        "errors",
        "mean",
        "p50",
        "p90",
        "p99",
        "p99.9",
        "p99.99",
        "max",
        "response p50",
        "response p99",
        "response p99.9",
        "response max",
        "lag p99",
    ];
    let row = |row: &Row| {
        let cell = crate::stored::Cell { workload: row.workload.clone(), phase: row.phase.clone() };
        let time = |value| Value::maybe(value, micros);
        let errors = Value::number(row.errors.to_string(), row.errors as f64);
        vec![
            Value::text(cell.name()),
            Value::text(row.op.clone()),
            Value::text(row.target.clone()),
            Value::number(row.block.to_string(), row.block.into()),
            if row.errors > 0 {
                with_errors(row.ops_per_s, row.errors)
            } else {
                Value::number(short(row.ops_per_s), row.ops_per_s)
            },
            Value::maybe(row.offered_rate, short),
            Value::number(thousands(row.ops), row.ops as f64),
            if row.errors > 0 { Value { class: "number bad", ..errors } } else { errors },
            time(row.svc_mean_us),
            time(row.svc_p50_us),
            time(row.svc_p90_us),
            time(row.svc_p99_us),
            time(row.svc_p999_us),
            time(row.svc_p9999_us),
            time(row.svc_max_us),
            time(row.rsp_p50_us),
            time(row.rsp_p99_us),
            time(row.rsp_p999_us),
            time(row.rsp_max_us),
            time(row.sched_lag_p99_us),
        ]
    };
    let has_ops = |row: &Row| row.phase != PhaseKind::Settle.name();
    let rows = in_order(stored, has_ops).into_iter().map(row).collect();
    Table { headings: headings.map(str::to_owned).into(), rows }.html("latencies")
}

/// Rows by workload, then kind of operation, then target.
fn in_order(stored: &Stored, keep: impl Fn(&Row) -> bool) -> Vec<&Row> {
    let (cells, targets) = (stored.cells(), stored.targets());
    let mut rows: Vec<&Row> = stored.rows().filter(|row| keep(row)).collect();
    rows.sort_by_key(|row| {
        let cell = cells.iter().position(|c| c.workload == row.workload && c.phase == row.phase);
        // Settling is no cell; it comes last.
        let cell = cell.unwrap_or(cells.len());
        let target = targets.iter().position(|target| *target == row.target);
        (cell, row.op != ALL, row.op.clone(), target, row.block)
    });
    rows
}

/// What was counted, one row for each workload and target.
fn counters(stored: &Stored) -> String {
    let headings = [
        "workload",
        "target",
        "block",
        "written by user",
        "write amp.",
        "settled",
        "with log",
        "device",
        "flushes",
        "compactions",
        "into L2+",
        "stalls",
        "stall time",
        "blocks/get",
        "from files",
        "runs/get",
        "filter FPR",
        "cache hits",
        "space amp.",
        "settled",
        "peak",
        "on disk",
        "peak memory",
        "CPU s",
        "CPU us/op",
    ];
    let row = |row: &Row| {
        let cell = crate::stored::Cell { workload: row.workload.clone(), phase: row.phase.clone() };
        let size = |value: Option<u64>| Value::maybe(value.map(|v| v as f64), |v| bytes(v as u64));
        let count =
            |value: Option<u64>| Value::maybe(value.map(|v| v as f64), |v| thousands(v as u64));
        let ratio = |value| Value::maybe(value, |v| format!("{v:.2}"));
        let percent = |value| Value::maybe(value, |v: f64| format!("{:.2} %", v * 100.0));
        let cpu = row.cpu_user_s.zip(row.cpu_sys_s).map(|(user, sys)| user + sys);
        vec![
            Value::text(cell.name()),
            Value::text(row.target.clone()),
            Value::number(row.block.to_string(), row.block.into()),
            size(row.user_bytes_written),
            ratio(row.wa_stop),
            ratio(row.wa_settled),
            ratio(row.wa_wal),
            ratio(row.wa_device),
            count(row.flushes),
            count(row.compactions),
            size(row.deep_write_bytes),
            count(row.stall_count),
            Value::maybe(row.stall_ms, |ms| micros(ms * 1_000.0)),
            ratio(row.ra_point_blocks),
            ratio(row.ra_point_physical),
            ratio(row.runs_probed_per_get),
            percent(row.filter_fpr),
            percent(row.cache_hit_ratio),
            ratio(row.sa_stop),
            ratio(row.sa_settled),
            ratio(row.sa_peak),
            size(row.disk_bytes),
            size(row.rss_peak_bytes),
            Value::maybe(cpu, |v| format!("{v:.2}")),
            Value::maybe(row.cpu_us_per_op(), |v| format!("{v:.2}")),
        ]
    };
    let rows = in_order(stored, |row| row.op == ALL).into_iter().map(row).collect();
    Table { headings: headings.map(str::to_owned).into(), rows }.html("counters")
}

/// What these numbers do not say.
fn limits(stored: &Stored) -> String {
    let note = &stored.note;
    let blocks = stored.runs.iter().map(|run| run.manifest.block).max().unwrap_or(0);
    let memory = stored.runs.first().and_then(|run| run.manifest.machine.memory_bytes);
    let disk = stored.rows().filter_map(|row| row.disk_bytes).max();
    let mut all = Vec::new();
    if (1..6).contains(&blocks) {
        all.push(format!(
            "Each target ran {}. The same phase of the same engine differs by 1.1x to 1.5x between \
             runs on a shared machine, so smaller differences here are not findings; a claim needs six runs.",
            if blocks == 1 { "once".to_owned() } else { format!("{blocks} times") }
        ));
    }
    let has_model = |model: LoadModel| stored.rows().any(|row| row.model == model.name());
    if has_model(LoadModel::Closed) {
        all.push(
            "Closed loop: a client sends its next request when the one before has been answered. These are service \
             times; the wait of requests that would have come in meanwhile is not in them."
                .into(),
        );
    }
    if has_model(LoadModel::Open) {
        all.push(
            "Open loop: every request has its time, and response times count from there. A client sends one request at \
             a time, so the queue is in the client and not in the store; requests that were still waiting when the \
             phase ended are in neither time, but missing from the rate."
                .into(),
        );
    }
    if let (Some(memory), Some(disk)) = (memory, disk)
        && disk < memory
    {
        all.push(format!(
            "The largest store takes {}, the machine has {} of memory: files stay in the page cache, and a read \
             \"from files\" seldom reaches the disk.",
            bytes(disk),
            bytes(memory)
        ));
    }
    all.push(format!(
        "The harness itself takes {:.0} ns for an operation (YCSB A on an engine that does nothing); {:.0} ns of it, \
         for reading the clock and the call, are part of every service time.",
        note.harness.per_op_ns, note.harness.in_service_ns
    ));
    all.push(
        "A record is one value: an update writes all of it, where YCSB's own client writes one field of ten. \
         The store is loaded once; what D and E insert stays in it."
            .into(),
    );
    let filled = stored.rows().filter(|row| row.op == ALL && row.filled.unwrap_or(0) > 0);
    let slow: Vec<&str> = filled.map(|row| row.target.as_str()).collect();
    if !slow.is_empty() {
        all.push(format!(
            "Loading was measured for a limited time; {} had records left then, which were written in batches that \
             are not part of the rate but of bytes, counters and processor time.",
            slow.join(", ")
        ));
    }
    all.extend(peers::sentences(stored));
    if stored.runs.iter().any(|run| run.manifest.build.profile != "release") {
        all.push("This was not a release build: no time in it means anything.".into());
    }
    all.iter().map(|limit| format!("<li>{}</li>", escape(limit))).collect()
}

/// Where the command is to be given.
fn checkout(stored: &Stored) -> &'static str {
    let build = stored.runs.first().map(|run| &run.manifest.build);
    match build.map(|build| (&build.git_commit, build.git_dirty)) {
        Some((Some(_), Some(false))) => "In a checkout of the commit below.",
        Some((Some(_), _)) => {
            "In a checkout of the commit below; the program was built with changes to it, which are not kept."
        }
        _ => "In a checkout; which commit the program was built from is not known.",
    }
}

fn machine(stored: &Stored) -> String {
    let Some(run) = stored.runs.first() else { return String::new() };
    let (machine, build) = (&run.manifest.machine, &run.manifest.build);
    let commit =
        build.git_commit.as_deref().map_or("unknown", |commit| &commit[..commit.len().min(12)]);
    let dirty = if build.git_dirty == Some(true) { ", with changes" } else { "" };
    let fsync = machine.fsync_us.map_or("unknown".into(), |probe| {
        format!("p50 {}, p99 {}", micros(probe.p50), micros(probe.p99))
    });
    let unknown = || "unknown".to_owned();
    let lines = [
        ("machine", machine.line() + if machine.virtualised { ", virtual" } else { "" }),
        ("kernel", machine.kernel.clone().unwrap_or_else(unknown)),
        ("4 KiB write and fdatasync", fsync),
        ("load before", machine.load_before.map_or_else(unknown, |load| format!("{load:.2}"))),
        ("build", format!("{} {}, {}", build.version, build.profile, build.rustc)),
        ("commit", format!("{commit}{dirty}")),
        ("seed", run.manifest.seed.to_string()),
    ];
    lines
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>", escape(name), escape(value)))
        .collect()
}

#[cfg(test)]
mod tests;
