//! A node on a disk that fills, and its way out.

use crate::config::Config;
use crate::start::{Running, World};
use nori_env::{MemFs, SegmentKind};
use norikv_replica::{Condition, Freshness, KeyChange};
use norikv_transport_grpc::errors::Failure;
use norikv_transport_grpc::serve::Settings;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
