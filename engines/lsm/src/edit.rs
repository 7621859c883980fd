//! A version edit: what changes from one version to the next, and the numbers that go with it.
//!
//! ```text
//! edit   = (tag u8, body)*                      numbers are LEB128, bytes carry their length before them
//!   1 last sequence number      2 next number          3 log number (the first segment still needed)
//!   4 removed table number
//!   5 added run: level, run id, index, tables, then per table: number, bytes
//!   6 strategy: name, state     7 levels               8 tick
//!   9 begun: the newest segment of the log that has begun
//!  10 applied: index, term
//! ```
//!
//! An unknown tag cannot be passed over, since its length is unknown: it makes the manifest unreadable, and the
//! format version guards against that.

use nori_compaction::RunId;
use nori_kv::{Applied, SeqNo};
use nori_sstable::Table;

/// A change of the tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Edit {
    pub(crate) last_seqno: Option<SeqNo>,
    /// The next number for a table, a run or a manifest.
    pub(crate) next_number: Option<u64>,
    /// Segments below it are not needed any more.
    pub(crate) log_number: Option<u64>,
    /// The newest segment that has begun: it and all from the log number on must be there.
    pub(crate) begun: Option<u64>,
    pub(crate) levels: Option<u64>,
    pub(crate) tick: Option<u64>,
    /// The entry of the replicated log up to which everything is in tables.
    pub(crate) applied: Option<Applied>,
    pub(crate) strategy: Option<(String, Vec<u8>)>,
    pub(crate) removed: Vec<u64>,
    pub(crate) added: Vec<AddedRun>,
}

/// Tables that join a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AddedRun {
    pub(crate) level: usize,
    pub(crate) run: RunId,
    /// Where a run that does not exist yet is put among the runs as they were before the edit; past the end is the end.
    pub(crate) index: usize,
    pub(crate) tables: Vec<TableMeta>,
}

/// What the manifest says of a table; the rest is in its properties.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableMeta {
    pub(crate) number: u64,
    pub(crate) bytes: u64,
}

impl TableMeta {
    pub(crate) fn of(table: &Table) -> Self {
        Self { number: table.number(), bytes: table.bytes() }
    }
}

impl Edit {
    /// Whether it adds table `number`.
    pub(crate) fn adds(&self, number: u64) -> bool {
        self.added.iter().flat_map(|run| &run.tables).any(|table| table.number == number)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let numbers = [
            (1, self.last_seqno.map(SeqNo::value)),
            (2, self.next_number),
            (3, self.log_number),
            (7, self.levels),
            (8, self.tick),
            (9, self.begun),
        ];
        for (tag, number) in numbers {
            if let Some(number) = number {
                out.push(tag);
                put_number(&mut out, number);
            }
        }
        if let Some(applied) = self.applied {
            out.push(10);
            put_number(&mut out, applied.index);
            put_number(&mut out, applied.term);
        }
        for number in &self.removed {
            out.push(4);
            put_number(&mut out, *number);
        }
        for run in &self.added {
            out.push(5);
            let fixed = [run.level as u64, run.run.0, run.index as u64, run.tables.len() as u64];
            fixed.into_iter().for_each(|number| put_number(&mut out, number));
            for table in &run.tables {
                put_number(&mut out, table.number);
                put_number(&mut out, table.bytes);
            }
        }
        if let Some((name, state)) = &self.strategy {
            out.push(6);
            put_bytes(&mut out, name.as_bytes());
            put_bytes(&mut out, state);
        }
        out
    }

    /// The edit in `bytes`; `None` if they are none. Never panics.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut edit = Self::default();
        let mut rest = bytes;
        while let Some((&tag, after)) = rest.split_first() {
            rest = after;
            match tag {
                1 => edit.last_seqno = Some(SeqNo::new(take_number(&mut rest)?)?),
                2 => edit.next_number = Some(take_number(&mut rest)?),
                3 => edit.log_number = Some(take_number(&mut rest)?),
                4 => edit.removed.push(take_number(&mut rest)?),
                5 => edit.added.push(take_run(&mut rest)?),
                6 => {
                    let name = String::from_utf8(take_bytes(&mut rest)?.to_vec()).ok()?;
                    edit.strategy = Some((name, take_bytes(&mut rest)?.to_vec()));
                }
                7 => edit.levels = Some(take_number(&mut rest)?),
                8 => edit.tick = Some(take_number(&mut rest)?),
                9 => edit.begun = Some(take_number(&mut rest)?),
                10 => {
                    let index = take_number(&mut rest)?;
                    edit.applied = Some(Applied { index, term: take_number(&mut rest)? });
                }
                _ => return None,
            }
        }
        Some(edit)
    }

    /// Folds a later edit into this one: together they do what both did in turn.
    pub(crate) fn merge_numbers(&mut self, later: &Self) {
        self.last_seqno = later.last_seqno.or(self.last_seqno);
        self.next_number = later.next_number.or(self.next_number);
        self.log_number = later.log_number.or(self.log_number);
        self.begun = later.begun.or(self.begun);
        self.levels = later.levels.or(self.levels);
        self.tick = later.tick.or(self.tick);
        self.applied = later.applied.or(self.applied);
        if later.strategy.is_some() {
            self.strategy.clone_from(&later.strategy);
        }
    }
}

fn take_run(rest: &mut &[u8]) -> Option<AddedRun> {
    let level = usize::try_from(take_number(rest)?).ok()?;
    let run = RunId(take_number(rest)?);
    let index = usize::try_from(take_number(rest)?).ok()?;
    let count = usize::try_from(take_number(rest)?).ok()?;
    // Each table takes at least two bytes: the count cannot make us allocate more than the input.
    let mut tables = Vec::with_capacity(count.min(rest.len() / 2));
    for _ in 0..count {
        let number = take_number(rest)?;
        tables.push(TableMeta { number, bytes: take_number(rest)? });
    }
    Some(AddedRun { level, run, index, tables })
}

fn put_number(into: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        into.push(number as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

fn put_bytes(into: &mut Vec<u8>, bytes: &[u8]) {
    put_number(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

fn take_number(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0u64;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        let bits = u64::from(byte & 0x7F);
        if shift == 63 && bits > 1 {
            return None;
        }
        number |= bits << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = usize::try_from(take_number(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(len)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_edit_comes_back() {
        let tables =
            vec![TableMeta { number: 9, bytes: 1 << 40 }, TableMeta { number: 10, bytes: 0 }];
        let edit = Edit {
            last_seqno: Some(SeqNo::MAX),
            next_number: Some(12),
            log_number: Some(3),
            begun: Some(5),
            levels: Some(7),
            tick: Some(44),
            applied: Some(Applied { index: 1 << 50, term: 7 }),
            strategy: Some(("leveled".to_owned(), vec![1, 2, 3])),
            removed: vec![4, 5],
            added: vec![AddedRun { level: 2, run: RunId(8), index: 0, tables }],
        };
        assert_eq!(Edit::decode(&edit.encode()), Some(edit));
        assert_eq!(Edit::decode(&[]), Some(Edit::default()));
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            if let Some(edit) = Edit::decode(&bytes) {
                prop_assert_eq!(Edit::decode(&edit.encode()), Some(edit));
            }
        }
    }
}
