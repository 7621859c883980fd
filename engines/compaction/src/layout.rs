//! The shapes that ship: leveled with targets that follow the last level, leveled with fixed targets, tiered, and lazy.

use crate::{Debt, Layout, LevelView, Shape, Target, TreeView};
use nori_kv::Reason;

/// Writers are slowed from 5 times the trigger on: RocksDB's 20 runs for a trigger of 4.
const RUNS_SLOWDOWN_PER_TRIGGER: usize = 5;
/// Writers stop at 9 times the trigger: RocksDB's 36 runs for a trigger of 4.
const RUNS_STOP_PER_TRIGGER: usize = 9;
/// Writers are slowed when compaction is this many memtables behind: RocksDB's soft limit of 64 GiB
/// for memtables of 64 MiB.
const DEBT_SLOWDOWN_BUFFERS: u64 = 1_024;
/// Writers stop when compaction is this many memtables behind: RocksDB's hard limit of 256 GiB.
const DEBT_STOP_BUFFERS: u64 = 4_096;

/// One run in each level below level 0, each `size_ratio` times the one above.
///
/// Sizes follow from the last level upwards ("dynamic level bytes" in RocksDB): the last level has what
/// it has, each one above a `size_ratio`-th, and level 0 goes straight to the first level whose
/// target is not larger than what level 0 brings at once. So the last level always holds nearly all
/// data, and space amplification stays near `1 + 1 / size_ratio`.
///
/// 1. Let `last` be the last level of the tree, `first` the first one below level 0 that holds data.
/// 2. Divide the bytes of the largest level by the ratio for each level from `last` up to `first`, and on
///    upwards while the result is more than `l0_runs_trigger` memtables. The level reached is the
///    *base*: level 0 goes there.
/// 3. The targets grow from the base down by the ratio, and none is below `l0_runs_trigger` memtables.
#[derive(Clone, Copy, Debug)]
pub struct LeveledLayout {
    shape: Shape,
}

impl LeveledLayout {
    /// A layout of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape: shape.clamped() }
    }

    fn base_bytes(&self) -> u64 {
        self.shape.buffer_bytes.saturating_mul(self.shape.l0_runs_trigger as u64)
    }

    /// The base level and the bytes it should hold.
    fn base(&self, bytes: &[u64]) -> (usize, f64) {
        let last = bytes.len() - 1;
        let (ratio, base_bytes) = (self.shape.size_ratio as f64, self.base_bytes() as f64);
        let mut base = (1..=last).find(|level| bytes[*level] > 0).unwrap_or(last);
        let largest = bytes[1..].iter().copied().max().unwrap_or(0) as f64;
        let mut target = largest / ratio.powi((last - base) as i32);
        while base > 1 && target > base_bytes {
            base -= 1;
            target /= ratio;
        }
        // At level 1 there is no way up; a shallow tree grows wider instead.
        (base, target)
    }
}

impl Layout for LeveledLayout {
    fn targets(&self, view: &TreeView<'_>) -> Vec<Target> {
        let bytes: Vec<u64> = view.levels.iter().map(LevelView::bytes).collect();
        let last = bytes.len() - 1;
        let (base, base_target) = self.base(&bytes);
        let ratio = self.shape.size_ratio as f64;
        let target = |level: usize| {
            let at_rest =
                Target { bytes: u64::MAX, runs_max: 1, next: level, runs_stop: usize::MAX };
            match level {
                0 => Target {
                    runs_max: self.shape.l0_runs_trigger - 1,
                    next: base,
                    runs_stop: self.shape.l0_runs_trigger * RUNS_STOP_PER_TRIGGER,
                    ..at_rest
                },
                _ if level == last => at_rest,
                _ if level < base => Target { next: base, ..at_rest },
                _ => {
                    let bytes = base_target * ratio.powi((level - base) as i32);
                    // The cast saturates.
                    let bytes = (bytes as u64).max(self.base_bytes());
                    Target { bytes, next: level + 1, ..at_rest }
                }
            }
        };
        (0..=last).map(target).collect()
    }

    fn debt(&self, view: &TreeView<'_>) -> Debt {
        debt_of_levels(&self.shape, view, &self.targets(view))
    }
}

