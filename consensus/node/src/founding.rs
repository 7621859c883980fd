//! How nodes that know of no cluster come to be one, or into one.
//!
//! Every node is told the same list of **seeds**, the peer addresses of those that are to found the cluster.
//!
//! 1. A node without a charter introduces itself to all seeds, again and again.
//! 2. Who has a charter answers with it: the node adopts it, as a founder if the charter names it, else as one who joins.
//! 3. Who has none answers with its own introduction. When all seeds have, the **first** of the list draws up the charter, keeps it safe, and then introduces itself by
//!    it: whoever it names adopts it.
//!
//! Only the first seed draws up a charter, only when every seed has said that it is fresh, and a node has one charter for ever. So there are two clusters of one list only if the lists
//! differ, or if the first seed lost its disk when nobody else had its charter; and then nobody is of the lost one. A node that was given another charter than its own refuses.
//!
//! ```text
//! introduction = version u8 = 1, kind u8, rest
//! kind 0   fresh: node, cluster's name bytes, protocol bytes, addresses, zone bytes, weight, shards, replicas
//! kind 1   charter: bytes to the end
//! kind 2   refused: text bytes
//! ```

use crate::charter::{Addresses, Charter, take_text};
use crate::packet::ClusterId;
use bytes::{Buf, BufMut, Bytes};
use nori_consensus::{Instant, NodeId};
use norikv_placement::{
    self as placement, Member, MemberState, ReplicaCount, ShardCount, ShardMap, Weight, Zone,
};
use norikv_replica::codec::{put_bytes, put_number, take_number};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const VERSION: u8 = 1;
/// How often a node introduces itself.
const INTERVAL: Duration = Duration::from_millis(250);

/// A node that is to be a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its number.
    pub node: NodeId,
    /// The cluster that it wants to be of, as people call it.
    pub cluster: String,
    /// The replication protocol that it is set to.
    pub protocol: String,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it fails together with.
    pub zone: Zone,
    /// How much it can take.
    pub weight: Weight,
    /// How many shards the cluster is to have, if it is founded: the same for all.
    pub shards: ShardCount,
    /// And how many replicas each.
    pub replicas: ReplicaCount,
}

impl Candidate {
    /// That somebody's protocol is its own.
    pub(crate) fn check_protocol(&self, whose: &str, theirs: &str) -> Result<(), FoundingError> {
        if theirs == self.protocol {
            return Ok(());
        }
        let (theirs, ours) = (theirs.to_owned(), self.protocol.clone());
        Err(FoundingError::OtherProtocol { whose: whose.to_owned(), theirs, ours })
    }
}

/// What a node says to one that may know nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Introduction {
    Fresh(Candidate),
    Charter(Charter),
    Refused(String),
}

impl Introduction {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        match self {
            Self::Fresh(candidate) => {
                out.put_u8(0);
                put_number(&mut out, candidate.node.0);
                put_bytes(&mut out, candidate.cluster.as_bytes());
                put_bytes(&mut out, candidate.protocol.as_bytes());
                candidate.addresses.put(&mut out);
                put_bytes(&mut out, candidate.zone.name().as_bytes());
                put_number(&mut out, u64::from(candidate.weight.get()));
                put_number(&mut out, u64::from(candidate.shards.get()));
                put_number(&mut out, u64::from(candidate.replicas.get()));
            }
            Self::Charter(charter) => {
                out.put_u8(1);
                out.put_slice(&charter.encode());
            }
            Self::Refused(why) => {
                out.put_u8(2);
                put_bytes(&mut out, why.as_bytes());
            }
        }
        out.into()
    }

    /// The introduction in these bytes; `None` if it is none. Never panics.
    pub(crate) fn decode(bytes: &Bytes) -> Option<Self> {
        let mut from = bytes.clone();
        if from.try_get_u8().ok()? != VERSION {
            return None;
        }
        let introduction = match from.try_get_u8().ok()? {
            0 => Self::Fresh(take_candidate(&mut from)?),
            1 => Self::Charter(Charter::decode(from.split_to(from.len()))?),
            2 => Self::Refused(take_text(&mut from)?),
            _ => return None,
        };
        from.is_empty().then_some(introduction)
    }
}

fn take_candidate(from: &mut Bytes) -> Option<Candidate> {
    let node = NodeId(take_number(from)?);
    let cluster = take_text(from)?;
    let protocol = take_text(from)?;
    let addresses = Addresses::take(from)?;
    let zone = Zone::new(&take_text(from)?).ok()?;
    let weight = Weight::new(u32::try_from(take_number(from)?).ok()?).ok()?;
    let shards = ShardCount::new(u32::try_from(take_number(from)?).ok()?).ok()?;
    let replicas = ReplicaCount::new(u8::try_from(take_number(from)?).ok()?).ok()?;
    Some(Candidate { node, cluster, protocol, addresses, zone, weight, shards, replicas })
}

