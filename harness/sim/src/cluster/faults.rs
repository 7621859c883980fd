//! What goes wrong: a fault every five seconds or so, each of a kind that chance draws.
//!
//! Two bounds are kept, since beyond them nobody could promise anything: never more machines lose their disks than the others can make up for, one at a time; and the power is never lost by all machines that
//! acknowledge what is not synced (`durability = os`): those are killed, but for one at a time.

use super::machine::Death;
use super::{Happening, MILLI, SECOND, World};
use nori_env::{Durability, FaultPlan};
use std::io::ErrorKind;

impl World {
    /// A fault.
    pub(super) fn fault(&mut self) {
        let kinds = 23;
        match self.chance.below(kinds) {
            0 => self.kill_one(),
            1 | 2 => self.lose_power(),
            3 => self.lose_power_in_an_event(),
            4 => self.outage(),
            5 => self.restarts(),
            6 => self.pause(),
            7 => self.partition(false),
            8 => self.partition(true),
            9 => self.bridge(),
            10 => self.clog(),
            11 => self.swizzle(),
            12 => self.reset_streams(),
            13 => self.drift(),
            14 => self.jump(),
            15 => self.slow_disk(),
            16 | 17 => self.failing_disk(),
            18 | 19 => self.forgetful(),
            20 | 21 => self.sleeping_leader(),
            _ => self.wipe(),
        }
    }

    /// Machines that run.
    pub(super) fn up(&self) -> Vec<usize> {
        (0..self.machines.len()).filter(|m| self.machines[*m].running.is_some()).collect()
    }

    fn somebody_up(&mut self) -> Option<usize> {
        let up = self.up();
        self.chance.pick(&up).copied()
    }

    pub(super) fn loses_unsynced(&self) -> bool {
        self.climate.durability == Durability::Sync
    }

    /// How one machine goes down.
    pub(super) fn death(&mut self) -> Death {
        if self.may_forget() { Death::Power(self.chance.next_u64()) } else { Death::Kill }
    }

    /// How each goes down when all do.
    pub(super) fn death_of_all(&mut self) -> Death {
        if self.loses_unsynced() { Death::Power(self.chance.next_u64()) } else { Death::Kill }
    }

    pub(super) fn kill_one(&mut self) {
        if let Some(m) = self.somebody_up() {
            self.count("kill");
            self.die(m, Death::Kill);
        }
    }

    fn lose_power(&mut self) {
        if let Some(m) = self.somebody_up() {
            let death = self.death();
            self.count(if death == Death::Kill { "kill" } else { "power loss" });
            self.die(m, death);
        }
    }

    /// The power is lost in the middle of one of the next things that a machine does with its disk.
    fn lose_power_in_an_event(&mut self) {
        if !self.loses_unsynced() {
            return self.kill_one();
        }
        let Some(m) = self.somebody_up() else { return };
        let after = self.chance.between(1, 60);
        if let Some(running) = &self.machines[m].running {
            let crash_at_event = Some(running.fs.events() + after);
            running.fs.set_plan(FaultPlan { crash_at_event, ..FaultPlan::default() });
            let life = self.machines[m].life;
            self.faulty.insert((m, life));
        }
    }

    fn restarts(&mut self) {
        self.count("restarts in a row");
        for (n, m) in self.up().into_iter().enumerate() {
            // Each is up again before the next goes, or not quite.
            let after = n as u64 * self.chance.between(200 * MILLI, 2 * SECOND);
            if n == 0 {
                self.die(m, Death::Kill);
            } else {
                self.operator.kills.push((self.time + after, m));
            }
        }
    }

    fn pause(&mut self) {
        if let Some(m) = self.somebody_up() {
            self.count("pause");
            let length = self.chance.between(50 * MILLI, 8 * SECOND);
            self.machines[m].paused_until = self.time + length;
            if self.chance.hits(500_000) {
                self.count("clock held");
                self.machines[m].held = Some(self.machines[m].now(self.time));
            }
            self.tell(|| format!("m{m} stands still for {} ms", length / MILLI));
        }
    }

    fn heal_later(&mut self) {
        let after = self.chance.between(500 * MILLI, 10 * SECOND);
        self.operator.heal_at = Some(self.time + after);
    }

    /// Some machines and the others hear nothing of each other; or the others nothing of them.
    fn partition(&mut self, is_one_way: bool) {
        self.count(if is_one_way { "one-way partition" } else { "partition" });
        let machines = self.machines.len();
        let side: Vec<bool> = (0..machines).map(|_| self.chance.hits(400_000)).collect();
        for a in 0..machines {
            for b in 0..machines {
                if side[a] && !side[b] {
                    self.net.block((a, b));
                    if !is_one_way {
                        self.net.block((b, a));
                    }
                }
            }
        }
        self.tell(|| format!("partition {side:?}, one way: {is_one_way}"));
        self.heal_later();
    }

    /// Two halves that only one machine hears.
    fn bridge(&mut self) {
        self.count("bridge");
        let machines = self.machines.len();
        let bridge = self.chance.below(machines as u64) as usize;
        for a in (0..machines).filter(|a| *a != bridge) {
            for b in (0..machines).filter(|b| *b != bridge) {
                if a % 2 != b % 2 {
                    self.net.block((a, b));
                }
            }
        }
        self.heal_later();
    }

