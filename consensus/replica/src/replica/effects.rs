//! What the protocol wants done, and what comes of requests by it.

use super::{Open, Output, Range, Replica, Waiting};
use crate::error::Refusal;
use crate::identities::Outcome;
use crate::request::{Age, Answer, Reply, RequestId};
use nori_consensus::{Effect, Index, LogId, Rejection, Ticket};

impl Replica {
    /// What is to be done now. All of it is begun before anything else is asked of this replica.
    pub fn drain(&mut self, outputs: &mut Vec<Output>) {
        self.placed.clear();
        let mut effects = std::mem::take(&mut self.effects);
        self.consensus.drain(&mut effects);
        effects.drain(..).for_each(|effect| self.begin(effect));
        self.effects = effects;
        outputs.append(&mut self.outputs);
    }

    fn begin(&mut self, effect: Effect) {
        let output = match effect {
            Effect::Store(store) => Output::Store(store),
            Effect::Send { to, class, message, after } => {
                Output::Send { to, class, message, after }
            }
            Effect::Apply { from, through, membership } => {
                self.ranges.push_back(Range { next: from, through, membership });
                return;
            }
            Effect::Accepted { ticket, at } => return self.accept(ticket, at),
            Effect::Rejected { ticket, why } => return self.reject(ticket, why),
            Effect::ReadReady { ticket, after_applying, valid_until } => {
                if let Some(Open::Read(request, freshness, target)) = self.tickets.remove(&ticket) {
                    let age = Age::Fresh;
                    let waiting = Waiting { request, freshness, target, valid_until, age };
                    self.reads.entry(after_applying).or_default().push(waiting);
                }
                return;
            }
            Effect::BuildSnapshot => Output::BuildSnapshot,
            Effect::ShipSnapshot { to, message, at_least } => {
                Output::ShipSnapshot { to, message, at_least }
            }
            Effect::InstallSnapshot { handle, reset_log_to } => {
                self.make_way(reset_log_to.index);
                Output::InstallSnapshot { handle, reset_log_to }
            }
            Effect::TruncateLog { through } => Output::TruncateLog { through },
            Effect::RoleChanged { role, term, leader } => {
                Output::RoleChanged { role, term, leader }
            }
        };
        self.outputs.push(output);
    }

    /// The state goes, for another with everything up to `through`.
    fn make_way(&mut self, through: Index) {
        self.machine = None;
        self.ranges.clear();
        self.entries.clear();
        (self.blocked, self.fetched) = (None, None);
        let later = self.accepted.split_off(&through.next());
        for (_, open) in std::mem::replace(&mut self.accepted, later).into_values() {
            // Whether its entry was the one that was applied there, the snapshot does not say.
            self.refuse_open(open, Refusal::Unknown);
        }
    }

    fn accept(&mut self, ticket: Ticket, at: LogId) {
        let Some(open) = self.tickets.remove(&ticket) else { return };
        if let Open::Write(request) = open {
            self.placed.push((request, at.index));
        }
        if let Some((_, before)) = self.accepted.insert(at.index, (at, open)) {
            // This log has another entry there. The earlier one may be in others', and be committed by a leader that has it after all.
            self.refuse_open(before, Refusal::Unknown);
        }
    }

    fn reject(&mut self, ticket: Ticket, why: Rejection) {
        let Some(open) = self.tickets.remove(&ticket) else { return };
        let is_read = matches!(open, Open::Read(..));
        let refusal = match why {
            Rejection::NotLeader { leader } => Refusal::NotLeader { leader },
            Rejection::Overloaded => Refusal::Overloaded,
            Rejection::Superseded if is_read => Refusal::NotLeader { leader: None },
            Rejection::Transferring => Refusal::NotLeader { leader: None },
            Rejection::Superseded => Refusal::Unknown,
            Rejection::ChangePending
            | Rejection::Outdated
            | Rejection::Impossible
            | Rejection::Unsupported => Refusal::Invalid { what: why.to_string() },
        };
        self.refuse_open(open, refusal);
    }

    /// The entry `id` is applied: what waited for its place is decided.
    pub(super) fn settle(&mut self, id: LogId, outcome: Option<Outcome>) {
        while let Some(first) = self.accepted.first_entry().filter(|first| *first.key() <= id.index)
        {
            let (at, open) = first.remove();
            if at != id {
                // Another entry is there, for ever.
                self.refuse_open(open, Refusal::NotLeader { leader: None });
                continue;
            }
            match open {
                Open::Write(request) => {
                    let reply = outcome.map_or(Reply::Refused(Refusal::Unknown), reply_of);
                    self.answer(request, reply);
                }
                Open::Reform(request) => self.answer(request, Reply::Reformed(at)),
                Open::Expire => self.expiry.succeed(),
                Open::Read(..) => debug_assert!(false, "a read has no entry"),
            }
        }
    }

    pub(super) fn refuse_open(&mut self, open: Open, why: Refusal) {
        match open {
            Open::Write(request) | Open::Reform(request) | Open::Read(request, ..) => {
                self.refuse(request, why);
            }
            Open::Expire => self.expiry.fail(),
        }
    }

    pub(super) fn refuse(&mut self, request: RequestId, why: Refusal) {
        self.answer(request, Reply::Refused(why));
    }

    pub(super) fn answer(&mut self, request: RequestId, reply: Reply) {
        let answer = Answer { request, reply, valid_until: None, age: Age::Unknown };
        self.outputs.push(Output::Answer(answer));
    }
}

pub(super) fn reply_of(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Written(version) => Reply::Written(version),
        Outcome::Mismatch { operation, actual } => {
            Reply::Refused(Refusal::VersionMismatch { operation, actual })
        }
        Outcome::TooOld => Reply::Refused(Refusal::SessionExpired),
    }
}
