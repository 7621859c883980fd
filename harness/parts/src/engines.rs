//! The registry of engines.

use crate::lsm::{self, LSM};
use crate::{NoopFactory, PartsError};
use nori_kv::EngineFactory;
use nori_model::ModelFactory;
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
    /// No engine but a whole cluster, over the network: there is none among these, but lists of targets have some.
    Cluster,
}

/// A part chosen for a seam, or a setting: `("compaction", "tiered")`.
pub type Choice = (String, String);

/// No engine is built with less memory than this. Ours would raise it on its own, and a comparison in which one
/// engine has more than was said is none.
pub const MEMORY_BYTES_MIN: u64 = nori_lsm::MEMORY_BYTES_MIN;

/// No engine is built with more memory than this: no machine has it.
pub const MEMORY_BYTES_MAX: u64 = nori_lsm::MEMORY_BYTES_MAX;

/// What an engine is to be built with.
#[derive(Clone, Debug)]
pub struct EngineRequest<'a> {
    /// Bytes for memtables, caches, filters and indexes together. From
    /// `MEMORY_BYTES_MIN` to `MEMORY_BYTES_MAX`.
    pub memory_bytes: u64,
    /// Parts and settings that differ from the engine's own defaults.
    pub choices: &'a [Choice],
}

/// An engine by name.
#[derive(Clone, Copy, Debug)]
pub struct EngineEntry {
    /// The name in files, command lines and tables.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What it is for.
    pub role: Role,
}

impl EngineEntry {
    /// Builds the engine's factory.
    ///
    /// # Errors
    ///
    /// If the memory is not from [`MEMORY_BYTES_MIN`] to [`MEMORY_BYTES_MAX`], a choice names a seam that the engine does
    /// not have or a part that does not exist, or the choices do not go together: they exceed the memory, or one says nothing
    /// with another.
    pub fn build(&self, request: &EngineRequest<'_>) -> Result<Arc<dyn EngineFactory>, PartsError> {
        self.check_request(request)?;
        match self.role {
            Role::Ours => lsm::build(request),
            Role::Oracle => Ok(Arc::new(ModelFactory::default())),
            Role::Probe => Ok(Arc::new(NoopFactory)),
            _ => nori_adapters::factory(self.name, request.memory_bytes)
                .ok_or_else(|| PartsError::unknown("engine", self.name, [])),
        }
    }

    /// Builds a factory of stores that stand under a replicated log, without logs of their own, and share the memory.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build), and if the engine cannot stand there.
    pub fn build_replicated(
        &self,
        request: &EngineRequest<'_>,
    ) -> Result<Arc<dyn EngineFactory>, PartsError> {
        self.check_request(request)?;
        match self.role {
            Role::Ours => lsm::build_replicated(request),
            _ => {
                let what = format!("{} cannot stand under a replicated log", self.name);
                Err(PartsError::Invalid(what))
            }
        }
    }

    fn check_request(&self, request: &EngineRequest<'_>) -> Result<(), PartsError> {
        let memory = request.memory_bytes;
        if memory < MEMORY_BYTES_MIN {
            let what =
                format!("{memory} bytes of memory are too few: the least is {MEMORY_BYTES_MIN}");
            return Err(PartsError::Invalid(what));
        }
        if memory > MEMORY_BYTES_MAX {
            let what =
                format!("{memory} bytes of memory are too many: the most is {MEMORY_BYTES_MAX}");
            return Err(PartsError::Invalid(what));
        }
        request.choices.iter().try_for_each(|choice| self.check(choice))
    }

    /// Whether the engine has what is chosen, whatever else may be: choices that each fit need not go together.
    ///
    /// # Errors
    ///
    /// If it has no such seam or setting, or there no such part or value.
    pub fn check(&self, choice: &Choice) -> Result<(), PartsError> {
        match self.role {
            Role::Ours => lsm::check(choice),
            _ => Err(PartsError::no_choice(self.name, &choice.0, [])),
        }
    }
}

/// Every engine, ours first.
pub fn engines() -> Vec<EngineEntry> {
    let ours = EngineEntry {
        name: LSM,
        about: "our log-structured engine; every other seam listed here is a part of it",
        role: Role::Ours,
    };
    let peers = nori_adapters::ROWS.iter().map(|row| {
        let is_shipped = row.name.ends_with(":default");
        let role = if is_shipped { Role::Shipped } else { Role::Matched };
        EngineEntry { name: row.name, about: row.about, role }
    });
    let model = EngineEntry {
        name: "nori-model",
        about: "the oracle of the tests: an ordered map that forgets nothing; durability none",
        role: Role::Oracle,
    };
    let noop = EngineEntry {
        name: "noop",
        about: "stores nothing and answers at once: what the harness itself costs",
        role: Role::Probe,
    };
    std::iter::once(ours).chain(peers).chain([model, noop]).collect()
}

/// An engine that is known and not built in.
#[derive(Clone, Copy, Debug)]
pub struct LeftOut {
    /// The name in files, command lines and tables.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// The cargo feature that builds it in.
    pub feature: &'static str,
}

/// Every engine that is not built in.
pub fn left_out() -> Vec<LeftOut> {
    let rows = nori_adapters::NOT_BUILT_IN.iter();
    rows.map(|(row, feature)| LeftOut { name: row.name, about: row.about, feature }).collect()
}

