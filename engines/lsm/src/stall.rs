//! Back-pressure: how writers are held to the pace of flushes and compactions.
//!
//! The layout says how far the tree is from its shape, as a **brake**. Between 0 and 1 each write owes a delay for its bytes
//! that grows with the brake; a writer pays when the sum is worth a timer. From 1 on it waits until a job
//! has ended.
//!
//! What is told is **episodes**: a slowdown lasts from the moment the brake engages until it is released, a stop from the first
//! writer that is stopped to the last that goes on. The end of one says how long it was, how often writes waited and for
//! how long together.

use crate::core::Core;
use nori_env::{Instant, Signal, Waited};
use nori_kv::{EngineEvent, Error, Reason, Result, StallKind};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// How hard writers are braked.
#[derive(Default)]
pub(crate) struct Brake {
    /// The bits of an `f64 >= 0`.
    strength: AtomicU64,
    why: Mutex<Option<Reason>>,
    /// Nanoseconds of delay that writes owe together.
    owed_nanos: AtomicU64,
    /// While the brake is engaged.
    slowdown: Mutex<Option<Episode>>,
    /// While a writer is stopped.
    stop: Mutex<Option<Episode>>,
    /// While whoever applies entries is sent away.
    pause: Mutex<Option<Episode>>,
    is_paused: AtomicBool,
    /// Nothing is applied before, in nanoseconds of the clock; what was owed is paid then.
    paid_at: AtomicU64,
}

/// A time in which writers are held up.
struct Episode {
    why: Reason,
    begun: Instant,
    /// Writers that are stopped now; of no meaning in a slowdown.
    stopped: u64,
    /// How often a write waited.
    writes: u64,
    delay_micros: u64,
}

impl Episode {
    fn new(why: Reason, begun: Instant) -> Self {
        Self { why, begun, stopped: 0, writes: 0, delay_micros: 0 }
    }

    fn end(&self, kind: StallKind, now: Instant) -> EngineEvent {
        EngineEvent::StallEnd {
            kind,
            why: self.why,
            took_micros: now.since(self.begun).as_micros() as u64,
            delay_micros: self.delay_micros,
            writes: self.writes,
        }
    }
}

/// At half brake a byte owes this: writers get 50 MB/s, about what one core merges beside them.
const NANOS_PER_BYTE: f64 = 20.0;
/// A delay is paid once it is worth a timer.
const PAYMENT: Duration = Duration::from_micros(500);
/// No write owes more than this, however large it is or hard the brake.
const NANOS_PER_WRITE_MAX: f64 = 10_000_000.0;

impl Brake {
    #[inline]
    fn strength(&self) -> f64 {
        f64::from_bits(self.strength.load(Ordering::Relaxed))
    }

    fn why(&self) -> Reason {
        self.why.lock().unwrap_or(Reason::MemtableFull)
    }

    /// Adds the delay for a write of `bytes` to what is owed; what is to be paid now, in nanoseconds, or zero.
    fn due(&self, strength: f64, bytes: u64) -> u64 {
        let nanos = bytes as f64 * NANOS_PER_BYTE * strength / (1.0 - strength);
        let nanos = nanos.min(NANOS_PER_WRITE_MAX) as u64;
        let owed = self.owed_nanos.fetch_add(nanos, Ordering::Relaxed) + nanos;
        if owed < PAYMENT.as_nanos() as u64 {
            return 0;
        }
        // Zero if another writer is paying.
        self.owed_nanos.swap(0, Ordering::Relaxed)
    }

    fn note_delay(&self, nanos: u64) {
        if let Some(episode) = &mut *self.slowdown.lock() {
            episode.writes += 1;
            episode.delay_micros += nanos / 1_000;
        }
    }
}

impl Core {
    /// Sets the brake.
    pub(crate) fn set_brake(&self, strength: f64, why: Option<Reason>) {
        debug_assert!(strength >= 0.0);
        // Under this lock, so that begin and end of an episode are told in order.
        let mut slowdown = self.brake.slowdown.lock();
        *self.brake.why.lock() = why;
        self.brake.strength.store(strength.to_bits(), Ordering::Relaxed);
        let kind = StallKind::Slowdown;
        if strength <= 0.0 {
            if let Some(episode) = slowdown.take() {
                self.tell(&episode.end(kind, self.parts.clock.now()));
            }
        } else if slowdown.is_none() {
            let why = self.brake.why();
            *slowdown = Some(Episode::new(why, self.parts.clock.now()));
            self.tell(&EngineEvent::StallBegin { kind, why });
        }
    }

    /// Holds up a writer of `bytes` as long as the brake says.
    #[inline]
    pub(crate) fn throttle(&self, bytes: u64) -> Result<()> {
        let strength = self.brake.strength();
        if strength <= 0.0 { Ok(()) } else { self.throttle_by(strength, bytes) }
    }

