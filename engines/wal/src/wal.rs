//! The writing half of the log.

use crate::ahead::Ahead;
use crate::format::{
    GroupHeader, MARK_BYTES, Mark, Predecessor, SegmentHeader, encode_group, group_bytes,
};
use crate::sync::SyncState;
use crate::{Position, SEGMENT_HEADER_BYTES, WalError, position};
use nori_env::{Fs, Segment, SegmentKind, Tasks, Waited, Zeros};
use nori_observe::{Counter, Meter};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A log's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalOptions {
    /// How bytes reach the page cache.
    pub kind: SegmentKind,
    /// The length of a segment; a larger group gets a segment of its own length.
    pub segment_bytes: u64,
}

/// Where a log goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The number of the segment to begin; it does not exist.
    pub(crate) number: u64,
    pub(crate) predecessor: Predecessor,
    /// Whether everything up to the tail survives power loss.
    pub(crate) is_safe: bool,
    /// What the first segments are made of: that of a log whose last segment was as it was, see [`Wal::zeros_after`].
    pub(crate) zeros: Zeros,
}

impl Resume {
    /// A log of its own that begins with segment `number`.
    pub fn at(number: u64) -> Self {
        let predecessor = Predecessor::default();
        Self { number, predecessor, is_safe: true, zeros: Zeros::Written }
    }

    /// The same, but nothing is promised of what was there before. Whoever asks for it has all of that somewhere else, safe, before
    /// the first sync: a sync promises everything up to its end.
    #[must_use]
    pub fn without_promise(self) -> Self {
        Self { is_safe: false, ..self }
    }

    /// The number of the segment to begin.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Everything up to the tail is safe. Not a byte more: the new segment's own header is not.
    fn safe(&self) -> Position {
        match self.predecessor {
            _ if !self.is_safe => position(0, 0),
            Predecessor { number: 0, .. } => position(self.number, 0),
            Predecessor { number, end, .. } => position(number, end),
        }
    }
}

/// A log that is being written.
///
/// Thread safety: appends are ordered by a lock inside; who needs sequence numbers to grow with positions calls
/// `append` under a lock of its own. Syncs run beside appends.
pub struct Wal {
    pub(crate) dir: PathBuf,
    fs: Arc<dyn Fs>,
    pub(crate) tasks: Arc<dyn Tasks>,
    ahead: Arc<Ahead>,
    pub(crate) writer: Mutex<Writer>,
    /// Held by who removes segments: two at once would want to remove the same file.
    removing: Mutex<()>,
    pub(crate) sync: Mutex<SyncState>,
    /// Everything below survives power loss. Only grows.
    pub(crate) safe: AtomicU64,
    bytes: Counter,
    pub(crate) syncs: Counter,
}

/// A segment that is or was written.
pub(crate) struct ActiveSegment {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn Segment>,
}

pub(crate) struct Writer {
    pub(crate) active: Arc<ActiveSegment>,
    /// The offset behind the last group: `SEGMENT_HEADER_BYTES <= end <= capacity < 2^32`, a multiple of 8.
    end: u64,
    tail_checksum: u32,
    /// The newest, for the header of the next segment.
    mark: Mark,
    /// Sealed segments with bytes at or above `safe`, oldest first.
    pub(crate) sealed_unsafe: Vec<Arc<ActiveSegment>>,
    scratch: Vec<u8>,
    /// The first error ended writing: what is at the tail is unknown.
    failed: Option<WalError>,
}

impl Wal {
    /// Starts a log, or goes on with one that was replayed: in a new segment that names the tail as its predecessor. Whoever
    /// replayed has removed the segments behind the tail, and has made those up to it safe or asks for no promise
    /// ([`Resume::without_promise`]).
    ///
    /// # Errors
    ///
    /// If the segment cannot be created.
    pub fn create(
        dir: &Path,
        fs: Arc<dyn Fs>,
        tasks: Arc<dyn Tasks>,
        meter: &dyn Meter,
        options: WalOptions,
        resume: Resume,
    ) -> Result<Self, WalError> {
        let Resume { number, predecessor, zeros, .. } = resume;
        let ahead = Ahead::new(Arc::clone(&fs), dir, options.kind, options.segment_bytes);
        let file = ahead.take(number, zeros, SEGMENT_HEADER_BYTES as u64)?;
        let bytes = file.capacity() as u32;
        let header = SegmentHeader { number, bytes, predecessor, mark: Mark::default() };
        let active = open_segment(dir, file, &header)?;
        ahead.prepare(number + 1, zeros, &*tasks);
        let writer = Writer {
            active,
            end: SEGMENT_HEADER_BYTES as u64,
            tail_checksum: 0,
            mark: Mark::default(),
            sealed_unsafe: Vec::new(),
            scratch: Vec::new(),
            failed: None,
        };
        Ok(Self {
            dir: dir.to_owned(),
            fs,
            tasks,
            ahead,
            writer: Mutex::new(writer),
            removing: Mutex::default(),
            sync: Mutex::default(),
            safe: AtomicU64::new(resume.safe()),
            bytes: meter.counter("wal_bytes"),
            syncs: meter.counter("wal_syncs"),
        })
    }

