//! Bytes of messages, hard states and memberships. Numbers are little-endian; lists begin with their length.
//!
//! Decoding never panics and never trusts a length: what a count promises must fit into the bytes that are there. What leaves the replica
//! ends with a CRC-32C over everything before it, for not every network and disk has one.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use crc_fast::crc32_iscsi;
use nori_consensus::{Entry, EntryKind, Index, LogId, Membership, NodeId, Term};
use std::collections::BTreeSet;
use std::sync::Arc;
use thiserror::Error;

/// Why bytes say nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Unreadable {
    #[error("it ends too early")]
    Short,
    #[error("its checksum is wrong")]
    Damaged,
    #[error("it is of version {0}, which this program does not know")]
    Version(u8),
    #[error("it has a {0} that there cannot be")]
    Impossible(&'static str),
}

type Result<T> = std::result::Result<T, Unreadable>;

const CHECKSUM_BYTES: usize = 4;

fn crc(bytes: &[u8]) -> u32 {
    crc32_iscsi(bytes)
}

/// Ends `bytes` with their checksum.
pub(crate) fn seal(mut bytes: BytesMut) -> Bytes {
    let sum = crc(&bytes);
    bytes.put_u32_le(sum);
    bytes.freeze()
}

/// The bytes before a right checksum, of version `version`, which is their first byte.
pub(crate) fn unseal(bytes: &Bytes, version: u8) -> Result<Reader> {
    let body = bytes.len().checked_sub(CHECKSUM_BYTES).ok_or(Unreadable::Short)?;
    let mut sum = bytes.slice(body..);
    if crc(&bytes[..body]) != sum.get_u32_le() {
        return Err(Unreadable::Damaged);
    }
    let mut reader = Reader { bytes: bytes.slice(..body) };
    match reader.u8()? {
        of if of == version => Ok(reader),
        of => Err(Unreadable::Version(of)),
    }
}

/// Takes numbers from the front of bytes.
pub(crate) struct Reader {
    bytes: Bytes,
}

impl Reader {
    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.bytes.try_get_u8().map_err(|_| Unreadable::Short)
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.bytes.try_get_u32_le().map_err(|_| Unreadable::Short)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.bytes.try_get_u64_le().map_err(|_| Unreadable::Short)
    }

    /// A number that counts something: one that no group comes to would end in an overflow where it is counted on.
    pub(crate) fn counted(&mut self) -> Result<u64> {
        let number = self.u64()?;
        if number <= COUNT_MAX { Ok(number) } else { Err(Unreadable::Impossible("number")) }
    }

    pub(crate) fn log_id(&mut self) -> Result<LogId> {
        Ok(LogId { term: Term(self.counted()?), index: Index(self.counted()?) })
    }

    pub(crate) fn is(&mut self, what: &'static str) -> Result<bool> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Unreadable::Impossible(what)),
        }
    }

    /// The number of things of at least `least` bytes each that are to follow.
    fn count(&mut self, least: usize) -> Result<usize> {
        let count = self.u32()? as usize;
        let fits = count.checked_mul(least).is_some_and(|bytes| bytes <= self.bytes.len());
        if fits { Ok(count) } else { Err(Unreadable::Short) }
    }

    fn blob(&mut self) -> Result<Bytes> {
        let length = self.count(1)?;
        Ok(self.bytes.split_to(length))
    }

    fn nodes(&mut self) -> Result<BTreeSet<NodeId>> {
        (0..self.count(8)?).map(|_| self.u64().map(NodeId)).collect()
    }

    /// Entries that adjoin, the first behind `before`, of terms that do not fall, the last of one no later than `most`.
    pub(crate) fn entries(&mut self, before: LogId, most: Term) -> Result<Vec<Entry>> {
        let count = self.count(ENTRY_BYTES_MIN)?;
        let mut entries = Vec::with_capacity(count);
        let mut last = before;
        for _ in 0..count {
            let term = Term(self.counted()?);
            let kind = match self.u8()? {
                0 => EntryKind::Noop,
                1 => EntryKind::Data,
                2 => EntryKind::Config,
                _ => return Err(Unreadable::Impossible("kind of entry")),
            };
            let index = last.index.0 + 1;
            if term < last.term {
                return Err(Unreadable::Impossible("falling term"));
            }
            last = LogId { term, index: Index(index) };
            entries.push(Entry { id: last, kind, payload: self.blob()? });
        }
        if last.term > most {
            return Err(Unreadable::Impossible("term of an entry"));
        }
        Ok(entries)
    }

    /// That nothing follows.
    pub(crate) fn end(self) -> Result<()> {
        if self.bytes.is_empty() { Ok(()) } else { Err(Unreadable::Impossible("length")) }
    }
}