/// Why a node cannot be of the cluster that its seeds are of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FoundingError {
    /// They are of one of another name.
    #[error("{seed} is of the cluster {theirs:?}, and this node is to be of {ours:?}")]
    OtherName {
        /// Who says so.
        seed: String,
        /// Its cluster.
        theirs: String,
        /// The one that is wanted.
        ours: String,
    },
    /// They run another replication protocol.
    #[error(
        "{whose} runs the replication protocol {theirs:?}, and this node is set to {ours:?}: all nodes of a cluster run the same"
    )]
    OtherProtocol {
        /// Who does.
        whose: String,
        /// Which.
        theirs: String,
        /// And this one.
        ours: String,
    },
    /// Two seeds are to found clusters of different shape.
    #[error(
        "{seed} is set to {theirs} shards of {their_replicas} replicas, this node to {ours} of {our_replicas}: all have to be set alike"
    )]
    OtherShape {
        /// Who is.
        seed: String,
        /// To how many shards.
        theirs: u32,
        /// Of so many replicas.
        their_replicas: u8,
        /// And this one.
        ours: u32,
        /// Of so many.
        our_replicas: u8,
    },
    /// It will not have this node.
    #[error("{seed} refuses this node: {why}")]
    Refused {
        /// Who.
        seed: String,
        /// As it says it.
        why: String,
    },
    /// There cannot be such a map.
    #[error(transparent)]
    Placement(#[from] placement::PlacementError),
}

/// What follows from what was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Wait,
    /// This node founds the cluster: the charter is to be made safe, and then all be told of it.
    Found(Charter),
    /// There is a cluster.
    Adopt(Charter),
}

/// A node without a charter.
#[derive(Debug)]
pub(crate) struct Founding {
    me: Candidate,
    /// The others, by their peer addresses.
    seeds: Vec<String>,
    /// Whether this node is the first of the list.
    is_first: bool,
    /// Those that said that they are fresh.
    fresh: BTreeMap<String, Candidate>,
    next: Instant,
}

