//! `norikv-bench list`: everything that has a name.

use crate::names::{SUITE, usage};
use crate::out;
use crate::registry::engines;
use anyhow::Result;
use nori_workloads::BUILT_IN;
use norikv_parts::{LeftOut, Part, Role, Setting, left_out, seams, settings};
use serde_json::{Value, json};

/// A heading and the names under it.
struct Group {
    name: String,
    about: String,
    parts: Vec<(String, String)>,
    /// Of engines: what another build would have.
    left_out: Vec<LeftOut>,
    /// Of settings: default and range of each, in the order of `parts`.
    settings: Vec<Setting>,
}

fn groups(memory_bytes: u64) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    for seam in seams() {
        let mut about = seam.about.to_owned();
        let (mut left, mut numbers) = (Vec::new(), Vec::new());
        match seam.name {
            "engine" => left = left_out(),
            "setting" => {
                numbers = settings(memory_bytes)?;
                let memory = as_given(memory_bytes as f64, true);
                about = format!("{about}; defaults are those of --memory {memory}");
            }
            _ => {}
        }
        let parts = seam.parts.iter().map(|part| (part.name.into(), about_part(part)));
        let mut parts: Vec<(String, String)> = parts.collect();
        if seam.name == "engine" {
            let clusters = engines().into_iter().filter(|entry| entry.role == Role::Cluster);
            parts.extend(clusters.map(|entry| (entry.name.into(), entry.about.into())));
        }
        groups.push(Group {
            name: seam.name.into(),
            about,
            parts,
            left_out: left,
            settings: numbers,
        });
    }
    let mut workloads: Vec<(String, String)> = BUILT_IN
        .iter()
        .map(|file| {
            let about = file.workload().map_or_else(|error| error.to_string(), |w| w.about);
            (file.name.to_owned(), about)
        })
        .collect();
    workloads.sort();
    let suite =
        "Load once, then all of YCSB A to F on the same store; D and E last, for they insert";
    workloads.insert(0, (SUITE.into(), suite.into()));
    let about = "what is done to the store".into();
    let name = "workload".into();
    groups.push(Group {
        name,
        about,
        parts: workloads,
        left_out: Vec::new(),
        settings: Vec::new(),
    });
    Ok(groups)
}

/// A number as a command line may say it: bytes in the largest unit that divides them.
fn as_given(number: f64, is_bytes: bool) -> String {
    let whole = number as u64;
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let mut fitting = units
        .into_iter()
        .filter(|(shift, _)| is_bytes && whole > 0 && whole.trailing_zeros() >= *shift);
    match fitting.next() {
        Some((shift, unit)) => format!("{}{unit}", whole >> shift),
        None => number.to_string(),
    }
}

/// Default and range, for people.
fn numbers(setting: &Setting) -> String {
    let shown = |number| as_given(number, setting.is_bytes);
    let (low, high) = (shown(setting.min as f64), shown(setting.max as f64));
    format!("{}, from {low} to {high}", shown(setting.default))
}

fn about_part(part: &Part) -> String {
    format!("{}{}", part.about, if part.is_default { " (default)" } else { "" })
}

/// Prints all groups, or the one called `seam`. Defaults of settings are those of so much memory.
pub(crate) fn list(seam: Option<&str>, memory_bytes: u64, is_json: bool) -> Result<()> {
    let mut groups = groups(memory_bytes)?;
    if let Some(seam) = seam {
        let known: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
        groups.retain(|group| group.name == seam);
        if groups.is_empty() {
            let hint = nori_workloads::nearest(seam, known.iter().map(String::as_str));
            let hint = hint.map_or_else(
                || format!("; there are {}", known.join(", ")),
                |name| format!("; did you mean `{name}`?"),
            );
            return Err(usage(format!("no seam is called `{seam}`{hint}")));
        }
    }
    if is_json {
        let all: Vec<_> = groups.iter().map(json_of).collect();
        out::line(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            out::line("");
        }
        out::line(&format!("{}: {}", group.name, group.about));
        let names = group.parts.iter().map(|(name, _)| name.as_str());
        let left_out = group.left_out.iter().map(|engine| engine.name);
        let width = names.chain(left_out).map(str::len).max().unwrap_or(0);
        for (n, (name, about)) in group.parts.iter().enumerate() {
            let numbers = group.settings.get(n).map(|of| format!(" (default {})", numbers(of)));
            out::line(&format!("  {name:width$}  {about}{}", numbers.unwrap_or_default()));
        }
        for LeftOut { name, about, feature } in &group.left_out {
            let how = format!("(not built in: cargo feature `{feature}`)");
            out::line(&format!("  {name:width$}  {about} {how}"));
        }
    }
    Ok(())
}

fn json_of(group: &Group) -> Value {
    let part = |(name, about): &(String, String)| json!({ "name": name, "about": about });
    let mut parts: Vec<_> = group.parts.iter().map(part).collect();
    for (part, setting) in parts.iter_mut().zip(&group.settings) {
        let default = setting.default;
        // A whole number is one in JSON, too.
        let is_whole = default.fract() == 0.0;
        part["default"] = if is_whole { json!(default as u64) } else { json!(default) };
        (part["min"], part["max"]) = (json!(setting.min), json!(setting.max));
    }
    let mut all = json!({ "seam": group.name, "about": group.about, "parts": parts });
    if group.name == "engine" {
        let left_out = group.left_out.iter().map(|LeftOut { name, about, feature }| {
            json!({ "name": name, "about": about, "feature": feature })
        });
        all["not_built_in"] = left_out.collect();
    }
    all
}
