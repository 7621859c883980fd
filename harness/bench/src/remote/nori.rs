//! Our server, through its client.

use super::nodes::{self, Nodes};
use super::store::{Requests, Store};
use super::{Consistency, RemoteFactory};
use crate::registry::Opened;
use anyhow::Result;
use bytes::Bytes;
use norikv_client::{Client, GetOptions, ScanOptions};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

/// Where each node listens, at an address of its own.
const CLIENT: u16 = 9001;
const PEER: u16 = 9101;
const SWIM: u16 = 9201;
const HTTP: u16 = 8080;

/// Where a node tells what it counts.
pub(super) fn counted_at(node: usize) -> SocketAddr {
    (nodes::address(node), HTTP).into()
}

/// Starts a cluster in `dir`.
pub(super) fn start(factory: &RemoteFactory, protocol: &str, dir: &Path) -> Result<Opened> {
    let shape = &factory.shape;
    nodes::check_free(shape.nodes, &[CLIENT, PEER, HTTP], &[SWIM])?;
    let mut nodes = Nodes::new();
    let seeds: Vec<String> =
        (0..shape.nodes).map(|n| format!("{}:{PEER}", nodes::address(n))).collect();
    for n in 0..shape.nodes {
        let (at, dir) = (nodes::address(n), dir.join(format!("node-{n}")));
        let mut args = vec!["serve".to_owned()];
        let sets = [
            format!("node.name=node-{n}"),
            format!("node.data_dir={}", dir.join("data").display()),
            format!("listen.client={at}:{CLIENT}"),
            format!("listen.peer={at}:{PEER}"),
            format!("listen.swim={at}:{SWIM}"),
            format!("listen.http={at}:{HTTP}"),
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
    let runtime = super::runtime()?;
    let addresses: Vec<String> =
        (0..shape.nodes).map(|n| format!("{}:{CLIENT}", nodes::address(n))).collect();
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
    let is_ready = async || {
        let topology = client.topology().await.ok()?;
        topology.shards.iter().all(|shard| shard.leader != 0).then_some(())
    };
    nodes.wait_for("a leader of every shard", || runtime.block_on(is_ready()))?;
    Ok(Opened::remote(Store::new(Ours { client, consistency }, runtime, nodes)))
}

struct Ours {
    client: Client,
    consistency: norikv_client::Consistency,
}

impl Requests for Ours {
    const NAME: &'static str = "a cluster";
    type Error = norikv_client::Error;

    async fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Self::Error> {
        let options = GetOptions { consistency: Some(self.consistency) };
        let entry = self.client.get_with(key.to_vec(), options).await?;
        Ok(entry.map(|entry| entry.value))
    }

    async fn write(&self, key: &[u8], value: Option<&[u8]>) -> Result<(), Self::Error> {
        match value {
            Some(value) => self.client.put(key.to_vec(), value.to_vec()).await.map(drop),
            None => self.client.delete(key.to_vec()).await.map(drop),
        }
    }

    async fn scan(
        &self,
        start: Vec<u8>,
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, Self::Error> {
        let options = ScanOptions {
            start: start.into(),
            end: end.unwrap_or_default().to_vec().into(),
            limit: limit as u64,
            consistency: Some(self.consistency),
            ..ScanOptions::default()
        };
        let rows = self.client.scan(options).collect().await?;
        Ok(rows.into_iter().map(|row| (row.key, row.value)).collect())
    }
}
