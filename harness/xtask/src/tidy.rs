//! The rules of the house that no compiler knows.
//!
//! One check per file; a check takes plain text and plain tables and returns what it found, so that
//! each is tested on a few lines. This file reads the tree once, hands it to every check and prints
//! the findings, sorted.

mod banned_calls;
mod dead_files;
mod dependencies;
mod features;
mod functions;
mod headers;
mod layers;
mod licences;
mod metadata;
mod rules;
mod source;
mod words;

use crate::command::root;
use anyhow::{Context, Result};
use source::Source;
use std::fmt;

/// What is done with the list of functions that are longer than the rule allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ratchet {
    /// The list must be exact.
    Check,
    /// Rewrite it, smaller: mended functions leave it, shortened ones are held to their new length.
    Shrink,
}

/// One breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    /// From the root of the workspace; empty when no single file is to blame.
    file: String,
    /// From 1; 0 when the file as a whole is to blame.
    line: usize,
    what: String,
}

impl Finding {
    fn new(file: &str, line: usize, what: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => write!(f, "{}", self.what),
            (file, 0) => write!(f, "{file}: {}", self.what),
            (file, line) => write!(f, "{file}:{line}: {}", self.what),
        }
    }
}

/// True if no rule is broken.
pub(crate) fn run(ratchet: Ratchet) -> Result<bool> {
    println!("\n== tidy");
    let here = root().join("harness/xtask");
    let read = |name: &str| {
        std::fs::read_to_string(here.join(name)).with_context(|| format!("cannot read {name}"))
    };
    let layers: layers::Table = toml::from_str(&read("layers.toml")?).context("layers.toml")?;
    let rules: rules::Rules = toml::from_str(&read("tidy.toml")?).context("tidy.toml")?;
    let allowed_long = functions::parse_list(&read("long-functions.txt")?)?;

    let tree = source::read_tree(&root())?;
    let rust: Vec<&Source> = tree.iter().filter(|file| file.is_rust()).collect();
    let metadata = metadata::Metadata::load()?;

    let mut findings = Vec::new();
    findings.extend(layers::check(&layers, &metadata));
    findings.extend(dependencies::check(&layers, &metadata));
    findings.extend(features::check(&rules.planted_features, &metadata));
    findings.extend(licences::check(&rules.licences, &metadata));
    findings.extend(headers::check(&tree));
    findings.extend(dead_files::check(&rust, &rules.built_apart, &metadata));
    findings.extend(banned_calls::check(&rust, &rules));
    findings.extend(words::check(&tree));

    let long = functions::long(&rust);
    if ratchet == Ratchet::Shrink {
        let list = functions::shrunk(&allowed_long, &long);
        std::fs::write(here.join("long-functions.txt"), functions::list_text(&list))?;
        findings.extend(functions::check(&list, &long));
    } else {
        findings.extend(functions::check(&allowed_long, &long));
    }

    findings.sort();
    for finding in &findings {
        println!("{finding}");
    }
    let (files, crates) = (tree.len(), metadata.members().count());
    println!("tidy: {} findings in {files} files and {crates} crates", findings.len());
    Ok(findings.is_empty())
}
