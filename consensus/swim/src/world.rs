//! A seeded simulation of many members: one queue of timers and packets drives them all.
//!
//! 1. Members are numbered from zero; a member's node is its number plus one, and its address is its number.
//! 2. Every packet takes a time that chance chooses; datagrams are lost by chance; a stream takes twice as long and is not lost. Neither
//!    passes a link that is cut, which is of one direction.
//! 3. A member that is paused gets nothing. When it goes on, first its timers come that fell due, then what waits in its socket, in the
//!    order of arrival: a runtime looks at its timers before it has read all packets. Datagrams beyond the socket's buffer are lost.
//! 4. A member that is killed says nothing more; one that is restarted is a later boot of the same node.
//!
//! It promises that the same settings, seed and commands give the same [`World::trace`]. What is measured with it is in [`measure`].

pub mod measure;
mod queue;
mod trace;

use crate::{
    Address, Boot, Chance, Class, ClusterId, Event, Generation, Identity, Instant, Keyring,
    MemberState, NodeId, Runtime, Settings, Swim, Timer,
};
use bytes::Bytes;
use nori_observe::NullMeter;
use queue::{Happening, Queue};
use std::collections::BTreeSet;
use std::time::Duration;
use trace::Trace;

/// What a world is made from.
#[derive(Clone, Debug)]
pub struct WorldSettings {
    /// How many members there are.
    pub members: usize,
    /// What everything follows from.
    pub seed: u64,
    /// By which they go.
    pub settings: Settings,
    /// The keys they have.
    pub keyring: Option<Keyring>,
    /// The shortest time a datagram takes.
    pub delay_min: Duration,
    /// The longest.
    pub delay_max: Duration,
    /// Datagrams lost of a million.
    pub loss_ppm: u32,
}

impl WorldSettings {
    /// `members` by the default settings, on a network of 0.2 to 2 ms that loses nothing.
    pub fn new(members: usize, seed: u64) -> Self {
        Self {
            members,
            seed,
            settings: Settings::default(),
            keyring: None,
            delay_min: Duration::from_micros(200),
            delay_max: Duration::from_millis(2),
            loss_ppm: 0,
        }
    }
}

/// Something a member has notified its driver of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Noted {
    /// When.
    pub at: Instant,
    /// Which member.
    pub observer: usize,
    /// What.
    pub event: Event,
}

/// What a socket holds of datagrams that are not read (Linux' `net.core.rmem_default`).
const SOCKET_BYTES: usize = 212_992;

/// The cluster all members are of.
const CLUSTER: ClusterId = ClusterId(0x6E6F_7269);

struct Node {
    /// `None` while it is killed.
    swim: Option<Swim>,
    /// The boots so far; what was sent to a timer of an earlier one is dropped.
    generation: u64,
    is_paused: bool,
    timers: Vec<Timer>,
    packets: Vec<(Class, Bytes)>,
    /// Of the datagrams in `packets`. held_bytes <= SOCKET_BYTES
    held_bytes: usize,
}

/// Many members and what is between them.
pub struct World {
    settings: WorldSettings,
    chance: Chance,
    now: Instant,
    queue: Queue,
    nodes: Vec<Node>,
    /// From, to.
    cuts: BTreeSet<(usize, usize)>,
    noted: Vec<Noted>,
    trace: Trace,
    packets: u64,
    packet_bytes_longest: usize,
}

/// What a member asks for within one input.
#[derive(Default)]
struct Calls {
    events: Vec<Event>,
    packets: Vec<(Address, Class, Bytes)>,
    timers: Vec<(Duration, Timer)>,
    trace: Trace,
}

impl Runtime for Calls {
    fn notify(&mut self, event: Event) {
        self.trace.event(&event);
        self.events.push(event);
    }

    fn send_to(&mut self, to: &Address, class: Class, packet: Bytes) {
        self.trace.packet(to, class, &packet);
        self.packets.push((to.clone(), class, packet));
    }

    fn submit_after(&mut self, after: Duration, timer: Timer) {
        self.trace.timer(after, timer);
        self.timers.push((after, timer));
    }
}

fn address_of(member: usize) -> Address {
    let bytes = (member as u32).to_be_bytes().to_vec();
    Address::new(bytes).expect("four bytes are an address")
}

