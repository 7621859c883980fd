//! Clusters in memory, for tests of clients: the real server on real sockets, and files that are gone with it.
//!
//! All nodes are in one process. Ports are the system's choice; where they are one line of JSON on the standard output says when every shard has a leader. Each node serves `TestControl`, by which
//! tests cut nodes off, let them stand still, kill them and start them again with what they had.

use crate::config::resolve::Resolved;
use crate::start::{Running, StartError, World};
use nori_consensus::NodeId;
use nori_env::{MemFs, SegmentKind};
use norikv_proto::v1;
use norikv_replica::{Freshness, KeyChange};
use norikv_transport_grpc::errors::Failure;
use norikv_transport_grpc::faults::Wires;
use norikv_transport_grpc::serve::{BindError, Settings, Sockets};
use norikv_transport_grpc::test_control::Controls;
use serde_json::{Value, json};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::net::TcpSocket;
use tokio::sync::Mutex;

/// Shards, if nobody says how many: eight are enough to be several, and few to start.
pub const SHARDS: u32 = 8;
/// Memory of each node's engine.
const MEMORY_BYTES: u64 = 16 << 20;
/// Segments of the log: in memory every byte of them counts.
const SEGMENT_BYTES: u64 = 1 << 20;
/// How long the sockets of a node that was killed stay, and how long whoever starts it again waits for them to go.
const SOCKETS_STAY: Duration = Duration::from_millis(20);
const SOCKETS_GO: Duration = Duration::from_secs(5);
/// Between two attempts to listen where a node was before.
const LOOK: Duration = Duration::from_millis(2);

/// A node, whether it runs or not.
struct Node {
    /// As soon as it has one.
    id: u64,
    resolved: Resolved,
    fs: MemFs,
    running: Option<Running>,
    /// Its ports, so that nobody else gets one while it is down; nothing is listened for here.
    _held: Vec<TcpSocket>,
}

/// A port of the system's choice, and what keeps it: whoever connects somewhere may be given any port that nobody has, that of a node that is down among them, and even be connected to itself by it.
fn hold(held: &mut Vec<TcpSocket>) -> std::io::Result<String> {
    let socket = TcpSocket::new_v4()?;
    // The node's own socket is set so, too: two that are may be bound to one port as long as one of them listens.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, 0).into())?;
    let address = socket.local_addr()?.to_string();
    held.push(socket);
    Ok(address)
}

/// A cluster that runs in this process.
pub struct Cluster {
    nodes: Mutex<Vec<Node>>,
    wires: Arc<Wires>,
    own: Weak<Self>,
}

impl Cluster {
    /// Starts `nodes` of them, as `base` says but for where they listen and what they keep.
    ///
    /// # Errors
    ///
    /// [`StartError`].
    pub async fn start(base: &Resolved, nodes: usize) -> Result<Arc<Self>, StartError> {
        let mut sockets = Vec::new();
        for _ in 0..nodes {
            let mut held = Vec::new();
            let mut anywhere = |purpose| {
                hold(&mut held).map_err(|source| BindError {
                    address: "127.0.0.1:0".to_owned(),
                    purpose,
                    source,
                })
            };
            let listen = Settings {
                client: anywhere("clients")?,
                peer: anywhere("other nodes")?,
                swim: anywhere("failure detectors")?,
                http: Some(anywhere("HTTP")?),
            };
            sockets.push((Sockets::bind(&listen).await?, held));
        }
        let seeds: Vec<String> = match nodes {
            1 => Vec::new(),
            _ => sockets.iter().map(|(sockets, _)| sockets.addresses().peer.to_string()).collect(),
        };
        let cluster = Arc::new_cyclic(|own: &Weak<Self>| Self {
            nodes: Mutex::default(),
            wires: Arc::default(),
            own: Weak::clone(own),
        });
        for (n, (sockets, held)) in sockets.into_iter().enumerate() {
            let at = sockets.addresses();
            let mut resolved = base.clone();
            resolved.name = format!("node-{}", n + 1);
            resolved.data_dir = PathBuf::from("/ephemeral");
            resolved.seeds.clone_from(&seeds);
            resolved.memory_bytes = MEMORY_BYTES;
            resolved.log_options.wal.segment_bytes = SEGMENT_BYTES;
            resolved.log_options.wal.kind = SegmentKind::Pwrite;
            // A node that is started again is where it was.
            resolved.listen = Settings {
                client: at.client.to_string(),
                peer: at.peer.to_string(),
                swim: at.swim.to_string(),
                http: at.http.map(|at| at.to_string()),
            };
            let fs = MemFs::new();
            let running = Running::start_on(resolved.clone(), cluster.world(&fs), sockets)?;
            let node = Node { id: 0, resolved, fs, running: Some(running), _held: held };
            cluster.nodes.lock().await.push(node);
        }
        Ok(cluster)
    }

