//! A node on a disk that fills, and its way out.

use super::Disk;
use crate::config::Config;
use crate::start::{FreeBytes, Running, World};
use nori_env::{FaultFs, FaultPlan, Fs, MemFs, OpenMode, SegmentKind};
use norikv_replica::{Condition, Freshness, KeyChange};
use norikv_transport_grpc::errors::Failure;
use norikv_transport_grpc::serve::Settings;
use std::collections::HashMap;
use std::fmt::Debug;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::field::Field;
use tracing::{Event, Level, Metadata, Subscriber, span};

const CAPACITY_BYTES: u64 = 64 << 20;
const RESERVE_BYTES: u64 = 24 << 20;
const VALUE_BYTES: usize = 100_000;

async fn start(fs: &MemFs) -> Running {
    let disk = fs.clone();
    let free_bytes = move |_: &Path| Some(CAPACITY_BYTES.saturating_sub(disk.bytes()));
    start_on(Arc::new(fs.clone()), Arc::new(free_bytes), 8 << 20).await
}

async fn start_on(fs: Arc<dyn Fs>, free_bytes: FreeBytes, memory_bytes: u64) -> Running {
    let mut resolved = Config::new().resolve().unwrap();
    resolved.shards = 2;
    resolved.data_dir = "/data".into();
    resolved.memory_bytes = memory_bytes;
    resolved.log_options.wal.segment_bytes = 4 << 20;
    resolved.log_options.wal.kind = SegmentKind::Pwrite;
    resolved.disk_reserve_bytes = RESERVE_BYTES;
    let anywhere = || "127.0.0.1:0".to_owned();
    resolved.listen =
        Settings { client: anywhere(), peer: anywhere(), swim: anywhere(), http: None };
    let world =
        World { fs, is_real: false, free_bytes: Some(free_bytes), wires: None, controls: None };
    let running = Running::start(resolved, world).await.unwrap();
    running.handle().watch().wait_for(|topology| topology.is_ready().is_ok()).await.unwrap();
    running
}

