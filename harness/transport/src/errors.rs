//! What a client is told when something is not done: a gRPC code, a `google.rpc.ErrorInfo` of the domain `norikv` with a reason and what belongs to it, and, where it
//! helps to ask again, a `google.rpc.RetryInfo`.
//!
//! | reason | code | metadata | may it have happened? |
//! |---|---|---|---|
//! | `NOT_LEADER` | `FAILED_PRECONDITION` | `shard`, `epoch`; if known `leader`, `leader_address`, `term` | no |
//! | `WRONG_SHARD` | `FAILED_PRECONDITION` | `shards` | no |
//! | `VERSION_MISMATCH` | `ABORTED` | `operation`, `actual_version` | no |
//! | `OVERLOADED` | `RESOURCE_EXHAUSTED` | | no |
//! | `DISK_FULL` | `RESOURCE_EXHAUSTED` | | no |
//! | `TOO_LARGE` | `INVALID_ARGUMENT` | `what`, `bytes`, `limit` | no |
//! | `INVALID` | `INVALID_ARGUMENT` | | no |
//! | `TOO_STALE` | `FAILED_PRECONDITION` | `age_max_ms`, and if known `age_ms`; or `version_min` and `version` | no |
//! | `SESSION_EXPIRED` | `FAILED_PRECONDITION` | | long ago |
//! | `OUTCOME_UNKNOWN` | `UNKNOWN` | | yes |
//! | `NOT_READY` | `UNAVAILABLE` | | no |
//! | `STORE` | `INTERNAL` | | no |

use crate::topology::Topology;
use nori_kv::ErrorKind;
use norikv_replica::Refusal;
use std::collections::HashMap;
use std::time::Duration;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of every `ErrorInfo` of this server.
pub const DOMAIN: &str = "norikv";

/// When to ask again where more is under way than may be.
const OVERLOADED_RETRY: Duration = Duration::from_millis(20);
/// And where a leader is being looked for.
const LEADERLESS_RETRY: Duration = Duration::from_millis(50);
/// And where the node begins or ends.
const NOT_READY_RETRY: Duration = Duration::from_millis(200);
/// And where the disk is full: somebody has to make room.
const DISK_FULL_RETRY: Duration = Duration::from_secs(1);

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Another node leads the shard.
    #[error("this node does not lead shard {shard}{}", hint(.leader.as_ref()))]
    NotLeader {
        /// Which.
        shard: u32,
        /// Who does, if that is known: its number, where clients reach it, and in which term.
        leader: Option<(u64, String, u64)>,
        /// Of the map that this node knows.
        epoch: u64,
    },
    /// What is asked for is of several shards.
    #[error("{what}")]
    WrongShard {
        /// What is.
        what: &'static str,
        /// Of which.
        shards: Vec<u32>,
    },
    /// The replica says no.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// More is under way than this node takes.
    #[error("more is under way than this node takes; ask again later")]
    Overloaded,
    /// The client left the pieces of a scan untaken, and with them the room for them. It may go on behind the last row that came.
    #[error(
        "nothing of the scan was taken for {0:?}, and it has ended before its last row; go on behind the last that came"
    )]
    Untaken(Duration),
    /// What is asked for breaks a rule.
    #[error("{0}")]
    Invalid(String),
    /// The node begins, or ends.
    #[error("{0}")]
    NotReady(String),
    /// Nobody knows what came of it.
    #[error("the node or its replica ended before the request did; the outcome is unknown")]
    Unknown,
    /// What is not this client's fault.
    #[error("{0}")]
    Internal(String),
}

fn hint(leader: Option<&(u64, String, u64)>) -> String {
    match leader {
        Some((node, address, _)) => format!("; node {node} at {address} does"),
        None => ", and knows of nobody who does".to_owned(),
    }
}

impl Failure {
    /// That this node does not lead a shard, with whom to ask.
    pub fn not_leader(topology: &Topology, shard: u32, leader: Option<u64>) -> Self {
        let view = topology.shards.get(shard as usize);
        let leader =
            leader.or(view.map(|view| view.leader)).filter(|leader| *leader != topology.me);
        let term = view.map_or(0, |view| view.term);
        let leader = leader
            .and_then(|leader| topology.node(leader))
            .map(|node| (node.node_id, node.client_address.clone(), term));
        Self::NotLeader { shard, leader, epoch: topology.epoch }
    }

