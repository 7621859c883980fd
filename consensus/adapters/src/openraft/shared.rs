//! What openraft's tasks and the replica share: effects that are to go out, and who waits for which input.

use super::types::{
    Done, TheirMembership, TheirStored, TheirVote, Types, from_bytes, our_entry, our_id, to_bytes,
};
use super::types::{TheirEntry, TheirLogId};
use crate::envelope::{Address, seal};
use crate::openraft::message::{Body, Message};
use crate::overlay::Overlay;
use bytes::Bytes;
use nori_consensus::{
    Boot, Effect, Entry, EntryKind, Index, LogId, MessageClass, NodeId, Rejection, ShardId,
    SnapshotHandle, Store, Ticket, WriteId,
};
use openraft::async_runtime::oneshot::OneshotSender;
use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;

/// Who is told when a write is safe.
enum Waiter {
    Promise(Done<io::Result<()>>),
    Entries(IOFlushed<Types>),
    Nobody,
}

/// A write under way, and the last entry of it that no later one took away.
struct Write {
    id: WriteId,
    last: Index,
    waiter: Waiter,
}

/// A range that is to be applied.
struct Apply {
    from: Index,
    through: Index,
    membership: Option<TheirStored>,
    done: Done<()>,
}

/// A snapshot that is being installed.
struct Install {
    stored: TheirStored,
    done: Done<()>,
}

pub(super) struct Shared {
    pub(super) me: NodeId,
    pub(super) shard: ShardId,
    life: u64,
    pub(super) log: RefCell<Overlay>,
    pub(super) vote: RefCell<Option<TheirVote>>,
    effects: RefCell<Vec<Effect>>,
    /// Nothing came since the last drain.
    is_drained: Cell<bool>,
    /// Writes, and tickets that end with them, which wait for a snapshot to be installed: meanwhile nothing is stored.
    held: RefCell<Vec<Effect>>,
    last_write: Cell<WriteId>,
    writes: RefCell<VecDeque<Write>>,
    /// The last entry that is safe here.
    safe: Cell<Index>,
    /// Committed and not handed out: what is not safe here waits.
    applies: RefCell<VecDeque<Apply>>,
    applying: RefCell<VecDeque<(Index, Done<()>)>>,
    pub(super) applied: Cell<LogId>,
    /// What the state has safely. `durable <= applied`.
    pub(super) durable: Cell<LogId>,
    /// Memberships by the index of their entry, from the one as of `durable` on.
    memberships: RefCell<BTreeMap<Index, TheirStored>>,
    install: RefCell<Option<Install>>,
    /// Requests that were sent and not answered.
    calls: RefCell<BTreeMap<u64, Done<Body>>>,
    called: Cell<u64>,
    /// The request that goes with the snapshot under way to each.
    ships: RefCell<BTreeMap<NodeId, u64>>,
    fetches: RefCell<Vec<Done<()>>>,
    /// It has not begun yet: nothing can be waited for.
    pub(super) is_beginning: Cell<bool>,
    open: RefCell<BTreeSet<Ticket>>,
    /// A change of the membership that is asked for and has no entry yet.
    pub(super) change: Cell<Option<Ticket>>,
}

impl Shared {
    /// `None` if what was stored is none of openraft's.
    pub(super) fn new(boot: &Boot) -> Option<Self> {
        let vote = match boot.hard_state.is_empty() {
            true => None,
            false => Some(from_bytes(&boot.hard_state)?),
        };
        let stored: TheirStored = match boot.membership.is_empty() {
            // Whoever joins is taken for one who has applied the founding and knows nobody.
            true => TheirStored::new(
                Some(super::types::their_id(LogId::ZERO)),
                TheirMembership::default(),
            ),
            false => from_bytes(&boot.membership)?,
        };
        let log = Overlay::new(boot.log.clone());
        let term = log.term(boot.applied).unwrap_or_default();
        let applied = LogId { term, index: boot.applied };
        let at = our_id(stored.log_id().as_ref()).index;
        Some(Self {
            me: boot.me,
            shard: boot.shard,
            life: boot.life,
            safe: Cell::new(log.last().index),
            log: RefCell::new(log),
            vote: RefCell::new(vote),
            effects: RefCell::default(),
            is_drained: Cell::new(false),
            held: RefCell::default(),
            last_write: Cell::new(WriteId::ZERO),
            writes: RefCell::default(),
            applies: RefCell::default(),
            applying: RefCell::default(),
            applied: Cell::new(applied),
            durable: Cell::new(applied),
            memberships: RefCell::new(BTreeMap::from([(at, stored)])),
            install: RefCell::default(),
            calls: RefCell::default(),
            called: Cell::new(0),
            ships: RefCell::default(),
            fetches: RefCell::default(),
            is_beginning: Cell::new(true),
            open: RefCell::default(),
            change: Cell::new(None),
        })
    }

