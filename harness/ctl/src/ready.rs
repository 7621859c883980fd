//! Whether a cluster is whole: what must be so before the next of its nodes is taken down.
//!
//! 1. Every shard has a leader.
//! 2. Every member answers, itself, and is seen to by whoever told of the cluster.
//! 3. Every voter has its replica, hears the leader, and has what the leader had committed when it was asked, or nearly.

use crate::args::Cli;
use crate::operate::state_name;
use norikv_client::{Client, Node, NodeState, Topology};
use norikv_proto::v1;
use norikv_proto::v1::admin_client::AdminClient;
use std::collections::HashMap;
use std::time::Duration;

/// How long one node may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Entries that a replica may lack: what is on its way under load.
const LAG_MAX: u64 = 1_000;

/// What is lacking, in a sentence; `None` where nothing is.
pub(crate) async fn lacking(client: &Client, cli: &Cli, topology: &Topology) -> Option<String> {
    let leaderless = topology.shards.iter().filter(|shard| shard.leader == 0).count();
    if leaderless > 0 {
        return Some(format!("{leaderless} shards have no leader"));
    }
    let mut replicas = HashMap::new();
    for node in &topology.nodes {
        let Some(of_node) = replicas_of(client, node, ANSWER.min(cli.left())).await else {
            return Some(format!("{} does not answer", node.name));
        };
        replicas.extend(of_node.into_iter().map(|of| ((of.shard, node.node_id), of)));
    }
    let is_seen = |node: &&Node| matches!(node.state, NodeState::Up | NodeState::Draining);
    if let Some(node) = topology.nodes.iter().find(|node| !is_seen(node)) {
        return Some(format!("{} is {}", node.name, state_name(node.state)));
    }
    let name = |id: u64| {
        let node = topology.nodes.iter().find(|node| node.node_id == id);
        node.map_or_else(|| id.to_string(), |node| node.name.clone())
    };
    topology.shards.iter().find_map(|shard| {
        let committed = replicas.get(&(shard.shard, shard.leader)).map_or(0, |of| of.commit_index);
        shard.voters.iter().find_map(|node| {
            let at = || format!("shard {} on {}", shard.shard, name(*node));
            match replicas.get(&(shard.shard, *node)) {
                None => Some(format!("{} is not there yet", at())),
                Some(of) if of.leader == 0 => Some(format!("{} hears no leader", at())),
                Some(of) if of.applied_index + LAG_MAX < committed => {
                    Some(format!("{} lacks {} entries", at(), committed - of.applied_index))
                }
                Some(_) => None,
            }
        })
    })
}

/// What a node says of its replicas; `None` if it says nothing within that time.
async fn replicas_of(client: &Client, node: &Node, within: Duration) -> Option<Vec<v1::Replica>> {
    let mut admin = AdminClient::new(client.channel(&node.client_address).ok()?);
    let asked = admin.list_replicas(v1::ListReplicasRequest { shard: None });
    let answer = tokio::time::timeout(within, asked).await.ok()?.ok()?;
    Some(answer.into_inner().replicas)
}
