//! The seam: a policy makes builders and opens filters; a filter answers for one table.
//!
//! Everything speaks in key hashes ([`crate::key_hash`]), never in keys, so that one hash of a key
//! serves every table of the tree.

use std::fmt;

/// What a policy may know about the table a filter is for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FilterContext {
    /// The level the table is written to; a flush writes to level 0.
    pub level: usize,
    /// Nothing older lies below: a key that is not here is nowhere.
    pub is_last_level: bool,
    /// A guess at the number of distinct keys. Builders size by what they were given, not by this;
    /// it only saves them from growing their buffers.
    pub keys_expected: usize,
    /// The share of this table in the filter budget, in bits for each distinct key.
    pub bits_per_key: f64,
}

/// Why a filter block could not be opened. The table stays readable without its filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// The bytes are no filter of this policy: damaged, cut short, or another policy's.
    #[error("the filter block is damaged: {what}")]
    Damaged {
        /// What did not hold.
        what: &'static str,
    },
}

/// One kind of filter.
///
/// # Contract
///
/// * **No false negatives.** A filter opened from what a builder finished says yes to every hash
///   the builder was given.
/// * [`name`](Self::name) is persisted beside each filter block and selects the policy that opens
///   it. It stands for the *format*: any change after which an old block would be misread, of
///   [`crate::key_hash`], of the layout or of the places of the bits, must change the name. What
///   only new blocks feel (how many bits, how many probes) must not.
/// * [`open`](Self::open) takes any bytes: what is not a whole filter of this policy is an error,
///   never a panic and never an allocation larger than the input. It cannot see a flipped bit
///   inside the filter: the caller has verified the block's checksum.
/// * Everything is deterministic: the same hashes in the same order give the same bytes.
pub trait FilterPolicy: fmt::Debug + Send + Sync {
    /// The persisted name.
    fn name(&self) -> &'static str;

    /// A builder for one table, or `None` if a table like this gets no filter.
    fn builder(&self, context: &FilterContext) -> Option<Box<dyn FilterBuilder>>;

    /// Opens a finished block; its bytes may lie at any address and are copied.
    fn open(&self, block: &[u8]) -> Result<Box<dyn Filter>, FilterError>;
}

/// Collects the hashes of one table's keys.
pub trait FilterBuilder: Send {
    /// Adds a key's hash. Hashes may repeat; equal ones in a row (the versions of one key) count
    /// once against the bits per key.
    fn add_hash(&mut self, hash: u64);

    /// The block to store; `FilterPolicy::open` reads it.
    fn finish(self: Box<Self>) -> Vec<u8>;
}

/// A filter in memory, shared by all readers of a table.
pub trait Filter: fmt::Debug + Send + Sync {
    /// False only if no key with this hash was added.
    fn may_contain(&self, hash: u64) -> bool;

    /// Starts to fetch the memory that `may_contain(hash)` will look at, and does not wait. A read
    /// prefetches from all filters it will ask, then asks them.
    fn prefetch(&self, hash: u64);

    /// Memory held, for the memory budget.
    fn bytes(&self) -> usize;
}
