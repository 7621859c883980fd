//! Jobs in a seeded, single-threaded order.
//!
//! 1. `submit` only queues. Jobs run inside [`Tasks::wait`] and [`SeededTasks::run`], on the caller's thread.
//! 2. Each step goes to a job drawn from the ready ones; nothing but the seed decides.
//! 3. When no job is ready, the clock jumps to the next alarm.
//! 4. When there is no alarm either, the wait is [`Waited::Stuck`]: a stall without a cure, which a
//!    simulation reports as a failure.

use super::{Class, Job, Signal, Slice, Step, Tasks, Waited};
use crate::{Clock, Entropy, Instant, ManualClock, SeededEntropy};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A seeded loop of jobs and alarms over a [`ManualClock`]. Clones share one queue.
#[derive(Clone)]
pub struct SeededTasks {
    shared: Arc<Shared>,
}

struct Shared {
    clock: ManualClock,
    entropy: SeededEntropy,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    ready: Vec<Box<dyn Job>>,
    /// In order of time, then of being set.
    alarms: Vec<(Instant, Signal)>,
    steps: u64,
}

/// Small, so that jobs interleave often.
const SLICE_BYTES: usize = 4 * 1024;

impl SeededTasks {
    /// The order that `seed` stands for, over `clock`.
    pub fn new(seed: u64, clock: ManualClock) -> Self {
        let entropy = SeededEntropy::new(seed);
        Self { shared: Arc::new(Shared { clock, entropy, state: Mutex::default() }) }
    }

    /// Steps up to `steps_max` ready jobs, without moving the clock; the number of steps made.
    pub fn run(&self, steps_max: u64) -> u64 {
        (0..steps_max).take_while(|_| self.step_one()).count() as u64
    }

    /// The number of steps made so far: two runs of one seed agree on it at every point.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// When the next alarm is due.
    pub fn next_alarm_at(&self) -> Option<Instant> {
        self.lock().alarms.first().map(|(at, _)| *at)
    }

    /// Fires the alarms whose time has come; for whoever moves the clock himself.
    pub fn fire_due(&self) {
        let now = self.shared.clock.now();
        while self.next_alarm_at().is_some_and(|at| at <= now) {
            self.next_alarm();
        }
    }

    /// Lets go of everything that is not done, as the end of a process does. Jobs hold on to who submitted them, and so to this queue: else neither ever went.
    pub fn abandon(&self) {
        let mut state = self.lock();
        let (ready, alarms) = (std::mem::take(&mut state.ready), std::mem::take(&mut state.alarms));
        drop(state);
        drop((ready, alarms));
    }

    fn step_one(&self) -> bool {
        let mut state = self.lock();
        if state.ready.is_empty() {
            return false;
        }
        let drawn = self.shared.entropy.below(state.ready.len() as u64) as usize;
        let mut job = state.ready.swap_remove(drawn);
        state.steps += 1;
        drop(state);
        match job.step(&Slice { bytes_max: SLICE_BYTES }) {
            Step::Done => drop(job),
            Step::Again => self.lock().ready.push(job),
            Step::Wait(signal) => {
                // Weak: a job kept by a signal that never fires must not keep the loop alive.
                let again = Arc::downgrade(&self.shared);
                signal.on_fire(move || {
                    if let Some(shared) = again.upgrade() {
                        shared.state.lock().unwrap_or_else(PoisonError::into_inner).ready.push(job);
                    }
                });
            }
        }
        true
    }

    fn next_alarm(&self) -> bool {
        let mut state = self.lock();
        if state.alarms.is_empty() {
            return false;
        }
        let (at, signal) = state.alarms.remove(0);
        drop(state);
        self.shared.clock.advance_to(at);
        signal.fire();
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tasks for SeededTasks {
    fn submit(&self, _class: Class, job: Box<dyn Job>) {
        self.lock().ready.push(job);
    }

    fn wait(&self, signal: &Signal) -> Waited {
        while !signal.is_fired() {
            if !self.step_one() && !self.next_alarm() {
                return Waited::Stuck;
            }
        }
        Waited::Fired
    }

    fn alarm(&self, at: Instant) -> Signal {
        if at <= self.shared.clock.now() {
            return Signal::fired();
        }
        let signal = Signal::new();
        let mut state = self.lock();
        let place = state.alarms.partition_point(|(other, _)| *other <= at);
        state.alarms.insert(place, (at, signal.clone()));
        signal
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    struct Trace {
        name: u8,
        left: u32,
        into: Arc<Mutex<Vec<u8>>>,
        done: Signal,
    }

    impl Job for Trace {
        fn step(&mut self, _: &Slice) -> Step {
            self.into.lock().unwrap().push(self.name);
            self.left -= 1;
            if self.left > 0 {
                return Step::Again;
            }
            self.done.fire();
            Step::Done
        }
    }

    /// Who submitted it, and what that has.
    #[expect(dead_code, reason = "they are kept")]
    struct Keeps(SeededTasks, Arc<()>);

    impl Job for Keeps {
        fn step(&mut self, _: &Slice) -> Step {
            Step::Again
        }
    }

    fn trace(seed: u64) -> Vec<u8> {
        let tasks = SeededTasks::new(seed, ManualClock::default());
        let into = Arc::new(Mutex::default());
        let done: Vec<Signal> = (0..4).map(|_| Signal::new()).collect();
        for (name, done) in (0..).zip(&done) {
            let job = Trace { name, left: 10, into: Arc::clone(&into), done: done.clone() };
            tasks.submit(Class::Flush, Box::new(job));
        }
        assert!(done.iter().all(|signal| tasks.wait(signal) == Waited::Fired));
        into.lock().unwrap().clone()
    }

    #[test]
    fn the_same_seed_gives_the_same_order() {
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
    }

    #[test]
    fn waiting_for_what_nothing_can_fire_is_stuck() {
        let tasks = SeededTasks::new(1, ManualClock::default());
        assert_eq!(tasks.wait(&Signal::new()), Waited::Stuck);
    }

    #[test]
    fn what_is_abandoned_is_let_go() {
        let tasks = SeededTasks::new(1, ManualClock::default());
        let held = Arc::new(());
        tasks.submit(Class::Flush, Box::new(Keeps(tasks.clone(), Arc::clone(&held))));
        tasks.abandon();
        drop(tasks);
        assert_eq!(Arc::strong_count(&held), 1);
    }

    #[test]
    fn alarms_fire_in_order_of_time_and_move_the_clock() {
        let clock = ManualClock::default();
        let tasks = SeededTasks::new(1, clock.clone());
        let late = tasks.alarm(clock.now().after(Duration::from_millis(9)));
        let soon = tasks.alarm(clock.now().after(Duration::from_millis(3)));
        assert_eq!(tasks.wait(&soon), Waited::Fired);
        assert!(!late.is_fired());
        assert_eq!(tasks.wait(&late), Waited::Fired);
        assert_eq!(clock.now(), Instant { nanos: 9_000_000 });
    }
}