fn member_at(address: &Address) -> Option<usize> {
    let bytes = <[u8; 4]>::try_from(&address.bytes()[..]).ok()?;
    Some(u32::from_be_bytes(bytes) as usize)
}

/// The member whose node this is.
pub fn member_of(identity: Identity) -> usize {
    identity.node.0 as usize - 1
}

impl World {
    /// All members, none started.
    pub fn new(settings: WorldSettings) -> Self {
        let node = |_| Node {
            swim: None,
            generation: 0,
            is_paused: false,
            timers: Vec::new(),
            packets: Vec::new(),
            held_bytes: 0,
        };
        Self {
            chance: Chance::new(settings.seed),
            now: Instant::default(),
            queue: Queue::default(),
            nodes: (0..settings.members).map(node).collect(),
            cuts: BTreeSet::new(),
            noted: Vec::new(),
            trace: Trace::default(),
            packets: 0,
            packet_bytes_longest: 0,
            settings,
        }
    }

    /// All members started, joined and known to one another, with no rumour left.
    pub fn settled(settings: WorldSettings) -> Self {
        let mut world = Self::new(settings);
        for member in 0..world.nodes.len() {
            world.start(member);
        }
        world.settle(Duration::from_secs(3_600));
        world.noted.clear();
        world
    }

    /// Runs until all that run know exactly each other as alive and no rumour is left, or for `most`; whether it came to that.
    pub fn settle(&mut self, most: Duration) -> bool {
        let end = self.now.after(most);
        while self.now < end {
            self.run_for(self.settings.settings.period);
            if self.is_settled() {
                return true;
            }
        }
        false
    }

    fn is_settled(&self) -> bool {
        let running: BTreeSet<Identity> = self.running().map(|(_, swim)| swim.identity).collect();
        self.running().all(|(_, swim)| {
            let status = swim.status();
            let alive = status.members.iter().filter(|of| of.state == MemberState::Alive);
            let is_suspicious = status.members.iter().any(|of| of.state == MemberState::Suspect);
            let mut known: BTreeSet<Identity> = alive.map(|of| of.identity).collect();
            known.insert(status.identity);
            known == running && status.rumours == 0 && !is_suspicious
        })
    }

    /// The members that are not killed.
    pub fn running(&self) -> impl Iterator<Item = (usize, &Swim)> {
        let nodes = self.nodes.iter().enumerate();
        nodes.filter_map(|(member, node)| Some((member, node.swim.as_ref()?)))
    }

    /// Boots a member that is not running, anew, and lets it join at every third other, so that a killed seed does not matter.
    pub fn start(&mut self, member: usize) {
        let seeds: Vec<_> = (0..self.nodes.len()).step_by(3).map(address_of).collect();
        let node = &mut self.nodes[member];
        node.generation += 1;
        let identity =
            Identity { node: NodeId(member as u64 + 1), generation: Generation(node.generation) };
        let boot = Boot {
            cluster: CLUSTER,
            identity,
            address: address_of(member),
            metadata: Bytes::new(),
            seed: self.chance.next_u64(),
            settings: self.settings.settings.clone(),
            keyring: self.settings.keyring.clone(),
        };
        let swim = Swim::new(boot, &NullMeter).expect("the settings of a world are checked");
        node.swim = Some(swim);
        self.act(member, |swim, now, calls| {
            swim.start(now, calls).expect("it is fresh");
            swim.join(now, &seeds, calls).expect("it runs");
        });
    }

    /// Ends a member without a word.
    pub fn kill(&mut self, member: usize) {
        let node = &mut self.nodes[member];
        node.swim = None;
        node.is_paused = false;
        node.timers.clear();
        node.packets.clear();
        node.held_bytes = 0;
    }

    /// Stands a member still.
    pub fn pause(&mut self, member: usize) {
        self.nodes[member].is_paused = true;
    }

    /// Lets a member go on: first its timers, then what waits in its socket.
    pub fn resume(&mut self, member: usize) {
        let node = &mut self.nodes[member];
        node.is_paused = false;
        node.held_bytes = 0;
        let (timers, packets) =
            (std::mem::take(&mut node.timers), std::mem::take(&mut node.packets));
        for timer in timers {
            self.act(member, |swim, now, calls| swim.timer(now, timer, calls));
        }
        for (class, packet) in packets {
            self.deliver(member, class, &packet);
        }
    }

    /// Cuts the way from one member to another.
    pub fn cut(&mut self, from: usize, to: usize) {
        self.cuts.insert((from, to));
    }

