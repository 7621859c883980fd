//! A node's sockets, what is served on them, and their end.
//!
//! 1. [`Sockets::bind`] takes all of them, so that whoever boots the node can say where it is reached, ports that were left to the system included.
//! 2. [`Sockets::serve`] serves on them until [`Serving::stop`].
//! 3. A stop: health says so first, no new connection is taken, those there are told to go elsewhere and may finish for a while; then everything ends, whatever is
//!    under way. The while is bounded here because hyper waits for ever for a connection that never says anything.

use crate::accept::{self, Asker};
use crate::admin::AdminService;
use crate::cluster::ClusterService;
use crate::connection::{Connection, Door, Way};
use crate::express::Express;
use crate::http::{self, Metrics};
use crate::kv::KvService;
use crate::patience::MESSAGE_BYTES_MAX;
use crate::peer::PeerService;
use crate::room::Room;
use crate::serving;
use crate::test_control::{Controls, TestControlService};
use crate::topology::Topology;
use crate::unary::Bounds;
use hyper::body::Incoming;
use norikv_proto::v1;
use norikv_proto::v1::admin_server::AdminServer;
use norikv_proto::v1::cluster_server::ClusterServer;
use norikv_proto::v1::peer_server::PeerServer;
use norikv_proto::v1::test_control_server::TestControlServer;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tonic::body::Body;
use tonic::codegen::http::Request;
use tonic::service::Routes;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tower::ServiceExt as _;

/// Room in a message beside what the limits say of keys and values.
const OVERHEAD_BYTES: usize = 1 << 20;
/// What is asked of a cluster and its nodes, of health and of what is served.
const ASKED_BYTES_MAX: usize = MESSAGE_BYTES_MAX;
/// Keys in a request for a scan, and room in it beside them.
const SCAN_KEYS: usize = 3;
const SCAN_OVERHEAD_BYTES: usize = 1 << 10;
/// A packet between nodes: one message of the protocol may be longer than a batch.
const PACKET_BYTES_MAX: usize = 64 << 20;

/// Where to listen.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For clients, as host:port; port 0 leaves the port to the system.
    pub client: String,
    /// For other nodes.
    pub peer: String,
    /// For failure detectors, by UDP and by TCP.
    pub swim: String,
    /// For browsers and scrapers; `None`: not at all.
    pub http: Option<String>,
}

/// Where is listened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For clients.
    pub client: SocketAddr,
    /// For other nodes.
    pub peer: SocketAddr,
    /// For failure detectors.
    pub swim: SocketAddr,
    /// For browsers and scrapers.
    pub http: Option<SocketAddr>,
}

/// What a server says of itself.
#[derive(Clone, Debug)]
pub struct About {
    /// Its version.
    pub version: String,
    /// What a write survives that was acknowledged.
    pub durability: String,
    /// The replication protocol.
    pub consensus: String,
    /// Since when it runs.
    pub started: Instant,
    /// Whether it tells its services to whoever asks.
    pub has_reflection: bool,
}

/// A socket that cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for {purpose}: {source}")]
pub struct BindError {
    /// Where.
    pub address: String,
    /// What for.
    pub purpose: &'static str,
    /// As the operating system says it.
    pub source: io::Error,
}

/// A node's sockets.
pub struct Sockets {
    client: TcpListener,
    peer: TcpListener,
    swim_stream: TcpListener,
    swim: Arc<UdpSocket>,
    http: Option<TcpListener>,
    addresses: Addresses,
}

async fn listen(address: &str, purpose: &'static str) -> Result<TcpListener, BindError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| BindError { address: address.to_owned(), purpose, source })
}

impl Sockets {
    /// Takes all sockets.
    ///
    /// # Errors
    ///
    /// If one of them cannot be had.
    pub async fn bind(settings: &Settings) -> Result<Self, BindError> {
        let client = listen(&settings.client, "clients").await?;
        let peer = listen(&settings.peer, "other nodes").await?;
        let swim_stream = listen(&settings.swim, "failure detectors").await?;
        let wrong = |address: &str, purpose| {
            let address = address.to_owned();
            move |source| BindError { address, purpose, source }
        };
        // The same port for both: what the system chose for one is taken for the other.
        let swim_address = swim_stream.local_addr().map_err(wrong(&settings.swim, "datagrams"))?;
        let swim = UdpSocket::bind(swim_address).await;
        let swim = Arc::new(swim.map_err(wrong(&settings.swim, "datagrams"))?);
        let http = match &settings.http {
            Some(address) => Some(listen(address, "HTTP").await?),
            None => None,
        };
        let at = |listener: &TcpListener| listener.local_addr().map_err(wrong("", "a socket"));
        let addresses = Addresses {
            client: at(&client)?,
            peer: at(&peer)?,
            swim: swim_address,
            http: http.as_ref().map(at).transpose()?,
        };
        Ok(Self { client, peer, swim_stream, swim, http, addresses })
    }

    /// Where is listened.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// The socket of the failure detector, to send from.
    pub fn swim(&self) -> Arc<UdpSocket> {
        Arc::clone(&self.swim)
    }

