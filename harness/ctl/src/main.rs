//! `norikvctl`: keys, members and shards of a cluster, from a command line.
//!
//! Exit codes: 0 done; 1 something else; 2 usage; 5 the key is not there; 6 another version; 7 the outcome is unknown; 8 nobody could serve it;
//! 9 too much is under way.
//!
//! | module | what it has |
//! |---|---|
//! | `args` | the command line |
//! | `keys` | put, get, del, cas, scan, locate |
//! | `operate` | cluster, node, shard |
//! | `out` | tables, JSON, bytes as they are |

mod args;
mod keys;
mod operate;
mod out;
mod ready;

use anyhow::Result;
use args::{Cli, Command};
use clap::Parser as _;
use norikv_client::{Client, Error, ErrorKind};
use std::process::ExitCode;

const FAILED: u8 = 1;
const USAGE: u8 = 2;
const NOT_FOUND: u8 = 5;
const VERSION_MISMATCH: u8 = 6;
const OUTCOME_UNKNOWN: u8 = 7;
const UNAVAILABLE: u8 = 8;
const OVERLOADED: u8 = 9;

/// The key is not there: no error, and a code of its own.
#[derive(Debug, thiserror::Error)]
#[error("the key is not there")]
struct NotFound;

/// The command did not make sense; the sentence says what would.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = code(&error);
            let text = format!("{error:#}");
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            out::error(&format!("error: {}", lines.join("; ")));
            ExitCode::from(code)
        }
    }
}

fn code(error: &anyhow::Error) -> u8 {
    if error.is::<NotFound>() {
        return NOT_FOUND;
    }
    if error.is::<Usage>() {
        return USAGE;
    }
    match error.downcast_ref::<Error>().map(|error| &error.kind) {
        Some(ErrorKind::VersionMismatch { .. }) => VERSION_MISMATCH,
        Some(ErrorKind::OutcomeUnknown) => OUTCOME_UNKNOWN,
        Some(ErrorKind::Unavailable | ErrorKind::DeadlineExceeded) => UNAVAILABLE,
        Some(ErrorKind::Overloaded { .. }) => OVERLOADED,
        Some(ErrorKind::InvalidArgument | ErrorKind::TooLarge { .. }) => USAGE,
        _ => FAILED,
    }
}

fn run(cli: Cli) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        let client = Client::builder(cli.endpoints.clone()).deadline(cli.timeout).build()?;
        match &cli.command {
            Command::Put(put) => keys::put(&client, &cli, put).await,
            Command::Get(get) => keys::get(&client, &cli, get).await,
            Command::Del(del) => keys::del(&client, &cli, del).await,
            Command::Cas(cas) => keys::cas(&client, &cli, cas).await,
            Command::Scan(scan) => keys::scan(&client, &cli, scan).await,
            Command::Locate { key } => keys::locate(&client, &cli, key).await,
            Command::Cluster(command) => operate::cluster(&client, &cli, command).await,
            Command::Members => operate::members(&client, &cli).await,
            Command::Node(command) => operate::node(&client, &cli, command).await,
            Command::Shard(command) => operate::shard(&client, &cli, command).await,
        }
    });
    // A name that is still being looked up is not waited for.
    runtime.shutdown_background();
    done
}
