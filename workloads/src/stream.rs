//! The operations of one client in one phase.
//!
//! Kinds of operation, keys, and scan lengths come from three separate random sources. So a pick that is
//! drawn again because its key does not exist yet changes no later kind and no later length.

use crate::pick::Picker;
use crate::spec::{Lengths, Phase, PhaseKind, Workload};
use crate::{KeyNumber, Ledger, Rng};
use std::sync::Arc;

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
}

impl OpKind {
    /// All kinds, in the order of tables.
    pub const ALL: [Self; 5] = [Self::Read, Self::Update, Self::Insert, Self::Rmw, Self::Scan];

    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Update => "update",
            Self::Insert => "insert",
            Self::Rmw => "rmw",
            Self::Scan => "scan",
        }
    }
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Op {
    /// What is done.
    pub kind: OpKind,
    /// To which key; for a scan, the first.
    pub key: KeyNumber,
    /// Version of the value that is written, if one is.
    pub version: u64,
    /// Entries that a scan reads; else 0.
    pub scan_length: u32,
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
    /// Operations left; `u64::MAX` if time ends the phase.
    left: u64,
    /// Inserts handed out.
    inserts: u64,
    /// Version of the next write.
    version: u64,
    check_every: u64,
    /// Reads until one is checked, `1..=check_every`.
    until_check: u64,
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
    upto: [f64; 5],
    picker: Option<Picker>,
    scan_length: Lengths,
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
            left,
            inserts: 0,
            version: (u64::from(id.phase) << 48) | (u64::from(id.client) << 37),
            check_every: workload.values.check_every,
            until_check: workload.values.check_every,
        }
    }

    /// The next operation; `None` after the last.
    #[inline]
    pub fn next_op(&mut self) -> Option<Op> {
        self.left = self.left.checked_sub(1)?;
        let (kind, scan_length) = match &mut self.source {
            Source::Load => (OpKind::Insert, 0),
            Source::Run(run) => run.next_kind(),
        };
        let key = match (&mut self.source, kind) {
            (Source::Run(run), OpKind::Read | OpKind::Update | OpKind::Rmw | OpKind::Scan) => {
                run.next_key(&self.ledger)
            }
            _ => {
                self.inserts += 1;
                self.ledger.insert_number(self.client, self.inserts - 1)
            }
        };
        self.version += 1;
        let reads = matches!(kind, OpKind::Read | OpKind::Rmw | OpKind::Scan);
        let check = reads && self.check_every > 0 && self.check_due();
        Some(Op { kind, key, version: self.version, scan_length, check })
    }

    /// To be called when the store has acknowledged an insert of this stream, in order.
    pub fn acknowledge_insert(&self) {
        self.ledger.acknowledge(self.client);
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
            picker: phase.pick.map(|pick| Picker::new(pick, &workload.keys, ledger)),
            scan_length: phase.scan_length.unwrap_or(Lengths { min: 1, max: 1 }),
        }
    }

    fn next_kind(&mut self) -> (OpKind, u32) {
        let u = self.kinds.unit();
        let chosen = OpKind::ALL.iter().zip(self.upto).find(|(_, upto)| u < *upto);
        // Rounding may leave the last bound a hair below 1: then the last kind with a share.
        let kind = chosen.map_or_else(|| self.last_kind(), |(kind, _)| *kind);
        if kind != OpKind::Scan {
            return (kind, 0);
        }
        let Lengths { min, max } = self.scan_length;
        let spread = u64::from(max - min) + 1;
        (kind, min + self.lengths.below(spread) as u32)
    }

    fn last_kind(&self) -> OpKind {
        let end = self.upto[4];
        let first_at_end = self.upto.iter().position(|upto| *upto == end);
        OpKind::ALL[first_at_end.unwrap_or(0)]
    }

    fn next_key(&mut self, ledger: &Ledger) -> KeyNumber {
        let picker = self.picker.as_mut().expect("a checked mix that names keys has a pick");
        picker.pick(&mut self.picks, ledger)
    }
}

#[cfg(test)]
mod tests;
