//! A file of settings: sections and keys in TOML, each with the line it stands in.

use super::ConfigError;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// What a file says: name, value as text, line.
pub(super) fn entries(
    path: &Path,
    text: &str,
) -> Result<Vec<(String, String, usize)>, ConfigError> {
    let line = |at: usize| {
        1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count()
    };
    let syntax = |at: usize, what: String| ConfigError::Syntax {
        path: path.to_owned(),
        line: line(at),
        what,
    };
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        syntax(at, error.message().to_owned())
    })?;
    let mut entries = Vec::new();
    walk("", table.get_ref(), &mut |name, at, value| match plain(value) {
        Some(value) => {
            entries.push((name, value, line(at)));
            Ok(())
        }
        None => Err(syntax(
            at,
            format!("{name} is to be a text, a number, true or false, or a list of texts"),
        )),
    })?;
    Ok(entries)
}

type Take<'t> = dyn FnMut(String, usize, &DeValue<'_>) -> Result<(), ConfigError> + 't;

fn walk(before: &str, table: &DeTable<'_>, take: &mut Take<'_>) -> Result<(), ConfigError> {
    for (name, value) in table {
        let full = match before {
            "" => name.get_ref().to_string(),
            _ => format!("{before}.{}", name.get_ref()),
        };
        match value.get_ref() {
            DeValue::Table(table) => walk(&full, table, take)?,
            other => take(full, name.span().start, other)?,
        }
    }
    Ok(())
}

/// A value as it would be written in a variable.
fn plain(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(is) => Some(is.to_string()),
        DeValue::Array(list) => {
            let parts = list.iter().map(|part| match part.get_ref() {
                DeValue::String(text) if !text.contains(',') => Some(text.to_string()),
                _ => None,
            });
            parts.collect::<Option<Vec<String>>>().map(|parts| parts.join(","))
        }
        _ => None,
    }
}
