//! Which requests were executed, and what was answered.
//!
//! 1. Of each identity one answer is remembered, its **row** here: that of the last request. It goes into the store with the entry that executed it, in a row of
//!    many (`chunks`): no crash keeps one without the other.
//! 2. A row carries a **stamp**, the later of the shard's time when it was executed and the time when the identity was made.
//! 3. Entries that expire raise the **floor**; rows with a stamp up to it are no more, at once and all, and with them the knowledge of what was
//!    executed. Their memory is given back little by little, with the entries that follow: nobody sees it.
//! 4. So an identity that has no row is executed only if it was made after the floor: an older one may have had one. The second and later requests of a
//!    session have a row before them, or the session is forgotten.
//!
//! All of it follows from the log, so it is the same on every replica. The rows are in memory as well, each with its name of at most
//! 65 bytes, found by hash: two looks at each write, and a hundred thousand names are no tree that stays in a processor's cache. Nothing
//! goes by the order of the hashes. Whoever leads sees to it that they do not become too many.

use crate::codec::{put_number, take_number};
use crate::command::{IDENTITY_KEY_BYTES_MAX, Identity, Session};
use crate::rows::Version;
use bytes::{Buf, Bytes};
use foldhash::HashMap;
use nori_consensus::Index;
use nori_consensus::mutant::{self, Mutant};
use nori_kv::Tick;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// Under which name a row stands, once for both orders of [`Identities`].
pub(crate) type Name = Arc<[u8]>;

/// One entry frees at most so many rows; the next one goes on.
const FREED_MAX: usize = 1_024;

/// The longest name: its kind, and an idempotency key.
const NAME_BYTES_MAX: usize = 1 + IDENTITY_KEY_BYTES_MAX;

/// What came of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Everything was written; the rows have this version.
    Written(Version),
    /// Nothing was: the row of the numbered operation has the version `actual`.
    Mismatch {
        /// The operation, from 0 on.
        operation: u32,
        /// Its row's version, 0 if there is no row.
        actual: Version,
    },
    /// Nothing was, now: whether it was before is not known any more.
    TooOld,
}

/// What is known of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was not executed.
    Fresh,
    /// It was, with this outcome; or cannot be told.
    Ended(Outcome),
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    stamp: Tick,
    /// Of a session: the last request that was executed; otherwise 0.
    sequence: u64,
    outcome: Outcome,
}

impl Remembered {
    pub(crate) fn put(&self, into: &mut Vec<u8>) {
        put_number(into, self.stamp.0);
        put_number(into, self.sequence);
        match self.outcome {
            Outcome::Written(version) => {
                into.push(1);
                put_number(into, version);
            }
            Outcome::Mismatch { operation, actual } => {
                into.push(2);
                put_number(into, u64::from(operation));
                put_number(into, actual);
            }
            Outcome::TooOld => unreachable!("what is too old has no row"),
        }
    }

    /// Takes a row off the front; `None` if there is none.
    pub(crate) fn take(from: &mut Bytes) -> Option<Self> {
        let (stamp, sequence) = (Tick(take_number(from)?), take_number(from)?);
        let outcome = match from.try_get_u8().ok()? {
            1 => Outcome::Written(take_number(from)?),
            2 => {
                let operation = u32::try_from(take_number(from)?).ok()?;
                Outcome::Mismatch { operation, actual: take_number(from)? }
            }
            _ => return None,
        };
        Some(Self { stamp, sequence, outcome })
    }
}

/// A row, and in which chunk it stands.
#[derive(Clone, Copy, Debug)]
struct Kept {
    row: Remembered,
    chunk: Index,
}

/// All that is remembered.
#[derive(Debug, Default)]
pub(crate) struct Identities {
    /// And some of those that are no more: they have stamps `<= floor`.
    rows: HashMap<Name, Kept>,
    /// Those that are, oldest first.
    by_stamp: BTreeSet<(Tick, Name)>,
    /// Those that are no more, and not freed: each as it was when it ended. Under its name there may be another by now.
    old: VecDeque<BTreeSet<(Tick, Name)>>,
    /// What was made up to then may have been forgotten. Every row has a stamp `> floor`, and every one that went had not.
    floor: Tick,
}

