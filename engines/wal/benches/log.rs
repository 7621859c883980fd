//! Appends to the log per kind of segment, without a sync, and its replay; on the machine's own files.
//!
//! `cargo bench -p nori-wal -- append/mmap` runs a part. The files lie in the folder for temporary files: set
//! `TMPDIR` to a folder of the disk that is meant.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use nori_env::{OsClock, OsFs, PoolTasks, SegmentKind};
use nori_observe::NullMeter;
use nori_wal::{Resume, Span, Wal, WalError, WalOptions, replay};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const SEGMENT_BYTES: u64 = 16 << 20;
/// Appends timed together; few enough for one segment, so that none waits for a new one.
const APPENDS: u64 = 50_000;
const KINDS: [(&str, SegmentKind); 2] =
    [("mmap", SegmentKind::Mapped), ("pwrite", SegmentKind::Pwrite)];

fn create(dir: &Path, kind: SegmentKind) -> Wal {
    let tasks = PoolTasks::new(1, Arc::new(OsClock::default())).expect("a thread");
    let options = WalOptions { kind, segment_bytes: SEGMENT_BYTES };
    Wal::create(dir, Arc::new(OsFs), Arc::new(tasks), &NullMeter, options, Resume::at(1))
        .expect("a new log")
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    group.throughput(Throughput::Elements(APPENDS)).sample_size(10);
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(300));
    let payload = [7; 150];
    for (name, kind) in KINDS {
        group.bench_function(name, |b| {
            b.iter_batched_ref(
                || {
                    let dir = tempfile::tempdir().expect("a folder");
                    (create(dir.path(), kind), dir)
                },
                |(wal, _dir)| {
                    for n in 1..=APPENDS {
                        wal.append(n, 1, &payload).expect("appended");
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
}

fn replays(c: &mut Criterion) {
    let dir = tempfile::tempdir().expect("a folder");
    let wal = create(dir.path(), SegmentKind::Mapped);
    let (payload, groups) = ([7; 150], 400_000);
    for n in 1..=groups {
        wal.append(n, 1, &payload).expect("appended");
    }
    drop(wal);
    let mut group = c.benchmark_group("replay");
    group.throughput(Throughput::Bytes(groups * payload.len() as u64)).sample_size(10);
    group.measurement_time(Duration::from_secs(3)).warm_up_time(Duration::from_millis(300));
    group.bench_function("groups-of-150-bytes", |b| {
        b.iter(|| {
            let mut bytes = 0;
            let each = |group: nori_wal::Group<'_>| {
                bytes += group.payload.len();
                Ok::<(), WalError>(())
            };
            replay(&OsFs, dir.path(), Span { from: 1, begun: 0 }, each).expect("a whole log");
            assert_eq!(bytes as u64, groups * payload.len() as u64);
        });
    });
}

criterion_group!(benches, append, replays);
criterion_main!(benches);
