//! A [`Meter`] that remembers: every number by name, and events up to a bound.

use crate::{Counter, Gauge, Meter, VizEvent};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A number and what it counts, as it stood when the snapshot was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The name it was fetched under.
    pub name: &'static str,
    /// Its value.
    pub value: u64,
}

/// A [`Meter`] that keeps every number it handed out and every event until they are drained.
#[derive(Debug)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// `inner.events.len() <= events_max`: past it events are counted in `events_dropped`, not kept.
    events_max: usize,
}

#[derive(Debug, Default)]
struct Inner {
    counters: BTreeMap<&'static str, Counter>,
    gauges: BTreeMap<&'static str, Gauge>,
    events: Vec<VizEvent>,
    events_dropped: u64,
}

/// Enough for an hour of a busy engine at some 100 flushes and compactions a second.
const EVENTS_MAX: usize = 1 << 19;

impl Default for Registry {
    fn default() -> Self {
        Self { inner: Mutex::default(), events_max: EVENTS_MAX }
    }
}

impl Registry {
    /// A registry that keeps at most `events_max` events between two drains.
    pub fn with_events_max(events_max: usize) -> Self {
        Self { inner: Mutex::default(), events_max }
    }

    /// Every counter and gauge, in order of name.
    pub fn snapshot(&self) -> Vec<Sample> {
        let inner = self.lock();
        let counters = inner.counters.iter().map(|(name, c)| Sample { name, value: c.value() });
        let gauges = inner.gauges.iter().map(|(name, g)| Sample { name, value: g.value() });
        let mut samples: Vec<Sample> = counters.chain(gauges).collect();
        samples.sort_by_key(|s| s.name);
        samples
    }

    /// Takes the events noted since the last call, oldest first, and the number that did not fit.
    pub fn drain_events(&self) -> (Vec<VizEvent>, u64) {
        let mut inner = self.lock();
        let dropped = std::mem::take(&mut inner.events_dropped);
        (std::mem::take(&mut inner.events), dropped)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic while holding the lock leaves maps that are still whole: nothing is half-written.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Meter for Registry {
    fn counter(&self, name: &'static str) -> Counter {
        self.lock().counters.entry(name).or_default().clone()
    }

    fn gauge(&self, name: &'static str) -> Gauge {
        self.lock().gauges.entry(name).or_default().clone()
    }

    fn event(&self, event: VizEvent) {
        let mut inner = self.lock();
        if inner.events.len() < self.events_max {
            inner.events.push(event);
        } else {
            inner.events_dropped += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    #[test]
    fn one_name_is_one_number() {
        let registry = Registry::default();
        registry.counter("puts").add(2);
        registry.counter("puts").add(3);
        registry.gauge("debt_bytes").set(7);
        let expected = [Sample { name: "debt_bytes", value: 7 }, Sample { name: "puts", value: 5 }];
        assert_eq!(registry.snapshot(), expected);
    }

    #[test]
    fn events_past_the_bound_are_counted_not_kept() {
        let registry = Registry::with_events_max(1);
        for at_nanos in 0..3 {
            let why = Cow::Borrowed("");
            registry.event(VizEvent { at_nanos, kind: "flush_end", why, fields: vec![] });
        }
        let (events, dropped) = registry.drain_events();
        assert_eq!((events.len(), dropped), (1, 2));
        assert_eq!(registry.drain_events(), (vec![], 0));
    }
}
