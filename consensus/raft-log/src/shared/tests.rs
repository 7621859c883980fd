//! Openings that are cut short before anything was written.

use super::{LogOptions, SharedLog};
use crate::error::Result;
use nori_env::{FaultFs, FaultPlan, ManualClock, PowerLoss, SeededTasks, SegmentKind};
use nori_observe::NullMeter;
use nori_wal::WalOptions;
use std::path::Path;
use std::sync::Arc;

/// Opens a log, and lets its jobs run.
fn open(fs: &FaultFs) -> Result<()> {
    let tasks = SeededTasks::new(7, ManualClock::default());
    let wal = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 16 << 10 };
    let options = LogOptions { wal, cached_bytes_max: 0 };
    let (disk, jobs) = (Arc::new(fs.clone()), Arc::new(tasks.clone()));
    let log = SharedLog::open(Path::new("/log"), disk, jobs, &NullMeter, options);
    tasks.run(u64::MAX);
    log.map(drop)
}

#[test]
fn an_opening_that_is_cut_short_again_leaves_no_gap() {
    let whole = FaultFs::new(FaultPlan::default());
    open(&whole).unwrap();
    // The segments are there, and nothing in them.
    let empty = || whole.after_power_loss(PowerLoss::LosesAll);
    let counted = FaultFs::over(empty(), FaultPlan::default());
    open(&counted).unwrap();
    for event in 1..=counted.events() {
        for loss in (0..8).map(PowerLoss::Tears).chain([PowerLoss::KeepsAll, PowerLoss::LosesAll]) {
            let plan = FaultPlan { crash_at_event: Some(event), ..FaultPlan::default() };
            let once = FaultFs::over(empty(), plan);
            let _ = open(&once);
            let again = FaultFs::over(once.after_power_loss(loss), FaultPlan::default());
            open(&again).unwrap_or_else(|error| panic!("event {event}, {loss:?}: {error}"));
        }
    }
}
