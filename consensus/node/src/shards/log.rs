//! The log is kept short: what nobody needs any more goes, and what only one shard needs is not kept for it for ever.
//!
//! 1. Now and then segments go that no shard needs.
//! 2. As long as there are more of them than the settings say, whatever keeps the oldest is released: a shard whose entries there are many has its state made safe, so that
//!    it needs them no more; the few entries of one that is idle are written once more, at the end.
//!
//! Without 2 one entry of an idle shard would keep everything that was written after it.

use super::Shards;
use crate::error::NodeError;
use crate::inbox::Note;
use nori_consensus::Instant;
use nori_env::Class;
use nori_raft_log::Pin;
use norikv_replica::Now;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Entries of a shard that are fewer bytes than this are written anew rather than flushed: a flush costs a table and its syncs.
const REWRITE_BYTES_MAX: u64 = 256 << 10;

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
        self.tidying.at = now.steady.after(INTERVAL);
        if self.hosts.is_empty() {
            return;
        }
        let mut anew = Vec::new();
        if self.parts.log.segments() > self.config.log_segments_max {
            for pin in std::mem::take(&mut self.tidying.pins) {
                let host = self.hosts.get(&pin.shard);
                let applied = host.and_then(|host| host.replica.applied());
                match applied {
                    Some(applied) if pin.bytes > REWRITE_BYTES_MAX => {
                        self.make_safe(pin.shard, applied.index);
                    }
                    _ => anew.push(pin),
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
