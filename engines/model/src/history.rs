//! Every version of every key, for ever.

use nori_kv::{Applied, Kind, Op, SeqNo, Tick, WriteBatch};
use std::collections::BTreeMap;
use std::ops::Bound;

/// What a write did to one key.
#[derive(Clone, Debug)]
struct Version {
    seqno: SeqNo,
    /// None: the key was deleted.
    put: Option<Put>,
}

#[derive(Clone, Debug)]
struct Put {
    value: Vec<u8>,
    expires: Option<Tick>,
}

/// A moment of the store, and the time of the reader that looks at it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// Versions above it are not seen.
    pub(crate) at: SeqNo,
    /// Puts that expire at it or before are not seen; zero: nothing has expired.
    pub(crate) now: Tick,
}

/// All that was ever written.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    /// The versions of each key, oldest first: their sequence numbers grow.
    keys: BTreeMap<Vec<u8>, Vec<Version>>,
    /// The sequence number of the last operation.
    pub(crate) last: SeqNo,
    /// The last entry of a replicated log that was applied.
    pub(crate) applied: Applied,
}

impl History {
    /// Applies a batch; the sequence number of its last operation.
    pub(crate) fn write(&mut self, batch: &WriteBatch) -> SeqNo {
        for op in batch.iter() {
            self.last = self.last.plus(1);
            self.apply(op);
        }
        self.last
    }

    fn apply(&mut self, (op, key, value): Op<'_>) {
        let seqno = self.last;
        match op.kind {
            Kind::Put => {
                let put = Put { value: value.to_vec(), expires: op.expires };
                self.push(key, Version { seqno, put: Some(put) });
            }
            Kind::Delete => self.push(key, Version { seqno, put: None }),
            Kind::DeleteRange => {
                // The end of the range stands where a put has its value.
                for (_, versions) in self.keys.iter_mut().filter(|(k, _)| within(k, key, value)) {
                    versions.push(Version { seqno, put: None });
                }
            }
        }
    }

    fn push(&mut self, key: &[u8], version: Version) {
        self.keys.entry(key.to_vec()).or_default().push(version);
    }

    /// The value of `key` as it was at `moment`.
    pub(crate) fn value(&self, key: &[u8], moment: Moment) -> Option<&[u8]> {
        visible(self.keys.get(key)?, moment)
    }

    /// The first key at or after `bound`, or after it, that had a value at `moment`.
    pub(crate) fn first_from(&self, bound: Bound<&[u8]>, moment: Moment) -> Option<(&[u8], &[u8])> {
        let mut keys = self.keys.range::<[u8], _>((bound, Bound::Unbounded));
        keys.find_map(|(key, versions)| Some((key.as_slice(), visible(versions, moment)?)))
    }

    /// The last key at or before `bound`, or before it, that had a value at `moment`.
    pub(crate) fn last_to(&self, bound: Bound<&[u8]>, moment: Moment) -> Option<(&[u8], &[u8])> {
        let mut keys = self.keys.range::<[u8], _>((Bound::Unbounded, bound)).rev();
        keys.find_map(|(key, versions)| Some((key.as_slice(), visible(versions, moment)?)))
    }
}

fn within(key: &[u8], start: &[u8], end: &[u8]) -> bool {
    start <= key && key < end
}

/// The value of the newest version at `moment`, unless that is a delete or has expired.
fn visible(versions: &[Version], moment: Moment) -> Option<&[u8]> {
    let newest = versions.iter().rev().find(|version| version.seqno <= moment.at)?;
    let put = newest.put.as_ref()?;
    let has_expired = moment.now > Tick(0) && put.expires.is_some_and(|at| at <= moment.now);
    (!has_expired).then_some(put.value.as_slice())
}
