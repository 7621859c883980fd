//! What the stores of a node share: a block cache, a budget for their memtables, and leave to compact.
//!
//! **Memtables.** Each store says what its memtables take.
//!
//! 1. From [`FLUSH_PERCENT`] of the budget on the largest active memtable of all is sealed, as long as more is in active memtables than
//!    waits for a flush: what waits will make room. One that has less than half of the largest is left alone.
//! 2. With all of it used up nobody applies anything before a flush has ended. Whoever is sent away sees to 1 as well, so there is one
//!    under way then.
//! 3. A store whose writing has ended gives back what it had: its memtables will never be flushed, and others must go on.
//!
//! **Cache.** It has what memtables, a share for buffers, and the filters and indexes of all stores leave.
//!
//! **Compactions.** So many run at a time on the node. A store that may not start one stands in line, and is asked again when its turn comes.

use crate::core::Core;
use crate::jobs::{Jobs, Token};
use crate::write::{has_room_to_seal, seal};
use crate::{Components, Settings, compact};
use nori_env::{Class, Job, Signal, Slice, Step, Tasks};
use nori_kv::Reason;
use nori_sstable::Cache;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Weak};

/// The share of the memtables' budget from which on the largest is flushed.
const FLUSH_PERCENT: u64 = 80;
/// The share of buffers, and the least of the cache.
const SHARE: u64 = 16;

/// See the module. One value for all stores of a node.
pub struct Shared {
    memory_bytes: u64,
    memtables_bytes_max: u64,
    cache_bytes_max: u64,
    pub(crate) cache: Arc<Cache>,
    seats: Mutex<Seats>,
    grants: Mutex<Grants>,
    /// Fires at the next end of a flush of any store; then it is replaced.
    progress: Mutex<Signal>,
}

/// What a store has of the budget, and its seat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Charged {
    pub(crate) seat: u64,
    /// Whether the active memtable may be sealed now.
    is_fit: bool,
    active: u64,
    sealed: u64,
    tables: u64,
}

#[derive(Default)]
struct Seats {
    next: u64,
    stores: BTreeMap<u64, Seat>,
    /// Over all stores.
    sum: Charged,
}

struct Seat {
    store: Handle,
    charged: Charged,
}

/// A store that must not be kept open.
#[derive(Clone)]
struct Handle {
    core: Weak<Core>,
    jobs: Arc<Jobs>,
    tasks: Arc<dyn Tasks>,
}

impl Handle {
    fn of(core: &Arc<Core>) -> Self {
        let (jobs, tasks) = (Arc::clone(&core.jobs), Arc::clone(&core.parts.tasks));
        Self { core: Arc::downgrade(core), jobs, tasks }
    }
}

struct Grants {
    free: usize,
    /// No store stands in it twice.
    line: VecDeque<(u64, Handle)>,
}

impl Shared {
    /// For stores with these settings, whose memory is that of all together: memtables may have three times what one may have.
    pub fn new(settings: &Settings, components: &Components) -> Arc<Self> {
        let memtables = 1 + settings.memtables_sealed_max as u64;
        let cache = (components.cache)(settings.cache_bytes);
        Arc::new(Self {
            memory_bytes: settings.memory_bytes,
            memtables_bytes_max: memtables * settings.memtable_bytes,
            cache_bytes_max: settings.cache_bytes as u64,
            cache: Cache::new(cache, settings.cache_bytes),
            seats: Mutex::default(),
            grants: Mutex::new(Grants {
                free: settings.compaction_jobs_max,
                line: VecDeque::new(),
            }),
            progress: Mutex::default(),
        })
    }

    /// What all memtables take, in bytes.
    pub fn memtable_bytes(&self) -> u64 {
        let sum = self.seats.lock().sum;
        sum.active + sum.sealed
    }

    /// What all memtables may take, in bytes.
    pub fn memtables_bytes_max(&self) -> u64 {
        self.memtables_bytes_max
    }

    /// Takes note of a store that was opened.
    pub(crate) fn enter(&self, core: &Arc<Core>) {
        let store = Handle::of(core);
        let mut seats = self.seats.lock();
        let seat = seats.next;
        seats.next += 1;
        let charged = Charged { seat, ..Charged::default() };
        seats.stores.insert(seat, Seat { store, charged });
        *core.charged.lock() = charged;
    }

    fn charge(&self, now: Charged) {
        let mut seats = self.seats.lock();
        let Seats { stores, sum, .. } = &mut *seats;
        let Some(seat) = stores.get_mut(&now.seat) else { return };
        let was = std::mem::replace(&mut seat.charged, now);
        sum.active = sum.active + now.active - was.active;
        sum.sealed = sum.sealed + now.sealed - was.sealed;
        sum.tables = sum.tables + now.tables - was.tables;
        debug_assert!(sum.sealed < u64::MAX / 2 && sum.active < u64::MAX / 2);
        let is_less = now.active + now.sealed < was.active + was.sealed;
        drop(seats);
        if is_less {
            self.notify();
        }
    }

    /// A store ends writing, or is closed.
    fn leave(&self, seat: u64) {
        self.charge(Charged { seat, ..Charged::default() });
        self.seats.lock().stores.remove(&seat);
        self.grants.lock().line.retain(|(waiting, _)| *waiting != seat);
        self.notify();
    }

    /// Whether memtables have all they may.
    pub(crate) fn is_spent(&self) -> bool {
        self.memtable_bytes() >= self.memtables_bytes_max
    }

