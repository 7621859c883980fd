//! What becomes of what is said: of others, and of this member itself.
//!
//! Of two things said of one member, that of the later generation holds; of one generation, that of the greater incarnation; of one
//! incarnation, the later of alive, suspect, down, left. So members that have heard the same things agree, in whatever order they heard
//! them. Only a member itself raises its incarnation.

use crate::member::{Member, State, Suspicion};
use crate::message::{Claim, Rumour};
use crate::runtime::TimerKind;
use crate::scale;
use crate::settings::ACCUSERS_MAX;
use crate::swim::{Swim, Turn};
use crate::{Address, Event, Identity, Incarnation, Instant, NodeId, Phase};
use bytes::Bytes;

impl Swim {
    /// Takes in what is said of a member.
    pub(crate) fn learn(&mut self, turn: &mut Turn<'_>, rumour: Rumour) {
        let Identity { node, generation } = rumour.identity;
        if node == self.identity.node {
            self.learn_of_me(turn, &rumour);
            return;
        }
        let Some(member) = self.members.get(&node) else {
            // Who is unknown and not alive is nobody: there is nothing to end.
            if let Claim::Alive { address, metadata } = rumour.claim {
                self.welcome(turn, rumour.identity, rumour.incarnation, address, metadata);
            }
            return;
        };
        if generation < member.identity.generation {
            self.counters.stale_rumours.add(1);
        } else if generation > member.identity.generation {
            if let Claim::Alive { address, metadata } = rumour.claim {
                self.welcome(turn, rumour.identity, rumour.incarnation, address, metadata);
            }
        } else {
            self.learn_of_known(turn, rumour);
        }
    }

    /// A member nobody knew, or a later boot of one.
    fn welcome(
        &mut self,
        turn: &mut Turn<'_>,
        identity: Identity,
        incarnation: Incarnation,
        address: Address,
        metadata: Bytes,
    ) {
        let member = Member {
            identity,
            address: address.clone(),
            metadata: metadata.clone(),
            metadata_at: incarnation,
            incarnation,
            state: State::Alive,
            since: turn.now,
            rtt: None,
        };
        let earlier = self.members.insert(identity.node, member);
        if !earlier.as_ref().is_some_and(Member::is_living) {
            self.count_in(identity.node);
        }
        self.push_rumour(turn, identity.node);
        turn.notify(match earlier {
            None => Event::Up { member: identity, address, metadata },
            Some(earlier) => {
                let earlier = earlier.identity.generation;
                Event::Restarted { member: identity, earlier, address, metadata }
            }
        });
    }

    fn learn_of_known(&mut self, turn: &mut Turn<'_>, rumour: Rumour) {
        let Rumour { identity, incarnation, .. } = rumour;
        let Some(member) = self.members.get(&identity.node) else { return };
        let is_news = member.is_news(&rumour);
        match rumour.claim {
            Claim::Alive { address, metadata } => {
                self.take_metadata(turn, identity.node, incarnation, address, metadata);
                if is_news {
                    self.revive(turn, identity.node, incarnation);
                } else if incarnation < self.incarnation_of(identity.node) {
                    self.counters.stale_rumours.add(1);
                }
            }
            Claim::Suspect { accusers } if is_news => {
                self.suspect(turn, identity.node, incarnation, &accusers);
            }
            Claim::Suspect { accusers } => {
                self.confirm(turn, identity.node, incarnation, &accusers);
            }
            Claim::Down if is_news => self.end(turn, identity.node, incarnation, State::Down),
            Claim::Left if is_news => self.end(turn, identity.node, incarnation, State::Left),
            Claim::Down | Claim::Left => {}
        }
    }

    fn incarnation_of(&self, node: NodeId) -> Incarnation {
        self.members.get(&node).map_or(Incarnation(0), |member| member.incarnation)
    }

    /// What a member says of itself counts if it is newer than what it said before, even if it is suspect or down since.
    fn take_metadata(
        &mut self,
        turn: &mut Turn<'_>,
        node: NodeId,
        incarnation: Incarnation,
        address: Address,
        metadata: Bytes,
    ) {
        let Some(member) = self.members.get_mut(&node) else { return };
        if incarnation <= member.metadata_at {
            return;
        }
        member.metadata_at = incarnation;
        member.incarnation = member.incarnation.max(incarnation);
        if member.metadata != metadata || member.address != address {
            member.metadata = metadata.clone();
            member.address = address.clone();
            turn.notify(Event::Changed { member: member.identity, address, metadata });
        }
    }

    /// A member has raised its incarnation.
    fn revive(&mut self, turn: &mut Turn<'_>, node: NodeId, incarnation: Incarnation) {
        let Some(member) = self.members.get_mut(&node) else { return };
        let before = std::mem::replace(&mut member.state, State::Alive);
        member.incarnation = incarnation;
        if before != State::Alive {
            member.since = turn.now;
        }
        let (identity, address) = (member.identity, member.address.clone());
        let metadata = member.metadata.clone();
        match before {
            State::Alive => {}
            State::Suspect(_) => turn.notify(Event::Cleared { member: identity }),
            State::Down | State::Left => {
                self.count_in(node);
                turn.notify(Event::Up { member: identity, address, metadata });
            }
        }
        self.push_rumour(turn, node);
    }

