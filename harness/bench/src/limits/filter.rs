//! Probes of the default filter with keys that are hashed already, and a key that none of six runs has.
//!
//! 1. **In cache**: a filter of [`KEYS_IN_CACHE`] keys, probes that may overlap.
//! 2. **Out of cache, alone**: [`FILTERS`] copies of a filter of [`KEYS`] keys, asked in turn; each hash depends on the last
//!    answer, so that a probe waits for the one before it. Together they are larger than last-level caches are.
//! 3. **Out of cache, six prefetched**: a hash is prefetched from six of them, then asked of all six, as a read of six runs
//!    does. Every trial asks other hashes, or the lines that the last one touched would lie in a cache.
//! 4. **Absent from six runs**: the whole read of a store with six runs of level 0 in memory, keys and all.

use super::job::{Job, key, mixed, open};
use super::row::{Figure, Row, Worth};
use super::{Section, physical};
use anyhow::{Context, Result, ensure};
use nori_filter::{Filter, FilterContext, FilterPolicy};
use nori_kv::{Durability, Engine, Maintain, ReadOptions, WriteBatch, stat};
use nori_lsm::{Components, FILTER_BITS_PER_KEY};
use std::hint::black_box;
use std::sync::Arc;

pub(super) const SECTION: Section = Section {
    name: "filter",
    about: "a probe of the default filter, and the read of a key that none of six runs has",
    seconds: [15, 15],
    jobs: || vec![String::new()],
    measure,
};

const KEYS_IN_CACHE: u64 = 10_000;
const KEYS: u64 = 6_000_000;
const FILTERS: usize = 36;
const RUNS: usize = 6;
/// Hashes asked in one trial.
const ASKED: u64 = 1_000_000;
/// Keys of each run of the store, and reads of one trial.
const RUN_KEYS: u64 = 100_000;
const STORE_MEMORY: u64 = 512 << 20;

const GOAL_IN_CACHE_NS: f64 = 8.0;
const GOAL_ALONE_NS: f64 = 190.0;
const GOAL_PREFETCHED_NS: f64 = 40.0;
const GOAL_ABSENT_NS: f64 = 500.0;

fn measure(job: &mut Job<'_>) -> Result<()> {
    let policy = Components::default().filter;
    job.at(0.0, "in cache");
    in_cache(job, &*policy)?;
    out_of_cache(job, &*policy)?;
    job.at(0.7, "six runs");
    absent(job)
}

/// The stored form of a filter of so many keys: the hashes of the numbers below.
fn build(policy: &dyn FilterPolicy, keys: u64) -> Result<Vec<u8>> {
    let context = FilterContext {
        level: 1,
        is_last_level: true,
        keys_expected: keys as usize,
        bits_per_key: FILTER_BITS_PER_KEY,
    };
    let mut builder = policy.builder(&context).context("the default filter is none")?;
    (0..keys).for_each(|n| builder.add_hash(mixed(n)));
    Ok(builder.finish())
}

/// Hashes that no filter was given, others for each trial.
fn strangers(count: u64) -> Vec<Vec<u64>> {
    let of = |trial| (0..count).map(|n| mixed(n | (trial + 1) << 40)).collect();
    (0..u64::from(physical::TRIALS)).map(of).collect()
}

fn in_cache(job: &mut Job<'_>, policy: &dyn FilterPolicy) -> Result<()> {
    let filter = policy.open(&build(policy, KEYS_IN_CACHE)?)?;
    let asked = job.count(ASKED);
    let members: Vec<u64> = (0..asked).map(|n| mixed(mixed(!n) % KEYS_IN_CACHE)).collect();
    let probe = |what: &str, of: &dyn Fn(usize) -> Vec<u64>| {
        let hashes: Vec<Vec<u64>> = (0..physical::TRIALS as usize).map(of).collect();
        physical::nanos(what, asked, |trial| {
            let filter: &dyn Filter = black_box(&*filter);
            let found = hashes[trial].iter().filter(|&&hash| filter.may_contain(hash)).count();
            black_box(found);
        })
    };
    let strangers = strangers(asked);
    let absent = probe("in cache, absent", &|trial| strangers[trial].clone());
    let present = probe("in cache, present", &|_| members.clone());
    let physical = [physical::l1_access()];
    for figure in [absent, present] {
        job.found(Row::new(figure, &physical).at_most(Worth::Goal, GOAL_IN_CACHE_NS));
    }
    Ok(())
}

