//! What nodes say to each other beside replicas and snapshots: the shard map, reports to the conductor, read indices.
//!
//! ```text
//! body  = kind u8, rest
//! kind 0   epoch: number. The sender has the map of this epoch
//! kind 1   ask map: number. The sender has the map of this epoch, and wants a newer one
//! kind 2   map: bytes of the map, count number, (node number, addresses)*
//! kind 3   report: count number, report*
//! kind 4   reform: shard, from, count, voter*, count, learner*. The leader of the shard is asked for this membership
//! kind 5   ask index: shard, asked. As of when is a state with everything that was written by now?
//! kind 6   index: shard, asked, index. By then
//! kind 7   join: node, addresses, zone bytes, weight. The node wants to be a member
//! report   = shard, role u8, term, commit, applied, in doubt 0 | 1, membership?
//! membership = 0 | 1 at, count, voter*, count, learner*
//! ```
//!
//! Numbers are LEB128. A kind that is not known is passed over.

use crate::charter::Addresses;
use crate::conductor::Report;
use bytes::{Buf, BufMut, Bytes};
use nori_consensus::{Change, Index, Instant, Membership, NodeId, Role, ShardId, Term};
use norikv_placement::{Weight, Zone};
use norikv_replica::codec::{put_bytes, put_number, take_bytes, take_number};
use std::collections::BTreeSet;

/// The most of anything that is listed.
const LIST_MAX: u64 = 1 << 21;

/// A message of a node to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Control {
    Epoch(u64),
    AskMap(u64),
    Map { map: Bytes, addresses: Vec<(NodeId, Addresses)> },
    Reports(Vec<Report>),
    Reform { shard: ShardId, change: Change },
    AskIndex { shard: ShardId, asked: Instant },
    Index { shard: ShardId, asked: Instant, index: Index },
    Join { node: NodeId, addresses: Addresses, zone: Zone, weight: Weight },
}

impl Control {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Self::Epoch(epoch) => {
                out.put_u8(0);
                put_number(&mut out, *epoch);
            }
            Self::AskMap(epoch) => {
                out.put_u8(1);
                put_number(&mut out, *epoch);
            }
            Self::Map { map, addresses } => {
                out.put_u8(2);
                put_bytes(&mut out, map);
                put_number(&mut out, addresses.len() as u64);
                for (node, addresses) in addresses {
                    put_number(&mut out, node.0);
                    addresses.put(&mut out);
                }
            }
            Self::Reports(reports) => {
                out.put_u8(3);
                put_number(&mut out, reports.len() as u64);
                reports.iter().for_each(|report| put_report(&mut out, report));
            }
            Self::Reform { shard, change } => {
                out.put_u8(4);
                put_number(&mut out, shard.0);
                put_number(&mut out, change.from.0);
                put_nodes(&mut out, &change.voters);
                put_nodes(&mut out, &change.learners);
            }
            Self::AskIndex { shard, asked } => {
                out.put_u8(5);
                put_number(&mut out, shard.0);
                put_number(&mut out, asked.nanos);
            }
            Self::Index { shard, asked, index } => {
                out.put_u8(6);
                for number in [shard.0, asked.nanos, index.0] {
                    put_number(&mut out, number);
                }
            }
            Self::Join { node, addresses, zone, weight } => {
                out.put_u8(7);
                put_number(&mut out, node.0);
                addresses.put(&mut out);
                put_bytes(&mut out, zone.name().as_bytes());
                put_number(&mut out, u64::from(weight.get()));
            }
        }
        out
    }

    /// The message in `body`; `None` if it is none that is known. Never panics.
    pub(crate) fn decode(body: &Bytes) -> Option<Self> {
        let mut from = body.clone();
        let control = match from.try_get_u8().ok()? {
            0 => Self::Epoch(take_number(&mut from)?),
            1 => Self::AskMap(take_number(&mut from)?),
            2 => {
                let map = take_bytes(&mut from)?;
                let one =
                    |from: &mut Bytes| Some((NodeId(take_number(from)?), Addresses::take(from)?));
                Self::Map { map, addresses: take_list(&mut from, one)? }
            }
            3 => Self::Reports(take_list(&mut from, take_report)?),
            4 => {
                let shard = ShardId(take_number(&mut from)?);
                let at = Index(take_number(&mut from)?);
                let (voters, learners) = (take_nodes(&mut from)?, take_nodes(&mut from)?);
                Self::Reform { shard, change: Change { from: at, voters, learners } }
            }
            5 => {
                let shard = ShardId(take_number(&mut from)?);
                Self::AskIndex { shard, asked: Instant { nanos: take_number(&mut from)? } }
            }
            6 => {
                let shard = ShardId(take_number(&mut from)?);
                let asked = Instant { nanos: take_number(&mut from)? };
                Self::Index { shard, asked, index: Index(take_number(&mut from)?) }
            }
            7 => {
                let node = NodeId(take_number(&mut from)?);
                let addresses = Addresses::take(&mut from)?;
                let zone = take_bytes(&mut from)?;
                let zone = Zone::new(std::str::from_utf8(&zone).ok()?).ok()?;
                let weight = u32::try_from(take_number(&mut from)?).ok()?;
                Self::Join { node, addresses, zone, weight: Weight::new(weight).ok()? }
            }
            _ => return None,
        };
        from.is_empty().then_some(control)
    }
}

