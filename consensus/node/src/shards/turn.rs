//! The turn of a node's replicas, round by round.

use super::{Output, Shards};
use crate::error::NodeError;
use crate::host::Held;
use crate::inbox::Note;
use crate::packet::Packet;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Input, NodeId, ShardId, Store, WriteId};
use nori_env::{Class, Durability, Signal};
use nori_raft_log::{Batch, Mark, SyncCalls};
use norikv_replica::{Now, Output as ReplicaOutput, ReplicaError};
use std::collections::BTreeSet;

/// A packet that has grown to this is sent, and another begun.
const PACKET_BYTES: usize = 1 << 20;

/// The rounds of one turn: what is left then waits for the next, and packets and requests come first.
const ROUNDS_MAX: usize = 32;

/// A batch that was appended and is not safe yet.
pub(super) struct Flight {
    mark: Mark,
    calls: SyncCalls,
    waits_for: Option<Signal>,
    /// What it has of whom: shard, life and write.
    writes: Vec<(ShardId, u64, WriteId)>,
    /// Shards whose log it resets for a snapshot's state.
    resets: Vec<ShardId>,
    /// Shards of which nothing is left with it.
    gone: BTreeSet<ShardId>,
}

impl Flight {
    /// Whether there is something of the shard in it.
    pub(super) fn has(&self, shard: ShardId) -> bool {
        self.writes.iter().any(|(of, ..)| *of == shard)
            || self.resets.contains(&shard)
            || self.gone.contains(&shard)
    }
}

impl Shards {
    /// Everything that can be done now.
    ///
    /// # Errors
    ///
    /// If the log failed: the process ends.
    pub fn turn(&mut self, now: Now, outputs: &mut Vec<Output>) -> Result<(), NodeError> {
        self.turns += 1;
        self.read_notes(now)?;
        while let Some(shard) = self.wheel.pop(now.steady) {
            if let Some(host) = self.hosts.get_mut(&shard) {
                host.replica.tick(now);
                self.ready.insert(shard);
            }
        }
        self.tick_transfers(now);
        self.tidy_log(now);
        for _ in 0..ROUNDS_MAX {
            self.round(now)?;
            let has_landed = self.land(now)?;
            if !has_landed && self.ready.is_empty() && self.gone.is_empty() {
                break;
            }
        }
        for (to, packet) in std::mem::take(&mut self.packets) {
            self.outputs.push(Output::Send { to, packet: packet.finish() });
        }
        outputs.append(&mut self.outputs);
        Ok(())
    }

    fn read_notes(&mut self, now: Now) -> Result<(), NodeError> {
        for note in self.inbox.take() {
            match note {
                Note::Woken(shard) => {
                    if self.hosts.contains_key(&shard) {
                        self.ready.insert(shard);
                    }
                }
                Note::Synced => {}
                Note::Fetched(shard, life, fetched) => {
                    if let Some(host) = self.hosts.get_mut(&shard).filter(|host| host.life == life)
                    {
                        host.replica.fetched(fetched);
                        self.ready.insert(shard);
                    }
                }
                Note::LogFetched(shard, life, result) => self.log_fetched(now, shard, life, result),
                Note::Snapshot(done) => self.snapshot_done(now, done),
                Note::Install(done) => self.install_done(done),
                Note::Concluded(shard, life, result) => self.concluded(now, shard, life, result),
                Note::Destroyed(shard, result) => self.state_destroyed(shard, result),
                Note::Tidied(result) => self.log_tidied(result)?,
                Note::Opened(opening, state) => self.opened(now, *opening, state),
                Note::Chore(chore, result) => self.outputs.push(Output::Chore { chore, result }),
            }
        }
        Ok(())
    }

