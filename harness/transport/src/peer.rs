//! The service `Peer`: what other nodes call.

use crate::driver::Handle;
use crate::errors::Failure;
use crate::links::FROM;
use nori_consensus::NodeId;
use norikv_proto::v1;
use norikv_proto::v1::peer_server::Peer;
use tokio_stream::StreamExt as _;
use tonic::{Request, Response, Status, Streaming};

/// What other nodes call.
#[derive(Clone)]
pub struct PeerService {
    handle: Handle,
}

impl PeerService {
    /// The service, on a node.
    pub fn new(handle: Handle) -> Self {
        Self { handle }
    }
}

#[tonic::async_trait]
impl Peer for PeerService {
    async fn exchange(
        &self,
        request: Request<Streaming<v1::ExchangeRequest>>,
    ) -> Result<Response<v1::ExchangeResponse>, Status> {
        let from = request.metadata().get(FROM).and_then(|value| value.to_str().ok());
        let Some(from) = from.and_then(|from| from.parse().ok()).map(NodeId) else {
            let what = format!("a stream of packets without a number of a node in {FROM}");
            return Err(Failure::Invalid(what).into());
        };
        let mut packets = request.into_inner();
        while let Some(request) = packets.next().await {
            self.handle.packet(from, request?.packet).await;
        }
        Ok(Response::new(v1::ExchangeResponse {}))
    }

    async fn introduce(
        &self,
        request: Request<v1::IntroduceRequest>,
    ) -> Result<Response<v1::IntroduceResponse>, Status> {
        let by = request.remote_addr().map(|address| address.to_string()).unwrap_or_default();
        let answer = self.handle.introduction(by, request.into_inner().packet).await;
        let packet = answer.ok_or_else(|| Failure::NotReady("the node has ended".to_owned()))?;
        Ok(Response::new(v1::IntroduceResponse { packet }))
    }

    async fn gossip(
        &self,
        request: Request<v1::GossipRequest>,
    ) -> Result<Response<v1::GossipResponse>, Status> {
        self.handle.gossip(nori_swim::Class::Stream, request.into_inner().packet);
        Ok(Response::new(v1::GossipResponse {}))
    }
}
