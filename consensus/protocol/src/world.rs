//! A world of several replicas under one seed: a heap of what will happen, a network, disks and clocks that behave as well or
//! as badly as the [`Weather`] says, and the laws that only several replicas can break.
//!
//! 1. Everything that will happen is an entry of one heap, ordered by time and then by the order of its making. The next one is taken, the
//!    host it is for is stepped, and what comes of it is put into the heap.
//! 2. Time is the world's. Each node has a clock of its own over it, which may run fast or slow.
//! 3. Work of a host (a write, entries to apply, a snapshot) is ended by a heap entry too, one piece after the other.
//! 4. Messages of a link keep their order unless the weather lets one pass. A node may die right after a step that began a write: of what is
//!    not safe then, others may have heard only what need not wait for it.
//! 5. After each step the laws of the [`Monitor`](crate::monitor::Monitor) hold, and those of the **chronicle**: one leader a term, one entry a place,
//!    what was accepted and applied stays.
//!
//! Nothing in it depends on anything but the seed and the calls. The chronicle's digest says whether two runs were the same.

mod agenda;
mod chronicle;
mod clock;
mod happening;
mod ledger;
mod occurrence;
mod reforms;
mod weather;

pub use chronicle::{Chronicle, Outcome};
pub use clock::NodeClock;
pub use occurrence::{Counts, Occurrence};
pub use weather::Weather;

use crate::chance::Chance;
use crate::host::{Host, State};
use crate::{
    Change, ConsensusFactory, Consistency, Feature, Index, Input, Instant, Membership,
    MessageClass, NodeId, Role, ShardId, Standing, Ticket,
};
use agenda::Agenda;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;

/// A law that did not hold, with when and where.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at {at} on {node}: {what}")]
pub struct Violation {
    /// World time.
    pub at: Instant,
    /// On which node it showed.
    pub node: NodeId,
    /// Which.
    pub what: String,
}

/// Something that will happen.
#[derive(Debug)]
enum Happening {
    Deliver {
        from: NodeId,
        message: Bytes,
    },
    Arrive {
        from: NodeId,
        message: Bytes,
        state: Box<State>,
    },
    Shipped {
        to: NodeId,
        is_delivered: bool,
    },
    Timer,
    WriteDone,
    Applied,
    Flushed,
    Built,
    Installed,
    Fetched,
    /// The cluster's failure detector looks at a peer.
    Look {
        peer: NodeId,
    },
}

/// A host and what the world knows of it.
struct Place {
    host: Host,
    clock: NodeClock,
    /// Which life it is in; odd while it lives.
    life: u64,
    /// When the earliest timer in the heap is due.
    timer: Option<Instant>,
    is_writing: bool,
    is_applying: bool,
    is_building: bool,
    is_installing: bool,
    is_flushing: bool,
    /// Nothing is done for it before.
    paused_until: Instant,
    /// What it had committed after its last step.
    committed: Index,
    /// Its membership after its last step.
    membership: Arc<Membership>,
}

/// The world.
pub struct World {
    factory: Arc<dyn ConsensusFactory>,
    now: Instant,
    chance: Chance,
    agenda: Agenda,
    places: BTreeMap<NodeId, Place>,
    /// Messages from the first to the second are lost.
    cuts: BTreeSet<(NodeId, NodeId)>,
    /// So many more messages with entries get from the first to the second.
    rations: BTreeMap<(NodeId, NodeId), u32>,
    /// So many more messages of a class from the first to the second are held back.
    holds: BTreeMap<(NodeId, NodeId, MessageClass), u32>,
    /// What is held back: from whom, to whom.
    held: Vec<(NodeId, NodeId, Bytes)>,
    /// What a node hears comes so much later.
    lags: BTreeMap<NodeId, Duration>,
    /// When the last message from the first to the second comes that keeps its order.
    links: BTreeMap<(NodeId, NodeId), Instant>,
    last_ticket: Ticket,
    /// The last messages that were sent, whatever became of them; [`OVERHEARD_MAX`] at most.
    overheard: VecDeque<Bytes>,
    leases_exclude_leaders: bool,
    /// The node of the present step dies of it.
    dies_next: bool,
    /// What is done to messages and disks.
    pub weather: Weather,
    /// What happened.
    pub chronicle: Chronicle,
}

const SHARD: ShardId = ShardId(1);
const OVERHEARD_MAX: usize = 256;
/// No group has as much under way but one that answers messages with more messages.
const UNDER_WAY_MAX: usize = 100_000;

