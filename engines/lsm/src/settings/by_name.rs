//! Settings by name: what a command line or a file may say of each number, and within which bounds.
//!
//! Bytes may have a unit (`64KiB`, `8MiB`, `1GiB`, `1TiB`). Nothing is clamped: what lies out of bounds is refused.

use super::{MEMORY_BYTES_MAX, Settings};
use nori_kv::Error;
use std::ops::RangeInclusive;

/// A setting and its line in a list.
pub struct SettingLine {
    /// The name.
    pub name: &'static str,
    /// One line for people who choose.
    pub about: &'static str,
    /// What it may be.
    bounds: RangeInclusive<u64>,
    field: fn(&mut Settings) -> Field<'_>,
}

impl SettingLine {
    /// The least and the most that it may be.
    pub fn bounds(&self) -> RangeInclusive<u64> {
        self.bounds.clone()
    }

    /// Whether it is a number of bytes, and so may have a unit.
    pub fn is_bytes(&self) -> bool {
        matches!((self.field)(&mut Settings::default()), Field::Bytes(_) | Field::Size(_))
    }
}

/// Where the number is, and how it is written.
enum Field<'a> {
    Bytes(&'a mut u64),
    Size(&'a mut usize),
    Count(&'a mut usize),
    Ratio(&'a mut u64),
    Real(&'a mut f64),
}

/// Why a setting is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadSetting {
    /// No setting has that name.
    Name {
        /// What was written.
        given: String,
    },
    /// It cannot have that value.
    Value {
        /// The setting.
        name: &'static str,
        /// What was written.
        given: String,
        /// What is wrong with it, or what would be right.
        why: String,
    },
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const TIB: u64 = 1 << 40;

/// Every setting but the budget, in the order of lists.
const LINES: [SettingLine; 12] = [
    SettingLine {
        name: "memtable_bytes",
        about: "a memtable is sealed at this size",
        bounds: 4 * KIB..=4096 * MIB,
        field: |s| Field::Bytes(&mut s.memtable_bytes),
    },
    SettingLine {
        name: "memtables_sealed_max",
        about: "writers stop while this many sealed memtables wait for their flush",
        bounds: 1..=64,
        field: |s| Field::Count(&mut s.memtables_sealed_max),
    },
    SettingLine {
        name: "cache_bytes",
        about: "the block cache, unless filters and indexes leave it less of the budget",
        bounds: 0..=TIB,
        field: |s| Field::Size(&mut s.cache_bytes),
    },
    SettingLine {
        name: "block_bytes",
        about: "a data block is closed at this size",
        bounds: 64..=MIB,
        field: |s| Field::Size(&mut s.block_bytes),
    },
    SettingLine {
        name: "filter_bits_per_key",
        about: "what the filter budget distributes",
        bounds: 0..=64,
        field: |s| Field::Real(&mut s.filter_bits_per_key),
    },
    SettingLine {
        name: "filter_prefix_bytes",
        about: "filters know this long a prefix of each key too, for scans within one; 0: whole keys only",
        bounds: 0..=1024,
        field: |s| Field::Count(&mut s.filter_prefix_bytes),
    },
    SettingLine {
        name: "table_bytes",
        about: "a compaction's output table is closed at this size",
        bounds: 4 * KIB..=4096 * MIB,
        field: |s| Field::Bytes(&mut s.table_bytes),
    },
    SettingLine {
        name: "size_ratio",
        about: "how many times larger a level is than the one above",
        bounds: 2..=100,
        field: |s| Field::Ratio(&mut s.size_ratio),
    },
    SettingLine {
        name: "l0_runs_trigger",
        about: "runs in level 0 that start a compaction",
        bounds: 1..=100,
        field: |s| Field::Count(&mut s.l0_runs_trigger),
    },
    SettingLine {
        name: "levels_max",
        about: "levels, level 0 included",
        bounds: 2..=16,
        field: |s| Field::Count(&mut s.levels_max),
    },
    SettingLine {
        name: "seek_bytes",
        about: "`leveled` merges down what cursors seek in: a seek costs as much as merging so many bytes; 0: it does not",
        bounds: 0..=MIB,
        field: |s| Field::Bytes(&mut s.seek_bytes),
    },
    SettingLine {
        name: "compaction_jobs_max",
        about: "compactions that run at a time",
        bounds: 1..=64,
        field: |s| Field::Count(&mut s.compaction_jobs_max),
    },
];

impl Settings {
    /// Every setting that has a name.
    pub fn lines() -> &'static [SettingLine] {
        &LINES
    }

    /// Gives the setting called `name` the value that `given` writes.
    ///
    /// # Errors
    ///
    /// If there is no such setting, or the value is no number within its bounds; then nothing is changed.
    pub fn set(&mut self, name: &str, given: &str) -> Result<(), BadSetting> {
        let line = LINES.iter().find(|line| line.name == name);
        let line = line.ok_or_else(|| BadSetting::Name { given: name.to_owned() })?;
        let (low, high) = (*line.bounds.start(), *line.bounds.end());
        let refused =
            |why: String| BadSetting::Value { name: line.name, given: given.to_owned(), why };
        let give = |kind: &str| refused(format!("give {kind} from {low} to {high}"));
        let whole = |number: Option<u64>, kind: &str| {
            number.filter(|number| line.bounds.contains(number)).ok_or_else(|| give(kind))
        };
        match (line.field)(self) {
            Field::Bytes(field) => *field = whole(bytes(given).map_err(refused)?, "bytes")?,
            Field::Size(field) => {
                *field = whole(bytes(given).map_err(refused)?, "bytes")? as usize;
            }
            Field::Count(field) => *field = whole(given.parse().ok(), "a whole number")? as usize,
            Field::Ratio(field) => *field = whole(given.parse().ok(), "a whole number")?,
            Field::Real(field) => {
                let number: Option<f64> = given.parse().ok();
                let fits = |number: &f64| (low as f64..=high as f64).contains(number);
                *field = number.filter(fits).ok_or_else(|| give("a number"))?;
            }
        }
        Ok(())
    }

    /// Refuses numbers that lie out of their bounds: a store with them might wait for ever.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let mut settings = self.clone();
        for (name, value) in self.list().into_iter().skip(1) {
            if let Err(BadSetting::Value { given, why, .. }) = settings.set(&name, &value) {
                let what = format!("the setting {name} cannot be {given}: {why}");
                return Err(Error::Invalid { what });
            }
        }
        if self.memory_bytes > MEMORY_BYTES_MAX {
            let what = format!("the setting memory_bytes cannot be above {MEMORY_BYTES_MAX}");
            return Err(Error::Invalid { what });
        }
        Ok(())
    }

    /// Every setting by name, with its value.
    pub fn list(&self) -> Vec<(String, String)> {
        let mut settings = self.clone();
        let mut pairs = vec![("memory_bytes".to_owned(), self.memory_bytes.to_string())];
        for line in &LINES {
            let value = match (line.field)(&mut settings) {
                Field::Bytes(number) | Field::Ratio(number) => number.to_string(),
                Field::Size(number) | Field::Count(number) => number.to_string(),
                Field::Real(number) => number.to_string(),
            };
            pairs.push((line.name.to_owned(), value));
        }
        pairs
    }
}

/// A number of bytes, with or without a unit; `None` if it is no number that is not negative, or too large for one.
///
/// # Errors
///
/// What is wrong with a number that has a fraction, or another unit: it may well lie within its bounds.
fn bytes(text: &str) -> Result<Option<u64>, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let scale = match unit {
        _ if number.is_empty() => return Ok(None),
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => 1 << 30,
        "TiB" => TIB,
        _ if unit.starts_with(['.', ',']) => {
            return Err("give a whole number: bytes, KiB, MiB, GiB or TiB".to_owned());
        }
        _ => {
            return Err(format!("`{}` is no unit of bytes: KiB, MiB, GiB or TiB", unit.trim()));
        }
    };
    Ok(number.parse().ok().and_then(|number: u64| number.checked_mul(scale)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_takes_its_own_value_back_and_refuses_what_is_out_of_bounds() {
        let mut settings = Settings::default();
        for (name, value) in Settings::default().list().into_iter().skip(1) {
            settings.set(&name, &value).unwrap();
            let line = LINES.iter().find(|line| line.name == name).unwrap();
            let beyond = (line.bounds.end() + 1).to_string();
            for wrong in [beyond.as_str(), "-1", "much", "", "1 MiB", "NaN"] {
                let refused = settings.set(&name, wrong).unwrap_err();
                assert!(matches!(refused, BadSetting::Value { .. }), "{name}={wrong}: {refused:?}");
            }
        }
        assert_eq!(settings, Settings::default());
        let unknown = BadSetting::Name { given: "memtable_byte".to_owned() };
        assert_eq!(settings.set("memtable_byte", "1"), Err(unknown));
    }

    #[test]
    fn bytes_may_have_a_unit() {
        let mut settings = Settings::default();
        settings.set("memtable_bytes", "8MiB").unwrap();
        settings.set("block_bytes", "16KiB").unwrap();
        settings.set("filter_bits_per_key", "12.5").unwrap();
        settings.set("cache_bytes", "1TiB").unwrap();
        assert_eq!((settings.memtable_bytes, settings.block_bytes), (8 << 20, 16 << 10));
        assert_eq!(settings.cache_bytes, 1 << 40);
        assert_eq!(settings.filter_bits_per_key, 12.5);
    }

    #[test]
    fn a_number_of_bytes_that_is_wrong_only_in_its_unit_or_its_fraction_is_told_that() {
        let why = |given| match Settings::default().set("block_bytes", given) {
            Err(BadSetting::Value { why, .. }) => why,
            other => panic!("{given}: {other:?}"),
        };
        for (given, unit) in [("16KB", "KB"), ("16kib", "kib"), ("16 kB", "kB")] {
            assert_eq!(why(given), format!("`{unit}` is no unit of bytes: KiB, MiB, GiB or TiB"));
        }
        for given in ["1.5KiB", "4096.0", "1,5KiB"] {
            assert_eq!(why(given), "give a whole number: bytes, KiB, MiB, GiB or TiB");
        }
        for given in ["63", "2MiB", "-1KiB", "much", "99999999999999999999", "16777216TiB"] {
            assert_eq!(why(given), "give bytes from 64 to 1048576");
        }
    }
}
