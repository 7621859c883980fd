//! `norikv-sim`: groups of replicas under seeded storms.
//!
//! A seed decides everything: who founds the group, what its settings and its weather are, what fails and when. Every seed is played
//! twice, and both runs must be the same. A seed that breaks a law prints one line that plays it again.
//!
//! | module | what it does |
//! |---|---|
//! | `storm` | what a seed does to a group |
//! | `seed` | one seed from beginning to end |
//! | `cluster` | ring 2: whole nodes with real stores, under clients |
//! | `chaos` | ring 3: processes on this machine, killed and cut off |
//! | `history`, `linear` | what clients saw, and whether it can be |
//! | `bench` | what protocols can do in real time |
//! | `campaign` | many seeds on all processors, resumable, with their coverage |
//! | `mutants` | whether planted bugs are caught |
//!
//! Exit codes: 0 every law held, 1 one was broken, 2 usage.

mod bench;
mod campaign;
mod chaos;
mod cluster;
mod history;
mod linear;
mod mutants;
mod out;
mod seed;
mod storm;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use seed::Game;
use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The same as the server's.
#[global_allocator]
static MEMORY: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Groups of replicas under seeded storms, with the laws they must keep.
#[derive(Debug, Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Task>,
    /// Many seeds, A..B without B
    #[arg(long, value_parser = parse_seeds, default_value = "0..100", value_name = "A..B")]
    seeds: Range<u64>,
    /// One seed
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// What happens under the one seed, a line each
    #[arg(long, requires = "seed")]
    explain: bool,
    /// The digest of what happens under the one seed, and nothing else
    #[arg(long, requires = "seed", conflicts_with = "explain")]
    hash: bool,
    /// The protocol; ring 2 has `nori`
    #[arg(long, default_value = "nori")]
    protocol: String,
    /// What is simulated: 1 is groups of one protocol, 2 whole nodes with stores and clients
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=2))]
    ring: u8,
    /// How long the storm rages, in simulated minutes; 10 in ring 1, 1 in ring 2 if it is not given
    #[arg(long)]
    minutes: Option<f64>,
    /// Fail if a fault or an effect that there is never occurred
    #[arg(long, conflicts_with = "seed")]
    covered: bool,
    /// Where the state of the campaign is kept; with it, what was played is not played again
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the campaign as JSON and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// Three nodes in this process, no disk, a state machine that does nothing: ours, the adapted and the native libraries
    Framework {
        /// How often everything is run
        #[arg(long, default_value_t = 5, value_parser = parse_count)]
        blocks: usize,
        /// How long each run counts, in seconds; half as long before it does not
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// Print the rate of each run as JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// The failure detector in simulated worlds: how soon a crash is noticed, who is suspected wrongly
    Swim {
        /// What everything follows from
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Print the figures as JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// The kinds of a node's log on a real disk, every write synced
    Log {
        /// Where; a folder that is made there is removed again
        #[arg(long, default_value = ".")]
        dir: PathBuf,
        /// Groups that are ready at once
        #[arg(long, default_value_t = bench::log::GROUPS, value_parser = clap::value_parser!(u64).range(1..=1_000))]
        groups: u64,
        /// How often every kind is run
        #[arg(long, default_value_t = 5, value_parser = parse_count)]
        blocks: usize,
        /// How long each run counts, in seconds; a quarter of it before does not
        #[arg(long, default_value_t = 3.0)]
        seconds: f64,
        /// Print the rate of each run as JSON and nothing else
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Calm {
    /// Nothing at all: what three nodes cost of whose groups nothing is asked
    Idle {
        /// Shards, of each of which every node has a replica
        #[arg(long, default_value_t = 1_000)]
        shards: u32,
        /// How long is counted, in seconds
        #[arg(long, default_value_t = 60.0)]
        seconds: f64,
        /// The server; found in the target folder if it is not given
        #[arg(long)]
        server: Option<PathBuf>,
        /// Print the figures as JSON and nothing else
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Measures in real time
    Bench {
        #[command(subcommand)]
        what: Bench,
    },
    /// Real processes on this machine under clients, killed, stopped, cut off, replaced and moved
    #[command(args_conflicts_with_subcommands = true)]
    Chaos {
        #[command(subcommand)]
        what: Option<Calm>,
        /// How long, in real minutes
        #[arg(long, default_value_t = 2.0)]
        minutes: f64,
        /// What decides about faults
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Where the tally of all runs is kept; with it, runs add up
        #[arg(long)]
        out: Option<PathBuf>,
        /// The server; found in the target folder if it is not given
        #[arg(long)]
        server: Option<PathBuf>,
        /// Print the tally as JSON and nothing else
        #[arg(long)]
        json: bool,
    },
    /// Builds the planted bugs and hunts them: each has to be caught within 500 seeds
    Mutants {
        /// Only these; all if none is named
        names: Vec<String>,
        /// How long each storm rages, in simulated minutes; 10 for bugs of the protocol, 1 for those of whole nodes if it is not given
        #[arg(long)]
        minutes: Option<f64>,
        /// What happens under this seed with the one bug that is named, a line each
        #[arg(long, value_name = "SEED", requires = "names")]
        explain: Option<u64>,
    },
    /// The hunt itself, in a build that has the bugs
    #[cfg(feature = "mutants")]
    #[command(hide = true)]
    Hunt {
        names: Vec<String>,
        #[arg(long)]
        minutes: Option<f64>,
        #[arg(long)]
        explain: Option<u64>,
    },
}

fn parse_seeds(text: &str) -> Result<Range<u64>, String> {
    let range = text
        .split_once("..")
        .and_then(|(from, upto)| Some(from.trim().parse().ok()?..upto.trim().parse().ok()?));
    match range {
        Some(range) if range.start < range.end => Ok(range),
        _ => Err(format!("`{text}` is no range of seeds A..B with A below B")),
    }
}

fn parse_count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count @ 1..=1_000) => Ok(count),
        _ => Err(format!("`{text}` is not a number from 1 to 1000")),
    }
}

/// A time that was given in seconds.
fn duration(option: &str, seconds: f64) -> Result<Duration> {
    if !(seconds > 0.0 && seconds <= 86_400.0) {
        bail!("{option}: `{seconds}` is not above 0 and at most 86400");
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn run(args: &Args) -> Result<bool> {
    match &args.command {
        Some(Task::Bench { what: Bench::Framework { blocks, seconds, json } }) => {
            bench::framework(*blocks, duration("--seconds", *seconds)?, *json)?;
            return Ok(true);
        }
        Some(Task::Bench { what: Bench::Swim { seed, json } }) => {
            return bench::swim::swim(*seed, *json);
        }
        Some(Task::Bench { what: Bench::Log { dir, groups, blocks, seconds, json } }) => {
            bench::log::log(dir, *groups, *blocks, duration("--seconds", *seconds)?, *json)?;
            return Ok(true);
        }
        Some(Task::Chaos { what: Some(Calm::Idle { shards, seconds, server, json }), .. }) => {
            return chaos::idle(
                *shards,
                duration("--seconds", *seconds)?,
                server.as_deref(),
                *json,
            );
        }
        Some(Task::Chaos { what: None, minutes, seed, out, server, json }) => {
            if !(*minutes > 0.0 && *minutes <= 100_000.0) {
                bail!("--minutes: `{minutes}` is not above 0 and at most 100000");
            }
            let time = Duration::from_secs_f64(minutes * 60.0);
            return chaos::run(time, *seed, out.as_deref(), server.as_deref(), *json);
        }
        Some(Task::Mutants { names, minutes, explain }) => {
            return mutants::build_and_hunt(names, *minutes, *explain);
        }
        #[cfg(feature = "mutants")]
        Some(Task::Hunt { names, minutes, explain: Some(seed) }) => {
            return mutants::explain(names, *seed, *minutes);
        }
        #[cfg(feature = "mutants")]
        Some(Task::Hunt { names, minutes, explain: None }) => {
            return mutants::hunt(names, *minutes);
        }
        None => {}
    }
    let minutes = args.minutes.unwrap_or(if args.ring == 1 { 10.0 } else { 1.0 });
    if !(minutes > 0.0 && minutes <= 100_000.0) {
        bail!("--minutes: `{minutes}` is not above 0 and at most 100000");
    }
    let time = Duration::from_secs_f64(minutes * 60.0);
    let game = Game::new(args.ring, &args.protocol)?;
    let Some(seed) = args.seed else {
        return campaign::run(
            &game,
            args.seeds.clone(),
            time,
            args.out.as_deref(),
            (args.json, args.covered),
        );
    };
    let (shown, lines) = game.play(seed, time, args.explain)?;
    if args.hash {
        out::line(&format!("{:016x}", shown.digest));
    } else if args.explain {
        lines.iter().for_each(|line| out::line(line));
    } else {
        out::line(&serde_json::to_string_pretty(&shown).context("as JSON")?);
    }
    if let Some(violation) = &shown.violation {
        out::error(violation);
    }
    Ok(shown.violation.is_none())
}

/// What is wrong, and what may have been meant, without how everything is used.
fn one_line(complaint: &str) -> String {
    let told = complaint
        .lines()
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    told.map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(told) if !told.use_stderr() => {
            out::line(told.to_string().trim_end());
            return ExitCode::SUCCESS;
        }
        Err(wrong) => {
            out::error(&one_line(&wrong.to_string()));
            return ExitCode::from(2);
        }
    };
    seed::keep_panics_quiet();
    match run(&args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            out::error(&format!("error: {error:#}"));
            ExitCode::from(2)
        }
    }
}
