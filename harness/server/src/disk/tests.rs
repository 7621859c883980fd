//! A node on a disk that fills, and its way out.

use super::Disk;
use crate::config::Config;
use crate::start::{Running, World};
use nori_env::{MemFs, SegmentKind};
use norikv_replica::{Condition, Freshness, KeyChange};
use norikv_transport_grpc::errors::Failure;
use norikv_transport_grpc::serve::Settings;
use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tracing::field::Field;
use tracing::{Event, Level, Metadata, Subscriber, span};

const CAPACITY_BYTES: u64 = 64 << 20;
const RESERVE_BYTES: u64 = 24 << 20;
const VALUE_BYTES: usize = 100_000;

async fn start(fs: &MemFs) -> Running {
    let mut resolved = Config::new().resolve().unwrap();
    resolved.shards = 2;
    resolved.data_dir = "/data".into();
    resolved.memory_bytes = 8 << 20;
    resolved.log_options.wal.segment_bytes = 4 << 20;
    resolved.log_options.wal.kind = SegmentKind::Pwrite;
    resolved.disk_reserve_bytes = RESERVE_BYTES;
    let anywhere = || "127.0.0.1:0".to_owned();
    resolved.listen =
        Settings { client: anywhere(), peer: anywhere(), swim: anywhere(), http: None };
    let disk = fs.clone();
    let world = World {
        fs: Arc::new(fs.clone()),
        is_real: false,
        free_bytes: Some(Arc::new(move |_| Some(CAPACITY_BYTES.saturating_sub(disk.bytes())))),
        wires: None,
        controls: None,
    };
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
