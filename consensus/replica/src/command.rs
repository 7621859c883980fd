//! The bytes of an entry: what a client wants done, or the shard's own housekeeping.
//!
//! ```text
//! command   = version u8 = 1, kind u8, body
//! kind 1      write: identity, count, operation*
//! kind 2      expire: tick, floor
//! identity  = 0 | 1 issued at, key bytes | 2 issued at, client, sequence
//! operation = kind u8, condition, key bytes, (put: value bytes) (put until: value bytes, tick)
//!             kind 1 put, 2 put until, 3 delete
//! condition = 0 none | 1 absent | 2 version
//! ```
//!
//! Numbers are LEB128 in their shortest form, bytes carry their length before them; nothing follows the last. There is no checksum:
//! what carries and keeps an entry has one.

use crate::codec::{put_bytes, put_number, take_bytes, take_number};
use crate::error::BadEntry;
use bytes::{Buf, Bytes};
use nori_kv::Tick;

/// The version of the format.
const VERSION: u8 = 1;

/// The longest key of an identity, in bytes: a UUID as text has 36.
pub(crate) const IDENTITY_KEY_BYTES_MAX: usize = 64;

/// What an entry wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// All of these, or nothing if a condition does not hold.
    Write {
        /// Who asks, if it is to be executed once however often it comes.
        identity: Option<Identity>,
        /// What is to change, in order; later ones win. Conditions are about the rows before the first.
        operations: Vec<Operation>,
    },
    /// The time of the shard is this from now on, and identities up to the floor are not remembered any longer.
    Expire {
        /// Milliseconds since 1970, as the leader's clock had it. Neither this nor the floor takes anything back: what is lower than before means nothing.
        upto: Tick,
        /// Below it, and at it, identities are forgotten.
        floor: Tick,
    },
}

/// A request's name.
///
/// One that was executed is remembered with its answer for a while; then the shard knows only that such old names may have been
/// there, and refuses them. So each carries when it was made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Identity {
    /// A name for one request.
    Key {
        /// When it was made, in milliseconds since 1970 by the client's clock.
        issued_at: Tick,
        /// At most [`IDENTITY_KEY_BYTES_MAX`] bytes that no other request has.
        key: Bytes,
    },
    /// The next request of a client that has one at a time.
    Session(Session),
}

/// A request of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Session {
    /// When the session began, in milliseconds since 1970 by the client's clock.
    pub issued_at: Tick,
    /// A number that no other client has.
    pub client: u64,
    /// The request's number, from 1 on; more in each later request.
    pub sequence: u64,
}

/// What is to become of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// The key.
    pub key: Bytes,
    /// What must hold for the command to do anything.
    pub condition: Condition,
    /// The value to put, and when it expires; `None`: the key goes.
    pub value: Option<(Bytes, Option<Tick>)>,
}

/// What must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    #[default]
    None,
    /// The key has no row.
    Absent,
    /// The row has this version; 0 is the same as `Absent`.
    Version(u64),
}

impl Command {
    /// Its bytes.
    pub fn encode(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.bytes_about());
        out.push(VERSION);
        match self {
            Self::Write { identity, operations } => {
                out.push(1);
                put_identity(&mut out, identity.as_ref());
                put_number(&mut out, operations.len() as u64);
                operations.iter().for_each(|operation| operation.put(&mut out));
            }
            Self::Expire { upto, floor } => {
                out.push(2);
                put_number(&mut out, upto.0);
                put_number(&mut out, floor.0);
            }
        }
        out.into()
    }

    /// About how many bytes it takes, or more.
    fn bytes_about(&self) -> usize {
        let of = |operation: &Operation| {
            let value = operation.value.as_ref().map_or(0, |(value, _)| value.len());
            operation.key.len() + value + 32
        };
        match self {
            Self::Write { operations, .. } => 64 + operations.iter().map(of).sum::<usize>(),
            Self::Expire { .. } => 32,
        }
    }

    /// The command in `payload`.
    ///
    /// # Errors
    ///
    /// That it is none. Never panics.
    pub fn decode(payload: &Bytes) -> Result<Self, BadEntry> {
        let mut from = payload.clone();
        match from.try_get_u8() {
            Ok(VERSION) => {}
            Ok(version) => return Err(BadEntry::Version(version)),
            Err(_) => return Err(BadEntry::Unreadable),
        }
        let command = decode_body(&mut from).filter(|_| from.is_empty());
        command.ok_or(BadEntry::Unreadable)
    }
}

