//! What the log held: one sealed memtable for each of its segments, and which segments are kept. Segments are read by
//! [`Applying`], several at a time; here they are held against the chain of the log, one after the other.

use super::apply::{Applied, Applying, goes_back};
use crate::core::from_wal;
use crate::edit::Edit;
use crate::mem::{Mem, Sealed};
use nori_env::{Fs, Tasks};
use nori_kv::{Error, Reason, Result, SeqNo};
use nori_memtable::MemtableFactory;
use nori_wal::{Chain, Mark, Resume, Span, segment_name, segment_number};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

/// What the log held.
pub(super) struct Log {
    /// One per segment with operations, oldest first.
    pub(super) sealed: Vec<Arc<Sealed>>,
    pub(super) last: SeqNo,
    pub(super) ops: u64,
    pub(super) torn_bytes: u64,
    /// The segments up to the tail: needed until what they held is in tables.
    pub(super) kept: BTreeSet<u64>,
    pub(super) resume: Resume,
    /// What the log vouches for beside itself.
    pub(super) mark: Mark,
}

impl Log {
    /// That of a store without one.
    pub(super) fn none(numbers: &Edit) -> Self {
        Self {
            sealed: Vec::new(),
            last: numbers.last_seqno.unwrap_or(SeqNo::ZERO),
            ops: 0,
            torn_bytes: 0,
            kept: BTreeSet::new(),
            resume: Resume::at(1),
            mark: Mark::default(),
        }
    }

    pub(super) fn replay(
        fs: &Arc<dyn Fs>,
        dir: &Path,
        tasks: &dyn Tasks,
        numbers: &Edit,
        memtable: &dyn MemtableFactory,
    ) -> Result<Self> {
        let from = numbers.log_number.unwrap_or(1);
        let span = Span { from, begun: numbers.begun.unwrap_or(0) };
        let mut reading = Reading {
            dir,
            chain: Chain::of(&**fs, dir, span).map_err(from_wal)?,
            last: numbers.last_seqno.unwrap_or(SeqNo::ZERO),
            ops: 0,
            mems: BTreeMap::new(),
        };
        let mut applying = Applying::new(fs, tasks, dir);
        for number in reading.chain.segments() {
            if applying.is_full() {
                reading.take(applying.take_oldest())?;
            }
            applying.submit(number, Mem::new(memtable));
        }
        while reading.take(applying.take_oldest())? {}
        let Reading { chain, last, ops, mems, .. } = reading;
        let found = chain.finish().map_err(from_wal)?;
        // The chain from a segment on can be followed only if that segment exists: numbers have gaps.
        let mut nexts: Vec<u64> = mems.keys().skip(1).copied().collect();
        // A log without operations is not worth going on with.
        let resume = found.resume.filter(|_| !mems.is_empty());
        let resume = resume.unwrap_or(Resume::at(found.next_number));
        nexts.push(resume.number());
        let sealed: Vec<_> = mems
            .into_values()
            .zip(nexts)
            .map(|((mem, last), next_segment)| {
                Sealed::new(mem, last, next_segment, Reason::Recovery)
            })
            .collect();
        let kept = if sealed.is_empty() {
            BTreeSet::new()
        } else {
            (from..=found.tail_segment.unwrap_or(0)).collect()
        };
        Ok(Self { sealed, last, ops, torn_bytes: found.torn_bytes, kept, resume, mark: found.mark })
    }

    /// Removes the segments that are not kept. Those behind the tail go from the newest down, each removal safe before the next,
    /// so that no power loss leaves a gap among segments that are needed.
    pub(super) fn remove_others(&self, fs: &dyn Fs, dir: &Path) -> Result<()> {
        let names = fs.list(dir).map_err(|e| Error::io("listing", dir, e))?;
        let mut dead: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
        dead.retain(|number| !self.kept.contains(number));
        dead.sort_unstable();
        let tail = self.kept.last().copied();
        for number in dead.into_iter().rev() {
            let path = dir.join(segment_name(number));
            fs.remove(&path).map_err(|e| Error::io("removing", &path, e))?;
            if tail.is_some_and(|tail| number > tail) {
                fs.sync_dir(dir).map_err(|e| Error::io("syncing", dir, e))?;
            }
        }
        Ok(())
    }
}

/// The log as far as it was read.
struct Reading<'a> {
    dir: &'a Path,
    chain: Chain<'a>,
    /// The last sequence number in tables or read.
    last: SeqNo,
    ops: u64,
    /// By segment, with its last sequence number.
    mems: BTreeMap<u64, (Arc<Mem>, SeqNo)>,
}

impl Reading<'_> {
    /// Takes what the next segment held, if the log goes on with it. False if there is none.
    fn take(&mut self, applied: Option<Result<Applied>>) -> Result<bool> {
        let Some(applied) = applied.transpose()? else { return Ok(false) };
        let Applied { segment, first, last, ops, mem, damage } = applied;
        if !self.chain.goes_on(segment.head()).map_err(from_wal)? {
            return Ok(true);
        }
        let number = segment.head().number();
        if let Some((first, offset)) = first {
            if first <= self.last {
                let what = goes_back(first.value(), self.last);
                return Err(Error::corrupt(&self.dir.join(segment_name(number)), offset, what));
            }
            self.mems.insert(number, (mem, last));
            self.last = last;
            self.ops += ops;
        }
        if let Some(error) = damage {
            return Err(error);
        }
        self.chain.push(segment);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_env::{ManualClock, MemFs, SeededTasks, SegmentKind};
    use nori_kv::WriteBatch;
    use nori_observe::NullMeter;
    use nori_wal::{Wal, WalOptions};

    #[test]
    fn of_several_bad_places_the_one_in_the_oldest_segment_is_told() {
        let dir = Path::new("/store");
        let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
        fs.create_dir(dir).unwrap();
        let tasks: Arc<dyn Tasks> = Arc::new(SeededTasks::new(1, ManualClock::default()));
        let options = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };
        let (files, jobs) = (Arc::clone(&fs), Arc::clone(&tasks));
        let wal = Wal::create(dir, files, jobs, &NullMeter, options, Resume::at(1)).unwrap();
        let mut batch = WriteBatch::new();
        batch.put(b"a", b"1");
        // A batch of an unknown kind, which a job finds, and a number that goes back, which is found later.
        for (segment, seqno, payload) in
            [(1, 1, batch.encoded()), (2, 2, &[0xFF]), (3, 3, &[0xFE]), (4, 1, batch.encoded())]
        {
            wal.append(seqno, 1, payload).unwrap();
            assert_eq!(wal.tail().0, segment);
            wal.rotate(1).unwrap();
        }
        let memtable = crate::Components::default().memtable;
        let outcome = Log::replay(&fs, dir, &*tasks, &Edit::default(), &*memtable);
        let Err(Error::Corrupt { file, .. }) = outcome else { panic!("damage is an error") };
        assert_eq!(*file, *dir.join(segment_name(2)));
    }
}
