//! One round: which parts, which settings, which seeds, and what they came to.

use nori_kv::EngineFactory;
use nori_model::trial::{crash, damage, history, pairs};
use norikv_parts::{Choice, EngineRequest, MEMORY_BYTES_MIN, engine, seams, silenced_by};
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// Calls of a history: some flushes, compactions and reopenings in each.
const OPERATIONS: u64 = 3_000;
/// Batches of a workload that is crashed, events it is crashed at (in four ways each), and workloads.
const BATCHES: u64 = 200;
const CRASH_POINTS: u64 = 12;
/// Bits flipped in a store, one at a time.
const FLIPS: u64 = 60;
/// The engine whose parts are exchanged.
const ENGINE: &str = "nori-lsm";

/// Settings under which a memtable holds some dozens of entries, and what else they may be.
const SETTINGS: [(&str, &[&str]); 9] = [
    ("memtable_bytes", &["8KiB", "4KiB", "24KiB"]),
    // In one of 1 byte no block has room.
    ("cache_bytes", &["8KiB", "1", "64KiB"]),
    ("block_bytes", &["256", "1KiB", "4KiB"]),
    ("table_bytes", &["4KiB", "16KiB"]),
    ("size_ratio", &["3", "2", "10"]),
    ("levels_max", &["5", "3", "7"]),
    ("filter_prefix_bytes", &["0", "6"]),
    ("compaction_jobs_max", &["1", "3"]),
    // What was sought once goes down, at the largest.
    ("seek_bytes", &["1KiB", "1MiB", "0"]),
];

/// Every round there is.
pub(super) struct Rounds {
    seed: u64,
    /// Of each seam its name and the names of its parts.
    seams: Vec<(&'static str, Vec<&'static str>)>,
    /// Numbers of parts, one for each seam. What says nothing beside another part is not chosen with it.
    combinations: Vec<Vec<usize>>,
}

/// One of them.
pub(super) struct Round {
    choices: Vec<Choice>,
    seed: u64,
}

/// What rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Calls whose answers were compared with the oracle's.
    operations: u64,
    flushes: u64,
    compactions: u64,
    reopened: u64,
    /// Crashes that were recovered from.
    crashes: u64,
    /// Flipped bits that an error located.
    flips_found: u64,
    /// Flipped bits that changed no row, or ended the log earlier.
    flips_harmless: u64,
}

impl Found {
    pub(super) fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.flushes += other.flushes;
        self.compactions += other.compactions;
        self.reopened += other.reopened;
        self.crashes += other.crashes;
        self.flips_found += other.flips_found;
        self.flips_harmless += other.flips_harmless;
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flips = self.flips_found + self.flips_harmless;
        let Self { operations, crashes, flips_found, .. } = self;
        write!(
            f,
            "{operations} operations, {crashes} crash points, {flips} bits flipped ({flips_found} located)"
        )
    }
}

impl Rounds {
    pub(super) fn new(seed: u64) -> Self {
        let of_engine = seams().into_iter().filter(|seam| seam.is_of_engine);
        let seams: Vec<(&str, Vec<&str>)> = of_engine
            .map(|seam| (seam.name, seam.parts.iter().map(|part| part.name).collect()))
            .collect();
        let sizes: Vec<usize> = seams.iter().map(|(_, parts)| parts.len()).collect();
        let mut rounds = Self { seed, seams, combinations: pairs::covering(&sizes) };
        // Where a part says nothing it does not meet the others: it meets them beside the first part that lets it.
        let mut again = Vec::new();
        for combination in &rounds.combinations {
            if let Some(by) = rounds.silencer(combination) {
                let mut other = combination.clone();
                for part in 0..sizes[by] {
                    other[by] = part;
                    if rounds.silencer(&other) != Some(by) {
                        break;
                    }
                }
                again.push(other);
            }
        }
        rounds.combinations.append(&mut again);
        rounds
    }

    /// The chosen parts by seam, those left out that say nothing.
    fn meeting(&self, combination: &[usize]) -> Vec<(usize, usize)> {
        let choices = self.choices(combination);
        let all = combination.iter().copied().enumerate();
        all.filter(|(seam, _)| silenced_by(&choices, self.seams[*seam].0).is_none()).collect()
    }

    /// The seam whose part has another's say nothing.
    fn silencer(&self, combination: &[usize]) -> Option<usize> {
        let choices = self.choices(combination);
        let (by, _) = self.seams.iter().find_map(|(seam, _)| silenced_by(&choices, seam))?;
        self.seams.iter().position(|(seam, _)| *seam == by)
    }

    fn choices(&self, combination: &[usize]) -> Vec<Choice> {
        let parts = self.seams.iter().zip(combination);
        parts.map(|((seam, parts), part)| ((*seam).to_owned(), parts[*part].to_owned())).collect()
    }

    pub(super) fn round(&self, number: u64) -> Round {
        let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let mut choices = self.choices(self.combination(number));
        let all = choices.clone();
        choices.retain(|(seam, _)| silenced_by(&all, seam).is_none());
        // The first time through the list with the first of each setting; then each as the number falls.
        let mut lap = number / self.combinations.len() as u64;
        for (name, values) in SETTINGS {
            let count = values.len() as u64;
            // One that would say nothing is refused; its turn passes all the same.
            if silenced_by(&choices, name).is_none() {
                choices.push(own((name, values[(lap % count) as usize])));
            }
            lap = lap / count + lap % count * number;
        }
        Round { choices, seed: self.seed.wrapping_mul(1_000_003).wrapping_add(number) }
    }

