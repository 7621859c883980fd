//! What nodes put out, and what becomes of it: packets, datagrams, introductions, answers.
//!
//! What has come to a machine that stands still waits there, and is taken up when it goes on, whatever has become of its sender. An answer is handed on by another thread than
//! the node's, a little later or much.

use super::machine::{Death, number_of};
use super::{Happening, MILLI, World, net};
use bytes::Bytes;
use nori_consensus::Role;
use norikv_node::{Event, Output};
use norikv_replica::{Answer, Reply};

/// Of a million maps that a node hears of, so many are followed by its end.
const KILLED_BY_MAP_PPM: u32 = 3_000;

impl World {
    pub(super) fn output(&mut self, m: usize, output: Output) {
        match output {
            Output::Send { to, packet } => {
                let Some(to) = net::machine_of(&self.ids, to) else { return };
                let (delay, loss) = (self.climate.delay, self.climate.loss_ppm);
                match self.net.packet(self.time, (m, to), &mut self.chance, delay, loss) {
                    Some((at, epoch)) => {
                        self.plan(at, Happening::Packet { from: m, to, epoch, packet });
                    }
                    None => self.count("packet lost"),
                }
            }
            Output::Introduce { address, packet } => {
                if let Some(to) = number_of(&address).filter(|to| *to < self.machines.len()) {
                    self.datagram((m, to), Happening::Introduction { by: m, to, packet });
                }
            }
            Output::Gossip { to, class, packet } => {
                let Some(to) = number_of(&to).filter(|to| *to < self.machines.len()) else {
                    return;
                };
                if self.chance.hits(self.climate.loss_ppm) {
                    self.count("gossip twice");
                    let again = packet.clone();
                    self.datagram((m, to), Happening::Gossip { to, class, packet: again });
                }
                if !self.datagram((m, to), Happening::Gossip { to, class, packet }) {
                    self.count("gossip lost");
                }
            }
            Output::Answer { answer, .. } => {
                if let Some(answer) = self.keep(answer) {
                    self.hand_on(m, answer);
                }
            }
            Output::Decided { request, result } => self.decided(request, &result),
            Output::Event(event) => self.event(m, event),
        }
    }

    /// Whether it will arrive.
    fn datagram(&mut self, link: net::Link, what: Happening) -> bool {
        let (delay, loss) = (self.climate.delay, self.climate.loss_ppm);
        let at = self.net.datagram(self.time, link, &mut self.chance, delay, loss);
        if let Some(at) = at {
            self.plan(at, what);
        }
        at.is_some()
    }

    /// An answer goes to whoever hands it on. Rows on the disk are read there first.
    fn hand_on(&mut self, m: usize, answer: Answer) {
        let times = if self.machines[m].slow_until > self.time { 100 } else { 1 };
        let after = match answer.reply {
            Reply::View(_) => self.chance.between(20_000, 4 * MILLI) * times,
            _ => self.chance.between(1_000, 50_000),
        };
        let life = self.machines[m].life;
        self.plan_in(after, Happening::Answer { m, life, answer: Box::new(answer) });
    }

    /// An answer is handed on, if its node lives and its machine goes.
    pub(super) fn handed(&mut self, m: usize, life: u64, answer: Box<Answer>) {
        if self.machines[m].life != life || self.machines[m].running.is_none() {
            return;
        }
        if self.machines[m].paused_until > self.time {
            let at = self.machines[m].paused_until + self.chance.between(1, MILLI);
            return self.plan(at, Happening::Answer { m, life, answer });
        }
        self.answered(m, *answer);
    }

    fn event(&mut self, m: usize, event: Event) {
        self.tell(|| format!("m{m} {event:?}"));
        match event {
            Event::RoleChanged { shard, role, term, .. } => {
                self.chronicle.mix(&[2, m as u64, shard.0, term.0, role as u64]);
                if role == Role::Leader {
                    self.count("leader elected");
                }
            }
            Event::MapChanged { epoch } => {
                self.chronicle.mix(&[3, m as u64, epoch]);
                self.count("map changed");
                if self.is_stormy && self.chance.hits(KILLED_BY_MAP_PPM) {
                    self.kill_soon(m, 30 * MILLI);
                }
            }
            Event::Failed { shard, why } => {
                self.count("replica failed");
                if !self.faulty.contains(&(m, self.machines[m].life)) {
                    self.break_law(format!("the replica of {shard} on machine {m} failed: {why}"));
                }
            }
            Event::Chartered { .. } | Event::ReplicaGone { .. } | Event::Member { .. } => {}
        }
    }

    pub(super) fn packet(&mut self, from: usize, to: usize, epoch: u64, packet: &Bytes) {
        if epoch != self.net.epoch((from, to)) || self.net.is_blocked((from, to)) {
            return self.count("packet lost");
        }
        if self.machines[to].running.is_some() && self.machines[to].paused_until > self.time {
            // It has come, and waits in a buffer.
            let at = self.machines[to].paused_until + 1;
            let (packet, life) = (packet.clone(), self.machines[to].life);
            return self.plan(at, Happening::Buffered { from, to, life, epoch, packet });
        }
        self.receive(from, to, packet);
    }

    /// A packet is taken out of a buffer, if that is still there.
    pub(super) fn buffered(
        &mut self,
        (from, to): net::Link,
        (life, epoch): (u64, u64),
        packet: &Bytes,
    ) {
        if self.machines[to].life != life || self.machines[to].running.is_none() {
            return self.count("packet lost");
        }
        if self.machines[to].paused_until > self.time {
            let (at, packet) = (self.machines[to].paused_until + 1, packet.clone());
            return self.plan(at, Happening::Buffered { from, to, life, epoch, packet });
        }
        if epoch != self.net.epoch((from, to)) {
            self.count("packet of a stream that broke");
        }
        self.receive(from, to, packet);
    }

    fn receive(&mut self, from: usize, to: usize, packet: &Bytes) {
        let Some(sender) = self.machines[from].id else { return };
        let now = self.machines[to].now(self.time);
        let Some(running) = &mut self.machines[to].running else { return };
        // One for another node, or of another cluster, is no fault here: machines are wiped.
        let _ = running.node.receive(now, sender, packet);
        self.chronicle.mix(&[4, from as u64, to as u64, self.time, packet.len() as u64]);
        self.touch(to);
    }

    pub(super) fn introduction(&mut self, by: usize, to: usize, packet: &Bytes) {
        if !self.machines[to].is_awake(self.time) {
            return;
        }
        let now = self.machines[to].now(self.time);
        let Some(running) = &mut self.machines[to].running else { return };
        let answer = running.node.introduction(now, &format!("p{by}"), packet);
        if self.machines[to].has_crashed() {
            self.count("power loss in an event");
            return self.die(to, Death::Power(self.number));
        }
        match answer {
            Ok(packet) => {
                self.datagram((to, by), Happening::Introduced { by, to, packet });
                self.touch(to);
            }
            Err(fatal) => self.ended(to, &fatal.to_string()),
        }
    }

    pub(super) fn introduced(&mut self, by: usize, to: usize, packet: &Bytes) {
        if !self.machines[by].is_awake(self.time) {
            return;
        }
        let now = self.machines[by].now(self.time);
        let Some(running) = &mut self.machines[by].running else { return };
        let result = running.node.introduced(now, &format!("p{to}"), packet);
        if self.machines[by].has_crashed() {
            self.count("power loss in an event");
            return self.die(by, Death::Power(self.number));
        }
        match result {
            Ok(()) => self.touch(by),
            Err(fatal) => self.ended(by, &fatal.to_string()),
        }
    }
}
