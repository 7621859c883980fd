//! The operations of one client in one phase.
//!
//! Kinds of operation, keys, and scan lengths come from three separate random sources. So a pick that is
//! drawn again because its key does not exist yet changes no later kind and no later length.
//!
//! In a phase that deletes, each client names keys of its own alone ([`Ledger`]), so its whole stream is fixed, whatever
//! other clients do. A stream whose client has deleted all its keys ends when the next operation needs one.

use crate::ledger::Reach;
use crate::pick::Picker;
use crate::spec::{Lengths, Phase, PhaseKind, Workload};
use crate::{KeyNumber, Ledger, Rng};
use std::collections::VecDeque;
use std::sync::Arc;

/// Numbers from here on are no key's: twice the most that can be loaded and reserved. Absent keys have them, so
/// they are written like any other; they lie among hashed keys, and above ordered ones. A hashed one is the key of an
/// existing number where two hashes meet: of a million records, one in 10^13.
const ABSENT_FROM: KeyNumber = 1 << 42;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OpKind {
    /// A read of a key that exists.
    Read,
    /// A new value for a key that exists.
    Update,
    /// A new key.
    Insert,
    /// A read of a key that exists, then a new value for it.
    Rmw,
    /// A read of some entries in order.
    Scan,
    /// A read of a key that does not exist.
    ReadAbsent,
    /// A delete of a key that exists.
    Delete,
    /// A delete of a key that exists or did.
    DeleteBlind,
    /// A delete of all keys of a range.
    DeleteRange,
    /// New values for some keys that exist, together.
    Batch,
}

impl OpKind {
    /// All kinds, in the order of tables. What is new comes last: streams depend on the order.
    pub const ALL: [Self; 10] = [
        Self::Read,
        Self::Update,
        Self::Insert,
        Self::Rmw,
        Self::Scan,
        Self::ReadAbsent,
        Self::Delete,
        Self::DeleteBlind,
        Self::DeleteRange,
        Self::Batch,
    ];

    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Rmw => "rmw",
            Self::Scan => "scan",
            Self::ReadAbsent => "read_absent",
            Self::Delete => "delete",
            Self::DeleteBlind => "delete_blind",
            Self::DeleteRange => "delete_range",
            Self::Batch => "batch",
        }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What is done.
    pub kind: OpKind,
    /// To which key; for a scan, a range delete and a batch, the first.
    pub key: KeyNumber,
    /// Version of the value that is written, if one is.
    pub version: u64,
    /// Entries that a scan reads; else 0.
    pub scan_length: u32,
    /// Key numbers that a range delete covers; else 0.
    pub range_length: u32,
    /// Whether what is read is to be checked.
    pub check: bool,
}

/// Which stream of a run it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// Of the run.
    pub seed: u64,
    /// Which phase of the run, counted over all its workloads. Below 2^16.
    pub phase: u32,
    /// Which client thread, from 0. Below the phase's `threads`.
    pub client: u32,
}

/// The operations of one client in one phase.
#[derive(Debug)]
pub struct OpStream {
    source: Source,
    ledger: Arc<Ledger>,
    client: u32,
    reach: Reach,
    /// Operations left; `u64::MAX` if time ends the phase.
    left: u64,
    /// Inserts handed out.
    inserts: u64,
    /// Version of the next write.
    version: u64,
    check_every: u64,
    /// Reads until one is checked, `1..=check_every`.
    until_check: u64,
    /// Keys that this stream deleted and may insert again, in the order of their deletion.
    deleted: Option<VecDeque<KeyNumber>>,
    /// Key numbers of a batch; as many as the phase says.
    batch: Vec<KeyNumber>,
    is_exhausted: bool,
}

#[derive(Debug)]
enum Source {
    Load,
    Run(Box<RunSource>),
}

#[derive(Debug)]
struct RunSource {
    kinds: Rng,
    picks: Rng,
    lengths: Rng,
    /// Up to which draw each kind goes, in the order of [`OpKind::ALL`]. Rising, the last 1.
    upto: [f64; OpKind::ALL.len()],
    picker: Option<Picker>,
    scan_length: Lengths,
    range_length: Lengths,
}

