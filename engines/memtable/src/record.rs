//! Entries in memory that never moves: an [`Arena`] and the [`Record`]s in it.
//!
//! A record is a header (sequence number and kind in one word, the two lengths), the expiry if there
//! is one, the key, the value; it starts at a multiple of eight bytes. The key directly follows the
//! header, so that a comparison touches one cache line.
//!
//! The arena hands out memory in order from chunks that double in size; nothing is freed before the
//! arena is dropped. All unsafe reading of records is here.

#![expect(unsafe_code, reason = "entries must not move while readers hold them; see `Record`")]

use nori_kv::{EntryRef, Kind, SeqNo, Tick};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cmp::Ordering;
use std::ptr::NonNull;

const ALIGN: usize = 8;
const HEADER_BYTES: usize = 16;
const EXPIRES_BYTES: usize = 8;
/// Set in the low byte of the first word if an expiry follows the header; kinds are below it.
const HAS_EXPIRES: u64 = 0x80;
/// The first chunk: small, because an idle shard has a memtable too.
const CHUNK_BYTES_MIN: usize = 16 << 10;
/// The largest regular chunk, half of a huge page.
const CHUNK_BYTES_MAX: usize = 1 << 20;

/// An entry in an arena.
///
/// Invariant: it points to a whole record, written before the `Record` was made and never changed,
/// in a chunk that lives as long as the arena. Whoever keeps records keeps their arena, and drops
/// them no later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record(NonNull<u8>);

/// A header, a key and a value of 100 bytes.
const PREFETCHED_LINES: usize = 3;

// SAFETY: the memory behind a record is never written again after the record was made.
unsafe impl Send for Record {}
// SAFETY: as above.
unsafe impl Sync for Record {}

impl Record {
    /// Bytes of the record of `entry`. Panics on what no memtable takes.
    pub(crate) fn bytes_of(entry: EntryRef<'_>) -> usize {
        assert!(entry.kind != Kind::DeleteRange, "range tombstones are kept beside the memtable");
        assert!(u32::try_from(entry.key.len()).is_ok(), "keys are below 4 GiB");
        assert!(u32::try_from(entry.value.len()).is_ok(), "values are below 4 GiB");
        let expires_bytes = if entry.expires.is_some() { EXPIRES_BYTES } else { 0 };
        HEADER_BYTES + expires_bytes + entry.key.len() + entry.value.len()
    }

    /// Writes an entry as a record.
    ///
    /// # Safety
    /// `start` is a multiple of `ALIGN`, and `bytes_of(entry)` bytes from there on belong to the caller
    /// alone and to the arena that the invariant speaks of.
    pub(crate) unsafe fn write(start: NonNull<u8>, entry: EntryRef<'_>) -> Self {
        let flag = if entry.expires.is_some() { HAS_EXPIRES } else { 0 };
        let word = entry.seqno.value() << 8 | flag | entry.kind as u64;
        let lengths = (entry.value.len() as u64) << 32 | entry.key.len() as u64;
        // SAFETY: all writes are inside of what the caller gave.
        unsafe {
            start.cast::<u64>().write(word);
            start.cast::<u64>().add(1).write(lengths);
            let mut at = start.add(HEADER_BYTES);
            if let Some(Tick(expires)) = entry.expires {
                at.cast::<u64>().write(expires);
                at = at.add(EXPIRES_BYTES);
            }
            let key = at.as_ptr();
            key.copy_from_nonoverlapping(entry.key.as_ptr(), entry.key.len());
            let value = key.add(entry.key.len());
            value.copy_from_nonoverlapping(entry.value.as_ptr(), entry.value.len());
        }
        Self(start)
    }

