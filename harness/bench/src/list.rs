//! `norikv-bench list`: everything that has a name.

use crate::names::{SUITE, usage};
use crate::out;
use anyhow::Result;
use nori_workloads::BUILT_IN;
use norikv_parts::{Part, seams};
use serde_json::json;

/// A heading and the names under it.
struct Group {
    name: String,
    about: String,
    parts: Vec<(String, String)>,
}

fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = seams()
        .into_iter()
        .map(|seam| Group {
            name: seam.name.into(),
            about: seam.about.into(),
            parts: seam.parts.iter().map(|part| (part.name.into(), about(part))).collect(),
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
    groups.push(Group { name: "workload".into(), about, parts: workloads });
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
        let parts = |group: &Group| -> Vec<_> {
            group
                .parts
                .iter()
                .map(|(name, about)| json!({ "name": name, "about": about }))
                .collect()
        };
        let all: Vec<_> = groups
            .iter()
            .map(|g| json!({ "seam": g.name, "about": g.about, "parts": parts(g) }))
            .collect();
        out::line(&serde_json::to_string_pretty(&all)?);
        return Ok(());
    }
    for (index, group) in groups.iter().enumerate() {
        if index > 0 {
            out::line("");
        }
        out::line(&format!("{}: {}", group.name, group.about));
        let width = group.parts.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, about) in &group.parts {
            out::line(&format!("  {name:width$}  {about}"));
        }
    }
    Ok(())
}
