//! Snapshots between nodes: made, shipped, received.

use super::Shards;
use crate::host::Host;
use crate::inbox::{Inbox, Note as InboxNote};
use crate::snapshot::{
    Arrival, End, Note, Offer, Piece, Shipment, TransferId, What, Work, Writer, files, read, remove,
};
use bytes::Bytes;
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{Index, Input, Instant, LogId, NodeId, ShardId, Snapshot, SnapshotHandle};
use nori_env::{Class, Job, Signal, Slice, Step, SyncTicket};
use norikv_replica::Now;
use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Before the names of intents.
pub(super) const INTENT: &str = "install-";
/// After a failure the next snapshot is not shipped before.
const PAUSE: Duration = Duration::from_millis(500);

/// A snapshot that is arriving, and where it goes.
pub(super) struct Receiving {
    arrival: Arrival,
    writer: Arc<Mutex<Writer>>,
}

/// A snapshot that has arrived.
pub(super) struct Received {
    pub(super) shard: ShardId,
    /// In which turn it came: what came in this one the replica may still ask for.
    turn: u64,
    pub(super) dir: PathBuf,
}

/// A snapshot that a replica wants shipped.
#[derive(Debug)]
pub(crate) struct Wanted {
    to: NodeId,
    message: Bytes,
    at_least: Index,
}

/// What a job on a snapshot came to.
#[derive(Debug)]
pub(crate) enum Done {
    Copied {
        shard: ShardId,
        life: u64,
        wanted: Wanted,
        transfer: TransferId,
        dir: PathBuf,
        result: Result<(LogId, Vec<(String, u64)>), String>,
    },
    Read(TransferId, Piece, io::Result<Vec<u8>>),
    Written(NodeId, TransferId, Work, io::Result<()>),
}

impl Shards {
    pub(super) fn ship(&mut self, shard: ShardId, to: NodeId, message: Bytes, at_least: Index) {
        if let Some(host) = self.hosts.get_mut(&shard) {
            host.wanted.push_back(Wanted { to, message, at_least });
        }
    }

    pub(super) fn build_snapshot(&mut self, shard: ShardId) {
        if let Some(host) = self.hosts.get_mut(&shard) {
            host.building = host.replica.applied().map(|applied| applied.index);
        }
    }

    /// Has copies made of what is safe, and asks that more be where that is not enough.
    pub(super) fn ship_ready(&mut self, now: Now, shard: ShardId) {
        let Some(host) = self.hosts.get_mut(&shard) else { return };
        let Some(safe) = host.replica.safe() else { return };
        if let Some(target) = host.building
            && target <= safe.index
            && let Some(membership) = host.replica.membership(safe.index)
        {
            host.building = None;
            self.last_handle = self.last_handle.next();
            let snapshot = Snapshot { through: safe, membership, handle: self.last_handle };
            host.replica.step(now, Input::SnapshotBuilt { snapshot });
            self.ready.insert(shard);
        }
        let wanted = host.wanted.iter().map(|wanted| wanted.at_least);
        if let Some(most) = wanted.chain(host.building).max().filter(|most| *most > safe.index) {
            self.make_safe(shard, most);
        }
        let Some(host) = self.hosts.get_mut(&shard) else { return };
        let wanted = std::mem::take(&mut host.wanted);
        let (due, later): (VecDeque<Wanted>, _) =
            wanted.into_iter().partition(|one| one.at_least <= safe.index);
        host.wanted = later;
        due.into_iter().for_each(|wanted| self.copy(shard, wanted));
    }

    /// Asks the engine to have everything up to `index` safe; the shard is woken then.
    pub(super) fn make_safe(&mut self, shard: ShardId, index: Index) {
        let Some(host) = self.hosts.get_mut(&shard).filter(|host| host.asked_safe < index) else {
            return;
        };
        let engine = host.replica.engine().and_then(|engine| engine.replicated());
        let applied = host.replica.applied().map_or(Index::ZERO, |applied| applied.index);
        let index = index.min(applied);
        if let Some(engine) = engine.filter(|_| index > host.asked_safe) {
            host.asked_safe = index;
            let signal = Signal::new();
            self.inbox.put_on(&signal, InboxNote::Woken(shard));
            engine.flush_through(index.0, signal);
        }
    }

