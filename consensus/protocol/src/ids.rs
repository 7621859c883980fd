//! Names of things, as types of their own: a term is never taken for an index.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident, $word:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The smallest.
            pub const ZERO: Self = Self(0);

            /// The one after it.
            ///
            /// # Panics
            ///
            /// At the end of 64 bits, which counting does not reach.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.checked_add(1).expect("64 bits outlast any count"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($word, "{}"), self.0)
            }
        }
    };
}

number! {
    /// A leader's time in office, from 1 on; zero is before any.
    Term, "t"
}
number! {
    /// A place in the log of a shard, from 1 on; zero is before the first.
    Index, "i"
}
number! {
    /// A process of the cluster.
    NodeId, "n"
}
number! {
    /// A shard, whose replicas form one group.
    ShardId, "s"
}
number! {
    /// A request of the driver's, as the driver numbers it. Never used twice in one life of a replica.
    Ticket, "#"
}
number! {
    /// A [`Store`](crate::Effect::Store), in the order in which they are drained: the first of a life is 1, the next one more.
    WriteId, "w"
}
number! {
    /// A snapshot that the driver keeps; only the driver knows what it is.
    SnapshotHandle, "x"
}

impl Index {
    /// The one before it; zero has none.
    #[must_use]
    pub fn previous(self) -> Option<Self> {
        self.0.checked_sub(1).map(Self)
    }
}

/// An entry's name: no two entries of a shard share one, ever. The order is that of being up to date: the later term first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogId {
    /// The term of the leader that made the entry.
    pub term: Term,
    /// Its place.
    pub index: Index,
}

impl LogId {
    /// Before the first entry.
    pub const ZERO: Self = Self { term: Term::ZERO, index: Index::ZERO };

    /// The entry of `term` at `index`.
    pub const fn new(term: u64, index: u64) -> Self {
        Self { term: Term(term), index: Index(index) }
    }
}

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.index)
    }
}
