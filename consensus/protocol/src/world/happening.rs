//! How things happen: one entry of the heap after the other, and what comes of each.

use super::agenda::Due;
use super::weather::within;
use super::{Happening, OVERHEARD_MAX, Occurrence, Place, UNDER_WAY_MAX, Violation, World};
use crate::host::Event;
use crate::monitor::Breach;
use crate::{Entry, Input, Instant, LogId, LogView, MessageClass, NodeId, Role, Term};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

type Events = Result<Vec<Event>, Breach>;

impl World {
    /// Takes the next entry of the heap.
    pub(super) fn happen(&mut self) -> Result<(), Violation> {
        let Some((number, due)) = self.agenda.pop() else { return Ok(()) };
        self.now = self.now.max(due.at);
        if self.agenda.len() > UNDER_WAY_MAX {
            let what = "livelock: messages are answered with ever more messages";
            return Err(self.violation(due.node, what));
        }
        let Some(place) = self.places.get(&due.node) else { return Ok(()) };
        if due.life > 0 && due.life != place.life {
            return Ok(());
        }
        if self.now < place.paused_until {
            self.agenda.put_off(number, Due { at: place.paused_until, ..due });
            return Ok(());
        }
        let node = due.node;
        let local = place.clock.shows(self.now);
        match due.what {
            Happening::Deliver { from, message } => {
                if place.life.is_multiple_of(2) {
                    return Ok(());
                }
                let events = self.deliver(node, local, from, message);
                self.after(node, local, events)
            }
            Happening::Timer => self.timer(node, local),
            Happening::Look { peer } => {
                let is_through = |from, to| !self.cuts.contains(&(from, to));
                let is_up =
                    self.is_alive(peer) && (is_through(peer, node) || is_through(node, peer));
                self.chronicle.count(if is_up { Occurrence::PeerUp } else { Occurrence::PeerDown });
                let input = if is_up { Input::PeerUp { peer } } else { Input::PeerDown { peer } };
                self.step(node, input)
            }
            what => {
                let events = self.work(node, local, what)?;
                self.after(node, local, events)
            }
        }
    }

    fn deliver(&mut self, node: NodeId, local: Instant, from: NodeId, message: Bytes) -> Events {
        let numbers = [10, from.0, message.len() as u64, fold(&message)];
        let factory = Arc::clone(&self.factory);
        self.tell(node, &numbers, || format!("hears {from}: {}", factory.describe(&message)));
        self.place(node).host.step(local, Input::Received { from, message })
    }

    fn timer(&mut self, node: NodeId, local: Instant) -> Result<(), Violation> {
        let place = self.place(node);
        place.timer = None;
        let events = match place.host.deadline() {
            Some(deadline) if deadline <= local => {
                self.tell(node, &[11], || "has its time".to_owned());
                self.place(node).host.step(local, Input::TimerFired)
            }
            // The deadline has moved on since this was put into the heap.
            Some(_) if self.chance.hits(self.weather.early_timer_ppm) => {
                self.chronicle.count(Occurrence::EarlyTimer);
                self.place(node).host.step(local, Input::TimerFired)
            }
            _ => Ok(Vec::new()),
        };
        self.after(node, local, events)
    }

