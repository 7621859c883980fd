//! A bare server: tonic's own with nothing behind it, which answers at once. What the wire alone costs.
//!
//! It speaks the calls of an etcd and is asked as one is, through the same channel ([`super::etcd`]): what a cluster does beyond it is the difference. One process, no files, and the one value that was put last: what is read
//! is as long as what is written, and nothing is looked up.

use super::etcd::pb::kv_server::{Kv, KvServer};
use super::etcd::{self, pb};
use super::nodes::{self, Nodes};
use super::store::Store;
use crate::registry::Opened;
use anyhow::{Context as _, Result};
use bytes::Bytes;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tonic::{Request, Response, Status};

const PORT: u16 = 2379;

/// Starts it; its lines go into a file in `dir`.
pub(super) fn start(dir: &Path) -> Result<Opened> {
    nodes::check_free(1, &[PORT], &[])?;
    let at = SocketAddr::from((nodes::address(0), PORT));
    let mut nodes = Nodes::new();
    let args = ["echo".to_owned(), at.to_string()];
    nodes.start(&dir.join("node-0"), &std::env::current_exe()?, &args)?;
    nodes.wait_for("its port", || std::net::TcpStream::connect(at).ok())?;
    let requests = etcd::connect(&at.to_string(), false)?;
    Ok(Opened::remote(Store::new(requests, super::runtime()?, nodes)))
}

/// Is the server, until it is killed. Its threads are as many as a node of ours has for its connections.
pub(crate) fn serve(at: SocketAddr) -> Result<()> {
    super::runtime()?.block_on(async {
        let service = KvServer::new(Echo::default());
        let server = tonic::transport::Server::builder().tcp_nodelay(true).add_service(service);
        server.serve(at).await.with_context(|| format!("listening at {at}"))
    })
}

/// Its state: what was put last.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Bytes>>);

impl Echo {
    fn last(&self) -> Bytes {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl Kv for Echo {
    async fn range(
        &self,
        request: Request<pb::RangeRequest>,
    ) -> Result<Response<pb::RangeResponse>, Status> {
        let pair = pb::KeyValue {
            key: request.into_inner().key,
            value: self.last(),
            ..pb::KeyValue::default()
        };
        Ok(Response::new(pb::RangeResponse {
            kvs: vec![pair],
            count: 1,
            ..pb::RangeResponse::default()
        }))
    }

    async fn put(
        &self,
        request: Request<pb::PutRequest>,
    ) -> Result<Response<pb::PutResponse>, Status> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = request.into_inner().value;
        Ok(Response::new(pb::PutResponse::default()))
    }

    async fn delete_range(
        &self,
        _request: Request<pb::DeleteRangeRequest>,
    ) -> Result<Response<pb::DeleteRangeResponse>, Status> {
        Ok(Response::new(pb::DeleteRangeResponse { deleted: 1, ..Default::default() }))
    }
}
