//! Finding out who answers.
//!
//! 1. Once a period a member pings the next of its round.
//! 2. Without an answer within the probe timeout it asks a few others to ping that member, and pings it over a stream itself.
//! 3. Those who were asked pass an answer on, and say so if they have had none (a NACK): that shows the asker that it is not itself the
//!    one whom nothing reaches.
//! 4. Without any answer at the end of the period the member is suspect.
//!
//! The periods and timeouts stretch with this member's own health: successes mend it, missed answers worsen it.

use crate::message::Message;
use crate::runtime::TimerKind;
use crate::swim::{Swim, Turn};
use crate::{Address, Class, Event, Identity, Incarnation, Instant, NodeId};
use std::collections::BTreeSet;

/// A ping without an answer so far.
#[derive(Debug)]
pub(crate) struct Probe {
    target: Identity,
    began: Instant,
    /// Those asked to ping it too; empty before the timeout.
    asked: BTreeSet<NodeId>,
    /// nacked is a subset of asked
    nacked: BTreeSet<NodeId>,
}

/// A ping for another.
#[derive(Debug)]
pub(crate) struct Relay {
    /// Who asked for it.
    pub(crate) origin: Identity,
    pub(crate) address: Address,
    /// Under which number.
    pub(crate) number: u32,
    pub(crate) target: Identity,
}

/// Far more than others ask for at once, and a bound on what strangers can make a member remember.
const RELAYS_MAX: usize = 4_096;

/// Part of its probe timeout after which a member says that it has had no answer: it must arrive before the asker judges (Lifeguard).
const NACK_AFTER_PERCENT: u32 = 80;

impl Swim {
    /// Begins the next probe.
    pub(crate) fn period(&mut self, turn: &mut Turn<'_>) {
        self.check();
        let period = self.health.stretch(self.settings.period);
        if let Some(node) = self.order.next(&mut self.chance)
            && let Some(member) = self.members.get(&node)
        {
            let (target, address) = (member.identity, member.address.clone());
            let number = self.number();
            let probe =
                Probe { target, began: turn.now, asked: BTreeSet::new(), nacked: BTreeSet::new() };
            self.probes.insert(number, probe);
            self.counters.probes.add(1);
            let ping = Message::Ping { number, target };
            self.send(turn, &address, Some(node), Class::Datagram, &ping);
            let timeout = self.health.stretch(self.settings.probe_timeout);
            turn.arm(timeout, TimerKind::ProbeTimeout(number));
            turn.arm(period, TimerKind::Verdict(number));
        }
        turn.arm(period, TimerKind::Period);
    }

    /// The direct answer is overdue: asks others.
    pub(crate) fn probe_timeout(&mut self, turn: &mut Turn<'_>, number: u32) {
        let Some(probe) = self.probes.get(&number) else { return };
        let target = probe.target;
        turn.notify(Event::ProbeFailed { member: target });
        let Some(member) = self.members.get(&target.node) else { return };
        let address = member.address.clone();
        let mut others = self.living_nodes();
        others.retain(|node| *node != target.node);
        let chosen = self.chance.choose(others, self.settings.indirect_probes as usize);
        let wants_nack = self.settings.nacks;
        for node in &chosen {
            let Some(relay) = self.members.get(node) else { continue };
            let to = relay.address.clone();
            let ask =
                Message::IndirectPing { number, target, address: address.clone(), wants_nack };
            self.send(turn, &to, Some(*node), Class::Datagram, &ask);
        }
        if let Some(probe) = self.probes.get_mut(&number) {
            probe.asked.extend(chosen);
        }
        if self.settings.stream_probes {
            let ping = Message::Ping { number, target };
            self.send(turn, &address, Some(target.node), Class::Stream, &ping);
        }
    }