    /// Mends every way.
    pub fn mend(&mut self) {
        self.cuts.clear();
    }

    /// Loses so many datagrams of a million from now on.
    pub fn lose(&mut self, ppm: u32) {
        self.settings.loss_ppm = ppm;
    }

    /// Has a member do something, as its driver would.
    pub fn act(&mut self, member: usize, order: impl FnOnce(&mut Swim, Instant, &mut dyn Runtime)) {
        let Some(swim) = &mut self.nodes[member].swim else { return };
        let mut calls = Calls::default();
        order(swim, self.now, &mut calls);
        self.carry_out(member, calls);
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A member; `None` while it is killed.
    pub fn member(&self, member: usize) -> Option<&Swim> {
        self.nodes[member].swim.as_ref()
    }

    /// What the members have notified their drivers of since this was taken last.
    pub fn take_noted(&mut self) -> Vec<Noted> {
        std::mem::take(&mut self.noted)
    }

    /// The same without taking it.
    pub fn noted(&self) -> &[Noted] {
        &self.noted
    }

    /// A hash of everything every member has asked for so far, in order, with its time.
    pub fn trace(&self) -> u64 {
        self.trace.value()
    }

    /// Packets sent so far, and the longest datagram of them in bytes.
    pub fn traffic(&self) -> (u64, usize) {
        (self.packets, self.packet_bytes_longest)
    }

    /// Choices for whoever commands the world.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    /// Runs until `end`.
    pub fn run_until(&mut self, end: Instant) {
        while let Some((at, member, happening)) = self.queue.pop_before(end) {
            debug_assert!(at >= self.now);
            self.now = at;
            match happening {
                Happening::Timer(generation, timer) => {
                    let node = &mut self.nodes[member];
                    if node.generation != generation {
                        continue;
                    }
                    if node.is_paused {
                        node.timers.push(timer);
                        continue;
                    }
                    self.act(member, |swim, now, calls| swim.timer(now, timer, calls));
                }
                Happening::Packet(class, packet) => self.arrive(member, class, packet),
            }
        }
        self.now = end;
    }

    /// Runs for `duration`.
    pub fn run_for(&mut self, duration: Duration) {
        self.run_until(self.now.after(duration));
    }

    fn arrive(&mut self, member: usize, class: Class, packet: Bytes) {
        let node = &mut self.nodes[member];
        if !node.is_paused {
            self.deliver(member, class, &packet);
            return;
        }
        if class == Class::Datagram {
            if node.held_bytes + packet.len() > SOCKET_BYTES {
                return;
            }
            node.held_bytes += packet.len();
        }
        node.packets.push((class, packet));
    }

    fn deliver(&mut self, member: usize, class: Class, packet: &Bytes) {
        self.act(member, |swim, now, calls| {
            // A packet that is refused is counted by the member.
            let _ = swim.receive(now, class, packet, calls);
        });
    }

    fn carry_out(&mut self, member: usize, calls: Calls) {
        self.trace.input(self.now, member, &calls.trace);
        let generation = self.nodes[member].generation;
        for event in calls.events {
            self.noted.push(Noted { at: self.now, observer: member, event });
        }
        for (after, timer) in calls.timers {
            let happening = Happening::Timer(generation, timer);
            self.queue.push(self.now.after(after), member, happening);
        }
        for (to, class, packet) in calls.packets {
            self.packets += 1;
            if class == Class::Datagram {
                self.packet_bytes_longest = self.packet_bytes_longest.max(packet.len());
            }
            let Some(to) = member_at(&to).filter(|to| *to < self.nodes.len()) else { continue };
            let is_lost = class == Class::Datagram && self.chance.hits(self.settings.loss_ppm);
            if is_lost || self.cuts.contains(&(member, to)) {
                continue;
            }
            let at = self.now.after(self.delay(class));
            self.queue.push(at, to, Happening::Packet(class, packet));
        }
    }

    fn delay(&mut self, class: Class) -> Duration {
        let (min, max) = (self.settings.delay_min, self.settings.delay_max);
        let span = max.saturating_sub(min).as_nanos() as u64;
        let delay = min + Duration::from_nanos(self.chance.below(span + 1));
        match class {
            Class::Datagram => delay,
            Class::Stream => delay * 2,
        }
    }
}

#[cfg(test)]
mod tests;
