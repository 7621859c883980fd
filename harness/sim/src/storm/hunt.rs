//! Hunts: for a while every leader gets few messages through and soon dies.

use super::Storm;
use super::plot::Act;
use nori_consensus::{MessageClass, NodeId, Term};
use std::time::Duration;

impl Storm {
    pub(super) fn begin_hunt(&mut self, time: Duration) {
        self.hunt_until = self.hunt_until.max(self.elapsed + time);
        self.world.weather.promise_death_ppm = self.chance.below(300_000) as u32;
        self.hunts += 1;
    }

    /// Who begins to lead brings its entries to some and not to others, most of the time; who leads dies soon.
    pub(super) fn hunt(&mut self) {
        self.hinder_votes();
        let Some(leader) = self.leader() else { return };
        let term = self.world.host(leader).status().map_or(Term::ZERO, |status| status.term);
        if self.prey == Some((leader, term)) {
            if self.chance.hits(200_000) {
                let others = self.others(leader);
                if self.chance.hits(200_000)
                    && let Some(other) = self.chance.pick(&others).copied()
                {
                    self.forget(other);
                }
                self.crash(leader);
                self.world.mend(leader);
            }
            return;
        }
        self.prey = Some((leader, term));
        let mut others = self.others(leader);
        // What was held back when it led before comes now.
        let after = Duration::from_millis(self.chance.between(0, 200));
        self.plot(after, Act::Release(leader));
        if self.chance.hits(300_000)
            && let Some(other) = self.chance.pick(&others).copied()
        {
            let messages = self.chance.between(1, 4) as u32;
            self.world.hold(other, leader, MessageClass::Append, messages);
        }
        if self.chance.hits(600_000) {
            // Few rather than many.
            let most = others.len() as u64 + 1;
            let mut reached = self.chance.below(most).min(self.chance.below(most));
            while let Some(other) = self.chance.pick(&others).copied() {
                others.retain(|node| *node != other);
                let messages = if reached > 0 { self.chance.between(1, 3) as u32 } else { 0 };
                reached = reached.saturating_sub(1);
                self.world.ration(leader, other, messages);
            }
        }
    }

    /// A vote, or the wish for one, comes late; two do not hear each other for a while.
    fn hinder_votes(&mut self) {
        let all: Vec<NodeId> = self.world.nodes().collect();
        let (Some(one), Some(other)) =
            (self.chance.pick(&all).copied(), self.chance.pick(&all).copied())
        else {
            return;
        };
        if one != other && self.chance.hits(100_000) {
            self.world.hold(one, other, MessageClass::Vote, 1);
            let after = Duration::from_millis(self.chance.between(5, 400));
            self.plot(after, Act::Release(other));
        }
        if one != other && self.chance.hits(15_000) {
            self.world.cut(one, other);
            self.world.cut(other, one);
            let after = Duration::from_millis(self.chance.between(500, 3_000));
            self.plot(after, Act::Heal);
        }
    }
}
