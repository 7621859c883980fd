//! A snapshot takes the place of a shard's state and log.
//!
//! 1. When no write of the shard is under way any more, an **intent** is made safe: a file that names the snapshot.
//! 2. The state is replaced ([`nori_kv::EngineFactory::install`]) and opened, elsewhere.
//! 3. The log is reset behind it, in a batch like any other.
//! 4. When that is safe the intent goes, and when that is, the replica goes on with the new state. The snapshot goes last.
//!
//! A crash after 1 leads to 2 and 3 again when the shard is opened. One before leaves things as they were. No replica lives on while there is an
//! intent that would take its state back.
//!
//! An intent that is found may not be safe: its sync failed, or its writer was killed before. To go on by it as it is could leave half of a state, and no
//! intent, after a power loss. So whoever opens writes it once more, beside the old one, and goes on once that is safe.

use super::Shards;
use super::snapshots::{INTENT, Received};
use crate::error::NodeError;
use crate::host::{Install, Stage};
use crate::inbox::{Inbox, Note};
use nori_consensus::mutant::{self, Mutant};
use nori_consensus::{LogId, ShardId, SnapshotHandle};
use nori_env::{Class, Fs, Job, OpenMode, Slice, Step, SyncTicket, Waited, crc32c};
use nori_kv::{EngineFactory, Error, Parts};
use nori_raft_log::{Batch, NodeLog};
use norikv_replica::{Now, ReplicaError, State};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// While somebody still reads the old state.
const PAUSE: Duration = Duration::from_millis(20);

/// A state that was installed, or why not.
#[derive(Debug)]
pub(crate) struct Done {
    shard: ShardId,
    life: u64,
    result: Result<State, ReplicaError>,
}

impl Shards {
    pub(super) fn install(&mut self, shard: ShardId, handle: SnapshotHandle, reset_to: LogId) {
        if let Some(host) = self.hosts.get_mut(&shard) {
            host.install = Some(Install { handle, reset_to, stage: Stage::Waiting });
        }
    }

    /// Begins an installation, if one waits and may begin.
    pub(super) fn install_ready(&mut self, shard: ShardId) {
        if self.hosts.get(&shard).is_none_or(|host| host.install.is_none()) {
            return;
        }
        let dir = self.shard_dir(shard);
        let intent = self.intent(shard);
        let Some(host) = self.hosts.get_mut(&shard) else { return };
        if host.is_writing() {
            return;
        }
        let (life, is_off) = (host.life, Arc::clone(&host.is_over));
        let Some(install) = host.install.as_mut() else { return };
        if !matches!(install.stage, Stage::Waiting) {
            return;
        }
        let Some(Received { dir: snapshot, .. }) = self.received.get(&install.handle) else {
            let why = ReplicaError::Row { what: "a snapshot that is to be installed is not there" };
            return self.fail_with(shard, NodeError::Replica { shard, why });
        };
        install.stage = Stage::Working;
        if mutant::is(Mutant::ResetBeforeState) {
            let mut batch = Batch::default();
            batch.reset(shard, install.reset_to);
            if let Err(error) = self.parts.log.append(batch) {
                return self.fail_with(shard, NodeError::Log(error));
            }
        }
        let job = InstallJob {
            shard,
            life,
            dir,
            snapshot: snapshot.clone(),
            intent,
            engine: Arc::clone(&self.parts.engine),
            parts: self.parts.engine_parts.clone(),
            is_intended: None,
            is_off,
            inbox: Arc::clone(&self.inbox),
        };
        self.tasks().submit(Class::Flush, Box::new(job));
    }

    pub(super) fn install_done(&mut self, done: Done) {
        let Done { shard, life, result } = done;
        let Some(host) = self.hosts.get_mut(&shard).filter(|host| host.life == life) else {
            return;
        };
        let Some(install) = host.install.as_mut() else { return };
        match result {
            Ok(state) if state.applied() == install.reset_to => {
                install.stage = Stage::Installed(state);
                self.ready.insert(shard);
            }
            Ok(_) => {
                let why = ReplicaError::Row { what: "a snapshot is of another entry than it says" };
                self.fail_with(shard, NodeError::Replica { shard, why });
            }
            Err(why) => self.fail_with(shard, NodeError::Replica { shard, why }),
        }
    }

