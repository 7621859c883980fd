//! openraft's log and its state machine: both only say what is to be done, and wait until it is.

use super::shared::{Shared, membership_of};
use super::types::{
    Committed, TheirEntry, TheirLogId, TheirStored, TheirVote, Types, our_entry, our_id,
    their_entry, their_id,
};
use futures_util::{Stream, StreamExt};
use nori_consensus::{Index, SnapshotHandle};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder,
    RaftStateMachine, Snapshot, SnapshotMeta,
};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::rc::Rc;

/// A snapshot: the driver's name for it where one arrived, nothing where one is to be sent.
pub(super) type Handle = Option<SnapshotHandle>;
pub(super) type TheirSnapshot = Snapshot<Committed, u64, (), Handle>;
type TheirMeta = SnapshotMeta<Committed, u64, ()>;

#[derive(Clone)]
pub(super) struct Log(pub(super) Rc<Shared>);

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<TheirEntry>> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before + 1,
            Bound::Unbounded => 0,
        };
        let upto = match range.end_bound() {
            Bound::Included(last) => last + 1,
            Bound::Excluded(upto) => *upto,
            Bound::Unbounded => u64::MAX,
        };
        let entries = self.0.read(Index(from), Index(upto)).await;
        let theirs = entries.iter().map(their_entry).collect::<Option<Vec<_>>>();
        theirs.ok_or_else(|| io::Error::other("an entry of the log is none of openraft's"))
    }

    async fn read_vote(&mut self) -> io::Result<Option<TheirVote>> {
        Ok(*self.0.vote.borrow())
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let log = self.0.log.borrow();
        let (base, last) = (their_id(log.base()), their_id(log.last()));
        Ok(LogState { last_purged_log_id: Some(base), last_log_id: Some(last) })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &TheirVote) -> io::Result<()> {
        self.0.promise(vote).await
    }

    async fn append<I>(&mut self, entries: I, flushed: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = TheirEntry>,
    {
        let entries: Vec<TheirEntry> = entries.into_iter().collect();
        self.0.append(&entries, flushed);
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<TheirLogId>) -> io::Result<()> {
        self.0.truncate(our_id(last.as_ref()).index.next());
        Ok(())
    }

    async fn purge(&mut self, through: TheirLogId) -> io::Result<()> {
        self.0.purge(our_id(Some(&through)).index);
        Ok(())
    }
}

#[derive(Clone)]
pub(super) struct Machine(pub(super) Rc<Shared>);

impl Machine {
    fn snapshot(&self) -> TheirSnapshot {
        let last_log_id = Some(their_id(self.0.durable.get()));
        let last_membership = self.0.durable_membership();
        Snapshot { meta: SnapshotMeta { last_log_id, last_membership }, snapshot: None }
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = Handle;

    async fn build_snapshot(&mut self) -> io::Result<TheirSnapshot> {
        Ok(self.snapshot())
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Handle;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> io::Result<(Option<TheirLogId>, TheirStored)> {
        Ok((Some(their_id(self.0.applied.get())), self.0.applied_membership()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin,
    {
        let mut from = None;
        let (mut through, mut responders) = (Index::ZERO, Vec::new());
        while let Some(next) = entries.next().await {
            let (theirs, responder) = next?;
            let entry = our_entry(&theirs);
            through = entry.id.index;
            let first = *from.get_or_insert(through);
            responders.extend(responder);
            if let Some(stored) = membership_of(&entry, &theirs) {
                self.0.apply(first, through, Some(stored)).await;
                from = None;
            }
        }
        if let Some(from) = from {
            self.0.apply(from, through, None).await;
        }
        responders.into_iter().for_each(|responder| responder.send(()));
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &TheirMeta, snapshot: Handle) -> io::Result<()> {
        let handle = snapshot.ok_or_else(|| io::Error::other("no snapshot came with it"))?;
        self.0.install(meta.last_log_id.as_ref(), meta.last_membership.clone(), handle).await;
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<TheirSnapshot>> {
        Ok(Some(self.snapshot()))
    }
}
