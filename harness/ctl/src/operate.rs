//! What operators do. What changes the map is asked of one node after the other until one says that it conducts.

use crate::args::{Cli, ClusterCommand, NodeCommand, Output, ShardCommand};
use crate::{Usage, out, ready};
use anyhow::Result;
use futures_util::future::join_all;
use norikv_client::{Channel, Client, Error, ErrorKind, Node, NodeState, Topology};
use norikv_proto::v1;
use norikv_proto::v1::admin_client::AdminClient;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::Duration;
use tonic::{Response, Status};
use tonic_types::StatusExt as _;

/// Between two looks at something that is waited for.
const LOOK: Duration = Duration::from_millis(200);
/// How long one node may take to say whether it conducts.
const ANSWER: Duration = Duration::from_secs(1);

type Admin = AdminClient<Channel>;

/// What a state is called.
pub(crate) fn state_name(state: NodeState) -> &'static str {
    match state {
        NodeState::Up => "up",
        NodeState::Suspect => "suspect",
        NodeState::Down => "down",
        NodeState::Draining => "draining",
        NodeState::Unheard => "unheard",
        NodeState::Unknown => "unknown",
    }
}

/// A member by name, number or client address.
fn find<'t>(topology: &'t Topology, given: &str) -> Result<&'t Node> {
    let is_it = |node: &&Node| {
        node.name == given || node.client_address == given || node.node_id.to_string() == given
    };
    let mut found = topology.nodes.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(node), None) => Ok(node),
        (Some(_), Some(_)) => {
            Err(Usage(format!("several members are called {given:?}: give a number")).into())
        }
        _ => {
            let mut names: Vec<&str> =
                topology.nodes.iter().map(|node| node.name.as_str()).collect();
            names.sort_unstable();
            Err(Usage(format!("no member is called {given:?}; there are {}", names.join(", ")))
                .into())
        }
    }
}

/// Asks one node.
async fn ask<T>(
    client: &Client,
    address: &str,
    within: Duration,
    call: impl AsyncFn(Admin) -> Result<Response<T>, Status>,
) -> Result<T> {
    let admin = AdminClient::new(client.channel(address)?);
    match tokio::time::timeout(within, call(admin)).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Error::of_status(&status, address, false).into()),
        Err(_) => {
            let (kind, message) = (ErrorKind::DeadlineExceeded, not_answered(address, within));
            Err(Error { kind, message, attempts: 1, maybe_committed: true }.into())
        }
    }
}

fn not_answered(address: &str, within: Duration) -> String {
    format!("{address} has not answered within {} ms", within.as_millis())
}

/// What is waited for is not there.
struct Lacking {
    /// In a sentence.
    what: String,
    /// Nobody knows of what was asked for whether it is done.
    is_unknown: bool,
}

impl From<String> for Lacking {
    fn from(what: String) -> Self {
        Self { what, is_unknown: false }
    }
}