    /// The end of a probe: without an answer its target is suspect.
    pub(crate) fn verdict(&mut self, turn: &mut Turn<'_>, number: u32) {
        let Some(probe) = self.probes.remove(&number) else { return };
        let Some(member) = self.members.get(&probe.target.node) else { return };
        if member.identity != probe.target || !member.is_living() {
            // Others have settled it meanwhile.
            return;
        }
        let (node, incarnation, me) = (probe.target.node, member.incarnation, [self.identity.node]);
        let is_suspect = member.suspicion().is_some();
        self.counters.probes_failed.add(1);
        // If those asked have all said that they had no answer either, the fault is not here.
        let missed = (probe.asked.len() - probe.nacked.len()) as u32;
        if self.settings.nacks && !probe.asked.is_empty() {
            self.counters.nacks_missed.add(missed.into());
            self.worsen_health(missed);
        } else {
            self.worsen_health(1);
        }
        if incarnation >= Incarnation::MAX {
            // It could not refute that.
            return;
        }
        if is_suspect {
            self.confirm(turn, node, incarnation, &me);
        } else {
            self.suspect(turn, node, incarnation, &me);
        }
    }

    /// An answer: to a probe of this member's own, or to one for another.
    pub(crate) fn acked(
        &mut self,
        turn: &mut Turn<'_>,
        class: Class,
        sender: Identity,
        number: u32,
    ) {
        if let Some(relay) = self.relays.get(&number) {
            if relay.target == sender
                && let Some(relay) = self.relays.remove(&number)
            {
                let ack = Message::Ack { number: relay.number };
                let (to, node) = (relay.address, relay.origin.node);
                self.send(turn, &to, Some(node), Class::Datagram, &ack);
            }
            return;
        }
        let Some(probe) = self.probes.get(&number) else { return };
        let is_direct = sender == probe.target;
        if !is_direct && !probe.asked.contains(&sender.node) {
            return;
        }
        let (began, is_late) = (probe.began, !probe.asked.is_empty());
        self.probes.remove(&number);
        self.improve_health();
        if !is_direct {
            self.counters.probes_rescued.add(1);
        } else if class == Class::Stream {
            self.counters.probes_rescued_by_stream.add(1);
        } else if !is_late && let Some(member) = self.members.get_mut(&sender.node) {
            member.measure(turn.now.since(began));
        }
    }

    /// Pings a member for another.
    pub(crate) fn relay(
        &mut self,
        turn: &mut Turn<'_>,
        relay: Relay,
        at: &Address,
        wants_nack: bool,
    ) {
        if self.relays.len() >= RELAYS_MAX {
            self.counters.relays_refused.add(1);
            return;
        }
        let (number, target) = (self.number(), relay.target);
        self.relays.insert(number, relay);
        let ping = Message::Ping { number, target };
        self.send(turn, at, Some(target.node), Class::Datagram, &ping);
        let timeout = self.settings.probe_timeout;
        if wants_nack {
            turn.arm(timeout * NACK_AFTER_PERCENT / 100, TimerKind::Nack(number));
        }
        turn.arm(timeout * 2, TimerKind::RelayEnd(number));
    }

    /// Says that a ping for another has had no answer so far. One that comes later is still passed on.
    pub(crate) fn nack(&mut self, turn: &mut Turn<'_>, number: u32) {
        let Some(relay) = self.relays.get(&number) else { return };
        let (to, node) = (relay.address.clone(), relay.origin.node);
        let nack = Message::Nack { number: relay.number };
        self.send(turn, &to, Some(node), Class::Datagram, &nack);
    }

    pub(crate) fn nacked(&mut self, sender: Identity, number: u32) {
        if let Some(probe) = self.probes.get_mut(&number)
            && probe.asked.contains(&sender.node)
        {
            probe.nacked.insert(sender.node);
        }
    }

    /// A number of no probe and no relay that is under way.
    fn number(&mut self) -> u32 {
        loop {
            self.next_number = self.next_number.wrapping_add(1);
            let number = self.next_number;
            if !self.probes.contains_key(&number) && !self.relays.contains_key(&number) {
                return number;
            }
        }
    }
}

#[cfg(test)]
mod tests;
