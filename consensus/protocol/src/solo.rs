//! The protocol without replication: a group of one, as the baseline of every comparison.
//!
//! 1. Each life is a term of its own, so that an entry that a crash took never shares its name with another. The term is stored with the
//!    first entry, a no-op.
//! 2. A proposal is an entry at once. Entries of one drain are one write.
//! 3. What is safe is committed, and is applied.
//! 4. A read is ready once the no-op is committed.

use crate::{
    Boot, BootError, Capabilities, Consensus, ConsensusFactory, Effect, Entry, EntryKind, Index,
    Input, Instant, LogId, LogView, Membership, NodeId, Rejection, Role, Status, Store, Term,
    Ticket, WriteId,
};
use bytes::Bytes;
use std::collections::VecDeque;
use std::mem;
use std::sync::Arc;

/// Makes groups of one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Solo;

impl ConsensusFactory for Solo {
    fn name(&self) -> &'static str {
        "solo"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::of([crate::Feature::ReadIndex])
    }

    fn founding(&self, membership: &Membership) -> Bytes {
        let node = membership.voters.first().copied().unwrap_or_default();
        Bytes::copy_from_slice(&node.0.to_le_bytes())
    }

    fn boot(&self, boot: Boot) -> Result<Box<dyn Consensus>, BootError> {
        let (term, founded) = (number(&boot, "hard state")?, number(&boot, "membership")?);
        if NodeId(founded) != boot.me {
            let why = format!("node {} is not its only member, node {founded}", boot.me.0);
            return Err(BootError::Inconsistent { shard: boot.shard, why });
        }
        let last = boot.log.last();
        Ok(Box::new(Replica::new(boot, Term(term).max(last.term).next(), last)))
    }
}

/// The eight bytes of a hard state or membership; an empty hard state is zero.
fn number(boot: &Boot, what: &'static str) -> Result<u64, BootError> {
    let bytes = if what == "membership" { &boot.membership } else { &boot.hard_state };
    if bytes.is_empty() && what != "membership" {
        return Ok(0);
    }
    let unreadable = || BootError::Unreadable {
        shard: boot.shard,
        what,
        why: format!("it has {} bytes and not 8", bytes.len()),
    };
    Ok(u64::from_le_bytes(bytes[..].try_into().map_err(|_| unreadable())?))
}

struct Replica {
    me: NodeId,
    term: Term,
    log: Arc<dyn LogView>,
    /// The last entry that was made, drained or not.
    last: LogId,
    /// What is made and not drained.
    made: Vec<Entry>,
    has_begun: bool,
    last_write: WriteId,
    /// Writes under way, and the last entry of each.
    writes: VecDeque<(WriteId, Index)>,
    /// What is safe. `handed_out <= commit`.
    commit: Index,
    handed_out: Index,
    applied: Index,
    /// Itself alone.
    membership: Arc<Membership>,
    /// Reads that wait for the no-op.
    reads: Vec<Ticket>,
    is_halted: bool,
    effects: Vec<Effect>,
}

impl Replica {
    fn new(boot: Boot, term: Term, last: LogId) -> Self {
        let mut replica = Self {
            me: boot.me,
            term,
            log: boot.log,
            last,
            made: Vec::new(),
            has_begun: false,
            last_write: WriteId::ZERO,
            writes: VecDeque::new(),
            commit: last.index,
            handed_out: boot.applied,
            applied: boot.applied,
            membership: Arc::new(Membership::founding([boot.me])),
            reads: Vec::new(),
            is_halted: false,
            effects: Vec::new(),
        };
        let role = (Role::Leader, Some(replica.me));
        replica.effects.push(Effect::RoleChanged { role: role.0, term, leader: role.1 });
        replica.make(EntryKind::Noop, Bytes::new());
        replica
    }

    fn make(&mut self, kind: EntryKind, payload: Bytes) -> LogId {
        self.last = LogId { term: self.term, index: self.last.index.next() };
        self.made.push(Entry { id: self.last, kind, payload });
        self.last
    }

