//! The registry of engines.

use crate::{NoopFactory, PartsError};
use nori_kv::EngineFactory;
use std::sync::Arc;

/// What an engine is for, which decides which groups of targets it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// What this project is about.
    Ours,
    /// Somebody else's engine, with the same memory, filter bits and no compression.
    Matched,
    /// Somebody else's engine as it is shipped.
    Shipped,
    /// Obviously right and not meant to be quick.
    Oracle,
    /// Stores nothing; for measuring the harness. Answers of it are not checked.
    Probe,
}

/// A part chosen for a seam, or a setting: `("compaction", "tiered")`.
pub type Choice = (String, String);

/// What an engine is to be built with.
#[derive(Clone, Debug)]
pub struct EngineRequest<'a> {
    /// Bytes for memtables, caches, filters and indexes together.
    pub memory_bytes: u64,
    /// Parts and settings that differ from the engine's own defaults.
    pub choices: &'a [Choice],
}

/// An engine by name.
#[derive(Clone, Copy)]
pub struct EngineEntry {
    /// The name in files, command lines and tables.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What it is for.
    pub role: Role,
    build: fn(&EngineRequest<'_>) -> Result<Arc<dyn EngineFactory>, PartsError>,
}

impl EngineEntry {
    /// Builds the engine's factory.
    ///
    /// # Errors
    ///
    /// If a choice names a seam that the engine does not have or a part that does not exist.
    pub fn build(&self, request: &EngineRequest<'_>) -> Result<Arc<dyn EngineFactory>, PartsError> {
        (self.build)(request)
    }
}

/// Every engine, ours first.
pub fn engines() -> &'static [EngineEntry] {
    ENGINES
}

/// The engine called `name`.
///
/// # Errors
///
/// If there is none, with the nearest name there is.
pub fn engine(name: &str) -> Result<&'static EngineEntry, PartsError> {
    let known = ENGINES.iter().map(|entry| entry.name);
    ENGINES
        .iter()
        .find(|entry| entry.name == name)
        .ok_or_else(|| PartsError::unknown("engine", name, known))
}

const ENGINES: &[EngineEntry] = &[EngineEntry {
    name: "noop",
    about: "stores nothing and answers at once: what the harness itself costs",
    role: Role::Probe,
    build: |request| {
        refuse_choices("noop", request)?;
        Ok(Arc::new(NoopFactory))
    },
}];

/// For engines without parts to choose.
fn refuse_choices(engine: &str, request: &EngineRequest<'_>) -> Result<(), PartsError> {
    match request.choices.first() {
        Some((seam, _)) => Err(PartsError::no_choice(engine, seam, [])),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_and_every_engine_builds_with_its_defaults() {
        let mut names = HashSet::new();
        for entry in engines() {
            assert!(names.insert(entry.name), "{} twice", entry.name);
            assert!(!entry.about.is_empty() && !entry.about.contains('\n'));
            let request = EngineRequest { memory_bytes: 16 << 20, choices: &[] };
            entry.build(&request).unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        }
    }

    #[test]
    fn a_misspelt_engine_is_an_error_with_the_nearest_name() {
        let error = engine("nop").err().unwrap().to_string();
        assert_eq!(error, "no engine is called `nop`; did you mean `noop`?");
        let error = engine("zzzzz").err().unwrap().to_string();
        assert_eq!(error, "no engine is called `zzzzz`");
    }

    #[test]
    fn a_choice_the_engine_does_not_have_is_refused() {
        let choices = [("compaction".to_owned(), "tiered".to_owned())];
        let request = EngineRequest { memory_bytes: 1 << 20, choices: &choices };
        let error = engine("noop").unwrap().build(&request).err().unwrap().to_string();
        assert_eq!(error, "noop has no `compaction` to choose");
    }
}