    /// Ends a piece of a host's work.
    fn work(&mut self, node: NodeId, local: Instant, what: Happening) -> Result<Events, Violation> {
        let place = self.place(node);
        let events = match what {
            Happening::WriteDone => {
                place.is_writing = false;
                let is_promise = place.host.is_promising();
                self.tell(node, &[12], || "has written".to_owned());
                let events = self.place(node).host.finish_write(local);
                self.dies_next = is_promise && self.chance.hits(self.weather.promise_death_ppm);
                events
            }
            Happening::Applied => {
                place.is_applying = false;
                match place.host.apply(local) {
                    Ok((entries, events)) => {
                        self.applied(node, &entries)?;
                        Ok(events)
                    }
                    Err(broken) => Err(broken),
                }
            }
            Happening::Flushed => {
                place.is_flushing = false;
                let flushed = place.host.flush(local);
                if !self.chance.hits(self.weather.release_ppm) {
                    flushed
                } else if let Ok(mut events) = flushed {
                    self.chronicle.count(Occurrence::LogReleased);
                    let released = self.place(node).host.release_log(local);
                    released.map(|mut more| {
                        events.append(&mut more);
                        events
                    })
                } else {
                    flushed
                }
            }
            Happening::Built => {
                place.is_building = false;
                self.chronicle.count(Occurrence::SnapshotBuilt);
                self.place(node).host.finish_build(local)
            }
            Happening::Installed => {
                place.is_installing = false;
                self.chronicle.count(Occurrence::SnapshotInstalled);
                self.tell(node, &[13], || "has installed a snapshot".to_owned());
                self.place(node).host.finish_install(local)
            }
            Happening::Fetched => {
                place.host.log().fetch();
                place.host.step(local, Input::LogFetched)
            }
            Happening::Arrive { from, message, state } => {
                if place.life.is_multiple_of(2) {
                    return Ok(Ok(Vec::new()));
                }
                let (through, length) = (state.applied, message.len() as u64);
                self.tell(node, &[14, from.0, length, through.index.0], || {
                    format!("gets the snapshot at {through} from {from}")
                });
                self.place(node).host.arrive(local, from, message, *state)
            }
            Happening::Shipped { to, is_delivered } => {
                place.host.step(local, Input::SnapshotShipped { to, is_delivered })
            }
            Happening::Deliver { .. } | Happening::Timer | Happening::Look { .. } => Ok(Vec::new()),
        };
        Ok(events)
    }

    fn applied(&mut self, node: NodeId, entries: &[Entry]) -> Result<(), Violation> {
        if let Some(last) = entries.last() {
            let last = last.id;
            self.tell(node, &[15, last.term.0, last.index.0], || format!("has applied {last}"));
        }
        let known = self.chronicle.applied().len();
        self.chronicle.apply(entries).map_err(|what| self.violation(node, what))?;
        // Terms never fall along a log: leases of before matter where a term has its first entry.
        let from = known.saturating_sub(1);
        let of = |entry: Option<&Entry>| entry.map(|entry| entry.id.term);
        let applied = &self.chronicle.applied()[from..];
        let newest = of(applied.last()).filter(|_| of(applied.first()) != of(applied.last()));
        match newest.and_then(|term| self.lease_before(Some(term))) {
            Some(other) => {
                let what = format!("an entry committed while {other} holds a lease of before");
                Err(self.violation(node, what))
            }
            None => Ok(()),
        }
    }

    /// What comes of a step of `node`.
    pub(super) fn after(
        &mut self,
        node: NodeId,
        local: Instant,
        events: Events,
    ) -> Result<(), Violation> {
        let events = events.map_err(|broken| self.violation(node, broken.to_string()))?;
        let is_last = self.is_last_step(node);
        self.check_commit(node)?;
        for event in events {
            if let Event::RoleChanged { role: Role::Leader, .. } = &event {
                self.check_leader(node)?;
            }
            let log = self.places[&node].host.log();
            let told = self.chronicle.event(node, local, &event, log);
            told.map_err(|what| self.violation(node, what))?;
            self.event(node, event);
        }
        if is_last {
            self.chronicle.count(Occurrence::DeathAtWrite);
            self.crash(node);
        } else {
            self.schedule(node);
        }
        Ok(())
    }

    /// Whether the node dies now, of a step that began a write, or ended that of a promise.
    fn is_last_step(&mut self, node: NodeId) -> bool {
        if std::mem::take(&mut self.dies_next) {
            return true;
        }
        let (death, promise_death) = (self.weather.death_ppm, self.weather.promise_death_ppm);
        let place = &self.places[&node];
        if !place.host.is_writing() || place.is_writing || death == 0 && promise_death == 0 {
            return false;
        }
        let share = if place.host.is_promising() { promise_death } else { death };
        self.chance.hits(share)
    }

