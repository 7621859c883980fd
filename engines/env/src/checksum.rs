//! The checksum of everything on a disk: CRC-32C (Castagnoli, reflected, initial value and final exclusive or all ones; RFC 3720,
//! appendix B.4).
//!
//! One place, because the log, the tables and the manifest all depend on the same bits: what computes them may be exchanged,
//! what comes out may not.

use crc_fast::{CrcAlgorithm, Digest};

/// The checksum of `bytes`.
#[inline]
pub fn crc32c(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

/// The checksum of what `checksum` is of, followed by `bytes`.
#[inline]
pub fn crc32c_append(checksum: u32, bytes: &[u8]) -> u32 {
    let mut digest = Digest::new_with_init_state(CrcAlgorithm::Crc32Iscsi, u64::from(!checksum));
    digest.update(bytes);
    digest.finalize() as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3720, appendix B.4, read as little-endian words.
    #[test]
    fn the_examples_of_the_standard_hold() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&[0; 32]), 0x8A91_36AA);
        assert_eq!(crc32c(&[0xFF; 32]), 0x62A8_AB43);
        assert_eq!(crc32c(&ascending), 0x46DD_794E);
        assert_eq!(crc32c(&descending), 0x113F_DB5C);
        assert_eq!(crc32c(b"123456789"), 0xE306_9283);
    }

    /// Bit by bit, as the polynomial says.
    fn slowly(bytes: &[u8]) -> u32 {
        let step = |crc: u32, _| (crc >> 1) ^ (0x82F6_3B78 & (crc & 1).wrapping_neg());
        !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), step))
    }

    #[test]
    fn every_length_and_every_cut_gives_what_the_polynomial_says() {
        let bytes: Vec<u8> = (0..1200u32).map(|n| ((n * n) >> 3) as u8).collect();
        for len in (0..300).chain([511, 512, 513, 1023, 1024, 1025, 1200]) {
            let whole = &bytes[..len];
            assert_eq!(crc32c(whole), slowly(whole), "{len} bytes");
            for cut in [0, 1, len / 3, len / 2, len.saturating_sub(1), len] {
                let (front, back) = whole.split_at(cut.min(len));
                assert_eq!(crc32c_append(crc32c(front), back), crc32c(whole), "{len} at {cut}");
            }
        }
    }
}
