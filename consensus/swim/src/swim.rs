//! A member: its state, and the inputs that drive it.
//!
//! What it knows of others changes in `learn`; `probe` finds out who answers; `gossip` and `sync` tell the others.

use crate::chance::Chance;
use crate::counters::Counters;
use crate::envelope::Envelope;
use crate::health::Health;
use crate::member::{Member, State};
use crate::message::{Message, Packet};
use crate::order::ProbeOrder;
use crate::probe::{Probe, Relay};
use crate::rumours::Rumours;
use crate::runtime::TimerKind;
use crate::{
    Address, Boot, Class, Event, Identity, Incarnation, Instant, Keyring, NodeId, Phase, Refusal,
    Runtime, Settings, Status, SwimError, Timer,
};
use bytes::Bytes;
use nori_observe::Meter;
use std::collections::BTreeMap;
use std::time::Duration;

/// A member of a cluster.
///
/// It does nothing by itself. Whoever drives it hands in packets and timers, each with the time at which it does so, and carries out what
/// the member asks of its [`Runtime`]. Times never run backwards.
pub struct Swim {
    pub(crate) identity: Identity,
    pub(crate) address: Address,
    /// metadata.len() <= settings.metadata_bytes_max
    pub(crate) metadata: Bytes,
    pub(crate) incarnation: Incarnation,
    pub(crate) phase: Phase,
    pub(crate) settings: Settings,
    pub(crate) chance: Chance,
    pub(crate) envelope: Envelope,
    /// The others; never this node.
    pub(crate) members: BTreeMap<NodeId, Member>,
    /// Members that are alive or suspect. living <= members.len()
    pub(crate) living: usize,
    pub(crate) rumours: Rumours,
    /// Those that are alive or suspect.
    pub(crate) order: ProbeOrder,
    pub(crate) health: Health,
    pub(crate) probes: BTreeMap<u32, Probe>,
    /// relays.len() <= RELAYS_MAX
    pub(crate) relays: BTreeMap<u32, Relay>,
    pub(crate) next_number: u32,
    pub(crate) seeds: Vec<Address>,
    pub(crate) is_join_armed: bool,
    pub(crate) is_gossip_armed: bool,
    pub(crate) counters: Counters,
}

/// One input: when it is, and who carries out what follows.
pub(crate) struct Turn<'r> {
    pub(crate) now: Instant,
    pub(crate) runtime: &'r mut dyn Runtime,
}

impl Turn<'_> {
    pub(crate) fn arm(&mut self, after: Duration, kind: TimerKind) {
        self.runtime.submit_after(after, Timer { due: self.now.after(after), kind });
    }

    pub(crate) fn notify(&mut self, event: Event) {
        self.runtime.notify(event);
    }
}

impl Swim {
    /// A member that has not started.
    ///
    /// # Errors
    ///
    /// [`SwimError::OutOfBounds`] if a setting is, or the metadata are too long.
    pub fn new(boot: Boot, meter: &dyn Meter) -> Result<Self, SwimError> {
        boot.settings.check()?;
        check_metadata(&boot.settings, &boot.metadata)?;
        let mut chance = Chance::new(boot.seed);
        let (counter, number) = (chance.next_u64(), chance.next_u64() as u32);
        let counters = Counters::new(meter);
        counters.members.set(1);
        Ok(Self {
            envelope: Envelope::new(boot.cluster, boot.identity, counter, boot.keyring.as_ref()),
            identity: boot.identity,
            address: boot.address,
            metadata: boot.metadata,
            incarnation: Incarnation(0),
            phase: Phase::Fresh,
            health: Health::new(boot.settings.local_health_max),
            settings: boot.settings,
            chance,
            members: BTreeMap::new(),
            living: 0,
            rumours: Rumours::default(),
            order: ProbeOrder::default(),
            probes: BTreeMap::new(),
            relays: BTreeMap::new(),
            next_number: number,
            seeds: Vec::new(),
            is_join_armed: false,
            is_gossip_armed: false,
            counters,
        })
    }

    /// Begins to probe and to answer. The first probe is somewhen within a period, so that members started together do not probe together.
    ///
    /// # Errors
    ///
    /// [`SwimError::NotRunning`] if it was started before.
    pub fn start(&mut self, now: Instant, runtime: &mut dyn Runtime) -> Result<(), SwimError> {
        if self.phase != Phase::Fresh {
            return Err(SwimError::NotRunning);
        }
        self.phase = Phase::Running;
        let turn = &mut Turn { now, runtime };
        let (period, sync) = (self.settings.period, self.settings.sync_interval);
        let first = self.part_of(period);
        turn.arm(first, TimerKind::Period);
        let first = self.part_of(sync);
        turn.arm(first, TimerKind::Sync);
        self.push_rumour(turn, self.identity.node);
        Ok(())
    }

