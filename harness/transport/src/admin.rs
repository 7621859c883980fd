//! The service `Admin`: what operators do.
//!
//! What changes the map is decided by the node that conducts; another one says which that is. What is asked of a replica is asked of the node that has it.

use crate::convert;
use crate::errors::Failure;
use crate::serve::About;
use crate::serving::{Serving, blocking, internal, not_founded};
use crate::topology::{NodeState, NodeView, role_name};
use nori_consensus::ShardId;
use nori_kv::{Engine, KeyRange};
use norikv_node::Refused;
use norikv_placement::{Change, MemberState, NodeId, PlacementError, Step, Weight};
use norikv_proto::v1;
use norikv_proto::v1::admin_server::Admin;
use norikv_replica::{Freshness, View};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use tonic::{Request, Response, Status};
use xxhash_rust::xxh3::Xxh3Default;

/// What operators do.
#[derive(Clone)]
pub struct AdminService {
    serving: Serving,
    about: Arc<About>,
}

impl AdminService {
    /// The service, on a node of which this is so.
    pub fn new(serving: Serving, about: Arc<About>) -> Self {
        Self { serving, about }
    }

    async fn decide(&self, change: Change) -> Result<(), Failure> {
        self.serving.handle().decide(change).await.map_err(|refused| self.refused(&refused))
    }

    fn refused(&self, refused: &Refused) -> Failure {
        let topology = self.serving.handle().topology();
        match refused {
            Refused::NotConductor { conductor } => {
                let shard = topology.shards.len() as u32;
                Failure::not_leader(&topology, shard, conductor.map(|node| node.0))
            }
            // It is on its way.
            Refused::Placement(error @ PlacementError::StillHolds { node, .. })
                if topology.node(node.0).is_some_and(|node| {
                    !matches!(node.state, NodeState::Up | NodeState::Suspect)
                }) =>
            {
                Failure::NotReady(error.to_string())
            }
            Refused::Placement(error) => Failure::Invalid(error.to_string()),
            Refused::Unknown => Failure::Unknown,
        }
    }

    /// A member. That there is none only the conductor can say: others may not have heard of it yet.
    async fn member(&self, node: u64) -> Result<NodeView, Failure> {
        let topology = self.serving.handle().topology();
        if let Some(known) = topology.node(node) {
            return Ok(known.clone());
        }
        let ask = |node: &mut norikv_node::Node, _| {
            let member = node.member()?;
            let map_shard = ShardId(u64::from(member.client_shards()));
            Some((member.conducts(), member.leader(map_shard).1))
        };
        let (conducts, conductor) =
            self.serving.handle().ask(ask).await.flatten().ok_or_else(not_founded)?;
        if conducts {
            return Err(Failure::Invalid(format!("no member has the number {node}")));
        }
        Err(self.refused(&Refused::NotConductor { conductor }))
    }

    async fn set_state(&self, node: u64, state: MemberState) -> Result<(), Failure> {
        let weight = Weight::new(self.member(node).await?.weight).map_err(internal)?;
        self.decide(Change::Alter { node: NodeId(node), weight, state }).await
    }

    async fn engine(&self, shard: u32) -> Result<Arc<dyn Engine>, Failure> {
        let shard = ShardId(u64::from(shard));
        let ask = move |node: &mut norikv_node::Node, _| node.member()?.replicas().engine(shard);
        let engine = self.serving.handle().ask(ask).await.ok_or_else(not_founded)?;
        engine.ok_or_else(|| {
            Failure::Invalid(format!("this node has no replica of shard {}", shard.0))
        })
    }

    async fn replicas(&self, only: Option<u32>) -> Result<Vec<v1::Replica>, Failure> {
        let ask = move |node: &mut norikv_node::Node, _| {
            let replicas = node.member()?.replicas();
            let wanted = replicas
                .shards()
                .filter(|(shard, _)| only.is_none_or(|only| shard.0 == u64::from(only)));
            Some(
                wanted
                    .map(|(shard, status)| v1::Replica {
                        shard: shard.0 as u32,
                        role: role_name(status.role).to_owned(),
                        term: status.term.0,
                        leader: status.leader.map_or(0, |node| node.0),
                        commit_index: status.commit.0,
                        applied_index: replicas.applied(shard).map_or(0, |at| at.index.0),
                        durable_index: replicas.safe(shard).map_or(0, |at| at.index.0),
                        last_index: status.last.index.0,
                    })
                    .collect(),
            )
        };
        self.serving.handle().ask(ask).await.flatten().ok_or_else(not_founded)
    }
}