impl Founding {
    pub(crate) fn new(now: Instant, me: Candidate, seeds: &[String]) -> Self {
        let is_me = |seed: &String| *seed == me.addresses.peer;
        let is_first = seeds.first().is_none_or(is_me);
        // One that is listed twice is one.
        let seeds: BTreeSet<String> = seeds.iter().filter(|seed| !is_me(seed)).cloned().collect();
        Self { me, seeds: seeds.into_iter().collect(), is_first, fresh: BTreeMap::new(), next: now }
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// Whom to introduce this node to now, if it is time.
    pub(crate) fn introductions(&mut self, now: Instant) -> Vec<(String, Bytes)> {
        if now < self.next {
            return Vec::new();
        }
        self.next = now.after(INTERVAL);
        let words = Introduction::Fresh(self.me.clone()).encode();
        self.seeds.iter().map(|seed| (seed.clone(), words.clone())).collect()
    }

    /// What this node says to one that introduces itself as fresh.
    pub(crate) fn answer(&self) -> Introduction {
        Introduction::Fresh(self.me.clone())
    }

    /// Somebody came with a charter.
    pub(crate) fn offered(&self, by: &str, charter: Charter) -> Result<Verdict, FoundingError> {
        if charter.name != self.me.cluster {
            return Err(FoundingError::OtherName {
                seed: by.to_owned(),
                theirs: charter.name,
                ours: self.me.cluster.clone(),
            });
        }
        self.me.check_protocol(by, &charter.protocol)?;
        Ok(Verdict::Adopt(charter))
    }

    /// A seed has answered an introduction. `lot` is where a new cluster's number comes from.
    pub(crate) fn heard(
        &mut self,
        seed: &str,
        answer: Introduction,
        lot: u64,
    ) -> Result<Verdict, FoundingError> {
        match answer {
            Introduction::Charter(charter) => self.offered(seed, charter),
            Introduction::Refused(why) => {
                Err(FoundingError::Refused { seed: seed.to_owned(), why })
            }
            Introduction::Fresh(candidate) => {
                self.check(seed, &candidate)?;
                if self.seeds.iter().any(|known| known == seed) {
                    self.fresh.insert(seed.to_owned(), candidate);
                }
                self.judge(lot)
            }
        }
    }

    /// Whether the cluster can be founded.
    pub(crate) fn judge(&self, lot: u64) -> Result<Verdict, FoundingError> {
        if !self.is_first || self.fresh.len() < self.seeds.len() {
            return Ok(Verdict::Wait);
        }
        let founders: BTreeMap<NodeId, &Candidate> =
            self.fresh.values().chain([&self.me]).map(|one| (one.node, one)).collect();
        let members = founders.iter().map(|(node, one)| {
            let (zone, weight) = (one.zone.clone(), one.weight);
            (placement::NodeId(node.0), Member { zone, weight, state: MemberState::Active })
        });
        // One more: the shard with the map itself.
        let shards = ShardCount::new(self.me.shards.get() + 1)?;
        let map = ShardMap::bootstrap(shards, self.me.replicas, members.collect())?;
        let founders =
            founders.into_iter().map(|(node, one)| (node, one.addresses.clone())).collect();
        let (name, protocol) = (self.me.cluster.clone(), self.me.protocol.clone());
        let cluster = ClusterId(lot.max(1));
        Ok(Verdict::Found(Charter { cluster, name, protocol, founders, map }))
    }

    fn check(&self, seed: &str, other: &Candidate) -> Result<(), FoundingError> {
        let (me, seed) = (&self.me, seed.to_owned());
        if other.cluster != me.cluster {
            let (theirs, ours) = (other.cluster.clone(), me.cluster.clone());
            return Err(FoundingError::OtherName { seed, theirs, ours });
        }
        me.check_protocol(&seed, &other.protocol)?;
        if (other.shards, other.replicas) != (me.shards, me.replicas) {
            return Err(FoundingError::OtherShape {
                seed,
                theirs: other.shards.get(),
                their_replicas: other.replicas.get(),
                ours: me.shards.get(),
                our_replicas: me.replicas.get(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(node: u64) -> Candidate {
        Candidate {
            node: NodeId(node),
            cluster: "test".to_owned(),
            protocol: "nori".to_owned(),
            addresses: Addresses { peer: format!("host-{node}:1"), ..Addresses::default() },
            zone: Zone::new("a").unwrap(),
            weight: Weight::new(1).unwrap(),
            shards: ShardCount::new(8).unwrap(),
            replicas: ReplicaCount::new(3).unwrap(),
        }
    }

    fn founding(node: u64, seeds: u64) -> Founding {
        let seeds: Vec<String> = (1..=seeds).map(|n| format!("host-{n}:1")).collect();
        Founding::new(Instant::default(), candidate(node), &seeds)
    }

    #[test]
    fn who_has_no_seeds_founds_alone() {
        let Verdict::Found(charter) = founding(1, 0).judge(5).unwrap() else { panic!() };
        assert_eq!((charter.cluster, charter.founders.len()), (ClusterId(5), 1));
        assert_eq!(charter.map.shard_count().get(), 9);
    }

    #[test]
    fn the_first_founds_when_all_are_fresh_and_the_others_adopt() {
        let mut first = founding(1, 3);
        assert_eq!(first.introductions(Instant::default()).len(), 2);
        assert!(first.introductions(Instant::default()).is_empty());
        let fresh = |node| Introduction::Fresh(candidate(node));
        assert_eq!(first.heard("host-2:1", fresh(2), 7), Ok(Verdict::Wait));
        assert_eq!(first.heard("host-2:1", fresh(2), 7), Ok(Verdict::Wait));
        let Ok(Verdict::Found(charter)) = first.heard("host-3:1", fresh(3), 7) else { panic!() };
        let mut second = founding(2, 3);
        for node in [1, 3] {
            let verdict = second.heard(&format!("host-{node}:1"), fresh(node), 8);
            assert_eq!(verdict, Ok(Verdict::Wait));
        }
        let offered = Introduction::decode(&Introduction::Charter(charter.clone()).encode());
        let verdict = second.heard("host-1:1", offered.unwrap(), 8);
        assert_eq!(verdict, Ok(Verdict::Adopt(charter)));
    }

    #[test]
    fn other_clusters_and_other_shapes_are_refused() {
        let mut first = founding(1, 2);
        let other = Candidate { cluster: "other".to_owned(), ..candidate(2) };
        let error = first.heard("host-2:1", Introduction::Fresh(other), 7).unwrap_err();
        let text = r#"host-2:1 is of the cluster "other", and this node is to be of "test""#;
        assert_eq!(error.to_string(), text);
        let other = Candidate { protocol: "raft-rs".to_owned(), ..candidate(2) };
        let error = first.heard("host-2:1", Introduction::Fresh(other), 7).unwrap_err();
        assert!(matches!(error, FoundingError::OtherProtocol { .. }), "{error}");
        let Verdict::Found(charter) = founding(3, 0).judge(5).unwrap() else { panic!() };
        let charter = Charter { protocol: "openraft".to_owned(), ..charter };
        assert!(matches!(first.offered("x", charter), Err(FoundingError::OtherProtocol { .. })));
        let other = Candidate { shards: ShardCount::new(9).unwrap(), ..candidate(2) };
        let error = first.heard("host-2:1", Introduction::Fresh(other), 7).unwrap_err();
        assert!(matches!(error, FoundingError::OtherShape { theirs: 9, ours: 8, .. }));
        let refused = Introduction::Refused("go away".to_owned());
        assert!(first.heard("host-2:1", refused, 7).is_err());
    }

    #[test]
    fn no_cut_of_an_introduction_is_one() {
        let charter = match founding(1, 0).judge(5) {
            Ok(Verdict::Found(charter)) => charter,
            other => panic!("{other:?}"),
        };
        let all = [
            Introduction::Fresh(candidate(3)),
            Introduction::Charter(charter),
            Introduction::Refused("no".to_owned()),
        ];
        for introduction in all {
            let whole = introduction.encode();
            assert_eq!(Introduction::decode(&whole), Some(introduction));
            for end in 0..whole.len() {
                assert_eq!(Introduction::decode(&whole.slice(..end)), None);
            }
        }
    }
}
