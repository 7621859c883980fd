//! Child processes, run from the root of the workspace.
//!
//! Each is shown before it runs, so that a reader of a log can repeat it by hand.

use anyhow::{Context, Result};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The root of the workspace: the folder that holds `harness/`.
pub(crate) fn root() -> PathBuf {
    // As cargo runs it, not as it was compiled: a binary that is kept between clones was perhaps built in one that is gone.
    let here = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    here.ancestors().nth(2).expect("this crate lies two folders below the root").to_path_buf()
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs to the end with its output shown; true if it succeeded.
pub(crate) fn passes(command: &mut Command) -> Result<bool> {
    println!("\n== {}", shown(command));
    let status = command.status().with_context(|| format!("cannot run {}", shown(command)))?;
    Ok(status.success())
}

/// Runs to the end, shows standard output as it comes, and keeps the lines that `keep` picks.
pub(crate) fn watched(
    command: &mut Command,
    keep: impl Fn(&str) -> bool,
) -> Result<(bool, Vec<String>)> {
    println!("\n== {}", shown(command));
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    let stdout = child.stdout.take().context("no standard output to read")?;
    let mut kept = Vec::new();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line.context("reading the output of a child")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if keep(&line) {
            kept.push(line.into_owned());
        }
    }
    Ok((child.wait()?.success(), kept))
}

/// Runs to the end and returns its standard output; an error if it failed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    anyhow::ensure!(output.status.success(), "{} failed", shown(command));
    Ok(String::from_utf8(output.stdout)?)
}

/// This machine's platform, as the compiler names it.
pub(crate) fn host() -> Result<String> {
    let version = output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host platform")
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned();
    command.get_args().fold(name, |line, argument| format!("{line} {}", argument.to_string_lossy()))
}
