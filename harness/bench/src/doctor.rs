//! `norikv-bench doctor`: is this machine fit to measure on?
//!
//! 1. Look at what spoils numbers before anything is measured ([`conditions`]).
//! 2. Probe the disk that the stores would be on, and the clock ([`clock`]).
//! 3. Let the engine race itself ([`noise`]): what differs there is noise, and says how small a difference can be told here.
//! 4. Give one verdict. A fault makes every number meaningless: exit code 1. A warning says what to expect of them.

mod clock;
mod conditions;
mod noise;

use crate::machine::{Build, FsyncProbe, Machine, Written};
use crate::names::parse_blocks;
use crate::plot::bytes;
use crate::{Ended, FAILED, out};
use anyhow::Result;
use clap::Args;
use clock::Clock;
use conditions::{Conditions, Findings};
use noise::Noise;
use serde::Serialize;
use std::path::PathBuf;

const SCHEMA: &str = "norikv.checkup/1";
/// No device that survives a loss of power has written and answered by then; memory has.
const SYNC_MICROS_MIN: f64 = 20.0;
/// A sync in a hundred that takes so many times the usual decides a p99 by chance.
const SYNC_TAIL_MAX: f64 = 10.0;
/// Probes minutes apart that differ by more make runs minutes apart differ as well.
const SYNC_DRIFT_MAX: f64 = 2.0;

#[derive(Args)]
pub(crate) struct DoctorArgs {
    /// A directory on the disk that is to be measured; what is measured is kept in `doctor` there
    #[arg(long, default_value = "results")]
    dir: PathBuf,
    /// How often the engine runs against itself
    #[arg(long, value_parser = parse_blocks, allow_negative_numbers = true, default_value_t = 6)]
    blocks: u32,
    /// Print everything as JSON and nothing else
    #[arg(long)]
    json: bool,
}

/// In one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// Nothing is in the way.
    Fit,
    /// There are warnings.
    Usable,
    /// There are faults.
    Unfit,
}

/// Everything that was found.
#[derive(Serialize)]
struct Checkup {
    schema: &'static str,
    dir: PathBuf,
    build: Build,
    /// Its `fsync_us` is of a file that grows.
    machine: Machine,
    conditions: Conditions,
    fsync_preallocated_us: Option<FsyncProbe>,
    /// Both once more, after the engine ran; nothing where it did not.
    fsync_after_us: Option<FsyncProbe>,
    fsync_preallocated_after_us: Option<FsyncProbe>,
    clock: Clock,
    /// A row for each phase and metric; none where it could not be measured.
    noise: Vec<Noise>,
    #[serde(flatten)]
    findings: Findings,
    verdict: Verdict,
}

/// Looks, measures, and says what to think of it.
pub(crate) fn doctor(args: &DoctorArgs) -> Result<()> {
    // Before the directory is touched: nothing of ours is in the load yet.
    let load = conditions::load_1m();
    let made = std::fs::create_dir_all(&args.dir);
    let conditions = Conditions::look(&args.dir, load);
    let machine = Machine::look(&args.dir);
    let probe = made.map_err(anyhow::Error::from);
    let probe = probe.and_then(|()| FsyncProbe::of(&args.dir, Written::Preallocated));
    let build = Build::look();
    let mut findings = conditions.findings(&machine);
    if cfg!(debug_assertions) {
        findings.fault("this is a debug build: build with --release");
    }
    if let Err(error) = &probe {
        let shown = args.dir.display();
        // First, for the last line tells the first: what else is wrong there does not matter then.
        findings.faults.insert(0, format!("{shown} cannot be written to: {error:#}"));
    }
    let can_measure = probe.is_ok() && conditions.has_space();
    let mut checkup = Checkup {
        schema: SCHEMA,
        dir: args.dir.clone(),
        build,
        machine,
        conditions,
        fsync_preallocated_us: probe.ok(),
        fsync_after_us: None,
        fsync_preallocated_after_us: None,
        clock: Clock::measure(),
        noise: Vec::new(),
        findings,
        verdict: Verdict::Fit,
    };
    checkup.note_probes();
    if !args.json {
        checkup.head().iter().for_each(|line| out::line(line));
    }
    if can_measure {
        if !args.json {
            let shown = noise::kept(&args.dir).display().to_string();
            out::line(&format!(
                "noise     {} against itself, blocks: {}, kept in {shown}",
                noise::ENGINE,
                args.blocks
            ));
        }
        checkup.noise = noise::measure(&args.dir, args.blocks, &mut checkup.findings)?;
        checkup.fsync_after_us = FsyncProbe::of(&args.dir, Written::Growing).ok();
        checkup.fsync_preallocated_after_us = FsyncProbe::of(&args.dir, Written::Preallocated).ok();
        checkup.note_drift();
    }
    checkup.verdict = match (&*checkup.findings.faults, &*checkup.findings.warnings) {
        ([], []) => Verdict::Fit,
        ([], _) => Verdict::Usable,
        _ => Verdict::Unfit,
    };
    if args.json {
        out::line(&serde_json::to_string_pretty(&checkup)?);
    } else {
        checkup.tail().iter().for_each(|line| out::line(line));
    }
    match checkup.findings.faults.first() {
        None => Ok(()),
        Some(first) => Err(Ended { code: FAILED, what: format!("unfit: {first}") }.into()),
    }
}