    /// Exchanges all it knows with the members at `seeds`, and tries again until it knows somebody. Its own address among them does no
    /// harm.
    ///
    /// # Errors
    ///
    /// [`SwimError::NotRunning`].
    pub fn join(
        &mut self,
        now: Instant,
        seeds: &[Address],
        runtime: &mut dyn Runtime,
    ) -> Result<(), SwimError> {
        self.running()?;
        self.seeds = seeds.iter().filter(|seed| **seed != self.address).cloned().collect();
        let turn = &mut Turn { now, runtime };
        self.ask_seeds(turn);
        if !self.is_join_armed {
            self.is_join_armed = true;
            turn.arm(self.settings.period * 2, TimerKind::Join);
        }
        Ok(())
    }

    /// Takes in a packet that has arrived.
    ///
    /// # Errors
    ///
    /// [`SwimError::Packet`] if it is refused, which is counted; [`SwimError::NotRunning`].
    pub fn receive(
        &mut self,
        now: Instant,
        class: Class,
        packet: &Bytes,
        runtime: &mut dyn Runtime,
    ) -> Result<(), SwimError> {
        self.running()?;
        self.counters.packets_in.add(1);
        let turn = &mut Turn { now, runtime };
        let packet = match self.admit(turn, class, packet) {
            Ok(packet) => packet,
            Err(refusal) => {
                self.counters.refused(refusal);
                return Err(refusal.into());
            }
        };
        for rumour in packet.rumours {
            self.learn(turn, rumour);
        }
        // A rumour may have told of a later boot of this node.
        if self.running().is_ok() {
            let from = (packet.sender, &packet.address);
            self.answer(turn, class, from, packet.message);
        }
        Ok(())
    }

    /// Takes back a timer whose time has come.
    pub fn timer(&mut self, now: Instant, timer: Timer, runtime: &mut dyn Runtime) {
        if self.running().is_err() {
            return;
        }
        let turn = &mut Turn { now, runtime };
        if self.stood_still(turn, timer) {
            return;
        }
        match timer.kind {
            TimerKind::Period => self.period(turn),
            TimerKind::ProbeTimeout(number) => self.probe_timeout(turn, number),
            TimerKind::Verdict(number) => self.verdict(turn, number),
            TimerKind::Nack(number) => self.nack(turn, number),
            TimerKind::RelayEnd(number) => {
                self.relays.remove(&number);
            }
            TimerKind::Suspicion(identity, incarnation) => {
                self.suspicion_end(turn, identity, incarnation);
            }
            TimerKind::Gossip => self.gossip(turn),
            TimerKind::Sync => self.sync(turn),
            TimerKind::Join => self.join_again(turn),
            TimerKind::Forget(identity, since) => self.forget(turn, identity, since),
            TimerKind::LeaveEnd => self.gone(turn),
        }
    }

    /// Tells the others that it leaves. [`Event::Gone`] says when they know, or when the time for it is over; until then packets and timers
    /// are still to be handed in. Who comes back after that is a later boot.
    ///
    /// # Errors
    ///
    /// [`SwimError::NotRunning`].
    pub fn leave(&mut self, now: Instant, runtime: &mut dyn Runtime) -> Result<(), SwimError> {
        self.running()?;
        if self.phase == Phase::Leaving {
            return Ok(());
        }
        let turn = &mut Turn { now, runtime };
        self.phase = Phase::Leaving;
        if self.living == 0 {
            self.gone(turn);
            return Ok(());
        }
        self.push_rumour(turn, self.identity.node);
        self.spread(turn);
        turn.arm(self.settings.leave_timeout, TimerKind::LeaveEnd);
        Ok(())
    }

    /// Says something new of itself, and spreads it.
    ///
    /// # Errors
    ///
    /// [`SwimError::OutOfBounds`] if it is too long, [`SwimError::NotRunning`].
    pub fn set_metadata(
        &mut self,
        now: Instant,
        metadata: Bytes,
        runtime: &mut dyn Runtime,
    ) -> Result<(), SwimError> {
        self.running()?;
        check_metadata(&self.settings, &metadata)?;
        if self.metadata != metadata && self.incarnation < Incarnation::MAX {
            self.metadata = metadata;
            self.incarnation = self.incarnation.next();
            self.push_rumour(&mut Turn { now, runtime }, self.identity.node);
        }
        Ok(())
    }

    /// Seals and opens packets by `keyring` from now on; `None` sends and takes plain ones.
    pub fn rekey(&mut self, keyring: Option<&Keyring>) {
        self.envelope.rekey(keyring);
    }

    /// All it knows. Costs a copy: for observers, not for hot paths.
    pub fn status(&self) -> Status {
        Status {
            identity: self.identity,
            phase: self.phase,
            incarnation: self.incarnation,
            local_health: self.health.score(),
            rumours: self.rumours.len(),
            members: self.members.values().map(Member::status).collect(),
        }
    }

    /// Members that are alive or suspect, this one among them.
    pub fn size(&self) -> usize {
        self.living + 1
    }

    pub(crate) fn running(&self) -> Result<(), SwimError> {
        match self.phase {
            Phase::Running | Phase::Leaving => Ok(()),
            Phase::Fresh | Phase::Gone | Phase::Superseded => Err(SwimError::NotRunning),
        }
    }

