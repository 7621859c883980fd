//! Which replicas a member has, by the map: opened, closed, and opened again after they failed.
//!
//! Before anything is done by a map it is kept, so that the next start does not undo it; before a replica goes, its file says that it does.

use super::member::{MAP, Member, NEVER, REOPEN, REOPEN_MAX};
use super::{Event, Output, map_shard};
use crate::charter::{self, CharterError};
use crate::control::Control;
use bytes::Bytes;
use nori_consensus::{Instant, ShardId};
use norikv_placement::{self as placement, ShardMap};
use norikv_replica::Now;
use std::collections::BTreeSet;
use std::time::Duration;

impl Member {
    /// Opens replicas that this node ought to have, and closes those it ought not to.
    pub(super) fn follow_map(&mut self, now: Now) {
        if let Err(error) = self.keep_map() {
            // Nothing is done that the next start would undo.
            self.outputs.push(Output::Event(Event::Failed {
                shard: map_shard(&self.map),
                why: error.to_string(),
            }));
            return;
        }
        let me = placement::NodeId(self.me.0);
        let mut wanted = BTreeSet::new();
        for (shard, placed) in self.map.shards() {
            if placed.concerns(me) {
                wanted.insert(ShardId(u64::from(shard.0)));
            }
        }
        for shard in wanted.clone() {
            if !self.foundings.contains_key(&shard) && !self.closing.contains(&shard) {
                self.join_shard(now, shard);
            }
        }
        let had: Vec<ShardId> = self.foundings.keys().copied().collect();
        for shard in had.into_iter().filter(|shard| !wanted.contains(shard)) {
            self.leave_shard(now, shard);
        }
    }

    /// Keeps the map before anything is done by it: the next start begins with it, not with the charter's.
    fn keep_map(&mut self) -> Result<(), CharterError> {
        if self.kept == self.map.epoch() {
            return Ok(());
        }
        let parts = self.parts.clone();
        if !self.has_joined && self.map.members().contains_key(&placement::NodeId(self.me.0)) {
            self.roster.set_joined(Self::files(&parts))?;
            self.has_joined = true;
        }
        let addresses = self.addresses.iter().map(|(node, at)| (*node, at.clone())).collect();
        let control = Control::Map { map: self.map.encode().into(), addresses };
        charter::write(Self::files(&parts), &self.settings.dir, MAP, &control.encode())?;
        self.kept = self.map.epoch();
        Ok(())
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

    fn join_shard(&mut self, now: Now, shard: ShardId) {
        let parts = self.parts.clone();
        let added = self.roster.add(Self::files(&parts), shard, &[]);
        let opened = match added {
            Ok(()) => {
                self.foundings.insert(shard, Bytes::new());
                self.open(now, shard)
            }
            Err(error) => Err(error.into()),
        };
        if let Err(error) = opened {
            self.note_failure(now, shard, error.to_string());
        }
    }

    /// The group has let this node go, so the map says: its replica goes, with its log and its state.
    fn leave_shard(&mut self, now: Now, shard: ShardId) {
        if self.closing.contains(&shard) {
            return;
        }
        let parts = self.parts.clone();
        match self.roster.doom(Self::files(&parts), shard) {
            Ok(()) => {
                self.closing.insert(shard);
                self.failed.remove(&shard);
                self.shards.destroy_shard(shard);
            }
            Err(error) => self.note_failure(now, shard, error.to_string()),
        }
    }

    pub(super) fn destroyed(&mut self, shard: ShardId) {
        let parts = self.parts.clone();
        // If the file cannot be removed, the next start finds that there is nothing to remove, and tries again.
        let _ = self.roster.remove(Self::files(&parts), shard);
        self.foundings.remove(&shard);
        self.closing.remove(&shard);
        self.leaders.remove(&shard);
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
                self.shards.destroy_shard(shard);
                continue;
            }
            match self.open(now, shard) {
                // What it failed of may come again at once: the next pause is longer until it has lasted for a while.
                Ok(()) => {
                    if let Some((at, _)) = self.failed.get_mut(&shard) {
                        *at = NEVER;
                    }
                }
                Err(error) => self.note_failure(now, shard, error.to_string()),
            }
        }
    }
}