    /// Starts to fetch the first bytes of the record.
    #[inline]
    pub(crate) fn prefetch(self) {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.0.as_ptr().cast::<i8>().cast_const();
            for line in 0..PREFETCHED_LINES {
                // SAFETY: a prefetch of any address is harmless; SSE is part of every x86-64.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(64 * line)) };
            }
        }
    }

    /// The entry.
    ///
    /// # Safety
    /// The arena that made the record must outlive `'a`.
    #[inline]
    pub(crate) unsafe fn entry<'a>(self) -> EntryRef<'a> {
        // SAFETY: the invariant of `Record`; the caller keeps the arena for `'a`.
        unsafe {
            let (word, key_bytes, value_bytes) = self.header();
            let (expires, at) = if word & HAS_EXPIRES == 0 {
                (None, HEADER_BYTES)
            } else {
                let expires = self.0.add(HEADER_BYTES).cast::<u64>().read();
                (Some(Tick(expires)), HEADER_BYTES + EXPIRES_BYTES)
            };
            let key = std::slice::from_raw_parts(self.0.add(at).as_ptr(), key_bytes);
            let value = self.0.add(at + key_bytes).as_ptr();
            let value = std::slice::from_raw_parts(value, value_bytes);
            let kind = Kind::from_byte((word & 0x7f) as u8).expect("written from a kind");
            let seqno = SeqNo::new(word >> 8).expect("written from a sequence number");
            EntryRef { key, seqno, kind, expires, value }
        }
    }

    /// Key and sequence number alone.
    ///
    /// # Safety
    /// As for `entry`.
    #[inline]
    pub(crate) unsafe fn position<'a>(self) -> (&'a [u8], SeqNo) {
        // SAFETY: the invariant of `Record`; the caller keeps the arena for `'a`.
        unsafe {
            let (word, key_bytes, _) = self.header();
            let at = if word & HAS_EXPIRES == 0 { 0 } else { EXPIRES_BYTES };
            let key = self.0.add(HEADER_BYTES + at).as_ptr();
            let seqno = SeqNo::new(word >> 8).expect("written from a sequence number");
            (std::slice::from_raw_parts(key, key_bytes), seqno)
        }
    }

    /// # Safety
    /// The arena must be alive.
    #[inline]
    unsafe fn header(self) -> (u64, usize, usize) {
        // SAFETY: a record starts with an aligned header of two words.
        let (word, lengths) = unsafe {
            let words = self.0.cast::<u64>();
            (words.read(), words.add(1).read())
        };
        (word, (lengths & u64::from(u32::MAX)) as usize, (lengths >> 32) as usize)
    }

    /// Where the record is in internal order, seen from `(key, seqno)`.
    ///
    /// # Safety
    /// The arena must be alive.
    #[inline]
    pub(crate) unsafe fn cmp_position(self, key: &[u8], seqno: SeqNo) -> Ordering {
        // SAFETY: the caller keeps the arena for the length of this call.
        let (own_key, own_seqno) = unsafe { self.position() };
        own_key.cmp(key).then_with(|| seqno.cmp(&own_seqno))
    }

    /// The record as an address to keep in an atomic.
    #[inline]
    pub(crate) fn as_ptr(self) -> *mut u8 {
        self.0.as_ptr()
    }

    /// The record behind an address from `as_ptr`; `None` for null.
    ///
    /// # Safety
    /// `ptr` is null or came from `as_ptr`.
    #[inline]
    pub(crate) unsafe fn from_ptr(ptr: *mut u8) -> Option<Self> {
        NonNull::new(ptr).map(Self)
    }
}

/// A piece of memory of its own.
#[derive(Debug)]
struct Chunk {
    start: NonNull<u8>,
    layout: Layout,
}

impl Chunk {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, ALIGN).expect("chunks are of sane sizes");
        assert!(bytes > 0);
        // SAFETY: the size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start) else { handle_alloc_error(layout) };
        Self { start, layout }
    }
}

impl Drop for Chunk {
    fn drop(&mut self) {
        // SAFETY: it was allocated with this layout, and only here it is freed.
        unsafe { dealloc(self.start.as_ptr(), self.layout) };
    }
}