    /// Whether a payload of that size goes into the active segment.
    pub fn fits(&self, payload_bytes: usize) -> bool {
        lock(&self.writer).fits(payload_bytes)
    }

    /// Appends a group; the position behind it. When this returns, a killed process loses nothing of it.
    /// A group that does not fit the active segment rotates first: whoever counts segments asks
    /// [`Self::fits`] and calls [`Self::rotate`] before.
    ///
    /// # Errors
    ///
    /// If the operating system fails; then the log takes nothing more.
    pub fn append(&self, first_seqno: u64, ops: u32, payload: &[u8]) -> Result<Position, WalError> {
        let mut writer = lock(&self.writer);
        if let Some(error) = &writer.failed {
            return Err(error.clone());
        }
        if !writer.fits(payload.len()) {
            drop(writer);
            writer = self.lock_to_rotate()?;
            if !writer.fits(payload.len()) {
                self.rotate_locked(&mut writer, payload.len())?;
            }
        }
        self.put_group(&mut writer, first_seqno, ops, payload)?;
        Ok(writer.appended())
    }

    /// Takes note of what the owner vouches for now: in this segment if there is room, and in the header of every later one.
    /// Nothing is synced for it; who reads a mark knows that it was true when it was written.
    ///
    /// # Errors
    ///
    /// If the operating system fails, now or earlier; then the log takes nothing more.
    pub fn mark(&self, mark: Mark) -> Result<(), WalError> {
        let mut writer = lock(&self.writer);
        if let Some(error) = &writer.failed {
            return Err(error.clone());
        }
        debug_assert!(mark >= writer.mark, "what is vouched for only grows");
        writer.mark = mark;
        if writer.fits(MARK_BYTES) {
            self.put_group(&mut writer, 0, 0, &mark.encode())?;
        }
        Ok(())
    }

    /// Puts a group that fits behind the last one.
    fn put_group(
        &self,
        writer: &mut Writer,
        first_seqno: u64,
        ops: u32,
        payload: &[u8],
    ) -> Result<(), WalError> {
        let header = GroupHeader {
            payload_bytes: payload.len() as u32,
            ops,
            first_seqno,
            synced_upto: self.safe.load(Ordering::Acquire),
        };
        let Writer { active, end, tail_checksum, scratch, .. } = &mut *writer;
        let checksum = encode_group(scratch, active.number, *end, &header, payload);
        if let Err(error) = active.file.put(*end, scratch) {
            let error = WalError::io("writing", &active.path, error);
            writer.failed = Some(error.clone());
            return Err(error);
        }
        *end += scratch.len() as u64;
        *tail_checksum = checksum;
        self.bytes.add(scratch.len() as u64);
        Ok(())
    }

    /// Seals the active segment and goes on in a new one, with room for `payload_bytes`; its number.
    ///
    /// # Errors
    ///
    /// If no segment can be made; then the log takes nothing more.
    pub fn rotate(&self, payload_bytes: usize) -> Result<u64, WalError> {
        let mut writer = self.lock_to_rotate()?;
        self.rotate_locked(&mut writer, payload_bytes)?;
        Ok(writer.active.number)
    }

    /// The number of the active segment and the position behind the last group.
    pub fn tail(&self) -> (u64, Position) {
        let writer = lock(&self.writer);
        (writer.active.number, writer.appended())
    }

    /// Removes the segments below `number`, whose operations live elsewhere by now.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed; it is tried again by the next call.
    pub fn remove_below(&self, number: u64) -> Result<(), WalError> {
        let _alone = lock(&self.removing);
        let names = self.fs.list(&self.dir).map_err(|e| WalError::io("listing", &self.dir, e))?;
        lock(&self.writer).sealed_unsafe.retain(|segment| segment.number >= number);
        for name in names {
            if segment_number(&name).is_some_and(|of| of < number) {
                let path = self.dir.join(name);
                self.fs.remove(&path).map_err(|e| WalError::io("removing", &path, e))?;
            }
        }
        Ok(())
    }

