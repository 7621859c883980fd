//! The service `TestControl`: what tests do to a cluster that lives in memory.

use crate::errors::Failure;
use norikv_proto::v1;
use norikv_proto::v1::test_control_server::TestControl;
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// What can be done to a cluster. Nodes are named by their numbers.
#[tonic::async_trait]
pub trait Controls: Send + Sync {
    /// Nothing goes from these to those; from nobody to nobody: everything goes again.
    async fn partition(&self, from: Vec<u64>, to: Vec<u64>) -> Result<(), Failure>;
    /// A node does nothing for a while.
    async fn pause(&self, node: u64, time: Duration) -> Result<(), Failure>;
    /// A node is gone.
    async fn kill(&self, node: u64) -> Result<(), Failure>;
    /// It is back, with what it had.
    async fn restart(&self, node: u64) -> Result<(), Failure>;
    /// Its time of day runs ahead.
    async fn clock(&self, node: u64, ahead: Duration) -> Result<(), Failure>;
    /// What happens to packets and requests of all nodes.
    async fn faults(&self, faults: v1::FaultsRequest) -> Result<(), Failure>;
    /// Everything is whole, and all rows are gone.
    async fn reset(&self) -> Result<(), Failure>;
}

/// What tests do.
#[derive(Clone)]
pub struct TestControlService {
    controls: Arc<dyn Controls>,
}

impl TestControlService {
    /// The service, on a cluster.
    pub fn new(controls: Arc<dyn Controls>) -> Self {
        Self { controls }
    }
}

#[tonic::async_trait]
impl TestControl for TestControlService {
    async fn partition(
        &self,
        request: Request<v1::PartitionRequest>,
    ) -> Result<Response<v1::PartitionResponse>, Status> {
        let v1::PartitionRequest { from, to } = request.into_inner();
        self.controls.partition(from, to).await?;
        Ok(Response::new(v1::PartitionResponse {}))
    }

    async fn pause(
        &self,
        request: Request<v1::PauseRequest>,
    ) -> Result<Response<v1::PauseResponse>, Status> {
        let v1::PauseRequest { node_id, for_ms } = request.into_inner();
        self.controls.pause(node_id, Duration::from_millis(for_ms)).await?;
        Ok(Response::new(v1::PauseResponse {}))
    }

    async fn kill(
        &self,
        request: Request<v1::KillRequest>,
    ) -> Result<Response<v1::KillResponse>, Status> {
        self.controls.kill(request.into_inner().node_id).await?;
        Ok(Response::new(v1::KillResponse {}))
    }

    async fn restart(
        &self,
        request: Request<v1::RestartRequest>,
    ) -> Result<Response<v1::RestartResponse>, Status> {
        self.controls.restart(request.into_inner().node_id).await?;
        Ok(Response::new(v1::RestartResponse {}))
    }

    async fn clock(
        &self,
        request: Request<v1::ClockRequest>,
    ) -> Result<Response<v1::ClockResponse>, Status> {
        let v1::ClockRequest { node_id, ahead_ms } = request.into_inner();
        let Ok(ahead) = u64::try_from(ahead_ms) else {
            let what = "a time of day may run ahead here, not behind".to_owned();
            return Err(Failure::Invalid(what).into());
        };
        self.controls.clock(node_id, Duration::from_millis(ahead)).await?;
        Ok(Response::new(v1::ClockResponse {}))
    }

    async fn faults(
        &self,
        request: Request<v1::FaultsRequest>,
    ) -> Result<Response<v1::FaultsResponse>, Status> {
        self.controls.faults(request.into_inner()).await?;
        Ok(Response::new(v1::FaultsResponse {}))
    }

    async fn reset(
        &self,
        _: Request<v1::ResetRequest>,
    ) -> Result<Response<v1::ResetResponse>, Status> {
        self.controls.reset().await?;
        Ok(Response::new(v1::ResetResponse {}))
    }
}
