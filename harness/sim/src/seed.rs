//! One seed from beginning to end, and what it showed.

use crate::storm::{Climate, Storm};
use anyhow::{Result, anyhow, bail};
use nori_consensus::world::{Violation, World};
use nori_consensus::{ConsensusFactory, Settings, Solo};
use nori_consensus_adapters::RaftRs;
use nori_raft::NoriRaft;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The protocols that are simulated, by name.
pub(crate) const PROTOCOLS: [&str; 3] = ["nori", "raft-rs", "solo"];

/// What a seed showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Two runs of the seed have the same.
    pub(crate) digest: u64,
    /// World time, in milliseconds.
    pub(crate) simulated_ms: u64,
    pub(crate) proposals: u64,
    /// How often each kind of thing happened.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The law that was broken, if one was.
    pub(crate) violation: Option<String>,
}

/// The factory of `protocol` with these settings.
fn factory(protocol: &str, settings: Settings) -> Result<Arc<dyn ConsensusFactory>> {
    Ok(match protocol {
        "nori" => Arc::new(NoriRaft::new(settings).map_err(|fault| anyhow!(fault))?),
        "raft-rs" => Arc::new(RaftRs::new(settings).map_err(|fault| anyhow!(fault))?),
        "solo" => Arc::new(Solo),
        other => bail!("no protocol is called `{other}`, only {}", PROTOCOLS.join(", ")),
    })
}

/// Plays `seed` for `time`, in words too if they are wanted; the words come second.
///
/// # Errors
///
/// If there is no such protocol.
pub(crate) fn play(
    protocol: &str,
    seed: u64,
    time: Duration,
    is_told: bool,
) -> Result<(Shown, Vec<String>)> {
    let climate = Climate::of(seed);
    let factory = factory(protocol, climate.settings.clone())?;
    let nodes = if protocol == "solo" { 1 } else { climate.nodes };
    let world = World::new(&factory, seed, nodes).map_err(|violation| anyhow!("{violation}"))?;
    let mut storm = Storm::new(world, climate, factory.capabilities());
    if is_told {
        storm.world_mut().chronicle.keep_lines();
    }
    let outcome = storm.play(time);
    let world = storm.world();
    let counts = world.chronicle.counts().iter();
    let shown = Shown {
        digest: world.chronicle.digest(),
        simulated_ms: world.time().nanos / 1_000_000,
        proposals: storm.proposals(),
        counts: counts.map(|(what, count)| ((*what).to_owned(), *count)).collect(),
        violation: outcome.err().map(|violation: Violation| violation.to_string()),
    };
    Ok((shown, world.chronicle.lines().to_vec()))
}

/// The same, with a protocol that panics as one that breaks a law.
///
/// # Errors
///
/// If there is no such protocol.
pub(crate) fn play_through(protocol: &str, seed: u64, time: Duration) -> Result<Shown> {
    match std::panic::catch_unwind(|| play(protocol, seed, time, false)) {
        Ok(played) => Ok(played?.0),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("");
            let violation = format!("assertion: {}", text.lines().next().unwrap_or(""));
            Ok(Shown { violation: Some(violation), ..Shown::default() })
        }
    }
}