    /// The writer's lock, taken when nobody makes the next segment. The wait for that is outside the lock: a job that removes
    /// segments takes it too, and may have to end before the one that makes them is run.
    fn lock_to_rotate(&self) -> Result<MutexGuard<'_, Writer>, WalError> {
        loop {
            let writer = lock(&self.writer);
            let Some(pending) = self.ahead.pending(writer.active.number + 1) else {
                return Ok(writer);
            };
            drop(writer);
            if self.tasks.wait(&pending) == Waited::Stuck {
                return Err(WalError::Stuck);
            }
        }
    }

    fn rotate_locked(&self, writer: &mut Writer, payload_bytes: usize) -> Result<(), WalError> {
        if let Some(error) = &writer.failed {
            return Err(error.clone());
        }
        let number = writer.active.number + 1;
        let bytes_min = (SEGMENT_HEADER_BYTES + group_bytes(payload_bytes)) as u64;
        let predecessor = Predecessor {
            number: writer.active.number,
            end: writer.end,
            tail_checksum: writer.tail_checksum,
        };
        let mark = writer.mark;
        let zeros = self.zeros_after(writer.active.number);
        let opened = self.ahead.take(number, zeros, bytes_min).and_then(|file| {
            let bytes = file.capacity() as u32;
            open_segment(&self.dir, file, &SegmentHeader { number, bytes, predecessor, mark })
        });
        let opened = opened.inspect_err(|error| writer.failed = Some(error.clone()))?;
        let sealed = std::mem::replace(&mut writer.active, opened);
        writer.sealed_unsafe.push(sealed);
        writer.end = SEGMENT_HEADER_BYTES as u64;
        writer.tail_checksum = 0;
        self.ahead.prepare(number + 1, zeros, &*self.tasks);
        Ok(())
    }

    /// What the segments to come should be made of, judged by segment `number`, which is about to be sealed: whether anything
    /// of it was synced. Who begins to sync, or ceases to, has it their way two segments later.
    fn zeros_after(&self, number: u64) -> Zeros {
        if self.safe.load(Ordering::Acquire) > position(number, 0) {
            Zeros::Written
        } else {
            Zeros::Allocated
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        self.ahead.close(&*self.tasks);
    }
}

impl Writer {
    pub(crate) fn appended(&self) -> Position {
        position(self.active.number, self.end)
    }

    /// Forgets the sealed segments that end at or below `safe`.
    pub(crate) fn forget_safe(&mut self, safe: Position) {
        self.sealed_unsafe.retain(|segment| position(segment.number + 1, 0) > safe);
    }

    fn fits(&self, payload_bytes: usize) -> bool {
        self.end + group_bytes(payload_bytes) as u64 <= self.active.file.capacity()
    }
}

fn open_segment(
    dir: &Path,
    file: Arc<dyn Segment>,
    header: &SegmentHeader,
) -> Result<Arc<ActiveSegment>, WalError> {
    let number = header.number;
    let path = segment_path(dir, number);
    file.put(0, &header.encode()).map_err(|e| WalError::io("writing", &path, e))?;
    Ok(Arc::new(ActiveSegment { number, path, file }))
}

/// The file name of segment `number`.
pub fn segment_name(number: u64) -> String {
    format!("{number:010}.wal")
}

pub(crate) fn segment_path(dir: &Path, number: u64) -> PathBuf {
    dir.join(segment_name(number))
}

/// The number of the segment of that file name.
pub fn segment_number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".wal")?;
    let number = digits.parse().ok()?;
    (segment_name(number) == name).then_some(number)
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Span, replay};
    use nori_env::{ManualClock, MemFs, SeededTasks};
    use nori_observe::NullMeter;

    #[test]
    fn a_log_that_is_not_synced_asks_for_no_zeros_on_the_disk() {
        let dir = Path::new("/log");
        let fs: Arc<dyn Fs> = Arc::new(MemFs::new());
        fs.create_dir(dir).unwrap();
        let files = Arc::clone(&fs);
        // What a log that goes on after these segments begins with.
        let found = || {
            let span = Span { from: 1, begun: 0 };
            replay(&*files, dir, span, |_| Ok::<_, WalError>(())).unwrap().resume.unwrap().zeros
        };
        let tasks = Arc::new(SeededTasks::new(1, ManualClock::default()));
        let options = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: 4096 };
        let wal = Wal::create(dir, fs, tasks, &NullMeter, options, Resume::at(1)).unwrap();
        let at_end_of = |segment: u64, is_synced: bool| {
            assert_eq!(wal.tail().0, segment);
            let position = wal.append(segment, 1, b"x").unwrap();
            if is_synced {
                wal.sync(position).unwrap();
            }
            let zeros = wal.zeros_after(segment);
            wal.rotate(1).unwrap();
            zeros
        };
        assert_eq!(at_end_of(1, false), Zeros::Allocated);
        assert_eq!(at_end_of(2, true), Zeros::Written);
        assert_eq!(at_end_of(3, true), Zeros::Written);
        assert_eq!(at_end_of(4, false), Zeros::Allocated);
        assert_eq!(found(), Zeros::Allocated);
        let position = wal.append(5, 1, b"x").unwrap();
        wal.sync(position).unwrap();
        wal.append(6, 1, b"x").unwrap();
        assert_eq!(found(), Zeros::Written);
    }
}
