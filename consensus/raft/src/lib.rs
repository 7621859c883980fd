//! Raft, without a world of its own: elections with pre-vote and check-quorum, parallel and pipelined replication, learners and joint
//! membership, hand-over, priorities, reads by index and by lease, snapshots, sleep.
//!
//! Sources: Ongaro and Ousterhout, "In search of an understandable consensus algorithm" (2014); Ongaro, "Consensus: bridging theory and
//! practice" (2014). `docs/consensus.md` tells the protocol message by message.
//!
//! What it promises is the contract of [`Consensus`]. It knows no clock, disk or network; those are its driver's.

mod candidate;
mod codec;
mod configs;
mod core;
mod follower;
mod leader;
mod lease;
mod log;
mod message;
mod progress;
mod quorum;
mod reads;
mod replica;

use crate::codec::{Config, HardState};
use crate::configs::Configs;
use crate::core::{Beginning, Core};
use crate::log::Log;
use bytes::Bytes;
use nori_consensus::{
    Boot, BootError, Capabilities, Consensus, ConsensusFactory, EntryKind, Feature, Index,
    LeaseKind, Membership, Settings, Slice,
};
use std::sync::Arc;

/// Makes replicas of the protocol `nori`.
#[derive(Clone, Debug)]
pub struct NoriRaft {
    settings: Settings,
}

impl NoriRaft {
    /// By these numbers.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub fn new(settings: Settings) -> Result<Self, String> {
        match settings.fault() {
            Some(fault) => Err(fault),
            None => Ok(Self { settings }),
        }
    }
}

impl NoriRaft {
    /// A replica as what it is: who drives only this protocol can spare the indirection of the seam.
    ///
    /// # Errors
    ///
    /// As [`ConsensusFactory::boot`].
    pub fn replica(&self, boot: &Boot) -> Result<impl Consensus + use<>, BootError> {
        let shard = boot.shard;
        let unreadable = |what, why: codec::Unreadable| BootError::Unreadable {
            shard,
            what,
            why: why.to_string(),
        };
        let hard = HardState::decode(&boot.hard_state).map_err(|e| unreadable("hard state", e))?;
        let base = Config::decode(&boot.membership).map_err(|e| unreadable("membership", e))?;
        let log = Log::new(Arc::clone(&boot.log));
        let inconsistent = |why: String| BootError::Inconsistent { shard, why };
        if log.last().index < boot.applied {
            let why = format!("{} is applied and the log ends at {}", boot.applied, log.last());
            return Err(inconsistent(why));
        }
        if log.last().term > hard.term {
            let why = format!("the log ends at {} and the term is {}", log.last(), hard.term);
            return Err(inconsistent(why));
        }
        let mut configs = Configs::new(base);
        for config in memberships(&log, boot.applied).map_err(inconsistent)? {
            configs.push(config);
        }
        let with = Beginning { hard, log, configs, applied: boot.applied };
        let core = Core::new(boot, self.settings.clone(), with);
        Ok(replica::Replica::new(core))
    }
}

impl ConsensusFactory for NoriRaft {
    fn name(&self) -> &'static str {
        "nori"
    }

    fn capabilities(&self) -> Capabilities {
        let has = |feature: &Feature| match feature {
            Feature::Quiescence => self.settings.quiesce_after.is_some(),
            Feature::Lease => self.settings.lease != LeaseKind::Off,
            Feature::ExclusiveLease => self.settings.lease == LeaseKind::Quorum,
            _ => true,
        };
        Capabilities::of(Feature::ALL.into_iter().filter(has))
    }

    fn founding(&self, membership: &Membership) -> Bytes {
        Config { membership: Arc::new(membership.clone()), ..Config::default() }.encode()
    }

    fn describe(&self, message: &Bytes) -> String {
        match message::Message::decode(message) {
            Ok(message) => message.to_string(),
            Err(why) => format!("{} bytes that say nothing: {why}", message.len()),
        }
    }

    fn boot(&self, boot: Boot) -> Result<Box<dyn Consensus>, BootError> {
        Ok(Box::new(self.replica(&boot)?))
    }
}

/// The memberships of the entries above `applied`.
fn memberships(log: &Log, applied: Index) -> Result<Vec<Config>, String> {
    let mut found = Vec::new();
    let (mut from, upto) = (applied.next(), log.last().index.next());
    while from < upto {
        let Slice::Ready(entries) = log.slice(from, upto, usize::MAX) else {
            return Err(format!("entry {from} is above what is applied and not at hand"));
        };
        for entry in entries {
            from = entry.id.index.next();
            if entry.kind == EntryKind::Config {
                let config = Config::decode(&entry.payload);
                let config = config.map_err(|e| format!("entry {}: {e}", entry.id))?;
                found.push(config.at(entry.id.index));
            }
        }
    }
    Ok(found)
}