impl World {
    /// A world under `seed` whose nodes 1 to `nodes` found a group; each begins its first life.
    ///
    /// # Errors
    ///
    /// If a replica cannot begin.
    pub fn new(
        factory: &Arc<dyn ConsensusFactory>,
        seed: u64,
        nodes: u64,
    ) -> Result<Self, Violation> {
        let mut world = Self {
            factory: Arc::clone(factory),
            now: Instant::default(),
            chance: Chance::new(seed),
            agenda: Agenda::default(),
            places: BTreeMap::new(),
            cuts: BTreeSet::new(),
            rations: BTreeMap::new(),
            holds: BTreeMap::new(),
            held: Vec::new(),
            lags: BTreeMap::new(),
            links: BTreeMap::new(),
            last_ticket: Ticket::ZERO,
            overheard: VecDeque::new(),
            dies_next: false,
            leases_exclude_leaders: factory.capabilities().has(Feature::ExclusiveLease),
            weather: Weather::calm(),
            chronicle: Chronicle::default(),
        };
        let founders = (1..=nodes).map(NodeId);
        let membership = factory.founding(&Membership::founding(founders.clone()));
        for node in founders {
            world.add(node, membership.clone());
            world.start(node)?;
        }
        Ok(world)
    }

    /// Adds a node that never lived; `membership` is empty if it is to join. It is not started.
    pub fn add(&mut self, node: NodeId, membership: Bytes) {
        let host = Host::new(Arc::clone(&self.factory), (SHARD, node), membership);
        // No two clocks began together.
        let shown = Instant { nanos: self.chance.below(1_000_000_000_000) };
        let place = Place {
            host,
            clock: NodeClock::new(self.now, shown, 0),
            life: 0,
            timer: None,
            is_writing: false,
            is_applying: false,
            is_building: false,
            is_installing: false,
            is_flushing: false,
            paused_until: Instant::default(),
            committed: Index::ZERO,
            membership: Arc::default(),
        };
        self.places.insert(node, place);
    }

    /// Begins the next life of a node that is dead.
    ///
    /// # Errors
    ///
    /// If its replica cannot begin.
    pub fn start(&mut self, node: NodeId) -> Result<(), Violation> {
        self.start_as(node, Standing::Whole, 0)
    }

    /// The same, of a node that may have forgotten something, or is preferred.
    ///
    /// # Errors
    ///
    /// If its replica cannot begin.
    pub fn start_as(
        &mut self,
        node: NodeId,
        standing: Standing,
        priority: u8,
    ) -> Result<(), Violation> {
        let (now, seed) = (self.now, self.chance.next_u64());
        let place = self.place(node);
        place.life += 1;
        let local = place.clock.shows(now);
        let booted = place.host.boot(local, seed, (standing, priority));
        self.tell(node, &[1], || "starts".to_owned());
        booted.map_err(|error| self.violation(node, error.to_string()))?;
        let events = self.place(node).host.drain();
        self.after(node, local, events)?;
        self.check_membership(node)?;
        self.be_looked_at(node);
        Ok(())
    }

    /// Kills a node, if it lives; what it had not made safe is gone.
    pub fn crash(&mut self, node: NodeId) {
        if !self.is_alive(node) {
            return;
        }
        let place = self.place(node);
        place.life += 1;
        let lost = place.host.crash();
        (place.is_writing, place.is_applying) = (false, false);
        (place.is_building, place.is_installing, place.is_flushing) = (false, false, false);
        place.timer = None;
        self.chronicle.lose(lost);
        self.chronicle.count(Occurrence::Crash);
        self.tell(node, &[2], || "crashes".to_owned());
        self.be_looked_at(node);
    }

    /// Ends a node for good, and takes it out of the world: what is sent to it is lost.
    pub fn remove(&mut self, node: NodeId) {
        self.crash(node);
        self.places.remove(&node);
        self.tell(node, &[22], || "is gone".to_owned());
    }

    /// A dead node loses up to `writes` of the last that it acknowledged; what they replaced is back.
    pub fn forget(&mut self, node: NodeId, writes: u64) {
        let lost = self.place(node).host.forget(writes);
        if lost > 0 {
            self.chronicle.count(Occurrence::EntriesForgotten);
        }
        self.tell(node, &[8, lost], || format!("has forgotten {lost} writes"));
    }

