//! A real etcd, through a few calls of its own API.
//!
//! Requests go to whoever leads, which is what etcd does best: a follower would pass them on. They are spread over a few connections.

use super::nodes::{self, Nodes};
use super::store::{Requests, Store};
use super::{Consistency, RemoteFactory};
use crate::registry::Opened;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use nori_kv::Durability;
use norikv_proto::channel::{Channel, Settings};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use tonic::Status;

/// What `proto/etcd.proto` defines.
#[allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    reason = "generated; the definitions carry the words"
)]
pub(super) mod pb {
    tonic::include_proto!("etcdserverpb");
}

use pb::kv_client::KvClient;
use pb::maintenance_client::MaintenanceClient;

const CONNECTIONS: usize = 4;
const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// The program: where `ETCD_BIN` says, or in `PATH`.
pub(super) fn program() -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("ETCD_BIN") {
        return Ok(given.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|dir| dir.join("etcd")).find(|file| file.is_file());
    found.context("there is no etcd: name it in ETCD_BIN, or put it in PATH (docs/benchmarking.md says how to get one)")
}

/// Starts a cluster in `dir`.
pub(super) fn start(factory: &RemoteFactory, dir: &Path) -> Result<Opened> {
    let (program, count) = (program()?, factory.shape.nodes);
    let peer = |n: usize| format!("http://{}:2380", nodes::address(n));
    let client = |n: usize| format!("{}:2379", nodes::address(n));
    let client_url = |n: usize| format!("http://{}", client(n));
    let all: Vec<String> = (0..count).map(|n| format!("n{n}={}", peer(n))).collect();
    nodes::check_free(count, &[2379, 2380], &[])?;
    let mut nodes = Nodes::new();
    for n in 0..count {
        let dir = dir.join(format!("node-{n}"));
        let mut args: Vec<String> = [
            ("--name", format!("n{n}")),
            ("--data-dir", dir.join("data").display().to_string()),
            ("--listen-client-urls", client_url(n)),
            ("--advertise-client-urls", client_url(n)),
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
    let runtime = super::runtime()?;
    let leader = nodes.wait_for("a leader", || runtime.block_on(leader(count, &client)))?;
    let etcd = connect(&client(leader), factory.shape.consistency == Consistency::Stale)?;
    Ok(Opened::remote(Store::new(etcd, runtime, nodes)))
}

/// Whoever speaks these calls at `address`.
pub(super) fn connect(address: &str, is_serializable: bool) -> Result<Etcd> {
    // The same channel as that of our own client: what differs is the servers.
    let connection = |_| {
        let channel =
            Channel::new(address, Settings::default()).context("an address of loopback")?;
        Ok(KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX))
    };
    let connections = (0..CONNECTIONS).map(connection).collect::<Result<_>>()?;
    Ok(Etcd { connections, next: AtomicUsize::new(0), is_serializable })
}

/// Which node leads, if one says that it does.
async fn leader(count: usize, client: &impl Fn(usize) -> String) -> Option<usize> {
    for n in 0..count {
        let mut maintenance =
            MaintenanceClient::new(Channel::new(&client(n), Settings::default())?);
        let status = maintenance.status(pb::StatusRequest {}).await.ok()?.into_inner();
        if status.leader != 0 && status.header.map(|header| header.member_id) == Some(status.leader)
        {
            return Some(n);
        }
    }
    None
}

pub(super) struct Etcd {
    connections: Vec<KvClient<Channel>>,
    next: AtomicUsize,
    is_serializable: bool,
}

impl Etcd {
    fn kv(&self) -> KvClient<Channel> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections[next % self.connections.len()].clone()
    }

    async fn range(
        &self,
        key: Vec<u8>,
        end: Vec<u8>,
        limit: usize,
    ) -> Result<Vec<pb::KeyValue>, Status> {
        let request = pb::RangeRequest {
            key: key.into(),
            range_end: end.into(),
            limit: limit as i64,
            serializable: self.is_serializable,
            ..Default::default()
        };
        Ok(self.kv().range(request).await?.into_inner().kvs)
    }
}

impl Requests for Etcd {
    const NAME: &'static str = "etcd";
    type Error = Status;

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Status> {
        let rows = self.range(key.to_vec(), Vec::new(), 1).await?;
        Ok(rows.into_iter().next().map(|row| row.value))
    }

    async fn write(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), Status> {
        let key = key.to_vec().into();
        match value {
            Some(value) => {
                let value = value.to_vec().into();
                self.kv().put(pb::PutRequest { key, value }).await.map(drop)
            }
            None => {
                let request = pb::DeleteRangeRequest { key, ..Default::default() };
                self.kv().delete_range(request).await.map(drop)
            }
        }
    }

    async fn scan(
        &self,
        start: Vec<u8>,
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Status> {
        // The end that means: all that follows.
        let end = end.map_or_else(|| vec![0], <[u8]>::to_vec);
        let rows = self.range(start, end, limit).await?;
        Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
    }
}
