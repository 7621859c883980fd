//! What the machine itself takes for the least that a part could do, measured where and when the part is.
//!
//! Each is the plainest code there is for it, so that the distance between a figure and the physical one beside it is
//! what our code adds. None of them allocates while it is timed.

use super::job::{MEGA, mixed};
use super::row::{Figure, median};
use anyhow::{Context, Result};
use std::fs::File;
use std::hint::black_box;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Trials of a figure, of which it is the median.
pub(super) const TRIALS: u32 = 5;

/// The median over trials of the nanoseconds that one of `n` operations takes; `trial` is told which trial it is.
pub(super) fn nanos(what: &str, n: u64, mut trial: impl FnMut(usize)) -> Figure {
    let mut time = |number: usize| {
        let began = Instant::now();
        trial(number);
        began.elapsed().as_nanos() as f64 / n as f64
    };
    let value = median((0..TRIALS as usize).map(&mut time).collect());
    Figure { trials: TRIALS, ..Figure::new(what, value, "ns", n * u64::from(TRIALS)) }
}

/// The median over trials of the rate at which `bytes` bytes are gone through.
pub(super) fn rate(
    what: &str,
    bytes: u64,
    mut trial: impl FnMut() -> Result<()>,
) -> Result<Figure> {
    let mut rates = Vec::new();
    for _ in 0..TRIALS {
        let began = Instant::now();
        trial()?;
        rates.push(bytes as f64 / MEGA / began.elapsed().as_secs_f64());
    }
    let n = bytes * u64::from(TRIALS);
    let figure = Figure::new(what, median(rates), "MB/s", n);
    Ok(Figure { trials: TRIALS, ..figure })
}

/// Two reads of the clock, as they stand around each operation that is measured.
pub(super) fn two_clock_reads(n: u64) -> Figure {
    nanos("two reads of the clock", n, |_| {
        for _ in 0..n {
            let began = black_box(Instant::now());
            black_box(began.elapsed());
        }
    })
}

/// One line of the processor's cache.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line {
    next: u32,
}

const LINE_BYTES: u64 = 64;
/// Fits the first cache of every processor of the last fifteen years.
const L1_BYTES: u64 = 16 << 10;
const CHASES: u64 = 1_000_000;

/// An access that waits for the last, to a random line of `bytes` bytes.
pub(super) fn chase(what: &str, bytes: u64) -> Figure {
    let lines = (bytes / LINE_BYTES).clamp(2, u64::from(u32::MAX)) as usize;
    let mut ring: Vec<Line> = (0..lines).map(|next| Line { next: next as u32 }).collect();
    // Sattolo's shuffle leaves one cycle through all lines.
    for last in (1..lines).rev() {
        let other = mixed(last as u64) as usize % last;
        let (a, b) = (ring[last].next, ring[other].next);
        (ring[last].next, ring[other].next) = (b, a);
    }
    let mut at = 0;
    nanos(what, CHASES, |_| {
        for _ in 0..CHASES {
            at = ring[at as usize].next;
        }
        black_box(at);
    })
}

/// A random access to memory that no cache holds: over as much of it as the part that is measured has.
pub(super) fn memory_access(bytes: u64) -> Figure {
    chase(&format!("a dependent access to {} MiB", bytes >> 20), bytes)
}

/// An access to the first cache.
pub(super) fn l1_access() -> Figure {
    chase("a dependent access to the first cache", L1_BYTES)
}

/// Copying memory that no cache holds.
pub(super) fn copying(bytes: u64) -> Result<Figure> {
    let (from, mut to) = (vec![1_u8; bytes as usize], vec![2_u8; bytes as usize]);
    rate("memcpy", bytes, || {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        Ok(())
    })
}

/// The checksum of the formats, over memory that no cache holds.
pub(super) fn checksumming(bytes: u64) -> Result<Figure> {
    let data = vec![1_u8; bytes as usize];
    rate("crc32c of memory", bytes, || {
        black_box(nori_env::crc32c(black_box(&data)));
        Ok(())
    })
}

/// Reading files one after the other, in pieces of 1 MiB, from the page cache.
pub(super) fn reading(what: &str, paths: &[PathBuf]) -> Result<Figure> {
    let mut bytes = 0;
    for path in paths {
        bytes += std::fs::metadata(path)?.len();
    }
    let mut piece = vec![0; 1 << 20];
    rate(what, bytes, || {
        for path in paths {
            let mut file = File::open(path).with_context(|| path.display().to_string())?;
            while file.read(&mut piece)? > 0 {
                black_box(&piece);
            }
        }
        Ok(())
    })
}

/// Writing a new file and making it safe.
pub(super) fn writing(path: &Path, bytes: u64) -> Result<Figure> {
    let piece = vec![1; 1 << 20];
    rate("writing a file and syncing it", bytes, || {
        let mut file = File::create(path)?;
        let mut left = bytes as usize;
        while left > 0 {
            let some = left.min(piece.len());
            file.write_all(&piece[..some])?;
            left -= some;
        }
        file.sync_all()?;
        Ok(std::fs::remove_file(path)?)
    })
}
