//! One replica of a shard: a protocol, a state machine, and the requests that are under way between them.
//!
//! Whoever drives it goes round in rounds:
//!
//! 1. [`request`](Replica::request), [`step`](Replica::step) and [`fetched`](Replica::fetched), as often as there is something;
//! 2. [`drain`](Replica::drain): what is to be done. All of it is **begun** before the next round; the log then shows every store;
//! 3. [`work`](Replica::work), which applies what may be applied and tells the protocol of it; if it says so, there is more to drain.
//!
//! Nothing here waits, or knows the time but from what it is told.

mod effects;
mod expiry;
mod requests;

use crate::error::ReplicaError;
use crate::machine::{Fetch, Fetched, Machine, State, Step};
use crate::request::{Age, Answer, Freshness, Now, RequestId, Target};
use bytes::Bytes;
use foldhash::HashMap;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{
    Boot, Consensus, ConsensusFactory, Effect, Entry, Index, Input, Instant, LogId, LogView,
    MessageClass, NodeId, Role, ShardId, Slice, SnapshotHandle, Standing, Status, Store, Term,
    Ticket, WriteId,
};
use nori_env::Signal;
use nori_kv::Engine;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Entries are read from the log to be applied in pieces of this many bytes.
const APPLY_BYTES: usize = 1 << 20;
/// And so many bytes of them are applied at once, with so much for each beside its own: then others of the node have their turn.
const APPLY_BUDGET_BYTES: usize = 256 << 10;
const APPLY_ENTRY_BYTES: usize = 256;

/// What a replica is set to. May differ between the replicas of a group: what counts is what the leader of the day says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest key, in bytes.
    pub key_bytes_max: usize,
    /// The longest value, in bytes.
    pub value_bytes_max: usize,
    /// Keys and values of one write together, in bytes.
    pub write_bytes_max: usize,
    /// Identities are remembered for so long.
    pub identity_window: Duration,
    /// And so many of them, the newest; above twice as many, no more are taken.
    pub identities_max: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            key_bytes_max: 4 << 10,
            value_bytes_max: 1 << 20,
            write_bytes_max: 4 << 20,
            identity_window: Duration::from_secs(600),
            identities_max: 65_536,
        }
    }
}

/// What a replica begins a life with.
pub struct Opening<'f> {
    /// Its node.
    pub me: NodeId,
    /// Its shard.
    pub shard: ShardId,
    /// The protocol.
    pub protocol: &'f dyn ConsensusFactory,
    /// The membership of the founding, as the protocol makes it; empty in one that joins.
    pub founding: Bytes,
    /// The state.
    pub state: State,
    /// The log. It begins at what the state has, or before it.
    pub log: Arc<dyn LogView>,
    /// As the log kept it.
    pub hard_state: Bytes,
    /// Which life this is, from 1 on.
    pub life: u64,
    /// Where the protocol's choices come from.
    pub seed: u64,
    /// Whether it can keep what it promised.
    pub standing: Standing,
    /// Whom the group prefers as leader.
    pub priority: u8,
    /// The limits.
    pub settings: Settings,
}

/// Something for the driver to do, or to pass on. The order is the protocol's.
#[derive(Debug)]
pub enum Output {
    /// Make this safe; [`Input::Stored`] says when it is.
    Store(Store),
    /// Send a message.
    Send {
        /// To whom.
        to: NodeId,
        /// What for.
        class: MessageClass,
        /// What.
        message: Bytes,
        /// Not before this write is safe.
        after: Option<WriteId>,
    },
    /// A request has ended.
    Answer(Answer),
    /// Rows to fetch, where blocking is allowed; [`Replica::fetched`] takes them.
    Fetch(Fetch),
    /// Call [`Replica::work`] once this has fired.
    WakeOn(Signal),
    /// Make a snapshot of the state; [`Input::SnapshotBuilt`] brings it.
    BuildSnapshot,
    /// Bring a peer a snapshot; [`Input::SnapshotShipped`] says when that ended.
    ShipSnapshot {
        /// To whom.
        to: NodeId,
        /// What goes with it.
        message: Bytes,
        /// What it has to cover.
        at_least: Index,
    },
    /// Put state and log at the snapshot, and hand the new state to [`Replica::installed`]. This replica holds the old one no more.
    InstallSnapshot {
        /// Which.
        handle: SnapshotHandle,
        /// The log is empty then, and begins behind this.
        reset_log_to: LogId,
    },
    /// Entries up to here are not needed any more.
    TruncateLog {
        /// Inclusive.
        through: Index,
    },
    /// Who leads, or what this replica is, is another.
    RoleChanged {
        /// What it is.
        role: Role,
        /// Since when.
        term: Term,
        /// Who leads.
        leader: Option<NodeId>,
    },
}

