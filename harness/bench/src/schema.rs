//! JSON files that name their schema. One of another schema is refused before its fields are looked at: what they mean there is
//! not for this version to say.

use crate::names::usage;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::path::Path;

/// The one field that files of all schemas have.
#[derive(Deserialize)]
struct Named {
    schema: String,
}

/// Reads a file of `schema`.
///
/// # Errors
///
/// A usage error that names the file and both schemas, if it is of another.
pub(crate) fn read<T: DeserializeOwned>(path: &Path, schema: &str) -> Result<T> {
    let text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    let shown = || path.display().to_string();
    let named: Named = serde_json::from_slice(&text).with_context(shown)?;
    if named.schema != schema {
        let found = named.schema;
        return Err(usage(format!("{} has the schema `{found}`, not `{schema}`", shown())));
    }
    serde_json::from_slice(&text).with_context(shown)
}