    /// A signal that fires when memtables have less. Take it *before* looking.
    pub(crate) fn progress(&self) -> Signal {
        self.progress.lock().clone()
    }

    fn notify(&self) {
        let past = std::mem::take(&mut *self.progress.lock());
        past.fire();
    }

    /// The store whose active memtable is to be flushed for the sake of all.
    fn largest(&self) -> Option<Handle> {
        let seats = self.seats.lock();
        let sum = seats.sum;
        let is_due = (sum.active + sum.sealed) * 100 >= self.memtables_bytes_max * FLUSH_PERCENT;
        if !is_due || sum.sealed > sum.active {
            return None;
        }
        let all = || seats.stores.values();
        let most = all().map(|seat| seat.charged.active).max()?;
        // If the largest has no room to be sealed its flushes are under way, and to flush those that have next to nothing gains nothing.
        let fit = all().filter(|seat| seat.charged.is_fit && seat.charged.active * 2 >= most);
        fit.max_by_key(|seat| seat.charged.active).map(|seat| seat.store.clone())
    }

    fn cache_bytes(&self) -> usize {
        let (share, tables) = (self.memory_bytes / SHARE, self.seats.lock().sum.tables);
        let rest = self.memory_bytes.saturating_sub(self.memtables_bytes_max + share + tables);
        self.cache_bytes_max.min(rest.max(share)) as usize
    }

    /// Asks the first in line, if a compaction may start. Whoever was asked and had nothing to do passes it on.
    fn pass_on(self: &Arc<Self>) {
        let next = {
            let mut grants = self.grants.lock();
            let next = if grants.free > 0 { grants.line.pop_front() } else { None };
            // Of whom stands in line and of whom has a job, it is always one.
            next.map(|(_, store)| (store.jobs.begin(), store))
        };
        if let Some((token, store)) = next {
            let tasks = Arc::clone(&store.tasks);
            let turn = Turn { store, shared: Arc::clone(self), _token: token };
            tasks.submit(Class::CompactionShallow, Box::new(turn));
        }
    }
}

/// Leave to run a compaction, until it is dropped.
pub(crate) struct Grant {
    shared: Option<Arc<Shared>>,
}

impl Grant {
    /// One that nobody counts.
    pub(crate) fn free() -> Self {
        Self { shared: None }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.grants.lock().free += 1;
            shared.pass_on();
        }
    }
}

/// Asks a store whose turn has come what it wants to compact.
struct Turn {
    store: Handle,
    shared: Arc<Shared>,
    _token: Token,
}

impl Job for Turn {
    fn step(&mut self, _: &Slice) -> Step {
        with_open(&self.store, compact::schedule);
        self.shared.pass_on();
        Step::Done
    }
}

/// Does something with a store that is open, and does not let it close meanwhile.
fn with_open(store: &Handle, act: impl FnOnce(&Arc<Core>)) {
    let token = store.jobs.begin();
    if !store.jobs.is_closing()
        && let Some(core) = store.core.upgrade()
    {
        act(&core);
    }
    drop(token);
}

impl Core {
    /// Says what the store takes of the shared budget.
    pub(crate) fn charge(&self) {
        let Some(shared) = &self.shared else { return };
        // Looked at under the lock: who looks later says more.
        let mut charged = self.charged.lock();
        let sv = self.super_version.load();
        let now = Charged {
            is_fit: !sv.active.is_empty() && has_room_to_seal(self),
            active: sv.active.bytes(),
            sealed: sv.sealed_bytes(),
            tables: self.tables.memory_bytes() as u64,
            ..*charged
        };
        if *charged != now && self.poison.get().is_none() {
            *charged = now;
            shared.charge(now);
        }
    }

    /// Gives back what it had of the budget, for good.
    pub(crate) fn discharge(&self) {
        if let Some(shared) = &self.shared {
            let seat = self.charged.lock().seat;
            shared.leave(seat);
        }
    }

    /// Gives the shared cache what all stores leave.
    pub(crate) fn weigh_shared(&self, shared: &Shared) {
        self.charge();
        shared.cache.resize(shared.cache_bytes());
    }

    /// Has the largest memtable of the node flushed if it is time. Nobody holds a lock of a store.
    pub(crate) fn relieve(&self) {
        let Some(largest) = self.shared.as_ref().and_then(|shared| shared.largest()) else {
            return;
        };
        with_open(&largest, |core| {
            let mut order = core.order.lock();
            if order.active.is_empty() || !has_room_to_seal(core) {
                return;
            }
            if let Err(error) = seal(core, &mut order, Reason::SharedBudget, 0) {
                drop(order);
                core.end_writing(&error);
            }
        });
    }

    /// Whether it waits for leave to start a compaction.
    pub(crate) fn is_in_line(&self) -> bool {
        let Some(shared) = &self.shared else { return false };
        let seat = self.charged.lock().seat;
        shared.grants.lock().line.iter().any(|(waiting, _)| *waiting == seat)
    }

    /// Leave to start a compaction; without, the store stands in line.
    pub(crate) fn grant(self: &Arc<Self>) -> Option<Grant> {
        let Some(shared) = &self.shared else { return Some(Grant::free()) };
        let seat = self.charged.lock().seat;
        let mut grants = shared.grants.lock();
        if grants.free > 0 {
            grants.free -= 1;
            return Some(Grant { shared: Some(Arc::clone(shared)) });
        }
        if grants.line.iter().all(|(waiting, _)| *waiting != seat) {
            grants.line.push_back((seat, Handle::of(self)));
        }
        None
    }
}
