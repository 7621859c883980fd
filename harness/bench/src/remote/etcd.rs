//! A real etcd, through a few calls of its own API.
//!
//! Requests go to whoever leads, which is what etcd does best: a follower would pass them on. They are spread over a few connections.

use super::nodes::{self, Nodes};
use super::{Consistency, RemoteFactory, each, failed};
use anyhow::{Context as _, Result, bail};
use nori_kv::{
    Cursor, Durability, Engine, EngineStats, Error, KeyRange, ReadOptions, Reader, Row, SeqNo,
    WriteBatch,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tonic::transport::{Channel, Endpoint};

/// What `proto/etcd.proto` defines.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the definitions carry the words"
)]
mod pb {
    tonic::include_proto!("etcdserverpb");
}

use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;

const PATIENCE: Duration = Duration::from_secs(60);
const CONNECTIONS: usize = 4;
const PAGE: i64 = 128;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

struct Cluster {
    connections: Vec<KvClient<Channel>>,
    next: AtomicUsize,
    is_serializable: bool,
    runtime: Runtime,
    nodes: Mutex<Nodes>,
}

/// The program: where `ETCD_BIN` says, or in `PATH`.
fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("ETCD_BIN") {
        return Ok(given.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file());
    found.context("there is no etcd: name it in ETCD_BIN, or put it in PATH (docs/benchmarking.md says how to get one)")
}