/// Looks until there is what is waited for; if `--timeout` is over before, the last sentence about what is lacking is the error. What came of the
/// whole is unknown if it is of one look.
async fn wait<T>(cli: &Cli, look: impl AsyncFn() -> Result<Result<T, Lacking>>) -> Result<T> {
    let mut maybe_committed = false;
    loop {
        let message = match look().await? {
            Ok(found) => return Ok(found),
            Err(lacking) => {
                maybe_committed |= lacking.is_unknown;
                lacking.what
            }
        };
        if cli.left() <= LOOK {
            let kind = match maybe_committed {
                true => ErrorKind::OutcomeUnknown,
                false => ErrorKind::Unavailable,
            };
            return Err(Error { kind, message, attempts: 1, maybe_committed }.into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Asks whoever conducts. What came of it if the conductor was replaced meanwhile nobody says, and it is asked for again: a change of
/// the map says what is to be, so that twice is as once.
async fn decide<T>(
    client: &Client,
    cli: &Cli,
    call: impl AsyncFn(Admin) -> Result<Response<T>, Status>,
) -> Result<T> {
    let topology = client.topology().await?;
    wait(cli, async || {
        let mut left: VecDeque<String> =
            topology.nodes.iter().map(|node| node.client_address.clone()).collect();
        let mut asked = Vec::new();
        let mut lacking = Lacking::from("no node answers".to_owned());
        while let Some(address) = left.pop_front() {
            if asked.contains(&address) {
                continue;
            }
            asked.push(address.clone());
            let admin = AdminClient::new(client.channel(&address)?);
            let within = ANSWER.min(cli.left());
            let status = match tokio::time::timeout(within, call(admin)).await {
                Ok(Ok(response)) => return Ok(Ok(response.into_inner())),
                Ok(Err(status)) => status,
                Err(_) => {
                    lacking.what = not_answered(&address, within);
                    lacking.is_unknown = true;
                    continue;
                }
            };
            let error = Error::of_status(&status, &address, true);
            lacking.is_unknown |= error.maybe_committed;
            let details = status.get_error_details();
            let info = details.error_info();
            match info.map(|info| info.reason.as_str()) {
                Some("NOT_LEADER") => {
                    if let Some(hint) = info.and_then(|info| info.metadata.get("leader_address")) {
                        left.push_front(hint.clone());
                    }
                }
                Some("NOT_READY" | "OUTCOME_UNKNOWN") => {
                    lacking.what = error.message;
                    continue;
                }
                None if error.is_retryable() => {}
                _ => return Err(error.into()),
            }
            lacking.what = format!("nobody conducts the cluster: {}", error.message);
        }
        Ok(Err(lacking))
    })
    .await
}

pub(crate) async fn cluster(client: &Client, cli: &Cli, command: &ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Status => {
            let status = status_of_any(client, cli).await?;
            if status.epoch == 0 {
                let (kind, message) = (ErrorKind::Unavailable, status.sentence);
                return Err(Error { kind, message, attempts: 1, maybe_committed: false }.into());
            }
            match cli.output {
                Output::Table | Output::Raw => out::line(&status.sentence),
                _ => out::one(cli, &json!({ "sentence": status.sentence, "epoch": status.epoch })),
            }
        }
        ClusterCommand::Topology => {
            let topology = client.topology().await?;
            let nodes: Vec<Value> = topology.nodes.iter().map(node_row).collect();
            let shards = shard_rows(&topology);
            if matches!(cli.output, Output::Table | Output::Raw) {
                out::many(cli, &nodes)?;
                out::line("")?;
                return out::many(cli, &shards);
            }
            out::one(
                cli,
                &json!({
                    "cluster": topology.cluster_name, "cluster_id": topology.cluster_id,
                    "epoch": topology.epoch, "nodes": nodes, "shards": shards,
                }),
            )
        }
        ClusterCommand::WaitReady => {
            wait(cli, async || {
                let topology = client.topology().await?;
                Ok(match ready::lacking(client, cli, &topology).await {
                    None => Ok(()),
                    Some(lacking) => Err(lacking.into()),
                })
            })
            .await?;
            out::one(cli, &json!({ "ready": true }))
        }
    }
}

/// The status of whichever node answers first in the order of the endpoints. Each has its share of the time that is left.
async fn status_of_any(client: &Client, cli: &Cli) -> Result<v1::NodeStatusResponse> {
    let mut last = None;
    for (address, others) in cli.endpoints.iter().zip((1..=cli.endpoints.len() as u32).rev()) {
        let within = cli.left() / others;
        let status = async |mut admin: Admin| admin.node_status(v1::NodeStatusRequest {}).await;
        match ask(client, address, within, status).await {
            Ok(status) => return Ok(status),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| Usage("no endpoint is given".to_owned()).into()))
}

fn node_row(node: &Node) -> Value {
    json!({
        "node": node.node_id, "name": node.name, "state": state_name(node.state), "zone": node.zone,
        "client": node.client_address, "http": node.http_address,
    })
}

fn shard_rows(topology: &Topology) -> Vec<Value> {
    let name = |node: u64| {
        let known = topology.nodes.iter().find(|of| of.node_id == node);
        known.map_or_else(|| node.to_string(), |node| node.name.clone())
    };
    let row = |shard: &norikv_client::Shard| {
        json!({
            "shard": shard.shard,
            "leader": (shard.leader != 0).then(|| name(shard.leader)),
            "term": shard.term,
            "voters": shard.voters.iter().map(|node| name(*node)).collect::<Vec<String>>(),
            "learners": shard.learners.iter().map(|node| name(*node)).collect::<Vec<String>>(),
        })
    };
    topology.shards.iter().map(row).collect()
}

pub(crate) async fn members(client: &Client, cli: &Cli) -> Result<()> {
    let topology = client.topology().await?;
    let held =
        |node: u64| topology.shards.iter().filter(|shard| shard.voters.contains(&node)).count();
    let led = |node: u64| topology.shards.iter().filter(|shard| shard.leader == node).count();
    let rows: Vec<Value> = topology
        .nodes
        .iter()
        .map(|node| {
            let mut row = node_row(node);
            row["replicas"] = json!(held(node.node_id));
            row["leads"] = json!(led(node.node_id));
            row
        })
        .collect();
    out::many(cli, &rows)
}

pub(crate) async fn node(client: &Client, cli: &Cli, command: &NodeCommand) -> Result<()> {
    let topology = client.topology().await?;
    match command {
        NodeCommand::Status { node } => {
            let status = match node {
                None => status_of_any(client, cli).await?,
                Some(node) => {
                    let address = find(&topology, node)?.client_address.clone();
                    let status =
                        async |mut admin: Admin| admin.node_status(v1::NodeStatusRequest {}).await;
                    ask(client, &address, cli.left(), status).await?
                }
            };
            out::one(
                cli,
                &json!({
                    "node": status.node_id, "version": status.version, "uptime_ms": status.uptime_ms,
                    "epoch": status.epoch, "replicas": status.replicas, "leads": status.leads,
                    "durability": status.durability, "cluster": status.sentence,
                }),
            )
        }
        NodeCommand::Drain { node, wait } => {
            let node_id = find(&topology, node)?.node_id;
            let request = v1::DrainNodeRequest { node_id };
            decide(client, cli, async |mut admin: Admin| admin.drain_node(request).await).await?;
            if *wait {
                until_empty(client, cli, node_id).await?;
            }
            out::one(cli, &json!({ "node": node_id, "draining": true }))
        }
        NodeCommand::Undrain { node } => {
            let node_id = find(&topology, node)?.node_id;
            let request = v1::UndrainNodeRequest { node_id };
            decide(client, cli, async |mut admin: Admin| admin.undrain_node(request).await).await?;
            out::one(cli, &json!({ "node": node_id, "draining": false }))
        }
        NodeCommand::Remove { node, dead } => {
            let node_id = find(&topology, node)?.node_id;
            if *dead {
                let request = v1::DrainNodeRequest { node_id };
                decide(client, cli, async |mut admin: Admin| admin.drain_node(request).await)
                    .await?;
                until_empty(client, cli, node_id).await?;
            }
            let request = v1::RemoveNodeRequest { node_id, is_dead: *dead };
            let asked =
                decide(client, cli, async |mut admin: Admin| admin.remove_node(request).await);
            // If it was asked for twice, the second time there was no such member.
            if let Err(error) = asked.await {
                let topology = client.topology().await?;
                if topology.nodes.iter().any(|node| node.node_id == node_id) {
                    return Err(error);
                }
            }
            out::one(cli, &json!({ "node": node_id, "removed": true }))
        }
    }
}

/// Waits until a node holds nothing.
async fn until_empty(client: &Client, cli: &Cli, node: u64) -> Result<()> {
    wait(cli, async || {
        let topology = client.topology().await?;
        let concerns = |shard: &&norikv_client::Shard| {
            shard.voters.contains(&node) || shard.learners.contains(&node)
        };
        let left = topology.shards.iter().filter(concerns).count();
        Ok(match left {
            0 => Ok(()),
            _ => Err(Lacking::from(format!(
                "{left} shards are still on the node: give --timeout more, and ask again"
            ))),
        })
    })
    .await
}

pub(crate) async fn shard(client: &Client, cli: &Cli, command: &ShardCommand) -> Result<()> {
    let topology = client.topology().await?;
    match command {
        ShardCommand::List => out::many(cli, &shard_rows(&topology)),
        ShardCommand::Status { shard } => {
            let request = v1::ListReplicasRequest { shard: Some(*shard) };
            let rows = on_replicas(client, cli, &topology, *shard, async |mut admin: Admin| {
                admin.list_replicas(request).await
            });
            let rows = rows.await?.into_iter().map(replica_row);
            out::many(cli, &rows.collect::<Vec<Value>>())
        }
        ShardCommand::TransferLeader { shard, to } => {
            let to = find(&topology, to)?.node_id;
            let request = v1::TransferLeaderRequest { shard: *shard, to };
            decide(client, cli, async |mut admin: Admin| admin.transfer_leader(request).await)
                .await?;
            out::one(cli, &json!({ "shard": shard, "leader": to }))
        }
        ShardCommand::Move { shard, to } => {
            let voters = to.iter().map(|node| Ok(find(&topology, node)?.node_id));
            let voters = voters.collect::<Result<Vec<u64>>>()?;
            let request = v1::MoveShardRequest { shard: *shard, voters: voters.clone() };
            let moved = decide(client, cli, async |mut admin: Admin| {
                admin.move_shard(request.clone()).await
            });
            out::one(cli, &json!({ "shard": shard, "voters": voters, "epoch": moved.await?.epoch }))
        }
        ShardCommand::Checksum { shard } => checksum(client, cli, &topology, *shard).await,
        ShardCommand::Flush { shard } => {
            let request = v1::FlushRequest { shard: *shard };
            let done = on_replicas(client, cli, &topology, *shard, async |mut admin: Admin| {
                admin.flush(request).await
            });
            told(cli, done.await?)
        }
        ShardCommand::Compact { shard } => {
            let request = v1::CompactRequest { shard: *shard };
            let done = on_replicas(client, cli, &topology, *shard, async |mut admin: Admin| {
                admin.compact(request).await
            });
            told(cli, done.await?)
        }
    }
}

/// What a node says of its replica; of one that says nothing, why.
fn replica_row((node, result): (String, Result<v1::ListReplicasResponse>)) -> Value {
    let found = match result {
        Ok(of) => of.replicas.into_iter().next().ok_or_else(|| "it has none".to_owned()),
        Err(error) => Err(error.to_string()),
    };
    match found {
        Ok(of) => json!({
            "node": node, "role": of.role, "term": of.term, "commit": of.commit_index,
            "applied": of.applied_index, "durable": of.durable_index, "last": of.last_index,
            "why_not": null,
        }),
        Err(why) => json!({
            "node": node, "role": null, "term": null, "commit": null, "applied": null,
            "durable": null, "last": null, "why_not": why,
        }),
    }
}

fn told<T>(cli: &Cli, done: Vec<(String, Result<T>)>) -> Result<()> {
    let rows = done.into_iter().map(|(node, result)| {
        let why = result.err().map(|error| error.to_string());
        json!({ "node": node, "done": why.is_none(), "why_not": why })
    });
    out::many(cli, &rows.collect::<Vec<Value>>())
}

async fn checksum(client: &Client, cli: &Cli, topology: &Topology, shard: u32) -> Result<()> {
    let request = v1::ChecksumRequest { shard };
    let all = on_replicas(client, cli, topology, shard, async |mut admin: Admin| {
        admin.checksum(request).await
    });
    let all = all.await?;
    let row = |(node, result): &(String, Result<v1::ChecksumResponse>)| match result {
        Ok(of) => json!({
            "node": node, "index": of.index, "rows": of.rows, "digest": format!("{:016x}", of.digest),
        }),
        Err(error) => {
            json!({ "node": node, "index": null, "rows": null, "digest": error.to_string() })
        }
    };
    out::many(cli, &all.iter().map(row).collect::<Vec<Value>>())?;
    let digests: Vec<(u64, u64)> =
        all.iter().filter_map(|(_, of)| of.as_ref().ok()).map(|of| (of.index, of.digest)).collect();
    let differ = digests
        .iter()
        .any(|(index, digest)| digests.iter().any(|(other, of)| index == other && digest != of));
    if differ { Err(anyhow::anyhow!("replicas differ as of the same entry")) } else { Ok(()) }
}

/// Asks every node with a replica of a shard, all at once: one that does not answer takes no time from the others.
async fn on_replicas<T>(
    client: &Client,
    cli: &Cli,
    topology: &Topology,
    shard: u32,
    call: impl AsyncFn(Admin) -> Result<Response<T>, Status>,
) -> Result<Vec<(String, Result<T>)>> {
    let Some(of) = topology.shards.get(shard as usize) else {
        let last = topology.shards.len() - 1;
        return Err(Usage(format!("there is no shard {shard}: they go from 0 to {last}")).into());
    };
    let asked = of.voters.iter().chain(&of.learners).filter_map(|id| {
        let node = topology.nodes.iter().find(|node| node.node_id == *id)?;
        let answer = ask(client, topology.address(*id)?, cli.left(), &call);
        Some(async { (node.name.clone(), answer.await) })
    });
    Ok(join_all(asked).await)
}