impl OpStream {
    /// The stream of client `id.client` in phase `index` of `workload`. `ledger` is shared by all
    /// clients of the phase and holds what exists before it: nothing before a load, which then
    /// inserts all records.
    pub fn new(workload: &Workload, index: usize, id: StreamId, ledger: Arc<Ledger>) -> Self {
        let phase = &workload.phases[index];
        let clients = phase.load.threads;
        assert!(id.client < clients, "client {} of {clients}", id.client);
        let total = match phase.kind {
            PhaseKind::Load => workload.keys.records,
            PhaseKind::Settle => 0,
            PhaseKind::Run => phase.ops.unwrap_or(u64::MAX),
        };
        let left = if total == u64::MAX { total } else { share(total, id.client, clients) };
        let source = match phase.kind {
            PhaseKind::Load | PhaseKind::Settle => Source::Load,
            PhaseKind::Run => Source::Run(Box::new(RunSource::new(workload, phase, id, &ledger))),
        };
        Self {
            source,
            ledger,
            client: id.client,
            reach: if phase.mix.deletes() { Reach::Own(id.client) } else { Reach::All },
            left,
            inserts: 0,
            version: (u64::from(id.phase) << 48) | (u64::from(id.client) << 37),
            check_every: workload.values.check_every,
            until_check: workload.values.check_every,
            deleted: phase.reinsert.then(VecDeque::new),
            batch: vec![0; phase.batch_size.unwrap_or(0) as usize],
            is_exhausted: false,
        }
    }

    /// The next operation; `None` after the last.
    #[inline]
    pub fn next_op(&mut self) -> Option<Op> {
        self.left = self.left.checked_sub(1)?;
        let Source::Run(run) = &mut self.source else {
            return Some(self.op(OpKind::Insert, (0, 0), None));
        };
        let (kind, lengths) = run.next_kind();
        let (reach, ledger) = (self.reach, &*self.ledger);
        let key = match kind {
            OpKind::Insert => None,
            OpKind::ReadAbsent => Some(ABSENT_FROM + run.next_key_blindly(ledger, reach)),
            OpKind::DeleteBlind => Some(run.next_key_blindly(ledger, reach)),
            OpKind::Batch => {
                for key in &mut self.batch {
                    let Some(next) = run.next_key(ledger, reach) else {
                        return self.exhausted();
                    };
                    *key = next;
                }
                self.batch.first().copied()
            }
            _ => match run.next_key(ledger, reach) {
                None => return self.exhausted(),
                key => key,
            },
        };
        Some(self.op(kind, lengths, key))
    }

    /// Makes the operation; without a key, that of the next insert.
    #[inline]
    fn op(&mut self, kind: OpKind, lengths: (u32, u32), key: Option<KeyNumber>) -> Op {
        let key = key.unwrap_or_else(|| self.insert_key());
        self.version += 1;
        let reads = matches!(kind, OpKind::Read | OpKind::Rmw | OpKind::Scan);
        let check = reads && self.check_every > 0 && self.check_due();
        let (scan_length, range_length) = lengths;
        Op { kind, key, version: self.version, scan_length, range_length, check }
    }

    #[inline]
    fn insert_key(&mut self) -> KeyNumber {
        if let Some(key) = self.deleted.as_mut().and_then(VecDeque::pop_front) {
            return key;
        }
        self.inserts += 1;
        self.ledger.insert_number(self.client, self.inserts - 1)
    }

    #[cold]
    fn exhausted(&mut self) -> Option<Op> {
        (self.left, self.is_exhausted) = (0, true);
        None
    }

    /// Whether the stream ended before its time, for want of a key that exists.
    pub fn is_exhausted(&self) -> bool {
        self.is_exhausted
    }

    /// The key numbers of the batch that was drawn last.
    pub fn batch(&self) -> &[KeyNumber] {
        &self.batch
    }

