//! A driver in memory: one replica with its log, its state and its snapshots, stepped by whoever has the schedule.
//!
//! 1. [`Host::step`] steps and drains the replica, has the [`Monitor`] watch, and begins every effect. What concerns the host alone it keeps as
//!    **work** that is under way: writes, entries to apply, snapshots to build or install.
//! 2. When work ends is the schedule's choice: [`Host::finish_write`], [`Host::apply`] and the others end one piece and step the replica with its
//!    outcome.
//! 3. What concerns others - messages, snapshots to ship, tickets that ended - is handed back.
//! 4. [`Host::crash`] takes back what was not safe; [`Host::boot`] begins the next life.
//!
//! The state of the shard is a digest over what was applied, so that two states are compared by one number.

use crate::monitor::{Breach, Monitor};
use crate::{
    Boot, BootError, Consensus, ConsensusFactory, Effect, Entry, EntryKind, Index, Input, Instant,
    LogId, LogView, MemLog, MessageClass, NodeId, Rejection, Role, ShardId, Snapshot,
    SnapshotHandle, Standing, Status, StorageFault, Term, Ticket, WriteId,
};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a replica wanted that is not for its host alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message is on its way.
    Sent {
        /// To whom.
        to: NodeId,
        /// What for.
        class: MessageClass,
        /// What.
        message: Bytes,
    },
    /// A snapshot is on its way.
    Shipped {
        /// To whom.
        to: NodeId,
        /// What goes with it.
        message: Bytes,
        /// The state it is of.
        state: State,
    },
    /// A ticket ended with a place in the log.
    Accepted {
        /// Whose.
        ticket: Ticket,
        /// Its entry.
        at: LogId,
    },
    /// A ticket ended in nothing.
    Rejected {
        /// Whose.
        ticket: Ticket,
        /// Why.
        why: Rejection,
    },
    /// A read may be done.
    ReadReady {
        /// Whose.
        ticket: Ticket,
        /// The state to wait for.
        after_applying: Index,
        /// Until when the value counts.
        valid_until: Option<Instant>,
    },
    /// The role is another.
    RoleChanged {
        /// What it is.
        role: Role,
        /// Since when.
        term: Term,
        /// Who leads.
        leader: Option<NodeId>,
    },
}

/// The state of a shard, as far as a test needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The last entry it has.
    pub applied: LogId,
    /// The membership as of that.
    pub membership: Bytes,
    /// Over the names and payloads of all that was applied, in order.
    pub digest: u64,
}

impl State {
    fn apply(&mut self, entry: &Entry) {
        self.applied = entry.id;
        let kind = match entry.kind {
            EntryKind::Noop => 0,
            EntryKind::Data => 1,
            EntryKind::Config => 2,
        };
        for number in [entry.id.term.0, entry.id.index.0, kind] {
            self.digest = digest(self.digest, &number.to_le_bytes());
        }
        self.digest = digest(self.digest, &entry.payload);
    }
}

/// FNV-1a, 64 bits (Fowler, Noll, Vo), from `digest` on.
fn digest(digest: u64, bytes: &[u8]) -> u64 {
    let start = digest ^ 0xCBF2_9CE4_8422_2325;
    bytes
        .iter()
        .fold(start, |digest, byte| (digest ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3))
}

/// What is under way in a host.
#[derive(Debug, Default)]
struct Work {
    /// Messages that wait for a write.
    held: VecDeque<(WriteId, Event)>,
    /// Ranges to apply, each with the membership as of its end.
    applies: VecDeque<(Index, Index, Option<Bytes>)>,
    /// Snapshots to ship, once the state has as much.
    ships: VecDeque<(NodeId, Bytes, Index)>,
    /// A snapshot to install.
    install: Option<SnapshotHandle>,
    is_building: bool,
}

