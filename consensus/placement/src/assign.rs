//! Where replicas ought to be, from members and from where they are.
//!
//! What holds of every answer:
//!
//! * **Number**: each shard has the wanted number of voters, or as many as there are active members.
//! * **Zones**: the replicas of a shard are spread over zones as evenly as the zones' sizes allow. In particular no two
//!   are in one zone if there are as many zones as replicas.
//! * **Balance**: the replicas on a node differ from its share by less than one. The share is that of its weight in its zone,
//!   and the zone's that of its weight among zones; where the rule of zones (or that a node holds a shard once) keeps
//!   one from its share, the others have the rest in proportion.
//! * **Movement**: a replica that no rule forbids moves only to bring a node to its share. Let `g` be the replicas that nodes
//!   gain in number, which no assignment with these counts can do without. When a node joins equal ones in one zone, exactly `g` move, and all
//!   of them to it: its share. When one leaves, what it held moves, and at times another replica to make room for one that
//!   its shard could not place elsewhere; with zones too. What the tests hold it to: at most `2 g` moves, or, where zones or the number of replicas
//!   change, two for each replica of a shard that could not stay as it was.
//! * **Determinism**: ties are decided by the smaller number.
//!
//! The steps:
//!
//! 1. Bounds: the smallest level `t` at which the zones can hold a shard's replicas, each no more than `t`; so each zone
//!    with `n` members holds from `min(n, t - 1)` to `min(n, t)` of them.
//! 2. Quotas: whole numbers of replicas for zones, then for the members of each ([`crate::apportion`]). Such quotas can always be met: write
//!    the members zone by zone in a row, each as often as its quota says, and deal the row to the shards in turn.
//! 3. Each shard loses replicas on members that may not hold them or that its zones have too many of, then gets what it lacks, from the
//!    members furthest below their quota.
//! 4. Quotas again: of members of equal right, those that were just given one more may keep it.
//! 5. While a member is over its quota: the shortest chain of replacements (shard, from, to) from such a member to one that is
//!    below. The shards' sets of replicas are the bases of matroids, so a chain exists as long as any quota is missed, and a
//!    shortest one leaves every set it touches, taken together, legal (the exchange argument of matroid union;
//!    Schrijver, "Combinatorial Optimization", chapter 42).
//!
//! A chain is found by looking through the replicas of the members it passes, so the whole costs up to
//! (replicas that move) x (replicas of a member) x (members); it is made for thousands of shards, on a change of members.

use crate::apportion::{Part, Ratio, round, shares};
use crate::{Member, MemberState, NodeId, PlacementError, ReplicaCount};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The voters of each shard, by the shard's number, each in ascending order.
pub type Assignment = Vec<Vec<NodeId>>;

/// The voters that the shards ought to have, when they have (or were to have) `present`; for new shards those
/// are empty. [`PlacementError::NoActiveMember`] if nobody can hold a replica.
pub fn assign(
    members: &BTreeMap<NodeId, Member>,
    replicas: ReplicaCount,
    present: &[Vec<NodeId>],
) -> Result<Assignment, PlacementError> {
    let mut seats = Seats::new(members, replicas, present)?;
    seats.set_quotas();
    for shard in 0..seats.shards.len() {
        seats.drop_surplus(shard);
    }
    for shard in 0..seats.shards.len() {
        seats.fill(shard);
    }
    seats.set_quotas();
    while let Some(chain) = seats.shortest_chain() {
        for (shard, from, to) in chain {
            seats.take(shard, from);
            seats.give(shard, to);
        }
    }
    Ok(seats.into_assignment())
}

/// An active member. Everything here counts members by their place in the order of their numbers.
struct Seat {
    id: NodeId,
    weight: u64,
    zone: usize,
    quota: u64,
    /// The shards it holds.
    held: BTreeSet<usize>,
}

impl Seat {
    /// Replicas above the quota.
    fn surplus(&self) -> i64 {
        self.held.len() as i64 - self.quota as i64
    }
}

struct Zone {
    seats: Vec<usize>,
    /// What one shard has here. min <= max <= seats.len()
    min: usize,
    max: usize,
}

