//! The failure detector's packets: datagrams, and calls over TCP for what does not fit into one or got no answer as one.
//!
//! Both have the same address, host:port: UDP and TCP have ports of their own.

use crate::driver::Handle;
use crate::links;
use bytes::Bytes;
use nori_swim::Class;
use norikv_proto::v1;
use norikv_proto::v1::peer_client::PeerClient;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UdpSocket;
use tokio::runtime;

/// The longest datagram there is.
const DATAGRAM_BYTES_MAX: usize = 65_536;
/// After an error of the socket.
const PAUSE: Duration = Duration::from_millis(50);

/// Hands datagrams to the node until it ends.
pub(crate) async fn receive(socket: Arc<UdpSocket>, handle: Handle) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    loop {
        match socket.recv_from(&mut buffer).await {
            Ok((len, _)) => handle.gossip(Class::Datagram, Bytes::copy_from_slice(&buffer[..len])),
            // What a peer's machine said of an earlier datagram.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

/// Sends a packet by a call.
pub(crate) fn send(runtime: &runtime::Handle, to: String, local: Option<IpAddr>, packet: Bytes) {
    runtime.spawn(async move {
        let call = async {
            let mut client = PeerClient::new(links::connect(&to, local).await.ok()?);
            client.gossip(v1::GossipRequest { packet }).await.ok()
        };
        let _ = tokio::time::timeout(links::CALL, call).await;
    });
}