    /// What it is called on the wire.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } | Self::Refused(Refusal::NotLeader { .. }) => "NOT_LEADER",
            Self::WrongShard { .. } => "WRONG_SHARD",
            Self::Overloaded | Self::Untaken(_) | Self::Refused(Refusal::Overloaded) => {
                "OVERLOADED"
            }
            Self::Invalid(_) | Self::Refused(Refusal::Invalid { .. }) => "INVALID",
            Self::NotReady(_) => "NOT_READY",
            Self::Unknown | Self::Refused(Refusal::Unknown) => "OUTCOME_UNKNOWN",
            Self::Internal(_) => "STORE",
            Self::Refused(Refusal::VersionMismatch { .. }) => "VERSION_MISMATCH",
            Self::Refused(Refusal::SessionExpired) => "SESSION_EXPIRED",
            Self::Refused(Refusal::TooLarge { .. }) => "TOO_LARGE",
            Self::Refused(Refusal::TooStale { .. } | Refusal::Behind { .. }) => "TOO_STALE",
            Self::Refused(Refusal::Store { kind: ErrorKind::Full, .. }) => "DISK_FULL",
            Self::Refused(Refusal::Store { .. }) => "STORE",
        }
    }

    /// Its gRPC code.
    pub fn code(&self) -> Code {
        match self.reason() {
            "NOT_LEADER" | "WRONG_SHARD" | "TOO_STALE" | "SESSION_EXPIRED" => {
                Code::FailedPrecondition
            }
            "VERSION_MISMATCH" => Code::Aborted,
            "OVERLOADED" | "DISK_FULL" => Code::ResourceExhausted,
            "TOO_LARGE" | "INVALID" => Code::InvalidArgument,
            "NOT_READY" => Code::Unavailable,
            "OUTCOME_UNKNOWN" => Code::Unknown,
            _ => Code::Internal,
        }
    }

    /// When to ask again, where that helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.reason() {
            "OVERLOADED" => Some(OVERLOADED_RETRY),
            "DISK_FULL" => Some(DISK_FULL_RETRY),
            "NOT_READY" => Some(NOT_READY_RETRY),
            "NOT_LEADER" => match self {
                Self::NotLeader { leader: Some(_), .. } => Some(Duration::ZERO),
                _ => Some(LEADERLESS_RETRY),
            },
            _ => None,
        }
    }

    /// What belongs to it.
    pub fn metadata(&self) -> HashMap<String, String> {
        let mut all = HashMap::new();
        let mut put = |name: &str, value: String| {
            all.insert(name.to_owned(), value);
        };
        match self {
            Self::NotLeader { shard, leader, epoch } => {
                put("shard", shard.to_string());
                put("epoch", epoch.to_string());
                if let Some((node, address, term)) = leader {
                    put("leader", node.to_string());
                    put("leader_address", address.clone());
                    put("term", term.to_string());
                }
            }
            Self::WrongShard { shards, .. } => {
                let shards: Vec<String> = shards.iter().map(u32::to_string).collect();
                put("shards", shards.join(","));
            }
            Self::Refused(Refusal::VersionMismatch { operation, actual }) => {
                put("operation", operation.to_string());
                put("actual_version", actual.to_string());
            }
            Self::Refused(Refusal::TooLarge { what, bytes, bytes_max }) => {
                put("what", (*what).to_owned());
                put("bytes", bytes.to_string());
                put("limit", bytes_max.to_string());
            }
            Self::Refused(Refusal::TooStale { age, age_max }) => {
                put("age_max_ms", age_max.as_millis().to_string());
                if let Some(age) = age {
                    put("age_ms", age.as_millis().to_string());
                }
            }
            Self::Refused(Refusal::Behind { version_min, version }) => {
                put("version_min", version_min.to_string());
                put("version", version.to_string());
            }
            _ => {}
        }
        all
    }
}

impl From<Failure> for Status {
    fn from(failure: Failure) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(failure.reason(), DOMAIN, failure.metadata());
        if let Some(after) = failure.retry_after() {
            details.set_retry_info(Some(after));
        }
        Self::with_error_details(failure.code(), failure.to_string(), details)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{NodeState, NodeView, ShardView};

    fn topology() -> Topology {
        let node = |node_id: u64| NodeView {
            node_id,
            name: format!("n{node_id}"),
            client_address: format!("127.0.0.1:{node_id}"),
            peer_address: String::new(),
            swim_address: String::new(),
            http_address: String::new(),
            zone: "a".to_owned(),
            weight: 1,
            state: NodeState::Up,
        };
        let shard = ShardView {
            shard: 0,
            voters: vec![1, 2],
            learners: vec![],
            leader: 2,
            term: 7,
            role: Some("follower"),
        };
        Topology {
            me: 1,
            epoch: 4,
            nodes: vec![node(1), node(2)],
            shards: vec![shard],
            ..Topology::default()
        }
    }

    #[test]
    fn who_does_not_lead_names_who_does() {
        let status = Status::from(Failure::not_leader(&topology(), 0, None));
        assert_eq!(status.code(), Code::FailedPrecondition);
        let details = status.get_error_details();
        let info = details.error_info().unwrap();
        assert_eq!((info.domain.as_str(), info.reason.as_str()), (DOMAIN, "NOT_LEADER"));
        assert_eq!(info.metadata["leader_address"], "127.0.0.1:2");
        assert_eq!((&info.metadata["term"][..], &info.metadata["epoch"][..]), ("7", "4"));
        // Somebody who names this node is wrong: it would send the client in a circle.
        let own = Failure::not_leader(&topology(), 0, Some(1));
        assert!(matches!(own, Failure::NotLeader { leader: None, .. }), "{own:?}");
    }

    #[test]
    fn a_full_disk_and_a_wrong_version_say_what_to_do() {
        let what = "no space".to_owned();
        let full = Failure::Refused(Refusal::Store { kind: ErrorKind::Full, what });
        assert_eq!((full.reason(), full.code()), ("DISK_FULL", Code::ResourceExhausted));
        assert!(full.retry_after().is_some());
        let wrong = Failure::Refused(Refusal::VersionMismatch { operation: 0, actual: 9 });
        assert_eq!(wrong.metadata()["actual_version"], "9");
        assert_eq!(wrong.retry_after(), None);
    }
}