/// A replica and everything its driver has of it.
pub struct Host {
    me: NodeId,
    shard: ShardId,
    factory: Arc<dyn ConsensusFactory>,
    log: Arc<MemLog>,
    life: u64,
    /// `None` while its process is dead.
    replica: Option<Box<dyn Consensus>>,
    monitor: Monitor,
    /// After the last step.
    status: Option<Status>,
    /// It may lack entries that it acknowledged.
    has_forgotten: bool,
    /// The last write that is safe.
    safe_write: WriteId,
    work: Work,
    state: State,
    /// What a crash takes the state back to. `safe_state.applied <= state.applied`.
    safe_state: State,
    snapshots: BTreeMap<SnapshotHandle, State>,
    last_handle: SnapshotHandle,
    effects: Vec<Effect>,
}

impl Host {
    /// A replica that never lived. `membership` is empty in one that joins a group.
    pub fn new(
        factory: Arc<dyn ConsensusFactory>,
        (shard, me): (ShardId, NodeId),
        membership: Bytes,
    ) -> Self {
        let log = Arc::new(MemLog::default());
        let state = State { membership, ..State::default() };
        Self {
            me,
            shard,
            factory,
            monitor: Monitor::new(&*log, Index::ZERO),
            log,
            status: None,
            has_forgotten: false,
            life: 0,
            replica: None,
            safe_write: WriteId::ZERO,
            work: Work::default(),
            safe_state: state.clone(),
            state,
            snapshots: BTreeMap::new(),
            last_handle: SnapshotHandle::ZERO,
            effects: Vec::new(),
        }
    }

    /// Begins a life with what is safe.
    ///
    /// # Errors
    ///
    /// As the factory says.
    pub fn boot(
        &mut self,
        now: Instant,
        seed: u64,
        (standing, priority): (Standing, u8),
    ) -> Result<(), BootError> {
        debug_assert!(self.replica.is_none());
        let applied = self.safe_state.applied;
        // An installation that was cut short between the state and the log.
        if self.log.term(applied.index) != Some(applied.term) && applied != LogId::ZERO {
            self.log.reset(applied);
        }
        let base = self.log.first().previous().filter(|base| *base > Index::ZERO);
        let snapshot = base.and_then(|index| Some(LogId { term: self.log.term(index)?, index }));
        self.monitor = Monitor::new(&*self.log, applied.index);
        let last = self.log.last().index;
        let above = (applied.index.0 + 1..=last.0).filter_map(|index| self.log.entry(Index(index)));
        self.monitor.found(&above.collect::<Vec<_>>());
        self.safe_write = WriteId::ZERO;
        self.life += 1;
        self.replica = Some(self.factory.boot(Boot {
            me: self.me,
            shard: self.shard,
            seed,
            life: self.life,
            now,
            hard_state: self.log.hard_state(),
            membership: self.safe_state.membership.clone(),
            snapshot,
            applied: applied.index,
            log: Arc::clone(&self.log) as Arc<dyn LogView>,
            standing,
            priority,
        })?);
        Ok(())
    }

    /// Ends a life without warning; the tickets that were open.
    pub fn crash(&mut self) -> Vec<Ticket> {
        (self.replica, self.status) = (None, None);
        self.work = Work::default();
        self.snapshots.clear();
        self.log.crash();
        self.state = self.safe_state.clone();
        self.monitor.open().collect()
    }

    /// Loses up to `writes` of the last writes to the log, as a machine does that stops before they were synced; what the state has stays. How many.
    /// Of a dead replica.
    pub fn forget(&mut self, writes: u64) -> u64 {
        debug_assert!(self.replica.is_none());
        let lost = self.log.forget(writes, self.safe_state.applied.index);
        self.has_forgotten |= lost > 0;
        lost
    }

    /// Steps the replica with `input`, and begins what comes of it.
    ///
    /// # Errors
    ///
    /// A law that was broken. A dead replica takes no input, and breaks none.
    pub fn step(&mut self, now: Instant, input: Input) -> Result<Vec<Event>, Breach> {
        let Some(replica) = &mut self.replica else { return Ok(Vec::new()) };
        self.monitor.input(now, &input, replica.deadline());
        replica.step(now, input);
        self.drain()
    }