    fn copy(&mut self, shard: ShardId, wanted: Wanted) {
        let Some(host) = self.hosts.get(&shard) else { return };
        let Some(engine) = host.replica.engine().cloned() else { return };
        let life = host.life;
        self.last_transfer += 1;
        let transfer = TransferId(self.last_transfer);
        let dir = self.snapshot_dir(&format!("out-{}-{}", shard.0, transfer.0));
        let fs = Arc::clone(&self.parts.engine_parts.fs);
        self.inbox.submit(self.tasks(), Class::CompactionDeep, move || {
            let copied = engine
                .replicated()
                .ok_or_else(|| "the engine makes no checkpoints".to_owned())
                .and_then(|engine| engine.checkpoint(&dir).map_err(|error| error.to_string()));
            let result = copied.and_then(|at| {
                let files = files(&*fs, &dir).map_err(|error| error.to_string())?;
                Ok((LogId::new(at.term, at.index), files))
            });
            InboxNote::Snapshot(Done::Copied { shard, life, wanted, transfer, dir, result })
        });
    }

    pub(super) fn snapshot_done(&mut self, now: Now, done: Done) {
        match done {
            Done::Copied { shard, life, wanted, transfer, dir, result } => {
                let host = self.hosts.get(&shard).filter(|host| host.life == life);
                let offer = host.and_then(|host| {
                    let (through, files) = result.ok()?;
                    let mut membership = host.replica.membership(through.index)?;
                    if mutant::is(Mutant::SnapshotWithoutMembership) {
                        membership.clear();
                    }
                    let message = wanted.message.clone();
                    Some(Offer { through, membership, message, files })
                });
                match offer {
                    Some(offer) => {
                        let names = (wanted.to, shard, transfer);
                        let shipment = Shipment::new(now.steady, names, dir, offer);
                        self.say(wanted.to, &shipment.offer());
                        self.shipments.insert(transfer, shipment);
                    }
                    None => {
                        self.remove_dir(dir);
                        self.shipped(now, shard, wanted.to, End::Failed);
                    }
                }
            }
            Done::Read(transfer, piece, result) => self.piece_read(now, transfer, &piece, result),
            Done::Written(from, transfer, work, result) => {
                self.piece_written(now, (from, transfer), &work, result);
            }
        }
    }

    fn say(&mut self, to: NodeId, note: &Note) {
        self.packet(to).snapshot(&note.encode());
        self.cut(to);
    }

    fn shipped(&mut self, now: Now, shard: ShardId, to: NodeId, end: End) {
        match end {
            End::Delivered => {
                self.step(now, shard, Input::SnapshotShipped { to, is_delivered: true });
            }
            End::Failed => self.unshipped.push((now.steady.after(PAUSE), shard, to)),
        }
    }

    fn end_shipment(&mut self, now: Now, transfer: TransferId, end: End) {
        if let Some(shipment) = self.shipments.remove(&transfer) {
            self.remove_dir(shipment.dir);
            self.shipped(now, shipment.shard, shipment.to, end);
        }
    }

    fn piece_read(
        &mut self,
        now: Now,
        transfer: TransferId,
        piece: &Piece,
        result: io::Result<Vec<u8>>,
    ) {
        let Some(shipment) = self.shipments.get_mut(&transfer) else { return };
        shipment.is_reading = false;
        match result {
            Ok(bytes) if bytes.len() as u64 == piece.bytes => {
                let note = shipment.note(What::Piece(piece.position, bytes.into()));
                let to = shipment.to;
                self.say(to, &note);
                self.read_next(transfer);
            }
            _ => self.end_shipment(now, transfer, End::Failed),
        }
    }

