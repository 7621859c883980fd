//! Telling the others: rumours in the room that packets leave, and packets of their own while there is news.

use crate::member::{Member, State};
use crate::message::{Claim, Message, RUMOUR_BYTES_MIN, Rumour, begin};
use crate::rumours::Taken;
use crate::runtime::TimerKind;
use crate::scale;
use crate::swim::{Swim, Turn};
use crate::{Address, Class, NodeId, Phase};
use bytes::BytesMut;

impl Swim {
    /// There is something new of `node`, which may be this one.
    pub(crate) fn push_rumour(&mut self, turn: &mut Turn<'_>, node: NodeId) {
        self.rumours.push(node);
        let interval = self.settings.gossip_interval;
        if !self.is_gossip_armed && self.living > 0 && !interval.is_zero() {
            self.is_gossip_armed = true;
            turn.arm(interval, TimerKind::Gossip);
        }
    }

    /// Sends news by themselves, and comes back while there are any.
    pub(crate) fn gossip(&mut self, turn: &mut Turn<'_>) {
        self.is_gossip_armed = false;
        self.spread(turn);
        if self.phase == Phase::Leaving && !self.rumours.contains(self.identity.node) {
            self.gone(turn);
            return;
        }
        if !self.rumours.is_empty() && self.living > 0 {
            self.is_gossip_armed = true;
            turn.arm(self.settings.gossip_interval, TimerKind::Gossip);
        }
    }

    /// Sends news to a few.
    pub(crate) fn spread(&mut self, turn: &mut Turn<'_>) {
        let fanout = self.settings.gossip_fanout as usize;
        let living = self.living_nodes();
        for node in self.chance.choose(living, fanout) {
            let Some(member) = self.members.get(&node) else { continue };
            if self.rumours.is_empty() {
                return;
            }
            let address = member.address.clone();
            self.send(turn, &address, Some(node), Class::Datagram, &Message::Gossip);
        }
    }

    /// Sends `message` to `to`, where `node` is to be found, with as many rumours as there is room for: what is held against the
    /// receiver first, so that it can refute it.
    pub(crate) fn send(
        &mut self,
        turn: &mut Turn<'_>,
        to: &Address,
        node: Option<NodeId>,
        class: Class,
        message: &Message,
    ) {
        let mut body = begin(self.identity, &self.address, message);
        let most = self.settings.packet_bytes_max - self.envelope.overhead_bytes();
        let held_against = node.and_then(|node| self.held_against(node));
        let mut scratch = BytesMut::new();
        let mut told = None;
        if let Some(rumour) = held_against {
            rumour.put(&mut scratch);
            if body.len() + scratch.len() <= most {
                body.extend_from_slice(&scratch);
                told = node;
            }
        }
        let times = scale::transmissions_max(&self.settings, self.size());
        let mut rumours = std::mem::take(&mut self.rumours);
        rumours.offer(times, |node| {
            if most - body.len() < RUMOUR_BYTES_MIN {
                return Taken::Full;
            }
            if told == Some(node) {
                return Taken::Yes;
            }
            let Some(rumour) = self.rumour(node) else { return Taken::Yes };
            scratch.clear();
            rumour.put(&mut scratch);
            if body.len() + scratch.len() > most {
                return Taken::TooLong;
            }
            body.extend_from_slice(&scratch);
            Taken::Yes
        });
        self.rumours = rumours;
        self.dispatch(turn, to, class, &body, self.settings.packet_bytes_max);
    }

    /// Seals and sends `body`, which makes a packet of at most `most` bytes.
    pub(crate) fn dispatch(
        &mut self,
        turn: &mut Turn<'_>,
        to: &Address,
        class: Class,
        body: &[u8],
        most: usize,
    ) {
        let packet = self.envelope.seal(body);
        assert!(packet.len() <= most, "a packet of {} bytes, beyond {most}", packet.len());
        self.counters.packets_out.add(1);
        self.counters.bytes_out.add(packet.len() as u64);
        turn.runtime.send_to(to, class, packet);
    }

    /// What there is to say of `node`; `None` if it is not known any more.
    pub(crate) fn rumour(&self, node: NodeId) -> Option<Rumour> {
        if node == self.identity.node {
            return Some(self.own_rumour());
        }
        self.members.get(&node).map(Member::rumour)
    }

    pub(crate) fn own_rumour(&self) -> Rumour {
        let claim = if self.phase == Phase::Leaving {
            Claim::Left
        } else {
            Claim::Alive { address: self.address.clone(), metadata: self.metadata.clone() }
        };
        Rumour { identity: self.identity, incarnation: self.incarnation, claim }
    }

    /// What the receiver of a packet ought to hear first: that it is suspect (Lifeguard's buddy system), or even down.
    fn held_against(&self, node: NodeId) -> Option<Rumour> {
        let member = self.members.get(&node)?;
        match member.state {
            State::Suspect(_) if self.settings.buddy => Some(member.rumour()),
            State::Down => Some(member.rumour()),
            State::Suspect(_) | State::Alive | State::Left => None,
        }
    }
}