    /// Puts the resets of those whose state is installed into the batch; whose they are.
    pub(super) fn begin_resets(
        &mut self,
        ready: &BTreeSet<ShardId>,
        batch: &mut Batch,
    ) -> Vec<ShardId> {
        let mut resets = Vec::new();
        for shard in ready {
            let Some(host) = self.hosts.get_mut(shard) else { continue };
            let Some(install) = host.install.as_mut() else { continue };
            match std::mem::replace(&mut install.stage, Stage::Working) {
                Stage::Installed(state) => {
                    batch.reset(*shard, install.reset_to);
                    install.stage = Stage::Resetting(state);
                    resets.push(*shard);
                }
                stage => install.stage = stage,
            }
        }
        resets
    }

    /// State and log are safe: the intent goes, and is gone for certain before anything follows.
    pub(super) fn finish_reset(&mut self, shard: ShardId) {
        let intent = self.intent(shard);
        let Some(host) = self.hosts.get_mut(&shard) else { return };
        let Some(Install { handle, stage: Stage::Resetting(state), .. }) = host.install.take()
        else {
            return;
        };
        let life = host.life;
        let reset_to = state.applied();
        host.install = Some(Install { handle, reset_to, stage: Stage::Concluding(state) });
        let fs = Arc::clone(&self.parts.engine_parts.fs);
        self.inbox.submit(self.tasks(), Class::Log, move || {
            let gone = remove_intent(&*fs, &intent).map_err(ReplicaError::from);
            Note::Concluded(shard, life, gone)
        });
    }

    /// The intent is gone: the replica goes on, and the snapshot is needed no more.
    pub(super) fn concluded(
        &mut self,
        now: Now,
        shard: ShardId,
        life: u64,
        result: Result<(), ReplicaError>,
    ) {
        let Some(host) = self.hosts.get_mut(&shard).filter(|host| host.life == life) else {
            return;
        };
        if let Err(why) = result {
            return self.fail_with(shard, NodeError::Replica { shard, why });
        }
        let Some(Install { handle, stage: Stage::Concluding(state), .. }) = host.install.take()
        else {
            return;
        };
        host.begin_anew(state.applied().index);
        host.replica.installed(now, state);
        self.ready.insert(shard);
        if let Some(Received { dir, .. }) = self.received.remove(&handle) {
            self.remove_dir(dir);
        }
    }

    fn intent(&self, shard: ShardId) -> PathBuf {
        self.snapshot_dir(&format!("{INTENT}{}", shard.0))
    }

    /// What opens the state of a shard.
    pub(super) fn state_opener(&self, shard: ShardId) -> StateOpener {
        StateOpener {
            dir: self.shard_dir(shard),
            intent: self.intent(shard),
            snapshots: self.snapshots_dir(),
            shard,
            engine: Arc::clone(&self.parts.engine),
            log: Arc::clone(&self.parts.log),
            parts: self.parts.engine_parts.clone(),
        }
    }

    /// What an earlier life intended is done.
    pub(super) fn forget_intent(&self, shard: ShardId) -> Result<(), NodeError> {
        let gone = remove_intent(&*self.parts.engine_parts.fs, &self.intent(shard));
        gone.map_err(|error| NodeError::Replica { shard, why: error.into() })
    }
}

impl Shards {
    /// Has a replica's state removed, elsewhere, as soon as nobody reads it any more, and after `before` is done.
    pub(super) fn destroy(&self, shard: ShardId, before: Before) {
        let job = DestroyJob {
            shard,
            before: Some(before),
            dir: self.shard_dir(shard),
            intent: self.intent(shard),
            engine: Arc::clone(&self.parts.engine),
            parts: self.parts.engine_parts.clone(),
            inbox: Arc::clone(&self.inbox),
        };
        self.tasks().submit(Class::Removal, Box::new(job));
    }

    /// The state is gone: the log goes with the next batch, and then the replica is no more.
    pub(super) fn state_destroyed(&mut self, shard: ShardId, result: Result<(), Error>) {
        match result {
            Ok(()) => {
                self.forget_received(shard);
                self.gone.insert(shard);
            }
            Err(error) => {
                self.doomed.remove(&shard);
                self.fail_with(shard, NodeError::Replica { shard, why: error.into() });
            }
        }
    }
}

