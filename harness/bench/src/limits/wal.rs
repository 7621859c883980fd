//! An append of 150 bytes to the log, by each of its writers, without a sync.
//!
//! A trial is a new log with one segment that has room for all appends, made before the time is taken: no append waits
//! for a segment.

use super::job::Job;
use super::row::Row;
use super::{Section, physical};
use anyhow::Result;
use nori_env::{Fs, OsClock, OsFs, PoolTasks, SegmentKind, Zeros};
use nori_lsm::Components;
use nori_observe::NullMeter;
use nori_wal::{Resume, Wal, WalOptions};
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

pub(super) const SECTION: Section = Section {
    name: "wal",
    about: "an append of 150 bytes to the log, not synced, per log writer",
    seconds: [6, 6],
    jobs: || vec![String::new()],
    measure,
};

const APPENDS: u64 = 50_000;
const BYTES: usize = 150;
/// Room for all appends, headers included.
const SEGMENT_BYTES: u64 = 16 << 20;

fn measure(job: &mut Job<'_>) -> Result<()> {
    let (appends, payload) = (job.count(APPENDS), [7; BYTES]);
    job.at(0.0, "write(2) and memcpy");
    let physical = [write(job, appends, &payload)?, copy(job, appends, &payload)?];
    for line in Components::list().into_iter().filter(|line| line.seam == "wal") {
        job.at(0.5, line.name);
        let mut components = Components::default();
        components.set("wal", line.name).map_err(|_| anyhow::anyhow!("{} is gone", line.name))?;
        let logs = logs(job, line.name, components.wal)?;
        let mut outcome = Ok(());
        let figure = physical::nanos(line.name, appends, |trial| {
            let mut append = |n| logs[trial].append(n, 1, &payload).map(|_| ());
            outcome = outcome.clone().and_then(|()| (1..=appends).try_for_each(&mut append));
        });
        outcome?;
        job.found(Row::new(figure, &physical));
    }
    Ok(())
}

/// A new log for each trial.
fn logs(job: &Job<'_>, name: &str, kind: SegmentKind) -> Result<Vec<Wal>> {
    let tasks = Arc::new(PoolTasks::new(1, Arc::new(OsClock::default()))?);
    let create = |trial| {
        let dir = job.path(&format!("{name}-{trial}"));
        OsFs.create_dir(&dir)?;
        let options = WalOptions { kind, segment_bytes: SEGMENT_BYTES };
        let (fs, tasks) = (Arc::new(OsFs), Arc::clone(&tasks));
        Ok(Wal::create(&dir, fs, tasks as _, &NullMeter, options, Resume::at(1))?)
    };
    (0..physical::TRIALS).map(create).collect()
}

/// As many writes at the end of a plain file.
fn write(job: &Job<'_>, appends: u64, payload: &[u8]) -> Result<super::row::Figure> {
    let mut file = File::create(job.path("appended"))?;
    let mut outcome = Ok(());
    let figure = physical::nanos("write(2) of 150 bytes at a file's end", appends, |_| {
        for _ in 0..appends {
            let written = file.write_all(payload);
            if outcome.is_ok() {
                outcome = written;
            }
        }
    });
    outcome?;
    Ok(figure)
}

/// As many copies into a mapped file whose blocks exist.
fn copy(job: &Job<'_>, appends: u64, payload: &[u8]) -> Result<super::row::Figure> {
    let bytes = appends * BYTES as u64;
    let segment = |trial| {
        OsFs.segment(
            &job.path(&format!("mapped-{trial}")),
            SegmentKind::Mapped,
            Zeros::Written,
            bytes,
        )
    };
    let segments = (0..physical::TRIALS).map(segment).collect::<Result<Vec<_>, _>>()?;
    let mut outcome = Ok(());
    let figure = physical::nanos("memcpy of 150 bytes into a mapped file", appends, |trial| {
        for n in 0..appends {
            let put = segments[trial].put(n * BYTES as u64, payload);
            if outcome.is_ok() {
                outcome = put;
            }
        }
    });
    outcome?;
    Ok(figure)
}
