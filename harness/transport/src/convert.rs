//! The words of the wire, and the house's own for the same.

use crate::errors::Failure;
use crate::topology::{NodeState, NodeView, ShardView, Topology};
use bytes::Bytes;
use nori_kv::Tick;
use norikv_proto::v1;
use norikv_replica::{Condition, Freshness, Identity, KeyChange, Session};
use std::time::Duration;

pub(crate) fn freshness(read: Option<v1::ReadOptions>) -> Result<Freshness, Failure> {
    let read = read.unwrap_or_default();
    let is_bound = read.age_max_ms.is_some() || read.version_min > 0;
    let consistency = v1::Consistency::try_from(read.consistency)
        .map_err(|_| Failure::Invalid(format!("there is no consistency {}", read.consistency)))?;
    match consistency {
        v1::Consistency::Stale => Ok(Freshness::Stale {
            age_max: read.age_max_ms.map(Duration::from_millis),
            version_min: read.version_min,
        }),
        _ if is_bound => {
            Err(Failure::Invalid("bounds of age and version are for stale reads".into()))
        }
        v1::Consistency::Linearizable => Ok(Freshness::Linearizable),
        v1::Consistency::Unspecified | v1::Consistency::Lease => Ok(Freshness::Lease),
    }
}

pub(crate) fn condition(condition: Option<v1::Condition>) -> Condition {
    use v1::condition::What;
    match condition.and_then(|condition| condition.what) {
        None | Some(What::IfAbsent(false)) => Condition::None,
        Some(What::IfAbsent(true)) => Condition::Absent,
        Some(What::IfVersion(version)) => Condition::Version(version),
    }
}

pub(crate) fn identity(identity: Option<v1::Identity>) -> Result<Option<Identity>, Failure> {
    use v1::identity::Name;
    let Some(identity) = identity else { return Ok(None) };
    let issued_at = Tick(identity.issued_at_ms);
    match identity.name {
        None => Err(Failure::Invalid("an identity without a name".to_owned())),
        Some(Name::IdempotencyKey(key)) => {
            Ok(Some(Identity::Key { issued_at, key: Bytes::from(key) }))
        }
        Some(Name::Session(v1::Session { client, sequence })) => {
            Ok(Some(Identity::Session(Session { issued_at, client, sequence })))
        }
    }
}

/// Zero is no time to live.
pub(crate) fn ttl(ttl_ms: u64) -> Option<Duration> {
    (ttl_ms > 0).then(|| Duration::from_millis(ttl_ms))
}

pub(crate) fn change(change: v1::Change) -> Result<KeyChange, Failure> {
    use v1::change::What;
    let (value, ttl) = match change.what {
        Some(What::Put(put)) => (Some(put.value), ttl(put.ttl_ms)),
        Some(What::Delete(_)) => (None, None),
        None => return Err(Failure::Invalid("a change that is neither put nor delete".to_owned())),
    };
    Ok(KeyChange { key: change.key, condition: condition(change.condition), value, ttl })
}

pub(crate) fn topology(of: &Topology) -> v1::Topology {
    v1::Topology {
        cluster_id: of.cluster_id,
        cluster_name: of.cluster_name.clone(),
        epoch: of.epoch,
        nodes: of.nodes.iter().map(node).collect(),
        shards: of.shards.iter().map(shard).collect(),
    }
}

pub(crate) fn node(of: &NodeView) -> v1::Node {
    let state = match of.state {
        NodeState::Up => v1::NodeState::Up,
        NodeState::Suspect => v1::NodeState::Suspect,
        NodeState::Down => v1::NodeState::Down,
        NodeState::Draining => v1::NodeState::Draining,
        NodeState::Unheard => v1::NodeState::Unheard,
    };
    v1::Node {
        node_id: of.node_id,
        name: of.name.clone(),
        client_address: of.client_address.clone(),
        http_address: of.http_address.clone(),
        zone: of.zone.clone(),
        state: state.into(),
    }
}

pub(crate) fn shard(of: &ShardView) -> v1::Shard {
    v1::Shard {
        shard: of.shard,
        voters: of.voters.clone(),
        learners: of.learners.clone(),
        leader: of.leader,
        term: of.term,
    }
}