/// What level 0 and each level above its target still have to be merged down, each time with
/// what they meet in the next level.
fn debt_of_levels(shape: &Shape, view: &TreeView<'_>, targets: &[Target]) -> Debt {
    let bytes: Vec<u64> = view.levels.iter().map(LevelView::bytes).collect();
    let runs = view.levels[0].runs.len();
    let mut coming = vec![0_u64; bytes.len()];
    let (mut owed, mut worst) = (0_u64, None);
    for (level, target) in targets.iter().enumerate() {
        let held = bytes[level].saturating_add(coming[level]);
        let excess = match level {
            0 if runs > target.runs_max => held,
            0 => 0,
            _ => held.saturating_sub(target.bytes),
        };
        if excess == 0 || target.next == level {
            continue;
        }
        // A byte that goes down meets its share of the next level.
        let met = (bytes[target.next] as f64 * (excess as f64 / held as f64)) as u64;
        owed = owed.saturating_add(excess).saturating_add(met);
        coming[target.next] = coming[target.next].saturating_add(excess);
        let why = Reason::LevelSaturation {
            level: level as u8,
            bytes: bytes[level],
            bytes_target: target.bytes,
        };
        worst = worst.max_by_excess(excess, why);
    }
    let by_bytes = between(
        owed as f64,
        shape.buffer_bytes.saturating_mul(DEBT_SLOWDOWN_BUFFERS) as f64,
        shape.buffer_bytes.saturating_mul(DEBT_STOP_BUFFERS) as f64,
    );
    let (by_runs, why_runs) = brake_of_runs(0, runs, shape);
    let (brake, why) = if by_runs >= by_bytes {
        (by_runs, Some(why_runs))
    } else {
        (by_bytes, worst.map(|(_, why)| why))
    };
    Debt { bytes: owed, brake, why: why.filter(|_| brake > 0.0) }
}

/// Keeps the reason with the largest excess.
trait MaxByExcess {
    fn max_by_excess(self, excess: u64, why: Reason) -> Self;
}

impl MaxByExcess for Option<(u64, Reason)> {
    fn max_by_excess(self, excess: u64, why: Reason) -> Self {
        match self {
            Some((most, _)) if most >= excess => self,
            _ => Some((excess, why)),
        }
    }
}

/// 0 up to `from`, 1 at `to`, in proportion between and beyond.
fn between(value: f64, from: f64, to: f64) -> f64 {
    ((value - from) / (to - from)).max(0.0)
}

fn brake_of_runs(level: usize, runs: usize, shape: &Shape) -> (f64, Reason) {
    let slowdown = shape.l0_runs_trigger * RUNS_SLOWDOWN_PER_TRIGGER;
    let stop = shape.l0_runs_trigger * RUNS_STOP_PER_TRIGGER;
    let why = Reason::RunCount { level: level as u8, runs: runs as u32, runs_max: slowdown as u32 };
    (between(runs as f64, slowdown as f64, stop as f64), why)
}

/// Up to `l0_runs_trigger - 1` runs in every level; a full level becomes one run of the next.
///
/// Each byte is written about once a level, at the price of many runs for a read to look into. The
/// last level merges into itself.
#[derive(Clone, Copy, Debug)]
pub struct TieredLayout {
    shape: Shape,
}

impl TieredLayout {
    /// A layout of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape: shape.clamped() }
    }
}

impl Layout for TieredLayout {
    fn targets(&self, view: &TreeView<'_>) -> Vec<Target> {
        let last = view.levels.len() - 1;
        let target = |level: usize| Target {
            bytes: u64::MAX,
            runs_max: self.shape.l0_runs_trigger - 1,
            next: (level + 1).min(last),
            runs_stop: self.shape.l0_runs_trigger * RUNS_STOP_PER_TRIGGER,
        };
        (0..=last).map(target).collect()
    }

    fn debt(&self, view: &TreeView<'_>) -> Debt {
        debt_of_runs(&self.shape, view, &self.targets(view))
    }
}