    pub(super) fn is_installing(&self) -> bool {
        self.install.borrow().is_some()
    }

    pub(super) fn effect(&self, effect: Effect) {
        self.effects.borrow_mut().push(effect);
    }

    /// What came of the steps since the last call.
    pub(super) fn drain(&self, effects: &mut Vec<Effect>) {
        effects.append(&mut self.effects.borrow_mut());
        self.is_drained.set(true);
    }

    /// A step begins: if it is the first since a drain, the driver has begun everything that was drained.
    pub(super) fn settle(&self) {
        if self.is_drained.replace(false) {
            self.log.borrow_mut().settle();
        }
    }

    // Tickets.

    pub(super) fn ask(&self, ticket: Ticket) {
        self.open.borrow_mut().insert(ticket);
    }

    pub(super) fn reject(&self, ticket: Ticket, why: Rejection) {
        if self.open.borrow_mut().remove(&ticket) {
            self.effect(Effect::Rejected { ticket, why });
        }
    }

    pub(super) fn ready(&self, ticket: Ticket, after_applying: Index) {
        if self.open.borrow_mut().remove(&ticket) {
            self.effect(Effect::ReadReady { ticket, after_applying, valid_until: None });
        }
    }

    /// Those that have not ended.
    pub(super) fn open(&self) -> Vec<Ticket> {
        self.open.borrow().iter().copied().collect()
    }

    // Writes.

    fn store(&self, store: Store, waiter: Waiter) {
        let (id, last) = (store.write, self.log.borrow().last().index);
        if let Some(from) = store.truncate_from {
            let kept = Index(from.0 - 1);
            self.safe.set(self.safe.get().min(kept));
            self.writes.borrow_mut().iter_mut().for_each(|write| write.last = kept.min(write.last));
        }
        self.writes.borrow_mut().push_back(Write { id, last, waiter });
        self.after_install(Effect::Store(store));
    }

    /// An effect that is a write, or rests on one.
    fn after_install(&self, effect: Effect) {
        match self.is_installing() {
            true => self.held.borrow_mut().push(effect),
            false => self.effect(effect),
        }
    }

    fn next_write(&self) -> WriteId {
        self.last_write.set(self.last_write.get().next());
        self.last_write.get()
    }

    pub(super) async fn promise(&self, vote: &TheirVote) -> io::Result<()> {
        self.vote.replace(Some(*vote));
        let (done, safe) = Types::oneshot();
        let store = Store {
            write: self.next_write(),
            hard_state: Some(to_bytes(vote)),
            truncate_from: None,
            entries: Vec::new(),
            sync: true,
        };
        self.store(store, Waiter::Promise(done));
        safe.await.unwrap_or_else(|_| Err(io::Error::other("the replica is gone")))
    }

    pub(super) fn append(&self, entries: &[TheirEntry], flushed: IOFlushed<Types>) {
        let ours: Vec<Entry> = entries.iter().map(our_entry).collect();
        self.log.borrow_mut().append(&ours);
        let ends: Vec<(Ticket, LogId)> = entries
            .iter()
            .zip(&ours)
            .filter_map(|(theirs, ours)| self.ended(theirs, ours))
            .collect();
        let store = Store {
            write: self.next_write(),
            hard_state: None,
            truncate_from: None,
            entries: ours,
            sync: false,
        };
        self.store(store, Waiter::Entries(flushed));
        for (ticket, at) in ends {
            if self.open.borrow_mut().remove(&ticket) {
                self.after_install(Effect::Accepted { ticket, at });
            }
        }
    }