fn out_of_cache(job: &mut Job<'_>, policy: &dyn FilterPolicy) -> Result<()> {
    job.at(0.1, "building");
    let stored = build(policy, job.count(KEYS))?;
    let open = || policy.open(&stored);
    let filters = (0..FILTERS).map(|_| open()).collect::<Result<Vec<_>, _>>()?;
    let bytes: u64 = filters.iter().map(|filter| filter.bytes() as u64).sum();
    drop(stored);
    job.at(0.3, "out of cache");
    let hashes = strangers(job.count(ASKED));
    let n = hashes[0].len() as u64;
    let alone = physical::nanos("out of cache, alone", n, |trial| {
        let in_turn = hashes[trial].iter().zip(filters.iter().cycle());
        let last =
            in_turn.fold(0, |last, (hash, filter)| u64::from(filter.may_contain(hash ^ last)));
        black_box(last);
    });
    let groups: Vec<&[Box<dyn Filter>]> = filters.chunks_exact(RUNS).collect();
    let probes = n * RUNS as u64;
    let prefetched = physical::nanos("out of cache, 6 prefetched, each", probes, |trial| {
        let mut found = 0;
        for (hash, group) in hashes[trial].iter().zip(groups.iter().cycle()) {
            group.iter().for_each(|filter| filter.prefetch(*hash));
            found += group.iter().filter(|filter| filter.may_contain(*hash)).count();
        }
        black_box(found);
    });
    drop(filters);
    job.at(0.5, "memory itself");
    let physical = [physical::memory_access(bytes)];
    job.found(Row::new(alone, &physical).at_most(Worth::Goal, GOAL_ALONE_NS));
    job.found(Row::new(prefetched, &physical).at_most(Worth::Goal, GOAL_PREFETCHED_NS));
    Ok(())
}

/// Reads keys that a store of six runs does not have.
fn absent(job: &mut Job<'_>) -> Result<()> {
    let keys = job.count(RUN_KEYS);
    let engine = six_runs(job, keys)?;
    let absent: Vec<[u8; 24]> = (0..keys).map(|n| key(n | 1 << 40)).collect();
    let probes = || engine.stats().number(stat::FILTER_PROBES).unwrap_or(0);
    let before = probes();
    let mut outcome = Ok(());
    let figure = physical::nanos("absent from 6 runs, whole read", keys, |_| {
        let options = ReadOptions::default();
        let mut read = |key: &[u8; 24]| engine.read(key, &options, &mut |_| {}).map(|_| ());
        outcome = outcome.clone().and_then(|()| absent.iter().try_for_each(&mut read));
    });
    outcome?;
    let probes = (probes() - before) as f64 / figure.n as f64;
    // A key before the first or behind the last of a run passes it by without its filter.
    ensure!(probes > RUNS as f64 - 0.5, "{probes} filters were asked for each key, not {RUNS}");
    let physical = [Figure::new("filters asked for each key", probes, "", figure.n)];
    job.found(Row::new(figure, &physical).at_most(Worth::Goal, GOAL_ABSENT_NS));
    Ok(())
}

/// A store of six runs of level 0 that no compaction touches.
fn six_runs(job: &Job<'_>, keys: u64) -> Result<Arc<dyn Engine>> {
    let engine = open(&job.path("store"), STORE_MEMORY, &[("l0_runs_trigger", "100")], 1)?;
    let (mut batch, runs) = (WriteBatch::new(), RUNS as u64);
    for run in 0..runs {
        for n in 0..keys {
            batch.clear();
            batch.put(&key(n * runs + run), &[7; 100]);
            engine.write(&batch, Durability::None)?;
        }
        engine.maintain().map_or(Ok(()), Maintain::flush)?;
    }
    Ok(engine)
}
