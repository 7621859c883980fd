//! `norikv-bench soak`: trials of our engine with ever new combinations of its parts, for as long as one likes.
//!
//! 1. A **round** is one combination of parts, one seed, and with them a random history beside the oracle, crashes at
//!    drawn events and flipped bits (`nori_model::trial`). Which ones they are follows from the round's number alone.
//! 2. Combinations come from a list in which every two parts of different seams meet; it is gone through again and again, each
//!    time with other seeds and settings.
//! 3. As many rounds run beside each other as there are cores. What a round came to is in `soak.json` when it has ended.
//! 4. A round that failed is told with the command that repeats it, and the campaign goes on; at its end it has failed.
//!
//! A campaign that was stopped goes on where it was, if it is of the same build; of another it begins anew, since what was
//! found of other code says nothing of this. Left to others: real files, kills of real processes, measuring.

mod round;

use crate::guard::{self, DirLock};
use crate::interrupt::Interrupts;
use crate::machine::Build;
use crate::names::usage;
use crate::{Ended, FAILED, out};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use round::{Found, Rounds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const SCHEMA: &str = "norikv.soak/1";
const STATE: &str = "soak.json";
/// How often the bar moves, and a signal is seen.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Off a terminal, how often a line says how far it is.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What a soak is asked to do.
pub(crate) struct Soak {
    pub(crate) minutes: f64,
    pub(crate) seed: u64,
    /// Only this round, and nothing is noted.
    pub(crate) round: Option<u64>,
    pub(crate) dir: PathBuf,
    pub(crate) is_json: bool,
}

/// What a campaign came to so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct State {
    schema: String,
    build: Build,
    seed: u64,
    /// Seconds in which it ran.
    seconds: f64,
    /// Rounds that were handed out, by number: all below `rounds`. Those in `open` have not ended.
    rounds: u64,
    open: BTreeSet<u64>,
    /// Of these, the ones an earlier run of the campaign handed out.
    #[serde(skip)]
    left: Vec<u64>,
    found: Found,
    /// Pairs of parts of different seams that met, of those there are.
    pairs_met: usize,
    pairs: usize,
    failures: Vec<Failure>,
}

/// A round that failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Failure {
    round: u64,
    parts: Vec<String>,
    why: String,
}

/// Runs a campaign, or the one round that was asked for.
pub(crate) fn soak(soak: &Soak) -> Result<()> {
    let rounds = Rounds::new(soak.seed);
    round::catch_panics();
    if let Some(number) = soak.round {
        return one(&rounds, number);
    }
    let interrupts = Interrupts::listen()?;
    let lock = DirLock::take(&soak.dir, "--out")?;
    guard::check_own(&soak.dir, STATE, "a soak")?;
    let mut state = State::begin(&soak.dir, soak.seed, &rounds)?;
    let until = Duration::from_secs_f64(soak.minutes * 60.0);
    let outcome = campaign(soak, &rounds, &mut state, until, &interrupts);
    drop(lock);
    outcome?;
    if soak.is_json {
        out::line(&serde_json::to_string_pretty(&state)?);
    } else {
        state.tell(&soak.dir);
    }
    match (interrupts.exit_code(), state.failures.len()) {
        (Some(code), _) => Err(anyhow::Error::new(Ended {
            code,
            what: "interrupted; the same command goes on where it was".into(),
        })),
        (None, 0) => Ok(()),
        (None, n) => Err(anyhow::Error::new(Ended {
            code: FAILED,
            what: format!("{n} of {} rounds failed", state.rounds),
        })),
    }
}

fn one(rounds: &Rounds, number: u64) -> Result<()> {
    let round = rounds.round(number);
    out::line(&format!("round {number}: {}", round.parts().join(" ")));
    match round.run() {
        Ok(found) => {
            out::line(&found.to_string());
            Ok(())
        }
        Err(why) => Err(anyhow::Error::new(Ended { code: FAILED, what: why })),
    }
}

