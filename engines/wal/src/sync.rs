//! Group sync: callers share one `fdatasync`.
//!
//! 1. A caller names the position it wants safe and polls [`crate::Wal::poll_sync`].
//! 2. If no sync runs, it leads: it notes how far the log reaches now, and syncs the sealed segments
//!    that are not safe yet, oldest first, then the active one.
//! 3. If one runs, it waits for it and polls again; its position may have been covered.
//! 4. If its leader went before it ended, the next caller leads: it hears the outcome first, then syncs by itself.
//! 5. A sync that failed is final: every caller gets the same error, now and later.
//!
//! Invariant: `safe <= appended`, and everything below `safe` survives power loss.

use crate::wal::{ActiveSegment, lock};
use crate::{Position, Wal, WalError};
use nori_env::{Signal, SyncTicket, Waited};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What syncs share.
#[derive(Default)]
pub(crate) struct SyncState {
    /// Fires when the sync under way has ended.
    running: Option<Signal>,
    /// What its leader has asked of the disk. Should the leader go, its successor hears the outcome first: a failure that nobody
    /// hears would pass for a success when the disk is asked again.
    asked: Option<SyncTicket>,
    failed: Option<WalError>,
}

/// One caller's wait for a sync. Keep it from poll to poll.
#[derive(Default)]
pub struct SyncCall {
    lead: Option<Lead>,
}

struct Lead {
    target: Position,
    segments: VecDeque<Arc<ActiveSegment>>,
    ticket: Option<SyncTicket>,
    /// What a leader before it asked and did not hear.
    inherited: Option<SyncTicket>,
    ended: Signal,
}

impl Wal {
    /// Makes everything up to `position` safe; waits for it.
    ///
    /// # Errors
    ///
    /// If a sync failed, now or ever.
    pub fn sync(&self, position: Position) -> Result<(), WalError> {
        let mut call = SyncCall::default();
        while let Some(signal) = self.poll_sync(position, &mut call)? {
            if self.tasks.wait(&signal) == Waited::Stuck {
                return Err(WalError::Stuck);
            }
        }
        Ok(())
    }

    /// One step towards making `position` safe: `None` when it is, else the signal to wait for before polling
    /// again with the same `call`. Never blocks but in the file system.
    ///
    /// # Errors
    ///
    /// If a sync failed, now or ever.
    pub fn poll_sync(
        &self,
        position: Position,
        call: &mut SyncCall,
    ) -> Result<Option<Signal>, WalError> {
        loop {
            let Some(lead) = &mut call.lead else {
                if self.safe.load(Ordering::Acquire) >= position {
                    return Ok(None);
                }
                let mut state = lock(&self.sync);
                if let Some(error) = &state.failed {
                    return Err(error.clone());
                }
                // One that fired and is still there was given up by its leader: somebody else has to lead.
                if let Some(running) = state.running.as_ref().filter(|running| !running.is_fired())
                {
                    return Ok(Some(running.clone()));
                }
                let ended = Signal::new();
                state.running = Some(ended.clone());
                let inherited = state.asked.clone();
                drop(state);
                let (target, segments) = self.unsafe_segments();
                call.lead = Some(Lead { target, segments, ticket: None, inherited, ended });
                continue;
            };
            if let Some(inherited) = &lead.inherited {
                if !inherited.signal().is_fired() {
                    return Ok(Some(inherited.signal().clone()));
                }
                if let Some(Err(error)) = inherited.take() {
                    self.end_sync(Err(WalError::io("syncing", &self.dir, error)));
                    call.lead = None;
                } else {
                    lead.inherited = None;
                }
                continue;
            }
            let Some(segment) = lead.segments.front() else {
                // Before the lead is let go: whoever its end wakes finds what became of the sync.
                self.end_sync(Ok(lead.target));
                call.lead = None;
                continue;
            };
            let ticket = lead.ticket.get_or_insert_with(|| {
                self.syncs.add(1);
                let ticket = SyncTicket::start(|done| segment.file.sync(done));
                lock(&self.sync).asked = Some(ticket.clone());
                ticket
            });
            match ticket.take() {
                None => return Ok(Some(ticket.signal().clone())),
                Some(Ok(())) => {
                    lead.ticket = None;
                    lead.segments.pop_front();
                }
                Some(Err(error)) => {
                    let error = WalError::io("syncing", &segment.path, error);
                    self.end_sync(Err(error));
                    call.lead = None;
                }
            }
        }
    }

    fn end_sync(&self, outcome: Result<Position, WalError>) {
        let mut state = lock(&self.sync);
        match outcome {
            Ok(target) => {
                self.safe.fetch_max(target, Ordering::AcqRel);
                lock(&self.writer).forget_safe(target);
            }
            Err(error) => state.failed = Some(error),
        }
        state.asked = None;
        let running = state.running.take();
        // Whoever wakes asks for this lock.
        drop(state);
        if let Some(running) = running {
            running.fire();
        }
    }

    /// How far the log reaches, and the segments that hold anything unsafe, oldest first.
    fn unsafe_segments(&self) -> (Position, VecDeque<Arc<ActiveSegment>>) {
        let writer = lock(&self.writer);
        let mut segments: VecDeque<_> = writer.sealed_unsafe.iter().cloned().collect();
        segments.push_back(Arc::clone(&writer.active));
        (writer.appended(), segments)
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        // A caller that gives up while leading must not leave the others waiting for ever.
        self.ended.fire();
    }
}