    /// Has the next piece read, if one may be on its way; one at a time, so that they go in order.
    fn read_next(&mut self, transfer: TransferId) {
        let Some(shipment) = self.shipments.get_mut(&transfer) else { return };
        if shipment.is_reading {
            return;
        }
        let Some(piece) = shipment.next() else { return };
        shipment.is_reading = true;
        let (fs, dir) = (Arc::clone(&self.parts.engine_parts.fs), shipment.dir.clone());
        self.inbox.submit(self.tasks(), Class::CompactionDeep, move || {
            let bytes = read(&*fs, &dir, &piece);
            InboxNote::Snapshot(Done::Read(transfer, piece, bytes))
        });
    }

    /// A peer says something about a snapshot.
    pub(super) fn snapshot_note(&mut self, now: Now, from: NodeId, body: &Bytes) {
        let Some(Note { shard, transfer, what }) = Note::decode(body) else { return };
        match what {
            What::Offer(offer) => self.offered(now, (from, shard, transfer), offer),
            What::Wants(position) => {
                let Some(shipment) = self.shipments.get_mut(&transfer) else { return };
                if shipment.to != from {
                    return;
                }
                match shipment.wants(now.steady, position) {
                    Some(end) => self.end_shipment(now, transfer, end),
                    None => self.read_next(transfer),
                }
            }
            What::Piece(position, bytes) => {
                if let Some(receiving) = self.arrivals.get_mut(&(from, transfer)) {
                    receiving.arrival.piece(now.steady, position, bytes);
                    self.write_next((from, transfer));
                }
            }
            What::Refused => {
                if self.shipments.get(&transfer).is_some_and(|shipment| shipment.to == from) {
                    self.end_shipment(now, transfer, End::Failed);
                }
            }
        }
    }

    fn offered(&mut self, now: Now, names: (NodeId, ShardId, TransferId), offer: Offer) {
        let (from, shard, transfer) = names;
        if let Some(receiving) = self.arrivals.get_mut(&(from, transfer)) {
            receiving.arrival.offered(now.steady);
            let answer = receiving.arrival.wants();
            return answer.into_iter().for_each(|note| self.say(from, &note));
        }
        if !self.hosts.contains_key(&shard) {
            return self.say(from, &Note { shard, transfer, what: What::Refused });
        }
        // Of one sender only the last counts.
        let is_older = |key: &(NodeId, TransferId), receiving: &Receiving| {
            key.0 == from && receiving.arrival.shard == shard
        };
        let older: Vec<_> = self
            .arrivals
            .iter()
            .filter(|(key, receiving)| is_older(key, receiving))
            .map(|(key, _)| *key)
            .collect();
        older.into_iter().for_each(|key| self.give_up(key));
        let dir = self.snapshot_dir(&format!("in-{}-{}-{}", shard.0, from.0, transfer.0));
        let fs = Arc::clone(&self.parts.engine_parts.fs);
        let writer = Arc::new(Mutex::new(Writer::new(fs, dir.clone(), offer.clone())));
        let arrival = Arrival::new(now.steady, (shard, transfer), dir, offer);
        self.arrivals.insert((from, transfer), Receiving { arrival, writer });
        self.write_next((from, transfer));
    }

    fn write_next(&mut self, key: (NodeId, TransferId)) {
        let Some(receiving) = self.arrivals.get_mut(&key) else { return };
        let Some(work) = receiving.arrival.next() else { return };
        let job = WriteJob {
            key,
            work: Some(work),
            writer: Arc::clone(&receiving.writer),
            sync: None,
            inbox: Arc::clone(&self.inbox),
        };
        self.tasks().submit(Class::CompactionDeep, Box::new(job));
    }