    /// To be called when the store has acknowledged an operation of this stream, in order; of reads it may be left out.
    /// How many keys that existed are gone.
    #[inline]
    pub fn acknowledge(&mut self, op: &Op) -> u64 {
        match op.kind {
            OpKind::Insert => {
                // Without deletes of its own a client inserts new keys only.
                if self.reach != Reach::All && self.ledger.is_acknowledged(op.key) {
                    self.ledger.revive(op.key);
                } else {
                    self.ledger.acknowledge(self.client);
                }
                0
            }
            OpKind::Delete | OpKind::DeleteBlind => self.gone(op.key),
            OpKind::DeleteRange => {
                (0..u64::from(op.range_length)).map(|ahead| self.gone(op.key + ahead)).sum()
            }
            _ => 0,
        }
    }

    /// Takes note that the key is gone; how many that makes.
    fn gone(&mut self, key: KeyNumber) -> u64 {
        let existed = self.ledger.delete(key);
        if let (true, Some(deleted)) = (existed, &mut self.deleted) {
            deleted.push_back(key);
        }
        u64::from(existed)
    }

    fn check_due(&mut self) -> bool {
        self.until_check -= 1;
        if self.until_check == 0 {
            self.until_check = self.check_every;
        }
        self.until_check == self.check_every
    }
}

/// How many of `total` fall to `client`.
fn share(total: u64, client: u32, clients: u32) -> u64 {
    let (client, clients) = (u64::from(client), u64::from(clients));
    total / clients + u64::from(client < total % clients)
}

impl RunSource {
    fn new(workload: &Workload, phase: &Phase, id: StreamId, ledger: &Ledger) -> Self {
        let shares = phase.mix.shares().map(|(_, share)| share);
        let sum: f64 = shares.iter().sum();
        let mut upto = shares;
        let mut so_far = 0.0;
        for (place, share) in upto.iter_mut().zip(shares) {
            so_far += share;
            *place = so_far / sum;
        }
        let stream = (u64::from(id.phase) << 32) | (u64::from(id.client) << 2);
        Self {
            kinds: Rng::new(id.seed, stream),
            picks: Rng::new(id.seed, stream + 1),
            lengths: Rng::new(id.seed, stream + 2),
            upto,
            picker: phase.pick.map(|pick| {
                Picker::new(pick, &workload.keys, ledger, id.client, phase.load.threads)
            }),
            scan_length: phase.scan_length.unwrap_or(Lengths { min: 1, max: 1 }),
            range_length: phase.range_length.unwrap_or(Lengths { min: 1, max: 1 }),
        }
    }

    /// The next kind, and the length of its scan and of its range.
    fn next_kind(&mut self) -> (OpKind, (u32, u32)) {
        let u = self.kinds.unit();
        let chosen = OpKind::ALL.iter().zip(self.upto).find(|(_, upto)| u < *upto);
        // Rounding may leave the last bound a hair below 1: then the last kind with a share.
        let kind = chosen.map_or_else(|| self.last_kind(), |(kind, _)| *kind);
        let mut drawn = |Lengths { min, max }: Lengths| {
            min + self.lengths.below(u64::from(max - min) + 1) as u32
        };
        match kind {
            OpKind::Scan => (kind, (drawn(self.scan_length), 0)),
            OpKind::DeleteRange => (kind, (0, drawn(self.range_length))),
            _ => (kind, (0, 0)),
        }
    }

    fn last_kind(&self) -> OpKind {
        let end = self.upto[OpKind::ALL.len() - 1];
        let first_at_end = self.upto.iter().position(|upto| *upto == end);
        OpKind::ALL[first_at_end.unwrap_or(0)]
    }

    #[inline]
    fn next_key(&mut self, ledger: &Ledger, reach: Reach) -> Option<KeyNumber> {
        let (picker, picks) = self.picker();
        picker.pick(picks, ledger, reach)
    }

    fn next_key_blindly(&mut self, ledger: &Ledger, reach: Reach) -> KeyNumber {
        let (picker, picks) = self.picker();
        picker.pick_blindly(picks, ledger, reach)
    }

    fn picker(&mut self) -> (&mut Picker, &mut Rng) {
        let picker = self.picker.as_mut().expect("a checked mix that names keys has a pick");
        (picker, &mut self.picks)
    }
}

#[cfg(test)]
mod deletes;
#[cfg(test)]
mod tests;
