//! The machine's own files.
//!
//! A segment is written with zeros and synced when it is made, so that a later `fdatasync` of it moves
//! data only: on the reference disk 98 us against 218 us for a file that grows. Where no sync is expected its blocks are
//! only allocated ([`Zeros::Allocated`]), which keeps the zeros off the disk. A mapped segment is
//! populated at once, so that a put does not wait for a page, and its file is never truncated while mapped;
//! an I/O error under a mapping is delivered as SIGBUS and ends the process.
//!
//! A file that is written begins to go to the disk while it grows, so that the disk is not idle until the sync and
//! then the only one at work.

use crate::fs::outside_segment;
use crate::{Completion, File, Fs, Lock, NameChange, OpenMode, Segment, SegmentKind, Zeros};
use bytes::Bytes;
use memmap2::{Mmap, MmapOptions, MmapRaw};
use rustix::buffer::spare_capacity;
use rustix::fs::{FallocateFlags, FlockOperation};
use rustix::io::Errno;
use std::fs;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

/// The operating system's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsFs;

impl Fs for OsFs {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true);
        if mode == OpenMode::CreateNew {
            options.write(true).create_new(true);
        }
        Ok(Arc::new(OsFile(options.open(path)?)))
    }

    fn segment(
        &self,
        path: &Path,
        kind: SegmentKind,
        zeros: Zeros,
        bytes: u64,
    ) -> io::Result<Arc<dyn Segment>> {
        let file = fs::OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let made = fill(&file, zeros, bytes).and_then(|()| {
            Ok(match kind {
                SegmentKind::Pwrite => Arc::new(PwriteSegment { file, bytes }) as Arc<dyn Segment>,
                SegmentKind::Mapped => Arc::new(MappedSegment { map: map(&file, zeros)?, file }),
            })
        });
        // What was cut short for want of room must not keep the last of it.
        made.inspect_err(|_| drop(fs::remove_file(path)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(dir)? {
            let name = entry?.file_name().into_string();
            names.push(name.unwrap_or_else(|odd| odd.to_string_lossy().into_owned()));
        }
        names.sort_unstable();
        Ok(names)
    }

    fn change(&self, change: NameChange<'_>) -> io::Result<()> {
        match change {
            NameChange::CreateDir(path) => fs::create_dir_all(path),
            NameChange::Rename { from, to } => fs::rename(from, to),
            NameChange::Link { from, to } => fs::hard_link(from, to),
            NameChange::Remove(path) => fs::remove_file(path),
            NameChange::RemoveDir(path) => fs::remove_dir(path),
        }
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        fs::File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Lock>> {
        loop {
            let file =
                fs::OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // Who held it may have removed the file before it let go: then this is a lock on a name that is gone.
            let of_name = match fs::metadata(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                metadata => metadata?,
            };
            let of_file = file.metadata()?;
            if (of_name.dev(), of_name.ino()) == (of_file.dev(), of_file.ino()) {
                return Ok(Box::new(OsLock { file }));
            }
        }
    }
}

/// Makes a segment of safe zeros. Allocated ones are put into the page cache as well, dirty and not synced: pages that are written
/// come in large folios, and those of a fault one by one. For 10 MiB that is 2.1 ms against 7.2, and 0.9 against 2.9 for the
/// removal.
fn fill(file: &fs::File, zeros: Zeros, bytes: u64) -> io::Result<()> {
    if zeros == Zeros::Allocated {
        let promised = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, bytes);
        // Not every file system can promise zeros, and they have several ways to say so. What else was wrong, writing will say.
        if promised.is_ok() {
            file.sync_all()?;
            return write_zeros(file, 0..bytes, LARGE_CHUNK);
        }
    }
    let mut offset = 0;
    while offset < bytes {
        let end = bytes.min(offset + SYNCED_BYTES);
        write_zeros(file, offset..end, SMALL_CHUNK)?;
        file.sync_data()?;
        offset = end;
    }
    file.sync_all()
}

/// Zeros are synced in pieces: others' syncs of the same disk wait for one of them and not for all, which for 64 MiB is a quarter of a second.
const SYNCED_BYTES: u64 = 1 << 20;

/// A folio of the page cache is as large as the write that made it, up to a bound, and a put through a mapping makes all of it dirty (Linux 6.18, ext4): after zeros in
/// chunks of 1 MiB each `fdatasync` of 300 bytes took 325 us, after chunks of 16 KiB 118. They cost 26 ms for 64 MiB in place of 16.
const SMALL_CHUNK: usize = 16 << 10;
/// Where no sync waits for what was put.
const LARGE_CHUNK: usize = 128 << 10;

fn write_zeros(file: &fs::File, range: Range<u64>, chunk: usize) -> io::Result<()> {
    static ZEROS: [u8; LARGE_CHUNK] = [0; LARGE_CHUNK];
    for offset in range.clone().step_by(chunk) {
        let len = (range.end - offset).min(chunk as u64);
        file.write_all_at(&ZEROS[..len as usize], offset)?;
    }
    Ok(())
}

/// Maps a segment with all its pages there. Pages that were written and synced are there for reading, and each takes a fault at its
/// first put: to have them there for writing is to make them dirty, and the first sync would write all zeros once more. Pages
/// that no sync waits for are there for writing: puts into 10 MiB take 0.3 ms then, and 4.7 with faults.
fn map(file: &fs::File, zeros: Zeros) -> io::Result<MmapRaw> {
    if zeros == Zeros::Written {
        return MmapOptions::new().populate().map_raw(file);
    }
    let map = MmapOptions::new().map_raw(file)?;
    #[cfg(target_os = "linux")]
    match map.advise(memmap2::Advice::PopulateWrite) {
        // A kernel before 5.14: the pages come with the puts.
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
        populated => populated?,
    }
    Ok(map)
}

/// A file on its way to the disk is handed over in stretches of this length, which must be few enough not to cost and small enough
/// that little is left for the sync at the end: a load of 1,000-byte values gained 13 % with half of it, with it and with twice as much.
const WRITEBACK_BYTES: u64 = 1 << 20;

struct OsFile(fs::File);

impl File for OsFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self.0.read_at(&mut buf[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn read_onto(&self, into: &mut Vec<u8>, offset: u64, len: usize) -> io::Result<()> {
        let start = into.len();
        into.reserve(len);
        while into.len() < start + len {
            let at = offset + (into.len() - start) as u64;
            match rustix::io::pread(&self.0, spare_capacity(into), at) {
                Ok(0) => break,
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        // There may be more room than was asked for.
        into.truncate(start + len);
        Ok(())
    }

    #[expect(unsafe_code, reason = "the compiler cannot know that nobody writes the file")]
    fn map(&self) -> io::Result<Bytes> {
        if self.0.metadata()?.len() == 0 {
            return Ok(Bytes::new());
        }
        // SAFETY: whoever calls promises that the file does not change any more (the contract of `map`), so the
        // bytes behind the slice stay as they are. Another process that breaks it is outside of what a
        // store can guard against: it holds the lock of its folder.
        let map = unsafe { Mmap::map(&self.0) }?;
        Ok(Bytes::from_owner(map))
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)?;
        let floor = |at: u64| at / WRITEBACK_BYTES * WRITEBACK_BYTES;
        let (from, to) = (floor(offset), floor(offset + bytes.len() as u64));
        if from < to {
            begin_writeback(&self.0, from, to - from);
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn sync(&self, done: Completion) {
        done(self.0.sync_data());
    }
}

/// Asks the kernel to begin writing dirty pages to the disk, and does not wait. Only a sync makes them safe and hears of errors, so
/// what comes back is of no use.
#[cfg(target_os = "linux")]
fn begin_writeback(file: &fs::File, offset: u64, len: u64) {
    use std::os::fd::AsRawFd;
    #[expect(unsafe_code, reason = "no safe crate has this call")]
    // SAFETY: the call reads no memory of ours, and the descriptor is open as long as `file` is borrowed.
    let _ = unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset.cast_signed(),
            len.cast_signed(),
            libc::SYNC_FILE_RANGE_WRITE,
        )
    };
}

#[cfg(not(target_os = "linux"))]
fn begin_writeback(_: &fs::File, _: u64, _: u64) {}

struct PwriteSegment {
    file: fs::File,
    bytes: u64,
}

impl Segment for PwriteSegment {
    fn capacity(&self) -> u64 {
        self.bytes
    }

    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_inside(offset, bytes.len(), self.bytes)?;
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self, done: Completion) {
        done(self.file.sync_data());
    }
}

struct MappedSegment {
    file: fs::File,
    /// Covers the whole file, whose length never changes while this lives.
    map: MmapRaw,
}

impl Segment for MappedSegment {
    fn capacity(&self) -> u64 {
        self.map.len() as u64
    }

    #[expect(unsafe_code, reason = "a copy into a mapping that other threads copy into as well")]
    fn put(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        check_inside(offset, bytes.len(), self.capacity())?;
        // SAFETY: `offset + bytes.len() <= map.len()` was just checked, so the target lies inside the
        // mapping; the mapping is writable and lives as long as `self`. No reference into it is ever
        // made, and the contract of `Segment` gives ranges that do not overlap to puts that run at
        // the same time, so no byte is written by two threads.
        unsafe {
            let target = self.map.as_mut_ptr().add(offset as usize);
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len());
        }
        Ok(())
    }

    fn sync(&self, done: Completion) {
        // Pages dirtied through a shared mapping belong to the file: fdatasync writes them too.
        done(self.file.sync_data());
    }
}

fn check_inside(offset: u64, len: usize, capacity: u64) -> io::Result<()> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= capacity => Ok(()),
        _ => Err(outside_segment(offset, len, capacity)),
    }
}

