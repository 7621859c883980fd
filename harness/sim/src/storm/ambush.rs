//! An ambush: two campaign in the same term, and the voter that both need restarts in between. A vote that is not remembered makes two leaders.
//!
//! 1. Of three voters the leader dies, and starts again. The other two do not hear each other.
//! 2. That the voter would vote for the **late** one is held back; so the **early** one is elected. It brings nobody any entries.
//! 3. The voter restarts, and hears the early one no more.
//! 4. Once the voter is free to vote, what was held back comes: the late one campaigns, in the term that the other leads in.

use super::Storm;
use super::plot::Act;
use nori_consensus::world::Violation;
use nori_consensus::{MessageClass, NodeId, Role, Term};
use std::time::Duration;

/// Who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trap {
    voter: NodeId,
    early: NodeId,
    late: NodeId,
    /// In which the voter led.
    term: Term,
    /// Then it has failed.
    until: Duration,
}

impl Storm {
    /// Waits until all logs are the same.
    pub(super) fn ambush(&mut self) {
        let (Some(voter), Some(now)) = (self.leader(), self.membership()) else { return };
        let mut others = self.others(voter);
        others.retain(|node| now.is_voter(*node) && self.world.is_awake(*node));
        if self.chance.hits(500_000) {
            others.reverse();
        }
        let (false, 3, &[early, late]) = (now.is_joint(), now.voters.len(), &others[..]) else {
            return self.restless_voter();
        };
        let term = self.world.host(voter).status().map_or(Term::ZERO, |status| status.term);
        let until = self.elapsed + 10 * self.election_min;
        self.quiet_until = until;
        self.world.heal();
        let after = self.election(30, 100);
        self.plot(after, Act::Ambush(Trap { voter, early, late, term, until }));
    }

    pub(super) fn lay(&mut self, trap: Trap) -> Result<(), Violation> {
        self.sever(trap.early, trap.late);
        self.world.ration(trap.early, trap.voter, 0);
        self.world.hold(trap.voter, trap.late, MessageClass::Vote, 100);
        self.world.crash(trap.voter);
        self.bring_back(trap.voter)?;
        self.plot(Duration::ZERO, Act::Spring(trap));
        Ok(())
    }

    pub(super) fn spring(&mut self, trap: Trap) -> Result<(), Violation> {
        if self.elapsed >= trap.until || !self.world.is_alive(trap.early) {
            self.reveal(&trap);
            return Ok(());
        }
        let leads = |node| {
            let status = self.world.host(node).status();
            status.is_some_and(|status| status.role == Role::Leader && status.term > trap.term)
        };
        if !leads(trap.early) {
            self.plot(Duration::ZERO, Act::Spring(trap));
            return Ok(());
        }
        self.sever(trap.early, trap.voter);
        self.sever(trap.late, trap.voter);
        self.world.crash(trap.voter);
        self.bring_back(trap.voter)?;
        let after = self.election(110, 160);
        self.plot(after, Act::Reveal(trap));
        Ok(())
    }

    /// Whatever came of it, all is healed in a while.
    pub(super) fn reveal(&mut self, trap: &Trap) {
        self.world.mend(trap.late);
        self.world.mend(trap.voter);
        self.sever(trap.early, trap.voter);
        self.sever(trap.early, trap.late);
        self.world.release(trap.late);
        let end = self.election(50, 150);
        self.plot(end, Act::Heal);
    }
}