    /// Serves a node on them.
    /// With `controls`, tests may do things to it.
    pub fn serve(
        self,
        serving: &serving::Serving,
        about: About,
        metrics: Metrics,
        controls: Option<Arc<dyn Controls>>,
    ) -> Serving {
        let (stop, stopped) = watch::channel(false);
        let (mut clients_tasks, mut tasks) = (JoinSet::new(), JoinSet::new());
        let handle = serving.handle().clone();
        let (health, health_service) = tonic_health::server::health_reporter();
        let about = Arc::new(about);
        let bytes_max = serving.limits().replica.write_bytes_max + OVERHEAD_BYTES;
        let requests = Room::new(serving.limits().request_bytes_max);
        let kv = KvService::new(serving.clone(), requests.clone(), stopped.clone());
        let cluster = ClusterService::new(serving.clone(), Arc::clone(&about), stopped.clone());
        let admin = AdminService::new(serving.clone(), Arc::clone(&about));
        let mut others = Routes::new(health_service.max_decoding_message_size(ASKED_BYTES_MAX))
            .add_service(ClusterServer::new(cluster).max_decoding_message_size(ASKED_BYTES_MAX))
            .add_service(AdminServer::new(admin).max_decoding_message_size(ASKED_BYTES_MAX));
        let has_controls = controls.is_some();
        if let Some(controls) = controls {
            let controls = TestControlServer::new(TestControlService::new(controls));
            others = others.add_service(controls.max_decoding_message_size(ASKED_BYTES_MAX));
        }
        if about.has_reflection {
            others = with_reflection(others, has_controls);
        }
        let scan_bytes_max =
            SCAN_KEYS * serving.limits().replica.key_bytes_max + SCAN_OVERHEAD_BYTES;
        let bounds = Bounds { bytes_max, scan_bytes_max, room: requests.clone() };
        let express = Express::new(kv, others, serving.answers().clone(), bounds);
        let door = Door::new();
        let way = door.way(serving.limits().connections_max);
        let entrance = (way.clone(), Asker::Nameless);
        clients_tasks.spawn(accept::serve(express, self.client, entrance, stopped.clone()));
        for listener in [self.peer, self.swim_stream] {
            let service = PeerServer::new(PeerService::new(handle.clone()))
                .max_decoding_message_size(PACKET_BYTES_MAX)
                .max_encoding_message_size(PACKET_BYTES_MAX);
            let service = Routes::new(service).prepare();
            let service = service.map_request(|request: Request<Incoming>| request.map(Body::new));
            let entrance = (door.way(serving.limits().peer_connections_max), Asker::Named);
            tasks.spawn(accept::serve(service, listener, entrance, stopped.clone()));
        }
        tasks.spawn(until(stopped.clone(), crate::gossip::receive(self.swim, handle.clone())));
        tasks.spawn(until(stopped.clone(), tell_health(health.clone(), handle.watch())));
        if let Some(listener) = self.http {
            let router = http::router(serving.clone(), requests, metrics, stopped.clone());
            let ends = ended(stopped);
            clients_tasks.spawn(async move {
                let listener = Bounded { listener, way };
                let _ = axum::serve(listener, router).with_graceful_shutdown(ends).await;
            });
        }
        let (addresses, clients) = (self.addresses, clients_tasks);
        Serving { addresses, clients, others: tasks, stop, health, door }
    }
}

/// Tells of what is served here, and not of what other nodes call.
fn with_reflection(routes: Routes, has_controls: bool) -> Routes {
    let builder = || {
        let builder = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(v1::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
        let controls = has_controls.then_some("norikv.v1.TestControl");
        let services = SERVICES.into_iter().chain(["grpc.health.v1.Health"]).chain(controls);
        services.fold(builder, tonic_reflection::server::Builder::with_service_name)
    };
    // Older clients ask in the older words.
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(now), Ok(before)) => routes
            .add_service(now.max_decoding_message_size(ASKED_BYTES_MAX))
            .add_service(before.max_decoding_message_size(ASKED_BYTES_MAX)),
        _ => routes,
    }
}

/// Connections over HTTP as long as there is room for them.
struct Bounded {
    listener: TcpListener,
    way: Way,
}

impl axum::serve::Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let (socket, address) = axum::serve::Listener::accept(&mut self.listener).await;
            if let Some(connection) = self.way.admit(socket) {
                return (connection, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

pub(crate) async fn ended(mut stopped: watch::Receiver<bool>) {
    // Whoever could say so has gone: that is an end, too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}

pub(crate) async fn until(stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        () = ended(stopped) => {}
    }
}

/// What is served to clients. Its health is told, and that of the whole, which has no name.
const SERVICES: [&str; 3] = ["norikv.v1.Kv", "norikv.v1.Cluster", "norikv.v1.Admin"];

/// Tells whoever asks for it whether the node can serve.
async fn tell_health(reporter: HealthReporter, mut topology: watch::Receiver<Arc<Topology>>) {
    loop {
        let is_ready = topology.borrow_and_update().is_ready().is_ok();
        let status = if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in SERVICES.into_iter().chain([""]) {
            reporter.set_service_status(service, status).await;
        }
        if topology.changed().await.is_err() {
            return;
        }
    }
}

/// What is served, until it is stopped.
pub struct Serving {
    addresses: Addresses,
    clients: JoinSet<()>,
    /// What serves other nodes: their streams end when they are cut.
    others: JoinSet<()>,
    stop: watch::Sender<bool>,
    health: HealthReporter,
    /// What ends connections where they are.
    door: Door,
}

impl Serving {
    /// Where.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Tells whoever asks that this node is not to be asked any more.
    pub async fn announce_end(&self) {
        for service in SERVICES.into_iter().chain([""]) {
            self.health.set_service_status(service, ServingStatus::NotServing).await;
        }
    }

    /// Takes no more connections, and lets those there are finish for `grace` at most; whether they did.
    pub async fn stop(mut self, grace: Duration) -> bool {
        let _ = self.stop.send(true);
        let all = async { while self.clients.join_next().await.is_some() {} };
        let is_done = tokio::time::timeout(grace, all).await.is_ok();
        self.clients.abort_all();
        self.others.abort_all();
        drop(self.door);
        is_done
    }
}