fn put_nodes(into: &mut impl BufMut, nodes: &BTreeSet<NodeId>) {
    put_number(into, nodes.len() as u64);
    nodes.iter().for_each(|node| put_number(into, node.0));
}

fn take_nodes(from: &mut Bytes) -> Option<BTreeSet<NodeId>> {
    let nodes = take_list(from, |from| take_number(from).map(NodeId))?;
    Some(nodes.into_iter().collect())
}

/// A list behind its length. It grows as its items come, whatever the length says.
fn take_list<T>(from: &mut Bytes, mut one: impl FnMut(&mut Bytes) -> Option<T>) -> Option<Vec<T>> {
    let count = take_number(from).filter(|count| *count <= LIST_MAX)?;
    (0..count).map(|_| one(from)).collect()
}

fn put_report(into: &mut Vec<u8>, report: &Report) {
    put_number(into, report.shard.0);
    into.put_u8(role_number(report.role));
    for number in [report.term.0, report.commit.0, report.applied.0] {
        put_number(into, number);
    }
    into.put_u8(u8::from(report.is_doubtful));
    match &report.membership {
        None => into.put_u8(0),
        Some(membership) => {
            into.put_u8(1);
            put_number(into, membership.at.0);
            put_nodes(into, &membership.voters);
            put_nodes(into, &membership.learners);
        }
    }
}

fn take_report(from: &mut Bytes) -> Option<Report> {
    let shard = ShardId(take_number(from)?);
    let role = role_of(from.try_get_u8().ok()?)?;
    let (term, commit) = (Term(take_number(from)?), Index(take_number(from)?));
    let applied = Index(take_number(from)?);
    let is_doubtful = match from.try_get_u8().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let membership = match from.try_get_u8().ok()? {
        0 => None,
        1 => {
            let at = Index(take_number(from)?);
            let (voters, learners) = (take_nodes(from)?, take_nodes(from)?);
            Some(Membership { at, voters, outgoing: BTreeSet::new(), learners })
        }
        _ => return None,
    };
    Some(Report { shard, role, term, commit, applied, is_doubtful, membership })
}

fn role_number(role: Role) -> u8 {
    match role {
        Role::Leader => 0,
        Role::Candidate => 1,
        Role::PreCandidate => 2,
        Role::Follower => 3,
        Role::Learner => 4,
        Role::Halted => 5,
    }
}

fn role_of(number: u8) -> Option<Role> {
    Some(match number {
        0 => Role::Leader,
        1 => Role::Candidate,
        2 => Role::PreCandidate,
        3 => Role::Follower,
        4 => Role::Learner,
        5 => Role::Halted,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn nodes(of: &[u64]) -> BTreeSet<NodeId> {
        of.iter().copied().map(NodeId).collect()
    }

    fn all() -> Vec<Control> {
        let addresses = Addresses { client: "host:1".to_owned(), ..Addresses::default() };
        let report = Report {
            shard: ShardId(300),
            role: Role::Leader,
            term: Term(7),
            commit: Index(1 << 40),
            applied: Index(9),
            is_doubtful: true,
            membership: Some(Membership {
                at: Index(8),
                voters: nodes(&[1, 2]),
                outgoing: nodes(&[]),
                learners: nodes(&[900]),
            }),
        };
        let follower = Report { role: Role::Follower, membership: None, ..report.clone() };
        let (shard, asked) = (ShardId(1), Instant { nanos: 5 });
        vec![
            Control::Epoch(7),
            Control::AskMap(0),
            Control::Map {
                map: Bytes::from_static(b"map"),
                addresses: vec![(NodeId(3), addresses.clone())],
            },
            Control::Reports(vec![report, follower]),
            Control::Reform {
                shard,
                change: Change { from: Index(4), voters: nodes(&[1]), learners: nodes(&[2, 3]) },
            },
            Control::AskIndex { shard, asked },
            Control::Index { shard, asked, index: Index(77) },
            Control::Join {
                node: NodeId(9),
                addresses,
                zone: Zone::new("a").unwrap(),
                weight: Weight::new(3).unwrap(),
            },
        ]
    }

    #[test]
    fn messages_come_back_and_no_cut_of_one_is_one() {
        for control in all() {
            let whole = Bytes::from(control.encode());
            assert_eq!(Control::decode(&whole), Some(control));
            for end in 0..whole.len() {
                assert_eq!(Control::decode(&whole.slice(..end)), None);
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = Control::decode(&bytes.into());
        }
    }
}