    /// The ticket whose entry this is, if it was asked for here.
    fn ended(&self, theirs: &TheirEntry, ours: &Entry) -> Option<(Ticket, LogId)> {
        let leads = self.vote.borrow().as_ref().is_some_and(|vote| {
            let leader = vote.leader_id();
            vote.is_committed() && leader.voted_for == self.me.0 && leader.term == ours.id.term.0
        });
        let ticket = match &theirs.payload {
            openraft::EntryPayload::Normal(proposal) => proposal.ticket,
            openraft::EntryPayload::Membership(_) if leads => self.change.take(),
            _ => None,
        };
        ticket.map(|ticket| (ticket, ours.id))
    }

    pub(super) fn truncate(&self, from: Index) {
        if !self.log.borrow_mut().truncate(from) {
            return;
        }
        let store = Store {
            write: self.next_write(),
            hard_state: None,
            truncate_from: Some(from),
            entries: Vec::new(),
            sync: false,
        };
        self.store(store, Waiter::Nobody);
    }

    pub(super) fn stored(&self, write: WriteId) {
        let is_ended = |of: &mut Write| of.id <= write;
        loop {
            let Some(ended) = self.writes.borrow_mut().pop_front_if(is_ended) else { break };
            self.safe.set(self.safe.get().max(ended.last));
            match ended.waiter {
                Waiter::Promise(done) => {
                    let _ = done.send(Ok(()));
                }
                Waiter::Entries(flushed) => flushed.io_completed(Ok(())),
                Waiter::Nobody => {}
            }
        }
        self.hand_out();
    }

    /// Lets entries go up to here, as far as the state has them safely.
    pub(super) fn purge(&self, through: Index) {
        let through = through.min(self.durable.get().index);
        if through > self.log.borrow().base().index && !self.is_installing() {
            self.effect(Effect::TruncateLog { through });
        }
    }

    /// Entries from `from` to before `upto`, of those that are there. While openraft begins it only wants to know the names of those that are applied,
    /// and gets no more of such as are not at hand.
    pub(super) async fn read(&self, from: Index, upto: Index) -> Vec<Entry> {
        loop {
            let found = {
                let log = self.log.borrow();
                let from = from.max(log.base().index.next());
                let upto = upto.min(log.last().index.next());
                match from < upto {
                    true if self.is_beginning.get() => {
                        log.slice(from, upto).or_else(|| Some(log.names(from, upto)))
                    }
                    true => log.slice(from, upto),
                    false => Some(Vec::new()),
                }
            };
            if let Some(entries) = found {
                return entries;
            }
            let (done, fetched) = Types::oneshot();
            self.fetches.borrow_mut().push(done);
            let _ = fetched.await;
        }
    }

    pub(super) fn fetched(&self) {
        for done in self.fetches.take() {
            let _ = done.send(());
        }
    }

    // The state.

    pub(super) async fn apply(&self, from: Index, through: Index, membership: Option<TheirStored>) {
        let (done, applied) = Types::oneshot();
        self.applies.borrow_mut().push_back(Apply { from, through, membership, done });
        self.hand_out();
        let _ = applied.await;
    }

    fn hand_out(&self) {
        let is_safe = |apply: &mut Apply| apply.through <= self.safe.get();
        while !self.is_installing() {
            let Some(apply) = self.applies.borrow_mut().pop_front_if(is_safe) else { break };
            let Apply { from, through, membership, done } = apply;
            let bytes = membership.as_ref().map(to_bytes);
            if let Some(stored) = membership {
                self.memberships.borrow_mut().insert(through, stored);
            }
            self.effect(Effect::Apply { from, through, membership: bytes });
            self.applying.borrow_mut().push_back((through, done));
        }
    }

    pub(super) fn applied(&self, through: Index) {
        let term = self.log.borrow().term(through).unwrap_or_default();
        self.applied.set(LogId { term, index: through });
        let is_done = |(of, _): &mut (Index, Done<()>)| *of <= through;
        loop {
            let Some((_, done)) = self.applying.borrow_mut().pop_front_if(is_done) else { break };
            let _ = done.send(());
        }
    }

    pub(super) fn durably_applied(&self, through: Index) {
        let Some(term) = self.log.borrow().term(through) else { return };
        self.durable.set(LogId { term, index: through });
        let mut memberships = self.memberships.borrow_mut();
        if let Some(at) = memberships.range(..=through).next_back().map(|(at, _)| *at) {
            *memberships = memberships.split_off(&at);
        }
    }

    /// The membership as of what the state has safely.
    pub(super) fn durable_membership(&self) -> TheirStored {
        self.memberships.borrow().values().next().cloned().unwrap_or_default()
    }