    /// What a leader takes for committed is safe on a quorum, by the membership before the step or after it.
    fn check_commit(&mut self, node: NodeId) -> Result<(), Violation> {
        let place = &self.places[&node];
        let Some(status) = place.host.status() else { return Ok(()) };
        let (commit, is_leader) = (status.commit, status.role == Role::Leader);
        // What it heard of as a follower was counted by another membership, perhaps.
        if is_leader
            && commit > place.committed
            && let Some(term) = place.host.log().term(commit)
        {
            let entry = LogId { term, index: commit };
            let keeps = |node| self.places.get(&node).is_some_and(|of| of.host.keeps(entry));
            let memberships = [&status.membership, &place.membership];
            if !memberships.into_iter().any(|membership| membership.is_quorum(keeps)) {
                let (now, before) = (&status.membership, &place.membership);
                let what = format!(
                    "{entry} is committed, and not safe on a quorum of {now} or of {before}"
                );
                return Err(self.violation(node, what));
            }
        }
        if place.host.awaits_install() {
            // Its membership may be of the snapshot already, and is of no entry of this log.
            return Ok(());
        }
        let membership = Arc::clone(&status.membership);
        // Who joins knows of none.
        if !Arc::ptr_eq(&membership, &place.membership)
            && !membership.voters.is_empty()
            && let Some(term) = place.host.log().term(membership.at)
        {
            let at = LogId { term, index: membership.at };
            let known = self.chronicle.reforms.know(at, &membership, place.host.log());
            known.map_err(|what| self.violation(node, what))?;
        }
        let place = self.place(node);
        (place.committed, place.membership) = (commit, membership);
        Ok(())
    }

    /// Who begins a life knows the last membership that it has applied, or a later one.
    pub(super) fn check_membership(&self, node: NodeId) -> Result<(), Violation> {
        let host = &self.places[&node].host;
        let Some(status) = host.status() else { return Ok(()) };
        let (knows, applied) = (status.membership.at, host.state().applied.index);
        match self.chronicle.reforms.applied_upto(applied).filter(|at| *at > knows) {
            Some(at) => {
                let what =
                    format!("it begins with the membership of {knows}, and has applied {at}");
                Err(self.violation(node, what))
            }
            None => Ok(()),
        }
    }

    /// Who begins to lead has everything that was ever applied, and nobody else holds a lease.
    fn check_leader(&mut self, node: NodeId) -> Result<(), Violation> {
        let log = self.places[&node].host.log();
        if let Some(last) = self.chronicle.applied().last()
            && log.first() <= last.id.index
            && log.term(last.id.index) != Some(last.id.term)
        {
            let what = format!("it leads, and does not have {}, which was applied", last.id);
            return Err(self.violation(node, what));
        }
        match self.lease_before(None).filter(|other| *other != node) {
            Some(other) if self.leases_exclude_leaders => {
                Err(self.violation(node, format!("it leads while {other} holds a lease")))
            }
            _ => Ok(()),
        }
    }

    /// Who holds a lease, of an earlier term than this, if clocks are sound.
    fn lease_before(&self, term: Option<Term>) -> Option<NodeId> {
        let holds = |(node, place): (&NodeId, &Place)| {
            let status = place.host.status()?;
            let is_earlier = term.is_none_or(|term| status.term < term);
            let holds = status.lease_until.is_some_and(|until| place.clock.shows(self.now) < until);
            (is_earlier && holds).then_some(*node)
        };
        if self.weather.has_sound_clocks { self.places.iter().find_map(holds) } else { None }
    }

