//! What clients did and saw, and whether one copy of the data that does one thing at a time could have shown them the same.
//!
//! 1. Every write puts a value that no other does, so what a read saw says which write it saw.
//! 2. Per key, what was begun and ended is given to a checker of linearizability (a crate). A write of which nobody knows the outcome may happen at any later time, or never.
//! 3. A read that may be stale is not part of that; it is checked against its own promise: it shows everything that was acknowledged before it was as old as it says.

use std::collections::BTreeMap;

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Asked {
    /// To put the value of this number.
    Put(u64),
    /// The same, until a time that nobody knows well, for it is by the clock of whoever leads.
    PutUntil(u64),
    /// To remove the key.
    Delete,
    /// To put the value of the first number if the row is that of the second; `None`: if there is none.
    PutIf(u64, Option<u64>),
    /// The row.
    Get,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Seen {
    /// It is done.
    Done,
    /// The condition does not hold.
    Mismatch,
    /// The row: the number of its value; `None`: there is none.
    Row(Option<u64>),
    /// Nobody knows.
    Unknown,
}

/// An operation on a key.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) client: u32,
    pub(crate) asked: Asked,
    pub(crate) seen: Seen,
    /// When it was begun, and when its end was known: numbers that grow.
    pub(crate) call: u64,
    pub(crate) end: u64,
}

/// Writes that were acknowledged, for stale reads.
#[derive(Clone, Debug)]
struct Acknowledged {
    at: u64,
    version: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct History {
    of_key: BTreeMap<String, Vec<Operation>>,
    acknowledged: BTreeMap<String, Vec<Acknowledged>>,
    /// Whether a delete of the key was ever begun: then that there is no row says nothing.
    deleted: BTreeMap<String, bool>,
    /// Which version each value was put with, as far as anybody was told.
    versions: BTreeMap<u64, u64>,
}

impl History {
    pub(crate) fn add(&mut self, key: &str, operation: Operation) {
        self.of_key.entry(key.to_owned()).or_default().push(operation);
    }

    /// A delete is begun, or a write that expires.
    pub(crate) fn begin_delete(&mut self, key: &str) {
        self.deleted.insert(key.to_owned(), true);
    }

    /// A write was acknowledged with this version.
    pub(crate) fn acknowledge(&mut self, key: &str, at: u64, version: u64) {
        self.acknowledged.entry(key.to_owned()).or_default().push(Acknowledged { at, version });
    }

    /// A value was seen with a version: always with the same.
    pub(crate) fn see(&mut self, value: u64, version: u64) -> Result<(), String> {
        let known = *self.versions.entry(value).or_insert(version);
        if known == version {
            return Ok(());
        }
        Err(format!("value {value} was written as version {known} and as version {version}: twice"))
    }

    /// A stale read at `at` that says to be no older than `age` saw a row of this version; 0 is none.
    pub(crate) fn check_stale(
        &self,
        key: &str,
        asked_at: u64,
        age: Option<u64>,
        version_min: u64,
        version: u64,
    ) -> Result<(), String> {
        let is_deleted = self.deleted.get(key).copied().unwrap_or(false);
        if version == 0 && is_deleted {
            return Ok(());
        }
        if version < version_min {
            return Err(format!(
                "a stale read of {key} with version {version_min} at least saw {version}"
            ));
        }
        let Some(age) = age else { return Ok(()) };
        let before = asked_at.saturating_sub(age);
        let newest = self
            .acknowledged
            .get(key)
            .into_iter()
            .flatten()
            .filter(|write| write.at < before)
            .map(|write| write.version)
            .max();
        match newest {
            Some(newest) if newest > version => Err(format!(
                "a read of {key} that is at most {age} ns old saw version {version}, and {newest} was acknowledged before that"
            )),
            _ => Ok(()),
        }
    }

    /// Whether every key's history could be that of one copy.
    pub(crate) fn check(&self) -> Result<(), String> {
        for (key, operations) in &self.of_key {
            if !crate::linear::is_linearizable(operations) {
                let mut text = format!("the history of {key} is not linearizable:");
                for of in operations {
                    let Operation { client, asked, seen, call, end } = of;
                    text += &format!(" [{call}..{end} c{client} {asked:?} {seen:?}]");
                }
                return Err(text);
            }
        }
        Ok(())
    }