    /// The newest membership of the state.
    pub(super) fn applied_membership(&self) -> TheirStored {
        self.memberships.borrow().values().next_back().cloned().unwrap_or_default()
    }

    pub(super) async fn install(
        &self,
        through: Option<&TheirLogId>,
        stored: TheirStored,
        handle: SnapshotHandle,
    ) {
        let (through, (done, installed)) = (our_id(through), Types::oneshot());
        self.effect(Effect::InstallSnapshot { handle, reset_log_to: through });
        self.log.borrow_mut().begin_reset(through);
        self.install.replace(Some(Install { stored, done }));
        let _ = installed.await;
    }

    pub(super) fn installed(&self, through: LogId) {
        let Some(Install { stored, done }) = self.install.take() else { return };
        self.log.borrow_mut().end_reset();
        self.applied.set(through);
        self.durable.set(through);
        self.safe.set(self.safe.get().max(through.index));
        let at = our_id(stored.log_id().as_ref()).index;
        self.memberships.replace(BTreeMap::from([(at, stored)]));
        let mut held = self.held.take();
        self.effects.borrow_mut().append(&mut held);
        let _ = done.send(());
        self.hand_out();
    }

    // Messages.

    fn seal(&self, to: NodeId, message: &Message) -> Bytes {
        let address = Address { shard: self.shard, from: self.me, to };
        seal(address, &to_bytes(message))
    }

    fn send(&self, to: NodeId, message: &Message) {
        let (class, message) = (message.body.class(), self.seal(to, message));
        self.effect(Effect::Send { to, class, message, after: None });
    }

    fn begin_call(&self) -> (u64, impl Future<Output = Option<Body>> + use<>) {
        self.called.set(self.called.get() + 1);
        let (done, answer) = Types::oneshot();
        self.calls.borrow_mut().insert(self.called.get(), done);
        (self.called.get(), async move { answer.await.ok() })
    }

    /// Asks `to`, and waits for the answer. Whoever gives up drops the future.
    pub(super) fn call(
        &self,
        to: NodeId,
        body: Body,
    ) -> impl Future<Output = Option<Body>> + use<> {
        let (call, answer) = self.begin_call();
        self.send(to, &Message { life: self.life, call, body });
        answer
    }

    /// Has a snapshot that covers `at_least` shipped to `to`, and waits for the answer.
    pub(super) fn ship(
        &self,
        to: NodeId,
        body: Body,
        at_least: Index,
    ) -> impl Future<Output = Option<Body>> + use<> {
        let (call, answer) = self.begin_call();
        let message = self.seal(to, &Message { life: self.life, call, body });
        self.ships.borrow_mut().insert(to, call);
        self.effect(Effect::ShipSnapshot { to, message, at_least });
        answer
    }

    pub(super) fn shipped(&self, to: NodeId, is_delivered: bool) {
        let Some(call) = self.ships.borrow_mut().remove(&to) else { return };
        if !is_delivered {
            // Who waits finds that nobody will answer.
            self.calls.borrow_mut().remove(&call);
        }
    }

    pub(super) fn reply(&self, to: NodeId, (life, call): (u64, u64), body: Body) {
        self.send(to, &Message { life, call, body });
    }

    /// An answer came. One to an earlier life is none.
    pub(super) fn answered(&self, life: u64, call: u64, body: Body) {
        if life == self.life
            && let Some(done) = self.calls.borrow_mut().remove(&call)
        {
            let _ = done.send(body);
        }
    }

    /// Requests nobody waits for any more are forgotten.
    pub(super) fn sweep(&self) {
        self.calls.borrow_mut().retain(|_, done| !done.is_abandoned());
    }
}

/// What a message is for, by what is in it.
pub(super) fn class_of_append(entries: usize) -> MessageClass {
    if entries == 0 { MessageClass::Heartbeat } else { MessageClass::Append }
}

/// Whether an entry changes the membership, and to what.
pub(super) fn membership_of(entry: &Entry, theirs: &TheirEntry) -> Option<TheirStored> {
    match &theirs.payload {
        openraft::EntryPayload::Membership(membership) if entry.kind == EntryKind::Config => {
            Some(TheirStored::new(Some(theirs.log_id), membership.clone()))
        }
        _ => None,
    }
}
