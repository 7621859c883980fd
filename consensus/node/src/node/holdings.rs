//! Which replicas a member has, by the map: opened, closed, and opened again after they failed.
//!
//! Before anything is done by a map it is kept, so that the next start does not undo it; before a replica goes, its file says that it does.

use super::member::{MAP, Member, NEVER, REOPEN, REOPEN_MAX};
use super::{Event, Output, map_shard};
use crate::charter::{self, CharterError};
use crate::control::Control;
use crate::shards::{Before, Chore};
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Instant, ShardId};
use norikv_placement::{self as placement, Epoch, ShardMap};
use norikv_replica::Now;
use std::collections::BTreeSet;
use std::time::Duration;

impl Member {
    /// Opens replicas that this node ought to have, and closes those it ought not to. Nothing is done by a map that the next start would not know.
    pub(super) fn follow_map(&mut self) {
        if self.kept != self.map.epoch() {
            return self.keep_map();
        }
        let me = placement::NodeId(self.me.0);
        let mut wanted = BTreeSet::new();
        for (shard, placed) in self.map.shards() {
            let is_early = mutant::is(Mutant::RemovedEarly) && !placed.target.contains(&me);
            if placed.concerns(me) && !is_early {
                wanted.insert(ShardId(u64::from(shard.0)));
            }
        }
        for shard in wanted.clone() {
            if !self.foundings.contains_key(&shard) && !self.closing.contains(&shard) {
                self.join_shard(shard);
            }
        }
        let had: Vec<ShardId> = self.foundings.keys().copied().collect();
        for shard in had.into_iter().filter(|shard| !wanted.contains(shard)) {
            self.leave_shard(shard);
        }
    }

    /// Has the map kept before anything is done by it: the next start begins with it, not with the charter's.
    fn keep_map(&mut self) {
        if self.keeping.is_some() {
            return;
        }
        let joins =
            !self.has_joined && self.map.members().contains_key(&placement::NodeId(self.me.0));
        let addresses = self.addresses.iter().map(|(node, at)| (*node, at.clone())).collect();
        let control = Control::Map { map: self.map.encode().into(), addresses }.encode();
        let (parts, roster) = (self.parts.clone(), self.roster.clone());
        let (dir, epoch) = (self.settings.dir.clone(), self.map.epoch().0);
        self.keeping = Some(joins);
        let work = move || {
            let files = Self::files(&parts);
            if joins {
                roster.set_joined(files)?;
            }
            if mutant::is(Mutant::MapUnkept) {
                return Ok(());
            }
            charter::write(files, &dir, MAP, &control)
        };
        let work = move || work().map_err(|error: CharterError| error.to_string());
        self.shards.do_elsewhere(Chore::MapKept(epoch), Box::new(work));
    }

    pub(super) fn chore_done(&mut self, now: Now, chore: Chore, result: Result<(), String>) {
        match (chore, result) {
            (Chore::MapKept(epoch), Ok(())) => {
                self.has_joined |= self.keeping.take().unwrap_or(false);
                self.kept = Epoch(epoch);
                self.chores_at = now.steady;
            }
            (Chore::MapKept(_), Err(why)) => {
                self.keeping = None;
                let shard = map_shard(&self.map);
                self.outputs.push(Output::Event(Event::Failed { shard, why }));
            }
            // If the file could not be removed, the next start finds that there is nothing to remove, and tries again.
            (Chore::ShardForgotten(shard), _) => {
                self.foundings.remove(&shard);
                self.closing.remove(&shard);
                self.leaders.remove(&shard);
                self.doubtful.remove(&shard);
                self.outputs.push(Output::Event(Event::ReplicaGone { shard }));
            }
            (Chore::DoubtEnded(shard), result) => {
                self.settling.remove(&shard);
                if result.is_ok() {
                    self.doubtful.remove(&shard);
                }
            }
        }
    }

    /// The map and the addresses that this node kept last.
    pub(super) fn take_up_map(&mut self) -> Result<(), CharterError> {
        let parts = self.parts.clone();
        let path = self.settings.dir.join(MAP);
        let Some(kept) = charter::read(Self::files(&parts), &path)? else { return Ok(()) };
        let Some(Control::Map { map, addresses }) = Control::decode(&kept) else {
            return Err(CharterError::Damaged(path));
        };
        self.map = ShardMap::decode(&map).map_err(|_| CharterError::Damaged(path))?;
        self.addresses.extend(addresses);
        self.kept = self.map.epoch();
        Ok(())
    }

