//! Ring 3: servers as processes of their own on this machine, real disks, real sockets, clients as users have them, and faults that no simulation invented.
//!
//! 1. Four nodes, three replicas of each shard. Whatever one node says to another goes through a proxy ([`proxy`]), which can cut them off.
//! 2. Clients put, read, compare and count without pause ([`clients`]); what they did and saw is kept.
//! 3. Every ten seconds there is a fault ([`faults`]), until each kind has had its turn, again and again.
//! 4. Keys live for a while. Then they are read once more, and their history has to be linearizable; counters have to be exact.
//! 5. At the end everything is healed, and every replica of a shard has to have the same rows.
//!
//! What was covered is kept in a file and adds up over runs.

mod clients;
mod faults;
mod fleet;
mod idle;
mod proxy;
mod tally;

use crate::out;
use anyhow::{Context, Result, bail};
use clients::Load;
use fleet::{Fleet, Shape};
use nori_consensus::chance::Chance;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tally::Tally;

/// Between the end of a fault and the next.
const FAULT_EVERY: Duration = Duration::from_secs(10);
/// Four nodes, so that a shard can move, and a few shards, so that each is asked for something all the time.
const SHAPE: Shape = Shape { nodes: 4, shards: 8 };
/// For the cluster to be whole again.
const PATIENCE: Duration = Duration::from_secs(90);

/// Runs for `time`; whether every law held.
///
/// # Errors
///
/// If it cannot begin, or the tally cannot be kept.
pub(crate) fn run(
    time: Duration,
    seed: u64,
    keep: Option<&Path>,
    server: Option<&Path>,
    is_json: bool,
) -> Result<bool> {
    let server = find(server)?;
    let file = keep.map(|dir| dir.join("chaos.json"));
    let mut tally = Tally::read(file.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(storm(time, seed, &server, &mut tally, is_json));
    runtime.shutdown_background();
    let broken = outcome?;
    tally.broken.extend(broken.iter().cloned());
    if let Some(file) = &file {
        tally.write(file)?;
    }
    tally.tell(is_json)?;
    Ok(broken.is_empty())
}

/// Starts three nodes with `shards` shards, asks nothing of them, and tells what that costs within `time`; whether it is little enough.
///
/// # Errors
///
/// If they cannot begin, or end.
pub(crate) fn idle(
    shards: u32,
    time: Duration,
    server: Option<&Path>,
    is_json: bool,
) -> Result<bool> {
    let server = find(server)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(idle::measure(&server, shards, time, is_json));
    runtime.shutdown_background();
    outcome
}

/// The program that is tested.
fn find(given: Option<&Path>) -> Result<PathBuf> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let own = std::env::current_exe().context("looking for the server")?;
    let beside = own.with_file_name("norikv-server");
    if !beside.is_file() {
        bail!(
            "there is no server at {}: `cargo build --release -p norikv-server`, or name it with --server",
            beside.display()
        );
    }
    Ok(beside)
}

async fn storm(
    time: Duration,
    seed: u64,
    server: &Path,
    tally: &mut Tally,
    is_json: bool,
) -> Result<Vec<String>> {
    let mut chance = Chance::new(seed ^ u64::from(std::process::id()));
    let mut fleet = Fleet::start(server, SHAPE, &mut chance).await?;
    fleet.ready(PATIENCE).await?;
    let load = Arc::new(Load::begin(fleet.addresses()));
    let begun = Instant::now();
    let mut order = faults::Order::new();
    let mut broken = Vec::new();
    while begun.elapsed() < time {
        let next = Instant::now() + FAULT_EVERY;
        let kind = order.next(&mut chance, tally);
        if !is_json {
            out::line(&format!(
                "{:6.0} s  {:>9} operations  {}",
                begun.elapsed().as_secs_f64(),
                load.operations(),
                kind.name()
            ));
        }
        if let Err(error) = fleet.fault(kind, &mut chance, &load, tally).await {
            broken.push(format!("{}: {error:#}", kind.name()));
            break;
        }
        tally.count(kind);
        tokio::time::sleep_until(next.into()).await;
        load.settle(&mut broken).await;
        if !broken.is_empty() {
            break;
        }
    }
    fleet.heal().await;
    if broken.is_empty()
        && let Err(error) = fleet.ready(PATIENCE).await
    {
        broken.push(format!("after everything is healed: {error:#}"));
    }
    load.end(&mut broken).await;
    if broken.is_empty()
        && let Err(error) = fleet.compare().await
    {
        broken.push(format!("{error:#}"));
    }
    tally.add(begun.elapsed(), &load);
    if broken.is_empty() {
        fleet.remove();
    } else {
        out::error(&format!("everything is kept in {}", fleet.dir().display()));
    }
    Ok(broken)
}