/// Whose a ticket is.
#[derive(Debug)]
enum Open {
    Write(RequestId),
    Reform(RequestId),
    Read(RequestId, Freshness, Target),
    Expire,
}

/// A read that waits for the state.
#[derive(Debug)]
struct Waiting {
    request: RequestId,
    freshness: Freshness,
    target: Target,
    valid_until: Option<Instant>,
    age: Age,
}

/// Entries to apply.
#[derive(Debug)]
struct Range {
    next: Index,
    through: Index,
    membership: Option<Bytes>,
}

/// Why nothing is applied now.
#[derive(Debug)]
enum Blocked {
    /// The engine takes nothing until this fires.
    Busy(Signal),
    /// Rows are being fetched.
    Fetching,
    /// Entries are being fetched, which an earlier life had applied and this one has not.
    Log,
}

/// A replica.
pub struct Replica {
    me: NodeId,
    shard: ShardId,
    settings: Settings,
    consensus: Box<dyn Consensus>,
    log: Arc<dyn LogView>,
    /// `None` while a snapshot is being installed.
    machine: Option<Machine>,
    last_ticket: Ticket,
    tickets: HashMap<Ticket, Open>,
    /// Accepted, by place; the entry that is applied there may be another.
    accepted: BTreeMap<Index, (LogId, Open)>,
    /// By the entry that the state has to have.
    reads: BTreeMap<Index, Vec<Waiting>>,
    /// Until when those wait whose entry may never come; they may have been answered since.
    patience: BTreeSet<(Instant, RequestId, Index)>,
    ranges: VecDeque<Range>,
    /// Entries of the first range, read from the log.
    entries: VecDeque<Entry>,
    blocked: Option<Blocked>,
    fetched: Option<Fetched>,
    /// What the protocol was told of.
    told: Told,
    /// The last time that the state is known to have had everything: by the read index that somebody asked the leader for then.
    fresh: Option<(Instant, Index)>,
    expiry: expiry::Expiry,
    /// Writes that got their place in the log in the last drain.
    placed: Vec<(RequestId, Index)>,
    effects: Vec<Effect>,
    outputs: Vec<Output>,
}

#[derive(Debug, Default)]
struct Told {
    applied: Index,
    safe: Index,
    debt_bytes: u64,
}

impl Told {
    fn new(at: Index) -> Self {
        Self { applied: at, safe: at, debt_bytes: 0 }
    }
}

impl Replica {
    /// Begins a life.
    ///
    /// # Errors
    ///
    /// If what was stored does not go together.
    pub fn open(opening: Opening<'_>, now: Now) -> Result<Self, ReplicaError> {
        let mut machine = opening.state.into_machine();
        machine.found(opening.founding.clone());
        let (log, applied) = (opening.log, machine.applied());
        let base = log.first().previous().filter(|base| *base > Index::ZERO);
        let snapshot = base.and_then(|index| Some(LogId { term: log.term(index)?, index }));
        let membership = machine.membership(applied.index).cloned().unwrap_or(opening.founding);
        let consensus = opening.protocol.boot(Boot {
            me: opening.me,
            shard: opening.shard,
            seed: opening.seed,
            life: if mutant::is(Mutant::LifeNotRaised) { 1 } else { opening.life },
            now: now.steady,
            hard_state: opening.hard_state,
            membership,
            snapshot,
            applied: applied.index,
            log: Arc::clone(&log),
            standing: opening.standing,
            priority: opening.priority,
        })?;
        Ok(Self {
            me: opening.me,
            shard: opening.shard,
            settings: opening.settings,
            consensus,
            log,
            machine: Some(machine),
            last_ticket: Ticket::ZERO,
            tickets: HashMap::default(),
            accepted: BTreeMap::new(),
            reads: BTreeMap::new(),
            patience: BTreeSet::new(),
            ranges: VecDeque::new(),
            entries: VecDeque::new(),
            blocked: None,
            fetched: None,
            told: Told::new(applied.index),
            fresh: None,
            expiry: expiry::Expiry::default(),
            placed: Vec::new(),
            effects: Vec::new(),
            outputs: Vec::new(),
        })
    }