/// Memory for records.
#[derive(Debug, Default)]
pub(crate) struct Arena {
    chunks: Vec<Chunk>,
    /// The end of the written part of the newest regular chunk, and the bytes left behind it.
    free: Option<NonNull<u8>>,
    left: usize,
    chunk_bytes: usize,
    used_bytes: u64,
}

// SAFETY: the pointers are to chunks that the arena owns.
unsafe impl Send for Arena {}
// SAFETY: a shared arena only tells how many bytes are used.
unsafe impl Sync for Arena {}

impl Arena {
    /// Bytes of records so far.
    pub(crate) fn used_bytes(&self) -> u64 {
        self.used_bytes
    }

    /// Copies an entry into the arena.
    pub(crate) fn push(&mut self, entry: EntryRef<'_>) -> Record {
        let start = self.reserve(Record::bytes_of(entry));
        // SAFETY: these are fresh bytes at an aligned address.
        unsafe { Record::write(start, entry) }
    }

    /// At least `bytes` bytes that nobody else has, at a multiple of `ALIGN`.
    pub(crate) fn reserve(&mut self, bytes: usize) -> NonNull<u8> {
        self.allocate(bytes.next_multiple_of(ALIGN))
    }

    /// `bytes` bytes that nobody else has; `bytes` is a multiple of `ALIGN`.
    fn allocate(&mut self, bytes: usize) -> NonNull<u8> {
        self.used_bytes += bytes as u64;
        if let Some(free) = self.free.filter(|_| bytes <= self.left) {
            return self.take(free, bytes);
        }
        if bytes > CHUNK_BYTES_MAX / 4 {
            // A chunk of its own, so that the rest of the regular chunk is not wasted.
            let chunk = Chunk::new(bytes);
            let start = chunk.start;
            self.chunks.push(chunk);
            return start;
        }
        self.chunk_bytes =
            (self.chunk_bytes * 2).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX).max(bytes);
        let chunk = Chunk::new(self.chunk_bytes);
        let start = chunk.start;
        self.chunks.push(chunk);
        self.left = self.chunk_bytes;
        self.take(start, bytes)
    }

    fn take(&mut self, free: NonNull<u8>, bytes: usize) -> NonNull<u8> {
        debug_assert!(bytes <= self.left);
        // SAFETY: `bytes <= left`, so the end is inside the chunk or just behind it.
        self.free = Some(unsafe { free.add(bytes) });
        self.left -= bytes;
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_what_was_pushed() {
        let mut arena = Arena::default();
        let long = vec![7_u8; CHUNK_BYTES_MAX];
        let mut pushed = Vec::new();
        for i in 0..5_000_u64 {
            let value = if i % 1_000 == 0 { long.as_slice() } else { &long[..i as usize % 300] };
            let expires = (i % 3 == 0).then_some(Tick(i));
            let kind = if i % 5 == 0 { Kind::Delete } else { Kind::Put };
            let key = i.to_be_bytes();
            let seqno = SeqNo::new(i << 20).expect("small");
            let entry = EntryRef { key: &key[..1 + i as usize % 8], seqno, kind, expires, value };
            let record = arena.push(entry);
            pushed.push((record, key, entry.key.len(), seqno, kind, expires, value));
        }
        for (record, key, key_bytes, seqno, kind, expires, value) in pushed {
            let key = &key[..key_bytes];
            // SAFETY: the arena is still here.
            let (entry, position) = unsafe { (record.entry(), record.position()) };
            assert_eq!(entry, EntryRef { key, seqno, kind, expires, value });
            assert_eq!(position, (key, seqno));
        }
    }

    #[test]
    fn used_bytes_are_the_records_and_nothing_else() {
        let mut arena = Arena::default();
        let entry = EntryRef {
            key: b"12345",
            seqno: SeqNo::ZERO,
            kind: Kind::Put,
            expires: None,
            value: b"1234",
        };
        arena.push(entry);
        assert_eq!(arena.used_bytes(), 32);
        arena.push(EntryRef { expires: Some(Tick(1)), ..entry });
        assert_eq!(arena.used_bytes(), 72);
    }
}
