//! Arrows point down: every crate is in the table, in its folder, and depends on lower layers only.

use super::Finding;
use super::metadata::Metadata;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The shape of `layers.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    #[serde(rename = "crate")]
    crates: Vec<Row>,
    #[serde(default)]
    pub(super) foreign: Vec<Foreign>,
    #[serde(default)]
    pub(super) absent: Vec<Absent>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    name: String,
    folder: String,
    layer: u8,
    /// Crates, or folders ending in `/`, that must not be reached.
    #[serde(default)]
    knows_no: Vec<String>,
    /// Exceptions to `knows_no`.
    #[serde(default)]
    but: Vec<String>,
}

/// Crates of others that only some of ours may name. One of `only_in` and `not_in` is given.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Foreign {
    pub(super) names: Vec<String>,
    /// Our crates that may.
    #[serde(default)]
    pub(super) only_in: Vec<String>,
    /// Folders, ending in `/`, whose crates may not.
    #[serde(default)]
    pub(super) not_in: Vec<String>,
    /// Crates in those folders that may.
    #[serde(default)]
    pub(super) but: Vec<String>,
    pub(super) why: String,
}

/// A crate that must not be pulled in at all.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Absent {
    pub(super) name: String,
    pub(super) why: String,
}

pub(super) fn check(table: &Table, metadata: &Metadata) -> Vec<Finding> {
    let rows: BTreeMap<&str, &Row> =
        table.crates.iter().map(|row| (row.name.as_str(), row)).collect();
    let mut findings = Vec::new();
    for package in metadata.members() {
        let folder = metadata.folder(package);
        let manifest = format!("{folder}/Cargo.toml");
        let Some(row) = rows.get(package.name.as_str()) else {
            findings.push(Finding::new(
                &manifest,
                0,
                format!(
                    "crate {} is not in harness/xtask/layers.toml: give it a layer",
                    package.name
                ),
            ));
            continue;
        };
        if folder != row.folder {
            let what = format!("crate {} belongs in {}", row.name, row.folder);
            findings.push(Finding::new(&manifest, 0, what));
        }
        for dependency in &package.dependencies {
            let Some(to) = rows.get(dependency.name.as_str()) else { continue };
            let is_dev = dependency.kind.as_deref() == Some("dev");
            if to.layer < row.layer || (is_dev && to.layer == row.layer) {
                continue;
            }
            let what = format!(
                "arrow up: {} (layer {}) depends on {} (layer {})",
                row.name, row.layer, to.name, to.layer
            );
            findings.push(Finding::new(&manifest, 0, what));
        }
    }
    findings.extend(unwanted(&rows, metadata));
    findings
}

/// Breaches of `knows_no`.
fn unwanted(rows: &BTreeMap<&str, &Row>, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, reached) in metadata.reach() {
        let Some(row) = rows.get(name) else { continue };
        for to in reached {
            let folder = rows.get(to).map_or("", |to| to.folder.as_str());
            let matches = |rule: &String| {
                rule == to || (rule.ends_with('/') && folder.starts_with(rule.as_str()))
            };
            if row.knows_no.iter().any(matches) && !row.but.iter().any(|but| but == to) {
                let what = format!("{name} must not know {to}, not even through others");
                findings.push(Finding::new(&format!("{}/Cargo.toml", row.folder), 0, what));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests;