    fn piece_written(
        &mut self,
        now: Now,
        key: (NodeId, TransferId),
        work: &Work,
        result: io::Result<()>,
    ) {
        let Some(receiving) = self.arrivals.get_mut(&key) else { return };
        let (from, transfer, shard) = (key.0, key.1, receiving.arrival.shard);
        if result.is_err() {
            self.give_up(key);
            return self.say(from, &Note { shard, transfer, what: What::Refused });
        }
        receiving.arrival.done(work);
        let answer = receiving.arrival.wants();
        let arrived = (*work == Work::Finish)
            .then(|| (receiving.arrival.offer.clone(), receiving.arrival.dir.clone()));
        answer.into_iter().for_each(|note| self.say(from, &note));
        match arrived {
            Some((offer, dir)) => self.arrived(now, shard, from, offer, dir),
            None => self.write_next(key),
        }
    }

    fn arrived(&mut self, now: Now, shard: ShardId, from: NodeId, offer: Offer, dir: PathBuf) {
        self.forget_received(shard);
        self.last_handle = self.last_handle.next();
        let handle = self.last_handle;
        let turn = self.turns;
        self.received.insert(handle, Received { shard, turn, dir });
        let Offer { through, membership, message, .. } = offer;
        let snapshot = Snapshot { through, membership, handle };
        self.step(now, shard, Input::SnapshotArrived { from, message, snapshot });
    }

    /// Lets go what has arrived for a shard and is not being installed.
    pub(super) fn forget_received(&mut self, shard: ShardId) {
        let turn = self.turns;
        let installing = self.hosts.get(&shard).and_then(Host::installing);
        let is_old = |handle: &SnapshotHandle, received: &Received| {
            received.shard == shard && Some(*handle) != installing && received.turn < turn
        };
        let old: Vec<_> = self
            .received
            .iter()
            .filter(|(handle, received)| is_old(handle, received))
            .map(|(handle, _)| *handle)
            .collect();
        for handle in old {
            if let Some(received) = self.received.remove(&handle) {
                self.remove_dir(received.dir);
            }
        }
    }

    /// What has arrived of a snapshot goes, unless it is whole and somebody has it.
    fn give_up(&mut self, key: (NodeId, TransferId)) {
        if let Some(receiving) = self.arrivals.remove(&key)
            && !receiving.arrival.is_finished()
        {
            self.remove_dir(receiving.arrival.dir);
        }
    }

    /// When something is due in a transfer.
    pub(super) fn next_transfer(&self) -> Option<Instant> {
        let shipments = self.shipments.values().map(Shipment::deadline);
        let arrivals = self.arrivals.values().map(|receiving| receiving.arrival.deadline());
        let unshipped = self.unshipped.iter().map(|(at, ..)| *at);
        shipments.chain(arrivals).chain(unshipped).min()
    }

    pub(super) fn tick_transfers(&mut self, now: Now) {
        let failed: Vec<_> = self.unshipped.extract_if(.., |(at, ..)| *at <= now.steady).collect();
        for (_, shard, to) in failed {
            self.step(now, shard, Input::SnapshotShipped { to, is_delivered: false });
        }
        let due: Vec<_> = self
            .shipments
            .iter_mut()
            .filter_map(|(transfer, shipment)| Some((*transfer, shipment.tick(now.steady)?)))
            .collect();
        for (transfer, what) in due {
            match what {
                Ok(note) => {
                    let to = self.shipments[&transfer].to;
                    self.say(to, &note);
                }
                Err(end) => self.end_shipment(now, transfer, end),
            }
        }
        let is_over = |receiving: &Receiving| receiving.arrival.deadline() <= now.steady;
        let over: Vec<_> = self
            .arrivals
            .iter()
            .filter(|(_, receiving)| is_over(receiving))
            .map(|(key, _)| *key)
            .collect();
        over.into_iter().for_each(|key| self.give_up(key));
    }

