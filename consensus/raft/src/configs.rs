//! The memberships of a log: the one that is applied, and those of entries above it. The newest counts, committed or not.

use crate::codec::Config;
use bytes::Bytes;
use nori_consensus::{Index, Membership, NodeId};
use std::sync::Arc;

pub(crate) struct Configs {
    /// As of what was handed out to be applied.
    base: Config,
    /// Of entries above, in order of their indexes.
    above: Vec<Config>,
}

impl Configs {
    pub(crate) fn new(base: Config) -> Self {
        Self { base, above: Vec::new() }
    }

    /// The newest, and what follows from it.
    pub(crate) fn newest(&self) -> &Config {
        self.above.last().unwrap_or(&self.base)
    }

    /// The newest.
    pub(crate) fn latest(&self) -> &Arc<Membership> {
        &self.newest().membership
    }

    pub(crate) fn push(&mut self, config: Config) {
        debug_assert!(config.membership.at > self.latest().at);
        self.above.push(config);
    }

    /// Entries from `from` on are gone.
    pub(crate) fn truncate(&mut self, from: Index) {
        while self.above.pop_if(|config| config.membership.at >= from).is_some() {}
    }

    /// The first of an entry at or below `through`, which is being handed out; it is the base from now on.
    pub(crate) fn hand_out(&mut self, through: Index) -> Option<(Index, Bytes)> {
        let first = self.above.first().filter(|config| config.membership.at <= through)?;
        let handed = (first.membership.at, first.encode());
        self.base = self.above.remove(0);
        Some(handed)
    }

    pub(crate) fn reset(&mut self, base: Config) {
        self.above.clear();
        self.base = base;
    }

    pub(crate) fn is_voter(&self, node: NodeId) -> bool {
        self.latest().is_voter(node)
    }

    /// Whether `node` has a vote in a membership that may be in force: the newest of those that `commit` covers, or a later one.
    pub(crate) fn may_be_voter(&self, node: NodeId, commit: Index) -> bool {
        let covered = self.above.partition_point(|config| config.membership.at <= commit);
        let mut possible = std::iter::once(&self.base).chain(&self.above).skip(covered);
        possible.any(|config| config.membership.is_voter(node))
    }
}