fn campaign(
    soak: &Soak,
    rounds: &Rounds,
    state: &mut State,
    until: Duration,
    interrupts: &Interrupts,
) -> Result<()> {
    let (began, before) = (Instant::now(), state.seconds);
    let bar = bar(until, soak.is_json);
    let is_over = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| -> Result<()> {
        let (give, take) = queue(threads);
        let (tell, told) = channel();
        for _ in 0..threads {
            let (take, tell, is_over) = (take.clone(), tell.clone(), &is_over);
            scope.spawn(move || {
                while let Ok(number) = take.lock().unwrap_or_else(PoisonError::into_inner).recv() {
                    // A round that was handed out and not begun is begun by whoever goes on.
                    if is_over.load(Ordering::Relaxed) {
                        break;
                    }
                    let outcome = rounds.round(number).run();
                    if tell.send((number, outcome)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(tell);
        for _ in 0..threads {
            let _ = give.send(state.next());
        }
        let mut said = Instant::now();
        let result = loop {
            match told.recv_timeout(LOOK_EVERY) {
                Ok((number, outcome)) => {
                    state.note(number, outcome, rounds);
                    state.seconds = before + began.elapsed().as_secs_f64();
                    if let Err(error) = state.write(&soak.dir) {
                        break Err(error);
                    }
                    let _ = give.send(state.next());
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break Ok(()),
            }
            bar.set_position(began.elapsed().as_secs().min(until.as_secs()));
            bar.set_message(state.line());
            if bar.is_hidden() && !soak.is_json && said.elapsed() >= SAY_EVERY {
                said = Instant::now();
                out::error(&format!("{:>5} s  {}", began.elapsed().as_secs(), state.line()));
            }
            if began.elapsed() >= until || interrupts.exit_code().is_some() {
                break Ok(());
            }
        };
        is_over.store(true, Ordering::Relaxed);
        drop(give);
        // What is under way is finished and counts; it takes a second or two.
        while let Ok((number, outcome)) = told.recv() {
            state.note(number, outcome, rounds);
        }
        result
    })?;
    bar.finish_and_clear();
    state.seconds = before + began.elapsed().as_secs_f64();
    state.write(&soak.dir)
}

type Taker = std::sync::Arc<std::sync::Mutex<std::sync::mpsc::Receiver<u64>>>;

/// A queue that several threads take from.
fn queue(room: usize) -> (std::sync::mpsc::SyncSender<u64>, Taker) {
    let (give, take) = std::sync::mpsc::sync_channel(room);
    (give, std::sync::Arc::new(std::sync::Mutex::new(take)))
}

fn bar(until: Duration, is_quiet: bool) -> ProgressBar {
    let shows = std::io::stderr().is_terminal() && !is_quiet;
    let target =
        if shows { ProgressDrawTarget::stderr_with_hz(5) } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(until.as_secs()), target);
    let style = ProgressStyle::with_template("{bar:32.cyan/blue} {percent:>3}% {elapsed} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

impl State {
    /// What was left in `dir` by this build with this seed, or nothing yet.
    fn begin(dir: &Path, seed: u64, rounds: &Rounds) -> Result<Self> {
        let build = Build::look();
        let new = Self {
            schema: SCHEMA.into(),
            build: build.clone(),
            seed,
            seconds: 0.0,
            rounds: 0,
            open: BTreeSet::new(),
            left: Vec::new(),
            found: Found::default(),
            pairs_met: 0,
            pairs: rounds.pairs(),
            failures: Vec::new(),
        };
        let path = dir.join(STATE);
        let Ok(text) = std::fs::read(&path) else { return Ok(new) };
        let cannot = |why: String| {
            usage(format!("{} is no soak's: {why}; choose another --out", path.display()))
        };
        let old: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| cannot(error.to_string()))?;
        if old["schema"] != SCHEMA {
            return Err(cannot("its schema is another".into()));
        }
        let mut old: Self =
            serde_json::from_value(old).map_err(|error| cannot(error.to_string()))?;
        // A tree with changes may hold others than it did.
        let is_same = old.build == build && build.git_dirty == Some(false) && old.seed == seed;
        if !is_same {
            out::error("a soak of another build or seed was here: this one begins anew");
            return Ok(new);
        }
        out::error(&format!("goes on after {} rounds", old.rounds - old.open.len() as u64));
        old.left = old.open.iter().copied().collect();
        Ok(old)
    }

    /// The next round: one that did not end in an earlier run, or a new one.
    fn next(&mut self) -> u64 {
        if let Some(number) = self.left.pop() {
            return number;
        }
        let number = self.rounds;
        self.rounds += 1;
        self.open.insert(number);
        number
    }

    fn note(&mut self, number: u64, outcome: Result<Found, String>, rounds: &Rounds) {
        self.open.remove(&number);
        match outcome {
            Ok(found) => self.found.add(&found),
            Err(why) => {
                let parts = rounds.round(number).parts();
                out::error(&format!(
                    "round {number} failed: {why}\n  {}\n  again: norikv-bench soak --seed {} --round {number}",
                    parts.join(" "),
                    self.seed
                ));
                self.failures.push(Failure { round: number, parts, why });
            }
        }
        self.pairs_met = rounds.pairs_met(self.rounds, &self.open);
    }

    fn write(&self, dir: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self).context("writing the state")? + "\n";
        out::replace(&dir.join(STATE), text.as_bytes())
    }

    fn line(&self) -> String {
        let ended = self.rounds - self.open.len() as u64;
        format!("{ended} rounds, {} failed; {}", self.failures.len(), self.found)
    }

    fn tell(&self, dir: &Path) {
        let commit = self.build.git_commit.as_deref().unwrap_or("no commit");
        let dirty = if self.build.git_dirty == Some(true) { ", changed" } else { "" };
        out::line(&format!(
            "{} in {:.1} minutes at {commit}{dirty}",
            self.line(),
            self.seconds / 60.0
        ));
        out::line(&format!(
            "pairs of parts that met: {} of {}; all of it in {}",
            self.pairs_met,
            self.pairs,
            dir.join(STATE).display()
        ));
    }
}