    /// The packet in `packet`, if it is of this cluster and means this member.
    fn admit(
        &mut self,
        turn: &mut Turn<'_>,
        class: Class,
        packet: &Bytes,
    ) -> Result<Packet, Refusal> {
        let most = match class {
            Class::Datagram => DATAGRAM_BYTES_MAX,
            Class::Stream => self.settings.stream_bytes_max,
        };
        if packet.len() > most {
            return Err(Refusal::Long);
        }
        let packet = Packet::read(self.envelope.open(packet)?, &self.settings)?;
        let sender = packet.sender;
        if sender.node == self.identity.node {
            if sender.generation > self.identity.generation {
                self.superseded(turn, sender);
            }
            return Err(Refusal::FromMyself);
        }
        let known = self.members.get(&sender.node);
        if known.is_some_and(|member| member.identity.generation > sender.generation) {
            // It may run still, cut off from the later boot: it must hear of that to end.
            self.push_rumour(turn, sender.node);
            self.send(turn, &packet.address, None, class, &Message::Gossip);
            return Err(Refusal::StaleSender);
        }
        if let Message::Ping { target, .. } = packet.message
            && target != self.identity
        {
            // Whoever asks for an earlier boot of this node is told of the present one.
            self.push_rumour(turn, self.identity.node);
            self.send(turn, &packet.address, Some(sender.node), class, &Message::Gossip);
            return Err(Refusal::NotForMe);
        }
        Ok(packet)
    }

    fn answer(
        &mut self,
        turn: &mut Turn<'_>,
        class: Class,
        from: (Identity, &Address),
        message: Message,
    ) {
        let (sender, address) = from;
        match message {
            Message::Ping { number, .. } => {
                self.send(turn, address, Some(sender.node), class, &Message::Ack { number });
            }
            Message::Ack { number } => self.acked(turn, class, sender, number),
            Message::IndirectPing { number, target, address: at, wants_nack } => {
                let relay = Relay { origin: sender, address: address.clone(), number, target };
                self.relay(turn, relay, &at, wants_nack);
            }
            Message::Nack { number } => self.nacked(sender, number),
            Message::Gossip => {}
            Message::Sync { is_answer: false } => self.send_sync(turn, address, true),
            Message::Sync { is_answer: true } => {}
        }
    }

    /// Whether a timer comes so late that this process must have stood still. What it judges waits then, for what was sent meanwhile may
    /// not be read yet.
    fn stood_still(&mut self, turn: &mut Turn<'_>, timer: Timer) -> bool {
        let most = self.settings.lateness_max;
        let judges = matches!(timer.kind, TimerKind::Verdict(_) | TimerKind::Suspicion(..));
        if most.is_zero() || !judges || turn.now.since(timer.due) <= most {
            return false;
        }
        self.counters.late_timers.add(1);
        if matches!(timer.kind, TimerKind::Verdict(_)) {
            self.worsen_health(1);
        }
        turn.arm(self.settings.probe_timeout, timer.kind);
        true
    }

    pub(crate) fn worsen_health(&mut self, by: u32) {
        self.health.worsen(by);
        self.counters.local_health.set(self.health.score().into());
    }

    pub(crate) fn improve_health(&mut self) {
        self.health.improve();
        self.counters.local_health.set(self.health.score().into());
    }

    /// A part of `duration` that chance chooses.
    fn part_of(&mut self, duration: Duration) -> Duration {
        let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        Duration::from_nanos(self.chance.below(nanos.max(1)))
    }

    pub(crate) fn gone(&mut self, turn: &mut Turn<'_>) {
        self.phase = Phase::Gone;
        turn.notify(Event::Gone);
    }

    pub(crate) fn superseded(&mut self, turn: &mut Turn<'_>, by: Identity) {
        self.phase = Phase::Superseded;
        turn.notify(Event::Superseded { by: by.generation });
    }

    /// That what is counted is what is there.
    pub(crate) fn check(&self) {
        if cfg!(debug_assertions) {
            let living = self.members.values().filter(|member| member.is_living()).count();
            assert_eq!(living, self.living);
            assert!(!self.members.contains_key(&self.identity.node), "nobody judges itself");
            self.members.values().for_each(Member::check);
        }
    }

    pub(crate) fn living_nodes(&self) -> Vec<NodeId> {
        let living = self.members.values().filter(|member| member.is_living());
        living.map(|member| member.identity.node).collect()
    }

    pub(crate) fn down_nodes(&self) -> Vec<NodeId> {
        let down = self.members.values().filter(|member| member.state == State::Down);
        down.map(|member| member.identity.node).collect()
    }
}

/// What fits into a UDP datagram; a peer may have been given a longer `packet_bytes_max`.
const DATAGRAM_BYTES_MAX: usize = 65_535;

fn check_metadata(settings: &Settings, metadata: &Bytes) -> Result<(), SwimError> {
    let (max, given) = (settings.metadata_bytes_max as u64, metadata.len() as u64);
    if given <= max {
        return Ok(());
    }
    Err(SwimError::OutOfBounds { what: "bytes of metadata", min: 0, max, given })
}

#[cfg(test)]
mod tests;
