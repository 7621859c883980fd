//! Who follows: it takes the leader's entries, and campaigns when it hears no leader for an election's time. Who has no vote, in no membership
//! that may be in force, or is in doubt, follows without ever campaigning; it asks instead whether anybody is there, for the leader may sleep.

use crate::codec::Config;
use crate::core::{Core, Need};
use crate::message::{Attempt, Body, Round};
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{
    Effect, Entry, EntryKind, Index, Instant, LogId, NodeId, Snapshot, SnapshotHandle,
};

pub(crate) struct Follower {
    pub(crate) leader: Option<NodeId>,
    /// When it campaigns, or asks whether anybody is there; `None` while it sleeps or installs a snapshot.
    pub(crate) deadline: Option<Instant>,
    pub(crate) is_asleep: bool,
}

/// A leader's append.
pub(crate) struct Append {
    pub(crate) before: LogId,
    pub(crate) commit: Index,
    pub(crate) round: Round,
    pub(crate) attempt: Attempt,
    pub(crate) entries: Vec<Entry>,
}

impl Follower {
    pub(crate) fn new(core: &mut Core, leader: Option<NodeId>) -> Self {
        let mut follower = Self { leader, deadline: None, is_asleep: false };
        follower.rest(core);
        follower
    }

    /// Waits for an election's time from now on.
    pub(crate) fn rest(&mut self, core: &mut Core) {
        self.is_asleep = false;
        let wait = core.election_time();
        self.deadline = Some(core.now.after(wait));
    }

    /// Heard nothing for an election's time, and may not campaign: asks to be voted for in a term that is not new. Nobody grants that, but whoever
    /// sleeps wakes.
    pub(crate) fn ask(&mut self, core: &mut Core) {
        let body = Body::PreVote { last: core.log.last() };
        for peer in core.other_voters() {
            core.send(peer, body.clone(), Need::Nothing);
        }
        self.rest(core);
    }

    /// The leader of this term was heard.
    pub(crate) fn hears(&mut self, core: &mut Core, leader: NodeId) {
        debug_assert!(self.leader.is_none_or(|known| known == leader), "one leader a term");
        self.leader = Some(leader);
        core.heard = core.now;
        self.rest(core);
    }

    /// Takes entries, or says where it differs.
    pub(crate) fn append(&mut self, core: &mut Core, from: NodeId, append: Append) {
        self.hears(core, from);
        if core.is_installing {
            return;
        }
        let Append { before, commit, round, attempt, entries } = append;
        // What is committed here is what the leader has there too.
        if before.index >= core.commit && !core.log.has(before) {
            let hint = core.log.at_or_below(before.index, before.term);
            let (refused, answer) = (before.index, core.answer(round));
            let body = Body::Refused { refused, hint, attempt, answer };
            core.send(from, body, Need::Promise);
            return;
        }
        let matched = take(core, before.index, entries);
        core.commit_to(commit.min(matched).max(core.commit));
        // It may be a voter, or none, by what it just took.
        self.rest(core);
        let matched = matched.max(core.commit);
        let body = Body::Appended { matched, attempt, answer: core.answer(round) };
        let is_early = mutant::is(Mutant::AckBeforeSync);
        let need = if is_early { Need::Nothing } else { Need::Entries(matched) };
        core.send(from, body, need);
    }

    /// A sign of life.
    pub(crate) fn heartbeat(
        &mut self,
        core: &mut Core,
        from: NodeId,
        (commit, round): (Index, Round),
        (settled, is_asleep): (Index, bool),
    ) {
        self.hears(core, from);
        // The leader speaks of what it knows this replica to have; one that forgot has less.
        let known = commit.min(core.log.last().index);
        core.commit_to(known.max(core.commit));
        if settled > Index::ZERO && core.doubt == Some(None) {
            core.doubt = Some(Some(settled));
            core.commit_to(core.commit);
        }
        if is_asleep && core.commit == core.log.last().index && core.commit == commit {
            // An answer would wake the leader.
            self.is_asleep = true;
            self.deadline = None;
            return;
        }
        let body = Body::HeartbeatReply { answer: core.answer(round) };
        core.send(from, body, Need::Promise);
    }

    /// A snapshot came; a name if it is to be installed.
    pub(crate) fn snapshot(
        &mut self,
        core: &mut Core,
        (from, round): (NodeId, Round),
        snapshot: &Snapshot,
    ) -> Option<SnapshotHandle> {
        self.hears(core, from);
        if core.is_installing {
            return None;
        }
        let (through, config) = (snapshot.through, Config::decode(&snapshot.membership));
        let is_readable = config.is_ok_and(|config| !config.membership.voters.is_empty());
        if through.index <= core.commit || core.log.has(through) || !is_readable {
            if core.log.has(through) {
                core.commit_to(through.index.max(core.commit));
            }
            let matched = core.commit;
            let body = Body::Appended { matched, attempt: Attempt(0), answer: core.answer(round) };
            core.send(from, body, Need::Entries(matched));
            return None;
        }
        core.is_installing = true;
        self.deadline = None;
        let (handle, reset_log_to) = (snapshot.handle, through);
        core.effects.push(Effect::InstallSnapshot { handle, reset_log_to });
        Some(handle)
    }

    /// A peer is dead. If it led, somebody else has to.
    pub(crate) fn peer_down(&mut self, core: &mut Core, peer: NodeId) {
        if self.is_asleep && self.leader.is_none_or(|leader| leader == peer) {
            self.rest(core);
        }
    }
}

/// Takes what the log does not have; the last entry, or `before`, up to which it agrees with the leader's now. Only entries that differ replace
/// others. What no leader sends ends it: a term that falls behind what is committed here, a membership that says nothing.
fn take(core: &mut Core, before: Index, entries: Vec<Entry>) -> Index {
    let mut matched = before;
    for entry in entries {
        let is_known = core.log.has(entry.id) && !mutant::is(Mutant::TruncateMatching);
        if entry.id.index <= core.commit || is_known {
            matched = entry.id.index;
            continue;
        }
        let config = match entry.kind {
            EntryKind::Config => Some(Config::decode(&entry.payload)),
            EntryKind::Data | EntryKind::Noop => None,
        };
        let adjoins = core.log.term(before_of(&entry)).is_some_and(|term| term <= entry.term());
        if !adjoins || matches!(config, Some(Err(_))) {
            break;
        }
        if entry.id.index <= core.log.last().index {
            assert!(entry.id.index > core.commit, "what is committed is never taken back");
            core.log.truncate(entry.id.index);
            core.configs.truncate(entry.id.index);
        }
        if let Some(Ok(config)) = config {
            core.configs.push(config.at(entry.id.index));
        }
        matched = entry.id.index;
        core.take(entry);
    }
    matched
}

fn before_of(entry: &Entry) -> Index {
    Index(entry.id.index.0 - 1)
}
