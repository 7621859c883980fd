//! Where a reader's blocks may come from, and whether they stay.

/// How a reader gets a block that is not in the cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetch {
    /// It is read, and offered to the cache. A cursor that walks on reads ahead, as much again as it has walked.
    #[default]
    Fill,
    /// It is read, and not offered. A cursor is then on a long walk: it reads ahead and leaves the cache to others.
    Pass,
    /// It is not read: [`Error::WouldBlock`](nori_kv::Error::WouldBlock) instead. A mapped file counts as a disk, since its
    /// pages may have to be fetched.
    CacheOnly,
}
