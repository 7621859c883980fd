//! What the network, the disks and the processors of a world are like.

use crate::chance::Chance;
use std::time::Duration;

/// How long things take, and how often they go wrong. Shares are in millionths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Weather {
    /// The least and the most that a message takes; each takes its own.
    pub delay: (Duration, Duration),
    /// Messages that never come.
    pub loss_ppm: u32,
    /// Messages that come twice.
    pub repeat_ppm: u32,
    /// Messages of which a bit is wrong.
    pub damage_ppm: u32,
    /// Messages that take up to a hundred times the most, and do not hold up those behind them.
    pub straggle_ppm: u32,
    /// Messages that may overtake others of their link; all others keep the order in which they were sent.
    pub reorder_ppm: u32,
    /// Steps that begin a write and are the last of a life: what they send still goes out.
    pub death_ppm: u32,
    /// The same of steps that begin to write down a term or a vote, and of those that tell of it once it is written.
    pub promise_death_ppm: u32,
    /// The least and the most that a write takes.
    pub write: (Duration, Duration),
    /// The least and the most that applying a range takes.
    pub apply: (Duration, Duration),
    /// The least and the most between an apply and the moment when the state is safe.
    pub flush: (Duration, Duration),
    /// The least and the most that a snapshot takes: to build, to bring, to install.
    pub snapshot: (Duration, Duration),
    /// Snapshots that break off on the way.
    pub snapshot_loss_ppm: u32,
    /// Reads of the log that have to wait.
    pub cold_ppm: u32,
    /// Flushes after which there is no room for the log before them.
    pub release_ppm: u32,
    /// Timers that fire before their time, and once more at their time.
    pub early_timer_ppm: u32,
    /// Clocks keep the bound that leases rest upon; if not, whether two hold one is not looked at.
    pub has_sound_clocks: bool,
}

impl Weather {
    /// Nothing is lost; a message takes half a millisecond, a write one.
    pub fn calm() -> Self {
        let micros = |low, high| (Duration::from_micros(low), Duration::from_micros(high));
        Self {
            delay: micros(300, 700),
            loss_ppm: 0,
            repeat_ppm: 0,
            damage_ppm: 0,
            straggle_ppm: 0,
            reorder_ppm: 0,
            death_ppm: 0,
            promise_death_ppm: 0,
            write: micros(500, 1_500),
            apply: micros(10, 100),
            flush: micros(20_000, 200_000),
            snapshot: micros(5_000, 50_000),
            snapshot_loss_ppm: 0,
            cold_ppm: 0,
            release_ppm: 0,
            early_timer_ppm: 0,
            has_sound_clocks: true,
        }
    }

    /// Everything goes wrong now and then, differently under each seed.
    pub fn rough(chance: &mut Chance) -> Self {
        let mut share = |most| if chance.hits(500_000) { chance.below(most) as u32 } else { 0 };
        let calm = Self::calm();
        Self {
            loss_ppm: share(150_000),
            repeat_ppm: share(150_000),
            damage_ppm: share(20_000),
            straggle_ppm: share(50_000),
            reorder_ppm: share(300_000),
            death_ppm: share(2_000),
            promise_death_ppm: share(100_000),
            snapshot_loss_ppm: share(500_000),
            cold_ppm: share(200_000),
            release_ppm: share(100_000),
            early_timer_ppm: share(300_000),
            delay: stretch(calm.delay, chance, 40),
            write: stretch(calm.write, chance, 40),
            apply: stretch(calm.apply, chance, 100),
            flush: stretch(calm.flush, chance, 20),
            snapshot: stretch(calm.snapshot, chance, 20),
            has_sound_clocks: true,
        }
    }
}

/// The same range, with its end up to `most` times as far.
fn stretch(range: (Duration, Duration), chance: &mut Chance, most: u64) -> (Duration, Duration) {
    (range.0, range.1 * chance.between(1, most) as u32)
}

/// A duration of the range.
pub(super) fn within(range: (Duration, Duration), chance: &mut Chance) -> Duration {
    let nanos = |duration: Duration| duration.as_nanos() as u64;
    Duration::from_nanos(chance.between(nanos(range.0), nanos(range.1).max(nanos(range.0))))
}