async fn write(running: &Running, key: u32, value: Option<Vec<u8>>) -> Result<(), Failure> {
    let (key, value) = (key.to_be_bytes().to_vec().into(), value.map(Into::into));
    let change = KeyChange { key, condition: Condition::None, value, ttl: None };
    running.requests.write(None, vec![change]).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_recovers_by_deletes_alone() {
    let fs = MemFs::new();
    let running = start(&fs).await;
    let mut rows = 0;
    let refused = loop {
        // What cannot be pressed.
        let value = (0..VALUE_BYTES as u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8);
        match write(&running, rows, Some(value.collect())).await {
            Ok(()) => rows += 1,
            Err(refused) => break refused,
        }
        assert!(u64::from(rows) * (VALUE_BYTES as u64) < CAPACITY_BYTES, "it never was full");
    };
    assert_eq!(refused.reason(), "DISK_FULL");
    assert!(rows > 100, "{rows}");
    let row = running.requests.get(0_u32.to_be_bytes().to_vec().into(), Freshness::Lease).await;
    assert_eq!(row.unwrap().row.unwrap().bytes.len(), VALUE_BYTES);
    for key in 0..rows {
        write(&running, key, None).await.unwrap();
    }
    let until = Instant::now() + Duration::from_secs(30);
    while running.requests.is_full() {
        assert!(Instant::now() < until, "{} bytes are still taken", fs.bytes());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    write(&running, 0, Some(vec![0; VALUE_BYTES])).await.unwrap();
    running.kill().await.stop(Duration::ZERO).await;
}

/// What those hear who filter at `warn`.
#[derive(Clone, Default)]
struct Heard {
    lines: Arc<Mutex<Vec<String>>>,
}

impl Subscriber for Heard {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target() == "norikv_server::disk"
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut line = String::new();
        event.record(&mut |field: &Field, value: &dyn Debug| {
            line += &format!("{field}={value:?} ");
        });
        self.lines.lock().unwrap().push(line);
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[tokio::test]
async fn the_want_of_room_and_its_end_are_told_once_each_with_figures() {
    let running = start(&MemFs::new()).await;
    let free = Arc::new(AtomicU64::new(0));
    let now = Arc::clone(&free);
    let mut disk = Disk {
        dir: "/data".into(),
        reserve_bytes: 1_000,
        free_bytes: Arc::new(move |_| Some(now.load(Ordering::Relaxed))),
        ballast: None,
        segments_max: 8,
        handle: running.handle().clone(),
        compacted: HashMap::new(),
    };
    let (heard, is_full) = (Heard::default(), AtomicBool::new(false));
    let _until_the_end = tracing::subscriber::set_default(heard.clone());
    for bytes in [1_000, 999, 998, 1_001, 1_002] {
        free.store(bytes, Ordering::Relaxed);
        disk.look(&is_full).await;
    }
    let lines = std::mem::take(&mut *heard.lines.lock().unwrap());
    assert_eq!(lines.len(), 2, "{lines:?}");
    for (line, figure, what) in [
        (&lines[0], "free_bytes=999 ", "nothing but deletes is taken"),
        (&lines[1], "free_bytes=1001 ", "there is room on the disk again"),
    ] {
        assert!(line.contains(figure) && line.contains("reserve_bytes=1000 "), "{line}");
        assert!(line.contains(what), "{line}");
    }
    running.kill().await.stop(Duration::ZERO).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_neighbour_that_takes_all_room_between_two_looks_does_not_end_the_node() {
    let memory = MemFs::new();
    let plan = FaultPlan { capacity_bytes: Some(CAPACITY_BYTES), ..FaultPlan::default() };
    let disk = FaultFs::over(memory.clone(), plan);
    // As long as nobody looks there is room.
    let has_looked = Arc::new(AtomicBool::new(false));
    let (looked, of_disk) = (Arc::clone(&has_looked), memory.clone());
    let free_bytes = move |_: &Path| {
        let free = CAPACITY_BYTES.saturating_sub(of_disk.bytes());
        Some(if looked.load(Ordering::Relaxed) { free } else { CAPACITY_BYTES })
    };
    let running = start_on(Arc::new(disk.clone()), Arc::new(free_bytes), 64 << 20).await;
    let (ballast, neighbour) = (Path::new("/data/BALLAST"), Path::new("/neighbour"));
    assert!(disk.exists(ballast).unwrap());
    let value = vec![7; VALUE_BYTES];
    write(&running, 0, Some(value.clone())).await.unwrap();
    let file = disk.open(neighbour, OpenMode::CreateNew).unwrap();
    let mut at = 0;
    while file.write_at(&[0; 64 << 10], at).is_ok() {
        at += 64 << 10;
    }
    // More than a segment of the log: it needs the next one, and the one after that.
    for key in 1..90 {
        write(&running, key, Some(value.clone())).await.unwrap();
    }
    assert!(!disk.exists(ballast).unwrap(), "it was not needed");
    has_looked.store(true, Ordering::Relaxed);
    let until = Instant::now() + Duration::from_secs(30);
    let refused = loop {
        if let Err(refused) = write(&running, 0, Some(value.clone())).await {
            break refused;
        }
        assert!(Instant::now() < until, "nobody looks");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(refused.reason(), "DISK_FULL");
    let row = running.requests.get(1_u32.to_be_bytes().to_vec().into(), Freshness::Lease).await;
    assert_eq!(row.unwrap().row.unwrap().bytes.len(), VALUE_BYTES);
    disk.remove(neighbour).unwrap();
    while !disk.exists(ballast).unwrap() || running.requests.is_full() {
        assert!(Instant::now() < until, "it does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    write(&running, 1, Some(value)).await.unwrap();
    running.kill().await.stop(Duration::ZERO).await;
}
