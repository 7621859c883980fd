//! What raft-rs has ready, as effects: writes, messages that wait for them, entries to apply, snapshots.

use super::super::convert::{self, Config};
use super::Replica;
use crate::envelope::{self, Address};
use bytes::Bytes;
use nori_consensus::{Effect, Index, LogId, MessageClass, NodeId, Term, Ticket, WriteId};
use protobuf::Message as _;
use raft::Ready;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

impl Replica {
    /// Turns everything that is ready into effects.
    pub(super) fn collect(&mut self) {
        while !self.is_halted && self.installing.is_none() && self.raw.has_ready() {
            let mut ready = self.raw.ready();
            self.answer_reads(&mut ready);
            let is_leader = self.is_leader();
            let write = self.store(&ready);
            let (now, later) = (ready.take_messages(), ready.take_persisted_messages());
            debug_assert!(is_leader || now.is_empty());
            // Whoever leads by its own vote alone has not made it safe yet.
            let promise = Some(self.hard_write).filter(|write| *write > self.safe_write);
            now.into_iter().for_each(|message| self.send(&message, promise));
            if ready.snapshot().is_empty() {
                let all = Some(write).filter(|write| *write > self.safe_write);
                later.into_iter().for_each(|message| self.send(&message, all));
            } else {
                self.after_install = later;
            }
            let committed = ready.take_committed_entries();
            let number = ready.number();
            if !ready.snapshot().is_empty() {
                self.install(&ready);
            } else if write > self.safe_write {
                self.readies.push_back((write, number));
            }
            self.raw.advance_append_async(ready);
            if self.installing.is_none() && write <= self.safe_write {
                self.raw.on_persist_ready(number);
            }
            self.hand_out(&committed);
        }
    }

    fn answer_reads(&mut self, ready: &mut Ready) {
        for state in ready.take_read_states() {
            let ticket = state.request_ctx.first_chunk().map(|of| Ticket(u64::from_le_bytes(*of)));
            if let Some(ticket) = ticket.filter(|ticket| self.reads.remove(ticket)) {
                let after_applying = Index(state.index);
                let ready = Effect::ReadReady { ticket, after_applying, valid_until: None };
                self.effects.push(ready);
            }
        }
    }

    /// Has what must be safe stored; the write that has to end for it, which may be an older one.
    fn store(&mut self, ready: &Ready) -> WriteId {
        let (store, entries) = (self.raw.store(), ready.entries());
        let state = self.raw.raft.hard_state();
        let promise = (state.term, state.vote);
        let is_promise = store.promised.replace(promise) != promise;
        // A change of the membership is proposed when the one before is committed. Whoever has the entry of the second has to know in its next life
        // that the first is committed: by the membership before both it could be elected beside the leader that the second one elects.
        let is_change = |entry: &Entry| entry.get_entry_type() != EntryType::EntryNormal;
        let is_news = entries.iter().any(is_change) && store.stored_commit.get() < state.commit;
        if !is_promise && entries.is_empty() {
            return self.last_write;
        }
        let hard_state = (is_promise || is_news).then(|| {
            store.stored_commit.set(state.commit);
            Bytes::from(state.write_to_bytes().unwrap_or_default())
        });
        let truncate_from = store.take(entries);
        self.last_write = self.last_write.next();
        if is_promise {
            self.hard_write = self.last_write;
        }
        self.effects.push(Effect::Store(nori_consensus::Store {
            write: self.last_write,
            sync: hard_state.is_some(),
            hard_state,
            truncate_from,
            entries: entries.iter().map(convert::to_ours).collect(),
        }));
        self.last_write
    }

    pub(super) fn send(&mut self, message: &Message, after: Option<WriteId>) {
        let to = NodeId(message.to);
        let address = Address { shard: self.shard, from: self.me, to };
        let Ok(bytes) = message.write_to_bytes() else { return };
        let sealed = envelope::seal(address, &bytes);
        if message.get_msg_type() == MessageType::MsgSnapshot {
            let at_least = Index(message.get_snapshot().get_metadata().index);
            self.effects.push(Effect::ShipSnapshot { to, message: sealed, at_least });
            return;
        }
        let class = match message.get_msg_type() {
            MessageType::MsgAppend | MessageType::MsgAppendResponse => MessageClass::Append,
            MessageType::MsgHeartbeat | MessageType::MsgHeartbeatResponse => {
                MessageClass::Heartbeat
            }
            MessageType::MsgRequestVote
            | MessageType::MsgRequestVoteResponse
            | MessageType::MsgRequestPreVote
            | MessageType::MsgRequestPreVoteResponse => MessageClass::Vote,
            _ => MessageClass::Other,
        };
        self.effects.push(Effect::Send { to, class, message: sealed, after });
    }

    fn install(&mut self, ready: &Ready) {
        let metadata = ready.snapshot().get_metadata();
        let through = LogId { term: Term(metadata.term), index: Index(metadata.index) };
        let Some(handle) = self.arrived.take() else { return };
        self.installing = Some(ready.number());
        let config = Config::decode(&ready.snapshot().data).unwrap_or_default();
        *self.raw.store().config.borrow_mut() = config;
        *self.raw.store().handed_out.borrow_mut() = through;
        self.raw.store().reset_to.set(Some(through));
        self.effects.push(Effect::InstallSnapshot { handle, reset_log_to: through });
    }

    /// Hands out committed entries to be applied; one that changes the membership ends its range.
    fn hand_out(&mut self, committed: &[Entry]) {
        let mut from = None;
        for (n, entry) in committed.iter().enumerate() {
            let first = *from.get_or_insert(Index(entry.index));
            let through = Index(entry.index);
            *self.raw.store().handed_out.borrow_mut() =
                LogId { term: Term(entry.term), index: through };
            let membership =
                convert::change_of(entry).and_then(|change| self.adopt(through, &change));
            if membership.is_some() || n + 1 == committed.len() {
                self.effects.push(Effect::Apply { from: first, through, membership });
                from = None;
            }
        }
    }

    /// A membership counts from here on.
    fn adopt(&mut self, at: Index, change: &raft::eraftpb::ConfChangeV2) -> Option<Bytes> {
        if self.raw.store().config.borrow().state.voters.is_empty() {
            for step in convert::steps_before(change) {
                self.raw.apply_conf_change(&step).ok()?;
            }
        }
        let state = self.raw.apply_conf_change(change).ok()?;
        let config = Config::of(at, state);
        let membership = config.encode();
        let is_dismissed = !config.membership().is_voter(self.me);
        *self.raw.store().config.borrow_mut() = config;
        if is_dismissed && self.is_leader() {
            // It would go on leading a group that it is no voter of.
            let term = self.raw.raft.term;
            self.raw.raft.become_follower(term, 0);
        }
        Some(membership)
    }
}