    /// Begins what the replica wants done already: called once after [`boot`](Self::boot).
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn drain(&mut self) -> Result<Vec<Event>, Breach> {
        let Some(replica) = &mut self.replica else { return Ok(Vec::new()) };
        let mut effects = std::mem::take(&mut self.effects);
        replica.drain(&mut effects);
        let status = replica.status();
        let watched = self.monitor.drained(&effects, &status);
        self.has_forgotten &= status.is_doubtful;
        self.status = Some(status);
        let mut events = Vec::new();
        effects.drain(..).for_each(|effect| self.begin(effect, &mut events));
        self.effects = effects;
        watched.map(|()| events)
    }

    fn begin(&mut self, effect: Effect, events: &mut Vec<Event>) {
        match effect {
            Effect::Store(store) => self.log.begin(store),
            Effect::Send { to, class, message, after } => {
                let sent = Event::Sent { to, class, message };
                match after.filter(|after| *after > self.safe_write) {
                    Some(after) => self.work.held.push_back((after, sent)),
                    None => events.push(sent),
                }
            }
            Effect::Apply { from, through, membership } => {
                self.work.applies.push_back((from, through, membership));
            }
            Effect::Accepted { ticket, at } => events.push(Event::Accepted { ticket, at }),
            Effect::Rejected { ticket, why } => events.push(Event::Rejected { ticket, why }),
            Effect::ReadReady { ticket, after_applying, valid_until } => {
                events.push(Event::ReadReady { ticket, after_applying, valid_until });
            }
            Effect::BuildSnapshot => self.work.is_building = true,
            Effect::ShipSnapshot { to, message, at_least } => {
                self.work.ships.push_back((to, message, at_least));
                self.ship(events);
            }
            Effect::InstallSnapshot { handle, .. } => self.work.install = Some(handle),
            Effect::TruncateLog { through } => self.log.truncate(through),
            Effect::RoleChanged { role, term, leader } => {
                events.push(Event::RoleChanged { role, term, leader });
            }
        }
    }

    /// Ships what the state is ready for.
    fn ship(&mut self, events: &mut Vec<Event>) {
        let applied = self.state.applied.index;
        let waiting = std::mem::take(&mut self.work.ships);
        for (to, message, at_least) in waiting {
            if at_least <= applied {
                events.push(Event::Shipped { to, message, state: self.state.clone() });
            } else {
                self.work.ships.push_back((to, message, at_least));
            }
        }
    }

    /// Whether a write is under way.
    pub fn is_writing(&self) -> bool {
        self.log.next_pending().is_some()
    }

    /// Whether the first write that is under way has a term or a vote.
    pub fn is_promising(&self) -> bool {
        self.log.is_promise_pending()
    }

