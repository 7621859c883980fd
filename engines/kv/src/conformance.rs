//! The laws of [`Reader`](crate::Reader), [`Cursor`](crate::Cursor), [`Engine`](crate::Engine), [`Maintain`](crate::Maintain),
//! [`Replicated`](crate::Replicated) and [`EngineFactory`], as a suite that every implementation runs.
//!
//! 1. A [`Law`] is one promise of a `# Contract` section, with the features it is about.
//! 2. [`Suite::run`] checks each law in a folder of its own, in a fixed order, and panics at the first that
//!    does not hold, naming it.
//! 3. A law about a feature that the capability row lacks is skipped, and the outcome lists it; that the
//!    lacking feature then answers [`Error::Unsupported`](crate::Error::Unsupported) is a law of its own.
//!
//! The suite works on any [`Parts`]: real files and threads, or a seeded simulation. What a crash leaves is not
//! tested here: that needs a file system that fails on purpose, or a process that is killed.

mod batches;
mod bench;
mod cursors;
mod faults;
mod operator;
mod random;
mod reading;
mod replicated;
mod snapshots;
mod stores;
mod unsupported;

use crate::{Capabilities, EngineFactory, Feature, Parts};
use bench::Bench;
use std::path::{Path, PathBuf};

/// One promise of a contract.
pub struct Law {
    /// The promise, in a few words.
    pub name: &'static str,
    /// What an engine must have for the law to be about it.
    pub needs: &'static [Feature],
    check: fn(&Bench<'_>),
}

/// Which laws were checked and which do not concern the engine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The laws that hold.
    pub held: Vec<&'static str>,
    /// The laws that were skipped, with the feature that is lacking.
    pub skipped: Vec<(&'static str, Feature)>,
}

/// Every law, on one factory.
pub struct Suite<'a> {
    factory: &'a dyn EngineFactory,
    parts: &'a dyn Fn() -> Parts,
    root: PathBuf,
}

impl<'a> Suite<'a> {
    /// A suite over `factory`. Each law calls `parts` once for what its stores are opened with, and makes its
    /// stores in folders below `root`.
    pub fn new(factory: &'a dyn EngineFactory, parts: &'a dyn Fn() -> Parts, root: &Path) -> Self {
        Self { factory, parts, root: root.to_owned() }
    }

    /// Every law there is, in the order in which they are checked.
    pub fn laws() -> impl Iterator<Item = &'static Law> {
        [
            reading::LAWS,
            batches::LAWS,
            cursors::LAWS,
            snapshots::LAWS,
            stores::LAWS,
            operator::LAWS,
            replicated::LAWS,
            unsupported::LAWS,
            faults::LAWS,
            random::LAWS,
        ]
        .into_iter()
        .flatten()
    }

    /// Checks every law that concerns the engine.
    ///
    /// # Panics
    ///
    /// At the first law that does not hold.
    pub fn run(&self) -> Outcome {
        let capabilities = self.factory.capabilities();
        let mut outcome = Outcome::default();
        for law in Self::laws() {
            match lacking(law, &capabilities) {
                Some(feature) => outcome.skipped.push((law.name, feature)),
                None => {
                    self.check(law);
                    outcome.held.push(law.name);
                }
            }
        }
        outcome
    }

    /// Checks one law.
    ///
    /// # Panics
    ///
    /// If it does not hold.
    pub fn check(&self, law: &'static Law) {
        let dir = self.root.join(law.name.replace(' ', "-"));
        let watch = Watch { law: law.name, engine: self.factory.name() };
        (law.check)(&Bench::new(self.factory, (self.parts)(), dir));
        drop(watch);
    }
}

fn lacking(law: &Law, capabilities: &Capabilities) -> Option<Feature> {
    law.needs.iter().copied().find(|feature| !capabilities.has(*feature))
}

/// Says which law was being checked when a panic passes by.
struct Watch<'a> {
    law: &'a str,
    engine: &'a str,
}

impl Drop for Watch<'_> {
    #[expect(
        clippy::print_stderr,
        reason = "a failed law must be named beside the assertion that failed"
    )]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} breaks the law: {}", self.engine, self.law);
        }
    }
}
