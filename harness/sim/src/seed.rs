//! One seed from beginning to end, and what it showed.

use crate::cluster;
use crate::out::unknown;
use crate::storm::{Climate, Storm};
use anyhow::{Result, anyhow, bail};
use nori_consensus::world::{Occurrence, Violation, World};
use nori_consensus::{ConsensusFactory, Settings, Solo};
use nori_consensus_adapters::{OpenRaft, RaftRs};
use nori_raft::NoriRaft;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// The protocols that are simulated, by name.
pub(crate) const PROTOCOLS: [&str; 4] = ["nori", "raft-rs", "openraft", "solo"];

/// What a seed showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Shown {
    /// Two runs of the seed have the same.
    pub(crate) digest: u64,
    /// World time, in milliseconds.
    pub(crate) simulated_ms: u64,
    pub(crate) proposals: u64,
    /// How often each kind of thing happened; zero of what never did.
    pub(crate) counts: BTreeMap<String, u64>,
    /// The law that was broken, if one was.
    pub(crate) violation: Option<String>,
}

/// What is played.
#[derive(Clone, Debug)]
pub(crate) enum Game {
    /// Ring 1: groups of one protocol.
    Groups(String),
    /// Ring 2: whole nodes.
    Nodes,
}

impl Game {
    /// # Errors
    ///
    /// If there is no such protocol in that ring.
    pub(crate) fn new(ring: u8, protocol: &str) -> Result<Self> {
        let known: &[&str] = if ring == 1 { &PROTOCOLS } else { &PROTOCOLS[..1] };
        if !known.contains(&protocol) {
            bail!(unknown("protocol", protocol, known));
        }
        Ok(if ring == 1 { Self::Groups(protocol.to_owned()) } else { Self::Nodes })
    }

    /// What its campaigns are called.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Groups(protocol) => protocol,
            Self::Nodes => "nodes",
        }
    }

    /// What plays it on a command line.
    pub(crate) fn arguments(&self) -> String {
        match self {
            Self::Groups(protocol) => format!("--protocol {protocol}"),
            Self::Nodes => "--ring 2".to_owned(),
        }
    }

    /// Plays a seed.
    ///
    /// # Errors
    ///
    /// If it cannot be begun.
    pub(crate) fn play(
        &self,
        seed: u64,
        time: Duration,
        is_told: bool,
    ) -> Result<(Shown, Vec<String>)> {
        match self {
            Self::Groups(protocol) => play(protocol, seed, time, is_told),
            Self::Nodes => Ok(play_nodes(seed, time, is_told)),
        }
    }
}

fn play_nodes(seed: u64, time: Duration, is_told: bool) -> (Shown, Vec<String>) {
    let played = catch_unwind(AssertUnwindSafe(|| cluster::play(seed, time, is_told)));
    match played {
        Ok(played) => {
            let shown = Shown {
                digest: played.digest,
                simulated_ms: played.simulated_ms,
                proposals: played.operations,
                counts: played.counts,
                violation: played.violation,
            };
            (shown, played.lines)
        }
        Err(_) => (Shown { violation: Some(PANIC.take()), ..Shown::default() }, Vec::new()),
    }
}

/// The factory of `protocol` with these settings.
pub(crate) fn factory(protocol: &str, settings: Settings) -> Result<Arc<dyn ConsensusFactory>> {
    Ok(match protocol {
        "nori" => Arc::new(NoriRaft::new(settings).map_err(|fault| anyhow!(fault))?),
        "raft-rs" => Arc::new(RaftRs::new(settings).map_err(|fault| anyhow!(fault))?),
        "openraft" => Arc::new(OpenRaft::new(settings).map_err(|fault| anyhow!(fault))?),
        "solo" => Arc::new(Solo),
        other => bail!(unknown("protocol", other, &PROTOCOLS)),
    })
}

thread_local! {
    /// What the last panic on this thread said, and where.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on a panic prints nothing: it is told as the law that was broken.
pub(crate) fn keep_panics_quiet() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map_or_else(String::new, |at| {
            let file = Path::new(at.file()).file_name().unwrap_or_default();
            format!(" ({}:{})", file.to_string_lossy(), at.line())
        });
        let text = panic.payload_as_str().and_then(|text| text.lines().next()).unwrap_or("");
        PANIC.with_borrow_mut(|last| *last = format!("assertion: {text}{place}"));
    }));
}

/// Plays `seed` for `time`, in words too if they are wanted; the words come second. A protocol that panics has broken a law.
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
    // Nothing of the world is used after a panic but its chronicle.
    let outcome = catch_unwind(AssertUnwindSafe(|| storm.play(time)));
    let violation = match outcome {
        Ok(held) => held.err().map(|violation: Violation| violation.to_string()),
        Err(_) => Some(PANIC.take()),
    };
    let world = storm.world();
    let known = Occurrence::ALL.map(|what| (what.name(), world.chronicle.counts().of(what)));
    let counts = known.into_iter().chain([("hunt", storm.hunts())]);
    let shown = Shown {
        digest: world.chronicle.digest(),
        simulated_ms: world.time().nanos / 1_000_000,
        proposals: storm.proposals(),
        counts: counts.map(|(what, count)| (what.to_owned(), count)).collect(),
        violation,
    };
    Ok((shown, world.chronicle.lines().to_vec()))
}
