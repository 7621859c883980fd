//! The one door to the world: files, clock, entropy and background work.
//!
//! Every engine crate reaches the machine through the traits below and through nothing else, so that
//! one and the same engine runs on a real disk with real threads ([`OsFs`], [`PoolTasks`],
//! [`OsClock`], [`OsEntropy`]) and inside a seeded, single-threaded simulation ([`MemFs`],
//! [`FaultFs`], [`SeededTasks`]), where the same seed gives the same trace.
//!
//! Promises: a failed operation says so; nothing is retried behind the caller's back; [`FaultFs`]
//! keeps or loses every unsynced sector and every unsynced name independently at power loss, and
//! [`SlowFs`] tells of the end of a sync when a test lets it, as [`DeferredFs`] has it run by [`Tasks`].
//! Left to others: what the bytes mean, and what to do when an operation fails.

mod around;
mod checksum;
mod clock;
mod deferred;
mod dir;
mod durability;
mod entropy;
mod fault;
mod fs;
#[cfg(test)]
mod fs_tests;
mod mem;
mod os;
mod slow;
mod tasks;

pub use around::{AroundFs, AtOnce, StartSync, Syncs};
pub use checksum::{crc32c, crc32c_append};
pub use clock::{Clock, Instant, ManualClock, OsClock};
pub use deferred::{DeferredFs, SubmittedSyncs};
pub use dir::make_dir;
pub use durability::{Durability, DurabilityError};
pub use entropy::{Entropy, OsEntropy, SeededEntropy};
pub use fault::{FaultFs, FaultPlan, PowerLoss};
pub use fs::{
    Completion, File, Fs, Lock, NameChange, OpenMode, SECTOR_BYTES, Segment, SegmentKind,
    SyncTicket, Zeros,
};
pub use mem::MemFs;
pub use os::OsFs;
pub use slow::{HeldSyncs, SlowFs};
pub use tasks::{Class, Job, PoolTasks, SeededTasks, Signal, Slice, Step, Tasks, Waited};