    fn clog(&mut self) {
        self.count("clog");
        let machines = self.machines.len() as u64;
        let (a, b) = (self.chance.below(machines) as usize, self.chance.below(machines) as usize);
        let times = self.chance.between(10, 500);
        self.net.clog((a, b), times);
        self.heal_later();
    }

    /// All links of some machines are clogged, and come back one after the other.
    fn swizzle(&mut self) {
        self.count("swizzle");
        let machines = self.machines.len();
        for a in 0..machines {
            if self.chance.hits(500_000) {
                let times = self.chance.between(50, 1_000);
                (0..machines).for_each(|b| self.net.clog((a, b), times));
            }
        }
        self.heal_later();
    }

    fn reset_streams(&mut self) {
        self.count("stream reset");
        let machines = self.machines.len();
        if let Some(m) = self.somebody_up() {
            self.net.reset_all(m, machines);
        }
    }

    fn drift(&mut self) {
        self.count("clock drift");
        let (machines, bound) =
            (self.machines.len() as u64, u64::from(self.climate.consensus.drift_ppm / 2));
        let m = self.chance.below(machines) as usize;
        let ppm = self.chance.between(0, 2 * bound) as i64 - bound as i64;
        let time = self.time;
        self.machines[m].set_drift(time, ppm);
        if let Some(next) = self.machines[m].turn_at {
            // What was planned was planned by the old clock.
            self.machines[m].turn_at = None;
            self.plan_turn(m, next);
        }
    }

    /// The time of day of a machine is another; the one that only goes on is not.
    fn jump(&mut self) {
        self.count("time of day jumps");
        let machines = self.machines.len() as u64;
        let m = self.chance.below(machines) as usize;
        let ahead = self.chance.between(0, 20_000) as i64 - 10_000;
        self.machines[m].set_ahead(ahead);
    }

    fn slow_disk(&mut self) {
        if let Some(m) = self.somebody_up() {
            self.count("slow disk");
            self.machines[m].slow_until = self.time + self.chance.between(SECOND, 8 * SECOND);
        }
    }

    /// A sync, a write or a read fails, or the disk is full for the rest of this life of the node.
    fn failing_disk(&mut self) {
        let Some(m) = self.somebody_up() else { return };
        let (kind, after) = (self.chance.below(3), self.chance.between(1, 40));
        let Some(running) = &self.machines[m].running else { return };
        let fs = running.fs.clone();
        let (what, plan) = match kind {
            0 => {
                let fail_at_sync = Some(fs.syncs() + after);
                ("sync failed", FaultPlan { fail_at_sync, ..FaultPlan::default() })
            }
            1 => {
                let fail_at_event = Some((fs.events() + after, ErrorKind::Other));
                ("write failed", FaultPlan { fail_at_event, ..FaultPlan::default() })
            }
            _ => {
                let full_from_event = Some(fs.events() + after);
                ("disk full", FaultPlan { full_from_event, ..FaultPlan::default() })
            }
        };
        self.count(what);
        self.tell(|| format!("m{m}: {what} after {after}"));
        fs.set_plan(plan);
        let life = self.machines[m].life;
        self.faulty.insert((m, life));
        if what == "disk full" {
            let after = self.chance.between(500 * MILLI, 5 * SECOND);
            self.operator.room.push((self.time + after, m, life));
        }
    }

    /// What goes wrong with the disk while a node begins.
    pub(super) fn next_plan(&mut self, _m: usize) -> FaultPlan {
        if !self.is_stormy || !self.loses_unsynced() || !self.chance.hits(80_000) {
            return FaultPlan::default();
        }
        let crash_at_event = Some(self.chance.between(1, 80));
        FaultPlan { crash_at_event, ..FaultPlan::default() }
    }

    /// A disk is lost, and a new machine takes the place of the old one. One at a time, while everybody else is there.
    fn wipe(&mut self) {
        let is_possible = self.is_whole() && self.machines.len() < 9;
        let candidates: Vec<usize> = (0..self.machines.len())
            .filter(|m| !self.machines[*m].is_gone && self.machines[*m].id.is_some())
            .collect();
        let Some(m) = self.chance.pick(&candidates).copied().filter(|_| is_possible) else {
            return self.kill_one();
        };
        self.count("wipe");
        let lost = self.machines[m].id;
        self.machines[m].is_gone = true;
        self.die(m, Death::Kill);
        let time = self.time;
        self.machines[m].wipe(time);
        if let Some(lost) = lost {
            self.ids.remove(&lost);
            self.operator.replace(lost);
        }
        self.join();
    }

    /// One more machine, with an empty disk.
    pub(super) fn join(&mut self) {
        let number = self.machines.len();
        let drift = self.chance.between(0, 200) as i64 - 100;
        let machine = super::Machine::new(number, drift);
        self.machines.push(machine);
        self.count("join");
        self.plan_in(SECOND, Happening::Start(number));
    }
}
