//! Workloads: what is done to a store, and in which order, as a function of a file and a seed.
//!
//! A workload file (`norikv.workload/1`, TOML), or a property file of YCSB ([`Dialect`]), becomes a [`Workload`]; a phase
//! of it becomes one [`OpStream`] per client thread. Promises:
//!
//! * The same file, seed, thread and number of threads give the same kinds of operation, inserted
//!   keys, written values and scan lengths, always. With one thread the whole stream is fixed; with
//!   more, which existing key a *picked* operation names may depend on which inserts were
//!   acknowledged by then, and on nothing else.
//! * No operation but an insert, a blind delete and a read that is to find nothing ever names a key whose insert was
//!   not acknowledged, or that was deleted since ([`Ledger`]).
//! * In a phase that deletes, the whole stream of each client is fixed.
//! * A value tells which key and version it belongs to, so any reader can check it ([`ValueCodec`]).
//! * Nothing is allocated per operation; what was deleted takes a bit for each number, and eight bytes if it may be
//!   inserted again.
//! * A field that is not understood is an error with its line and the nearest known name.
//!
//! Left to others: running the operations, time limits, measuring. Nothing here knows an engine.

mod catalog;
mod deleted;
mod error;
mod hash;
mod import;
mod keys;
mod ledger;
mod pick;
mod properties;
mod rng;
mod spec;
mod stream;
mod values;
mod zeta;

pub use catalog::{BUILT_IN, BuiltIn, built_in};
pub use error::{FileError, nearest};
pub use hash::fnv64;
pub use import::{Dialect, Imported};
pub use keys::{KEY_BYTES_MAX, KeyCodec, KeyNumber};
pub use ledger::Ledger;
pub use pick::{ExactZipf, GrayZipf, YCSB_ITEMS, YCSB_ZETA};
pub use rng::Rng;
pub use spec::{
    Arrival, Distribution, KeyFormat, KeyHash, KeyOrder, Keys, Lengths, Load, LoadModel, Mix,
    Overrides, Phase, PhaseKind, Pick, RecordModel, SCHEMA, SETTLE_MAX, SizeKind, Sizes, Span,
    THREADS_MAX, Values, Workload,
};
pub use stream::{Op, OpKind, OpStream, StreamId};
pub use values::{ValueCodec, ValueFault};
pub use zeta::zeta;
