//! The codec seam: how a block's bytes are stored.

use std::cell::RefCell;
use std::fmt;

/// Stores a block's bytes and gets them back.
///
/// # Contract
///
/// * `decompress` of what `compress` appended gives the same bytes.
/// * `decompress` takes any input and any length of output without panicking; what does not decode to exactly
///   `raw.len()` bytes is an error.
/// * [`Codec::id`] is in each block's trailer: it never changes, and a changed format takes a new one.
pub trait Codec: fmt::Debug + Send + Sync {
    /// The name in experiment files and configurations.
    fn name(&self) -> &'static str;
    /// The number on disk.
    fn id(&self) -> u8;
    /// Appends the stored form of `raw` to `into`, or anything longer than `raw` if it cannot be made smaller.
    fn compress(&self, raw: &[u8], into: &mut Vec<u8>);
    /// Fills `raw` from its stored form.
    ///
    /// # Errors
    ///
    /// What is wrong with `stored`, in a few words.
    fn decompress(&self, stored: &[u8], raw: &mut [u8]) -> Result<(), &'static str>;
}

/// A codec and its line in a list.
pub struct CodecEntry {
    /// One line for people who choose.
    pub about: &'static str,
    /// The codec.
    pub codec: &'static dyn Codec,
}

/// Every codec.
pub fn codecs() -> &'static [CodecEntry] {
    &[
        CodecEntry { about: "blocks as they are", codec: &Raw },
        CodecEntry { about: "LZ4 blocks, kept where they save an eighth", codec: &Lz4 },
        CodecEntry {
            about: "Zstandard frames of level 3: smaller and slower than LZ4",
            codec: &Zstd,
        },
    ]
}

/// The codec called `name`.
pub fn codec(name: &str) -> Option<&'static dyn Codec> {
    codecs().iter().map(|entry| entry.codec).find(|codec| codec.name() == name)
}

/// The codec numbered `id` on disk.
pub fn codec_by_id(id: u8) -> Option<&'static dyn Codec> {
    codecs().iter().map(|entry| entry.codec).find(|codec| codec.id() == id)
}

#[derive(Debug)]
struct Raw;

impl Codec for Raw {
    fn name(&self) -> &'static str {
        "raw"
    }

    fn id(&self) -> u8 {
        0
    }

    fn compress(&self, _raw: &[u8], _into: &mut Vec<u8>) {
        // Blocks that are stored as they are never pass through here.
    }

    fn decompress(&self, stored: &[u8], raw: &mut [u8]) -> Result<(), &'static str> {
        if stored.len() != raw.len() {
            return Err("stored and raw length differ");
        }
        raw.copy_from_slice(stored);
        Ok(())
    }
}

#[derive(Debug)]
struct Lz4;

impl Codec for Lz4 {
    fn name(&self) -> &'static str {
        "lz4"
    }

    fn id(&self) -> u8 {
        1
    }

    fn compress(&self, raw: &[u8], into: &mut Vec<u8>) {
        let start = into.len();
        into.resize(start + lz4_flex::block::get_maximum_output_size(raw.len()), 0);
        let written = lz4_flex::block::compress_into(raw, &mut into[start..]);
        into.truncate(start + written.expect("the output has the maximum size"));
    }

    fn decompress(&self, stored: &[u8], raw: &mut [u8]) -> Result<(), &'static str> {
        match lz4_flex::block::decompress_into(stored, raw) {
            Ok(len) if len == raw.len() => Ok(()),
            Ok(_) => Err("fewer bytes than the trailer says"),
            Err(_) => Err("the bytes are no LZ4 block of that length"),
        }
    }
}

#[derive(Debug)]
struct Zstd;

/// What the library and its command use unless told otherwise.
const ZSTD_LEVEL: i32 = 3;

thread_local! {
    // A context is some hundred kilobytes that are expensive to make for a block of four.
    static ZSTD_WRITER: RefCell<Option<zstd::bulk::Compressor<'static>>> = const { RefCell::new(None) };
    static ZSTD_READER: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// What goes wrong while compressing: nothing but memory. The block then stays as it is.
fn zstd_into(raw: &[u8], into: &mut [u8]) -> std::io::Result<usize> {
    ZSTD_WRITER.with_borrow_mut(|writer| {
        let writer = match writer {
            Some(writer) => writer,
            None => writer.insert(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        writer.compress_to_buffer(raw, into)
    })
}

impl Codec for Zstd {
    fn name(&self) -> &'static str {
        "zstd"
    }

    fn id(&self) -> u8 {
        2
    }

    fn compress(&self, raw: &[u8], into: &mut Vec<u8>) {
        let start = into.len();
        let bound = zstd::zstd_safe::compress_bound(raw.len());
        into.resize(start + bound, 0);
        let written = zstd_into(raw, &mut into[start..]).unwrap_or(bound);
        into.truncate(start + written);
    }

    fn decompress(&self, stored: &[u8], raw: &mut [u8]) -> Result<(), &'static str> {
        // The output is `raw` and nothing else: whatever length the frame claims, no more is written.
        let read = ZSTD_READER.with_borrow_mut(|reader| {
            let reader = match reader {
                Some(reader) => reader,
                None => reader.insert(zstd::bulk::Decompressor::new()?),
            };
            reader.decompress_to_buffer(stored, raw)
        });
        match read {
            Ok(len) if len == raw.len() => Ok(()),
            Ok(_) => Err("fewer bytes than the trailer says"),
            Err(_) => Err("the bytes are no Zstandard frame of that length"),
        }
    }
}

/// The suite every codec runs.
///
/// # Panics
///
/// If a law of [`Codec`]'s contract does not hold.
pub fn codec_conformance(codec: &dyn Codec) {
    let periodic: Vec<u8> = (0..10_000u32).map(|n| (n % 23) as u8).collect();
    let mixed: Vec<u8> =
        (0..5_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for raw in [&b""[..], b"a", &periodic, &mixed] {
        let mut stored = Vec::new();
        if codec.id() == 0 {
            stored.extend_from_slice(raw);
        } else {
            codec.compress(raw, &mut stored);
        }
        let mut back = vec![0; raw.len()];
        assert_eq!(codec.decompress(&stored, &mut back), Ok(()), "{}", codec.name());
        assert!(back == raw, "{} changed the bytes", codec.name());
        assert!(codec.decompress(&stored, &mut vec![0; raw.len() + 1]).is_err());
        for cut in 0..stored.len().min(64) {
            // Any answer but a panic, and never the right length from fewer bytes.
            let _ = codec.decompress(&stored[..cut], &mut back);
        }
    }
    assert!(codec_by_id(codec.id()).is_some_and(|same| same.name() == codec.name()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_codec_keeps_the_contract() {
        codecs().iter().for_each(|entry| codec_conformance(entry.codec));
    }

    #[test]
    fn a_zstd_frame_that_claims_too_much_is_an_error() {
        let mut stored = Vec::new();
        Zstd.compress(&vec![7; 1 << 20], &mut stored);
        assert!(stored.len() < 200, "a small frame of a large block");
        for raw_bytes in [0, 1, 4_096, (1 << 20) - 1] {
            assert!(Zstd.decompress(&stored, &mut vec![0; raw_bytes]).is_err());
        }
        let mut raw = vec![0; 1 << 20];
        assert_eq!(Zstd.decompress(&stored, &mut raw), Ok(()), "errors leave the context usable");
    }

    #[test]
    fn lz4_makes_periodic_bytes_small() {
        let mut stored = Vec::new();
        Lz4.compress(&[7; 4096], &mut stored);
        assert!(stored.len() < 100);
    }
}
