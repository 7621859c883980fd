//! `bench framework`: what the replication protocols alone can do, in real time.
//!
//! Three nodes in this process, a thread each; channels for a network; a log in memory that is safe at once; a state machine that does nothing.
//! Clients propose empty entries in a closed loop, all from one thread. The same for all, whether behind our seam or driven natively, so
//! what differs is the protocol, and how many messages and wakings it makes of the same work.
//!
//! 1. Each candidate is run at each number of clients for a while, after a while that does not count; a block is all of them once.
//! 2. Blocks are repeated, and the order within them turns, so that a slow moment of the machine hits all alike.
//! 3. What the indirection of the seam costs is measured apart, on one thread (`seam`).
//! 4. What is told is the median of the blocks, and ratios of medians.

mod clients;
mod driver;
pub(crate) mod log;
mod mem_log;
mod native_openraft;
mod native_raft_rs;
mod seam;
pub(crate) mod swim;

use crate::out;
use anyhow::Result;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Clients in a closed loop.
const CLIENTS: [usize; 4] = [1, 64, 256, 1_024];
/// Pairs of runs with and without the seam.
const SEAM_PAIRS: usize = 20;
/// The nodes of a group.
pub(crate) const NODES: u64 = 3;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
enum Candidate {
    /// Our own, behind the seam.
    Nori,
    RaftRs,
    Openraft,
    RaftRsNative,
    OpenraftNative,
}

impl Candidate {
    const ALL: [Self; 5] =
        [Self::Nori, Self::RaftRs, Self::Openraft, Self::RaftRsNative, Self::OpenraftNative];

    fn name(self) -> &'static str {
        match self {
            Self::Nori => "nori",
            Self::RaftRs => "raft-rs",
            Self::Openraft => "openraft",
            Self::RaftRsNative => "raft-rs-native",
            Self::OpenraftNative => "openraft-native",
        }
    }

    /// Entries a second that are applied and told to their clients.
    fn run(self, clients: usize, time: Duration) -> Result<f64> {
        match self {
            Self::Nori => driver::run("nori", clients, time),
            Self::RaftRs => driver::run("raft-rs", clients, time),
            Self::Openraft => driver::run("openraft", clients, time),
            Self::RaftRsNative => native_raft_rs::run(clients, time),
            Self::OpenraftNative => native_openraft::run(clients, time),
        }
    }
}

/// The rates of all blocks.
type Rates = BTreeMap<(Candidate, usize), Vec<f64>>;

/// Runs it all and tells.
///
/// # Errors
///
/// If a group does not come to a leader.
pub(crate) fn framework(blocks: usize, time: Duration, is_json: bool) -> Result<()> {
    let all = Candidate::ALL.len() * CLIENTS.len();
    let bar = ProgressBar::new((blocks * all) as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} runs {msg} {eta}")?);
    let mut rates = Rates::new();
    for block in 0..blocks {
        for clients in CLIENTS {
            for n in 0..Candidate::ALL.len() {
                let candidate = Candidate::ALL[(n + block) % Candidate::ALL.len()];
                bar.set_message(format!("{} {clients}", candidate.name()));
                let rate = candidate.run(clients, time)?;
                rates.entry((candidate, clients)).or_default().push(rate);
                bar.inc(1);
            }
        }
    }
    bar.finish_and_clear();
    let seam = seam::ratio(SEAM_PAIRS, time / 8)?;
    let medians = rates.iter().map(|(key, rates)| (*key, median(rates))).collect();
    if is_json { tell_json(&rates, seam) } else { tell(&medians, seam, (blocks, time)) }
}

fn median(of: &[f64]) -> f64 {
    let mut sorted = of.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 }
}

fn tell(
    medians: &BTreeMap<(Candidate, usize), f64>,
    seam: f64,
    (blocks, time): (usize, Duration),
) -> Result<()> {
    out::line(&format!(
        "entries a second: median of {blocks} blocks of {:.1} s, {NODES} nodes in one process, no disk",
        time.as_secs_f64()
    ));
    let columns: String = CLIENTS.iter().map(|clients| format!("{clients:>12}")).collect();
    out::line(&format!("{:<18}{columns}", "clients"));
    for candidate in Candidate::ALL {
        let rates = CLIENTS.iter().map(|clients| medians[&(candidate, *clients)]);
        let row: String = rates.map(|rate| format!("{rate:>12.0}")).collect();
        out::line(&format!("{:<18}{row}", candidate.name()));
    }
    let at = |candidate, clients| medians[&(candidate, clients)];
    let faster = |one, other, clients| f64::max(at(one, clients), at(other, clients));
    out::line("ratios");
    let nori = |clients| at(Candidate::Nori, clients);
    let openraft = |clients| faster(Candidate::Openraft, Candidate::OpenraftNative, clients);
    let raft_rs = |clients| faster(Candidate::RaftRs, Candidate::RaftRsNative, clients);
    let tell_ratio = |name: &str, ratio: &dyn Fn(usize) -> f64| {
        let row: String =
            CLIENTS.iter().map(|clients| format!("{:>12.2}", ratio(*clients))).collect();
        out::line(&format!("{name:<18}{row}"));
    };
    tell_ratio("nori / openraft*", &|clients| nori(clients) / openraft(clients));
    tell_ratio("nori / raft-rs*", &|clients| nori(clients) / raft_rs(clients));
    out::line("* the faster of both rows of that library");
    out::line(&format!(
        "behind the seam / called directly, on one thread: {seam:.3} (median of {SEAM_PAIRS} pairs)"
    ));
    Ok(())
}

#[derive(Serialize)]
struct Row<'a> {
    candidate: &'a str,
    clients: usize,
    rates: &'a [f64],
}

fn tell_json(rates: &Rates, seam: f64) -> Result<()> {
    let rows: Vec<Row<'_>> = rates
        .iter()
        .map(|((candidate, clients), rates)| Row {
            candidate: candidate.name(),
            clients: *clients,
            rates,
        })
        .collect();
    let told = serde_json::json!({ "rows": rows, "seam_to_direct": seam });
    out::line(&serde_json::to_string_pretty(&told)?);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_applies_entries() {
        for candidate in Candidate::ALL {
            let rate = candidate.run(16, Duration::from_millis(200)).expect("it leads");
            assert!(rate > 100.0, "{}: {rate} entries a second", candidate.name());
        }
    }
}
