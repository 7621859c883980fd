//! An entry: one version of one key, as memtables, tables and merges hand it on.
//!
//! **Internal order**, everywhere: user keys ascending by bytes, then sequence numbers *descending*, so that
//! the newest version of a key comes first. No two entries of a store agree in both.

use crate::{Result, SeqNo, Tick};

/// What an entry does to its key.
///
/// The numbers are on disk: they never change, and a new kind takes a new number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A tombstone: the key has no value.
    Delete = 0,
    /// The key has a value.
    Put = 1,
    /// A range tombstone: the user key is the first key deleted, the value the first key kept.
    DeleteRange = 2,
}

impl Kind {
    /// The kind numbered `byte`.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Delete),
            1 => Some(Self::Put),
            2 => Some(Self::DeleteRange),
            _ => None,
        }
    }
}

/// One version of one key, lent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EntryRef<'a> {
    /// The user key.
    pub key: &'a [u8],
    /// When it was written.
    pub seqno: SeqNo,
    /// What it does.
    pub kind: Kind,
    /// The first tick at which a put no longer counts; `None`: it never expires.
    pub expires: Option<Tick>,
    /// The value of a put, the end of a range tombstone, empty for a tombstone.
    pub value: &'a [u8],
}

impl EntryRef<'_> {
    /// The bytes of key and value.
    pub fn payload_bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }

    /// Whether it is a put that has expired by `now`. At tick zero nothing has, not even what expires then.
    #[inline]
    pub fn has_expired(&self, now: Tick) -> bool {
        now > Tick(0) && self.expires.is_some_and(|at| at <= now)
    }
}

/// A position in a sequence of entries in internal order.
///
/// # Contract
///
/// * A new cursor is **off both ends**: `entry` is `None`, `next` goes to the first entry, `prev` to the last.
/// * `next` past the last entry and `prev` before the first leave the cursor off that end: `entry` is `None`,
///   the same call again changes nothing, the opposite call goes to the nearest entry.
/// * `seek(key, seqno)` goes to the first entry at or after `(key, seqno)` in internal order, or off the far
///   end: with [`SeqNo::MAX`] it is the newest version of the first user key `>= key`. From there `prev`
///   goes to the entry before, also from off the far end.
/// * The position calls return whether there is an entry. After an error the position is unspecified, but another
///   position call is allowed.
/// * What `entry` lends stays in place until the next position call.
pub trait EntryCursor: Send {
    /// Goes to the first entry at or after `(key, seqno)`.
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool>;
    /// Goes to the next entry.
    fn next(&mut self) -> Result<bool>;
    /// Goes to the previous entry.
    fn prev(&mut self) -> Result<bool>;
    /// The entry at the position.
    fn entry(&self) -> Option<EntryRef<'_>>;
}

impl<C: EntryCursor + ?Sized> EntryCursor for Box<C> {
    fn seek(&mut self, key: &[u8], seqno: SeqNo) -> Result<bool> {
        (**self).seek(key, seqno)
    }

    fn next(&mut self) -> Result<bool> {
        (**self).next()
    }

    fn prev(&mut self) -> Result<bool> {
        (**self).prev()
    }

    fn entry(&self) -> Option<EntryRef<'_>> {
        (**self).entry()
    }
}