/// The engine called `name`.
///
/// # Errors
///
/// If there is none, with the nearest name there is; if it is not built in, with what would do that.
pub fn engine(name: &str) -> Result<EngineEntry, PartsError> {
    let (all, left_out) = (engines(), left_out());
    if let Some(entry) = all.iter().find(|entry| entry.name == name) {
        return Ok(*entry);
    }
    if let Some(LeftOut { feature, .. }) = left_out.iter().find(|entry| entry.name == name) {
        return Err(PartsError::NotBuiltIn { name: name.into(), feature });
    }
    let known = all.iter().map(|entry| entry.name).chain(left_out.iter().map(|entry| entry.name));
    Err(PartsError::unknown("engine", name, known))
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_lsm::Components;
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
    fn only_ours_stands_under_a_replicated_log() {
        let request = EngineRequest { memory_bytes: 16 << 20, choices: &[] };
        assert!(engine(LSM).unwrap().build_replicated(&request).is_ok());
        let error = engine("fjall").unwrap().build_replicated(&request).err().unwrap().to_string();
        assert_eq!(error, "fjall cannot stand under a replicated log");
    }

    #[test]
    fn a_misspelt_engine_is_an_error_with_the_nearest_name() {
        let error = engine("nop").err().unwrap().to_string();
        assert_eq!(error, "no engine is called `nop`; did you mean `noop`?");
        let error = engine("zzzzz").err().unwrap().to_string();
        assert!(error.starts_with("no engine is called `zzzzz`; there are nori-lsm, "), "{error}");
    }

    #[test]
    fn an_engine_that_is_not_built_in_is_refused_with_the_feature_that_does() {
        for name in ["rocksdb", "rocksdb:default"] {
            let is_built_in = engines().iter().any(|entry| entry.name == name);
            let left_out = left_out().into_iter().find(|entry| entry.name == name);
            assert!(is_built_in != left_out.is_some(), "{name} is one of them");
            let Some(LeftOut { feature, .. }) = left_out else { continue };
            let error = engine(name).err().unwrap().to_string();
            assert!(error.starts_with(&format!("{name} is not built in")), "{error}");
            assert!(error.contains(&format!("--features {feature} ")), "{error}");
            let error = engine("rokcsdb").err().unwrap().to_string();
            assert_eq!(error, "no engine is called `rokcsdb`; did you mean `rocksdb`?");
        }
    }

    #[test]
    fn a_choice_the_engine_does_not_have_is_refused() {
        let choices = [("compaction".to_owned(), "tiered".to_owned())];
        let request = EngineRequest { memory_bytes: 1 << 20, choices: &choices };
        let error = engine("noop").unwrap().build(&request).err().unwrap().to_string();
        assert_eq!(error, "noop has no `compaction` to choose");
    }

    #[test]
    fn too_little_memory_is_refused_and_not_raised_and_so_is_too_much() {
        for entry in engines() {
            let request = EngineRequest { memory_bytes: MEMORY_BYTES_MAX + 1, choices: &[] };
            let error = entry.build(&request).err().unwrap().to_string();
            assert!(error.ends_with("are too many: the most is 1099511627776"), "{error}");
            let request = EngineRequest { memory_bytes: MEMORY_BYTES_MIN - 1, choices: &[] };
            let error = entry.build(&request).err().unwrap().to_string();
            assert_eq!(error, "1048575 bytes of memory are too few: the least is 1048576");
        }
    }

    #[test]
    fn every_part_of_every_seam_can_be_chosen_and_shows_in_the_settings() {
        for line in Components::list() {
            let choices = [(line.seam.to_owned(), line.name.to_owned())];
            let request = EngineRequest { memory_bytes: 16 << 20, choices: &choices };
            let factory = engine(LSM).unwrap().build(&request).unwrap();
            assert!(factory.settings().contains(&choices[0]), "{choices:?}");
        }
    }

    #[test]
    fn a_setting_is_chosen_like_a_part_and_a_wrong_one_is_told() {
        let build = |name: &str, given: &str| {
            let choices = [(name.to_owned(), given.to_owned())];
            let request = EngineRequest { memory_bytes: 16 << 20, choices: &choices };
            engine(LSM).unwrap().build(&request).map(|factory| factory.settings())
        };
        let settings = build("block_bytes", "16KiB").unwrap();
        assert!(settings.contains(&("block_bytes".to_owned(), "16384".to_owned())));
        assert_eq!(
            build("block_bytes", "2").unwrap_err().to_string(),
            "block_bytes cannot be `2`: give bytes from 64 to 1048576"
        );
        assert_eq!(
            build("blok_bytes", "2").unwrap_err().to_string(),
            "nori-lsm has no `blok_bytes` to choose; did you mean `block_bytes`?"
        );
    }

    #[test]
    fn a_misspelt_seam_or_part_is_an_error_with_the_nearest_name() {
        let error = |seam: &str, part: &str| {
            let choices = [(seam.to_owned(), part.to_owned())];
            let request = EngineRequest { memory_bytes: 16 << 20, choices: &choices };
            engine(LSM).unwrap().build(&request).err().unwrap().to_string()
        };
        assert_eq!(
            error("compactoin", "tiered"),
            "nori-lsm has no `compactoin` to choose; did you mean `compaction`?"
        );
        assert_eq!(
            error("compaction", "teired"),
            "no compaction is called `teired`; did you mean `tiered`?"
        );
    }
}
