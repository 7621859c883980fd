//! The laws of [`Consensus`](crate::Consensus) and [`ConsensusFactory`], as a suite that every protocol runs.
//!
//! 1. A [`Law`] is one promise, with the features it is about.
//! 2. [`Suite::run`] puts groups of replicas into [`World`]s and checks each law, in a fixed order; it panics at the first that does not
//!    hold, naming it.
//! 3. A law about a feature that the protocol lacks is skipped, and the outcome lists it. That what is lacking is refused is a law of its own.
//!
//! The [`Monitor`](crate::monitor::Monitor) and the chronicle watch every step of every law, so that a law here mostly makes something
//! happen and says how it must end. Storms are left to the simulator.

mod entries;
mod faults;
mod group;
mod messages;
mod reads;

use crate::world::{Outcome, Violation, World};
use crate::{Capabilities, ConsensusFactory, Feature, NodeId, Role, Ticket};
use std::sync::Arc;
use std::time::Duration;

/// One promise of the contract.
pub struct Law {
    /// The promise, in a few words.
    pub name: &'static str,
    /// What a protocol must have for the law to be about it.
    pub needs: &'static [Feature],
    check: fn(&Stage) -> Result<(), Violation>,
}

/// Which laws were checked, and which do not concern the protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// The laws that hold.
    pub held: Vec<&'static str>,
    /// The laws that were skipped, with the feature that is lacking.
    pub skipped: Vec<(&'static str, Feature)>,
}

/// Every law, on one protocol.
pub struct Suite {
    stage: Stage,
}

impl Suite {
    /// A suite over `factory`.
    pub fn new(factory: Arc<dyn ConsensusFactory>) -> Self {
        Self { stage: Stage { factory } }
    }

    /// Every law there is, in the order in which they are checked.
    pub fn laws() -> impl Iterator<Item = &'static Law> {
        [entries::LAWS, reads::LAWS, group::LAWS, messages::LAWS, faults::LAWS]
            .into_iter()
            .flatten()
    }

    /// Checks every law that concerns the protocol.
    ///
    /// # Panics
    ///
    /// At the first law that does not hold.
    pub fn run(&self) -> Checked {
        let capabilities = self.stage.factory.capabilities();
        let mut checked = Checked::default();
        for law in Self::laws() {
            match law.needs.iter().find(|feature| !capabilities.has(**feature)) {
                Some(lacking) => checked.skipped.push((law.name, *lacking)),
                None => {
                    self.check(law);
                    checked.held.push(law.name);
                }
            }
        }
        checked
    }

    /// Checks one law.
    ///
    /// # Panics
    ///
    /// If it does not hold.
    pub fn check(&self, law: &'static Law) {
        if let Err(violation) = (law.check)(&self.stage) {
            panic!("{} breaks the law '{}' {violation}", self.stage.factory.name(), law.name);
        }
    }
}

/// What a law plays on.
struct Stage {
    factory: Arc<dyn ConsensusFactory>,
}

/// More than any election takes.
const LONG: Duration = Duration::from_secs(60);

impl Stage {
    fn capabilities(&self) -> Capabilities {
        self.factory.capabilities()
    }

    /// The sizes of groups that the protocol is to be seen in.
    fn sizes(&self) -> &'static [u64] {
        if self.capabilities().has(Feature::Replication) { &[1, 2, 3, 5] } else { &[1] }
    }

    fn world(&self, seed: u64, nodes: u64) -> Result<World, Violation> {
        World::new(&self.factory, seed, nodes)
    }

    /// A world whose group has a leader that has committed an entry of its term.
    fn led(&self, seed: u64, nodes: u64) -> Result<(World, NodeId), Violation> {
        let mut world = self.world(seed, nodes)?;
        let leader = await_leader(&mut world)?;
        Ok((world, leader))
    }
}

/// Waits until somebody leads who has committed an entry of its term.
fn await_leader(world: &mut World) -> Result<NodeId, Violation> {
    let settled = |world: &World| {
        let status = world.leader().and_then(|leader| world.host(leader).status());
        status.is_some_and(|status| {
            let entry = world.host(world.leader().unwrap_or_default()).log().entry(status.commit);
            entry.is_some_and(|entry| entry.term() == status.term)
        })
    };
    assert!(world.run_until(LONG, settled)?, "nobody leads after a minute");
    Ok(world.leader().unwrap_or_default())
}

/// Waits until the ticket's entry is applied, or is known never to be.
fn await_effect(world: &mut World, ticket: Ticket) -> Result<bool, Violation> {
    let is_decided = |world: &World| match world.chronicle.outcome(ticket) {
        Some(Outcome::Accepted(_)) => world.chronicle.took_effect(ticket).is_some(),
        other => other.is_some(),
    };
    assert!(world.run_until(LONG, is_decided)?, "{ticket} is not decided after a minute");
    Ok(world.chronicle.took_effect(ticket) == Some(true))
}

/// Waits until all that live have applied the same, as far as anybody has.
fn await_agreement(world: &mut World) -> Result<(), Violation> {
    let agree = |world: &World| {
        let through = world.chronicle.applied().len() as u64;
        let mut alive = world.nodes().filter(|node| world.is_alive(*node)).peekable();
        alive.peek().is_some()
            && alive.all(|node| world.host(node).state().applied.index.0 == through)
    };
    assert!(world.run_until(LONG, agree)?, "replicas differ after a minute");
    let digests: Vec<u64> = world
        .nodes()
        .filter(|node| world.is_alive(*node))
        .map(|node| world.host(node).state().digest)
        .collect();
    assert!(digests.windows(2).all(|two| two[0] == two[1]), "states differ");
    Ok(())
}

/// Waits until the ticket has ended.
fn await_end(world: &mut World, ticket: Ticket) -> Result<Outcome, Violation> {
    let ended = world.run_until(LONG, |world| world.chronicle.outcome(ticket).is_some())?;
    assert!(ended, "{ticket} has not ended after a minute");
    Ok(world.chronicle.outcome(ticket).unwrap_or(Outcome::Lost))
}

/// Whether anybody who lives says that they lead.
fn leads(world: &World, node: NodeId) -> bool {
    world.host(node).status().is_some_and(|status| status.role == Role::Leader)
}