    /// A member becomes suspect.
    pub(crate) fn suspect(
        &mut self,
        turn: &mut Turn<'_>,
        node: NodeId,
        incarnation: Incarnation,
        accusers: &[NodeId],
    ) {
        let n = self.size();
        let most = scale::confirmations(&self.settings, n) as usize + 1;
        let Some(member) = self.members.get_mut(&node) else { return };
        let Some(first) = accusers.first().copied() else { return };
        let mut suspicion =
            Suspicion { began: turn.now, deadline: turn.now, accusers: vec![first] };
        suspicion.confirm(accusers, most);
        let lasts = scale::suspicion(&self.settings, n, suspicion.confirmed());
        suspicion.deadline = turn.now.after(lasts);
        let was_living = member.is_living();
        let identity = member.identity;
        let (address, metadata) = (member.address.clone(), member.metadata.clone());
        member.state = State::Suspect(suspicion);
        member.incarnation = incarnation;
        member.since = turn.now;
        if !was_living {
            // It was down, has refuted that unheard by us, and is suspect anew.
            self.count_in(node);
            turn.notify(Event::Up { member: identity, address, metadata });
        }
        self.counters.suspicions.add(1);
        turn.notify(Event::Suspected { member: identity, by: first });
        turn.arm(lasts, TimerKind::Suspicion(identity, incarnation));
        self.push_rumour(turn, node);
    }

    /// Others suspect a suspect too: the end of its time comes nearer.
    pub(crate) fn confirm(
        &mut self,
        turn: &mut Turn<'_>,
        node: NodeId,
        incarnation: Incarnation,
        accusers: &[NodeId],
    ) {
        let n = self.size();
        let most = scale::confirmations(&self.settings, n) as usize + 1;
        let Some(member) = self.members.get_mut(&node) else { return };
        if incarnation < member.incarnation {
            self.counters.stale_rumours.add(1);
            return;
        }
        let identity = member.identity;
        let State::Suspect(suspicion) = &mut member.state else { return };
        if !suspicion.confirm(accusers, most) {
            return;
        }
        let lasts = scale::suspicion(&self.settings, n, suspicion.confirmed());
        let deadline = suspicion.began.after(lasts).max(turn.now);
        if deadline < suspicion.deadline {
            suspicion.deadline = deadline;
            turn.arm(deadline.since(turn.now), TimerKind::Suspicion(identity, incarnation));
        }
        self.push_rumour(turn, node);
    }

    /// The time of a suspicion may be over.
    pub(crate) fn suspicion_end(
        &mut self,
        turn: &mut Turn<'_>,
        identity: Identity,
        incarnation: Incarnation,
    ) {
        let Some(member) = self.members.get(&identity.node) else { return };
        let is_the_same = member.identity == identity && member.incarnation == incarnation;
        let is_over = member.suspicion().is_some_and(|of| of.deadline <= turn.now);
        if is_the_same && is_over {
            self.end(turn, identity.node, incarnation, State::Down);
        }
    }

    /// A member is down or has left.
    fn end(&mut self, turn: &mut Turn<'_>, node: NodeId, incarnation: Incarnation, state: State) {
        let Some(member) = self.members.get_mut(&node) else { return };
        let was_living = member.is_living();
        let identity = member.identity;
        member.incarnation = incarnation;
        member.since = turn.now;
        let event = match state {
            State::Left => Event::Left { member: identity },
            _ => Event::Down { member: identity },
        };
        if state == State::Down {
            self.counters.downs.add(1);
        }
        member.state = state;
        if was_living {
            self.living -= 1;
            self.order.remove(node);
            self.counters.members.set(self.size() as u64);
        }
        turn.notify(event);
        turn.arm(self.settings.forget_after, TimerKind::Forget(identity, turn.now));
        self.push_rumour(turn, node);
    }

    /// A member that has been down or away since `since` is no longer remembered.
    pub(crate) fn forget(&mut self, turn: &mut Turn<'_>, identity: Identity, since: Instant) {
        let Some(member) = self.members.get(&identity.node) else { return };
        if member.identity == identity && !member.is_living() && member.since == since {
            self.members.remove(&identity.node);
            self.rumours.remove(identity.node);
            turn.notify(Event::Forgotten { member: identity });
        }
    }

    fn count_in(&mut self, node: NodeId) {
        self.living += 1;
        self.order.insert(node, &mut self.chance);
        self.counters.members.set(self.size() as u64);
    }

    /// Takes in what is said of this very member, which is never believed: it knows better, and says so.
    fn learn_of_me(&mut self, turn: &mut Turn<'_>, rumour: &Rumour) {
        let own = self.identity.generation;
        if rumour.identity.generation > own {
            if self.phase != Phase::Superseded {
                self.superseded(turn, rumour.identity);
            }
            return;
        }
        if self.phase == Phase::Leaving || matches!(rumour.claim, Claim::Alive { .. }) {
            return;
        }
        if rumour.identity.generation == own && rumour.incarnation >= self.incarnation {
            // incarnation < Incarnation::MAX: the reader lets no other accusation in.
            self.incarnation = rumour.incarnation.next();
            self.worsen_health(1);
            self.counters.refutations.add(1);
            turn.notify(Event::Refuted { incarnation: self.incarnation });
        } else {
            self.counters.stale_rumours.add(1);
        }
        // Whoever says so, even of an earlier boot or incarnation, has not heard of the present one.
        self.push_rumour(turn, self.identity.node);
    }
}

const _: () = assert!(ACCUSERS_MAX >= 2, "a suspicion that nobody can confirm never shortens");

#[cfg(test)]
mod tests;
