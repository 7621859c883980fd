//! Everything is healed: nothing may be missing, and all replicas are alike.
//!
//! 1. The network is whole, disks work, every machine that is not gone runs; clients end what they have begun.
//! 2. Within two minutes the operator is done, every shard is where the map wants it, and serves.
//! 3. Every key is read once more. That is part of the history, so a write that was lost breaks a law.
//! 4. All replicas of a shard come to the same entry, and have the same rows; and what they remember is the same, as one that is started
//!    anew reads it.

use super::{Happening, SECOND, World};
use nori_consensus::{LogId, Membership, Role, ShardId};
use nori_env::FaultPlan;
use norikv_replica::{Answer, Freshness, Reply, Request, RequestId, State, Target, View};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

/// What is to be well again by then.
const PATIENCE: u64 = 120 * SECOND;
/// Between two looks.
const LOOK: u64 = SECOND / 4;

/// What a replica has: each key's version and value.
type Rows = BTreeMap<Vec<u8>, (u64, Vec<u8>)>;

/// What a replica keeps for itself, by name.
type Remembered = BTreeMap<Vec<u8>, Vec<u8>>;

impl World {
    pub(super) fn calm(&mut self) {
        self.tell(|| "the calm begins".to_owned());
        self.net.heal();
        self.operator.end_faults();
        for m in 0..self.machines.len() {
            self.machines[m].paused_until = self.time;
            self.machines[m].slow_until = 0;
            if let Some(running) = &self.machines[m].running {
                running.fs.set_plan(FaultPlan::default());
            } else if !self.machines[m].is_gone {
                self.plan_in(1, Happening::Start(m));
            }
        }
        let until = self.time + PATIENCE;
        if !self.wait(until, "the cluster is not well again", Self::is_well) {
            return;
        }
        let done = |world: &Self| world.clients.iter().all(|client| client.is_done);
        if !self.wait(until, "clients do not come to an end", done) {
            return;
        }
        self.read_all();
        if self.violation.is_none()
            && self.wait(until, "replicas do not come to the same entry", Self::is_even)
        {
            self.compare();
        }
        if self.violation.is_none()
            && let Err(what) = self.history.check()
        {
            self.break_law(what);
        }
    }

    /// Waits until something holds; a law is broken if it does not in time.
    fn wait(&mut self, until: u64, what: &str, holds: impl Fn(&Self) -> bool) -> bool {
        while self.violation.is_none() && !holds(self) {
            if self.time >= until {
                let state = self.describe();
                self.break_law(format!("{what}: {state}"));
                return false;
            }
            let next = self.time + LOOK;
            self.run_until(next);
        }
        self.violation.is_none()
    }

    fn is_well(&self) -> bool {
        let Some((_, map)) = self.conductor() else { return false };
        let is_placed = map.shards().all(|(_, shard)| shard.is_settled());
        let runs = |m: usize| self.machines[m].running.is_some() || self.machines[m].is_gone;
        let all_run = (0..self.machines.len()).all(runs);
        let is_led =
            (0..=self.climate.shards).all(|shard| self.leader(ShardId(u64::from(shard))).is_some());
        is_placed && all_run && is_led && self.operator.is_idle()
    }

    /// The machine that leads a shard in the newest term that anybody leads it in.
    fn leader(&self, shard: ShardId) -> Option<usize> {
        let status = |m: &usize| {
            let running = self.machines[*m].running.as_ref()?;
            let mut shards = running.node.member()?.replicas().shards();
            let (_, status) = shards.find(|(of, _)| *of == shard)?;
            (status.role == Role::Leader).then_some((status.term, *m))
        };
        let leaders = (0..self.machines.len()).filter_map(|m| status(&m));
        leaders.max().map(|(_, m)| m)
    }

    fn describe(&self) -> String {
        let mut text = String::new();
        for (m, machine) in self.machines.iter().enumerate() {
            let member = machine.running.as_ref().and_then(|running| running.node.member());
            let Some(member) = member else {
                text += &format!(
                    "m{m}: gone {}, runs {}; ",
                    machine.is_gone,
                    machine.running.is_some()
                );
                continue;
            };
            text += &format!(
                "m{m} {:?} epoch {} conducts {}:",
                machine.id,
                member.map().epoch().0,
                member.conducts()
            );
            for (shard, status) in member.replicas().shards() {
                text += &format!(
                    " [{} {:?} d{} t{} c{} a{:?} l{} v{:?} o{:?} n{:?}]",
                    shard.0,
                    status.role,
                    u8::from(status.is_doubtful),
                    status.term.0,
                    status.commit.0,
                    member.replicas().applied(shard).map(|at| at.index.0),
                    status.last.index.0,
                    status.membership.voters,
                    status.membership.outgoing,
                    status.membership.learners
                );
            }
            text += "; ";
        }
        if let Some((_, map)) = self.conductor() {
            for (shard, of) in map.shards() {
                text += &format!(
                    "map {}: v{:?} l{:?} t{:?}; ",
                    shard.0, of.voters, of.learners, of.target
                );
            }
        }
        text + &format!("{:?}", self.operator)
    }

    /// Asks a node something, and lets time pass until it has answered.
    fn ask(
        &mut self,
        m: usize,
        shard: ShardId,
        freshness: Freshness,
        target: Target,
    ) -> Option<Answer> {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        let now = self.machines[m].now(self.time);
        let running = self.machines[m].running.as_mut()?;
        if !running.node.request(now, shard, id, Request::Read { freshness, target }) {
            return None;
        }
        self.kept.insert(id, None);
        self.touch(m);
        let until = self.time + 5 * SECOND;
        while self.violation.is_none() && self.time < until {
            if let Some(Some(answer)) = self.kept.insert(id, None) {
                self.kept.remove(&id);
                return Some(answer);
            }
            let next = self.time + SECOND / 500;
            self.run_until(next);
        }
        self.kept.remove(&id);
        None
    }

