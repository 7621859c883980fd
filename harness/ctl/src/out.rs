//! What is printed: tables for people, JSON for programs, bytes as they are.

use crate::args::{Cli, Output};
use anyhow::Result;
use serde_json::Value;
use std::io::{self, Write as _};

/// Prints an error. If that cannot be done either, nobody is there to be told.
pub(crate) fn error(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a line.
pub(crate) fn line(text: &str) -> Result<()> {
    raw(format!("{text}\n").as_bytes())
}

/// Prints bytes as they are. Whoever has read enough of them is no error.
pub(crate) fn raw(bytes: &[u8]) -> Result<()> {
    let written = io::stdout().lock().write_all(bytes).and_then(|()| io::stdout().flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
        written => Ok(written?),
    }
}

/// Prints one thing: its fields as a table of two columns, or as JSON.
pub(crate) fn one(cli: &Cli, value: &Value) -> Result<()> {
    match (cli.output, value) {
        (Output::Table | Output::Raw, Value::Object(fields)) => {
            let width = fields.keys().map(String::len).max().unwrap_or(0);
            for (name, value) in fields {
                line(&format!("{name:width$}  {}", plain(value)))?;
            }
            Ok(())
        }
        (Output::Json, _) => line(&serde_json::to_string_pretty(value)?),
        _ => line(&value.to_string()),
    }
}

/// Prints several: a table with a head, an array, or a line of JSON each.
pub(crate) fn many(cli: &Cli, rows: &[Value]) -> Result<()> {
    match cli.output {
        Output::Json => line(&serde_json::to_string_pretty(rows)?),
        Output::Jsonl => rows.iter().try_for_each(|row| line(&row.to_string())),
        Output::Table | Output::Raw => table(rows),
    }
}

fn table(rows: &[Value]) -> Result<()> {
    let Some(Value::Object(first)) = rows.first() else { return Ok(()) };
    let names: Vec<&String> = first.keys().collect();
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| names.iter().map(|name| plain(&row[name.as_str()])).collect())
        .collect();
    let width = |n: usize| {
        let widest = cells.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
        widest.max(names[n].len())
    };
    let widths: Vec<usize> = (0..names.len()).map(width).collect();
    let print = |row: &[String]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| {
            // Formatting pads up to 65,535 at most.
            cell.clone() + &" ".repeat(width.saturating_sub(cell.chars().count()))
        });
        line(padded.collect::<Vec<String>>().join("  ").trim_end())
    };
    print(&names.into_iter().cloned().collect::<Vec<String>>())?;
    cells.iter().try_for_each(|row| print(row))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        Value::Array(parts) => parts.iter().map(plain).collect::<Vec<String>>().join(","),
        other => other.to_string(),
    }
}

/// Bytes as people are shown them: as text if they are some, and else in hexadecimal.
pub(crate) fn shown(cli: &Cli, bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) if !cli.hex && !text.chars().any(char::is_control) => text.to_owned(),
        _ => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

/// Bytes of the command line.
pub(crate) fn bytes(cli: &Cli, text: &str) -> Result<Vec<u8>> {
    if !cli.hex {
        return Ok(text.as_bytes().to_vec());
    }
    let wrong = || crate::Usage(format!("{text:?} is not hexadecimal"));
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(wrong().into());
    }
    let pairs = (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16));
    Ok(pairs.collect::<Result<Vec<u8>, _>>().map_err(|_| wrong())?)
}
