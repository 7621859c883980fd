//! Jobs on threads.
//!
//! 1. A fixed number of workers take the most urgent ready job and step it. Every so often one takes the least urgent
//!    instead: jobs that keep coming must not keep others from ever running, for a writer may wait for those.
//! 2. After a step that returned [`Step::Again`] a worker goes on with the same job unless a more urgent one is ready, or its
//!    turn is over and any is ready; then the job goes back to its queue.
//! 3. A job that waits is kept by its signal, which puts it back.
//! 4. One more thread fires alarms.

use super::{Class, Job, Signal, Slice, Step, Tasks, Waited};
use crate::{Clock, Instant};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Every so many jobs taken, the least urgent goes first.
const FAIRNESS_EVERY: u64 = 8;
/// A job's turn: about a megabyte of output.
const STEPS_PER_TURN: u32 = 64;

/// The classes there are.
const CLASS_COUNT: usize = 5;

/// One block of the size engines use by default, with room for a large value.
const SLICE_BYTES: usize = 64 * 1024;

/// Workers beyond the processors: flushes and compactions wait for the disk at their end, and a worker that waits leaves its
/// processor to another only if there is one. On two processors one more brought a load of 1,000-byte values 6 %; two more brought less
/// than one, since they take processors from those who write.
const WAITING: usize = 1;

/// A pool of worker threads. Dropping it stops the workers after their present step; jobs that are left
/// are dropped.
pub struct PoolTasks {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    work: Condvar,
    alarms: Mutex<Alarms>,
    alarm_set: Condvar,
}

#[derive(Default)]
struct Queue {
    /// One queue per class, most urgent first.
    ready: [VecDeque<Box<dyn Job>>; CLASS_COUNT],
    /// Jobs taken so far.
    taken: u64,
    stopping: bool,
}

#[derive(Default)]
struct Alarms {
    heap: BinaryHeap<Reverse<Alarm>>,
    next_id: u64,
    stopping: bool,
}

struct Alarm {
    at: Instant,
    id: u64,
    signal: Signal,
}

impl PoolTasks {
    /// A pool of `workers >= 1` threads whose alarms follow `clock`.
    ///
    /// # Errors
    ///
    /// If the operating system refuses a thread.
    pub fn new(workers: usize, clock: Arc<dyn Clock>) -> std::io::Result<Self> {
        if workers == 0 {
            let what = "a pool without workers would never run a job";
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, what));
        }
        let shared = Arc::new(Shared {
            clock,
            queue: Mutex::default(),
            work: Condvar::new(),
            alarms: Mutex::default(),
            alarm_set: Condvar::new(),
        });
        let mut pool = Self { shared, threads: Vec::with_capacity(workers + 1) };
        for n in 0..workers {
            pool.spawn(format!("nori-worker-{n}"), work)?;
        }
        pool.spawn("nori-alarms".to_owned(), fire_alarms)?;
        Ok(pool)
    }

    /// The workers a pool should have that has this machine to itself: one for each processor, and one that waits for the disk.
    pub fn workers_for_this_machine() -> usize {
        std::thread::available_parallelism().map_or(1, usize::from) + WAITING
    }

    fn spawn(&mut self, name: String, body: fn(&Arc<Shared>)) -> std::io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = std::thread::Builder::new().name(name).spawn(move || body(&shared))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Tasks for PoolTasks {
    fn submit(&self, class: Class, job: Box<dyn Job>) {
        self.shared.push(class, job);
    }

    fn wait(&self, signal: &Signal) -> Waited {
        signal.park();
        Waited::Fired
    }

    fn alarm(&self, at: Instant) -> Signal {
        let signal = Signal::new();
        let mut alarms = lock(&self.shared.alarms);
        let id = alarms.next_id;
        alarms.next_id += 1;
        alarms.heap.push(Reverse(Alarm { at, id, signal: signal.clone() }));
        drop(alarms);
        self.shared.alarm_set.notify_one();
        signal
    }
}

impl Drop for PoolTasks {
    fn drop(&mut self) {
        lock(&self.shared.queue).stopping = true;
        lock(&self.shared.alarms).stopping = true;
        self.shared.work.notify_all();
        self.shared.alarm_set.notify_all();
        let me = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last owner of the pool may be a job that one of its own workers is dropping.
            if thread.thread().id() != me && thread.join().is_err() {
                debug_assert!(false, "a pool thread panicked outside a job");
            }
        }
    }
}

impl Shared {
    fn push(&self, class: Class, job: Box<dyn Job>) {
        let mut queue = lock(&self.queue);
        if !queue.stopping {
            queue.ready[class as usize].push_back(job);
            drop(queue);
            self.work.notify_one();
        }
    }

