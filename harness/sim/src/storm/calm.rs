//! The calm after the storm: everything is healed, and the group has to be itself again.

use super::Storm;
use nori_consensus::world::{Violation, Weather};
use nori_consensus::{Consistency, Index, LogView, NodeId, Ticket};
use std::time::Duration;

/// Within which the group has to be itself again once everything is healed.
const CALM: Duration = Duration::from_secs(120);

impl Storm {
    /// Heals everything; then the group has to be itself again.
    pub(super) fn calm(&mut self) -> Result<(), Violation> {
        self.world.heal();
        self.world.weather = Weather { has_sound_clocks: !self.has_wild_clocks, ..Weather::calm() };
        for node in self.world.nodes().collect::<Vec<_>>() {
            self.world.set_clock(node, |clock, now| clock.set_rate(now, 0));
            self.world.pause(node, Duration::ZERO);
            if !self.world.is_alive(node) && !self.gone.contains(&node) {
                self.start(node, 0)?;
            }
        }
        self.plots.clear();
        for node in self.world.nodes().collect::<Vec<_>>() {
            self.world.release(node);
        }
        if self.chance.hits(300_000) {
            self.be_left_alone()?;
        }
        let (mut last, mut due) = (None, self.world.time());
        let end = self.world.time().after(CALM);
        while self.world.time() < end {
            if self.has_settled(last) {
                return self.compare();
            }
            // What a leader took that was deposed since may be decided only by what comes after it.
            if let Some(leader) = self.leader()
                && self.world.time() >= due
            {
                due = self.world.time().after(Duration::from_secs(2));
                last = Some(self.world.propose(leader, b"calm")?);
                let read = self.world.read(leader, Consistency::Linearizable)?;
                self.reads.push(read);
            }
            self.world.run_for(Duration::from_millis(100))?;
        }
        Err(Violation {
            at: self.world.time(),
            node: self.world.leader().unwrap_or_default(),
            what: format!("liveness: the group is not itself {CALM:?} after everything was healed"),
        })
    }

    /// Nobody asks for anything: all members come to agree all the same.
    fn be_left_alone(&mut self) -> Result<(), Violation> {
        let end = self.world.time().after(CALM);
        while self.world.time() < end {
            self.world.run_for(Duration::from_secs(1))?;
            if self.agree() {
                return Ok(());
            }
        }
        let (at, node) = (self.world.time(), self.world.leader().unwrap_or_default());
        let what = format!("liveness: left alone for {CALM:?}, members do not agree");
        Err(Violation { at, node, what })
    }

    /// Whether the entry took effect, members agree, and no read is open.
    fn has_settled(&self, last: Option<Ticket>) -> bool {
        let took =
            last.is_some_and(|ticket| self.world.chronicle.took_effect(ticket) == Some(true));
        let open = |ticket: &Ticket| self.world.chronicle.outcome(*ticket).is_none();
        took && self.agree() && !self.reads.iter().any(open)
    }

    fn members(&self) -> Vec<NodeId> {
        let nodes = self.membership().map(|membership| membership.nodes()).unwrap_or_default();
        nodes.into_iter().filter(|node| self.world.is_alive(*node)).collect()
    }

    fn agree(&self) -> bool {
        let through = Index(self.world.chronicle.applied().len() as u64);
        let members = self.members();
        let has_all = |node: &NodeId| self.world.host(*node).state().applied.index == through;
        !members.is_empty() && members.iter().all(has_all)
    }

    /// Members' states are the same, and so are their logs where both have an entry.
    fn compare(&self) -> Result<(), Violation> {
        let members = self.members();
        let violation =
            |node: NodeId, what: String| Violation { at: self.world.time(), node, what };
        for two in members.windows(2) {
            let (one, other) = (self.world.host(two[0]), self.world.host(two[1]));
            if one.state() != other.state() {
                return Err(violation(two[0], format!("its state is not that of {}", two[1])));
            }
            let from = one.log().first().max(other.log().first());
            let upto = one.log().last().index.min(other.log().last().index);
            for index in from.0..=upto.0 {
                let (a, b) = (one.log().entry(Index(index)), other.log().entry(Index(index)));
                let same_name =
                    a.as_ref().map(|entry| entry.id) == b.as_ref().map(|entry| entry.id);
                if same_name && a != b {
                    let what = format!("entry {index} is not that of {} of the same name", two[1]);
                    return Err(violation(two[0], what));
                }
            }
        }
        Ok(())
    }
}
