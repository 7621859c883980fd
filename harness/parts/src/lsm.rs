//! Our engine, from names. Promises, beside those of the registry:
//!
//! * Memtables and cache together are within the budget: a comparison at one budget would be none if a setting lifted it.
//!   Memtables are counted as they are when all that may wait do. A cache that nobody gave a size gives way to memtables that somebody did.
//! * A setting that the chosen part does not look at is refused: whoever varies it would measure nothing.

use crate::{Choice, EngineRequest, PartsError};
use nori_kv::EngineFactory;
use nori_lsm::{BadSetting, Components, LsmFactory, SettingLine, Settings, UnknownPart};
use std::sync::Arc;

pub(crate) const LSM: &str = "nori-lsm";

/// What buffers take of the budget, and the least that a cache gives way to: as the engine weighs its memory.
const SHARE: u64 = 16;
/// The part of a seam that is none.
const NONE: &str = "none";
/// The value of a setting that is zero, however it is written.
const ZERO: &str = "0";
/// A choice, and a seam or setting that says nothing beside it. Of the strategies `tiered` counts the same runs in every level, and
/// the others but `leveled` are defined with a number of runs of their own, and without compaction on reads. (Every memtable
/// carries the hash index, and blocks of mapped files are cached like those that were read.)
const IGNORED: [(&str, &str, &str); 20] = [
    ("cache", NONE, CACHE),
    (CACHE, ZERO, "cache"),
    ("filter", NONE, "filter_budget"),
    ("filter", NONE, FILTER_BITS),
    ("filter", NONE, "filter_prefix_bytes"),
    (FILTER_BITS, ZERO, "filter"),
    (FILTER_BITS, ZERO, "filter_budget"),
    (FILTER_BITS, ZERO, "filter_prefix_bytes"),
    ("compaction", "tiered", "size_ratio"),
    ("compaction", "tiered", SEEK),
    ("compaction", "full", L0_RUNS),
    ("compaction", "full", SEEK),
    ("compaction", "lo1", L0_RUNS),
    ("compaction", "lo1", SEEK),
    ("compaction", "rr", L0_RUNS),
    ("compaction", "rr", SEEK),
    ("compaction", "1-lvl", L0_RUNS),
    ("compaction", "1-lvl", SEEK),
    ("compaction", "lazy-leveling", L0_RUNS),
    ("compaction", "lazy-leveling", SEEK),
];
const SEEK: &str = "seek_bytes";
const L0_RUNS: &str = "l0_runs_trigger";
const CACHE: &str = "cache_bytes";
const FILTER_BITS: &str = "filter_bits_per_key";

/// The engine with the budget, the parts and the settings asked for.
pub(crate) fn build(request: &EngineRequest<'_>) -> Result<Arc<dyn EngineFactory>, PartsError> {
    let (settings, components) = assemble(request)?;
    Ok(Arc::new(LsmFactory::new(settings, components)))
}

/// The same under a replicated log: stores that share the budget.
pub(crate) fn build_replicated(
    request: &EngineRequest<'_>,
) -> Result<Arc<dyn EngineFactory>, PartsError> {
    let (settings, components) = assemble(request)?;
    Ok(Arc::new(LsmFactory::replicated(settings, components)))
}

fn assemble(request: &EngineRequest<'_>) -> Result<(Settings, Components), PartsError> {
    let mut components = Components::default();
    let mut settings = Settings::for_memory(request.memory_bytes);
    for choice in request.choices {
        choose(choice, &mut components, &mut settings)?;
    }
    let is_given = |name: &str| request.choices.iter().any(|(given, _)| given == name);
    for (name, _) in request.choices {
        if let Some((by, value)) = silenced_by(request.choices, name) {
            let what = format!("{name} says nothing with {by}={value}: leave one of them out");
            return Err(PartsError::Invalid(what));
        }
    }
    if silenced_by(request.choices, CACHE).is_some() {
        settings.cache_bytes = 0;
    } else if !is_given(CACHE) {
        let share = settings.memory_bytes / SHARE;
        let left = settings.memory_bytes.saturating_sub(memtables_bytes(&settings) + share);
        let left = usize::try_from(left.max(share)).unwrap_or(usize::MAX);
        settings.cache_bytes = settings.cache_bytes.min(left);
    }
    within_budget(&settings, is_given(CACHE))?;
    Ok((settings, components))
}

