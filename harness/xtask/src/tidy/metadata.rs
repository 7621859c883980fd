//! What cargo knows of the workspace: its crates, their targets, and everything they pull in.

use crate::command::{cargo, host, output};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The part of cargo's own description that the checks read.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    pub(super) packages: Vec<Package>,
    pub(super) workspace_members: BTreeSet<String>,
    pub(super) workspace_root: PathBuf,
    pub(super) resolve: Resolve,
}

/// A crate, ours or another's.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Package {
    pub(super) id: String,
    pub(super) name: String,
    pub(super) version: String,
    pub(super) license: Option<String>,
    pub(super) license_file: Option<String>,
    pub(super) manifest_path: PathBuf,
    pub(super) dependencies: Vec<Dependency>,
    /// Each with what it turns on.
    #[serde(default)]
    pub(super) features: BTreeMap<String, Vec<String>>,
    pub(super) targets: Vec<Target>,
}

/// A line in a manifest's dependency tables.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Dependency {
    pub(super) name: String,
    /// None is a normal dependency; else `dev` or `build`.
    pub(super) kind: Option<String>,
    #[serde(default)]
    pub(super) features: Vec<String>,
}

/// A library, binary, test, example, bench or build script.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Target {
    pub(super) src_path: PathBuf,
}

/// What each package resolves to, with the features this workspace turns on.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Resolve {
    pub(super) nodes: Vec<Node>,
}

/// A package and what it pulls in.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Node {
    pub(super) id: String,
    pub(super) dependencies: Vec<String>,
}

impl Metadata {
    /// Asks cargo, for this machine's platform.
    pub(super) fn load() -> Result<Self> {
        let text = output(cargo().args([
            "metadata",
            "--format-version",
            "1",
            "--filter-platform",
            &host()?,
        ]))?;
        serde_json::from_str(&text).context("cargo metadata")
    }

    /// Our own crates.
    pub(super) fn members(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// A path from the root of the workspace, with `/`.
    pub(super) fn relative(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.workspace_root).unwrap_or(path);
        path.to_string_lossy().replace('\\', "/")
    }

    /// The folder of a crate, from the root of the workspace.
    pub(super) fn folder(&self, package: &Package) -> String {
        self.relative(package.manifest_path.parent().unwrap_or(Path::new("")))
    }

    /// Names of our crates that each of our crates reaches through normal and build dependencies.
    pub(super) fn reach(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let ours: BTreeSet<&str> = self.members().map(|package| package.name.as_str()).collect();
        let direct: BTreeMap<&str, Vec<&str>> = self
            .members()
            .map(|package| {
                let arrows =
                    package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev"));
                let names = arrows.map(|d| d.name.as_str()).filter(|name| ours.contains(name));
                (package.name.as_str(), names.collect())
            })
            .collect();
        let mut reach = BTreeMap::new();
        for name in direct.keys().copied() {
            let (mut seen, mut todo) = (BTreeSet::new(), direct[name].clone());
            while let Some(next) = todo.pop() {
                if seen.insert(next) {
                    todo.extend(&direct[next]);
                }
            }
            reach.insert(name, seen);
        }
        reach
    }
}
