//! Requests of clients, and what other nodes want to know for theirs.
//!
//! A stale read may say how old what it sees may be. A node that does not lead the shard cannot know that by itself: it asks the leader for a read
//! index, and from the answer on its state is at most as old as its question.

use super::member::INTERNAL;
use super::{Member, Output};
use crate::control::Control;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Index, Instant, NodeId, ShardId};
use norikv_replica::{Age, Answer, Freshness, Now, Refusal, Reply, Request, RequestId, Target};
use std::time::Duration;

/// A stale read that waits for the leader's word waits so long at most.
const PATIENCE: Duration = Duration::from_millis(500);

/// A stale read that was too old, or may have been.
pub(super) struct Waiting {
    shard: ShardId,
    id: RequestId,
    request: Request,
    until: Instant,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The replica was asked.
    Asked,
    /// It was too old, and the leader was asked.
    Waits,
    /// The leader has answered, and the replica was asked once more: what it says now counts.
    AskedAgain,
}

impl Member {
    pub(super) fn request(
        &mut self,
        now: Now,
        shard: ShardId,
        id: RequestId,
        request: Request,
    ) -> bool {
        debug_assert_eq!(id.0 & INTERNAL, 0, "the numbers of clients' requests have 63 bits");
        if let Request::Read { freshness: Freshness::Stale { age_max: Some(_), .. }, .. } = &request
        {
            let until = now.steady.after(PATIENCE);
            let stage = Stage::Asked;
            let waiting = Waiting { shard, id, request: request.clone(), until, stage };
            self.stale.push(waiting);
        }
        self.shards.request(now, shard, id, request)
    }

    /// An answer of a replica: to a client, or to this node itself. Whether the replicas are to take another turn for it.
    pub(super) fn answered(&mut self, now: Now, shard: ShardId, answer: Answer) -> bool {
        if answer.request.0 & INTERNAL != 0 {
            return self.conductor_answered(now, &answer)
                || self.index_answered(now, shard, &answer);
        }
        let place = self.stale.iter().position(|waiting| waiting.id == answer.request);
        if let Some(place) = place {
            let mut waiting = self.stale.swap_remove(place);
            let is_too_old = matches!(answer.reply, Reply::Refused(Refusal::TooStale { .. }));
            if is_too_old && waiting.stage == Stage::Asked && now.steady < waiting.until {
                waiting.stage = Stage::Waits;
                // One question is for all that wait, as long as it was asked after them.
                self.ask_index(now, shard);
                self.stale.push(waiting);
                return false;
            }
        }
        self.outputs.push(Output::Answer { shard, answer });
        false
    }

    fn ask_index(&mut self, now: Now, shard: ShardId) {
        if let (_, Some(leader)) = self.leader(shard) {
            let asked = now.steady;
            if leader == self.me {
                self.index_for(now, leader, shard, asked);
            } else {
                self.asking.insert((asked, shard));
                self.say(leader, &Control::AskIndex { shard, asked });
            }
        }
    }

    /// The leader's word, if it is an answer to a question of this life of the node: another one's clock was another.
    pub(super) fn index_heard(&mut self, now: Now, shard: ShardId, asked: Instant, index: Index) {
        if self.asking.remove(&(asked, shard)) || mutant::is(Mutant::EarlierLifeHeard) {
            let is_late = mutant::is(Mutant::AgeFromReceipt);
            self.shards.refresh(shard, if is_late { now.steady } else { asked }, index);
            self.retry_stale(now, shard);
        }
    }

    /// A node wants to know what it has to have to be as of now.
    pub(super) fn index_for(&mut self, now: Now, from: NodeId, shard: ShardId, asked: Instant) {
        let id = self.conducting.next_id();
        let read = Request::Read { freshness: Freshness::Lease, target: Target::Point };
        if self.shards.request(now, shard, id, read) {
            self.indices.insert(id, (from, asked));
        }
    }

    fn index_answered(&mut self, now: Now, shard: ShardId, answer: &Answer) -> bool {
        let Some((to, asked)) = self.indices.remove(&answer.request) else { return false };
        let Reply::Point(at) = answer.reply else { return false };
        if answer.valid_until.is_some_and(|until| until < now.steady) {
            // The lease that it rests upon has run out: whoever asked will ask again.
            return false;
        }
        if to == self.me {
            self.shards.refresh(shard, asked, at.index);
        } else {
            self.say(to, &Control::Index { shard, asked, index: at.index });
        }
        true
    }

    /// The leader has said as of when this node's state is new enough: reads that waited for it are asked for again.
    pub(super) fn retry_stale(&mut self, now: Now, shard: ShardId) {
        let mut due = Vec::new();
        for waiting in &mut self.stale {
            if waiting.shard == shard && waiting.stage == Stage::Waits {
                waiting.stage = Stage::AskedAgain;
                due.push((waiting.id, waiting.request.clone()));
            }
        }
        for (id, request) in due {
            self.shards.request(now, shard, id, request);
        }
    }

    /// Nobody has answered in time: the reads are refused as too old.
    pub(super) fn expire_stale(&mut self, now: Now) {
        self.asking.retain(|(asked, _)| now.steady.since(*asked) < PATIENCE);
        let is_over =
            |waiting: &mut Waiting| waiting.stage == Stage::Waits && waiting.until <= now.steady;
        for waiting in self.stale.extract_if(.., is_over) {
            let Request::Read {
                freshness: Freshness::Stale { age_max: Some(age_max), .. }, ..
            } = waiting.request
            else {
                continue;
            };
            let reply = Reply::Refused(Refusal::TooStale { age: None, age_max });
            let answer =
                Answer { request: waiting.id, reply, valid_until: None, age: Age::Unknown };
            self.outputs.push(Output::Answer { shard: waiting.shard, answer });
        }
    }
}