/// Something that has to be done, and be safe, before what follows.
pub(crate) type Before = Box<dyn FnOnce() -> Result<(), String> + Send>;

/// Opens the state of a shard, wherever waiting for the disk is allowed.
pub(super) struct StateOpener {
    dir: PathBuf,
    intent: PathBuf,
    snapshots: PathBuf,
    shard: ShardId,
    engine: Arc<dyn EngineFactory>,
    log: Arc<dyn NodeLog>,
    parts: Parts,
}

impl StateOpener {
    /// Finishes what an earlier life intended, opens, and has at hand what the log has above it. Waits for the disk.
    pub(super) fn open(self) -> Result<State, NodeError> {
        let (shard, log) = (self.shard, Arc::clone(&self.log));
        let state = self.open_state().map_err(|why| NodeError::Replica { shard, why })?;
        log.recall(shard, state.applied().index)?;
        Ok(state)
    }

    fn open_state(self) -> Result<State, ReplicaError> {
        match self.parts.fs.read(&self.intent) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("reading", &self.intent, error).into()),
            // Cut short while it was written: nothing was begun.
            Ok(named) => {
                if let Some(name) = read_intent(&named) {
                    renew_intent(&self.parts, &self.intent, &named)?;
                    self.engine.install(&self.dir, &self.snapshots.join(name), &self.parts)?;
                }
            }
        }
        State::open(self.engine.open(&self.dir, self.parts)?)
    }
}

/// Removes a state, elsewhere.
struct DestroyJob {
    shard: ShardId,
    before: Option<Before>,
    dir: PathBuf,
    intent: PathBuf,
    engine: Arc<dyn EngineFactory>,
    parts: Parts,
    inbox: Arc<Inbox>,
}

impl DestroyJob {
    /// That the state is gone is safe, before anybody forgets that it was to go: half of it would be in the way of the next one.
    fn sync_removal(&self) -> Result<(), Error> {
        let fs = &*self.parts.fs;
        let inside = match fs.sync_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        };
        let synced = inside.and_then(|()| match sync_parent(fs, &self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            synced => synced,
        });
        synced.map_err(|error| Error::io("syncing the removal of", &self.dir, error))
    }
}

impl Job for DestroyJob {
    fn step(&mut self, _slice: &Slice) -> Step {
        if let Some(Err(what)) = self.before.take().map(|before| before()) {
            self.inbox.put(Note::Destroyed(self.shard, Err(Error::Invalid { what })));
            return Step::Done;
        }
        let gone = remove_intent(&*self.parts.fs, &self.intent);
        let gone = gone.and_then(|()| self.engine.destroy(&self.dir, &self.parts));
        match gone.and_then(|()| self.sync_removal()) {
            // Somebody still reads it.
            Err(Error::Busy { .. }) => {
                Step::Wait(self.parts.tasks.alarm(self.parts.clock.now().after(PAUSE)))
            }
            result => {
                self.inbox.put(Note::Destroyed(self.shard, result));
                Step::Done
            }
        }
    }

    fn panicked(&mut self) {
        let what = "removing a state panicked".to_owned();
        self.inbox.put(Note::Destroyed(self.shard, Err(Error::Invalid { what })));
    }
}

/// The file of an intent: the name of the snapshot's folder, and a checksum in hex.
fn intent_bytes(name: &str) -> Vec<u8> {
    format!("{name} {:08x}\n", crc32c(name.as_bytes())).into_bytes()
}

pub(super) fn read_intent(bytes: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(bytes).ok()?;
    let name = text.split(' ').next()?;
    (intent_bytes(name) == bytes).then(|| name.to_owned())
}

