//! One job of a section: where its files lie, how large it is, whom it tells.

use super::row::Row;
use crate::process;
use anyhow::Result;
use nori_env::PoolTasks;
use nori_kv::{Engine, EngineFactory, Parts};
use norikv_parts::{Choice, EngineRequest, engine};
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The engine that is measured.
pub(crate) const ENGINE: &str = "nori-lsm";

/// What a job tells its parent.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Told {
    /// How much of it is done, from 0 to 1, and what it does now.
    At { share: f64, what: String },
    /// What it found.
    Row { row: Box<Row> },
    /// Why what it found is not to be believed, if so.
    Doubt { why: String },
    /// It ended early.
    Failed { why: String },
}

/// Tells the parent.
pub(super) fn tell(told: Told) {
    let line = serde_json::to_string(&told).unwrap_or_default();
    let mut out = std::io::stdout().lock();
    // A parent that is gone cannot be told so.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

/// A job under way.
pub(crate) struct Job<'a> {
    name: &'a str,
    dir: &'a Path,
    is_full: bool,
    /// Everything is so many times smaller; above 1 in tests alone.
    divisor: u64,
    tell: &'a mut dyn FnMut(Told),
}

impl<'a> Job<'a> {
    pub(super) fn new(
        name: &'a str,
        dir: &'a Path,
        is_full: bool,
        tell: &'a mut dyn FnMut(Told),
    ) -> Self {
        Self { name, dir, is_full, divisor: 1, tell }
    }

    /// A job of a test: so much smaller that it takes no time.
    #[cfg(test)]
    pub(super) fn small(
        name: &'a str,
        dir: &'a Path,
        divisor: u64,
        tell: &'a mut dyn FnMut(Told),
    ) -> Self {
        Self { name, dir, is_full: false, divisor, tell }
    }

    /// Its name, one of those its section gave out.
    pub(crate) fn name(&self) -> &'a str {
        self.name
    }

    /// A name in the job's own folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Whether the large sizes were asked for.
    pub(crate) fn is_full(&self) -> bool {
        self.is_full
    }

    /// How many there are of what there is `usual` of.
    pub(crate) fn count(&self, usual: u64) -> u64 {
        (usual / self.divisor).max(1)
    }

    /// How many times smaller everything is.
    pub(crate) fn divisor(&self) -> u32 {
        u32::try_from(self.divisor).unwrap_or(u32::MAX)
    }

    pub(crate) fn at(&mut self, share: f64, what: &str) {
        (self.tell)(Told::At { share, what: what.into() });
    }

    pub(crate) fn doubt(&mut self, why: String) {
        (self.tell)(Told::Doubt { why });
    }

    pub(crate) fn found(&mut self, row: Row) {
        (self.tell)(Told::Row { row: Box::new(row) });
    }
}

/// Our engine with so much memory and these parts and settings.
pub(crate) fn factory(
    memory_bytes: u64,
    choices: &[(&str, &str)],
) -> Result<Arc<dyn EngineFactory>> {
    let owned = |(seam, name): &(&str, &str)| -> Choice { ((*seam).into(), (*name).into()) };
    let choices: Vec<Choice> = choices.iter().map(owned).collect();
    Ok(engine(ENGINE)?.build(&EngineRequest { memory_bytes, choices: &choices })?)
}

/// Opens a store of it with as many background threads as `run` gives it.
pub(crate) fn open_as_run(
    dir: &Path,
    memory_bytes: u64,
    choices: &[(&str, &str)],
) -> Result<Arc<dyn Engine>> {
    open(dir, memory_bytes, choices, PoolTasks::workers_for_this_machine())
}

/// Opens a store of it, with so many background threads.
pub(crate) fn open(
    dir: &Path,
    memory_bytes: u64,
    choices: &[(&str, &str)],
    threads: usize,
) -> Result<Arc<dyn Engine>> {
    Ok(factory(memory_bytes, choices)?.open(dir, Parts::os(threads)?)?)
}

/// The processors of this machine.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Anonymous memory of this process, in MiB.
pub(crate) fn anonymous_mib() -> Result<f64> {
    let bytes = process::rss_anonymous_bytes();
    let bytes = bytes.ok_or_else(|| anyhow::anyhow!("the kernel does not tell RssAnon"))?;
    Ok(bytes as f64 / MIB)
}

pub(crate) const MIB: f64 = 1_048_576.0;
/// Of rates of bytes, which are told in units of ten.
pub(crate) const MEGA: f64 = 1e6;

/// A number that looks random, another for each `n`.
pub(crate) fn mixed(n: u64) -> u64 {
    let z = (n ^ (n >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The key of record `n`: 24 bytes, in an order that has nothing to do with that of the numbers.
pub(crate) fn key(n: u64) -> [u8; 24] {
    ordered_key(mixed(n))
}

/// The key of record `n`: 24 bytes, in the order of the numbers.
pub(crate) fn ordered_key(n: u64) -> [u8; 24] {
    let mut key = *b"user00000000000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit += (rest % 10) as u8;
        rest /= 10;
    }
    key
}