struct Seats {
    seats: Vec<Seat>,
    zones: Vec<Zone>,
    shards: Vec<Vec<usize>>,
    /// replicas <= seats.len()
    replicas: usize,
}

impl Seats {
    fn new(
        members: &BTreeMap<NodeId, Member>,
        replicas: ReplicaCount,
        present: &[Vec<NodeId>],
    ) -> Result<Self, PlacementError> {
        let active: Vec<(NodeId, &Member)> = members
            .iter()
            .filter(|(_, member)| member.state == MemberState::Active)
            .map(|(id, member)| (*id, member))
            .collect();
        if active.is_empty() {
            return Err(PlacementError::NoActiveMember);
        }
        let names: BTreeSet<_> = active.iter().map(|(_, member)| &member.zone).collect();
        let places: BTreeMap<_, _> = names.into_iter().zip(0..).collect();
        let mut zones: Vec<Zone> =
            places.iter().map(|_| Zone { seats: Vec::new(), min: 0, max: 0 }).collect();
        let mut seats = Vec::with_capacity(active.len());
        for (at, (id, member)) in active.into_iter().enumerate() {
            let zone = places[&member.zone];
            zones[zone].seats.push(at);
            let weight = u64::from(member.weight.get());
            seats.push(Seat { id, weight, zone, quota: 0, held: BTreeSet::new() });
        }
        let replicas = usize::from(replicas.get()).min(seats.len());
        let room =
            |level: usize| zones.iter().map(|zone| zone.seats.len().min(level)).sum::<usize>();
        let level = (1..).find(|&level| room(level) >= replicas).expect("replicas <= seats");
        for zone in &mut zones {
            zone.min = zone.seats.len().min(level - 1);
            zone.max = zone.seats.len().min(level);
        }
        let mut all = Self { seats, zones, shards: vec![Vec::new(); present.len()], replicas };
        for (shard, voters) in present.iter().enumerate() {
            for voter in voters {
                if let Ok(seat) = all.seats.binary_search_by_key(voter, |seat| seat.id)
                    && !all.shards[shard].contains(&seat)
                {
                    all.give(shard, seat);
                }
            }
        }
        Ok(all)
    }

    fn set_quotas(&mut self) {
        let shards = self.shards.len() as u64;
        let held = |seat: &usize| self.seats[*seat].held.len() as u64;
        let zone_parts: Vec<Part> = self
            .zones
            .iter()
            .map(|zone| Part {
                weight: zone.seats.iter().map(|&seat| self.seats[seat].weight).sum(),
                min: zone.min as u64 * shards,
                max: zone.max as u64 * shards,
                held: zone.seats.iter().map(held).sum(),
            })
            .collect();
        let total = shards * self.replicas as u64;
        let zone_shares = shares(Ratio::whole(total), &zone_parts);
        let zone_quotas = round(&zone_shares, &zone_parts, total);
        for (zone, (share, quota)) in
            self.zones.iter().zip(zone_shares.into_iter().zip(zone_quotas))
        {
            let parts: Vec<Part> = zone
                .seats
                .iter()
                .map(|seat| Part {
                    weight: self.seats[*seat].weight,
                    min: 0,
                    max: shards,
                    held: self.seats[*seat].held.len() as u64,
                })
                .collect();
            // The share, not the quota, is divided: so a member is off its own share by less than one, not two.
            let quotas = round(&shares(share, &parts), &parts, quota);
            for (&seat, quota) in zone.seats.iter().zip(quotas) {
                self.seats[seat].quota = quota;
            }
        }
    }

    /// How many replicas of the shard lie in the zone.
    fn in_zone(&self, shard: usize, zone: usize) -> usize {
        self.shards[shard].iter().filter(|&&seat| self.seats[seat].zone == zone).count()
    }

    fn give(&mut self, shard: usize, seat: usize) {
        self.shards[shard].push(seat);
        self.seats[seat].held.insert(shard);
    }

    fn take(&mut self, shard: usize, seat: usize) {
        self.shards[shard].retain(|&other| other != seat);
        self.seats[seat].held.remove(&shard);
    }