    #[cold]
    fn throttle_by(&self, strength: f64, bytes: u64) -> Result<()> {
        if strength >= 1.0 {
            let why = self.brake.why();
            return self.stop(why, || self.brake.strength() < 1.0);
        }
        let owed = self.brake.due(strength, bytes);
        if owed == 0 {
            return Ok(());
        }
        // Noted before the wait, in which the brake may be released.
        self.brake.note_delay(owed);
        let begun = self.parts.clock.now();
        let alarm = self.parts.tasks.alarm(begun.after(Duration::from_nanos(owed)));
        let waited = self.parts.tasks.wait(&alarm);
        self.count_stall(begun);
        if waited == Waited::Stuck { Err(stuck()) } else { Ok(()) }
    }

    /// Waits until `is_over`, which changes only when a job ends or writing does.
    pub(crate) fn stop(&self, why: Reason, is_over: impl Fn() -> bool) -> Result<()> {
        let begun = self.parts.clock.now();
        self.begin_stop(why, begun);
        let outcome = loop {
            let progress = self.jobs.progress();
            if let Err(error) = self.check_poison() {
                break Err(error);
            }
            if is_over() {
                break Ok(());
            }
            if self.parts.tasks.wait(&progress) == Waited::Stuck {
                break Err(stuck());
            }
        };
        self.end_stop(self.count_stall(begun));
        outcome
    }

    /// Whether an entry is not to be applied now, and when to try again. Nobody waits here.
    pub(crate) fn hold_up(&self) -> Option<Signal> {
        if self.brake.strength() >= 1.0 {
            // Taken before the second look, so that what ends in between is not missed.
            let progress = self.jobs.progress();
            if self.brake.strength() >= 1.0 {
                self.begin_pause(self.brake.why());
                return Some(progress);
            }
        }
        let paid_at = self.brake.paid_at.load(Ordering::Relaxed);
        if paid_at == 0 {
            return None;
        }
        if self.parts.clock.now().nanos >= paid_at {
            self.brake.paid_at.store(0, Ordering::Relaxed);
            return None;
        }
        Some(self.parts.tasks.alarm(Instant { nanos: paid_at }))
    }

    /// An entry of `bytes` was applied: the next one pays for it.
    pub(crate) fn owe(&self, bytes: u64) {
        let strength = self.brake.strength();
        if strength <= 0.0 || strength >= 1.0 {
            return;
        }
        let owed = self.brake.due(strength, bytes);
        if owed > 0 {
            self.brake.note_delay(owed);
            self.counters.stalls.add(1);
            self.counters.stall_micros.add(owed / 1_000);
            let paid_at = self.parts.clock.now().after(Duration::from_nanos(owed));
            self.brake.paid_at.store(paid_at.nanos, Ordering::Relaxed);
        }
    }

    /// Whoever applies entries was sent away.
    pub(crate) fn begin_pause(&self, why: Reason) {
        let mut pause = self.brake.pause.lock();
        let episode = pause.get_or_insert_with(|| {
            self.tell(&EngineEvent::StallBegin { kind: StallKind::Stop, why });
            Episode::new(why, self.parts.clock.now())
        });
        episode.writes += 1;
        self.brake.is_paused.store(true, Ordering::Relaxed);
    }

    /// An entry was applied.
    pub(crate) fn end_pause(&self) {
        if !self.brake.is_paused.swap(false, Ordering::Relaxed) {
            return;
        }
        if let Some(mut episode) = self.brake.pause.lock().take() {
            episode.delay_micros = self.count_stall(episode.begun);
            self.tell(&episode.end(StallKind::Stop, self.parts.clock.now()));
        }
    }

    fn begin_stop(&self, why: Reason, begun: Instant) {
        let mut stop = self.brake.stop.lock();
        let episode = stop.get_or_insert_with(|| {
            self.tell(&EngineEvent::StallBegin { kind: StallKind::Stop, why });
            Episode::new(why, begun)
        });
        episode.stopped += 1;
        episode.writes += 1;
    }

    fn end_stop(&self, delay_micros: u64) {
        let mut stop = self.brake.stop.lock();
        if let Some(episode) = &mut *stop {
            episode.stopped -= 1;
            episode.delay_micros += delay_micros;
            if episode.stopped == 0 {
                self.tell(&episode.end(StallKind::Stop, self.parts.clock.now()));
                *stop = None;
            }
        }
    }

    fn count_stall(&self, begun: Instant) -> u64 {
        let took = self.parts.clock.now().since(begun).as_micros() as u64;
        self.counters.stalls.add(1);
        self.counters.stall_micros.add(took);
        took
    }
}

fn stuck() -> Error {
    Error::Busy { what: "a writer waits and no job is there to free it".to_owned() }
}