impl Identities {
    pub(crate) fn len(&self) -> usize {
        self.by_stamp.len()
    }

    pub(crate) fn floor(&self) -> Tick {
        self.floor
    }

    pub(crate) fn raise(&mut self, floor: Tick) {
        self.floor = self.floor.max(floor);
    }

    /// The stamp of the row before which there are `n`.
    pub(crate) fn stamp(&self, n: usize) -> Option<Tick> {
        self.by_stamp.iter().nth(n).map(|(stamp, _)| *stamp)
    }

    /// Forgets the rows that are up to the floor.
    pub(crate) fn forget_old(&mut self) {
        if mutant::is(Mutant::ForgottenAboveFloor) {
            self.rows.clear();
            self.by_stamp.clear();
        }
        if self.by_stamp.first().is_none_or(|(stamp, _)| *stamp > self.floor) {
            return;
        }
        // No name is before the empty one.
        let kept = match self.floor.0.checked_add(1) {
            Some(behind) => self.by_stamp.split_off(&(Tick(behind), Name::from([]))),
            None => BTreeSet::new(),
        };
        self.old.push_back(std::mem::replace(&mut self.by_stamp, kept));
    }

    /// Frees some of those that were forgotten, and says in which chunks they stand; whether there are more.
    pub(crate) fn free_old(&mut self, mut freed: impl FnMut(Index)) -> bool {
        for _ in 0..FREED_MAX {
            let Some(oldest) = self.old.front_mut() else { return false };
            let Some((stamp, name)) = oldest.pop_first() else {
                self.old.pop_front();
                continue;
            };
            // Another that took its place has freed it.
            if self.rows.get(&name).is_some_and(|kept| kept.row.stamp == stamp)
                && let Some(kept) = self.rows.remove(&name)
            {
                freed(kept.chunk);
            }
        }
        !self.old.is_empty()
    }

    pub(crate) fn judge(&self, identity: &Identity) -> Verdict {
        let (issued_at, sequence) = made(identity);
        match self.row_of(identity) {
            Some(row) if row.sequence == sequence || mutant::is(Mutant::SequenceIgnored) => {
                Verdict::Ended(row.outcome)
            }
            Some(row) if row.sequence < sequence => Verdict::Fresh,
            Some(_) => Verdict::Ended(Outcome::TooOld),
            None if mutant::is(Mutant::OldIdentityExecuted) => Verdict::Fresh,
            None if issued_at <= self.floor || sequence > 1 => Verdict::Ended(Outcome::TooOld),
            None => Verdict::Fresh,
        }
    }

    /// The outcome, if it is certain whatever entries are applied after these: a session without a row may have one in the next.
    pub(crate) fn decided(&self, identity: &Identity) -> Option<Outcome> {
        match self.judge(identity) {
            Verdict::Fresh => None,
            Verdict::Ended(outcome) => {
                let is_certain = made(identity).0 <= self.floor || self.has(identity);
                Some(outcome).filter(|_| is_certain)
            }
        }
    }

    /// Whether there is a row of it, of this request or another of its session.
    pub(crate) fn has(&self, identity: &Identity) -> bool {
        self.row_of(identity).is_some()
    }

    fn row_of(&self, identity: &Identity) -> Option<&Remembered> {
        let kept = with_name(identity, |name| self.rows.get(name));
        kept.map(|kept| &kept.row).filter(|row| self.is_known(row))
    }

    /// It is not forgotten.
    fn is_known(&self, row: &Remembered) -> bool {
        row.stamp > self.floor
    }

