//! Our server, through its client.

use super::nodes::{self, Nodes};
use super::{Consistency, RemoteFactory, each, failed};
use anyhow::{Result, bail};
use nori_kv::{
    Cursor, Durability, Engine, EngineStats, Error, KeyRange, ReadOptions, Reader, Row, SeqNo,
    WriteBatch,
};
use norikv_client::{Client, Entry, GetOptions, ScanOptions};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// For the cluster to be founded, and every shard to have a leader.
const PATIENCE: Duration = Duration::from_secs(60);
/// Rows that a cursor asks for at once.
const PAGE: u64 = 128;

struct Cluster {
    client: Client,
    consistency: norikv_client::Consistency,
    runtime: Runtime,
    nodes: Mutex<Nodes>,
}

/// Starts a cluster in `dir`.
pub(super) fn start(
    factory: &RemoteFactory,
    protocol: &str,
    dir: &Path,
) -> Result<Arc<dyn Engine>> {
    let shape = &factory.shape;
    let mut nodes = Nodes::new();
    let seeds: Vec<String> =
        (0..shape.nodes).map(|n| format!("{}:9101", nodes::address(n))).collect();
    for n in 0..shape.nodes {
        let (at, dir) = (nodes::address(n), dir.join(format!("node-{n}")));
        let mut args = vec!["serve".to_owned()];
        let sets = [
            format!("node.name=node-{n}"),
            format!("node.data_dir={}", dir.join("data").display()),
            format!("listen.client={at}:9001"),
            format!("listen.peer={at}:9101"),
            format!("listen.swim={at}:9201"),
            "listen.http=".to_owned(),
            format!(
                "cluster.seeds={}",
                if shape.nodes == 1 { String::new() } else { seeds.join(",") }
            ),
            format!("cluster.shards={}", shape.shards),
            format!("consensus.plugin={protocol}"),
            format!("wal.durability={}", factory.durability),
            format!("engine.memory={}", factory.memory_bytes),
            "observability.log=warn".to_owned(),
        ];
        let choices = factory.choices.iter().map(|(name, value)| format!("engine.{name}={value}"));
        for set in sets.into_iter().chain(choices) {
            args.extend(["--set".to_owned(), set]);
        }
        nodes.start(&dir, &std::env::current_exe()?, &args)?;
    }
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let addresses: Vec<String> =
        (0..shape.nodes).map(|n| format!("{}:9001", nodes::address(n))).collect();
    let consistency = match shape.consistency {
        Consistency::Lease => norikv_client::Consistency::Lease,
        Consistency::Linearizable => norikv_client::Consistency::Linearizable,
        Consistency::Stale => norikv_client::Consistency::Stale { age_max: None, version_min: 0 },
    };
    let builder =
        Client::builder(addresses).consistency(consistency).deadline(Duration::from_secs(30));
    let client = {
        let _inside = runtime.enter();
        builder.build()?
    };
    let until = Instant::now() + PATIENCE;
    let is_ready = async || {
        let topology = client.topology().await.ok();
        topology.is_some_and(|topology| topology.shards.iter().all(|shard| shard.leader != 0))
    };
    while !runtime.block_on(is_ready()) {
        nodes.check()?;
        if Instant::now() >= until {
            bail!("the cluster has no leaders after {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let nodes = Mutex::new(nodes);
    Ok(Arc::new(Store(Arc::new(Cluster { client, consistency, runtime, nodes }))))
}

/// A cluster as a store. Clones are the same.
#[derive(Clone)]
struct Store(Arc<Cluster>);

impl Store {
    fn get(&self, key: &[u8]) -> Result<Option<Entry>, norikv_client::Error> {
        let options = GetOptions { consistency: Some(self.0.consistency) };
        self.0.runtime.block_on(self.0.client.get_with(key.to_vec(), options))
    }
}

impl Reader for Store {
    fn read(
        &self,
        key: &[u8],
        _options: &ReadOptions,
        sink: &mut dyn FnMut(Row<'_>),
    ) -> nori_kv::Result<bool> {
        let entry = self.get(key).map_err(failed)?;
        if let Some(entry) = &entry {
            sink(Row { key, value: &entry.value });
        }
        Ok(entry.is_some())
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
        let client = &self.0.client;
        let one = async |key: &[u8], value: Option<&[u8]>| match value {
            Some(value) => client.put(key.to_vec(), value.to_vec()).await,
            None => client.delete(key.to_vec()).await,
        };
        self.0.runtime.block_on(async {
            if batch.len() == 1 {
                for (key, value) in each(batch) {
                    one(key, value).await.map_err(failed)?;
                }
                return Ok(SeqNo::ZERO);
            }
            let all = each(batch).map(|(key, value)| one(key, value));
            futures_util::future::try_join_all(all).await.map_err(failed)?;
            Ok(SeqNo::ZERO)
        })
    }

    fn snapshot(&self) -> nori_kv::Result<Arc<dyn Reader>> {
        Err(Error::Unsupported { engine: "a cluster", what: "snapshots" })
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
    rows: Vec<norikv_client::Row>,
    /// Of the row after this one, if it is not 0.
    at: usize,
    /// The page is the last.
    is_last: bool,
}

impl Scanned {
    fn page(&mut self, start: Vec<u8>) -> nori_kv::Result<bool> {
        let options = ScanOptions {
            start: start.into(),
            end: self.range.end.clone().unwrap_or_default().into(),
            limit: PAGE,
            consistency: Some(self.store.0.consistency),
            ..ScanOptions::default()
        };
        let rows = self.store.0.runtime.block_on(self.store.0.client.scan(options).collect());
        self.rows = rows.map_err(failed)?;
        self.is_last = (self.rows.len() as u64) < PAGE;
        self.at = usize::from(!self.rows.is_empty());
        Ok(self.at > 0)
    }
}

impl Cursor for Scanned {
    fn seek(&mut self, key: &[u8]) -> nori_kv::Result<bool> {
        let start = key.max(&self.range.start).to_vec();
        self.page(start)
    }

    fn seek_back(&mut self, _key: &[u8]) -> nori_kv::Result<bool> {
        Err(Error::Unsupported { engine: "a cluster", what: "reading backwards" })
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
        self.page(start)
    }

    fn prev(&mut self) -> nori_kv::Result<bool> {
        Err(Error::Unsupported { engine: "a cluster", what: "reading backwards" })
    }

    fn row(&self) -> Option<Row<'_>> {
        let row = self.rows.get(self.at.checked_sub(1)?)?;
        Some(Row { key: &row.key, value: &row.value })
    }
}
