//! What a table knows of itself.
//!
//! ```text
//! properties = (tag u16, length u32, bytes)*
//! ```
//!
//! Numbers are u64. An unknown tag is passed over, a missing number is zero, a missing key is empty.

use crate::format::take;
use nori_kv::{EntryRef, Fragments, Kind, SeqNo, Tick};

/// What a table knows of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// Entries of every kind but range tombstones.
    pub entries: u64,
    /// Point tombstones among them.
    pub tombstones: u64,
    /// Range tombstones, each as often as it was cut.
    pub range_tombstones: u64,
    /// Bytes of keys and values.
    pub raw_bytes: u64,
    /// The least user key of entries and range tombstones.
    pub key_min: Vec<u8>,
    /// The greatest user key, `key_min <= key_max`; the end of a range tombstone if that is greater.
    pub key_max: Vec<u8>,
    /// `key_max` itself lies outside: it is the end of a range tombstone. Then `key_min < key_max`.
    pub is_max_excluded: bool,
    /// The least sequence number.
    pub seqno_min: SeqNo,
    /// The greatest sequence number, `seqno_min <= seqno_max`.
    pub seqno_max: SeqNo,
    /// When the table was made.
    pub created: Tick,
    /// When its oldest tombstone was made, if it has any.
    pub tombstone_oldest: Option<Tick>,
    /// The earliest tick at which one of its puts expires, if any does.
    pub expires_min: Option<Tick>,
    /// The name of the policy of its filter; empty if it has none.
    pub filter: String,
    /// The filter also knows the first so many bytes of each key that has as many; zero: it does not.
    pub prefix_bytes: u64,
}

impl Properties {
    /// Takes note of an entry; entries come in internal order.
    pub(crate) fn note(&mut self, entry: &EntryRef<'_>) {
        if self.entries == 0 {
            self.key_min = entry.key.to_vec();
            self.seqno_min = entry.seqno;
        }
        self.entries += 1;
        self.tombstones += u64::from(entry.kind == Kind::Delete);
        self.raw_bytes += entry.payload_bytes();
        self.seqno_min = self.seqno_min.min(entry.seqno);
        self.seqno_max = self.seqno_max.max(entry.seqno);
        if entry.kind == Kind::Delete {
            self.tombstone_oldest = self.tombstone_oldest.or(Some(self.created));
        }
        if let Some(expires) = entry.expires {
            self.expires_min = Some(self.expires_min.map_or(expires, |min| min.min(expires)));
        }
    }

    /// Takes note of range tombstones, after all entries; `key_max` is that of the entries, if there are any.
    pub(crate) fn note_ranges(&mut self, fragments: &Fragments) {
        let (first, last) = (fragments.iter().next(), fragments.iter().last());
        let (Some(first), Some(last)) = (first, last) else { return };
        if self.entries == 0 || first.start < self.key_min {
            self.key_min.clone_from(&first.start);
        }
        if self.entries == 0 || last.end > self.key_max {
            self.key_max.clone_from(&last.end);
            self.is_max_excluded = true;
        }
        let numbers = || fragments.iter().flat_map(|fragment| fragment.seqnos.iter().copied());
        let (min, max) = (numbers().min(), numbers().max());
        let (min, max) = (min.unwrap_or(SeqNo::MAX), max.unwrap_or(SeqNo::ZERO));
        self.seqno_min = if self.entries == 0 { min } else { self.seqno_min.min(min) };
        self.seqno_max = self.seqno_max.max(max);
        self.range_tombstones = fragments.tombstones();
        self.tombstone_oldest = self.tombstone_oldest.or(Some(self.created));
    }

    /// Whether no key of the table is at or behind `key`.
    #[inline]
    pub fn ends_before(&self, key: &[u8]) -> bool {
        self.key_max.as_slice() < key || (self.is_max_excluded && self.key_max == key)
    }

    /// Whether a key can be there.
    pub(crate) fn are_possible(&self) -> bool {
        let holds_something = self.entries > 0 || self.range_tombstones > 0;
        let is_span =
            self.key_min < self.key_max || (self.key_min == self.key_max && !self.is_max_excluded);
        holds_something && is_span
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let numbers = [
            (1, self.entries),
            (2, self.tombstones),
            (3, self.range_tombstones),
            (4, self.raw_bytes),
            (5, self.seqno_min.value()),
            (6, self.seqno_max.value()),
            (7, self.created.0),
        ];
        for (tag, number) in numbers {
            put_field(&mut out, tag, &number.to_le_bytes());
        }
        for (tag, tick) in [(8, self.tombstone_oldest), (9, self.expires_min)] {
            if let Some(tick) = tick {
                put_field(&mut out, tag, &tick.0.to_le_bytes());
            }
        }
        put_field(&mut out, 10, &self.key_min);
        put_field(&mut out, 11, &self.key_max);
        put_field(&mut out, 12, self.filter.as_bytes());
        if self.is_max_excluded {
            put_field(&mut out, 13, &1u64.to_le_bytes());
        }
        if self.prefix_bytes > 0 {
            put_field(&mut out, 14, &self.prefix_bytes.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        Self::read(bytes).ok_or("the properties cannot be read")
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut properties = Self::default();
        let mut rest = bytes;
        while !rest.is_empty() {
            let tag = u16::from_le_bytes(*take(&mut rest, 2)?.first_chunk()?);
            let len = u32::from_le_bytes(*take(&mut rest, 4)?.first_chunk()?);
            let field = take(&mut rest, len.into())?;
            let number = || field.try_into().ok().map(u64::from_le_bytes);
            match tag {
                1 => properties.entries = number()?,
                2 => properties.tombstones = number()?,
                3 => properties.range_tombstones = number()?,
                4 => properties.raw_bytes = number()?,
                5 => properties.seqno_min = SeqNo::new(number()?)?,
                6 => properties.seqno_max = SeqNo::new(number()?)?,
                7 => properties.created = Tick(number()?),
                8 => properties.tombstone_oldest = Some(Tick(number()?)),
                9 => properties.expires_min = Some(Tick(number()?)),
                10 => properties.key_min = field.to_vec(),
                11 => properties.key_max = field.to_vec(),
                12 => properties.filter = String::from_utf8(field.to_vec()).ok()?,
                13 => properties.is_max_excluded = number()? != 0,
                14 => properties.prefix_bytes = number()?,
                _ => {}
            }
        }
        Some(properties)
    }
}

fn put_field(out: &mut Vec<u8>, tag: u16, bytes: &[u8]) {
    out.extend_from_slice(&tag.to_le_bytes());
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn properties_come_back_and_unknown_ones_are_passed_over() {
        let properties = Properties {
            entries: 7,
            tombstones: 2,
            raw_bytes: 99,
            key_min: b"a".to_vec(),
            key_max: b"b".to_vec(),
            seqno_min: SeqNo::ZERO.plus(3),
            seqno_max: SeqNo::MAX,
            tombstone_oldest: Some(Tick(5)),
            is_max_excluded: true,
            filter: "blocked-bloom".to_owned(),
            prefix_bytes: 8,
            ..Properties::default()
        };
        let mut bytes = properties.encode();
        put_field(&mut bytes, 999, b"from the future");
        assert_eq!(Properties::decode(&bytes), Ok(properties));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Properties::decode(&bytes);
        }
    }
}
