//! What a replica has whatever its role: its promises, its log, its memberships, and what is to go out.
//!
//! Steps change the core and put messages into its outbox; a **drain** makes one write of everything that must be safe, tells each
//! message which write it has to wait for, and hands out what is committed and safe.

use crate::codec::HardState;
use crate::configs::Configs;
use crate::log::Log;
use crate::message::{Answer, Body, Life, Message, Round};
use bytes::Bytes;
use nori_consensus::chance::Chance;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{
    Effect, Entry, EntryKind, Index, Instant, LeaseKind, LogId, NodeId, Rejection, Settings,
    ShardId, Store, Term, Ticket, WriteId,
};
use std::time::Duration;

/// What must be safe before a message may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    /// The term and the vote.
    Promise,
    /// Those, and the log up to here.
    Entries(Index),
}

pub(crate) struct Core {
    pub(crate) me: NodeId,
    pub(crate) shard: ShardId,
    pub(crate) settings: Settings,
    pub(crate) priority: u8,
    pub(crate) life: Life,
    pub(crate) chance: Chance,
    pub(crate) now: Instant,
    /// Never falls; a vote is never taken back within its term.
    hard: HardState,
    is_hard_dirty: bool,
    /// The last write with a hard state.
    hard_write: WriteId,
    pub(crate) log: Log,
    pub(crate) configs: Configs,
    /// `handed_out <= commit`; `applied <= handed_out`.
    pub(crate) commit: Index,
    handed_out: Index,
    pub(crate) applied: Index,
    pub(crate) apply_debt_bytes: u64,
    last_write: WriteId,
    safe_write: WriteId,
    /// When a leader was last heard, or the life began: for one election no other gets a vote.
    pub(crate) heard: Instant,
    /// When the life began. `booted <= heard`.
    booted: Instant,
    /// No life before this one had a term: none has promised anything to anybody.
    is_first: bool,
    /// When the last entry came, or the life began: every entry in the log is older.
    pub(crate) received: Instant,
    /// `Some` while it may have forgotten something; then what it has to have before it votes, once a leader has told.
    pub(crate) doubt: Option<Option<Index>>,
    /// While a snapshot is being installed nothing is appended or applied.
    pub(crate) is_installing: bool,
    /// The driver was told to install it: from then on nothing is stored. What came before is, the term of the snapshot's sender above all.
    is_install_out: bool,
    outbox: Vec<(NodeId, Body, Term, Need)>,
    pub(crate) effects: Vec<Effect>,
}

/// Messages that wait while a snapshot is installed, for a promise that cannot be written before.
const HELD_MAX: usize = 256;

/// Before the first term elections come so many times sooner.
const FOUNDING: u32 = 8;

/// What a core begins with.
pub(crate) struct Beginning {
    pub(crate) hard: HardState,
    pub(crate) log: Log,
    pub(crate) configs: Configs,
    pub(crate) applied: Index,
}

impl Core {
    pub(crate) fn new(boot: &nori_consensus::Boot, settings: Settings, with: Beginning) -> Self {
        Self {
            me: boot.me,
            shard: boot.shard,
            settings,
            priority: boot.priority,
            life: Life(boot.life),
            chance: Chance::new(boot.seed),
            now: boot.now,
            hard: with.hard,
            is_hard_dirty: false,
            hard_write: WriteId::ZERO,
            log: with.log,
            configs: with.configs,
            commit: with.applied,
            handed_out: with.applied,
            applied: with.applied,
            apply_debt_bytes: 0,
            last_write: WriteId::ZERO,
            safe_write: WriteId::ZERO,
            heard: boot.now,
            booted: boot.now,
            is_first: with.hard.term == Term::ZERO
                && boot.standing == nori_consensus::Standing::Whole,
            received: boot.now,
            doubt: (boot.standing == nori_consensus::Standing::Doubtful).then_some(None),
            is_installing: false,
            is_install_out: false,
            outbox: Vec::new(),
            effects: Vec::new(),
        }
    }

    pub(crate) fn term(&self) -> Term {
        self.hard.term
    }