/// Starts a cluster in `dir`.
pub(super) fn start(factory: &RemoteFactory, dir: &Path) -> Result<Arc<dyn Engine>> {
    let (program, count) = (program()?, factory.shape.nodes);
    let peer = |n: usize| format!("http://{}:2380", nodes::address(n));
    let client = |n: usize| format!("http://{}:2379", nodes::address(n));
    let all: Vec<String> = (0..count).map(|n| format!("n{n}={}", peer(n))).collect();
    let mut nodes = Nodes::new();
    for n in 0..count {
        let dir = dir.join(format!("node-{n}"));
        let mut args: Vec<String> = [
            ("--name", format!("n{n}")),
            ("--data-dir", dir.join("data").display().to_string()),
            ("--listen-client-urls", client(n)),
            ("--advertise-client-urls", client(n)),
            ("--listen-peer-urls", peer(n)),
            ("--initial-advertise-peer-urls", peer(n)),
            ("--initial-cluster", all.join(",")),
            ("--initial-cluster-state", "new".to_owned()),
            ("--quota-backend-bytes", (8u64 << 30).to_string()),
            ("--log-level", "error".to_owned()),
        ]
        .into_iter()
        .flat_map(|(name, value)| [name.to_owned(), value])
        .collect();
        if factory.durability != Durability::Sync {
            args.push("--unsafe-no-fsync".to_owned());
        }
        nodes.start(&dir, &program, &args)?;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let until = Instant::now() + PATIENCE;
    let leader = loop {
        nodes.check()?;
        if let Some(leader) = runtime.block_on(leader(count, &client)) {
            break leader;
        }
        if Instant::now() >= until {
            bail!("etcd has no leader after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let connect = async || -> Result<Vec<KvClient<Channel>>> {
        let mut connections = Vec::new();
        for _ in 0..CONNECTIONS {
            let channel =
                Endpoint::from_shared(client(leader))?.tcp_nodelay(true).connect().await?;
            connections.push(KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX));
        }
        Ok(connections)
    };
    let connections = runtime.block_on(connect())?;
    let is_serializable = factory.shape.consistency == Consistency::Stale;
    let (next, nodes) = (AtomicUsize::new(0), Mutex::new(nodes));
    Ok(Arc::new(Store(Arc::new(Cluster { connections, next, is_serializable, runtime, nodes }))))
}

/// Which node leads, if one says that it does.
async fn leader(count: usize, client: &impl Fn(usize) -> String) -> Option<usize> {
    for n in 0..count {
        let endpoint =
            Endpoint::from_shared(client(n)).ok()?.connect_timeout(Duration::from_secs(1));
        let Ok(channel) = endpoint.connect().await else { return None };
        let status =
            MaintenanceClient::new(channel).status(pb::StatusRequest {}).await.ok()?.into_inner();
        if status.leader != 0 && status.header.map(|header| header.member_id) == Some(status.leader)
        {
            return Some(n);
        }
    }
    None
}

/// A cluster as a store. Clones are the same.
#[derive(Clone)]
struct Store(Arc<Cluster>);

impl Store {
    fn kv(&self) -> KvClient<Channel> {
        let next = self.0.next.fetch_add(1, Ordering::Relaxed);
        self.0.connections[next % self.0.connections.len()].clone()
    }

    async fn one(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), tonic::Status> {
        let key = key.to_vec().into();
        match value {
            Some(value) => {
                let value = value.to_vec().into();
                self.kv().put(pb::PutRequest { key, value }).await.map(|_| ())
            }
            None => {
                let request = pb::DeleteRangeRequest { key, ..Default::default() };
                self.kv().delete_range(request).await.map(|_| ())
            }
        }
    }

    fn range(&self, key: &[u8], end: &[u8], limit: i64) -> nori_kv::Result<Vec<pb::KeyValue>> {
        let request = pb::RangeRequest {
            key: key.to_vec().into(),
            range_end: end.to_vec().into(),
            limit,
            serializable: self.0.is_serializable,
            ..Default::default()
        };
        let answer = self.0.runtime.block_on(self.kv().range(request));
        Ok(answer.map_err(failed)?.into_inner().kvs)
    }
}

impl Reader for Store {
    fn read(
        &self,
        key: &[u8],
        _options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> nori_kv::Result<bool> {
        let rows = self.range(key, &[], 1)?;
        if let Some(row) = rows.first() {
            sink(Row { key, value: &row.value });
        }
        Ok(!rows.is_empty())
    }

    fn cursor(&self, range: &KeyRange, _options: &ReadOptions) -> nori_kv::Result<Box<dyn Cursor>> {
        Ok(Box::new(Scanned {
            store: self.clone(),
            range: range.clone(),
            rows: Vec::new(),
            at: 0,
            is_last: false,
        }))
    }
}

impl Engine for Store {
    fn write(&self, batch: &WriteBatch, _durability: Durability) -> nori_kv::Result<SeqNo> {
        self.0.runtime.block_on(async {
            if batch.len() == 1 {
                for (key, value) in each(batch) {
                    self.one(key, value).await.map_err(failed)?;
                }
                return Ok(SeqNo::ZERO);
            }
            let all = each(batch).map(|(key, value)| self.one(key, value));
            futures_util::future::try_join_all(all).await.map_err(failed)?;
            Ok(SeqNo::ZERO)
        })
    }

    fn snapshot(&self) -> nori_kv::Result<Arc<dyn Reader>> {
        Err(Error::Unsupported { engine: "etcd", what: "snapshots" })
    }

    fn stats(&self) -> EngineStats {
        // A node that has ended is told when the next request fails.
        let _ = self.0.nodes.lock().unwrap_or_else(PoisonError::into_inner).check();
        EngineStats::default()
    }
}

/// A cursor that reads a page ahead.
struct Scanned {
    store: Store,
    range: KeyRange,
    rows: Vec<pb::KeyValue>,
    /// Of the row after this one, if it is not 0.
    at: usize,
    /// The page is the last.
    is_last: bool,
}

impl Scanned {
    fn page(&mut self, start: &[u8]) -> nori_kv::Result<bool> {
        // The end that means: all that follows.
        let end = self.range.end.clone().unwrap_or_else(|| vec![0]);
        self.rows = self.store.range(start, &end, PAGE)?;
        self.is_last = (self.rows.len() as i64) < PAGE;
        self.at = usize::from(!self.rows.is_empty());
        Ok(self.at > 0)
    }
}

impl Cursor for Scanned {
    fn seek(&mut self, key: &[u8]) -> nori_kv::Result<bool> {
        let start = key.max(&self.range.start).to_vec();
        self.page(&start)
    }

    fn seek_back(&mut self, _key: &[u8]) -> nori_kv::Result<bool> {
        Err(Error::Unsupported { engine: "etcd", what: "reading backwards" })
    }

    fn next(&mut self) -> nori_kv::Result<bool> {
        if self.at < self.rows.len() {
            self.at += 1;
            return Ok(true);
        }
        if self.is_last {
            self.at = 0;
            return Ok(false);
        }
        let start = match self.rows.last() {
            Some(last) => [&last.key[..], &[0]].concat(),
            None => self.range.start.clone(),
        };
        self.page(&start)
    }

    fn prev(&mut self) -> nori_kv::Result<bool> {
        Err(Error::Unsupported { engine: "etcd", what: "reading backwards" })
    }

    fn row(&self) -> Option<Row<'_>> {
        let row = self.rows.get(self.at.checked_sub(1)?)?;
        Some(Row { key: &row.key, value: &row.value })
    }
}
