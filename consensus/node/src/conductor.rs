//! Where replicas are to be, and the next steps there. One node conducts at a time: the one that leads the shard with the map.
//!
//! 1. What is **decided** is the map. Whoever joins, drains or leaves changes it, and then the targets of shards follow ([`ShardMap::retarget`]).
//! 2. What is **so** the leaders of shards report: their memberships as committed.
//! 3. Where the two differ, [`norikv_placement::plan`] names the steps. A step that a shard's group has taken goes into the map; for one that it has not, its
//!    leader is asked.
//!
//! Nothing is remembered here but who was asked when, so a conductor that dies is replaced by the next leader, who sees the same and goes on.

use nori_consensus::{Change, Index, Instant, Membership, NodeId, Role, ShardId, Term};
use norikv_placement::{
    self as placement, Change as MapChange, MoveLimit, ShardMap, Step, balance_leaders, plan,
};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A report that is older than this is none.
const REPORT_AGE_MAX: Duration = Duration::from_secs(10);
/// A leader that was asked for something is asked again after this.
const PATIENCE: Duration = Duration::from_secs(2);
/// A learner that lacks no more entries than this has caught up.
const LAG_MAX: u64 = 1_000;

/// What a node says of a replica that it has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) shard: ShardId,
    pub(crate) role: Role,
    pub(crate) term: Term,
    pub(crate) commit: Index,
    pub(crate) applied: Index,
    /// It does not vote, or would not if its node were started anew.
    pub(crate) is_doubtful: bool,
    /// Of a leader: what it knows to be committed, if no change is under way.
    pub(crate) membership: Option<Membership>,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// The map is to be changed.
    Decide(MapChange),
    /// The leader of a shard is to be asked for another membership.
    Ask { leader: NodeId, shard: ShardId, change: Change },
}

/// What the conductor sees.
#[derive(Debug, Default)]
pub(crate) struct Conductor {
    reports: BTreeMap<(ShardId, NodeId), (Instant, Report)>,
    asked: BTreeMap<ShardId, Instant>,
}

impl Conductor {
    /// A node reports.
    pub(crate) fn hear(&mut self, now: Instant, from: NodeId, report: Report) {
        self.reports.insert((report.shard, from), (now, report));
    }

