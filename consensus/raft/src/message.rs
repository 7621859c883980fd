//! What replicas say to each other.
//!
//! Every message names its group, its sender and its receiver, and the sender's term; one that comes to somebody else, from somebody
//! else, or of another group, is none.

use crate::codec::{Reader, Unreadable, put_entries, put_log_id, seal, unseal};
use bytes::{BufMut, Bytes, BytesMut};
use nori_consensus::{Entry, Index, LogId, MessageClass, NodeId, ShardId, Term};
use std::fmt;

/// A leader's check of who still follows it, counted within its term. An answer to a round vouches for all before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Round(pub(crate) u64);

/// How often a leader began anew to bring a peer its entries, within its term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Attempt(pub(crate) u64);

/// Which life of a replica. A leader that hears of a new one takes nothing more from earlier ones: in it the peer may have less than it
/// acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Life(pub(crate) u64);

/// What a follower says in every answer to its leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The round of what it answers; zero if that was of an earlier term.
    pub(crate) round: Round,
    pub(crate) life: Life,
    pub(crate) priority: u8,
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    /// Would you vote for me in this term? Nobody's term changes by it.
    PreVote {
        last: LogId,
    },
    /// `term` is the one that was asked about if granted, else the voter's own.
    PreVoteReply {
        is_granted: bool,
    },
    /// Vote for me. `is_transfer`: the leader wants it so, and its lease is over.
    Vote {
        last: LogId,
        is_transfer: bool,
    },
    VoteReply {
        is_granted: bool,
    },
    /// These follow `before`. `entries[n].id.index == before.index + 1 + n`.
    Append {
        before: LogId,
        commit: Index,
        round: Round,
        attempt: Attempt,
        entries: Vec<Entry>,
    },
    /// The log agrees with the leader's up to here, safely. `attempt`: of what it answers; zero if that was a snapshot.
    Appended {
        matched: Index,
        attempt: Attempt,
        answer: Answer,
    },
    /// The log does not have `refused`; what it has at or below that and of no later term begins with `hint`.
    Refused {
        refused: Index,
        hint: LogId,
        attempt: Attempt,
        answer: Answer,
    },
    /// I lead, and of what you have this much is committed. `settled`: everything that is committed, once an entry of the term is; zero
    /// before. Nothing of that counts on what you said before `life`, the last I heard of; zero if I heard none. `is_asleep`: nothing will
    /// come until something does.
    Heartbeat {
        commit: Index,
        round: Round,
        settled: Index,
        life: Life,
        is_asleep: bool,
    },
    HeartbeatReply {
        answer: Answer,
    },
    /// Goes with a snapshot.
    Snapshot {
        round: Round,
    },
    /// Campaign now, as if your time had come.
    TimeoutNow,
}

/// A message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) shard: ShardId,
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) term: Term,
    pub(crate) body: Body,
}

const VERSION: u8 = 1;
/// Version, kind, shard, from, to, term, checksum and the fixed part of the longest body.
const HEAD_BYTES: usize = 1 + 1 + 4 * 8 + 4 + 64;

impl Answer {
    fn put(&self, bytes: &mut BytesMut) {
        bytes.put_u64_le(self.round.0);
        bytes.put_u64_le(self.life.0);
        bytes.put_u8(self.priority);
    }

    fn take(reader: &mut Reader) -> Result<Self, Unreadable> {
        let (round, life) = (Round(reader.counted()?), Life(reader.counted()?));
        Ok(Self { round, life, priority: reader.u8()? })
    }
}

impl Body {
    pub(crate) fn class(&self) -> MessageClass {
        match self {
            Self::PreVote { .. }
            | Self::PreVoteReply { .. }
            | Self::Vote { .. }
            | Self::VoteReply { .. } => MessageClass::Vote,
            Self::Append { .. } | Self::Appended { .. } | Self::Refused { .. } => {
                MessageClass::Append
            }
            Self::Heartbeat { .. } | Self::HeartbeatReply { .. } => MessageClass::Heartbeat,
            Self::Snapshot { .. } => MessageClass::Snapshot,
            Self::TimeoutNow => MessageClass::Other,
        }
    }

    fn kind(&self) -> u8 {
        match self {
            Self::PreVote { .. } => 1,
            Self::PreVoteReply { .. } => 2,
            Self::Vote { .. } => 3,
            Self::VoteReply { .. } => 4,
            Self::Append { .. } => 5,
            Self::Appended { .. } => 6,
            Self::Refused { .. } => 7,
            Self::Heartbeat { .. } => 8,
            Self::HeartbeatReply { .. } => 9,
            Self::Snapshot { .. } => 10,
            Self::TimeoutNow => 11,
        }
    }