    fn event(&mut self, node: NodeId, event: Event) {
        match event {
            Event::Sent { to, class, message } => self.send(node, to, class, &message),
            Event::Shipped { to, message, state } => {
                let after = within(self.weather.snapshot, &mut self.chance);
                let is_lost = self.chance.hits(self.weather.snapshot_loss_ppm)
                    || self.cuts.contains(&(node, to))
                    || !self.is_alive(to);
                if !is_lost {
                    let state = Box::new(state);
                    self.put(after, to, 0, Happening::Arrive { from: node, message, state });
                }
                let life = self.place(node).life;
                let shipped = Happening::Shipped { to, is_delivered: !is_lost };
                self.put(after + self.weather.delay.1, node, life, shipped);
                self.chronicle.count(Occurrence::SnapshotShipped);
                self.tell(node, &[20, to.0], || format!("ships a snapshot to {to}"));
            }
            Event::RoleChanged { role, term, leader } => {
                self.chronicle.count(match role {
                    Role::Leader => Occurrence::Leader,
                    Role::Candidate => Occurrence::Candidate,
                    Role::PreCandidate => Occurrence::PreCandidate,
                    Role::Follower => Occurrence::Follower,
                    Role::Learner => Occurrence::Learner,
                    Role::Halted => Occurrence::Halted,
                });
                let of = leader.map_or(0, |leader| leader.0);
                self.tell(node, &[16, role as u64, term.0, of], || {
                    let of =
                        leader.map_or_else(|| "nobody".to_owned(), |leader| leader.to_string());
                    format!("is {role:?} in {term} under {of}")
                });
            }
            Event::Accepted { ticket, at } => {
                self.tell(node, &[17, ticket.0, at.index.0], || {
                    format!("accepts {ticket} at {at}")
                });
            }
            Event::Rejected { ticket, why } => {
                self.tell(node, &[18, ticket.0], || format!("rejects {ticket}: {why}"));
            }
            Event::ReadReady { ticket, after_applying, .. } => {
                self.tell(node, &[19, ticket.0, after_applying.0], || {
                    format!("reads {ticket} at {after_applying}")
                });
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, class: MessageClass, message: &Bytes) {
        self.chronicle.count(match class {
            MessageClass::Vote => Occurrence::VoteMessage,
            MessageClass::Append => Occurrence::AppendMessage,
            MessageClass::Heartbeat => Occurrence::Heartbeat,
            MessageClass::Snapshot => Occurrence::SnapshotMessage,
            MessageClass::Other => Occurrence::OtherMessage,
        });
        if self.overheard.len() == OVERHEARD_MAX {
            self.overheard.pop_front();
        }
        self.overheard.push_back(message.clone());
        let is_spent = class == MessageClass::Append
            && match self.rations.get_mut(&(from, to)) {
                Some(0) => true,
                Some(left) => {
                    *left -= 1;
                    false
                }
                None => false,
            };
        let is_cut = is_spent || self.cuts.contains(&(from, to));
        if is_cut || self.chance.hits(self.weather.loss_ppm) {
            self.chronicle.count(Occurrence::MessageLost);
            return;
        }
        if let Some(left @ 1..) = self.holds.get_mut(&(from, to, class)) {
            *left -= 1;
            self.held.push((from, to, message.clone()));
            return;
        }
        let copies = if self.chance.hits(self.weather.repeat_ppm) { 2 } else { 1 };
        for _ in 0..copies {
            let after = self.delay(from, to);
            let message = if self.chance.hits(self.weather.damage_ppm) {
                self.chronicle.count(Occurrence::MessageDamaged);
                self.damage(message)
            } else {
                message.clone()
            };
            self.put(after, to, 0, Happening::Deliver { from, message });
        }
        if copies > 1 {
            self.chronicle.count(Occurrence::MessageRepeated);
        }
    }

    /// How long a message takes that keeps no order.
    pub(super) fn free_delay(&mut self) -> Duration {
        within(self.weather.delay, &mut self.chance)
    }

    /// How long a message takes that is sent now.
    fn delay(&mut self, from: NodeId, to: NodeId) -> Duration {
        let lag = self.lags.get(&to).copied().unwrap_or_default();
        let after = self.free_delay() + lag;
        if self.chance.hits(self.weather.straggle_ppm) {
            return after * self.chance.between(1, 100) as u32;
        }
        if self.chance.hits(self.weather.reorder_ppm) {
            self.chronicle.count(Occurrence::MessageOvertook);
            return after;
        }
        let now = self.now;
        let last = self.links.entry((from, to)).or_default();
        *last = (*last).max(now.after(after));
        last.since(now)
    }

    /// The message with a bit flipped, or cut short.
    fn damage(&mut self, message: &Bytes) -> Bytes {
        let bits = message.len() as u64 * 8;
        if bits == 0 || self.chance.hits(250_000) {
            return message.slice(..self.chance.below(message.len() as u64 + 1) as usize);
        }
        let (mut bytes, bit) = (message.to_vec(), self.chance.below(bits));
        bytes[bit as usize / 8] ^= 1 << (bit % 8);
        bytes.into()
    }

    /// Puts what a host has under way into the heap, each piece once.
    pub(super) fn schedule(&mut self, node: NodeId) {
        let (now, weather) = (self.now, &self.weather);
        let place = self.places.get_mut(&node).expect("it was stepped");
        let (life, chance) = (place.life, &mut self.chance);
        let mut due = Vec::with_capacity(4);
        let mut begin = |is_wanted: bool, is_begun: &mut bool, time, what| {
            if is_wanted && !*is_begun {
                *is_begun = true;
                due.push((within(time, chance), what));
            }
        };
        let host = &place.host;
        begin(host.is_writing(), &mut place.is_writing, weather.write, Happening::WriteDone);
        begin(host.is_applying(), &mut place.is_applying, weather.apply, Happening::Applied);
        begin(host.is_building(), &mut place.is_building, weather.snapshot, Happening::Built);
        let is_installing = host.is_installing();
        begin(is_installing, &mut place.is_installing, weather.snapshot, Happening::Installed);
        let is_dirty = host.is_dirty();
        begin(is_dirty, &mut place.is_flushing, weather.flush, Happening::Flushed);
        if self.chance.hits(self.weather.cold_ppm) && life % 2 == 1 {
            place.host.log().chill(place.host.state().applied.index);
            self.chronicle.count(Occurrence::LogCold);
            due.push((within(weather.write, &mut self.chance), Happening::Fetched));
        }
        let deadline = place.host.deadline();
        if deadline.is_none() && place.host.status().is_some_and(|is| is.role == Role::Leader) {
            self.chronicle.count(Occurrence::Asleep);
        }
        let wanted = deadline.and_then(|local| place.clock.when(local));
        let timer = wanted.filter(|at| place.timer.is_none_or(|known| *at < known));
        if let Some(at) = timer {
            place.timer = Some(at.max(now));
        }
        for (after, what) in due {
            self.put(after, node, life, what);
        }
        if let Some(at) = timer {
            self.put(
                Duration::from_nanos(at.nanos.saturating_sub(now.nanos)),
                node,
                life,
                Happening::Timer,
            );
        }
    }

    pub(super) fn put(&mut self, after: Duration, node: NodeId, life: u64, what: Happening) {
        self.agenda.put(Due { at: self.now.after(after), node, life, what });
    }
}

/// A number that stands for `bytes`.
pub(super) fn fold(bytes: &[u8]) -> u64 {
    let mut words = bytes.chunks_exact(8);
    let head = words.by_ref().fold(bytes.len() as u64, |sum, word| {
        let word = u64::from_le_bytes(word.try_into().expect("eight bytes"));
        (sum ^ word).wrapping_mul(0x9E37_79B1_85EB_CA87).rotate_left(29)
    });
    words
        .remainder()
        .iter()
        .fold(head, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
