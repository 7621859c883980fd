//! Why a plan was refused. A refusal is an event, never damage: the tree is as it was.

use crate::TableId;

/// The rule that a plan breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A plan without inputs changes nothing.
    #[error("the plan has no inputs")]
    NoInputs,
    /// The plan is older than the tree, or invented a table.
    #[error("{0} is not in the tree")]
    UnknownTable(TableId),
    /// An input is named twice.
    #[error("{0} is an input twice")]
    RepeatedTable(TableId),
    /// A running job reads an input.
    #[error("{0} is an input of a running job")]
    BusyTable(TableId),
    /// The output level does not exist.
    #[error("the tree has no level {0}")]
    UnknownLevel(usize),
    /// The output run does not exist.
    #[error("the run that should take the outputs is not in the output level")]
    UnknownRun,
    /// Data may stay or go down, not up.
    #[error("{0} would go up")]
    GoesUp(TableId),
    /// The plan says which keys it is about, and an input has others.
    #[error("{0} has keys outside the range of the plan")]
    OutsideRange(TableId),
    /// After the edit an older version of some key could be found before a newer one.
    #[error("{newer} and {older} overlap, and the older one would be probed first")]
    OlderFirst {
        /// The table with the newer entries.
        newer: TableId,
        /// The table with the older entries.
        older: TableId,
    },
    /// The output run would hold overlapping tables.
    #[error("the outputs would overlap {0} in their run")]
    OverlapInRun(TableId),
    /// A running job will write to the same keys of the same place.
    #[error("a running job writes to the same keys of level {0}")]
    BusyOutput(usize),
    /// Only whole runs, and only the oldest of the store, can be dropped as expired.
    #[error("{0} is not expired: something that stays is older, or of its run")]
    NotExpired(TableId),
    /// No newer range tombstone that every snapshot sees can cover the table.
    #[error("{0} is not covered by a range tombstone that all readers see")]
    NotCovered(TableId),
    /// The same work could be planned again and again.
    #[error("the plan would leave the tree as far from its shape as it is")]
    NoProgress,
    /// The outputs could fill the disk.
    #[error("the plan needs up to {needed_bytes} bytes of disk, {free_bytes} are free")]
    NoRoom {
        /// Bytes of the inputs.
        needed_bytes: u64,
        /// Bytes free.
        free_bytes: u64,
    },
    /// The outputs are not what the plan's inputs can have become.
    #[error("the outputs do not fit the plan: {0}")]
    WrongOutputs(&'static str),
}