impl Checkup {
    fn note_probes(&mut self) {
        for (what, probe) in self.syncs() {
            if let Some(probe) = probe.filter(|probe| probe.p50 < SYNC_MICROS_MIN) {
                self.findings.warn(format!(
                    "a sync of {what} takes {:.1} us: it probably does not reach the device",
                    probe.p50
                ));
            }
            self.findings.warnings.extend(probe.and_then(|probe| tail(what, probe)));
        }
        self.findings.warnings.extend(self.clock.warnings());
    }

    /// Warns where the disk is not what it was before the engine ran.
    fn note_drift(&mut self) {
        let after = [self.fsync_after_us, self.fsync_preallocated_after_us];
        for ((what, before), after) in self.syncs().into_iter().zip(after) {
            let drift = before.zip(after).and_then(|(before, after)| drift(what, before, after));
            self.findings.warnings.extend(drift);
        }
    }

    fn syncs(&self) -> [(&'static str, Option<FsyncProbe>); 2] {
        [
            ("a growing file", self.machine.fsync_us),
            ("a preallocated file", self.fsync_preallocated_us),
        ]
    }

    /// What is known before the engine runs.
    fn head(&self) -> Vec<String> {
        let (machine, build, now) = (&self.machine, &self.build, &self.conditions);
        let told = |text: &Option<String>| text.clone().unwrap_or_else(|| "not told".into());
        let commit = build.git_commit.as_deref().map_or(String::new(), |commit| {
            let changed = if build.git_dirty == Some(true) { ", changed" } else { "" };
            format!(", commit {commit:.12}{changed}")
        });
        let mut lines = vec![
            format!("machine   {}", machine.line()),
            format!(
                "          kernel {}, governor {}, huge pages {}{}",
                told(&machine.kernel),
                told(&machine.governor),
                told(&now.huge_pages),
                if machine.virtualised { ", virtualised" } else { "" }
            ),
            format!("build     {} {}, {}{commit}", build.version, build.profile, build.rustc),
            format!("now       {}", now.line()),
        ];
        for (what, probe) in self.syncs() {
            lines.push(match probe {
                Some(at) => format!("fsync     {what}: p50 {:.0} us, p99 {:.0} us", at.p50, at.p99),
                None => format!("fsync     {what}: could not be measured"),
            });
        }
        lines.push(format!("clock     {}", self.clock.line()));
        lines
    }

    /// The noise, what was found, the verdict.
    fn tail(&self) -> Vec<String> {
        let mut lines = noise::table(&self.noise);
        let each = |word: &'static str, all: &[String]| -> Vec<String> {
            all.iter().map(|what| format!("{word:10}{what}")).collect()
        };
        lines.extend(each("fault", &self.findings.faults));
        lines.extend(each("warning", &self.findings.warnings));
        let many = |count: usize, what: &str| {
            format!("{count} {what}{}", if count == 1 { "" } else { "s" })
        };
        lines.push(match self.verdict {
            Verdict::Fit => "verdict   fit to measure on".into(),
            Verdict::Usable => {
                format!("verdict   usable, with {}", many(self.findings.warnings.len(), "warning"))
            }
            Verdict::Unfit => format!(
                "verdict   UNFIT, for {}: numbers made here mean nothing",
                many(self.findings.faults.len(), "fault")
            ),
        });
        lines
    }
}

/// What to say of a probe with a long tail.
fn tail(what: &str, probe: FsyncProbe) -> Option<String> {
    (probe.p99 > SYNC_TAIL_MAX * probe.p50).then(|| {
        format!(
            "a sync of {what} takes {:.0} us, and one in a hundred {:.0} us: the p99 of `sync` and `group` is the disk's",
            probe.p50, probe.p99
        )
    })
}

/// What to say of two probes that differ, the second after the engine ran.
fn drift(what: &str, before: FsyncProbe, after: FsyncProbe) -> Option<String> {
    let (least, most) = (before.p50.min(after.p50), before.p50.max(after.p50));
    (most > SYNC_DRIFT_MAX * least).then(|| {
        format!(
            "a sync of {what} took {:.0} us before the engine ran and {:.0} us after it: the disk is not the same from one \
             run to the next, so compare `sync` and `group` within interleaved blocks alone",
            before.p50, after.p50
        )
    })
}

/// Bytes for people, where they are known.
fn told_bytes(known: Option<u64>) -> String {
    known.map_or_else(|| "unknown".into(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_tail_and_a_disk_that_changes_are_warned_of_either_way() {
        let probe = |p50, p99| FsyncProbe { p50, p99 };
        assert_eq!(tail("a file", probe(100.0, 1_000.0)), None);
        let told = tail("a file", probe(100.0, 1_100.0)).unwrap();
        assert!(told.contains("takes 100 us") && told.contains("1100 us"), "{told}");
        assert_eq!(drift("a file", probe(100.0, 9_999.0), probe(200.0, 200.0)), None);
        for (before, after) in [(100.0, 210.0), (210.0, 100.0)] {
            let told = drift("a file", probe(before, before), probe(after, after)).unwrap();
            assert!(told.contains(&format!("took {before} us before")), "{told}");
        }
    }
}
