//! What is counted, as it is scraped: the parts' own numbers, and what is known of shards, members, links and requests.

use norikv_telemetry::{Exposition, Labelled};
use norikv_transport_grpc::links::Counts;
use norikv_transport_grpc::serve::About;
use norikv_transport_grpc::serving::Serving;
use norikv_transport_grpc::topology::{NodeState, Topology};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Writes everything as text when it is asked.
pub(crate) fn text(
    exposition: Arc<Exposition>,
    serving: Serving,
    links: Arc<Counts>,
    about: About,
) -> Arc<dyn Fn() -> String + Send + Sync> {
    Arc::new(move || {
        exposition.text(|more| {
            of_the_server(more, &about);
            of_requests(more, &serving);
            of_writes(more, &serving);
            of_links(more, &links);
            of_shards(more, &serving.handle().topology());
        })
    })
}

fn of_the_server(more: &mut Labelled, about: &About) {
    let labels = [
        ("version", about.version.as_str()),
        ("consensus", &about.consensus),
        ("durability", &about.durability),
    ];
    more.gauge("build_info", "What runs here.", &labels, 1.0);
    let uptime = about.started.elapsed().as_secs_f64();
    more.gauge("uptime_seconds", "Since the server was started.", &[], uptime);
}

fn of_requests(more: &mut Labelled, serving: &Serving) {
    more.gauge(
        "rpc_requests_in_flight",
        "Requests of clients under way.",
        &[],
        serving.under_way() as f64,
    );
    let full = f64::from(u8::from(serving.is_full()));
    more.gauge("disk_is_full", "Whether nothing but deletes is taken for want of room.", &[], full);
    for (kind, result, count) in serving.counts() {
        let labels = [("kind", kind), ("result", result)];
        more.counter(
            "rpc_requests",
            "Requests of clients that have ended, by kind and result.",
            &labels,
            count as f64,
        );
    }
}

fn of_writes(more: &mut Labelled, serving: &Serving) {
    let times = serving.handle().write_times();
    for (stage, times) in times.stages() {
        more.histogram(
            "commit_stage_seconds",
            "Time of clients' writes that this node led, by stage; one of four is timed.",
            &[("stage", stage)],
            &times,
        );
    }
    more.histogram(
        "commit_seconds",
        "Time of the same writes from their arrival at the node to their answer.",
        &[],
        &times.whole(),
    );
}

fn of_links(more: &mut Labelled, links: &Counts) {
    let count = |count: &std::sync::atomic::AtomicU64| count.load(Ordering::Relaxed) as f64;
    more.counter("peer_packets_sent", "Packets to other nodes.", &[], count(&links.sent));
    more.counter(
        "peer_packets_lost",
        "Packets to other nodes that no stream could take.",
        &[],
        count(&links.lost),
    );
    more.counter(
        "peer_streams_opened",
        "Streams to other nodes that were begun.",
        &[],
        count(&links.opened),
    );
}

fn of_shards(more: &mut Labelled, topology: &Topology) {
    more.gauge("cluster_epoch", "How often the shard map was changed.", &[], topology.epoch as f64);
    for (state, name) in [
        (NodeState::Up, "up"),
        (NodeState::Suspect, "suspect"),
        (NodeState::Down, "down"),
        (NodeState::Draining, "draining"),
        (NodeState::Unheard, "unheard"),
    ] {
        let count = topology.nodes.iter().filter(|node| node.state == state).count();
        more.gauge(
            "cluster_members",
            "Members of the cluster, by how this node sees them.",
            &[("state", name)],
            count as f64,
        );
    }
    for view in topology.shards.iter().chain(&topology.map_shard).filter(|view| view.role.is_some())
    {
        let shard = view.shard.to_string();
        let labels = [("shard", shard.as_str())];
        let leads = f64::from(u8::from(view.leader == topology.me));
        let is_led = f64::from(u8::from(view.leader != 0));
        more.gauge("raft_is_leader", "Whether this node leads the shard.", &labels, leads);
        more.gauge("raft_has_leader", "Whether the replica hears a leader.", &labels, is_led);
        more.gauge("raft_term", "The term of the replica.", &labels, view.term as f64);
    }
}