    /// If `node` is installing a snapshot, its state is the new one already; its log is not.
    pub fn tear_install(&mut self, node: NodeId) {
        let place = self.place(node);
        if place.host.is_installing() {
            place.host.install_state();
            self.chronicle.count(Occurrence::TornInstall);
        }
    }

    /// The others' failure detector will look at `node` in a while.
    fn be_looked_at(&mut self, node: NodeId) {
        for other in self.nodes().filter(|other| *other != node).collect::<Vec<_>>() {
            let after = Duration::from_millis(self.chance.between(1_000, 3_000));
            self.put(after, other, 0, Happening::Look { peer: node });
        }
    }

    /// Stops a node for a while; what comes in waits.
    pub fn pause(&mut self, node: NodeId, by: Duration) {
        let until = self.now.after(by);
        self.place(node).paused_until = until;
        self.chronicle.count(Occurrence::Pause);
        self.tell(node, &[3, until.nanos], || format!("pauses until {until}"));
    }

    /// Loses every message from `from` to `to`, until [`heal`](Self::heal).
    pub fn cut(&mut self, from: NodeId, to: NodeId) {
        self.cuts.insert((from, to));
        self.chronicle.count(Occurrence::Cut);
        self.tell(from, &[4, to.0], || format!("is cut off from {to}"));
    }

    /// Loses every message between `group` and the others, until [`heal`](Self::heal).
    pub fn split(&mut self, group: &[NodeId]) {
        let others: Vec<NodeId> = self.nodes().filter(|node| !group.contains(node)).collect();
        for (one, other) in
            group.iter().flat_map(|one| others.iter().map(move |other| (one, other)))
        {
            self.cut(*one, *other);
            self.cut(*other, *one);
        }
        group.iter().chain(&others).for_each(|node| self.be_looked_at(*node));
    }

    /// Lets `messages` more messages with entries from `from` to `to` through, until [`mend`](Self::mend) or [`heal`](Self::heal).
    pub fn ration(&mut self, from: NodeId, to: NodeId, messages: u32) {
        self.rations.insert((from, to), messages);
        self.chronicle.count(Occurrence::Ration);
        self.tell(from, &[7, to.0, u64::from(messages)], || {
            format!("gets {messages} more messages with entries to {to}")
        });
    }

    /// Holds back the next `messages` messages of a class from `from` to `to`, until [`release`](Self::release).
    pub fn hold(&mut self, from: NodeId, to: NodeId, class: MessageClass, messages: u32) {
        self.holds.insert((from, to, class), messages);
        self.chronicle.count(Occurrence::Hold);
        self.tell(from, &[9, to.0, u64::from(messages)], || {
            format!("has {messages} messages to {to} held back")
        });
    }

    /// Lets go of what is held back that is for `to`; it comes out of order.
    pub fn release(&mut self, to: NodeId) {
        self.holds.retain(|(_, of, _), _| *of != to);
        let (released, held): (Vec<_>, _) =
            std::mem::take(&mut self.held).into_iter().partition(|of| of.1 == to);
        self.held = held;
        for (from, to, message) in released {
            self.chronicle.count(Occurrence::MessageReleased);
            let after = self.free_delay();
            self.put(after, to, 0, Happening::Deliver { from, message });
        }
    }

    /// From now on everything comes to `to` so much later than before, in order.
    pub fn lag(&mut self, to: NodeId, by: Duration) {
        self.lags.insert(to, by);
        self.chronicle.count(Occurrence::Lag);
        self.tell(to, &[21, by.as_nanos() as u64], || format!("hears all {by:?} later"));
    }

    /// Lets every message from `from` through again.
    pub fn mend(&mut self, from: NodeId) {
        self.cuts.retain(|(of, _)| *of != from);
        self.rations.retain(|(of, _), _| *of != from);
        self.tell(from, &[6], || "is heard by all".to_owned());
    }

    /// Lets every message through again.
    pub fn heal(&mut self) {
        self.cuts.clear();
        self.rations.clear();
        self.lags.clear();
        self.tell(NodeId::ZERO, &[5], || "the network is whole".to_owned());
        self.nodes().collect::<Vec<_>>().into_iter().for_each(|node| self.be_looked_at(node));
    }

