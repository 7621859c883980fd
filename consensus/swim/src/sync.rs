//! The exchange of all that is known, over a stream: at joining, and now and then.
//!
//! It mends what rumours missed. Now and then one is begun with a member that is down, too: it may be back, or only have been cut off
//! together with others, and nobody else would ever ask it. So is one where joining was tried and nobody is known: of a cluster that is started
//! anew, each may have found some of the others first, and those not the rest.

use crate::message::{Claim, Message, Rumour, begin};
use crate::runtime::TimerKind;
use crate::scale;
use crate::swim::{Swim, Turn};
use crate::{Address, Class, NodeId};
use bytes::BytesMut;
use std::ops::Bound;

impl Swim {
    /// Begins an exchange with one that lives, with one that is down, and where it once tried to join and knows nobody. Who is alone
    /// asks wherever it did.
    pub(crate) fn sync(&mut self, turn: &mut Turn<'_>) {
        let interval = scale::sync_interval(&self.settings, self.size());
        turn.arm(interval, TimerKind::Sync);
        if self.living == 0 {
            self.ask_seeds(turn);
        } else {
            self.ask_unknown_seed(turn);
        }
        for nodes in [self.living_nodes(), self.down_nodes()] {
            for node in self.chance.choose(nodes, 1) {
                let Some(member) = self.members.get(&node) else { continue };
                let address = member.address.clone();
                self.send_sync(turn, &address, false);
            }
        }
    }

    /// Asks those at whom joining was tried.
    pub(crate) fn ask_seeds(&mut self, turn: &mut Turn<'_>) {
        for seed in self.seeds.clone() {
            self.send_sync(turn, &seed, false);
        }
    }

    fn ask_unknown_seed(&mut self, turn: &mut Turn<'_>) {
        let is_unknown =
            |seed: &usize| !self.members.values().any(|of| of.address == self.seeds[*seed]);
        let unknown = (0..self.seeds.len()).filter(is_unknown).collect();
        for seed in self.chance.choose(unknown, 1) {
            let address = self.seeds[seed].clone();
            self.send_sync(turn, &address, false);
        }
    }

    /// Tries to join again if nobody is known still.
    pub(crate) fn join_again(&mut self, turn: &mut Turn<'_>) {
        self.is_join_armed = self.living == 0 && !self.seeds.is_empty();
        if self.is_join_armed {
            self.ask_seeds(turn);
            turn.arm(self.settings.period * 2, TimerKind::Join);
        }
    }

    /// Sends all that is known, beginning with itself and going round from a member that chance chooses: where not all fits, each is told
    /// of in some exchange.
    pub(crate) fn send_sync(&mut self, turn: &mut Turn<'_>, to: &Address, is_answer: bool) {
        let mut body = begin(self.identity, &self.address, &Message::Sync { is_answer });
        let most = self.settings.stream_bytes_max - self.envelope.overhead_bytes();
        self.own_rumour().put(&mut body);
        let nodes: Vec<NodeId> = self.members.keys().copied().collect();
        let first = self.chance.below(nodes.len().max(1) as u64) as usize;
        let first = nodes.get(first).copied().unwrap_or_default();
        let behind = (Bound::Unbounded, Bound::Excluded(first));
        let members = self.members.range(first..).chain(self.members.range(behind));
        let mut scratch = BytesMut::new();
        for (_, member) in members {
            scratch.clear();
            // Two rumours say it all: what a member last said of itself, and what has been said of it since.
            if member.is_living() {
                member.alive_rumour().put(&mut scratch);
            }
            put_unless_alive(&member.rumour(), &mut scratch);
            if body.len() + scratch.len() > most {
                break;
            }
            body.extend_from_slice(&scratch);
        }
        self.dispatch(turn, to, Class::Stream, &body, self.settings.stream_bytes_max);
    }
}

fn put_unless_alive(rumour: &Rumour, bytes: &mut BytesMut) {
    if !matches!(rumour.claim, Claim::Alive { .. }) {
        rumour.put(bytes);
    }
}

#[cfg(test)]
mod tests;