    /// All rows with their names, in no order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (&[u8], &Remembered)> {
        let all = self.rows.iter().map(|(name, kept)| (&name[..], &kept.row));
        all.filter(|(_, row)| self.is_known(row))
    }

    /// In which chunks rows stand, once for each row that is not freed.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = Index> {
        self.rows.values().map(|kept| kept.chunk)
    }

    /// The row of an identity that is executed at `now`.
    pub(crate) fn row(identity: &Identity, now: Tick, outcome: Outcome) -> (Name, Remembered) {
        let (issued_at, sequence) = made(identity);
        (
            with_name(identity, |name| Arc::from(name)),
            Remembered { stamp: now.max(issued_at), sequence, outcome },
        )
    }

    /// Nothing is remembered.
    pub(crate) fn forget_all(&mut self) {
        self.rows.clear();
        self.by_stamp.clear();
        self.old.clear();
    }

    /// Remembers a row that stands in `chunk`; the chunk of the one whose place it takes.
    pub(crate) fn insert(&mut self, name: Name, row: Remembered, chunk: Index) -> Option<Index> {
        let before = self.rows.insert(Arc::clone(&name), Kept { row, chunk });
        if let Some(before) = before {
            self.by_stamp.remove(&(before.row.stamp, Arc::clone(&name)));
        }
        self.by_stamp.insert((row.stamp, name));
        before.map(|before| before.chunk)
    }
}

/// When it was made, and which of its session it is.
fn made(identity: &Identity) -> (Tick, u64) {
    match identity {
        Identity::Key { issued_at, .. } => (*issued_at, 0),
        Identity::Session(Session { issued_at, sequence, .. }) => (*issued_at, *sequence),
    }
}

