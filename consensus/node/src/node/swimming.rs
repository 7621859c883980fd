//! The failure detector of a member: its timers, and what follows from what it says.

use super::{Event, Fatal, Member, Output, Settings};
use crate::charter::{Addresses, Charter, Identity};
use crate::shards::Parts;
use bytes::Bytes;
use nori_consensus::{Input, Instant, NodeId};
use nori_swim::{
    Address, Boot, Class, ClusterId, Event as SwimEvent, Generation, Identity as SwimIdentity,
    MemberState, Runtime, Swim, Timer,
};
use norikv_replica::Now;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A member that has been alive for so long is there.
const SETTLED: Duration = Duration::from_secs(5);

/// The detector and what it has asked for.
pub(super) struct Swimming {
    swim: Swim,
    timers: BTreeSet<(nori_swim::Instant, Timer)>,
    asked: Asked,
    /// How the others are seen.
    pub(super) seen: BTreeMap<NodeId, MemberState>,
    /// Since when those that are alive have been.
    alive_since: BTreeMap<NodeId, Instant>,
}

#[derive(Default)]
struct Asked {
    events: Vec<SwimEvent>,
    packets: Vec<(Address, Class, Bytes)>,
    timers: Vec<Timer>,
}

impl Runtime for Asked {
    fn notify(&mut self, event: SwimEvent) {
        self.events.push(event);
    }

    fn send_to(&mut self, to: &Address, class: Class, packet: Bytes) {
        self.packets.push((to.clone(), class, packet));
    }

    fn submit_after(&mut self, _after: Duration, timer: Timer) {
        self.timers.push(timer);
    }
}

fn theirs(now: Instant) -> nori_swim::Instant {
    nori_swim::Instant { nanos: now.nanos }
}

fn address(text: &str) -> Result<Address, nori_swim::SwimError> {
    Address::new(text.as_bytes().to_vec())
}

impl Swimming {
    pub(super) fn begin(
        settings: &Settings,
        identity: &Identity,
        charter: &Charter,
        parts: &Parts,
        now: Now,
    ) -> Result<Self, Fatal> {
        let me = &settings.candidate.addresses;
        let mut metadata = Vec::new();
        me.put(&mut metadata);
        let boot = Boot {
            cluster: ClusterId(charter.cluster.0),
            identity: SwimIdentity {
                node: nori_swim::NodeId(identity.node.0),
                generation: Generation(identity.boots),
            },
            address: address(&me.swim)?,
            metadata: metadata.into(),
            seed: parts.engine_parts.entropy.next_u64(),
            settings: settings.swim.clone(),
            keyring: None,
        };
        let mut swim = Swim::new(boot, &*parts.engine_parts.meter)?;
        let mut asked = Asked::default();
        swim.start(theirs(now.steady), &mut asked)?;
        let (timers, seen, alive_since) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        Ok(Self { swim, timers, asked, seen, alive_since })
    }

    /// Whether a member has been alive for a while: one that has just come back may not have everything.
    pub(super) fn has_lived(&self, node: NodeId, now: Instant) -> bool {
        self.seen.get(&node) == Some(&MemberState::Alive)
            && self.alive_since.get(&node).is_some_and(|since| now.since(*since) >= SETTLED)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| Instant { nanos: at.nanos })
    }
}

impl Member {
    /// What the failure detector knows of this node and of the others.
    pub fn swim_status(&self) -> nori_swim::Status {
        self.swimming.swim.status()
    }

    pub(super) fn gossip(&mut self, now: Now, class: Class, packet: &Bytes) {
        let swimming = &mut self.swimming;
        // What is refused is counted by the detector.
        let _ = swimming.swim.receive(theirs(now.steady), class, packet, &mut swimming.asked);
    }