/// The choice among `choices` beside which the seam or setting called `name` says nothing.
pub fn silenced_by(choices: &[Choice], name: &str) -> Option<(&'static str, &'static str)> {
    let is_chosen = |by: &str, value: &str| {
        let mut of_name = choices.iter().filter(|(chosen, _)| chosen == by);
        of_name.any(|(_, given)| given == value || value == ZERO && is_zero(by, given))
    };
    let mut ignored = IGNORED.into_iter().filter(|(.., of)| *of == name);
    ignored.find(|(by, value, _)| is_chosen(by, value)).map(|(by, value, _)| (by, value))
}

/// Whether a setting is given as zero: `0`, `0.0`, `0KiB`.
fn is_zero(name: &str, given: &str) -> bool {
    let mut settings = Settings::default();
    let is_set = settings.set(name, given).is_ok();
    is_set && settings.list().iter().any(|(known, value)| known == name && value == ZERO)
}

/// A setting of our engine, and what it is and may be.
#[derive(Clone, Debug)]
pub struct Setting {
    /// The name in files and command lines.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// What it is with that memory if nothing is chosen.
    pub default: f64,
    /// The least that it may be.
    pub min: u64,
    /// The most.
    pub max: u64,
    /// Whether it is a number of bytes.
    pub is_bytes: bool,
}

/// Every setting of our engine that may be chosen, with its default in an engine of so much memory.
///
/// # Errors
///
/// If the memory is too little or too much for an engine.
pub fn settings(memory_bytes: u64) -> Result<Vec<Setting>, PartsError> {
    let request = EngineRequest { memory_bytes, choices: &[] };
    let values = crate::engine(LSM)?.build(&request)?.settings();
    let of_line = |line: &SettingLine| {
        let value = values.iter().find(|(name, _)| name == line.name);
        Some(Setting {
            name: line.name,
            about: line.about,
            default: value?.1.parse().ok()?,
            min: *line.bounds().start(),
            max: *line.bounds().end(),
            is_bytes: line.is_bytes(),
        })
    };
    Ok(Settings::lines().iter().filter_map(of_line).collect())
}

/// Whether there is such a part or setting.
pub(crate) fn check(choice: &Choice) -> Result<(), PartsError> {
    choose(choice, &mut Components::default(), &mut Settings::default())
}

fn choose(
    (name, given): &Choice,
    components: &mut Components,
    settings: &mut Settings,
) -> Result<(), PartsError> {
    match components.set(name, given) {
        Ok(()) => Ok(()),
        Err(UnknownPart::Part { seam, given }) => {
            let known = Components::list().into_iter().filter(|line| line.seam == seam);
            Err(PartsError::unknown(seam, &given, known.map(|line| line.name)))
        }
        Err(UnknownPart::Seam { .. }) => settings.set(name, given).map_err(refused),
    }
}

fn refused(bad: BadSetting) -> PartsError {
    match bad {
        BadSetting::Name { given } => {
            let settings = Settings::lines().iter().map(|line| line.name);
            PartsError::no_choice(LSM, &given, nori_lsm::SEAMS.into_iter().chain(settings))
        }
        BadSetting::Value { name, given, why } => {
            PartsError::Invalid(format!("{name} cannot be `{given}`: {why}"))
        }
    }
}

/// Of the memtable that takes writes and all that may wait for their flush.
fn memtables_bytes(settings: &Settings) -> u64 {
    settings.memtable_bytes.saturating_mul(1 + settings.memtables_sealed_max as u64)
}