    fn next(&self) -> Option<(Class, Box<dyn Job>)> {
        const CLASSES: [Class; CLASS_COUNT] = [
            Class::Log,
            Class::Flush,
            Class::Removal,
            Class::CompactionShallow,
            Class::CompactionDeep,
        ];
        let mut queue = lock(&self.queue);
        loop {
            if queue.stopping {
                return None;
            }
            let is_last_first = queue.taken % FAIRNESS_EVERY == FAIRNESS_EVERY - 1;
            for n in 0..CLASSES.len() {
                let class = CLASSES[if is_last_first { CLASSES.len() - 1 - n } else { n }];
                if let Some(job) = queue.ready[class as usize].pop_front() {
                    queue.taken += 1;
                    return Some((class, job));
                }
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether a worker should put down a job of `class` for another, or for good.
    fn should_yield(&self, class: Class, steps: u32) -> bool {
        let queue = lock(&self.queue);
        let rivals = if steps < STEPS_PER_TURN { class as usize } else { queue.ready.len() };
        queue.stopping || queue.ready[..rivals].iter().any(|ready| !ready.is_empty())
    }
}

fn work(shared: &Arc<Shared>) {
    let slice = Slice { bytes_max: SLICE_BYTES };
    while let Some((class, mut job)) = shared.next() {
        for steps in 1u32.. {
            let Ok(step) = catch_unwind(AssertUnwindSafe(|| job.step(&slice))) else {
                job.panicked();
                break;
            };
            match step {
                Step::Done => break,
                Step::Again if !shared.should_yield(class, steps) => {}
                Step::Again => {
                    shared.push(class, job);
                    break;
                }
                Step::Wait(signal) => {
                    let again = Arc::clone(shared);
                    signal.on_fire(move || again.push(class, job));
                    break;
                }
            }
        }
    }
}

fn fire_alarms(shared: &Arc<Shared>) {
    const IDLE: Duration = Duration::from_secs(3600);
    let mut alarms = lock(&shared.alarms);
    while !alarms.stopping {
        let now = shared.clock.now();
        let mut due = Vec::new();
        while alarms.heap.peek().is_some_and(|Reverse(alarm)| alarm.at <= now) {
            due.extend(alarms.heap.pop().map(|Reverse(alarm)| alarm.signal));
        }
        if due.is_empty() {
            let pause = alarms.heap.peek().map_or(IDLE, |Reverse(alarm)| alarm.at.since(now));
            let woken = shared.alarm_set.wait_timeout(alarms, pause);
            alarms = woken.unwrap_or_else(PoisonError::into_inner).0;
        } else {
            drop(alarms);
            due.iter().for_each(Signal::fire);
            alarms = lock(&shared.alarms);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PartialEq for Alarm {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.id) == (other.at, other.id)
    }
}

impl Eq for Alarm {}

impl PartialOrd for Alarm {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Alarm {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.id).cmp(&(other.at, other.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OsClock;

    struct Count {
        left: u32,
        wait_on: Option<Signal>,
        done: Signal,
    }

    impl Job for Count {
        fn step(&mut self, _: &Slice) -> Step {
            if let Some(signal) = self.wait_on.take() {
                return Step::Wait(signal);
            }
            if self.left == 0 {
                self.done.fire();
                return Step::Done;
            }
            self.left -= 1;
            Step::Again
        }
    }

    fn pool(workers: usize) -> PoolTasks {
        PoolTasks::new(workers, Arc::new(OsClock::default())).unwrap()
    }

    #[test]
    fn jobs_of_every_class_end_even_on_one_worker() {
        let tasks = pool(1);
        let classes = [Class::CompactionDeep, Class::Log, Class::Flush, Class::CompactionShallow];
        let done: Vec<Signal> = classes
            .into_iter()
            .map(|class| {
                let done = Signal::new();
                let gate = tasks.alarm(Instant { nanos: 1 });
                let job = Count { left: 100, wait_on: Some(gate), done: done.clone() };
                tasks.submit(class, Box::new(job));
                done
            })
            .collect();
        assert!(done.iter().all(|signal| tasks.wait(signal) == Waited::Fired));
    }

    #[test]
    fn jobs_without_end_keep_no_other_from_running() {
        struct Endless(Signal);
        impl Job for Endless {
            fn step(&mut self, _: &Slice) -> Step {
                if self.0.is_fired() { Step::Done } else { Step::Again }
            }
        }
        let (tasks, done) = (pool(2), Signal::new());
        for _ in 0..3 {
            tasks.submit(Class::Log, Box::new(Endless(done.clone())));
        }
        let job = Count { left: 100, wait_on: None, done: done.clone() };
        tasks.submit(Class::CompactionDeep, Box::new(job));
        assert_eq!(tasks.wait(&done), Waited::Fired);
    }

    #[test]
    fn a_panicking_job_is_told_and_the_worker_lives() {
        struct Panics(Signal);
        impl Job for Panics {
            fn step(&mut self, _: &Slice) -> Step {
                panic!("on purpose");
            }
            fn panicked(&mut self) {
                self.0.fire();
            }
        }
        let (tasks, told) = (pool(1), Signal::new());
        tasks.submit(Class::Flush, Box::new(Panics(told.clone())));
        assert_eq!(tasks.wait(&told), Waited::Fired);
        let done = Signal::new();
        tasks.submit(Class::Flush, Box::new(Count { left: 1, wait_on: None, done: done.clone() }));
        assert_eq!(tasks.wait(&done), Waited::Fired);
    }
}
