//! The service `Cluster`: what clients have to know.

use crate::convert;
use crate::errors::Failure;
use crate::serve::{self, About};
use crate::serving::Serving;
use norikv_proto::v1;
use norikv_proto::v1::cluster_server::Cluster;
use std::sync::Arc;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

/// What clients have to know of the cluster.
#[derive(Clone)]
pub struct ClusterService {
    serving: Serving,
    about: Arc<About>,
    stopped: watch::Receiver<bool>,
}

impl ClusterService {
    /// The service, on a node of which this is so. Streams end when it is stopped: they would never end by themselves.
    pub fn new(serving: Serving, about: Arc<About>, stopped: watch::Receiver<bool>) -> Self {
        Self { serving, about, stopped }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterService {
    async fn topology(
        &self,
        _: Request<v1::TopologyRequest>,
    ) -> Result<Response<v1::TopologyResponse>, Status> {
        let topology = convert::topology(&self.serving.handle().topology());
        Ok(Response::new(v1::TopologyResponse { topology: Some(topology) }))
    }

    type WatchTopologyStream = ReceiverStream<Result<v1::WatchTopologyResponse, Status>>;

    async fn watch_topology(
        &self,
        _: Request<v1::WatchTopologyRequest>,
    ) -> Result<Response<Self::WatchTopologyStream>, Status> {
        let (mut watched, stopped) = (self.serving.handle().watch(), self.stopped.clone());
        let (tell, told) = mpsc::channel(1);
        let all = async move {
            loop {
                let topology = Some(convert::topology(&watched.borrow_and_update().clone()));
                if tell.send(Ok(v1::WatchTopologyResponse { topology })).await.is_err() {
                    return;
                }
                tokio::select! {
                    changed = watched.changed() => if changed.is_err() { return },
                    // Who has gone is not to be found out at the next change only.
                    () = tell.closed() => return,
                }
            }
        };
        tokio::spawn(serve::until(stopped, all));
        Ok(Response::new(ReceiverStream::new(told)))
    }

    async fn locate(
        &self,
        request: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        let topology = self.serving.handle().topology();
        let shard = topology.shard_of(&request.into_inner().key);
        let view = shard.and_then(|shard| topology.shards.get(shard as usize));
        let Some(view) = view else { return Err(crate::serving::not_founded().into()) };
        let shard = Some(convert::shard(view));
        Ok(Response::new(v1::LocateResponse { shard, epoch: topology.epoch }))
    }

    async fn limits(
        &self,
        _: Request<v1::LimitsRequest>,
    ) -> Result<Response<v1::LimitsResponse>, Status> {
        let limits = &self.serving.limits().replica;
        let window = limits.identity_window.as_millis();
        Ok(Response::new(v1::LimitsResponse {
            key_bytes_max: limits.key_bytes_max as u64,
            value_bytes_max: limits.value_bytes_max as u64,
            batch_bytes_max: limits.write_bytes_max as u64,
            shards: self.serving.handle().topology().shards.len() as u32,
            identity_window_ms: u64::try_from(window).unwrap_or(u64::MAX),
        }))
    }

    async fn version(
        &self,
        _: Request<v1::VersionRequest>,
    ) -> Result<Response<v1::VersionResponse>, Status> {
        let About { version, durability, consensus, .. } = &*self.about;
        if version.is_empty() {
            return Err(Failure::Internal("a server without a version".to_owned()).into());
        }
        Ok(Response::new(v1::VersionResponse {
            version: version.clone(),
            node_id: self.serving.handle().topology().me,
            durability: durability.clone(),
            consensus: consensus.clone(),
        }))
    }
}