    /// Looks for the others where they were last.
    pub(super) fn swim_join(&mut self, now: Now) -> Result<(), Fatal> {
        let others = self.addresses.iter().filter(|(node, _)| **node != self.me);
        let seeds = others
            .map(|(_, addresses)| address(&addresses.swim))
            .collect::<Result<Vec<Address>, _>>()?;
        let swimming = &mut self.swimming;
        Ok(swimming.swim.join(theirs(now.steady), &seeds, &mut swimming.asked)?)
    }

    pub(super) fn swim_leave(&mut self, now: Now) -> Result<(), Fatal> {
        let swimming = &mut self.swimming;
        Ok(swimming.swim.leave(theirs(now.steady), &mut swimming.asked)?)
    }

    /// Hands in timers whose time has come, and does what the detector asked for.
    pub(super) fn swim_timers(&mut self, now: Now) -> Result<(), Fatal> {
        loop {
            self.swim_asked(now)?;
            let swimming = &mut self.swimming;
            let due = swimming.timers.first().copied().filter(|(at, _)| *at <= theirs(now.steady));
            let Some(due) = due else { return Ok(()) };
            swimming.timers.remove(&due);
            swimming.swim.timer(theirs(now.steady), due.1, &mut swimming.asked);
        }
    }

    fn swim_asked(&mut self, now: Now) -> Result<(), Fatal> {
        let Asked { events, packets, timers } = std::mem::take(&mut self.swimming.asked);
        self.swimming.timers.extend(timers.into_iter().map(|timer| (timer.due(), timer)));
        for (to, class, packet) in packets {
            if let Ok(to) = String::from_utf8(to.bytes().to_vec()) {
                self.outputs.push(Output::Gossip { to, class, packet });
            }
        }
        events.into_iter().try_for_each(|event| self.swim_event(now, event))
    }

    fn swim_event(&mut self, now: Now, event: SwimEvent) -> Result<(), Fatal> {
        match event {
            SwimEvent::Up { member, metadata, .. } => {
                self.learn_addresses(member, metadata);
                self.see(now, member, MemberState::Alive);
            }
            SwimEvent::Restarted { member, metadata, .. } => {
                self.learn_addresses(member, metadata);
                // What it was told is gone.
                self.swimming.seen.remove(&NodeId(member.node.0));
                self.see(now, member, MemberState::Alive);
            }
            SwimEvent::Changed { member, metadata, .. } => self.learn_addresses(member, metadata),
            SwimEvent::Suspected { member, .. } => self.see(now, member, MemberState::Suspect),
            SwimEvent::Cleared { member } => self.see(now, member, MemberState::Alive),
            SwimEvent::Down { member } => self.see(now, member, MemberState::Down),
            SwimEvent::Left { member } => self.see(now, member, MemberState::Left),
            SwimEvent::Superseded { .. } => return Err(Fatal::Superseded),
            _ => {}
        }
        Ok(())
    }

    fn learn_addresses(&mut self, member: SwimIdentity, mut metadata: Bytes) {
        if let Some(addresses) = Addresses::take(&mut metadata) {
            self.addresses.insert(NodeId(member.node.0), addresses);
        }
    }

    fn see(&mut self, now: Now, member: SwimIdentity, state: MemberState) {
        let node = NodeId(member.node.0);
        let before = self.swimming.seen.insert(node, state);
        if before == Some(state) {
            return;
        }
        self.outputs.push(Output::Event(Event::Member { node, state }));
        let was_up =
            before.is_some_and(|state| matches!(state, MemberState::Alive | MemberState::Suspect));
        if state == MemberState::Alive && !was_up {
            self.swimming.alive_since.insert(node, now.steady);
        }
        match state {
            MemberState::Alive if !was_up => {
                self.shards.step_all(now, &Input::PeerUp { peer: node });
                self.say(node, &crate::control::Control::Epoch(self.map.epoch().0));
            }
            MemberState::Down | MemberState::Left => {
                self.shards.step_all(now, &Input::PeerDown { peer: node });
            }
            _ => {}
        }
    }
}
