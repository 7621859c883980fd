//! For tests: one member by itself, and packets that its peers might have sent.

use crate::envelope::Envelope;
use crate::message::{Claim, Message, Packet, Rumour, begin};
use crate::{
    Address, Boot, Class, ClusterId, Event, Generation, Identity, Incarnation, Instant,
    MemberState, MemberStatus, NodeId, Runtime, Settings, Swim, SwimError, Timer,
};
use bytes::Bytes;
use nori_observe::Registry;
use std::time::Duration;

pub(crate) const CLUSTER: ClusterId = ClusterId(7);

/// What a member asked for.
#[derive(Default)]
pub(crate) struct Asked {
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<(Address, Class, Bytes)>,
    timers: Vec<Timer>,
}

impl Runtime for Asked {
    fn notify(&mut self, event: Event) {
        self.events.push(event);
    }

    fn send_to(&mut self, to: &Address, class: Class, packet: Bytes) {
        self.sent.push((to.clone(), class, packet));
    }

    fn submit_after(&mut self, _: Duration, timer: Timer) {
        self.timers.push(timer);
    }
}

/// Member 1 by itself.
pub(crate) struct Lone {
    pub(crate) swim: Swim,
    pub(crate) now: Instant,
    pub(crate) asked: Asked,
    pub(crate) registry: Registry,
    envelope: Envelope,
    settings: Settings,
}

/// A packet that the member sent.
pub(crate) struct Sent {
    pub(crate) to: u64,
    pub(crate) class: Class,
    pub(crate) packet: Packet,
}

pub(crate) fn some(node: u64) -> Identity {
    Identity { node: NodeId(node), generation: Generation(1) }
}

pub(crate) fn later(node: u64) -> Identity {
    Identity { node: NodeId(node), generation: Generation(2) }
}

pub(crate) fn address_of(node: u64) -> Address {
    Address::new(vec![node as u8]).unwrap()
}

pub(crate) fn alive(identity: Identity, incarnation: u64) -> Rumour {
    alive_with(identity, incarnation, b"")
}

pub(crate) fn alive_with(identity: Identity, incarnation: u64, metadata: &[u8]) -> Rumour {
    let address = address_of(identity.node.0);
    let claim = Claim::Alive { address, metadata: Bytes::copy_from_slice(metadata) };
    Rumour { identity, incarnation: Incarnation(incarnation), claim }
}

pub(crate) fn suspect(identity: Identity, incarnation: u64, accusers: &[u64]) -> Rumour {
    let claim = Claim::Suspect { accusers: accusers.iter().copied().map(NodeId).collect() };
    Rumour { identity, incarnation: Incarnation(incarnation), claim }
}

pub(crate) fn down(identity: Identity, incarnation: u64) -> Rumour {
    Rumour { identity, incarnation: Incarnation(incarnation), claim: Claim::Down }
}

pub(crate) fn left(identity: Identity, incarnation: u64) -> Rumour {
    Rumour { identity, incarnation: Incarnation(incarnation), claim: Claim::Left }
}

pub(crate) fn boot(settings: Settings) -> Boot {
    Boot {
        cluster: CLUSTER,
        identity: some(1),
        address: address_of(1),
        metadata: Bytes::new(),
        seed: 1,
        settings,
        keyring: None,
    }
}

impl Lone {
    /// Started, and knowing members 2 to `n` as alive.
    pub(crate) fn among(n: u64, settings: Settings) -> Self {
        let registry = Registry::default();
        let mut swim = Swim::new(boot(settings.clone()), &registry).unwrap();
        let (now, mut asked) = (Instant { nanos: 1_000_000_000 }, Asked::default());
        swim.start(now, &mut asked).unwrap();
        let envelope = Envelope::new(CLUSTER, some(2), 0, None);
        let mut lone = Self { swim, now, asked, registry, envelope, settings };
        if n > 1 {
            let members = (2..=n).map(|node| alive(some(node), 0)).collect();
            lone.tell(some(2), Message::Sync { is_answer: true }, members);
        }
        lone.asked.events.clear();
        lone
    }

    pub(crate) fn packet(
        &mut self,
        from: Identity,
        message: Message,
        rumours: Vec<Rumour>,
    ) -> Bytes {
        let mut body = begin(from, &address_of(from.node.0), &message);
        rumours.iter().for_each(|rumour| rumour.put(&mut body));
        self.envelope.seal(&body)
    }

    /// Hands in a packet over a stream or as a datagram.
    pub(crate) fn hand_in(&mut self, class: Class, packet: &Bytes) -> Result<(), SwimError> {
        self.swim.receive(self.now, class, packet, &mut self.asked)
    }

    pub(crate) fn tell(&mut self, from: Identity, message: Message, rumours: Vec<Rumour>) {
        let packet = self.packet(from, message, rumours);
        self.hand_in(Class::Datagram, &packet).unwrap();
    }

    pub(crate) fn rumour(&mut self, rumour: Rumour) {
        self.tell(some(2), Message::Gossip, vec![rumour]);
    }

    /// Hands in timers at their times, up to `duration` from now.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(at) = self.next_timer(end) {
            let timer = self.asked.timers.remove(at);
            self.now = self.now.max(timer.due());
            self.swim.timer(self.now, timer, &mut self.asked);
        }
        self.now = end;
    }

    /// Lets time pass without handing anything in.
    pub(crate) fn stand_still(&mut self, duration: Duration) {
        self.now = self.now.after(duration);
    }

    fn next_timer(&self, end: Instant) -> Option<usize> {
        let timers = self.asked.timers.iter().enumerate();
        let due = timers.filter(|(_, timer)| timer.due() <= end);
        due.min_by_key(|(at, timer)| (timer.due(), *at)).map(|(at, _)| at)
    }

    /// Runs until the member pings; whom, and under which number.
    pub(crate) fn next_ping(&mut self) -> (u64, u32) {
        for _ in 0..1_000 {
            self.take_sent();
            let Some(at) = self.next_timer(self.now.after(Duration::from_secs(60))) else { break };
            let due = self.asked.timers[at].due();
            self.run_for(due.since(self.now));
            let ping = self.sent().into_iter().find_map(|sent| match sent.packet.message {
                Message::Ping { number, .. } => Some((sent.to, number)),
                _ => None,
            });
            if let Some(ping) = ping {
                return ping;
            }
        }
        panic!("it pings nobody");
    }

    pub(crate) fn sent(&self) -> Vec<Sent> {
        let sent = self.asked.sent.iter().map(|(to, class, packet)| {
            let body = self.envelope.open(packet).unwrap();
            let packet = Packet::read(body, &self.settings).unwrap();
            Sent { to: to.bytes()[0].into(), class: *class, packet }
        });
        sent.collect()
    }

    pub(crate) fn take_sent(&mut self) -> Vec<Sent> {
        let sent = self.sent();
        self.asked.sent.clear();
        sent
    }

    pub(crate) fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.asked.events)
    }

    pub(crate) fn member(&self, node: u64) -> Option<MemberStatus> {
        let members = self.swim.status().members;
        members.into_iter().find(|member| member.identity.node.0 == node)
    }

    pub(crate) fn state(&self, node: u64) -> MemberState {
        self.member(node).unwrap().state
    }

    pub(crate) fn count(&self, name: &str) -> u64 {
        let samples = self.registry.snapshot();
        samples.iter().find(|sample| sample.name == name).unwrap().value
    }
}
