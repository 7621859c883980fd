//! Requests as they come in, and reads as they are answered.

use super::effects::reply_of;
use super::{Open, Output, Replica, Waiting};
use crate::command::{Command, Condition, IDENTITY_KEY_BYTES_MAX, Identity, Operation, Session};
use crate::error::{Refusal, ReplicaError};
use crate::request::{
    self, Age, Answer, Freshness, KeyChange, Now, Reply, Request, RequestId, Target, View,
};
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Consistency, Index, Input, Role, Ticket};
use nori_kv::{Error, Tick, Tier};
use std::time::Duration;

/// A stale read waits so long for its version, or for the entry that makes it young enough.
const PATIENCE: Duration = Duration::from_secs(2);

impl Replica {
    /// Takes a request. Its answer comes by [`drain`](Self::drain), at once or later.
    pub fn request(&mut self, now: Now, id: RequestId, request: Request) {
        match request {
            Request::Write { identity, changes } => self.write(now, id, identity, changes),
            Request::Own(change) => self.propose(now, id, None, vec![change]),
            Request::Read { freshness, target } => self.read(now, id, freshness, target),
            Request::Reform(change) => {
                let ticket = self.open_ticket(Open::Reform(id));
                self.consensus.step(now.steady, Input::MembershipRequested { ticket, change });
            }
        }
    }

    pub(super) fn open_ticket(&mut self, open: Open) -> Ticket {
        self.last_ticket = self.last_ticket.next();
        self.tickets.insert(self.last_ticket, open);
        self.last_ticket
    }

    fn write(
        &mut self,
        now: Now,
        id: RequestId,
        identity: Option<Identity>,
        changes: Vec<KeyChange>,
    ) {
        if let Some(why) = self.fault(now, identity.as_ref(), &changes) {
            return self.refuse(id, why);
        }
        if let (Some(identity), Some(machine)) = (&identity, &self.machine) {
            // What is applied is decided, whoever leads.
            let identities = machine.identities();
            if let Some(outcome) = identities.decided(identity) {
                return self.answer(id, reply_of(outcome));
            }
            let is_full = identities.len() >= 2 * self.settings.identities_max;
            if is_full && !identities.has(identity) && self.consensus.status().role == Role::Leader
            {
                return self.refuse(id, Refusal::Overloaded);
            }
            self.catch_up(now);
        }
        self.propose(now, id, identity, changes);
    }

    fn propose(
        &mut self,
        now: Now,
        id: RequestId,
        identity: Option<Identity>,
        mut changes: Vec<KeyChange>,
    ) {
        if mutant::is(Mutant::ConditionAtProposal) && self.holds_now(&changes) {
            changes.iter_mut().for_each(|change| change.condition = Condition::None);
        }
        let operations = changes.into_iter().map(|change| operation(change, now.wall)).collect();
        let payload = Command::Write { identity, operations }.encode();
        let ticket = self.open_ticket(Open::Write(id));
        self.consensus.step(now.steady, Input::Proposed { ticket, payload });
    }

    /// Whether all conditions hold in the state as it is, as far as it is in memory.
    fn holds_now(&self, changes: &[KeyChange]) -> bool {
        let Some(machine) = &self.machine else { return false };
        changes.iter().all(|change| {
            let now = machine.time();
            let row = request::read(&**machine.engine(), &change.key, now, Tier::CacheOnly);
            match (change.condition, row) {
                (Condition::None, _) => true,
                (Condition::Absent, Ok(row)) => row.is_none(),
                (Condition::Version(version), Ok(row)) => {
                    row.is_some_and(|row| row.version == version)
                }
                _ => false,
            }
        })
    }

    /// The rule that a write breaks, if it breaks one.
    fn fault(
        &self,
        now: Now,
        identity: Option<&Identity>,
        changes: &[KeyChange],
    ) -> Option<Refusal> {
        let limits = &self.settings;
        let invalid = |what: String| Some(Refusal::Invalid { what });
        let too_large = |what, bytes, bytes_max| Some(Refusal::TooLarge { what, bytes, bytes_max });
        if changes.is_empty() {
            return invalid("a write without a change".to_owned());
        }
        let mut bytes = 0;
        for change in changes {
            let value_bytes = change.value.as_ref().map_or(0, Bytes::len);
            bytes += change.key.len() + value_bytes;
            if change.key.is_empty() {
                return invalid("the key is empty".to_owned());
            }
            if change.key.len() > limits.key_bytes_max {
                return too_large("key", change.key.len(), limits.key_bytes_max);
            }
            if value_bytes > limits.value_bytes_max {
                return too_large("value", value_bytes, limits.value_bytes_max);
            }
            if change.ttl.is_some_and(|ttl| ttl < Duration::from_millis(1)) {
                return invalid("a time to live below a millisecond".to_owned());
            }
        }
        if bytes > limits.write_bytes_max {
            return too_large("write", bytes, limits.write_bytes_max);
        }
        let issued_at = match identity? {
            Identity::Key { key, .. } if key.is_empty() || key.len() > IDENTITY_KEY_BYTES_MAX => {
                let most = IDENTITY_KEY_BYTES_MAX;
                return invalid(format!("an idempotency key has between 1 and {most} bytes"));
            }
            Identity::Session(Session { sequence: 0, .. }) => {
                return invalid("a session's requests are numbered from 1 on".to_owned());
            }
            Identity::Key { issued_at, .. } | Identity::Session(Session { issued_at, .. }) => {
                *issued_at
            }
        };
        let ahead = Duration::from_millis(issued_at.0.saturating_sub(now.wall.0));
        if ahead > limits.identity_window {
            return invalid(format!(
                "the identity was made {ahead:?} from now: look at the clocks"
            ));
        }
        None
    }

