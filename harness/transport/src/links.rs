//! Streams to other nodes: one for each, begun anew when it breaks.
//!
//! 1. The first packet for a node begins a task for it, with a queue that is bounded in bytes. What does not fit is lost.
//! 2. The task connects, opens the stream `Exchange`, and passes on what is in the queue, in order.
//! 3. When the stream breaks, or the node's address is another, everything in the queue is lost, and after a pause it connects again. The pause grows up to a
//!    bound; while it lasts packets are lost at once, so that nobody is told late what was true long ago.
//!
//! The protocols above say again what was lost; what they must not meet is old packets in another order.

use crate::driver::{Handle, Network};
use bytes::Bytes;
use nori_consensus::NodeId;
use nori_swim::Class;
use norikv_proto::channel::{Channel, Settings};
use norikv_proto::v1;
use norikv_proto::v1::peer_client::PeerClient;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::UdpSocket;
use tokio::runtime;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::metadata::MetadataValue;

/// The header of a stream that names its sender.
pub(crate) const FROM: &str = "norikv-node";
/// Bytes that may wait for one node.
const QUEUE_BYTES_MAX: usize = 64 << 20;
/// Packets that may wait for one node.
const QUEUE_PACKETS_MAX: usize = 16_384;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_millis(500);
/// Between two attempts, at first and at most.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);
/// A node that cannot be reached is told of so often.
const TELL_EVERY: Duration = Duration::from_secs(1);
/// A peer of which nothing is heard is asked whether it is there, and the stream is given up if it does not say so.
const KEEPALIVE: Duration = Duration::from_secs(1);
/// How long an introduction, or an exchange of the failure detector, may take.
pub(crate) const CALL: Duration = Duration::from_secs(2);

/// Counts of a node's links.
#[derive(Debug, Default)]
pub struct Counts {
    /// Packets that went onto a stream.
    pub sent: AtomicU64,
    /// Packets that were lost for want of a stream or of room.
    pub lost: AtomicU64,
    /// Streams that were opened.
    pub opened: AtomicU64,
}

struct Link {
    address: String,
    queue: mpsc::Sender<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
}

/// The way out of a node.
pub struct Links {
    me: NodeId,
    runtime: runtime::Handle,
    handle: Handle,
    socket: Arc<UdpSocket>,
    /// Where connections come from, if that is not left to the system.
    local: Option<IpAddr>,
    links: Mutex<HashMap<NodeId, Link>>,
    counts: Arc<Counts>,
}

impl Links {
    /// The way out of the node with this number: streams on `runtime`, datagrams from `socket`, and both from the address of that, if it is one.
    pub fn new(
        me: NodeId,
        runtime: runtime::Handle,
        handle: Handle,
        socket: Arc<UdpSocket>,
        counts: Arc<Counts>,
    ) -> Self {
        let local = socket.local_addr().ok().map(|address| address.ip());
        let local = local.filter(|address| !address.is_unspecified());
        Self { me, runtime, handle, socket, local, links: Mutex::default(), counts }
    }

    fn link(&self, to: NodeId, address: &str) -> Link {
        let (queue, packets) = mpsc::channel(QUEUE_PACKETS_MAX);
        let waiting_bytes = Arc::new(AtomicUsize::new(0));
        let stream = Stream {
            me: self.me,
            to,
            handle: self.handle.clone(),
            address: address.to_owned(),
            local: self.local,
            packets,
            waiting_bytes: Arc::clone(&waiting_bytes),
            counts: Arc::clone(&self.counts),
        };
        self.runtime.spawn(stream.run());
        Link { address: address.to_owned(), queue, waiting_bytes }
    }
}