    /// Its node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// Its shard.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// What the protocol says of itself.
    pub fn status(&self) -> Status {
        self.consensus.status()
    }

    /// The last entry that the state has; `None` while a snapshot is being installed.
    pub fn applied(&self) -> Option<LogId> {
        self.machine.as_ref().map(Machine::applied)
    }

    /// The clients' writes that the last [`drain`](Self::drain) gave a place in the log, for whoever follows their way.
    pub fn placed(&self) -> &[(RequestId, Index)] {
        &self.placed
    }

    /// The last entry that may be applied, whether it is or not.
    pub fn committed(&self) -> Index {
        let applied = || self.applied().map_or(Index::ZERO, |at| at.index);
        self.ranges.back().map_or_else(applied, |range| range.through)
    }

    /// The last entry that no crash takes away from the state; `None` while a snapshot is being installed.
    pub fn safe(&self) -> Option<LogId> {
        self.machine.as_ref().map(Machine::safe)
    }

    /// The membership as of `index`, at or after [`safe`](Self::safe), as it goes with a snapshot.
    pub fn membership(&self, index: Index) -> Option<Bytes> {
        self.machine.as_ref()?.membership(index).cloned()
    }

    /// The state's engine.
    pub fn engine(&self) -> Option<&Arc<dyn Engine>> {
        self.machine.as_ref().map(Machine::engine)
    }

    /// When to call [`tick`](Self::tick), if nothing else happens before.
    pub fn deadline(&self) -> Option<Instant> {
        let patience = self.patience.first().map(|(until, ..)| *until);
        let all = [self.consensus.deadline(), self.expiry.deadline(), patience];
        all.into_iter().flatten().min()
    }

    /// The time that was asked for has come, or not yet.
    pub fn tick(&mut self, now: Now) {
        if self.consensus.deadline().is_some_and(|deadline| deadline <= now.steady) {
            self.consensus.step(now.steady, Input::TimerFired);
        }
        self.lose_patience(now);
        self.expire(now);
    }

    /// Tells the protocol something. What is applied it learns from here.
    pub fn step(&mut self, now: Now, input: Input) {
        debug_assert!(
            !matches!(
                input,
                Input::Applied { .. }
                    | Input::DurablyApplied { .. }
                    | Input::ApplyDebt { .. }
                    | Input::SnapshotInstalled { .. }
            ),
            "a replica is asked to hear of itself"
        );
        if matches!(input, Input::LogFetched) && matches!(self.blocked, Some(Blocked::Log)) {
            self.blocked = None;
        }
        self.consensus.step(now.steady, input);
    }

    /// Tells the protocol that there is no room for entries up to `through`; false if the state does not have them safely yet, and they stay.
    pub fn release_log(&mut self, now: Now, through: Index) -> bool {
        let is_safe = through <= self.told.safe;
        if is_safe {
            self.step(now, Input::LogReleased { through });
        }
        is_safe
    }

    /// Rows that were fetched.
    pub fn fetched(&mut self, fetched: Fetched) {
        if let Some(Blocked::Fetching) = self.blocked {
            self.blocked = None;
            self.fetched = Some(fetched);
        }
    }

    /// The state is that of the snapshot which was to be installed, and the log begins behind it.
    pub fn installed(&mut self, now: Now, state: State) {
        let mut machine = state.into_machine();
        if mutant::is(Mutant::InstallForgetsIdentities) {
            machine.forget_identities();
        }
        let through = machine.applied();
        self.told = Told::new(through.index);
        self.machine = Some(machine);
        self.consensus.step(now.steady, Input::SnapshotInstalled { through });
    }

    /// By the leader's word, everything that was written before `asked` is in the entries up to `index`.
    pub fn refresh(&mut self, asked: Instant, index: Index) {
        self.fresh = self.fresh.max(Some((asked, index)));
    }

