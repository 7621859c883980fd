//! When which shard wants to hear of the time: one order for all of them, so that the driver keeps one timer.

use nori_consensus::{Instant, ShardId};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Default)]
pub(crate) struct Wheel {
    /// The same as `by_shard`, by time.
    order: BTreeSet<(Instant, ShardId)>,
    by_shard: BTreeMap<ShardId, Instant>,
}

impl Wheel {
    /// The shard wants to hear at `deadline`, and not at what it said before.
    pub(crate) fn set(&mut self, shard: ShardId, deadline: Option<Instant>) {
        let before = match deadline {
            Some(at) => self.by_shard.insert(shard, at),
            None => self.by_shard.remove(&shard),
        };
        if before == deadline {
            return;
        }
        if let Some(before) = before {
            self.order.remove(&(before, shard));
        }
        if let Some(at) = deadline {
            self.order.insert((at, shard));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The next shard whose time has come; it is not on the wheel any more.
    pub(crate) fn pop(&mut self, now: Instant) -> Option<ShardId> {
        let (_, shard) = self.order.first().copied().filter(|(at, _)| *at <= now)?;
        self.set(shard, None);
        Some(shard)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_come_by_their_last_word() {
        let at = |nanos| Instant { nanos };
        let mut wheel = Wheel::default();
        wheel.set(ShardId(1), Some(at(10)));
        wheel.set(ShardId(2), Some(at(5)));
        wheel.set(ShardId(1), Some(at(3)));
        wheel.set(ShardId(3), Some(at(7)));
        wheel.set(ShardId(3), None);
        assert_eq!(wheel.next(), Some(at(3)));
        let due: Vec<_> = std::iter::from_fn(|| wheel.pop(at(5))).collect();
        assert_eq!((due, wheel.next()), (vec![ShardId(1), ShardId(2)], None));
        assert!(wheel.by_shard.is_empty());
    }
}