    fn world(&self, fs: &MemFs) -> World {
        let controls = self.own.upgrade().map(|own| own as Arc<dyn Controls>);
        World {
            fs: Arc::new(fs.clone()),
            is_real: false,
            free_bytes: None,
            wires: Some(Arc::clone(&self.wires)),
            controls,
        }
    }

    /// Waits until every node that runs can serve.
    pub async fn ready(&self) {
        let mut nodes = self.nodes.lock().await;
        for node in nodes.iter_mut() {
            let Some(running) = &node.running else { continue };
            // A node that ends meanwhile is left as it is: whoever asks it says so.
            let mut watch = running.handle().watch();
            let Ok(ready) = watch.wait_for(|topology| topology.is_ready().is_ok()).await else {
                continue;
            };
            node.id = ready.me;
            for address in [&node.resolved.listen.peer, &node.resolved.listen.swim] {
                self.wires.know(address.clone(), NodeId(node.id));
            }
        }
    }

    /// Where it is, as whoever started the process reads it.
    pub async fn describe(&self) -> Value {
        let node = |node: &Node| {
            let listen = &node.resolved.listen;
            json!({ "node_id": node.id, "client": listen.client, "http": listen.http })
        };
        let nodes: Vec<Value> = self.nodes.lock().await.iter().map(node).collect();
        let first = nodes.first().cloned().unwrap_or_default();
        json!({
            "ready": true,
            "client": first["client"],
            "http": first["http"],
            "pid": std::process::id(),
            "nodes": nodes,
        })
    }

    /// Ends it.
    pub async fn stop(&self) {
        let running: Vec<Running> =
            self.nodes.lock().await.iter_mut().filter_map(|node| node.running.take()).collect();
        for running in running {
            running.kill().await.stop(Duration::ZERO).await;
        }
    }

    /// Does something with a node.
    async fn with<T>(
        &self,
        id: u64,
        what: impl FnOnce(&mut Node) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let mut nodes = self.nodes.lock().await;
        let node = nodes.iter_mut().find(|node| node.id == id);
        what(node.ok_or_else(|| Failure::Invalid(format!("there is no node {id}")))?)
    }
}

fn down(id: u64) -> Failure {
    Failure::Invalid(format!("node {id} does not run"))
}

#[tonic::async_trait]
impl Controls for Cluster {
    async fn partition(&self, from: Vec<u64>, to: Vec<u64>) -> Result<(), Failure> {
        if from.is_empty() && to.is_empty() {
            self.wires.heal();
            return Ok(());
        }
        let of = |nodes: Vec<u64>| nodes.into_iter().map(NodeId).collect::<Vec<NodeId>>();
        self.wires.cut(&of(from), &of(to));
        Ok(())
    }

    async fn pause(&self, id: u64, time: Duration) -> Result<(), Failure> {
        let handle = self
            .with(id, |node| {
                node.running.as_ref().map(|of| of.handle().clone()).ok_or_else(|| down(id))
            })
            .await?;
        // The loop itself stands still; nobody waits for that here.
        tokio::spawn(async move { handle.ask(move |_, _| std::thread::sleep(time)).await });
        Ok(())
    }