    pub(crate) fn voted(&self) -> Option<NodeId> {
        self.hard.voted
    }

    /// Enters `term`, in which it has voted for nobody.
    pub(crate) fn enter(&mut self, term: Term) {
        assert!(term > self.hard.term, "terms only grow");
        self.hard = HardState { term, voted: None };
        self.is_hard_dirty = true;
    }

    pub(crate) fn vote(&mut self, node: NodeId) {
        let is_second = self.hard.voted.is_some_and(|voted| voted != node);
        assert!(!is_second || mutant::is(Mutant::DoubleVote), "one vote a term");
        if self.hard.voted.is_none() {
            self.hard.voted = Some(node);
            self.is_hard_dirty = true;
        }
    }

    /// Whether term and vote are safe.
    pub(crate) fn is_promise_safe(&self) -> bool {
        !self.is_hard_dirty && self.hard_write <= self.safe_write
    }

    /// Whether it may vote. Being no voter by its own log does not keep it from that: the entry that made it one may not have come yet, and
    /// without its vote nobody might ever lead (Ongaro, section 4.2.1).
    pub(crate) fn may_vote(&self) -> bool {
        let is_sure = self.doubt.is_none() || mutant::is(Mutant::DoubtIgnored);
        is_sure && !self.is_installing
    }

    /// Whether it may campaign. That its newest membership has no vote for it does not keep it from that as long as that membership may not be
    /// committed: of those who are left it may be the only one that has the entry, and then nobody else can win (Ongaro, section 4.2.2). Its own
    /// vote counts for nothing then.
    pub(crate) fn may_campaign(&self) -> bool {
        self.configs.may_be_voter(self.me, self.commit) && self.may_vote()
    }

    /// All voters but itself.
    pub(crate) fn other_voters(&self) -> Vec<NodeId> {
        let membership = self.configs.latest();
        let voters = membership.voters.union(&membership.outgoing);
        voters.copied().filter(|node| *node != self.me).collect()
    }

    /// Whether an election may not disturb a leader that it has heard.
    pub(crate) fn is_loyal(&self) -> bool {
        // What it heard in an earlier life matters to who counts on its faith.
        let is_free = self.is_first
            || self.settings.lease != LeaseKind::Quorum
            || mutant::is(Mutant::VoteAfterRestart);
        let is_new = is_free && self.heard == self.booted;
        self.now.since(self.heard) < self.settings.election_min && !is_new
    }

    /// One election's time, and up to as much again; an eighth of it before the first term, for nobody can lead yet, and none of it for who is alone.
    pub(crate) fn election_time(&mut self) -> Duration {
        let is_founding = self.is_first && self.hard.term == Term::ZERO;
        if is_founding && self.configs.latest().is_quorum(|node| node == self.me) {
            return Duration::ZERO;
        }
        let least = self.settings.election_min / if is_founding { FOUNDING } else { 1 };
        least + Duration::from_nanos(self.chance.below(least.as_nanos().max(1) as u64))
    }

    pub(crate) fn send(&mut self, to: NodeId, body: Body, need: Need) {
        self.send_in(self.hard.term, to, body, need);
    }

    /// Sends in a term that is not (yet) its own.
    pub(crate) fn send_in(&mut self, term: Term, to: NodeId, body: Body, need: Need) {
        debug_assert!(to != self.me);
        if self.is_install_out && self.outbox.len() >= HELD_MAX {
            // Like one that is lost on the way.
            return;
        }
        self.outbox.push((to, body, term, need));
    }

    /// What it says to whoever leads in answer to `round`.
    pub(crate) fn answer(&self, round: Round) -> Answer {
        Answer { round, life: self.life, priority: self.priority }
    }

    pub(crate) fn reject(&mut self, ticket: Ticket, why: Rejection) {
        self.effects.push(Effect::Rejected { ticket, why });
    }

    /// Appends an entry of its own in its term.
    pub(crate) fn append(&mut self, kind: EntryKind, payload: Bytes) -> LogId {
        let id = LogId { term: self.hard.term, index: self.log.last().index.next() };
        self.take(Entry { id, kind, payload });
        id
    }