/// Hands on under which its row stands: of a key the key, whenever it says that it was made; of a session both of its numbers.
fn with_name<T>(identity: &Identity, then: impl FnOnce(&[u8]) -> T) -> T {
    let mut name = [0; NAME_BYTES_MAX];
    let len = match identity {
        Identity::Key { key, .. } => {
            name[0] = b'k';
            name[1..=key.len()].copy_from_slice(key);
            1 + key.len()
        }
        Identity::Session(Session { issued_at, client, .. }) => {
            name[0] = b's';
            name[1..9].copy_from_slice(&client.to_be_bytes());
            name[9..17].copy_from_slice(&issued_at.0.to_be_bytes());
            17
        }
    };
    then(&name[..len])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(issued_at: u64) -> Identity {
        Identity::Key { issued_at: Tick(issued_at), key: Bytes::from_static(b"key") }
    }

    fn session(issued_at: u64, sequence: u64) -> Identity {
        Identity::Session(Session { issued_at: Tick(issued_at), client: 7, sequence })
    }

    fn execute(all: &mut Identities, identity: &Identity, now: u64) {
        assert_eq!(all.judge(identity), Verdict::Fresh);
        let (name, row) = Identities::row(identity, Tick(now), Outcome::Written(now));
        let mut value = Vec::new();
        row.put(&mut value);
        assert_eq!(Remembered::take(&mut value.into()), Some(row));
        all.insert(name, row, Index(now));
        assert_eq!(all.judge(identity), Verdict::Ended(Outcome::Written(now)));
    }

    fn expire(all: &mut Identities, floor: u64) {
        all.raise(Tick(floor));
        all.forget_old();
        all.free_old(|_| ());
    }

    #[test]
    fn a_key_is_executed_once_and_never_again() {
        let mut all = Identities::default();
        execute(&mut all, &key(5), 100);
        expire(&mut all, 99);
        // The key counts, not when it is said to have been made.
        assert_eq!(all.judge(&key(6)), Verdict::Ended(Outcome::Written(100)));
        expire(&mut all, 100);
        assert_eq!((all.len(), all.judge(&key(5))), (0, Verdict::Ended(Outcome::TooOld)));
    }

    #[test]
    fn a_key_of_a_clock_that_is_ahead_is_remembered_for_as_long() {
        let mut all = Identities::default();
        execute(&mut all, &key(500), 100);
        expire(&mut all, 499);
        assert_eq!(all.judge(&key(500)), Verdict::Ended(Outcome::Written(100)));
        expire(&mut all, 500);
        assert_eq!(all.judge(&key(500)), Verdict::Ended(Outcome::TooOld));
    }

    #[test]
    fn what_a_state_that_lags_does_not_know_is_not_decided() {
        let mut all = Identities::default();
        all.raise(Tick(40));
        // Its first request may be in the next entry.
        assert_eq!(all.judge(&session(50, 2)), Verdict::Ended(Outcome::TooOld));
        assert_eq!(all.decided(&session(50, 2)), None);
        assert_eq!(all.decided(&session(40, 2)), Some(Outcome::TooOld));
        assert_eq!((all.decided(&key(40)), all.decided(&key(41))), (Some(Outcome::TooOld), None));
        execute(&mut all, &session(50, 1), 60);
        execute(&mut all, &session(50, 2), 61);
        assert_eq!(all.decided(&session(50, 2)), Some(Outcome::Written(61)));
        assert_eq!(all.decided(&session(50, 1)), Some(Outcome::TooOld));
        assert_eq!(all.decided(&session(50, 3)), None);
    }

    #[test]
    fn what_is_forgotten_is_freed_little_by_little_and_never_seen() {
        let named = |n: u64| Identity::Key {
            issued_at: Tick(n),
            key: Bytes::copy_from_slice(&n.to_be_bytes()),
        };
        let (mut all, many) = (Identities::default(), 3 * FREED_MAX as u64);
        for n in 1..=many + 5 {
            execute(&mut all, &named(n), n);
        }
        all.raise(Tick(many));
        all.forget_old();
        // None is freed.
        assert_eq!((all.len(), all.rows().count(), all.chunks().count()), (5, 5, all.rows.len()));
        assert_eq!(all.stamp(0), Some(Tick(many + 1)));
        for n in [1, many] {
            assert_eq!(all.judge(&named(n)), Verdict::Ended(Outcome::TooOld));
            assert!(!all.has(&named(n)));
        }
        // A name that is not freed is executed again, and stays.
        let Identity::Key { key, .. } = named(1) else { panic!() };
        let again = Identity::Key { issued_at: Tick(many + 6), key };
        assert_eq!(all.judge(&again), Verdict::Fresh);
        let (name, row) = Identities::row(&again, Tick(many + 6), Outcome::Written(7));
        assert_eq!(all.insert(name, row, Index(many + 6)), Some(Index(1)));
        let mut freed = Vec::new();
        let mut turns = 1;
        while all.free_old(|chunk| freed.push(chunk)) {
            assert!(freed.len() <= turns * FREED_MAX);
            turns += 1;
        }
        // Each once, and the first went when its name was taken.
        assert_eq!(freed, (2..=many).map(Index).collect::<Vec<_>>());
        assert_eq!((all.len(), all.rows.len()), (6, 6));
        assert_eq!(all.judge(&again), Verdict::Ended(Outcome::Written(7)));
    }

    #[test]
    fn a_session_goes_on_while_it_is_used() {
        let mut all = Identities::default();
        for sequence in [1, 2, 5] {
            execute(&mut all, &session(50, sequence), 100 * sequence);
            expire(&mut all, 100 * sequence - 1);
        }
        assert_eq!(all.judge(&session(50, 2)), Verdict::Ended(Outcome::TooOld));
        assert_eq!(all.len(), 1);
        expire(&mut all, 500);
        for sequence in [1, 5, 6] {
            assert_eq!(all.judge(&session(50, sequence)), Verdict::Ended(Outcome::TooOld));
        }
        assert_eq!(all.judge(&session(501, 1)), Verdict::Fresh);
        assert_eq!(all.judge(&session(501, 2)), Verdict::Ended(Outcome::TooOld));
    }
}
