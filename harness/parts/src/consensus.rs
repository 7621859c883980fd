//! The registries of replication: protocols, and logs for them.

use crate::PartsError;
use nori_consensus::{ConsensusFactory, Settings, Solo};
use nori_consensus_adapters::{OpenRaft, RaftRs};
use nori_env::{Fs, Tasks};
use nori_observe::Meter;
use nori_raft::NoriRaft;
use nori_raft_log::{LogError, LogOptions, NodeLog};
use std::path::Path;
use std::sync::Arc;

/// The protocols there are, the usual one first, with a line on each.
pub const PROTOCOLS: [(&str, &str); 4] = [
    ("nori", "our Raft: pre-vote, leases, parallel append, joint changes, groups that sleep"),
    ("raft-rs", "TiKV's Raft library behind the same seam"),
    ("openraft", "databend's Raft library behind the same seam"),
    ("solo", "no replication at all: one replica, which agrees with itself"),
];

/// The protocol called `name`, with these settings.
///
/// # Errors
///
/// If there is none, with the nearest name there is; if it cannot be set so.
pub fn consensus(name: &str, settings: Settings) -> Result<Arc<dyn ConsensusFactory>, PartsError> {
    let factory: Arc<dyn ConsensusFactory> = match name {
        "nori" => Arc::new(NoriRaft::new(settings).map_err(PartsError::Invalid)?),
        "raft-rs" => Arc::new(RaftRs::new(settings).map_err(PartsError::Invalid)?),
        "openraft" => Arc::new(OpenRaft::new(settings).map_err(PartsError::Invalid)?),
        "solo" => Arc::new(Solo),
        _ => return Err(PartsError::unknown("consensus", name, PROTOCOLS.map(|(name, _)| name))),
    };
    Ok(factory)
}

/// Opens the log of a node, of the kind called `name`, in `dir`.
///
/// # Errors
///
/// If there is no such kind, with the nearest name there is; as the inner result, what the log says.
pub fn node_log(
    name: &str,
    dir: &Path,
    fs: Arc<dyn Fs>,
    tasks: Arc<dyn Tasks>,
    meter: Arc<dyn Meter>,
    options: LogOptions,
) -> Result<Result<Arc<dyn NodeLog>, LogError>, PartsError> {
    let known = nori_raft_log::KINDS.map(|(name, _)| name);
    nori_raft_log::open(name, dir, fs, tasks, meter, options)
        .ok_or_else(|| PartsError::unknown("log", name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_is_built_and_bears_its_name() {
        for (name, about) in PROTOCOLS {
            assert_eq!(consensus(name, Settings::default()).unwrap().name(), name);
            assert!(!about.is_empty() && !about.contains('\n'));
        }
        let error = consensus("openrat", Settings::default()).err().unwrap().to_string();
        assert_eq!(error, "no consensus is called `openrat`; did you mean `openraft`?");
        let heartbeat = Settings::default().election_min;
        let slow = Settings { heartbeat, ..Settings::default() };
        assert!(consensus("nori", slow).err().unwrap().to_string().contains("heartbeats"));
    }
}