    /// Drains everybody who is ready, appends what they want stored, and lets them work.
    fn round(&mut self, now: Now) -> Result<(), NodeError> {
        let ready = std::mem::take(&mut self.ready);
        let (mut batch, mut writes, mut has_promise) = (Batch::default(), Vec::new(), false);
        let (mut drained, mut others) = (Vec::new(), Vec::new());
        for shard in &ready {
            let Some(host) = self.hosts.get_mut(shard) else { continue };
            host.replica.drain(&mut drained);
            self.following.placed(*shard, host.replica.placed());
            let life = host.life;
            for output in drained.drain(..) {
                match output {
                    ReplicaOutput::Store(store) => {
                        let Store { write, sync, .. } = store;
                        has_promise |= sync;
                        host.begin(write);
                        self.following.stored(*shard, &store);
                        writes.push((*shard, life, write));
                        batch.store(*shard, store);
                    }
                    ReplicaOutput::TruncateLog { through } => {
                        let is_past = mutant::is(Mutant::ReleasedPastSafe);
                        let applied = host.replica.applied().filter(|_| is_past);
                        batch.release(*shard, applied.map_or(through, |applied| applied.index));
                    }
                    output => others.push((*shard, output)),
                }
            }
        }
        others.into_iter().for_each(|(shard, output)| self.begin(shard, output));
        let resets = self.begin_resets(&ready, &mut batch);
        let gone = std::mem::take(&mut self.gone);
        gone.iter().for_each(|shard| batch.forget(*shard));
        if !batch.is_empty() {
            let mark = self.parts.log.append(batch)?;
            self.following.appended();
            let flight =
                Flight { mark, calls: SyncCalls::default(), waits_for: None, writes, resets, gone };
            let must_sync = has_promise
                || !flight.resets.is_empty()
                || !flight.gone.is_empty()
                || self.config.durability == Durability::Sync
                || !self.flights.is_empty();
            if must_sync && !mutant::is(Mutant::LandedUnsafe) {
                self.flights.push_back(flight);
            } else {
                self.landed(now, &flight);
            }
        }
        for shard in ready {
            self.work(now, shard);
        }
        Ok(())
    }

    fn work(&mut self, now: Now, shard: ShardId) {
        let Some(host) = self.hosts.get_mut(&shard) else { return };
        self.following.committed(shard, host.replica.committed());
        match host.replica.work(now) {
            Ok(has_more) => {
                if has_more {
                    self.ready.insert(shard);
                }
            }
            Err(why) => return self.fail(shard, why),
        }
        let Some(host) = self.hosts.get_mut(&shard) else { return };
        self.wheel.set(shard, host.replica.deadline());
        if let Some(applied) = host.replica.applied()
            && applied.index > host.applied
        {
            host.applied = applied.index;
            self.parts.log.applied(shard, applied.index);
        }
        let is_waited_for = !host.is_fetching && self.parts.log.is_waited_for(shard);
        if is_waited_for {
            host.is_fetching = true;
            let (log, life) = (std::sync::Arc::clone(&self.parts.log), host.life);
            self.inbox.submit(self.tasks(), Class::Log, move || {
                Note::LogFetched(shard, life, log.fetch(shard).map(|_| ()))
            });
        }
        self.ship_ready(now, shard);
        self.install_ready(shard);
    }

    /// Begins what a replica wants done, other than with the log.
    fn begin(&mut self, shard: ShardId, output: ReplicaOutput) {
        match output {
            ReplicaOutput::Send { to, class, message, after } => {
                let held = Held { after: WriteId::ZERO, to, class, message };
                let Some(host) = self.hosts.get_mut(&shard) else { return };
                if let Some(held) = host.hold(after, held) {
                    self.send(shard, &held);
                }
            }
            ReplicaOutput::Answer(answer) => {
                self.following.applied(shard, answer.request);
                self.outputs.push(Output::Answer { shard, answer });
            }
            ReplicaOutput::RoleChanged { role, term, leader } => {
                self.outputs.push(Output::RoleChanged { shard, role, term, leader });
            }
            ReplicaOutput::Fetch(fetch) => {
                let Some(life) = self.hosts.get(&shard).map(|host| host.life) else { return };
                self.inbox.submit(self.tasks(), Class::Log, move || {
                    Note::Fetched(shard, life, fetch.run())
                });
            }
            ReplicaOutput::WakeOn(signal) => self.inbox.put_on(&signal, Note::Woken(shard)),
            ReplicaOutput::BuildSnapshot => self.build_snapshot(shard),
            ReplicaOutput::ShipSnapshot { to, message, at_least } => {
                self.ship(shard, to, message, at_least);
            }
            ReplicaOutput::InstallSnapshot { handle, reset_log_to } => {
                self.install(shard, handle, reset_log_to);
            }
            ReplicaOutput::Store(_) | ReplicaOutput::TruncateLog { .. } => {
                unreachable!("taken where the batch is")
            }
        }
    }