    /// Whether an entry of this life is committed.
    fn has_committed(&self) -> bool {
        self.log.term(self.commit) == Some(self.term)
    }

    fn stored(&mut self, write: WriteId) {
        while let Some((_, through)) = self.writes.pop_front_if(|(of, _)| *of <= write) {
            self.commit = through;
        }
        if self.has_committed() {
            let reads = mem::take(&mut self.reads);
            reads.into_iter().for_each(|ticket| self.ready(ticket));
        }
    }

    fn ready(&mut self, ticket: Ticket) {
        let after_applying = self.commit;
        self.effects.push(Effect::ReadReady { ticket, after_applying, valid_until: None });
    }

    fn reject(&mut self, ticket: Ticket, why: Rejection) {
        self.effects.push(Effect::Rejected { ticket, why });
    }

    fn halt(&mut self) {
        self.is_halted = true;
        self.made.clear();
        for ticket in mem::take(&mut self.reads) {
            self.reject(ticket, Rejection::Superseded);
        }
        let (role, term) = (Role::Halted, self.term);
        self.effects.push(Effect::RoleChanged { role, term, leader: None });
    }

    /// What was handed out since the last drain, as one write.
    fn store(&mut self, effects: &mut Vec<Effect>) {
        if self.made.is_empty() {
            return;
        }
        self.last_write = self.last_write.next();
        self.writes.push_back((self.last_write, self.last.index));
        let is_first = !mem::replace(&mut self.has_begun, true);
        let hard_state = is_first.then(|| Bytes::copy_from_slice(&self.term.0.to_le_bytes()));
        effects.push(Effect::Store(Store {
            write: self.last_write,
            hard_state,
            truncate_from: None,
            entries: mem::take(&mut self.made),
            sync: is_first,
        }));
    }
}

impl Consensus for Replica {
    fn step(&mut self, _: Instant, input: Input) {
        match input {
            Input::Proposed { ticket, .. } | Input::ReadRequested { ticket, .. }
                if self.is_halted =>
            {
                self.reject(ticket, Rejection::NotLeader { leader: None });
            }
            Input::Proposed { ticket, payload } => {
                let at = self.make(EntryKind::Data, payload);
                self.effects.push(Effect::Accepted { ticket, at });
            }
            Input::ReadRequested { ticket, .. } if self.has_committed() => self.ready(ticket),
            Input::ReadRequested { ticket, .. } => self.reads.push(ticket),
            Input::MembershipRequested { ticket, .. } => {
                self.reject(ticket, Rejection::Unsupported);
            }
            Input::Stored { .. } if self.is_halted => {}
            Input::Stored { write, result: Ok(()) } => self.stored(write),
            Input::Stored { result: Err(_), .. } => self.halt(),
            Input::Applied { through } => self.applied = through,
            Input::DurablyApplied { through } if !self.is_halted => {
                self.effects.push(Effect::TruncateLog { through });
            }
            _ => {}
        }
    }

    fn drain(&mut self, effects: &mut Vec<Effect>) {
        // An entry is stored before anybody is told of it.
        self.store(effects);
        effects.append(&mut self.effects);
        if self.handed_out < self.commit && !self.is_halted {
            let (from, through) = (self.handed_out.next(), self.commit);
            effects.push(Effect::Apply { from, through, membership: None });
            self.handed_out = through;
        }
    }

    fn deadline(&self) -> Option<Instant> {
        None
    }

    fn status(&self) -> Status {
        Status {
            role: if self.is_halted { Role::Halted } else { Role::Leader },
            term: self.term,
            leader: (!self.is_halted).then_some(self.me),
            commit: self.commit,
            applied: self.applied,
            last: self.last,
            membership: Arc::clone(&self.membership),
            lease_until: None,
            is_doubtful: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::Suite;

    #[test]
    fn a_group_of_one_keeps_the_laws() {
        let checked = Suite::new(Arc::new(Solo)).run();
        assert!(checked.held.len() >= 9, "{checked:?}");
    }
}
