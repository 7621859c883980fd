//! What every [`NodeLog`] promises, checked from outside: what is written is seen and comes back, whatever fails.
//!
//! ```no_run
//! # fn open(_: std::sync::Arc<dyn nori_env::Fs>, _: &std::path::Path) -> nori_raft_log::Result<std::sync::Arc<dyn nori_raft_log::NodeLog>> { todo!() }
//! nori_raft_log::conformance::Suite { open: &open, has_whole_batches: true }.run();
//! ```
//!
//! | law | how it is checked |
//! |---|---|
//! | what is appended is seen at once, and after every opening | batches that are drawn, beside a model |
//! | views that were taken before see it too | one is kept from the beginning |
//! | rewriting and purging change nothing that can be seen | after each |
//! | what left memory is fetched and is what was written | all of it is read |
//! | what a new life recalls is in memory | after all of it left memory |
//! | a power loss loses nothing that was synced, and leaves a beginning of the rest | at every event of the file system |
//! | a failed call is told, and loses nothing that was synced | at every event |
//! | a failed sync is final | each sync |

mod crash;
mod model;

use crate::{NodeLog, Result};
use model::{Model, SHARDS};
use nori_consensus::LogView;
use nori_consensus::chance::Chance;
use nori_env::{Fs, MemFs};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

const DIR: &str = "/node/log";

/// How a log is opened, or made if there is none. Segments are best small, of 4 KiB, so that there are many.
pub type Open<'o> = &'o dyn Fn(Arc<dyn Fs>, &Path) -> Result<Arc<dyn NodeLog>>;

/// The suite, for one kind of log.
pub struct Suite<'o> {
    /// Opens it.
    pub open: Open<'o>,
    /// A crash loses all of a batch or nothing of it; if not, that is so of each shard's changes.
    pub has_whole_batches: bool,
}

impl Suite<'_> {
    /// Checks every law.
    ///
    /// # Panics
    ///
    /// If one does not hold.
    pub fn run(&self) {
        (0..50).for_each(|seed| self.comes_back(seed));
        crash::power_loss(self);
        crash::failed_call(self);
        crash::failed_sync(self);
    }

    /// What is written is seen and comes back after every opening, and everything can be read though nothing is kept in memory.
    fn comes_back(&self, seed: u64) {
        let fs = MemFs::new();
        let (mut chance, mut model) = (Chance::new(seed), Model::default());
        for _ in 0..6 {
            let log = (self.open)(Arc::new(fs.clone()), Path::new(DIR)).expect("it opens");
            model.assert_is(&*log);
            let views = SHARDS.map(|shard| log.view(shard).expect("a view"));
            let mut forgotten = BTreeSet::new();
            for _ in 0..40 {
                let (batch, next) = model.draw(&mut chance);
                forgotten.extend(batch.forgotten());
                log.append(batch).expect("it takes a batch");
                model = next;
            }
            model.assert_is(&*log);
            for (shard, view) in SHARDS.into_iter().zip(&views) {
                let last = |view: &Arc<dyn LogView>| (view.first(), view.last());
                let now = log.view(shard).expect("a view");
                // A shard that came again has another log.
                assert!(
                    forgotten.contains(&shard) || last(view) == last(&now),
                    "an old view is behind"
                );
                log.applied(shard, now.last().index);
                model::assert_recalls(&*log, shard, &mut chance);
            }
            for pin in log.purge().expect("it purges") {
                log.rewrite(pin).expect("it rewrites");
            }
            model.assert_is(&*log);
        }
    }
}
