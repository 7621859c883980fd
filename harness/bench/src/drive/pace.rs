//! Sends the operations of an open loop at their times, and tells what the wait was worth.
//!
//! 1. An operation whose time has passed while the one before was under way is sent at once. Its wait is part of its
//!    response time, which runs from the time it was meant to be sent: that is the queue behind a slow engine.
//! 2. Else the client is idle. It sleeps until [`SPIN_MAX`] before the time, then spins. How much later than meant it
//!    then sends is its own doing (and that of whoever has the processor): the scheduler lag, in its own histogram.
//! 3. While operations are overdue it is noted how much of the time the engine took, and how much the client: whose fault
//!    the queue is.
//! 4. A sleep is as precise as the kernel's timer slack, 50 microseconds unless told otherwise; each client's thread
//!    asks for the least. Where that is refused, the lag shows it.
//!
//! The spin is bounded, so that an idle client leaves its core to the engine's own threads; a client whose operations
//! are less than [`SPIN_MAX`] apart takes as much as one of a closed loop. Figures: `docs/decisions/0007`.

use super::Recorded;
use super::schedule::Schedule;
use nori_workloads::OpKind;
use std::time::{Duration, Instant};

/// How long before an operation's time the client stops sleeping. Nine of ten sleeps end less than this late.
pub(super) const SPIN_MAX: Duration = Duration::from_micros(40);

/// One client's times.
pub(super) struct Pace {
    schedule: Schedule,
    began: Instant,
    /// When the operation at hand was to be sent.
    intended: Instant,
    /// What an overdue operation still waited for its client; `None` for one that was sent on time.
    own: Option<Duration>,
    /// When the operation before ended.
    free: Instant,
}

impl Pace {
    /// For a client that begins at `began`, from its own thread.
    pub(super) fn new(schedule: Schedule, began: Instant) -> Self {
        sharpen_sleep();
        Self { schedule, began, intended: began, own: None, free: began }
    }

    /// Goes to the next operation; when it is to be sent.
    pub(super) fn next(&mut self) -> Instant {
        self.intended = self.began + Duration::from_nanos(self.schedule.next());
        self.intended
    }

    /// Waits until the operation at hand is to be sent; when it is.
    pub(super) fn wait(&mut self, recorded: &mut Recorded) -> Instant {
        let now = Instant::now();
        if now >= self.intended {
            self.own = Some(now - self.free.max(self.intended));
            return now;
        }
        self.own = None;
        let start = wait_until(self.intended, now);
        if let Some(open) = &mut recorded.open {
            open.record_lag(nanos(start - self.intended));
        }
        start
    }

    /// Notes that the operation at hand, sent at `start`, ended; how late it was sent.
    pub(super) fn ended(
        &mut self,
        kind: OpKind,
        start: Instant,
        end: Instant,
        recorded: &mut Recorded,
    ) -> Duration {
        self.free = end;
        if let Some(open) = &mut recorded.open {
            open.record(kind, nanos(end - self.intended));
            if let Some(own) = self.own {
                open.record_behind(nanos(own), nanos(end - start));
            }
        }
        start - self.intended
    }

    /// When the operation at hand was to be sent, in nanoseconds since the client began.
    pub(super) fn intended_nanos(&self) -> u64 {
        nanos(self.intended - self.began)
    }
}

/// Operations of one client that are due and have not ended, `elapsed` after it began. The mean for Poisson's.
pub(super) fn backlog(elapsed: Duration, intended_nanos: u64, gap_nanos: f64) -> f64 {
    nanos(elapsed).saturating_sub(intended_nanos) as f64 / gap_nanos
}

fn nanos(span: Duration) -> u64 {
    span.as_nanos() as u64
}

/// Sleeps, then spins, until `at`; the time then.
fn wait_until(at: Instant, mut now: Instant) -> Instant {
    if let Some(sleep) = (at - now).checked_sub(SPIN_MAX) {
        std::thread::sleep(sleep);
        now = Instant::now();
    }
    while now < at {
        std::hint::spin_loop();
        now = Instant::now();
    }
    now
}

/// Asks the kernel to end this thread's sleeps on time. A kernel that refuses leaves them 50 microseconds late.
fn sharpen_sleep() {
    let Ok(path) = std::fs::read_link("/proc/thread-self") else { return };
    // `<pid>/task/<tid>`: the setting is under the thread's own number.
    let Some(thread) = path.file_name().and_then(|name| name.to_str()) else { return };
    let _ = std::fs::write(format!("/proc/{thread}/timerslack_ns"), "1");
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_workloads::{Arrival, StreamId};

    fn lag(recorded: &Recorded) -> u64 {
        recorded.open.as_ref().unwrap().lag().len()
    }

    #[test]
    fn nothing_is_sent_before_its_time_and_what_is_overdue_at_once() {
        let id = StreamId { seed: 1, phase: 0, client: 0 };
        let schedule = Schedule::new(1_000.0, Arrival::Fixed, 1, id);
        let began = Instant::now();
        let mut pace = Pace::new(schedule, began);
        let mut recorded = Recorded::new(true);
        for number in 0..20_u32 {
            pace.next();
            let start = pace.wait(&mut recorded);
            assert!(start >= began + Duration::from_millis(1) * number);
            pace.ended(OpKind::Read, start, Instant::now(), &mut recorded);
        }
        let waited = lag(&recorded);
        assert!(waited <= 20);
        std::thread::sleep(Duration::from_millis(10));
        for _ in 0..5 {
            let before = Instant::now();
            pace.next();
            let start = pace.wait(&mut recorded);
            assert!(start - before < Duration::from_millis(1), "an overdue operation waited");
            pace.ended(OpKind::Update, start, Instant::now(), &mut recorded);
        }
        assert_eq!(lag(&recorded), waited, "a client that is behind is not idle");
        let longest = recorded.open.as_ref().unwrap().response().of(OpKind::Update).max();
        assert!(longest >= 8_000_000, "{longest} ns");
    }

    #[test]
    fn the_backlog_is_what_is_due_and_not_done() {
        let at = Duration::from_millis;
        assert_eq!(backlog(at(100), 90_000_000, 1e6), 10.0);
        assert_eq!(backlog(at(100), 101_000_000, 1e6), 0.0);
    }
}