fn within_budget(settings: &Settings, is_cache_given: bool) -> Result<(), PartsError> {
    let (budget, memtables) = (settings.memory_bytes, memtables_bytes(settings));
    let cache = settings.cache_bytes as u64;
    let sum = memtables.saturating_add(cache);
    if sum <= budget {
        return Ok(());
    }
    let or_cache = if is_cache_given { " or cache_bytes" } else { "" };
    Err(PartsError::Invalid(format!(
        "{} memtables of {} and a cache of {} are {}, more than the memory of {}: raise --memory, or lower memtable_bytes, \
         memtables_sealed_max{or_cache}",
        1 + settings.memtables_sealed_max,
        shown(settings.memtable_bytes),
        shown(cache),
        shown(sum),
        shown(budget),
    )))
}

/// Bytes for people: in the largest unit that divides them.
fn shown(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fits = |(shift, _): &(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    units.into_iter().find(fits).map_or_else(
        || format!("{bytes} bytes"),
        |(shift, unit)| format!("{} {unit}", bytes >> shift),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;

    const MIB: u64 = 1 << 20;

    fn settings(memory_bytes: u64, choices: &[(&str, &str)]) -> Result<Vec<Choice>, String> {
        let owned = |(name, given): &(&str, &str)| ((*name).to_owned(), (*given).to_owned());
        let choices: Vec<Choice> = choices.iter().map(owned).collect();
        let request = EngineRequest { memory_bytes, choices: &choices };
        let built = engine(LSM).unwrap().build(&request);
        built.map(|factory| factory.settings()).map_err(|error| error.to_string())
    }

    fn cache_of(settings: &[Choice]) -> u64 {
        settings.iter().find(|(name, _)| name == CACHE).unwrap().1.parse().unwrap()
    }

    #[test]
    fn every_setting_is_listed_with_the_default_that_an_engine_of_that_memory_has() {
        for memory in [MIB, 16 * MIB, 256 * MIB] {
            let built = settings(memory, &[]).unwrap();
            let listed = super::settings(memory).unwrap();
            assert_eq!(listed.len(), Settings::lines().len(), "none is left out");
            for Setting { name, default, min, max, .. } in listed {
                assert!(
                    built.contains(&(name.to_owned(), default.to_string())),
                    "{name} {default}"
                );
                assert!((min as f64..=max as f64).contains(&default), "{name} {default}");
            }
        }
        assert!(super::settings(MIB - 1).is_err());
    }

    #[test]
    fn settings_that_exceed_the_budget_together_are_refused_with_their_sum() {
        assert_eq!(
            settings(16 * MIB, &[("memtable_bytes", "1GiB")]).unwrap_err(),
            "3 memtables of 1 GiB and a cache of 1 MiB are 3073 MiB, more than the memory of 16 MiB: raise --memory, or lower \
             memtable_bytes, memtables_sealed_max"
        );
        let error = settings(16 * MIB, &[("cache_bytes", "12MiB")]).unwrap_err();
        assert!(error.contains("are 18 MiB") && error.ends_with(" or cache_bytes"), "{error}");
        assert!(settings(MIB, &[("memtable_bytes", "4GiB")]).is_err());
        assert!(settings(16 * MIB, &[("memtables_sealed_max", "8")]).is_err());
        assert!(
            settings(18 * MIB, &[("memtable_bytes", "2MiB"), ("cache_bytes", "12MiB")]).is_ok()
        );
        let both = [("memtable_bytes", "7MiB"), ("memtables_sealed_max", "1")];
        assert!(settings(16 * MIB, &both).is_ok(), "choices count together and not each alone");
    }

    #[test]
    fn a_cache_of_no_given_size_gives_way_to_memtables_down_to_a_share() {
        let usual = cache_of(&settings(16 * MIB, &[]).unwrap());
        assert_eq!(usual, 9 * MIB);
        assert_eq!(cache_of(&settings(16 * MIB, &[("memtable_bytes", "3MiB")]).unwrap()), 6 * MIB);
        assert_eq!(cache_of(&settings(16 * MIB, &[("memtable_bytes", "4MiB")]).unwrap()), 3 * MIB);
        assert_eq!(cache_of(&settings(16 * MIB, &[("memtable_bytes", "5MiB")]).unwrap()), MIB);
        assert!(settings(16 * MIB, &[("memtable_bytes", "6MiB")]).is_err());
        assert_eq!(cache_of(&settings(16 * MIB, &[("memtable_bytes", "1MiB")]).unwrap()), usual);
    }

    #[test]
    fn a_setting_that_the_chosen_part_ignores_is_refused_in_any_order() {
        for choices in [
            [("cache", "none"), ("cache_bytes", "2MiB")],
            [("cache_bytes", "2MiB"), ("cache", "none")],
        ] {
            assert_eq!(
                settings(16 * MIB, &choices).unwrap_err(),
                "cache_bytes says nothing with cache=none: leave one of them out"
            );
        }
        for setting in ["filter_bits_per_key", "filter_prefix_bytes"] {
            let error = settings(16 * MIB, &[("filter", "none"), (setting, "8")]).unwrap_err();
            assert!(error.starts_with(setting) && error.contains("filter=none"), "{error}");
            assert!(settings(16 * MIB, &[("filter", "bloom"), (setting, "8")]).is_ok());
        }
        let parts = Components::list();
        let exists = |(by, value, name): (&str, &str, &str)| {
            let is_setting = |name: &str| Settings::lines().iter().any(|line| line.name == name);
            let is_part = parts.iter().any(|line| line.seam == by && line.name == value);
            (is_part || value == ZERO && is_setting(by))
                && (is_setting(name) || parts.iter().any(|line| line.seam == name))
        };
        assert!(IGNORED.into_iter().all(exists), "each is something that may be chosen");
        for line in parts.iter().filter(|line| line.seam == "compaction") {
            let ignored = match line.name {
                "leveled" => None,
                "tiered" => Some("size_ratio"),
                _ => Some("l0_runs_trigger"),
            };
            for setting in ["size_ratio", "l0_runs_trigger"] {
                let built = settings(16 * MIB, &[("compaction", line.name), (setting, "4")]);
                assert_eq!(built.is_err(), ignored == Some(setting), "{}: {built:?}", line.name);
            }
        }
    }

    #[test]
    fn what_says_nothing_beside_no_filter_or_no_cache_is_refused_only_where_both_were_asked_for() {
        let refused = |choices: &[(&str, &str)]| settings(16 * MIB, choices).unwrap_err();
        for (choices, words) in [
            (
                [("filter", "none"), ("filter_budget", "monkey")],
                "filter_budget says nothing with filter=none",
            ),
            (
                [("filter_budget", "uniform"), ("filter", "none")],
                "filter_budget says nothing with filter=none",
            ),
            (
                [("filter_bits_per_key", "0.0"), ("filter_budget", "monkey")],
                "filter_budget says nothing with filter_bits_per_key=0",
            ),
            (
                [("filter_prefix_bytes", "8"), ("filter_bits_per_key", "0")],
                "filter_prefix_bytes says nothing with filter_bits_per_key=0",
            ),
            (
                [("filter", "bloom"), ("filter_bits_per_key", "0")],
                "filter says nothing with filter_bits_per_key=0",
            ),
            ([("cache", "lru"), ("cache_bytes", "0KiB")], "cache says nothing with cache_bytes=0"),
        ] {
            assert_eq!(refused(&choices), format!("{words}: leave one of them out"));
        }
        for choice in [("filter", "none"), ("filter_bits_per_key", "0"), ("cache_bytes", "0")] {
            assert!(settings(16 * MIB, &[choice]).is_ok(), "{choice:?} beside what is the default");
        }
        for both in [
            [("memtable", "vector"), ("memtable_index", "hash")],
            [("cache", "lru"), ("access", "mmap")],
            [("filter_budget", "monkey"), ("filter_bits_per_key", "0.5")],
        ] {
            assert!(settings(16 * MIB, &both).is_ok(), "{both:?} both do something");
        }
        let without = settings(16 * MIB, &[("cache", "none")]).unwrap();
        assert_eq!(cache_of(&without), 0, "what is not there takes nothing");
    }
}