    fn send(&mut self, shard: ShardId, held: &Held) {
        self.packet(held.to).message(shard, held.class, &held.message);
        self.cut(held.to);
    }

    /// The packet for a peer, as far as it is.
    pub(super) fn packet(&mut self, to: NodeId) -> &mut Packet {
        let (cluster, me) = (self.config.cluster, self.config.me);
        self.packets.entry(to).or_insert_with(|| Packet::new(cluster, me, to))
    }

    /// Sends what has become long.
    pub(super) fn cut(&mut self, to: NodeId) {
        if self.packets.get(&to).is_some_and(|packet| packet.len() >= PACKET_BYTES)
            && let Some(packet) = self.packets.remove(&to)
        {
            self.outputs.push(Output::Send { to, packet: packet.finish() });
        }
    }

    /// Tells replicas of the batches that are safe by now; whether there was one.
    fn land(&mut self, now: Now) -> Result<bool, NodeError> {
        let mut has_landed = false;
        while let Some(flight) = self.flights.front_mut() {
            if flight.waits_for.as_ref().is_some_and(|signal| !signal.is_fired()) {
                break;
            }
            flight.waits_for = match self.parts.log.poll_sync(&flight.mark, &mut flight.calls) {
                Err(_) if mutant::is(Mutant::FailedSyncLands) => None,
                polled => polled?,
            };
            match &flight.waits_for {
                Some(signal) => self.inbox.put_on(signal, Note::Synced),
                None => {
                    let flight = self.flights.pop_front().expect("it was looked at");
                    self.landed(now, &flight);
                    has_landed = true;
                }
            }
        }
        Ok(has_landed)
    }

    fn landed(&mut self, now: Now, flight: &Flight) {
        for (shard, life, write) in &flight.writes {
            let Some(host) = self.hosts.get_mut(shard).filter(|host| host.life == *life) else {
                continue;
            };
            let released = host.release(*write);
            self.following.synced(*shard, *write);
            host.replica.step(now, Input::Stored { write: *write, result: Ok(()) });
            self.ready.insert(*shard);
            released.iter().for_each(|held| self.send(*shard, held));
        }
        for shard in &flight.resets {
            self.finish_reset(*shard);
        }
        for shard in &flight.gone {
            self.doomed.remove(shard);
            self.outputs.push(Output::Destroyed { shard: *shard });
        }
    }

    fn log_fetched(
        &mut self,
        now: Now,
        shard: ShardId,
        life: u64,
        result: nori_raft_log::Result<()>,
    ) {
        let Some(host) = self.hosts.get_mut(&shard).filter(|host| host.life == life) else {
            return;
        };
        host.is_fetching = false;
        match result {
            Ok(()) => self.step(now, shard, Input::LogFetched),
            Err(error) => self.fail_with(shard, NodeError::Log(error)),
        }
    }

    fn fail(&mut self, shard: ShardId, why: ReplicaError) {
        self.fail_with(shard, NodeError::Replica { shard, why });
    }

    /// The replica ends.
    pub(super) fn fail_with(&mut self, shard: ShardId, why: NodeError) {
        self.hosts.remove(&shard);
        self.wheel.set(shard, None);
        self.forget_transfers(shard);
        self.outputs.push(Output::Failed { shard, why });
    }
}