    fn join_shard(&mut self, shard: ShardId) {
        self.foundings.insert(shard, Bytes::new());
        let (parts, roster) = (self.parts.clone(), self.roster.clone());
        let before = move || {
            roster.add(Self::files(&parts), shard, &[], true).map_err(|error| error.to_string())
        };
        // It may have been here before, and promised something: its log went with it.
        self.doubtful.insert(shard);
        self.open_elsewhere(shard, Box::new(before));
    }

    fn open_elsewhere(&mut self, shard: ShardId, before: Before) {
        if self.opening.insert(shard) {
            let opening = self.opening_of(shard);
            self.shards.open_shard_elsewhere(opening, before);
        }
    }

    pub(super) fn opened(&mut self, now: Now, shard: ShardId, result: Result<(), String>) {
        self.opening.remove(&shard);
        match result {
            // What it failed of may come again at once: the next pause is longer until it has lasted for a while.
            Ok(()) => {
                if let Some((at, _)) = self.failed.get_mut(&shard) {
                    *at = NEVER;
                }
            }
            Err(why) => self.note_failure(now, shard, why),
        }
    }

    /// Has it kept of replicas that were brought up that they are doubtful no more: the next start need not be.
    pub(super) fn end_doubt(&mut self) {
        if self.doubtful.is_empty() {
            return;
        }
        let is_over = |shard: &ShardId, is_doubtful: bool| {
            self.doubtful.contains(shard)
                && !is_doubtful
                && !self.settling.contains(shard)
                && !self.closing.contains(shard)
        };
        let shards = self.shards.shards();
        let over: Vec<ShardId> = shards
            .filter(|(shard, status)| is_over(shard, status.is_doubtful))
            .map(|(shard, _)| shard)
            .collect();
        for shard in over {
            self.settling.insert(shard);
            let founding = self.foundings.get(&shard).cloned().unwrap_or_default();
            let (parts, roster) = (self.parts.clone(), self.roster.clone());
            let work = move || {
                let files = Self::files(&parts);
                roster.add(files, shard, &founding, false).map_err(|error| error.to_string())
            };
            self.shards.do_elsewhere(Chore::DoubtEnded(shard), Box::new(work));
        }
    }

    /// The group has let this node go, so the map says: its replica goes, with its log and its state.
    fn leave_shard(&mut self, shard: ShardId) {
        let is_busy = self.opening.contains(&shard) || self.settling.contains(&shard);
        if self.closing.contains(&shard) || is_busy {
            return;
        }
        self.closing.insert(shard);
        self.failed.remove(&shard);
        self.destroy(shard);
    }

    fn destroy(&mut self, shard: ShardId) {
        let (parts, roster) = (self.parts.clone(), self.roster.clone());
        let before =
            move || roster.doom(Self::files(&parts), shard).map_err(|error| error.to_string());
        self.shards.destroy_shard(shard, Box::new(before));
    }

    pub(super) fn destroyed(&mut self, shard: ShardId) {
        let (parts, roster) = (self.parts.clone(), self.roster.clone());
        let work =
            move || roster.remove(Self::files(&parts), shard).map_err(|error| error.to_string());
        self.shards.do_elsewhere(Chore::ShardForgotten(shard), Box::new(work));
    }

    pub(super) fn note_failure(&mut self, now: Now, shard: ShardId, why: String) {
        let (_, last) = self.failed.get(&shard).copied().unwrap_or((now.steady, REOPEN / 2));
        let next = (last * 2).min(REOPEN_MAX);
        self.failed.insert(shard, (now.steady.after(next), next));
        self.outputs.push(Output::Event(Event::Failed { shard, why }));
    }

    pub(super) fn reopen(&mut self, now: Now) {
        let is_due = |(at, _): &(Instant, Duration)| *at <= now.steady;
        let due: Vec<ShardId> = self
            .failed
            .iter()
            .filter(|(shard, when)| is_due(when) && self.foundings.contains_key(shard))
            .filter(|(shard, _)| !self.shards.is_landing(**shard))
            .map(|(shard, _)| *shard)
            .collect();
        for shard in due {
            if self.closing.contains(&shard) {
                self.failed.insert(shard, (NEVER, REOPEN));
                self.destroy(shard);
            } else {
                self.open_elsewhere(shard, Box::new(|| Ok(())));
            }
        }
    }
}