    fn read(&mut self, now: Now, id: RequestId, freshness: Freshness, target: Target) {
        let consistency = match freshness {
            Freshness::Linearizable => Consistency::Linearizable,
            Freshness::Lease => Consistency::Lease,
            Freshness::Stale { age_max, version_min } => {
                return self.read_stale(now, (id, freshness, target), age_max, Index(version_min));
            }
        };
        let ticket = self.open_ticket(Open::Read(id, freshness, target));
        self.consensus.step(now.steady, Input::ReadRequested { ticket, consistency });
    }

    fn read_stale(
        &mut self,
        now: Now,
        (request, freshness, target): (RequestId, Freshness, Target),
        age_max: Option<Duration>,
        version_min: Index,
    ) {
        let (age, after) = self.age_of(now);
        if let Some(age_max) =
            age_max.filter(|most| age.at(now.steady).is_none_or(|age| age > *most))
        {
            let age = age.at(now.steady);
            return self.refuse(request, Refusal::TooStale { age, age_max });
        }
        // What this replica has is at most so old once it has applied so much. Who does not ask for that does not wait for it, and may not be told so.
        let is_known = self.applied().is_some_and(|applied| applied.index >= after);
        let age = if age_max.is_some() || is_known { age } else { Age::Unknown };
        let after = if age_max.is_some() { version_min.max(after) } else { version_min };
        if self.applied().is_none_or(|applied| applied.index < after) {
            self.patience.insert((now.steady.after(PATIENCE), request, after));
        }
        let waiting = Waiting { request, freshness, target, valid_until: None, age };
        self.reads.entry(after).or_default().push(waiting);
    }

    /// Refuses reads whose entry has not come for too long: it may never.
    pub(super) fn lose_patience(&mut self, now: Now) {
        let version = self.applied().map_or(0, |applied| applied.index.0);
        while let Some(late) = self.patience.first().copied().filter(|(at, ..)| *at <= now.steady) {
            self.patience.remove(&late);
            let (_, request, after) = late;
            let Some(waiting) = self.reads.get_mut(&after) else { continue };
            let before = waiting.len();
            waiting.retain(|waiting| waiting.request != request);
            let is_refused = waiting.len() < before;
            if waiting.is_empty() {
                self.reads.remove(&after);
            }
            if is_refused {
                self.refuse(request, Refusal::Behind { version_min: after.0, version });
            }
        }
    }

    /// How old the state can be at most once it has everything up to an entry.
    fn age_of(&self, now: Now) -> (Age, Index) {
        let status = self.consensus.status();
        if status.lease_until.is_some_and(|until| until > now.steady) {
            return (Age::Since(now.steady), status.commit);
        }
        self.fresh.map_or((Age::Unknown, Index::ZERO), |(asked, index)| (Age::Since(asked), index))
    }

    /// How old the state can be at most, as it is.
    pub fn age(&self, now: Now) -> Option<Duration> {
        let (age, after) = self.age_of(now);
        age.at(now.steady).filter(|_| self.applied().is_some_and(|applied| applied.index >= after))
    }

    /// Answers the reads for which the state has enough.
    pub(super) fn answer_reads(&mut self, now: Now) -> Result<(), ReplicaError> {
        let Some(applied) = self.applied() else { return Ok(()) };
        let later = self.reads.split_off(&applied.index.next());
        for mut waiting in std::mem::replace(&mut self.reads, later).into_values().flatten() {
            if mutant::is(Mutant::LeaseOutlived) {
                waiting.valid_until = None;
            }
            if waiting.valid_until.is_some_and(|until| until < now.steady) {
                // The state took longer than the lease did.
                self.read(now, waiting.request, waiting.freshness, waiting.target);
                continue;
            }
            let Waiting { request, freshness, target, mut valid_until, age } = waiting;
            if let Freshness::Stale { age_max: Some(age_max), .. } = freshness {
                let age_now = age.at(now.steady);
                if age_now.is_none_or(|age| age > age_max) {
                    // The state took longer to come to it than it may be old.
                    self.refuse(request, Refusal::TooStale { age: age_now, age_max });
                    continue;
                }
                // Nor is it any younger if it is handed on late.
                if let Age::Since(asked) = age {
                    valid_until = Some(asked.after(age_max));
                }
            }
            let reply = self.look_up(now, &target)?;
            self.outputs.push(Output::Answer(Answer { request, reply, valid_until, age }));
        }
        Ok(())
    }

    fn look_up(&self, at: Now, target: &Target) -> Result<Reply, ReplicaError> {
        let Some(machine) = &self.machine else {
            return Ok(Reply::Refused(Refusal::NotLeader { leader: None }));
        };
        let (engine, mut now) = (machine.engine(), machine.time());
        if mutant::is(Mutant::ExpiredByWallClock) {
            now = at.wall;
        }
        let found = match target {
            Target::Row(key) => request::read(&**engine, key, now, Tier::CacheOnly).map(Reply::Row),
            Target::View => Err(Error::WouldBlock.into()),
            Target::Point => Ok(Reply::Point(machine.applied())),
        };
        match found {
            Err(ReplicaError::Store(Error::WouldBlock)) => {
                View::new(&**engine, now, machine.applied()).map(Reply::View)
            }
            Err(ReplicaError::Store(error)) => {
                let (kind, what) = (error.kind(), error.to_string());
                Ok(Reply::Refused(Refusal::Store { kind, what }))
            }
            found => found,
        }
    }
}

/// What the log says of a change that the leader takes at `now`.
fn operation(change: KeyChange, now: Tick) -> Operation {
    let KeyChange { key, condition, value, ttl } = change;
    let expires = ttl
        .map(|ttl| Tick(now.0.saturating_add(u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX))));
    Operation { key, condition, value: value.map(|value| (value, expires)) }
}