/// More than any term, index, round or life.
pub(crate) const COUNT_MAX: u64 = 1 << 62;

/// Term, kind, length.
const ENTRY_BYTES_MIN: usize = 8 + 1 + 4;

pub(crate) fn put_log_id(bytes: &mut BytesMut, id: LogId) {
    bytes.put_u64_le(id.term.0);
    bytes.put_u64_le(id.index.0);
}

pub(crate) fn put_entries(bytes: &mut BytesMut, entries: &[Entry]) {
    bytes.put_u32_le(entries.len() as u32);
    for entry in entries {
        bytes.put_u64_le(entry.id.term.0);
        bytes.put_u8(match entry.kind {
            EntryKind::Noop => 0,
            EntryKind::Data => 1,
            EntryKind::Config => 2,
        });
        bytes.put_u32_le(entry.payload.len() as u32);
        bytes.put_slice(&entry.payload);
    }
}

/// What a replica must never forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HardState {
    pub(crate) term: Term,
    /// Whom it voted for in this term.
    pub(crate) voted: Option<NodeId>,
}

const HARD_STATE_VERSION: u8 = 1;
const CONFIG_VERSION: u8 = 1;

impl HardState {
    pub(crate) fn encode(self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(22);
        bytes.put_u8(HARD_STATE_VERSION);
        bytes.put_u64_le(self.term.0);
        bytes.put_u8(u8::from(self.voted.is_some()));
        bytes.put_u64_le(self.voted.unwrap_or_default().0);
        seal(bytes)
    }

    /// What `bytes` say; that of a first life if there are none.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = unseal(bytes, HARD_STATE_VERSION)?;
        let (term, has_voted) = (Term(reader.counted()?), reader.is("vote")?);
        let voted = NodeId(reader.u64()?);
        reader.end()?;
        Ok(Self { term, voted: has_voted.then_some(voted) })
    }
}

/// A membership as an entry says it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Config {
    /// Shared with every status.
    pub(crate) membership: Arc<Membership>,
    /// Outgoing voters of a joint membership that are learners once it has ended.
    pub(crate) demoted: BTreeSet<NodeId>,
}

impl Config {
    /// The same as of the entry at `index`.
    pub(crate) fn at(mut self, index: Index) -> Self {
        Arc::make_mut(&mut self.membership).at = index;
        self
    }

    /// What a joint one ends in.
    pub(crate) fn ended(&self) -> Self {
        let mut membership = Membership::clone(&self.membership);
        membership.outgoing.clear();
        membership.learners.extend(&self.demoted);
        Self { membership: Arc::new(membership), demoted: BTreeSet::new() }
    }

    pub(crate) fn encode(&self) -> Bytes {
        let Membership { at, voters, outgoing, learners } = &*self.membership;
        let mut bytes = BytesMut::with_capacity(64);
        bytes.put_u8(CONFIG_VERSION);
        bytes.put_u64_le(at.0);
        for nodes in [voters, outgoing, learners, &self.demoted] {
            bytes.put_u32_le(nodes.len() as u32);
            nodes.iter().for_each(|node| bytes.put_u64_le(node.0));
        }
        seal(bytes)
    }

    /// What `bytes` say; nobody if there are none.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self::default());
        }
        let mut reader = unseal(bytes, CONFIG_VERSION)?;
        let at = Index(reader.counted()?);
        let (voters, outgoing, learners) = (reader.nodes()?, reader.nodes()?, reader.nodes()?);
        let demoted = reader.nodes()?;
        reader.end()?;
        let votes = |node: &NodeId| voters.contains(node) || outgoing.contains(node);
        let is_possible = !voters.is_empty()
            && !learners.iter().any(votes)
            && demoted.is_subset(&outgoing)
            && demoted.is_disjoint(&voters);
        if !is_possible {
            return Err(Unreadable::Impossible("membership"));
        }
        let membership = Arc::new(Membership { at, voters, outgoing, learners });
        Ok(Self { membership, demoted })
    }
}