    async fn kill(&self, id: u64) -> Result<(), Failure> {
        let running = self.with(id, |node| node.running.take().ok_or_else(|| down(id))).await?;
        let sockets = running.kill().await;
        // The answer to this request may go over one of them.
        tokio::spawn(sockets.stop(SOCKETS_STAY));
        Ok(())
    }

    async fn restart(&self, id: u64) -> Result<(), Failure> {
        let (resolved, fs) = self
            .with(id, |node| match node.running {
                Some(_) => Err(Failure::Invalid(format!("node {id} runs"))),
                None => Ok((node.resolved.clone(), node.fs.clone())),
            })
            .await?;
        let until = Instant::now() + SOCKETS_GO;
        let running = loop {
            match Running::start(resolved.clone(), self.world(&fs)).await {
                Ok(running) => break running,
                // Its last life has not let go of its sockets.
                Err(StartError::Bind(_)) if Instant::now() < until => {
                    tokio::time::sleep(LOOK).await;
                }
                Err(error) => return Err(Failure::Internal(error.to_string())),
            }
        };
        self.with(id, |node| {
            node.running = Some(running);
            Ok(())
        })
        .await
    }

    async fn clock(&self, id: u64, ahead: Duration) -> Result<(), Failure> {
        self.with(id, |node| {
            let running = node.running.as_ref().ok_or_else(|| down(id))?;
            running.handle().clocks().set_ahead(ahead);
            Ok(())
        })
        .await
    }

    async fn faults(&self, faults: v1::FaultsRequest) -> Result<(), Failure> {
        self.wires.set_loss(faults.packet_loss_ppm);
        let delay = Duration::from_millis(faults.answer_delay_ms);
        for node in self.nodes.lock().await.iter() {
            if let Some(running) = &node.running {
                let of = running.requests.faults();
                of.set(faults.answer_loss_ppm, delay, faults.overloaded_next);
            }
        }
        Ok(())
    }

    async fn reset(&self) -> Result<(), Failure> {
        self.wires.heal();
        self.faults(v1::FaultsRequest::default()).await?;
        let down: Vec<u64> = {
            let nodes = self.nodes.lock().await;
            nodes.iter().filter(|node| node.running.is_none()).map(|node| node.id).collect()
        };
        for id in down {
            self.restart(id).await?;
        }
        self.ready().await;
        let nodes = self.nodes.lock().await;
        for node in nodes.iter() {
            let Some(running) = &node.running else { continue };
            running.handle().clocks().set_ahead(Duration::ZERO);
            clear(running).await?;
        }
        Ok(())
    }
}

/// Deletes all rows of the shards that a node leads.
async fn clear(running: &Running) -> Result<(), Failure> {
    let topology = running.handle().topology();
    for shard in topology.shards.iter().filter(|shard| shard.leader == topology.me) {
        let view = running.requests.view(shard.shard, Freshness::Lease).await?;
        let mut keys = Vec::new();
        let mut take = |key: &[u8], _: u64, _: &[u8]| {
            keys.push(key.to_vec());
            std::ops::ControlFlow::Continue(())
        };
        view.scan(b"", None, &mut take).map_err(|error| Failure::Internal(error.to_string()))?;
        for key in keys {
            let condition = norikv_replica::Condition::None;
            let change = KeyChange { key: key.into(), condition, value: None, ttl: None };
            running.requests.write(None, vec![change]).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[tokio::test]
    async fn a_port_that_is_held_is_for_its_node_alone() {
        let mut held = Vec::new();
        let address = hold(&mut held).unwrap();
        // One life after the other.
        for _ in 0..2 {
            let listener = TcpListener::bind(&address).await.unwrap();
            drop(listener);
        }
        let whoever_connects = TcpSocket::new_v4().unwrap();
        assert!(whoever_connects.bind(address.parse().unwrap()).is_err());
        drop(held);
        whoever_connects.bind(address.parse().unwrap()).unwrap();
    }
}