impl Network for Links {
    fn send(&self, to: NodeId, address: Option<&str>, packet: Bytes) {
        let Some(address) = address else {
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let mut links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(to).or_insert_with(|| self.link(to, address));
        if link.address != address || link.queue.is_closed() {
            // The task of the old one ends with its queue.
            *link = self.link(to, address);
        }
        let bytes = packet.len();
        let has_room = link.waiting_bytes.load(Ordering::Relaxed) + bytes <= QUEUE_BYTES_MAX;
        // Counted before it is there to be taken: what is taken is never more than was counted.
        link.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if !has_room || link.queue.try_send(packet).is_err() {
            link.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn introduce(&self, address: String, packet: Bytes) {
        let (handle, local) = (self.handle.clone(), self.local);
        self.runtime.spawn(async move {
            let call = async {
                let mut client = PeerClient::new(connect(&address, local).await.ok()?);
                let answer = client.introduce(v1::IntroduceRequest { packet }).await.ok()?;
                Some(answer.into_inner().packet)
            };
            // Who is not there is asked again by the node.
            if let Ok(Some(answer)) = tokio::time::timeout(CALL, call).await {
                handle.introduced(address, answer);
            }
        });
    }

    fn gossip(&self, to: String, class: Class, packet: Bytes) {
        match class {
            Class::Datagram => {
                let socket = Arc::clone(&self.socket);
                self.runtime.spawn(async move {
                    // A datagram may be lost; that it cannot even be sent is no more than that.
                    let _ = socket.send_to(&packet, &to).await;
                });
            }
            Class::Stream => crate::gossip::send(&self.runtime, to, self.local, packet),
        }
    }
}

/// A connection to a node.
pub(crate) async fn connect(address: &str, local: Option<IpAddr>) -> Result<Channel, Status> {
    let settings = Settings { connect: CONNECT, keepalive: KEEPALIVE, local };
    let channel = Channel::new(address, settings);
    let channel = channel.ok_or_else(|| Status::invalid_argument("it is not host:port"))?;
    channel.connect().await?;
    Ok(channel)
}

/// A queue and the stream that it goes to.
struct Stream {
    me: NodeId,
    to: NodeId,
    handle: Handle,
    address: String,
    local: Option<IpAddr>,
    packets: mpsc::Receiver<Bytes>,
    waiting_bytes: Arc<AtomicUsize>,
    counts: Arc<Counts>,
}

impl Stream {
    async fn run(mut self) {
        let mut pause = PAUSE;
        let mut told = None;
        loop {
            match connect(&self.address, self.local).await {
                Ok(channel) => {
                    self.counts.opened.fetch_add(1, Ordering::Relaxed);
                    if self.exchange(channel).await {
                        pause = PAUSE;
                    }
                }
                Err(_) if told.is_none_or(|at: Instant| at.elapsed() >= TELL_EVERY) => {
                    told = Some(Instant::now());
                    self.handle.unreachable(self.to);
                }
                Err(_) => {}
            }
            if self.lose_for(pause).await {
                return;
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// Passes packets on until the stream breaks; whether one got there.
    async fn exchange(&mut self, channel: Channel) -> bool {
        let (onto, stream) = mpsc::channel(256);
        let mut request = tonic::Request::new(ReceiverStream::new(stream));
        request.metadata_mut().insert(FROM, MetadataValue::from(self.me.0));
        let mut client = PeerClient::new(channel);
        let mut call = std::pin::pin!(client.exchange(request));
        let mut has_sent = false;
        loop {
            tokio::select! {
                // It answers when it ends.
                _ = &mut call => return has_sent,
                packet = self.packets.recv() => {
                    let Some(packet) = packet else { return has_sent };
                    let bytes = packet.len();
                    let sent = tokio::select! {
                        sent = onto.send(v1::ExchangeRequest { packet }) => sent.is_ok(),
                        _ = &mut call => false,
                    };
                    self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
                    let count = if sent { &self.counts.sent } else { &self.counts.lost };
                    count.fetch_add(1, Ordering::Relaxed);
                    if !sent {
                        return has_sent;
                    }
                    has_sent = true;
                }
            }
        }
    }

    /// Lets go of packets for a while; whether there will be no more.
    async fn lose_for(&mut self, pause: Duration) -> bool {
        let until = tokio::time::Instant::now() + pause;
        loop {
            match tokio::time::timeout_at(until, self.packets.recv()).await {
                Ok(Some(packet)) => {
                    self.waiting_bytes.fetch_sub(packet.len(), Ordering::Relaxed);
                    self.counts.lost.fetch_add(1, Ordering::Relaxed);
                }
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}
