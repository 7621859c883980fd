//! A replica's log, as it may be read.

use crate::{Entry, Index, LogId, Term};

/// Reads the log of one replica.
///
/// # Contract
///
/// * It shows every [`Store`](crate::Effect::Store) that was drained, in order, whether it is safe or not; none that was not drained.
/// * It shows a truncation of the front when it likes, after the [`TruncateLog`](crate::Effect::TruncateLog) that allowed it; a
///   snapshot's reset from the [`SnapshotInstalled`](crate::Input::SnapshotInstalled) on.
/// * `first <= last.index + 1`. The terms of all entries it holds, and of the one before the first, are known at any time; so are
///   entries above what was applied.
pub trait LogView {
    /// The place of the first entry that is still here; of the next one if there is none.
    fn first(&self) -> Index;

    /// The last entry; the one before the first, which a snapshot covers, if there is none; zero in a log that never held any.
    fn last(&self) -> LogId;

    /// The term of the entry at `index`, if `first - 1 <= index <= last`.
    fn term(&self, index: Index) -> Option<Term>;

    /// Entries from `from` on, before `upto`, of at most `bytes_max` bytes together ([`Entry::bytes`]), but one at least;
    /// `first <= from < upto <= last + 1`.
    fn slice(&self, from: Index, upto: Index, bytes_max: usize) -> Slice;
}

/// What a log has at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Entries without a gap, the first of which is the one asked for.
    Ready(Vec<Entry>),
    /// They are being fetched: [`LogFetched`](crate::Input::LogFetched) says when to ask again.
    Pending,
}