/// What levels with too many runs still have to be merged down.
fn debt_of_runs(shape: &Shape, view: &TreeView<'_>, targets: &[Target]) -> Debt {
    let mut debt = Debt::default();
    let mut coming = 0_u64;
    for (level, (held, target)) in view.levels.iter().zip(targets).enumerate() {
        let runs = held.runs.len() + usize::from(coming > 0);
        coming = if runs > target.runs_max { coming.saturating_add(held.bytes()) } else { 0 };
        debt.bytes = debt.bytes.saturating_add(coming);
        let (brake, why) = brake_of_runs(level, held.runs.len(), shape);
        if brake > debt.brake {
            (debt.brake, debt.why) = (brake, Some(why));
        }
    }
    debt
}

/// One run in each level below level 0, each `size_ratio` times the one above, whatever the last level holds: the
/// leveling of the compaction design space (Sarkar et al., PVLDB 14, 2021).
///
/// Level 1 holds `size_ratio` memtables. Space amplification depends on how full the last level happens to be, which
/// is what [`LeveledLayout`] mends.
#[derive(Clone, Copy, Debug)]
pub struct FixedLayout {
    shape: Shape,
}

impl FixedLayout {
    /// A layout of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape: shape.clamped() }
    }
}

/// What a level holds whose size follows from the memtable's alone: `size_ratio ^ level` memtables.
fn fixed_bytes(shape: &Shape, level: usize) -> u64 {
    let power = shape.size_ratio.saturating_pow(level as u32);
    shape.buffer_bytes.saturating_mul(power)
}

impl Layout for FixedLayout {
    fn targets(&self, view: &TreeView<'_>) -> Vec<Target> {
        let last = view.levels.len() - 1;
        let target = |level: usize| Target {
            bytes: match level {
                0 => u64::MAX,
                _ if level == last => u64::MAX,
                _ => fixed_bytes(&self.shape, level),
            },
            runs_max: if level == 0 { self.shape.l0_runs_trigger - 1 } else { 1 },
            next: (level + 1).min(last),
            runs_stop: match level {
                0 => self.shape.l0_runs_trigger * RUNS_STOP_PER_TRIGGER,
                _ => usize::MAX,
            },
        };
        (0..=last).map(target).collect()
    }

    fn debt(&self, view: &TreeView<'_>) -> Debt {
        debt_of_levels(&self.shape, view, &self.targets(view))
    }
}

/// Up to `size_ratio - 1` runs in every level but the last, and one run there: lazy leveling (Dayan and Idreos, SIGMOD
/// 2018).
///
/// The last level holds most of the data, so that one run there gives long scans and space of leveling, while updates
/// are written about once a level, as by tiering. Point reads need a filter budget that gives the small levels more bits.
///
/// 1. The *last* level is the deepest that holds data, level 1 at least.
/// 2. A level above it with too many runs becomes one run of the next; what meets the last level is merged into its run.
/// 3. When the last level holds more than `size_ratio ^ (level + 1)` memtables, it goes one level down as it is.
#[derive(Clone, Copy, Debug)]
pub struct LazyLayout {
    shape: Shape,
}

impl LazyLayout {
    /// A layout of this shape.
    pub fn new(shape: Shape) -> Self {
        Self { shape: shape.clamped() }
    }

    /// The deepest level that holds data, level 1 at least.
    pub(crate) fn last(view: &TreeView<'_>) -> usize {
        let holds = |level: &usize| !view.levels[*level].runs.is_empty();
        (1..view.levels.len()).rev().find(holds).unwrap_or(1)
    }
}

impl Layout for LazyLayout {
    fn targets(&self, view: &TreeView<'_>) -> Vec<Target> {
        let (deepest, last) = (view.levels.len() - 1, Self::last(view));
        let runs_max = (self.shape.size_ratio as usize).saturating_sub(1).max(1);
        let target = |level: usize| Target {
            bytes: match level {
                _ if level == last && level < deepest => fixed_bytes(&self.shape, level + 1),
                _ => u64::MAX,
            },
            runs_max: if level >= last { 1 } else { runs_max },
            next: (level + 1).min(deepest),
            runs_stop: runs_max.saturating_add(1) * RUNS_STOP_PER_TRIGGER,
        };
        (0..=deepest).map(target).collect()
    }

    fn debt(&self, view: &TreeView<'_>) -> Debt {
        let shape = Shape { l0_runs_trigger: self.shape.size_ratio as usize, ..self.shape };
        debt_of_runs(&shape.clamped(), view, &self.targets(view))
    }
}