    /// Keeps the answer to a question of the calm; whether it was one.
    pub(super) fn keep(&mut self, answer: Answer) -> Option<Answer> {
        match self.kept.get_mut(&answer.request) {
            Some(kept) => {
                *kept = Some(answer);
                None
            }
            None => Some(answer),
        }
    }

    fn read_all(&mut self) {
        for key in Self::all_keys() {
            let shard = self.shard_of(&key);
            self.number += 1;
            let call = self.number;
            let until = self.time + PATIENCE;
            loop {
                if self.violation.is_some() {
                    return;
                }
                if self.time >= until {
                    let state = self.describe();
                    return self.break_law(format!("{key} of {shard} cannot be read: {state}"));
                }
                let Some(m) = self.leader(shard) else {
                    let next = self.time + LOOK;
                    self.run_until(next);
                    continue;
                };
                let target = Target::Row(key.clone().into());
                let row =
                    match self.ask(m, shard, Freshness::Linearizable, target).map(|of| of.reply) {
                        Some(Reply::Row(row)) => row,
                        Some(Reply::View(view)) => match view.row(key.as_bytes()) {
                            Ok(row) => row,
                            Err(error) => {
                                return self.break_law(format!("{key} cannot be read: {error}"));
                            }
                        },
                        _ => {
                            let next = self.time + LOOK;
                            self.run_until(next);
                            continue;
                        }
                    };
                let value = row.and_then(|row| super::machine::id_of(&row.bytes));
                self.final_read(&key, call, value);
                break;
            }
        }
    }

    /// Whether all replicas of each shard have applied the same.
    fn is_even(&self) -> bool {
        (0..=u64::from(self.climate.shards)).map(ShardId).all(|shard| {
            let applied = |m: usize| {
                let member = self.machines[m].running.as_ref()?.node.member()?;
                member.replicas().applied(shard)
            };
            let all: Vec<_> = self.holders(shard).into_iter().map(applied).collect();
            all.windows(2).all(|pair| pair[0] == pair[1] && pair[0].is_some())
        })
    }

    /// A replica's rows, and the last entry that is in them.
    fn rows(&mut self, m: usize, shard: ShardId) -> Option<(LogId, Rows)> {
        let freshness = Freshness::Stale { age_max: None, version_min: 0 };
        let Reply::View(view) = self.ask(m, shard, freshness, Target::View)?.reply else {
            return None;
        };
        let view: View = view;
        let mut rows = BTreeMap::new();
        let mut take = |key: &[u8], version: u64, value: &[u8]| {
            rows.insert(key.to_vec(), (version, value.to_vec()));
            ControlFlow::Continue(())
        };
        view.scan(b"", None, &mut take).ok()?;
        Some((view.at(), rows))
    }

    /// What a replica keeps for itself, as one that is started anew reads it once everything is flushed, and who its members are.
    fn own(&self, m: usize, shard: ShardId) -> Option<(Remembered, Arc<Membership>)> {
        let replicas = self.machines[m].running.as_ref()?.node.member()?.replicas();
        let engine = replicas.engine(shard)?;
        engine.maintain()?.flush().ok()?;
        let state = State::open(engine).ok()?;
        let (_, status) = replicas.shards().find(|(of, _)| *of == shard)?;
        Some((state.remembered(), status.membership))
    }

    /// All replicas remember the same, and have the same members.
    fn compare_own(&mut self) {
        for shard in (0..=self.climate.shards).map(|shard| ShardId(u64::from(shard))) {
            let all: Vec<_> =
                self.holders(shard).into_iter().map(|m| (m, self.own(m, shard))).collect();
            let Some((first, of)) = all.first() else { continue };
            for (m, other) in &all {
                let what = match (of, other) {
                    (Some(of), Some(other)) if of.0 != other.0 => "what they remember",
                    (Some(of), Some(other)) if of.1 != other.1 => "their members",
                    (Some(_), Some(_)) => continue,
                    _ => "what can be read",
                };
                return self
                    .break_law(format!("machines {first} and {m} differ in {what} of {shard}"));
            }
        }
    }

    fn compare(&mut self) {
        self.compare_own();
        for shard in (0..self.climate.shards).map(|shard| ShardId(u64::from(shard))) {
            let until = self.time + PATIENCE;
            while self.violation.is_none() && !self.compare_shard(shard) {
                if self.time >= until {
                    return self.break_law(format!("replicas of {shard} are never of one entry"));
                }
                let next = self.time + LOOK;
                self.run_until(next);
            }
        }
    }

    /// Compares the rows of all replicas, if they are as of the same entry: what expires goes on in the calm.
    fn compare_shard(&mut self, shard: ShardId) -> bool {
        let mut all: Vec<(usize, LogId, Rows)> = Vec::new();
        for m in self.holders(shard) {
            let Some((at, rows)) = self.rows(m, shard) else {
                self.break_law(format!("the rows of {shard} on machine {m} cannot be read"));
                return true;
            };
            all.push((m, at, rows));
        }
        for pair in all.windows(2) {
            if pair[0].1 != pair[1].1 {
                return false;
            }
            if pair[0].2 != pair[1].2 {
                let (a, b) = (pair[0].0, pair[1].0);
                self.break_law(format!("machines {a} and {b} differ in {shard}"));
            }
        }
        true
    }
}