struct OsLock {
    /// The lock belongs to the open file and ends with it, also when the process is killed.
    file: fs::File,
}

impl Lock for OsLock {}

impl Drop for OsLock {
    fn drop(&mut self) {
        // Closing is not enough: a child that another thread is just starting has a copy of the file until it runs its
        // program, and the lock would last as long. If this fails, it does.
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_ends_when_it_is_dropped_though_a_child_holds_a_copy_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("LOCK");
        let file = fs::File::create(&path).unwrap();
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
        let copy = file.try_clone().unwrap();
        let lock = OsLock { file };
        assert_eq!(OsFs.lock(&path).err().unwrap().kind(), io::ErrorKind::WouldBlock);
        drop(lock);
        assert!(OsFs.lock(&path).is_ok());
        drop(copy);
    }

    #[test]
    fn allocated_zeros_are_room_that_nobody_else_gets() {
        let dir = tempfile::tempdir().unwrap();
        for (name, zeros) in [("written", Zeros::Written), ("allocated", Zeros::Allocated)] {
            let path = dir.path().join(name);
            OsFs.segment(&path, SegmentKind::Pwrite, zeros, 1 << 20).unwrap();
            let metadata = fs::metadata(&path).unwrap();
            assert_eq!(metadata.len(), 1 << 20);
            assert!(metadata.blocks() * 512 >= 1 << 20, "{name}: {} blocks", metadata.blocks());
            assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 0), "{name}");
        }
    }
}