/// Makes an intent safe that is found: a sync that has failed once says nothing of the same bytes when it succeeds the next time.
/// Waits for the disk.
fn renew_intent(parts: &Parts, intent: &Path, bytes: &[u8]) -> nori_kv::Result<()> {
    let (fs, next) = (&*parts.fs, next_intent(intent));
    let renew = || {
        remove_if_there(fs, &next)?;
        let file = fs.open(&next, OpenMode::CreateNew)?;
        file.write_at(bytes, 0)?;
        let sync = SyncTicket::start(|done| file.sync(done));
        if parts.tasks.wait(sync.signal()) == Waited::Stuck {
            return Err(io::Error::other("nothing will end the sync"));
        }
        sync.take().unwrap_or_else(|| Err(io::Error::other("a sync without an end")))?;
        fs.rename(&next, intent)?;
        sync_parent(fs, intent)
    };
    renew().map_err(|error| Error::io("writing", &next, error))
}

fn next_intent(intent: &Path) -> PathBuf {
    intent.with_extension("next")
}

fn remove_if_there(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    match fs.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes an intent, if there is one; that it is gone is safe when this returns.
fn remove_intent(fs: &dyn Fs, intent: &Path) -> nori_kv::Result<()> {
    let next = next_intent(intent);
    remove_if_there(fs, &next).map_err(|error| Error::io("removing", &next, error))?;
    let gone = match fs.remove(intent) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        removed => removed.and_then(|()| sync_parent(fs, intent)),
    };
    gone.map_err(|error| Error::io("removing", intent, error))
}

fn sync_parent(fs: &dyn Fs, path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir))
}

/// Replaces a state, elsewhere.
struct InstallJob {
    shard: ShardId,
    life: u64,
    dir: PathBuf,
    snapshot: PathBuf,
    intent: PathBuf,
    engine: Arc<dyn EngineFactory>,
    parts: Parts,
    /// The sync of the intent.
    is_intended: Option<SyncTicket>,
    /// The replica has ended: nothing more is to be done.
    is_off: Arc<AtomicBool>,
    inbox: Arc<Inbox>,
}

impl InstallJob {
    fn end(&self, result: Result<State, ReplicaError>) -> Step {
        self.inbox.put(Note::Install(Done { shard: self.shard, life: self.life, result }));
        Step::Done
    }

    /// Writes the intent; the sync that makes it safe.
    fn intend(&self) -> io::Result<SyncTicket> {
        let fs = &self.parts.fs;
        remove_if_there(&**fs, &self.intent)?;
        let name = self.snapshot.file_name().unwrap_or_default().to_string_lossy();
        let mut bytes = intent_bytes(&name);
        if mutant::is(Mutant::IntentUnwritten) {
            bytes.clear();
        }
        let file = fs.open(&self.intent, OpenMode::CreateNew)?;
        file.write_at(&bytes, 0)?;
        Ok(SyncTicket::start(|done| file.sync(done)))
    }

    fn replace(&self) -> Result<State, ReplicaError> {
        sync_parent(&*self.parts.fs, &self.intent)
            .map_err(|error| Error::io("syncing the folder of", &self.intent, error))?;
        self.engine.install(&self.dir, &self.snapshot, &self.parts)?;
        State::open(self.engine.open(&self.dir, self.parts.clone())?)
    }
}

impl Job for InstallJob {
    fn step(&mut self, _slice: &Slice) -> Step {
        if self.is_off.load(Ordering::Acquire) {
            return Step::Done;
        }
        let failed = |error| Error::io("writing", &self.intent, error).into();
        let ticket = match &self.is_intended {
            Some(ticket) => ticket.clone(),
            None => match self.intend() {
                Ok(ticket) => {
                    self.is_intended = Some(ticket.clone());
                    ticket
                }
                Err(error) => return self.end(Err(failed(error))),
            },
        };
        if !ticket.signal().is_fired() {
            return Step::Wait(ticket.signal().clone());
        }
        if let Some(Err(error)) = ticket.take() {
            return self.end(Err(failed(error)));
        }
        match self.replace() {
            // Somebody still reads the state that goes.
            Err(ReplicaError::Store(Error::Busy { .. })) => {
                Step::Wait(self.parts.tasks.alarm(self.parts.clock.now().after(PAUSE)))
            }
            result => self.end(result),
        }
    }

    fn panicked(&mut self) {
        let what = "installing a snapshot panicked".to_owned();
        self.end(Err(Error::Invalid { what }.into()));
    }
}

#[cfg(test)]
mod tests;
