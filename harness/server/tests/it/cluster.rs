//! Three nodes in this process.

use super::settings;
use norikv_client::{Client, Consistency, GetOptions, NodeState};
use norikv_proto::v1;
use norikv_proto::v1::test_control_client::TestControlClient;
use norikv_server::ephemeral::Cluster;
use std::sync::Arc;
use std::time::Duration;

async fn three() -> (Arc<Cluster>, Vec<String>) {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(&settings(dir.path(), &[]), 3).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), cluster.ready()).await.unwrap();
    let said = cluster.describe().await;
    let nodes = said["nodes"].as_array().unwrap();
    let addresses = nodes.iter().map(|node| node["client"].as_str().unwrap().to_owned()).collect();
    (cluster, addresses)
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_serve_as_one_whoever_is_asked_first() {
    let (cluster, addresses) = three().await;
    let all = Client::connect(addresses.clone()).unwrap();
    for n in 0..40 {
        all.put(format!("k{n}"), format!("{n}")).await.unwrap();
    }
    for address in &addresses {
        let client = Client::connect([address.clone()]).unwrap();
        for n in 0..40 {
            let entry = client.get(format!("k{n}")).await.unwrap().unwrap();
            assert_eq!(&entry.value[..], format!("{n}").as_bytes());
        }
    }
    let topology = all.topology().await.unwrap();
    assert_eq!((topology.nodes.len(), topology.shards.len()), (3, 4));
    assert!(topology.shards.iter().all(|shard| shard.voters.len() == 3));
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_read_is_served_by_any_replica_and_says_how_old_it_is() {
    let (cluster, addresses) = three().await;
    let client = Client::connect(addresses).unwrap();
    let version = client.put("a", "1").await.unwrap();
    let mut nodes = std::collections::BTreeSet::new();
    for _ in 0..60 {
        let age_max = Some(Duration::from_secs(1));
        let consistency = Some(Consistency::Stale { age_max, version_min: version });
        let entry = client.get_with("a", GetOptions { consistency }).await.unwrap().unwrap();
        assert!(entry.age.is_some_and(|age| age <= Duration::from_secs(1)), "{entry:?}");
        nodes.insert(entry.node);
    }
    assert_eq!(nodes.len(), 3, "each of them has served");
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_killed_is_followed_by_another_and_comes_back() {
    let (cluster, addresses) = three().await;
    let client = Client::connect(addresses.clone()).unwrap();
    for n in 0..20 {
        client.put(format!("k{n}"), "before").await.unwrap();
    }
    let topology = client.topology().await.unwrap();
    let shard = topology.shard_of(b"k0").unwrap();
    let leader = topology.shards[shard as usize].leader;
    let other = topology.nodes.iter().find(|node| node.node_id != leader).unwrap();
    let channel = client.channel(&other.client_address).unwrap();
    let mut control = TestControlClient::new(channel);
    control.kill(v1::KillRequest { node_id: leader }).await.unwrap();
    for n in 0..20 {
        client.put(format!("k{n}"), "after").await.unwrap();
    }
    control.restart(v1::RestartRequest { node_id: leader }).await.unwrap();
    let is_back = async {
        loop {
            let topology = client.topology().await.unwrap();
            let node = topology.nodes.iter().find(|node| node.node_id == leader).unwrap();
            if node.state == NodeState::Up {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), is_back).await.unwrap();
    for n in 0..20 {
        assert_eq!(&client.get(format!("k{n}")).await.unwrap().unwrap().value[..], b"after");
    }
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_cut_off_serves_nothing_that_is_old_and_a_reset_leaves_nothing() {
    let (cluster, addresses) = three().await;
    let client = Client::connect(addresses.clone()).unwrap();
    client.put("a", "1").await.unwrap();
    let topology = client.topology().await.unwrap();
    let leader = topology.shards[topology.shard_of(b"a").unwrap() as usize].leader;
    let others: Vec<u64> =
        topology.nodes.iter().map(|node| node.node_id).filter(|node| *node != leader).collect();
    let address = topology.address(leader).unwrap().to_owned();
    let mut control = TestControlClient::new(client.channel(&address).unwrap());
    for (from, to) in [(vec![leader], others.clone()), (others.clone(), vec![leader])] {
        control.partition(v1::PartitionRequest { from, to }).await.unwrap();
    }
    client.put("a", "2").await.unwrap();
    // Whoever asks the old leader alone gets no answer rather than an old one.
    let alone = Client::builder([address]).deadline(Duration::from_secs(2)).build().unwrap();
    let consistency = Some(Consistency::Linearizable);
    match alone.get_with("a", GetOptions { consistency }).await {
        Ok(entry) => assert_eq!(&entry.unwrap().value[..], b"2"),
        Err(error) => assert!(error.is_retryable(), "{error}"),
    }
    control.reset(v1::ResetRequest {}).await.unwrap();
    assert_eq!(client.get("a").await.unwrap(), None);
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_that_are_lost_do_not_make_a_write_happen_twice() {
    let (cluster, addresses) = three().await;
    let client = Client::connect(addresses.clone()).unwrap();
    client.put("counter", "0").await.unwrap();
    let mut control = TestControlClient::new(client.channel(&addresses[0]).unwrap());
    let faults = v1::FaultsRequest { answer_loss_ppm: 300_000, ..v1::FaultsRequest::default() };
    control.faults(faults).await.unwrap();
    for _ in 0..60 {
        let plus_one = |entry: Option<&norikv_client::Entry>| {
            let text = std::str::from_utf8(&entry.unwrap().value).unwrap().to_owned();
            Some((text.parse::<u64>().unwrap() + 1).to_string().into())
        };
        client.update("counter", plus_one).await.unwrap();
    }
    control.faults(v1::FaultsRequest::default()).await.unwrap();
    assert_eq!(&client.get("counter").await.unwrap().unwrap().value[..], b"60");
    cluster.stop().await;
}