    /// Nothing that was heard counts any more: another conducts, or this one begins.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// What to do next. At most one change of the map, since each makes another map.
    pub(crate) fn acts(
        &mut self,
        now: Instant,
        map: &ShardMap,
        limit: MoveLimit,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Vec<Act> {
        self.reports.retain(|_, (at, _)| now.since(*at) < REPORT_AGE_MAX);
        if let Ok(Some(change)) = map.retarget() {
            return vec![Act::Decide(change)];
        }
        let mut acts = Vec::new();
        for step in plan(map, limit) {
            match self.next(now, map, &step, &is_up) {
                Some(Act::Decide(change)) => return vec![Act::Decide(change)],
                Some(ask) => acts.push(ask),
                None => {}
            }
        }
        if acts.is_empty()
            && let Some(step) = balance_leaders(map).into_iter().next()
        {
            return vec![Act::Decide(MapChange::Step(step))];
        }
        acts.extend(self.strays(now, map));
        acts.extend(self.laggards(now, map, &is_up));
        // One thing at a time of each shard.
        let mut asked = BTreeSet::new();
        acts.retain(|act| !matches!(act, Act::Ask { shard, .. } if !asked.insert(*shard)));
        asked.into_iter().for_each(|shard| {
            self.asked.insert(shard, now);
        });
        acts
    }

    /// Learners that the map knows nothing of: somebody asked for them, and the target was changed before anybody noted it.
    fn strays(&self, now: Instant, map: &ShardMap) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, placed) in map.shards() {
            let shard = ShardId(u64::from(number.0));
            let Some((leader, report)) = self.leader(shard) else { continue };
            let Some(membership) = &report.membership else { continue };
            let is_known = |node: &&NodeId| placed.concerns(placement::NodeId(node.0));
            let is_patient = |asked: &Instant| now.since(*asked) < PATIENCE;
            if let Some(stray) = membership.learners.iter().find(|node| !is_known(node))
                && !self.asked.get(&shard).is_some_and(is_patient)
            {
                acts.push(Act::Ask { leader, shard, change: membership.without(*stray) });
            }
        }
        acts
    }

    /// Groups that are not what the map takes for settled: they had taken a step when the target was changed back, before anybody noted it.
    fn laggards(&self, now: Instant, map: &ShardMap, is_up: &impl Fn(NodeId) -> bool) -> Vec<Act> {
        let mut acts = Vec::new();
        for (number, placed) in map.shards().filter(|(_, placed)| placed.is_settled()) {
            let shard = ShardId(u64::from(number.0));
            let Some((leader, report)) = self.leader(shard) else { continue };
            let Some(membership) = &report.membership else { continue };
            let voters: BTreeSet<NodeId> = placed.voters.iter().copied().map(ours).collect();
            let is_patient = |asked: &Instant| now.since(*asked) < PATIENCE;
            if membership.voters == voters || self.asked.get(&shard).is_some_and(is_patient) {
                continue;
            }
            if let Some(change) = self.toward(shard, &voters, report, membership, is_up) {
                acts.push(Act::Ask { leader, shard, change });
            }
        }
        acts
    }

    /// The next change that brings a group to these voters, if there is one at present: whom it lacks becomes a learner; once they have caught up, one joint change
    /// makes them voters, and learners of those that leave. A majority of the new voters must vote, or the end of their leader could be the group's.
    fn toward(
        &self,
        shard: ShardId,
        voters: &BTreeSet<NodeId>,
        report: &Report,
        membership: &Membership,
        is_up: &impl Fn(NodeId) -> bool,
    ) -> Option<Change> {
        let mut learners = membership.learners.clone();
        if let Some(node) = voters.iter().find(|node| !membership.has(**node)) {
            learners.insert(*node);
            return is_up(*node).then(|| membership.to(membership.voters.clone(), learners));
        }
        let has_caught_up = |node: &&NodeId| self.has_caught_up(shard, **node, report);
        let is_majority = voters.iter().filter(has_caught_up).count() > voters.len() / 2;
        if !is_majority || !voters.difference(&membership.voters).all(|node| has_caught_up(&node)) {
            return None;
        }
        learners.extend(membership.voters.difference(voters));
        learners.retain(|node| !voters.contains(node));
        Some(membership.to(voters.clone(), learners))
    }

    /// Whether a node has nearly everything that the leader of a shard has committed, and would vote: a group with voters that do not could be left without a majority by
    /// the end of its leader, for ever.
    fn has_caught_up(&self, shard: ShardId, node: NodeId, leader: &Report) -> bool {
        let report = self.reports.get(&(shard, node));
        report.is_some_and(|(_, of)| !of.is_doubtful && of.applied.0 + LAG_MAX >= leader.commit.0)
    }

    /// Who leads a shard, and what it says.
    fn leader(&self, shard: ShardId) -> Option<(NodeId, &Report)> {
        let of_shard = self.reports.range((shard, NodeId(0))..=(shard, NodeId(u64::MAX)));
        let leaders = of_shard.filter(|(_, (_, report))| report.role == Role::Leader);
        let newest = leaders.max_by_key(|(_, (_, report))| report.term);
        newest.map(|((_, node), (_, report))| (*node, report))
    }

    fn next(
        &self,
        now: Instant,
        map: &ShardMap,
        step: &Step,
        is_up: &impl Fn(NodeId) -> bool,
    ) -> Option<Act> {
        let shard = ShardId(u64::from(step.shard().0));
        let (leader, report) = self.leader(shard)?;
        let membership = report.membership.as_ref()?;
        let decide = || Some(Act::Decide(MapChange::Step(step.clone())));
        let is_patient = |asked: &Instant| now.since(*asked) < PATIENCE;
        let ask = |change: Change| {
            let may_ask = !self.asked.get(&shard).is_some_and(is_patient);
            may_ask.then_some(Act::Ask { leader, shard, change })
        };
        let target = map.shard(step.shard())?.target.iter().map(|node| ours(*node)).collect();
        match step {
            Step::AddLearner { node, .. } => {
                let node = ours(*node);
                if membership.has(node) {
                    return decide();
                }
                let mut learners = membership.learners.clone();
                learners.insert(node);
                ask(membership.to(membership.voters.clone(), learners)).filter(|_| is_up(node))
            }
            Step::Promote { .. } => {
                if membership.voters == target {
                    return decide();
                }
                // A group that let a learner of the map go, for a target that is none any more, gets it back.
                self.toward(shard, &target, report, membership, is_up).and_then(ask)
            }
            Step::Remove { node, .. } => {
                let node = ours(*node);
                if !membership.has(node) {
                    return decide();
                }
                // It had become a voter for such a target. A voter is replaced and not removed: else the group would have fewer.
                let replaced = || self.toward(shard, &target, report, membership, is_up);
                let is_voter = membership.voters.contains(&node);
                if is_voter { replaced() } else { Some(membership.without(node)) }.and_then(ask)
            }
            Step::TransferLeader { .. } => decide(),
        }
    }
}

/// Placement's number of a node is ours.
fn ours(node: placement::NodeId) -> NodeId {
    NodeId(node.0)
}

#[cfg(test)]
mod tests;