    /// Ends the first write that is under way.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn finish_write(&mut self, now: Instant) -> Result<Vec<Event>, Breach> {
        let Some(write) = self.log.make_safe() else { return Ok(Vec::new()) };
        self.safe_write = write;
        let is_due = |(after, _): &mut (WriteId, Event)| *after <= write;
        let mut events: Vec<Event> = std::iter::from_fn(|| self.work.held.pop_front_if(is_due))
            .map(|(_, sent)| sent)
            .collect();
        events.append(&mut self.step(now, Input::Stored { write, result: Ok(()) })?);
        Ok(events)
    }

    /// Fails the first write that is under way; the replica is halted from then on.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn fail_write(&mut self, now: Instant) -> Result<Vec<Event>, Breach> {
        let Some(write) = self.log.next_pending() else { return Ok(Vec::new()) };
        self.work = Work::default();
        let fault = StorageFault { what: "the disk is gone".to_owned() };
        self.step(now, Input::Stored { write, result: Err(fault) })
    }

    /// Whether there is something to apply.
    pub fn is_applying(&self) -> bool {
        !self.work.applies.is_empty()
    }

    /// Applies the first range that was handed out; what was in it comes first.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn apply(&mut self, now: Instant) -> Result<(Vec<Entry>, Vec<Event>), Breach> {
        let Some((from, through, membership)) = self.work.applies.pop_front() else {
            return Ok(Default::default());
        };
        let entries: Vec<Entry> =
            (from.0..=through.0).filter_map(|index| self.log.entry(Index(index))).collect();
        if entries.len() as u64 != through.0 - from.0 + 1 {
            let what = format!("{from}..={through} is to be applied and not in the log");
            return Err(Breach { law: 4, what });
        }
        entries.iter().for_each(|entry| self.state.apply(entry));
        if let Some(membership) = membership {
            self.state.membership = membership;
        }
        let mut events = Vec::new();
        self.ship(&mut events);
        events.append(&mut self.step(now, Input::Applied { through })?);
        Ok((entries, events))
    }

    /// Makes the state safe as it is.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn flush(&mut self, now: Instant) -> Result<Vec<Event>, Breach> {
        self.safe_state = self.state.clone();
        self.step(now, Input::DurablyApplied { through: self.state.applied.index })
    }

    /// Has no room for what of the log the state has safely.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn release_log(&mut self, now: Instant) -> Result<Vec<Event>, Breach> {
        self.step(now, Input::LogReleased { through: self.safe_state.applied.index })
    }

    /// Whether a crash would take the state back.
    pub fn is_dirty(&self) -> bool {
        self.safe_state.applied < self.state.applied
    }

    /// Whether a snapshot is asked for.
    pub fn is_building(&self) -> bool {
        self.work.is_building
    }

    /// Ends the building of a snapshot.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn finish_build(&mut self, now: Instant) -> Result<Vec<Event>, Breach> {
        self.work.is_building = false;
        let snapshot = self.keep(self.state.clone());
        self.step(now, Input::SnapshotBuilt { snapshot })
    }

    /// Takes a snapshot that `from` shipped.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn arrive(
        &mut self,
        now: Instant,
        from: NodeId,
        message: Bytes,
        state: State,
    ) -> Result<Vec<Event>, Breach> {
        let snapshot = self.keep(state);
        self.step(now, Input::SnapshotArrived { from, message, snapshot })
    }

    fn keep(&mut self, state: State) -> Snapshot {
        self.last_handle = self.last_handle.next();
        let (through, membership) = (state.applied, state.membership.clone());
        self.snapshots.insert(self.last_handle, state);
        Snapshot { through, membership, handle: self.last_handle }
    }

    /// Whether a snapshot is to be installed: until it is, the log is not the one that goes with it.
    pub fn awaits_install(&self) -> bool {
        self.work.install.is_some()
    }

    /// Whether a snapshot is to be installed, and no write is under way any more.
    pub fn is_installing(&self) -> bool {
        self.work.install.is_some() && !self.is_writing()
    }

    /// Installs the state of a snapshot and not yet its log: a crash now is one between the two.
    pub fn install_state(&mut self) {
        if let Some(state) = self.work.install.and_then(|handle| self.snapshots.get(&handle)) {
            self.state = state.clone();
            self.safe_state = state.clone();
            self.work.applies.clear();
        }
    }

    /// Ends the installation of a snapshot.
    ///
    /// # Errors
    ///
    /// A law that was broken.
    pub fn finish_install(&mut self, now: Instant) -> Result<Vec<Event>, Breach> {
        self.install_state();
        self.work.install = None;
        self.log.reset(self.state.applied);
        self.step(now, Input::SnapshotInstalled { through: self.state.applied })
    }

    /// Its node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Its log.
    pub fn log(&self) -> &MemLog {
        &self.log
    }

    /// Its state.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The watch over its present life.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// When it wants a timer; `None` if it wants none, or is dead.
    pub fn deadline(&self) -> Option<Instant> {
        self.replica.as_ref()?.deadline()
    }

    /// What it was after its last step; `None` if it is dead.
    pub fn status(&self) -> Option<&Status> {
        self.status.as_ref()
    }

    /// Whether it would still have this entry after a crash, or its state would; a machine that forgot had it once.
    pub fn keeps(&self, entry: LogId) -> bool {
        let is_safe = self.log.safe_entry(entry.index).is_some_and(|safe| safe.id == entry);
        is_safe || self.safe_state.applied.index >= entry.index || self.has_forgotten
    }
}