    /// Asks `node` for an entry.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn propose(&mut self, node: NodeId, payload: &[u8]) -> Result<Ticket, Violation> {
        let ticket = self.ticket();
        self.chronicle.propose(ticket, payload);
        let payload = Bytes::copy_from_slice(payload);
        self.step(node, Input::Proposed { ticket, payload })?;
        Ok(ticket)
    }

    /// Asks `node` for a read.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn read(&mut self, node: NodeId, consistency: Consistency) -> Result<Ticket, Violation> {
        let ticket = self.ticket();
        self.chronicle.begin_read(ticket);
        self.step(node, Input::ReadRequested { ticket, consistency })?;
        Ok(ticket)
    }

    /// Asks `node` for another membership.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn change(&mut self, node: NodeId, change: Change) -> Result<Ticket, Violation> {
        let ticket = self.ticket();
        self.chronicle.reforms.ask(ticket, &change);
        self.step(node, Input::MembershipRequested { ticket, change })?;
        Ok(ticket)
    }

    /// Tells `node` something.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn step(&mut self, node: NodeId, input: Input) -> Result<(), Violation> {
        let now = self.now;
        let place = self.place(node);
        let local = place.clock.shows(now);
        let events = place.host.step(local, input);
        self.after(node, local, events)
    }

    /// There is no room on `node` for what of its log the state has safely.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn release_log(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.now;
        let place = self.place(node);
        let local = place.clock.shows(now);
        let events = place.host.release_log(local);
        self.after(node, local, events)
    }

    /// Lets things happen until `done`, for no longer than `limit`; whether it came to that.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, Violation> {
        let end = self.now.after(limit);
        while !done(self) {
            let Some(next) = self.agenda.next_at() else { return Ok(false) };
            if next > end {
                self.now = end;
                return Ok(done(self));
            }
            self.happen()?;
        }
        Ok(true)
    }

    /// Lets things happen for as long as this.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn run_for(&mut self, time: Duration) -> Result<(), Violation> {
        let end = self.now.after(time);
        self.run_until(time, |_| false)?;
        self.now = self.now.max(end);
        Ok(())
    }

    /// The node that leads in the highest term, of those that live and say that they lead.
    pub fn leader(&self) -> Option<NodeId> {
        let leads = |(node, place): (&NodeId, &Place)| {
            let status = place.host.status()?;
            (status.role == Role::Leader).then_some((status.term, *node))
        };
        self.places.iter().filter_map(leads).max().map(|(_, node)| node)
    }

    /// Everybody, dead or alive.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> + use<'_> {
        self.places.keys().copied()
    }

    /// The host of `node`.
    ///
    /// # Panics
    ///
    /// If there is no such node.
    pub fn host(&self, node: NodeId) -> &Host {
        &self.places[&node].host
    }

    /// Whether `node` lives.
    pub fn is_alive(&self, node: NodeId) -> bool {
        self.places.get(&node).is_some_and(|place| place.life % 2 == 1)
    }

    /// Whether `node` lives and does not stand still.
    pub fn is_awake(&self, node: NodeId) -> bool {
        self.is_alive(node) && self.now >= self.places[&node].paused_until
    }

    /// Does something to the clock of `node`.
    pub fn set_clock(&mut self, node: NodeId, set: impl FnOnce(&mut NodeClock, Instant)) {
        let now = self.now;
        let place = self.place(node);
        set(&mut place.clock, now);
        // What is in the heap was reckoned by the clock as it was.
        place.timer = None;
        self.chronicle.count(Occurrence::Clock);
        self.schedule(node);
    }

    /// Fails the disk of `node` under the write that is under way, if there is one.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn fail_disk(&mut self, node: NodeId) -> Result<(), Violation> {
        let now = self.now;
        let place = self.place(node);
        let local = place.clock.shows(now);
        let events = place.host.fail_write(local);
        self.chronicle.count(Occurrence::DiskFailed);
        self.after(node, local, events)
    }

    /// The last messages that were sent, in order.
    pub fn overheard(&self) -> impl Iterator<Item = &Bytes> + use<'_> {
        self.overheard.iter()
    }

    /// The time.
    pub fn time(&self) -> Instant {
        self.now
    }

    /// Choices that belong to this world.
    pub fn chance(&mut self) -> &mut Chance {
        &mut self.chance
    }

    fn place(&mut self, node: NodeId) -> &mut Place {
        self.places.get_mut(&node).expect("the caller names a node of this world")
    }

    fn ticket(&mut self) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.last_ticket
    }

    fn tell(&mut self, node: NodeId, numbers: &[u64], words: impl FnOnce() -> String) {
        self.chronicle.note(self.now, node, numbers, words);
    }

    fn violation(&self, node: NodeId, what: impl Into<String>) -> Violation {
        Violation { at: self.now, node, what: what.into() }
    }
}