    /// Applies what may be applied, up to a bound, answers what can be answered, tells the protocol. Whether there is something to drain, or more to apply.
    ///
    /// # Errors
    ///
    /// If an entry cannot be applied. The replica has to end then: its next life begins with what is safe.
    pub fn work(&mut self, now: Now) -> Result<bool, ReplicaError> {
        let is_unfinished = self.apply()?;
        let has_told = self.tell(now)?;
        self.answer_reads(now)?;
        let has_expired = self.expire(now);
        Ok(is_unfinished || has_told || has_expired || !self.outputs.is_empty())
    }

    /// Tells the protocol how far the state is; whether there was news.
    fn tell(&mut self, now: Now) -> Result<bool, ReplicaError> {
        let debt_bytes = self.debt_bytes();
        let Some(machine) = &mut self.machine else { return Ok(false) };
        machine.look()?;
        let (applied, mut safe) = (machine.applied().index, machine.safe().index);
        if mutant::is(Mutant::AppliedToldAsSafe) {
            safe = applied;
        }
        let is_further = applied > self.told.applied;
        if is_further {
            self.consensus.step(now.steady, Input::Applied { through: applied });
        }
        let is_safer = safe > self.told.safe;
        if is_safer {
            self.consensus.step(now.steady, Input::DurablyApplied { through: safe });
        }
        let is_owing = debt_bytes != self.told.debt_bytes;
        if is_owing {
            self.consensus.step(now.steady, Input::ApplyDebt { bytes: debt_bytes });
        }
        self.told = Told { applied, safe, debt_bytes };
        Ok(is_further || is_safer || is_owing)
    }

    /// What is to be applied and waits, in bytes; what was not read from the log yet counts as what was does.
    fn debt_bytes(&self) -> u64 {
        let read: u64 = self.entries.iter().map(|entry| entry.bytes() as u64).sum();
        let entries: u64 = self.ranges.iter().map(|range| range.through.0 + 1 - range.next.0).sum();
        match self.entries.len() as u64 {
            0 => 0,
            n => read / n * entries,
        }
    }

    /// Whether there is more that can be applied at once.
    fn apply(&mut self) -> Result<bool, ReplicaError> {
        if matches!(&self.blocked, Some(Blocked::Busy(signal)) if signal.is_fired()) {
            self.blocked = None;
        }
        let mut budget = APPLY_BUDGET_BYTES;
        while self.blocked.is_none()
            && let Some((entry, membership)) = self.next_entry()?
        {
            if budget == 0 {
                return Ok(true);
            }
            budget = budget.saturating_sub(entry.bytes() + APPLY_ENTRY_BYTES);
            let Some(machine) = &mut self.machine else { return Ok(false) };
            match machine.apply(&entry, membership.as_ref(), self.fetched.take())? {
                Step::Done(outcome) => {
                    self.pop_entry();
                    self.settle(entry.id, outcome);
                }
                Step::Busy(signal) => {
                    self.blocked = Some(Blocked::Busy(signal.clone()));
                    self.outputs.push(Output::WakeOn(signal));
                }
                Step::Fetch(fetch) => {
                    self.blocked = Some(Blocked::Fetching);
                    self.outputs.push(Output::Fetch(fetch));
                }
            }
        }
        Ok(false)
    }

    /// The next entry to apply, and the membership that begins with it.
    fn next_entry(&mut self) -> Result<Option<(Entry, Option<Bytes>)>, ReplicaError> {
        let Some(range) = self.ranges.front() else { return Ok(None) };
        if self.entries.is_empty() {
            match self.log.slice(range.next, range.through.next(), APPLY_BYTES) {
                Slice::Ready(entries) => self.entries.extend(entries),
                // Entries above what this life has applied are at hand, but an earlier one in the same process may have applied more. The log says that it waits
                // for them, and whoever drives this replica has them fetched.
                Slice::Pending => {
                    self.blocked = Some(Blocked::Log);
                    return Ok(None);
                }
            }
        }
        let Some(entry) = self.entries.front().cloned() else {
            return Err(ReplicaError::Log { at: range.next });
        };
        let is_last = entry.id.index == range.through;
        Ok(Some((entry, range.membership.clone().filter(|_| is_last))))
    }

    fn pop_entry(&mut self) {
        self.entries.pop_front();
        if let Some(range) = self.ranges.front_mut() {
            range.next = range.next.next();
            if range.next > range.through {
                self.ranges.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests;