    /// The shard's replica ends: nobody waits for its snapshots.
    pub(super) fn forget_transfers(&mut self, shard: ShardId) {
        let gone: Vec<_> =
            self.shipments.extract_if(.., |_, shipment| shipment.shard == shard).collect();
        gone.into_iter().for_each(|(_, shipment)| self.remove_dir(shipment.dir));
        let is_of = |receiving: &Receiving| receiving.arrival.shard == shard;
        let keys: Vec<_> = self
            .arrivals
            .iter()
            .filter(|(_, receiving)| is_of(receiving))
            .map(|(key, _)| *key)
            .collect();
        keys.into_iter().for_each(|key| self.give_up(key));
    }

    pub(super) fn snapshot_dir(&self, name: &str) -> PathBuf {
        self.snapshots_dir().join(name)
    }

    pub(super) fn snapshots_dir(&self) -> PathBuf {
        self.config.dir.join("snapshots")
    }

    /// Removes what transfers of earlier lives have left; what somebody still intends to install stays. Called when all replicas are open.
    pub(crate) fn sweep_snapshots(&self) {
        let fs = &self.parts.engine_parts.fs;
        // What cannot be listed now is in the way of nobody.
        let Ok(names) = fs.list(&self.snapshots_dir()) else { return };
        let read = |name: &String| fs.read(&self.snapshot_dir(name)).ok();
        let intended: Vec<String> = names
            .iter()
            .filter(|name| name.starts_with(INTENT))
            .filter_map(|name| super::install::read_intent(&read(name)?))
            .collect();
        let is_left = |name: &&String| name.starts_with("in-") || name.starts_with("out-");
        for name in names.iter().filter(is_left).filter(|name| !intended.contains(name)) {
            self.remove_dir(self.snapshot_dir(name));
        }
    }

    /// Removes a folder's files elsewhere. If that fails they are in the way of nobody, and go at the next start.
    pub(super) fn remove_dir(&self, dir: PathBuf) {
        let fs = Arc::clone(&self.parts.engine_parts.fs);
        let work = move || {
            let _ = remove(&*fs, &dir);
        };
        self.tasks().submit(Class::Removal, Box::new(Quiet::new(work)));
    }
}

/// Writes a piece, and waits for the sync that makes it safe.
struct WriteJob {
    key: (NodeId, TransferId),
    work: Option<Work>,
    writer: Arc<Mutex<Writer>>,
    sync: Option<SyncTicket>,
    inbox: Arc<Inbox>,
}

impl WriteJob {
    fn end(&mut self, result: io::Result<()>) -> Step {
        if let Some(work) = self.work.take() {
            let (from, transfer) = self.key;
            self.inbox.put(InboxNote::Snapshot(Done::Written(from, transfer, work, result)));
        }
        Step::Done
    }
}

impl Job for WriteJob {
    fn step(&mut self, _slice: &Slice) -> Step {
        let Some(work) = &self.work else { return Step::Done };
        if self.sync.is_none() {
            let written = self.writer.lock().unwrap_or_else(PoisonError::into_inner).run(work);
            match written {
                Ok(Some(sync)) => self.sync = Some(sync),
                Ok(None) => return self.end(Ok(())),
                Err(error) => return self.end(Err(error)),
            }
        }
        let Some(sync) = &self.sync else { return Step::Done };
        if !sync.signal().is_fired() {
            return Step::Wait(sync.signal().clone());
        }
        if mutant::is(Mutant::PieceSyncIgnored) {
            return self.end(Ok(()));
        }
        let result = sync.take().unwrap_or_else(|| Err(io::Error::other("a sync without an end")));
        self.end(result)
    }

    fn panicked(&mut self) {
        self.end(Err(io::Error::other("writing a snapshot panicked")));
    }
}

/// Work of which nobody hears.
pub(super) struct Quiet<W> {
    work: Option<W>,
}

impl<W> Quiet<W> {
    pub(super) fn new(work: W) -> Self {
        Self { work: Some(work) }
    }
}

impl<W: FnOnce() + Send> Job for Quiet<W> {
    fn step(&mut self, _slice: &Slice) -> Step {
        if let Some(work) = self.work.take() {
            work();
        }
        Step::Done
    }
}