    /// The number of operations.
    pub(crate) fn len(&self) -> usize {
        self.of_key.values().map(Vec::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(client: u32, asked: Asked, seen: Seen, call: u64, end: u64) -> Operation {
        Operation { client, asked, seen, call, end }
    }

    fn check(operations: Vec<Operation>) -> bool {
        let mut history = History::default();
        operations.into_iter().for_each(|operation| history.add("a", operation));
        history.check().is_ok()
    }

    #[test]
    fn what_one_copy_could_show_is_fine() {
        assert!(check(vec![
            operation(1, Asked::Put(1), Seen::Done, 0, 10),
            operation(2, Asked::Get, Seen::Row(None), 1, 3),
            operation(2, Asked::Get, Seen::Row(Some(1)), 4, 6),
            operation(1, Asked::PutIf(2, Some(1)), Seen::Done, 11, 14),
            operation(2, Asked::PutIf(3, Some(1)), Seen::Mismatch, 12, 16),
            operation(1, Asked::Delete, Seen::Done, 17, 18),
            operation(1, Asked::Get, Seen::Row(None), 19, 20),
        ]));
    }

    #[test]
    fn a_lost_write_a_stale_read_and_a_write_done_twice_are_found() {
        assert!(!check(vec![
            operation(1, Asked::Put(1), Seen::Done, 0, 1),
            operation(1, Asked::Get, Seen::Row(None), 2, 3),
        ]));
        assert!(!check(vec![
            operation(1, Asked::Put(1), Seen::Done, 0, 1),
            operation(1, Asked::Put(2), Seen::Done, 2, 3),
            operation(2, Asked::Get, Seen::Row(Some(1)), 4, 5),
        ]));
        assert!(!check(vec![
            operation(1, Asked::Put(1), Seen::Unknown, 0, u64::MAX),
            operation(2, Asked::Get, Seen::Row(Some(1)), 1, 2),
            operation(2, Asked::Put(2), Seen::Done, 3, 4),
            operation(2, Asked::Get, Seen::Row(Some(2)), 5, 6),
            operation(2, Asked::Get, Seen::Row(Some(1)), 7, 8),
        ]));
    }

    #[test]
    fn what_expires_goes_once_and_never_comes_back() {
        let put = || operation(1, Asked::PutUntil(1), Seen::Done, 0, 1);
        let get = |seen, call| operation(2, Asked::Get, Seen::Row(seen), call, call + 1);
        assert!(check(vec![put(), get(Some(1), 2), get(None, 4), get(None, 6)]));
        assert!(!check(vec![put(), get(None, 2), get(Some(1), 4)]));
        let put_if =
            |expected, seen, call| operation(3, Asked::PutIf(2, expected), seen, call, call + 1);
        assert!(check(vec![put(), put_if(None, Seen::Done, 2), get(Some(2), 4)]));
        assert!(check(vec![put(), put_if(Some(1), Seen::Mismatch, 2), get(None, 4)]));
        assert!(!check(vec![put(), put_if(Some(1), Seen::Mismatch, 2), get(Some(1), 4)]));
        assert!(!check(vec![put(), get(None, 2), put_if(None, Seen::Mismatch, 4)]));
    }

    #[test]
    fn a_write_of_unknown_outcome_may_happen_late_or_never() {
        let unknown = || operation(1, Asked::Put(1), Seen::Unknown, 0, u64::MAX);
        let get = |seen, call| operation(2, Asked::Get, Seen::Row(seen), call, call + 1);
        assert!(check(vec![unknown(), get(None, 1), get(None, 5)]));
        assert!(check(vec![unknown(), get(None, 1), get(Some(1), 500)]));
        assert!(!check(vec![unknown(), get(Some(1), 1), get(None, 5)]));
    }

    #[test]
    fn a_stale_read_keeps_its_promise_of_age() {
        let mut history = History::default();
        history.acknowledge("a", 100, 7);
        assert!(history.check_stale("a", 150, Some(60), 0, 3).is_ok());
        assert!(history.check_stale("a", 150, Some(40), 0, 3).is_err());
        assert!(history.check_stale("a", 150, Some(40), 0, 7).is_ok());
        assert!(history.check_stale("a", 150, None, 9, 7).is_err());
        history.see(1, 7).unwrap();
        assert!(history.see(1, 7).is_ok() && history.see(1, 8).is_err());
    }
}