fn decode_body(from: &mut Bytes) -> Option<Command> {
    match from.try_get_u8().ok()? {
        1 => {
            let identity = take_identity(from)?;
            let count = usize::try_from(take_number(from)?).ok()?;
            // An operation takes three bytes at least: the count cannot make us allocate more than the input.
            let mut operations = Vec::with_capacity(count.min(from.len() / 3));
            for _ in 0..count {
                operations.push(Operation::take(from)?);
            }
            Some(Command::Write { identity, operations })
        }
        2 => {
            let (upto, floor) = (take_number(from)?, take_number(from)?);
            Some(Command::Expire { upto: Tick(upto), floor: Tick(floor) })
        }
        _ => None,
    }
}

fn put_identity(out: &mut Vec<u8>, identity: Option<&Identity>) {
    match identity {
        None => out.push(0),
        Some(Identity::Key { issued_at, key }) => {
            out.push(1);
            put_number(out, issued_at.0);
            put_bytes(out, key);
        }
        Some(Identity::Session(Session { issued_at, client, sequence })) => {
            out.push(2);
            [issued_at.0, *client, *sequence].into_iter().for_each(|n| put_number(out, n));
        }
    }
}

fn take_identity(from: &mut Bytes) -> Option<Option<Identity>> {
    let kind = from.try_get_u8().ok()?;
    if kind == 0 {
        return Some(None);
    }
    let issued_at = Tick(take_number(from)?);
    Some(Some(match kind {
        1 => {
            let key = take_bytes(from).filter(|key| key.len() <= IDENTITY_KEY_BYTES_MAX)?;
            Identity::Key { issued_at, key }
        }
        2 => {
            let (client, sequence) = (take_number(from)?, take_number(from)?);
            Identity::Session(Session { issued_at, client, sequence })
        }
        _ => return None,
    }))
}

impl Operation {
    /// Puts `value`, whatever was there.
    pub fn put_value(key: impl Into<Bytes>, value: impl Into<Bytes>) -> Self {
        let value = Some((value.into(), None));
        Self { key: key.into(), condition: Condition::None, value }
    }

    /// Removes the key.
    pub fn delete(key: impl Into<Bytes>) -> Self {
        Self { key: key.into(), condition: Condition::None, value: None }
    }

    /// The same, if `condition` holds.
    #[must_use]
    pub fn provided(self, condition: Condition) -> Self {
        Self { condition, ..self }
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.push(match &self.value {
            Some((_, None)) => 1,
            Some((_, Some(_))) => 2,
            None => 3,
        });
        match self.condition {
            Condition::None => out.push(0),
            Condition::Absent => out.push(1),
            Condition::Version(version) => {
                out.push(2);
                put_number(out, version);
            }
        }
        put_bytes(out, &self.key);
        if let Some((value, expires)) = &self.value {
            put_bytes(out, value);
            if let Some(expires) = expires {
                put_number(out, expires.0);
            }
        }
    }

    fn take(from: &mut Bytes) -> Option<Self> {
        let kind = from.try_get_u8().ok()?;
        let condition = match from.try_get_u8().ok()? {
            0 => Condition::None,
            1 => Condition::Absent,
            2 => Condition::Version(take_number(from)?),
            _ => return None,
        };
        let key = take_bytes(from)?;
        let value = match kind {
            1 => Some((take_bytes(from)?, None)),
            2 => Some((take_bytes(from)?, Some(Tick(take_number(from)?)))),
            3 => None,
            _ => return None,
        };
        Some(Self { key, condition, value })
    }
}

#[cfg(test)]
mod tests;
