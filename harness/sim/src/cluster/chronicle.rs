//! What happened, as numbers: how often each kind of thing did, and a digest of all of it in order. In words too, if they are wanted.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Everything that can happen. A campaign in which something of it never did has not shown much.
pub(crate) const OCCURRENCES: [&str; 54] = [
    "read by lease",
    "read linearizable",
    "read stale",
    "write acknowledged",
    "condition held",
    "condition did not hold",
    "delete acknowledged",
    "batch acknowledged",
    "attempt without an answer",
    "attempt sent elsewhere",
    "outcome unknown",
    "answer lost",
    "lease had run out",
    "row from the disk",
    "session or key too old",
    "write that expires",
    "packet lost",
    "packet of a stream that broke",
    "stream reset",
    "gossip lost",
    "gossip twice",
    "partition",
    "one-way partition",
    "bridge",
    "clog",
    "swizzle",
    "kill",
    "power loss",
    "power loss in an event",
    "outage of all",
    "restarts in a row",
    "pause",
    "clock held",
    "sleeping leader",
    "forgetful plot",
    "ambush of a snapshot",
    "clock drift",
    "time of day jumps",
    "slow disk",
    "sync failed",
    "write failed",
    "disk full",
    "wipe",
    "join",
    "drain",
    "undrain",
    "removal",
    "transfer",
    "move",
    "leader elected",
    "map changed",
    "replica failed",
    "snapshot installed",
    "node ended by itself",
];

/// See the module.
#[derive(Debug)]
pub(super) struct Chronicle {
    digest: u64,
    counts: BTreeMap<&'static str, u64>,
    lines: Option<Vec<String>>,
}

impl Chronicle {
    pub(super) fn new(is_told: bool) -> Self {
        Self {
            digest: 0xcbf2_9ce4_8422_2325,
            counts: OCCURRENCES.iter().map(|what| (*what, 0)).collect(),
            lines: is_told.then(Vec::new),
        }
    }

    /// Counts something.
    pub(super) fn count(&mut self, what: &'static str) {
        let known = self.counts.get_mut(what);
        debug_assert!(known.is_some(), "{what} is not among what can happen");
        if let Some(count) = known {
            *count += 1;
        }
    }

    /// Takes numbers into the digest: FNV-1a over their bytes.
    pub(super) fn mix(&mut self, numbers: &[u64]) {
        for byte in numbers.iter().flat_map(|number| number.to_le_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    /// A line of words, if they are wanted.
    pub(super) fn tell(&mut self, nanos: u64, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            let mut line = format!("{:10.3} ms  ", nanos as f64 / 1e6);
            let _ = write!(line, "{}", words());
            lines.push(line);
        }
    }

    pub(super) fn digest(&self) -> u64 {
        self.digest
    }

    pub(super) fn counts(&self) -> impl Iterator<Item = (String, u64)> + '_ {
        self.counts.iter().map(|(what, count)| ((*what).to_owned(), *count))
    }

    pub(super) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }
}
