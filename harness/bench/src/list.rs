//! `norikv-bench list`: everything that has a name.

use crate::names::{SUITE, usage};
use crate::out;
use anyhow::Result;
use nori_workloads::BUILT_IN;
use norikv_parts::{LeftOut, Part, left_out, seams};
use serde_json::{Value, json};

/// A heading and the names under it.
struct Group {
    name: String,
    about: String,
    parts: Vec<(String, String)>,
    /// Of engines: what another build would have.
    left_out: Vec<LeftOut>,
}

fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = seams()
        .into_iter()
        .map(|seam| Group {
            name: seam.name.into(),
            about: seam.about.into(),
            parts: seam.parts.iter().map(|part| (part.name.into(), about(part))).collect(),
            left_out: if seam.name == "engine" { left_out() } else { Vec::new() },
        })
        .collect();
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
    groups.push(Group { name, about, parts: workloads, left_out: Vec::new() });
    groups
}

fn about(part: &Part) -> String {
    format!("{}{}", part.about, if part.is_default { " (default)" } else { "" })
}

/// Prints all groups, or the one called `seam`.
pub(crate) fn list(seam: Option<&str>, is_json: bool) -> Result<()> {
    let mut groups = groups();
    if let Some(seam) = seam {
        let known: Vec<String> = groups.iter().map(|group| group.name.clone()).collect();
        groups.retain(|group| group.name == seam);
        if groups.is_empty() {
            let hint = nori_workloads::nearest(seam, known.iter().map(String::as_str));
            let hint = hint.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
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
        for (name, about) in &group.parts {
            out::line(&format!("  {name:width$}  {about}"));
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
    let parts: Vec<_> = group.parts.iter().map(part).collect();
    let mut all = json!({ "seam": group.name, "about": group.about, "parts": parts });
    if group.name == "engine" {
        let left_out = group.left_out.iter().map(|LeftOut { name, about, feature }| {
            json!({ "name": name, "about": about, "feature": feature })
        });
        all["not_built_in"] = left_out.collect();
    }
    all
}
