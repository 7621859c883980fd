//! openraft's network: each request is a message, and its answer another.

use super::message::Body;
use super::runtime::Runtime;
use super::shared::Shared;
use super::storage::{Handle, TheirSnapshot};
use super::types::{TheirVote, Types, our_id};
use nori_consensus::NodeId;
use openraft::async_runtime::{AsyncRuntime, Select2};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use std::future::Future;
use std::rc::Rc;
use thiserror::Error;

#[derive(Debug, Error)]
#[error("no answer came")]
struct NoAnswer;

fn unreachable() -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::new(&NoAnswer))
}

pub(super) struct Network(pub(super) Rc<Shared>);

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, _: &()) -> Peer {
        Peer { shared: Rc::clone(&self.0), to: NodeId(target) }
    }
}

pub(super) struct Peer {
    shared: Rc<Shared>,
    to: NodeId,
}

impl Peer {
    async fn ask(&self, body: Body, option: &RPCOption) -> Result<Body, RPCError<Types>> {
        let answer = self.shared.call(self.to, body);
        let answer = Runtime::timeout(option.hard_ttl(), answer).await;
        self.shared.sweep();
        answer.ok().flatten().ok_or_else(unreachable)
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = Handle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        match self.ask(Body::Append(request), &option).await? {
            Body::Appended(answer) => Ok(answer),
            _ => Err(unreachable()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(Body::Vote(request), &option).await? {
            Body::Voted(answer) => Ok(answer),
            _ => Err(unreachable()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        match self.ask(Body::PreVote(request), &option).await? {
            Body::PreVoted(answer) => Ok(answer),
            _ => Err(unreachable()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: TheirVote,
        snapshot: TheirSnapshot,
        cancel: impl Future<Output = ReplicationClosed> + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let at_least = our_id(snapshot.meta.last_log_id.as_ref()).index;
        let answer = self.shared.ship(self.to, Body::Snapshot(vote), at_least);
        let answer = Runtime::timeout(option.hard_ttl(), answer);
        let answer = Runtime::select2(answer, cancel).await;
        self.shared.sweep();
        match answer {
            Select2::First(Ok(Some(Body::Installed(answer)))) => Ok(answer),
            Select2::First(_) => Err(StreamingError::Unreachable(Unreachable::new(&NoAnswer))),
            Select2::Second(closed) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        match self.ask(Body::Transfer(request), &option).await? {
            Body::Transferred(answer) => Ok(answer),
            _ => Err(unreachable()),
        }
    }
}
