//! The block of a table's range tombstones.
//!
//! ```text
//! range tombstones = fragments u32, (start length varint, start, end length varint, end, numbers varint, number varint*)*
//! ```
//!
//! Fragments are disjoint and in order of keys; the numbers of each descend. See `nori_kv::Fragments`.

use crate::format::{put_varint, take, take_varint};
use nori_kv::{Fragment, Fragments, SeqNo};

pub(crate) fn encode(fragments: &Fragments) -> Vec<u8> {
    let mut out = (fragments.iter().count() as u32).to_le_bytes().to_vec();
    for Fragment { start, end, seqnos } in fragments.iter() {
        for key in [start, end] {
            put_varint(&mut out, key.len() as u64);
            out.extend_from_slice(key);
        }
        put_varint(&mut out, seqnos.len() as u64);
        seqnos.iter().for_each(|seqno| put_varint(&mut out, seqno.value()));
    }
    out
}

/// Never panics.
pub(crate) fn decode(bytes: &[u8]) -> Result<Fragments, &'static str> {
    let all = read(bytes).ok_or("the range tombstones cannot be read")?;
    if all.is_empty() {
        return Err("a block of no range tombstones");
    }
    Fragments::new(all)
}

fn read(bytes: &[u8]) -> Option<Vec<Fragment>> {
    let mut rest = bytes;
    let count = u32::from_le_bytes(*take(&mut rest, 4)?.first_chunk()?) as usize;
    // A fragment takes at least five bytes here: a length cannot make us allocate more than the input.
    if count > rest.len() / 5 {
        return None;
    }
    let mut all = Vec::with_capacity(count);
    for _ in 0..count {
        let mut key = || {
            let len = take_varint(&mut rest)?;
            take(&mut rest, len).map(<[u8]>::to_vec)
        };
        let (start, end) = (key()?, key()?);
        let numbers = usize::try_from(take_varint(&mut rest)?).ok()?;
        if numbers > rest.len() {
            return None;
        }
        let number = |_| SeqNo::new(take_varint(&mut rest)?);
        let seqnos = (0..numbers).map(number).collect::<Option<Vec<_>>>()?;
        all.push(Fragment { start, end, seqnos });
    }
    rest.is_empty().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use nori_kv::RangeTombstones;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn range_tombstones_come_back(
            raw in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..5), prop::collection::vec(any::<u8>(), 0..5), 1u64..1 << 50), 1..20),
        ) {
            let mut adding = RangeTombstones::default();
            for (start, end, number) in &raw {
                adding.add(start, end, SeqNo::ZERO.plus(*number));
            }
            let fragments = adding.fragments();
            if !fragments.is_empty() {
                prop_assert_eq!(decode(&encode(&fragments)), Ok(fragments));
            }
        }

        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }
}