/// A digest of rows and their number.
fn digest(view: &View) -> Result<(u64, u64), Failure> {
    let (mut hash, mut rows) = (Xxh3Default::new(), 0u64);
    let mut take = |key: &[u8], version: u64, value: &[u8]| {
        // With their lengths, so that no two lists of rows are the same bytes.
        for part in [key, &version.to_le_bytes()[..], value] {
            hash.update(&(part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        rows += 1;
        ControlFlow::Continue(())
    };
    view.scan(b"", None, &mut take).map_err(internal)?;
    Ok((rows, hash.digest()))
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn list_members(
        &self,
        _: Request<v1::ListMembersRequest>,
    ) -> Result<Response<v1::ListMembersResponse>, Status> {
        let topology = self.serving.handle().topology();
        let ask = |node: &mut norikv_node::Node, _| Some(node.member()?.swim_status());
        let status = self.serving.handle().ask(ask).await.flatten().ok_or_else(not_founded)?;
        let mut lives: BTreeMap<u64, (u64, u64)> = status
            .members
            .iter()
            .map(|of| (of.identity.node.0, (of.identity.generation.0, of.incarnation.0)))
            .collect();
        let own = (status.identity.generation.0, status.incarnation.0);
        lives.insert(status.identity.node.0, own);
        let member = |view: &NodeView| {
            // Of one that was never heard of there is nothing to say.
            let (generation, incarnation) = lives.get(&view.node_id).copied().unwrap_or_default();
            v1::Member {
                node: Some(convert::node(view)),
                generation,
                incarnation,
                peer_address: view.peer_address.clone(),
                swim_address: view.swim_address.clone(),
                weight: view.weight,
            }
        };
        let members = topology.nodes.iter().map(member).collect();
        Ok(Response::new(v1::ListMembersResponse { members }))
    }

    async fn node_status(
        &self,
        _: Request<v1::NodeStatusRequest>,
    ) -> Result<Response<v1::NodeStatusResponse>, Status> {
        let topology = self.serving.handle().topology();
        let here = || topology.shards.iter().filter(|shard| shard.role.is_some());
        let uptime = self.about.started.elapsed().as_millis();
        Ok(Response::new(v1::NodeStatusResponse {
            node_id: topology.me,
            version: self.about.version.clone(),
            uptime_ms: u64::try_from(uptime).unwrap_or(u64::MAX),
            epoch: topology.epoch,
            replicas: here().count() as u32,
            leads: here().filter(|shard| shard.leader == topology.me).count() as u32,
            durability: self.about.durability.clone(),
            sentence: topology.sentence(),
        }))
    }

    async fn list_replicas(
        &self,
        request: Request<v1::ListReplicasRequest>,
    ) -> Result<Response<v1::ListReplicasResponse>, Status> {
        let replicas = self.replicas(request.into_inner().shard).await?;
        Ok(Response::new(v1::ListReplicasResponse { replicas }))
    }

    async fn drain_node(
        &self,
        request: Request<v1::DrainNodeRequest>,
    ) -> Result<Response<v1::DrainNodeResponse>, Status> {
        self.set_state(request.into_inner().node_id, MemberState::Draining).await?;
        Ok(Response::new(v1::DrainNodeResponse {}))
    }

    async fn undrain_node(
        &self,
        request: Request<v1::UndrainNodeRequest>,
    ) -> Result<Response<v1::UndrainNodeResponse>, Status> {
        self.set_state(request.into_inner().node_id, MemberState::Active).await?;
        Ok(Response::new(v1::UndrainNodeResponse {}))
    }

    async fn remove_node(
        &self,
        request: Request<v1::RemoveNodeRequest>,
    ) -> Result<Response<v1::RemoveNodeResponse>, Status> {
        let v1::RemoveNodeRequest { node_id, is_dead } = request.into_inner();
        self.member(node_id).await?;
        if is_dead {
            // What it held is made anew elsewhere; until that is done, it stays a member.
            self.set_state(node_id, MemberState::Draining).await?;
        }
        self.decide(Change::Leave(NodeId(node_id))).await?;
        Ok(Response::new(v1::RemoveNodeResponse {}))
    }

    async fn transfer_leader(
        &self,
        request: Request<v1::TransferLeaderRequest>,
    ) -> Result<Response<v1::TransferLeaderResponse>, Status> {
        let v1::TransferLeaderRequest { shard, to } = request.into_inner();
        let (shard, node) = (norikv_placement::ShardId(shard), NodeId(to));
        self.decide(Change::Step(Step::TransferLeader { shard, node })).await?;
        Ok(Response::new(v1::TransferLeaderResponse {}))
    }

    async fn move_shard(
        &self,
        request: Request<v1::MoveShardRequest>,
    ) -> Result<Response<v1::MoveShardResponse>, Status> {
        let v1::MoveShardRequest { shard, voters } = request.into_inner();
        // In whichever order they are named.
        let voters: BTreeSet<NodeId> = voters.into_iter().map(NodeId).collect();
        let voters = voters.into_iter().collect();
        self.decide(Change::Retarget(vec![(norikv_placement::ShardId(shard), voters)])).await?;
        Ok(Response::new(v1::MoveShardResponse { epoch: self.serving.handle().topology().epoch }))
    }

    async fn checksum(
        &self,
        request: Request<v1::ChecksumRequest>,
    ) -> Result<Response<v1::ChecksumResponse>, Status> {
        let shard = request.into_inner().shard;
        let what_is_here = Freshness::Stale { age_max: None, version_min: 0 };
        let view = self.serving.view(shard, what_is_here).await?;
        let index = view.at().index.0;
        let (rows, digest) = blocking(move || digest(&view)).await??;
        Ok(Response::new(v1::ChecksumResponse { index, rows, digest }))
    }

    async fn flush(
        &self,
        request: Request<v1::FlushRequest>,
    ) -> Result<Response<v1::FlushResponse>, Status> {
        let engine = self.engine(request.into_inner().shard).await?;
        blocking(move || engine.maintain().map_or(Ok(()), nori_kv::Maintain::flush))
            .await?
            .map_err(internal)?;
        Ok(Response::new(v1::FlushResponse {}))
    }

    async fn compact(
        &self,
        request: Request<v1::CompactRequest>,
    ) -> Result<Response<v1::CompactResponse>, Status> {
        let engine = self.engine(request.into_inner().shard).await?;
        let compact =
            move || engine.maintain().map_or(Ok(()), |maintain| maintain.compact(&KeyRange::all()));
        blocking(compact).await?.map_err(internal)?;
        Ok(Response::new(v1::CompactResponse {}))
    }
}
