//! The shape of `tidy.toml`: what is allowed, and why.

use serde::Deserialize;

/// Everything `tidy.toml` says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rules {
    /// Roots of crates that are no members of the workspace.
    pub(super) built_apart: Vec<String>,
    /// Features that plant bugs.
    pub(super) planted_features: Vec<String>,
    /// SPDX names of licences a dependency may come under.
    pub(super) licences: Vec<String>,
    /// Folders that may name files, clocks, threads and entropy. Each ends in `/`.
    #[serde(default)]
    pub(super) doors: Vec<String>,
    /// Single uses of a banned call that are right where they are.
    #[serde(default)]
    pub(super) exception: Vec<Exception>,
}

/// A banned call that one file may make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    pub(super) file: String,
    pub(super) call: String,
    /// A sentence. It must not be empty.
    pub(super) reason: String,
}
