//! The log is kept short: what nobody needs any more goes, and what only one shard needs is not kept for it for ever.
//!
//! 1. Now and then segments go that no shard needs.
//! 2. As long as there are more of them than the settings say, whatever keeps the oldest is released: a shard whose entries there are many has its state made safe, so that
//!    it needs them no more; the few entries of one that is idle are written once more, at the end.
//! 3. Entries that the state has safely, and that the protocol keeps for replicas that lag, go too then: who lags gets a snapshot.
//!
//! Without 2 one entry of an idle shard would keep everything that was written after it; without 3 long values would keep as much as the protocol has entries to keep.

use super::Shards;
use crate::error::NodeError;
use crate::inbox::Note;
use nori_consensus::Instant;
use nori_env::Class;
use nori_raft_log::Pin;
use norikv_replica::Now;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks, and where there are too many segments: each look frees the oldest at most.
const INTERVAL: Duration = Duration::from_secs(1);
const SOON: Duration = Duration::from_millis(100);
/// When the log is looked at, and whether that is under way.
#[derive(Debug, Default)]
pub(super) struct Tidying {
    at: Instant,
    is_under_way: bool,
    /// What kept the oldest segment at the last look.
    pins: Vec<Pin>,
}

impl Tidying {
    pub(super) fn deadline(&self) -> Option<Instant> {
        (!self.is_under_way).then_some(self.at)
    }
}

impl Shards {
    /// Begins a look, if it is time.
    pub(super) fn tidy_log(&mut self, now: Now) {
        if self.tidying.is_under_way || now.steady < self.tidying.at {
            return;
        }
        let is_over = self.parts.log.segments() > self.config.log_segments_max;
        self.tidying.at = now.steady.after(if is_over { SOON } else { INTERVAL });
        if self.hosts.is_empty() {
            return;
        }
        let mut anew = Vec::new();
        if is_over {
            for pin in std::mem::take(&mut self.tidying.pins) {
                if pin.bytes <= self.config.log_rewrite_bytes_max || !self.let_go(now, pin) {
                    anew.push(pin);
                }
            }
        }
        self.tidying.is_under_way = true;
        let log = Arc::clone(&self.parts.log);
        self.inbox.submit(self.tasks(), Class::Log, move || {
            let written = anew.into_iter().try_for_each(|pin| log.rewrite(pin));
            Note::Tidied(written.and_then(|()| log.purge()))
        });
    }

    /// Brings the shard to let go of its entries in a segment, now or when its state has them safely; whether there is such a shard.
    fn let_go(&mut self, now: Now, pin: Pin) -> bool {
        let Some(host) = self.hosts.get_mut(&pin.shard) else { return false };
        let Some(applied) = host.replica.applied() else { return false };
        if host.replica.release_log(now, pin.last) {
            self.ready.insert(pin.shard);
        } else {
            self.make_safe(pin.shard, applied.index);
        }
        true
    }

    /// A look has ended.
    pub(super) fn log_tidied(
        &mut self,
        result: nori_raft_log::Result<Vec<Pin>>,
    ) -> Result<(), NodeError> {
        self.tidying.is_under_way = false;
        match result {
            // It had to wait for a sync that this loop leads, which does not go on meanwhile where one thread does everything. There is another look.
            Err(error) if error.is_stuck() => {}
            result => self.tidying.pins = result?,
        }
        Ok(())
    }
}
