//! What groups cost of which nothing is asked: three nodes, each with a replica of every shard, and the processor time that each takes.
//!
//! 1. The cluster is founded, and every shard has a leader.
//! 2. Groups fall asleep: a time passes that does not count.
//! 3. What the kernel says that each process has used before and after `time` is the cost, in hundredths of one processor.

use super::fleet::{Fleet, Shape};
use crate::out;
use anyhow::{Context, Result, bail};
use nori_consensus::chance::Chance;
use rustix::process::Pid;
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

const NODES: usize = 3;
/// For a thousand groups to be founded on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// Until all groups sleep, and what the founding left to do is done.
const SETTLE: Duration = Duration::from_secs(30);
/// A node may take so much of one processor.
const PERCENT_MAX: f64 = 2.0;

/// See the module; whether each node kept to [`PERCENT_MAX`].
pub(super) async fn measure(
    server: &Path,
    shards: u32,
    time: Duration,
    is_json: bool,
) -> Result<bool> {
    let mut chance = Chance::new(u64::from(std::process::id()));
    let begun = Instant::now();
    let mut fleet = Fleet::start(server, Shape { nodes: NODES, shards }, &mut chance).await?;
    fleet.ready(PATIENCE).await?;
    let ready_ms = begun.elapsed().as_secs_f64() * 1e3;
    if !is_json {
        out::line(&format!("{shards} shards on {NODES} nodes are ready after {ready_ms:.0} ms"));
    }
    tokio::time::sleep(SETTLE).await;
    let used = |fleet: &Fleet| (0..NODES).map(|node| used(fleet.pid(node)?)).collect();
    let (before, from): (Result<Vec<Used>>, Instant) = (used(&fleet), Instant::now());
    tokio::time::sleep(time).await;
    let (after, elapsed): (Result<Vec<Used>>, Duration) = (used(&fleet), from.elapsed());
    fleet.check()?;
    let (before, after) = (before?, after?);
    let percent: Vec<f64> = before
        .iter()
        .zip(&after)
        .map(|(before, after)| 100.0 * (after.seconds - before.seconds) / elapsed.as_secs_f64())
        .collect();
    let is_little = percent.iter().all(|of| *of <= PERCENT_MAX);
    if is_json {
        let mib: Vec<f64> = after.iter().map(|after| after.mib).collect();
        out::line(&serde_json::to_string_pretty(&json!({
            "shards": shards, "nodes": NODES, "ready_ms": ready_ms, "seconds": elapsed.as_secs_f64(),
            "percent_of_a_core": percent, "anonymous_mib": mib, "held": is_little,
        }))?);
    } else {
        for (node, (percent, after)) in percent.iter().zip(&after).enumerate() {
            let mib = after.mib;
            out::line(&format!(
                "node {node}: {percent:.2} % of one processor (at most {PERCENT_MAX} %), {mib:.0} MiB of its own memory"
            ));
        }
    }
    fleet.remove();
    Ok(is_little)
}

/// What a process has used.
struct Used {
    /// Time on processors.
    seconds: f64,
    /// Anonymous memory.
    mib: f64,
}

/// From `/proc`: the fields `utime` and `stime`, in ticks, and `RssAnon`, in kB (proc(5)).
fn used(pid: Pid) -> Result<Used> {
    let pid = pid.as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(") ").context("a process without a name")?;
    // `utime` and `stime` are the 14th and 15th field, and the state, which is first here, the 3rd.
    let mut times = fields.split(' ').skip(14 - 3).map(str::parse::<u64>);
    let (Some(Ok(utime)), Some(Ok(stime))) = (times.next(), times.next()) else {
        bail!("a process without times");
    };
    let seconds = (utime + stime) as f64 / rustix::param::clock_ticks_per_second() as f64;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let anonymous = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = anonymous.and_then(|text| text.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(Used { seconds, mib: kib.context("a process without memory")? / 1024.0 })
}