    fn put(&self, bytes: &mut BytesMut) {
        match self {
            Self::PreVote { last } => put_log_id(bytes, *last),
            Self::PreVoteReply { is_granted } | Self::VoteReply { is_granted } => {
                bytes.put_u8(u8::from(*is_granted));
            }
            Self::Vote { last, is_transfer } => {
                put_log_id(bytes, *last);
                bytes.put_u8(u8::from(*is_transfer));
            }
            Self::Append { before, commit, round, attempt, entries } => {
                put_log_id(bytes, *before);
                bytes.put_u64_le(commit.0);
                bytes.put_u64_le(round.0);
                bytes.put_u64_le(attempt.0);
                put_entries(bytes, entries);
            }
            Self::Appended { matched, attempt, answer } => {
                bytes.put_u64_le(matched.0);
                bytes.put_u64_le(attempt.0);
                answer.put(bytes);
            }
            Self::Refused { refused, hint, attempt, answer } => {
                bytes.put_u64_le(refused.0);
                put_log_id(bytes, *hint);
                bytes.put_u64_le(attempt.0);
                answer.put(bytes);
            }
            Self::Heartbeat { commit, round, settled, life, is_asleep } => {
                bytes.put_u64_le(commit.0);
                bytes.put_u64_le(round.0);
                bytes.put_u64_le(settled.0);
                bytes.put_u64_le(life.0);
                bytes.put_u8(u8::from(*is_asleep));
            }
            Self::HeartbeatReply { answer } => answer.put(bytes),
            Self::Snapshot { round } => bytes.put_u64_le(round.0),
            Self::TimeoutNow => {}
        }
    }
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.term)?;
        match &self.body {
            Body::PreVote { last } => write!(f, "would you vote for me, whose log ends at {last}?"),
            Body::PreVoteReply { is_granted: true } => f.write_str("I would"),
            Body::PreVoteReply { is_granted: false } => f.write_str("I would not"),
            Body::Vote { last, is_transfer } => {
                let why = if *is_transfer { ", as the leader wishes" } else { "" };
                write!(f, "vote for me, whose log ends at {last}{why}")
            }
            Body::VoteReply { is_granted: true } => f.write_str("yes"),
            Body::VoteReply { is_granted: false } => f.write_str("no"),
            Body::Append { before, commit, round, entries, .. } => {
                let kinds = entries.iter().map(|entry| format!(" {}{}", entry.id, letter(entry)));
                let kinds: String = kinds.collect();
                write!(f, "append after {before}:{kinds}; committed {commit}, round {}", round.0)
            }
            Body::Appended { matched, answer, .. } => {
                write!(f, "agreed up to {matched}, round {}", answer.round.0)
            }
            Body::Refused { refused, hint, .. } => {
                write!(f, "{refused} is not mine; {hint} may be ours")
            }
            Body::Heartbeat { commit, round, is_asleep, .. } => {
                let sleep = if *is_asleep { ", good night" } else { "" };
                write!(f, "I lead; committed {commit}, round {}{sleep}", round.0)
            }
            Body::HeartbeatReply { answer } => write!(f, "round {}", answer.round.0),
            Body::Snapshot { .. } => f.write_str("a snapshot"),
            Body::TimeoutNow => f.write_str("campaign now"),
        }
    }
}

/// What marks an entry that is no data.
fn letter(entry: &Entry) -> &'static str {
    match entry.kind {
        nori_consensus::EntryKind::Noop => "(no-op)",
        nori_consensus::EntryKind::Data => "",
        nori_consensus::EntryKind::Config => "(membership)",
    }
}

impl Message {
    pub(crate) fn encode(&self) -> Bytes {
        let payloads = match &self.body {
            Body::Append { entries, .. } => {
                entries.iter().map(|entry| entry.payload.len() + 13).sum()
            }
            _ => 0,
        };
        let mut bytes = BytesMut::with_capacity(HEAD_BYTES + payloads);
        bytes.put_u8(VERSION);
        bytes.put_u8(self.body.kind());
        for number in [self.shard.0, self.from.0, self.to.0, self.term.0] {
            bytes.put_u64_le(number);
        }
        self.body.put(&mut bytes);
        seal(bytes)
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, Unreadable> {
        let mut reader = unseal(bytes, VERSION)?;
        let kind = reader.u8()?;
        let (shard, from) = (ShardId(reader.u64()?), NodeId(reader.u64()?));
        let (to, term) = (NodeId(reader.u64()?), Term(reader.counted()?));
        let body = match kind {
            1 => Body::PreVote { last: reader.log_id()? },
            2 => Body::PreVoteReply { is_granted: reader.is("vote")? },
            3 => Body::Vote { last: reader.log_id()?, is_transfer: reader.is("transfer")? },
            4 => Body::VoteReply { is_granted: reader.is("vote")? },
            5 => {
                let before = reader.log_id()?;
                let (commit, round) = (Index(reader.counted()?), Round(reader.counted()?));
                let (attempt, entries) =
                    (Attempt(reader.counted()?), reader.entries(before, term)?);
                Body::Append { before, commit, round, attempt, entries }
            }
            6 => {
                let (matched, attempt) = (Index(reader.counted()?), Attempt(reader.counted()?));
                Body::Appended { matched, attempt, answer: Answer::take(&mut reader)? }
            }
            7 => {
                let (refused, hint) = (Index(reader.counted()?), reader.log_id()?);
                let (attempt, answer) = (Attempt(reader.counted()?), Answer::take(&mut reader)?);
                Body::Refused { refused, hint, attempt, answer }
            }
            8 => {
                let (commit, round) = (Index(reader.counted()?), Round(reader.counted()?));
                let (settled, life) = (Index(reader.counted()?), Life(reader.counted()?));
                Body::Heartbeat { commit, round, settled, life, is_asleep: reader.is("sleep")? }
            }
            9 => Body::HeartbeatReply { answer: Answer::take(&mut reader)? },
            10 => Body::Snapshot { round: Round(reader.counted()?) },
            11 => Body::TimeoutNow,
            _ => return Err(Unreadable::Impossible("kind of message")),
        };
        reader.end()?;
        Ok(Self { shard, from, to, term, body })
    }
}