    /// Takes replicas that the zones, or their number, forbid; those of the fullest members first.
    fn drop_surplus(&mut self, shard: usize) {
        loop {
            let counts: Vec<usize> =
                (0..self.zones.len()).map(|zone| self.in_zone(shard, zone)).collect();
            let wanting: usize =
                self.zones.iter().zip(&counts).map(|(zone, &n)| zone.min.saturating_sub(n)).sum();
            let has_many = self.shards[shard].len() + wanting > self.replicas;
            let may_go = |seat: &&usize| {
                let zone = self.seats[**seat].zone;
                let bounds = &self.zones[zone];
                counts[zone] > bounds.max || (has_many && counts[zone] > bounds.min)
            };
            let fullest = self.shards[shard]
                .iter()
                .filter(may_go)
                .max_by_key(|&&seat| (self.seats[seat].surplus(), Reverse(seat)));
            match fullest.copied() {
                Some(seat) => self.take(shard, seat),
                None => return,
            }
        }
    }

    /// Gives the shard what it lacks: zones below their minimum first, then the members furthest below their quota.
    fn fill(&mut self, shard: usize) {
        while self.shards[shard].len() < self.replicas {
            let counts: Vec<usize> =
                (0..self.zones.len()).map(|zone| self.in_zone(shard, zone)).collect();
            let best = (0..self.seats.len())
                .filter(|seat| !self.shards[shard].contains(seat))
                .filter(|&seat| {
                    counts[self.seats[seat].zone] < self.zones[self.seats[seat].zone].max
                })
                .min_by_key(|&seat| {
                    let zone = self.seats[seat].zone;
                    (counts[zone] >= self.zones[zone].min, self.seats[seat].surplus(), seat)
                });
            match best {
                Some(seat) => self.give(shard, seat),
                // The bounds of zones add up to at least the replicas, so there is a seat.
                None => return,
            }
        }
    }

    /// The shortest chain of replacements from a member over its quota to one below; `None` if all are met.
    fn shortest_chain(&self) -> Option<Vec<(usize, usize, usize)>> {
        // For each member reached: the shard and the member that the chain came by.
        let mut came_by: Vec<Option<(usize, usize)>> = vec![None; self.seats.len()];
        let over = (0..self.seats.len()).filter(|&seat| self.seats[seat].surplus() > 0);
        let mut queue: VecDeque<usize> = over.collect();
        while let Some(from) = queue.pop_front() {
            for &shard in &self.seats[from].held {
                for to in 0..self.seats.len() {
                    let is_new = came_by[to].is_none() && self.seats[to].surplus() <= 0;
                    if !is_new || !self.may_replace(shard, from, to) {
                        continue;
                    }
                    came_by[to] = Some((shard, from));
                    if self.seats[to].surplus() < 0 {
                        return Some(chain_to(to, &came_by));
                    }
                    queue.push_back(to);
                }
            }
        }
        None
    }

    fn may_replace(&self, shard: usize, from: usize, to: usize) -> bool {
        if self.shards[shard].contains(&to) {
            return false;
        }
        let (out_of, into) = (self.seats[from].zone, self.seats[to].zone);
        out_of == into
            || (self.in_zone(shard, into) < self.zones[into].max
                && self.in_zone(shard, out_of) > self.zones[out_of].min)
    }

    fn into_assignment(self) -> Assignment {
        let voters = |shard: Vec<usize>| {
            let mut voters: Vec<NodeId> =
                shard.into_iter().map(|seat| self.seats[seat].id).collect();
            voters.sort_unstable();
            voters
        };
        self.shards.into_iter().map(voters).collect()
    }
}

/// The replacements that lead to a member, the last one first: each makes room for the one before.
fn chain_to(mut to: usize, came_by: &[Option<(usize, usize)>]) -> Vec<(usize, usize, usize)> {
    let mut chain = Vec::new();
    while let Some((shard, from)) = came_by[to] {
        chain.push((shard, from, to));
        to = from;
    }
    chain
}
