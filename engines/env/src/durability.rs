//! What an acknowledged write survives: the four classes every engine, server and plot speaks of.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// What an acknowledged write survives. Ordered: a later class survives all that an earlier one does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// Nothing promised; the write still enters the log in order, and a later sync covers it.
    None,
    /// The process being killed: the bytes have reached the page cache.
    Os,
    /// Power loss, but for the writes of the last `max_age`.
    Group {
        /// The longest time between an acknowledgement and the sync that covers it.
        max_age: Duration,
    },
    /// Power loss: `fdatasync` before the acknowledgement. Concurrent writers share one.
    Sync,
}

/// The name is none of the four classes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown durability `{given}`: write none, os, group:<n>ms (1 to 60000) or sync")]
pub struct DurabilityError {
    /// What was written.
    pub given: String,
}

/// A promise to sync within a minute is still a promise; a longer one is `os` by another name.
const GROUP_MILLIS_MAX: u64 = 60_000;

impl FromStr for Durability {
    type Err = DurabilityError;

    fn from_str(given: &str) -> Result<Self, DurabilityError> {
        let unknown = || DurabilityError { given: given.to_owned() };
        match given {
            "none" => Ok(Self::None),
            "os" => Ok(Self::Os),
            "sync" => Ok(Self::Sync),
            _ => {
                let millis = given
                    .strip_prefix("group:")
                    .and_then(|rest| rest.strip_suffix("ms"))
                    .and_then(|digits| digits.parse::<u64>().ok())
                    .filter(|millis| (1..=GROUP_MILLIS_MAX).contains(millis))
                    .ok_or_else(unknown)?;
                Ok(Self::Group { max_age: Duration::from_millis(millis) })
            }
        }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Os => f.write_str("os"),
            Self::Group { max_age } => write!(f, "group:{}ms", max_age.as_millis()),
            Self::Sync => f.write_str("sync"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_prints_as_it_is_written() {
        for name in ["none", "os", "group:5ms", "sync"] {
            assert_eq!(name.parse::<Durability>().unwrap().to_string(), name);
        }
    }

    #[test]
    fn a_misspelt_class_names_the_four() {
        for name in
            ["", "fsync", "group", "group:ms", "group:0ms", "group:-1ms", "group:99999999ms"]
        {
            let error = name.parse::<Durability>().unwrap_err().to_string();
            assert!(error.contains("none, os, group:<n>ms"), "{error}");
        }
    }

    #[test]
    fn classes_are_ordered_by_what_they_survive() {
        let group = "group:5ms".parse().unwrap();
        assert!(Durability::None < Durability::Os && Durability::Os < group);
        assert!(group < Durability::Sync);
    }
}