    /// Appends an entry that follows the last one.
    pub(crate) fn take(&mut self, entry: Entry) {
        self.received = self.now;
        self.log.append(entry);
    }

    /// Everything up to `commit` is committed, and in the log.
    pub(crate) fn commit_to(&mut self, commit: Index) {
        assert!(commit <= self.log.last().index, "what is committed is in the log");
        self.commit = self.commit.max(commit);
        if let Some(Some(rejoin)) = self.doubt
            && self.commit >= rejoin
            && self.log.safe() >= rejoin
        {
            self.doubt = None;
        }
    }

    pub(crate) fn stored(&mut self, write: WriteId) {
        self.safe_write = self.safe_write.max(write);
        self.log.stored(write);
        self.commit_to(self.commit);
    }

    /// The state and the log are those of a snapshot that ends with `through`.
    pub(crate) fn installed(&mut self, through: LogId, config: crate::codec::Config) {
        self.log.reset(through);
        self.received = self.now;
        if !mutant::is(Mutant::SnapshotOldMembership) {
            self.configs.reset(config);
        }
        (self.is_installing, self.is_install_out) = (false, false);
        self.commit = self.commit.max(through.index);
        (self.handed_out, self.applied) = (through.index, through.index);
    }

    /// Hands out everything that came of the steps since the last drain.
    pub(crate) fn drain(&mut self, effects: &mut Vec<Effect>) {
        self.store(effects);
        let mut outbox = std::mem::take(&mut self.outbox);
        // A promise that cannot be kept before the snapshot is installed waits.
        let may_go =
            |(.., need): &mut (_, _, _, Need)| !self.is_hard_dirty || *need == Need::Nothing;
        for (to, body, term, need) in outbox.extract_if(.., may_go) {
            let (class, after) = (body.class(), self.after(need));
            let message = Message { shard: self.shard, from: self.me, to, term, body };
            effects.push(Effect::Send { to, class, message: message.encode(), after });
        }
        self.outbox = outbox;
        effects.append(&mut self.effects);
        self.is_install_out = self.is_installing;
        self.hand_out(effects);
    }

    fn store(&mut self, effects: &mut Vec<Effect>) {
        if !self.is_hard_dirty && !self.log.is_dirty() || self.is_install_out {
            return;
        }
        let write = self.last_write.next();
        self.last_write = write;
        let is_hard = std::mem::replace(&mut self.is_hard_dirty, false);
        if is_hard {
            self.hard_write = write;
        }
        let (truncate_from, entries) = self.log.take(write).unwrap_or_default();
        effects.push(Effect::Store(Store {
            write,
            hard_state: is_hard.then(|| self.promise().encode()),
            truncate_from,
            entries,
            sync: is_hard,
        }));
    }

    /// What is written down of the promises.
    fn promise(&self) -> HardState {
        if mutant::is(Mutant::VoteNotStored) {
            return HardState { voted: None, ..self.hard };
        }
        self.hard
    }

    /// The write that a message has to wait for.
    fn after(&self, need: Need) -> Option<WriteId> {
        let promise = Some(self.hard_write).filter(|write| *write > self.safe_write);
        match need {
            Need::Nothing => None,
            Need::Promise => promise,
            Need::Entries(through) if through <= self.log.safe() => promise,
            Need::Entries(_) => promise.max(self.log.last_write()),
        }
    }

    fn hand_out(&mut self, effects: &mut Vec<Effect>) {
        let is_early = mutant::is(Mutant::ApplyUnsafe);
        let through = if is_early { self.commit } else { self.commit.min(self.log.safe()) };
        while self.handed_out < through && !self.is_installing {
            let from = self.handed_out.next();
            let (through, membership) = match self.configs.hand_out(through) {
                Some((at, membership)) => (at, Some(membership)),
                None => (through, None),
            };
            effects.push(Effect::Apply { from, through, membership });
            self.handed_out = through;
        }
    }
}