    fn combination(&self, number: u64) -> &[usize] {
        &self.combinations[(number % self.combinations.len() as u64) as usize]
    }

    /// How many pairs of parts of different seams there are in which each says something.
    pub(super) fn pairs(&self) -> usize {
        let mut choices = Vec::new();
        for (seam, parts) in &self.seams {
            choices.extend(parts.iter().map(|part| ((*seam).to_owned(), (*part).to_owned())));
        }
        let says = |a: &Choice, b: &Choice| {
            let both = [a.clone(), b.clone()];
            a.0 != b.0 && both.iter().all(|(seam, _)| silenced_by(&both, seam).is_none())
        };
        let beside = |n: usize| choices[..n].iter().filter(|a| says(a, &choices[n])).count();
        (0..choices.len()).map(beside).sum()
    }

    /// How many of them met in the rounds below `rounds` that are not in `open`.
    pub(super) fn pairs_met(&self, rounds: u64, open: &BTreeSet<u64>) -> usize {
        let mut met = BTreeSet::new();
        let ended = (0..rounds).filter(|number| !open.contains(number));
        for number in ended.take(2 * self.combinations.len()) {
            let parts = self.meeting(self.combination(number));
            for (n, b) in parts.iter().enumerate() {
                met.extend(parts[..n].iter().map(|a| (*a, *b)));
            }
        }
        met.len()
    }
}

impl Round {
    /// What was chosen, as a command line says it.
    pub(super) fn parts(&self) -> Vec<String> {
        self.choices.iter().map(|(seam, part)| format!("{seam}={part}")).collect()
    }

    /// Puts a store through it; why it failed.
    pub(super) fn run(&self) -> Result<Found, String> {
        let request = EngineRequest { memory_bytes: MEMORY_BYTES_MIN, choices: &self.choices };
        let factory = engine(ENGINE).and_then(|entry| entry.build(&request));
        let factory: Arc<dyn EngineFactory> = factory.map_err(|error| error.to_string())?;
        let trial = || {
            let counts = history::history(&*factory, self.seed, OPERATIONS).counts;
            let crashes = crash::crashes(&*factory, self.seed, BATCHES, CRASH_POINTS);
            let flips = damage::flips(&*factory, self.seed, BATCHES, FLIPS);
            Found {
                operations: counts.operations,
                flushes: counts.flushes,
                compactions: counts.compactions,
                reopened: counts.reopened,
                crashes,
                flips_found: flips.found,
                flips_harmless: flips.harmless,
            }
        };
        catch_unwind(AssertUnwindSafe(trial)).map_err(|_| {
            PANIC.with_borrow_mut(std::mem::take).unwrap_or_else(|| "a panic without words".into())
        })
    }
}

thread_local! {
    /// What the last panic of this thread said, and where.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// From now on a panic is kept for [`Round::run`] to tell, and not printed.
pub(super) fn catch_panics() {
    std::panic::set_hook(Box::new(|info| {
        let said = info.payload_as_str().unwrap_or("a panic without words");
        let place = info.location().map(|at| format!(" ({}:{})", at.file(), at.line()));
        let text = format!("{}{}", said.replace('\n', "; "), place.unwrap_or_default());
        PANIC.with_borrow_mut(|panic| *panic = Some(text));
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_that_cannot_be_is_told_and_does_not_end_the_campaign() {
        let mut round = Rounds::new(1).round(0);
        round.choices.push(("cache".to_owned(), "mru".to_owned()));
        assert_eq!(round.run().unwrap_err(), "no cache is called `mru`; did you mean `lru`?");
    }

    #[test]
    fn the_first_rounds_let_every_two_parts_meet() {
        let rounds = Rounds::new(1);
        let all = rounds.combinations.len() as u64;
        assert_eq!(rounds.pairs_met(all, &BTreeSet::new()), rounds.pairs());
        assert!(rounds.pairs_met(all / 2, &BTreeSet::new()) < rounds.pairs());
        assert!(rounds.pairs_met(all, &BTreeSet::from([0])) < rounds.pairs());
    }

    #[test]
    fn every_round_can_be_built_and_chooses_nothing_that_says_nothing() {
        let rounds = Rounds::new(1);
        for number in 0..3 * rounds.combinations.len() as u64 {
            let Round { choices, .. } = rounds.round(number);
            let request = EngineRequest { memory_bytes: MEMORY_BYTES_MIN, choices: &choices };
            engine(ENGINE).unwrap().build(&request).unwrap();
        }
    }

    #[test]
    fn a_round_is_the_same_each_time_and_later_laps_have_other_settings() {
        let rounds = Rounds::new(7);
        let all = rounds.combinations.len() as u64;
        assert_eq!(rounds.round(3).parts(), rounds.round(3).parts());
        let seams = rounds.seams.len();
        let settings = |lap: u64| rounds.round(3 + lap * all).parts()[seams..].to_vec();
        let different: BTreeSet<_> = (0..40).map(settings).collect();
        assert!(different.len() > 20, "{} settings in 40 laps", different.len());
        let found = rounds.round(5).run().unwrap();
        assert_eq!(found, rounds.round(5).run().unwrap());
        assert!(found.operations == OPERATIONS && found.crashes > 40, "{found:?}");
        assert!(found.flips_found > 0 && found.flips_found + found.flips_harmless == FLIPS);
    }
}
