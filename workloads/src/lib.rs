//! Workloads: what is done to a store, and in which order, as a function of a file and a seed.
//!
//! A workload file (`norikv.workload/1`, TOML) becomes a [`Workload`]; a phase of it becomes one
//! [`OpStream`] per client thread. Promises:
//!
//! * The same file, seed, thread and number of threads give the same kinds of operation, inserted
//!   keys, written values and scan lengths, always. With one thread the whole stream is fixed; with
//!   more, which existing key a *picked* operation names may depend on which inserts were
//!   acknowledged by then, and on nothing else.
//! * No operation but an insert ever names a key whose insert was not acknowledged ([`Ledger`]).
//! * A value tells which key and version it belongs to, so any reader can check it ([`ValueCodec`]).
//! * Nothing is allocated per operation.
//! * A field that is not understood is an error with its line and the nearest known name.
//!
//! Left to others: running the operations, time limits, measuring. Nothing here knows an engine.

mod catalog;
mod error;
mod hash;
mod keys;
mod ledger;
mod pick;
mod rng;
mod spec;
mod stream;
mod values;
mod zeta;

pub use catalog::{BUILT_IN, BuiltIn, built_in};
pub use error::{FileError, nearest};
pub use hash::fnv64;
pub use keys::{KEY_BYTES_MAX, KeyCodec, KeyNumber};
pub use ledger::Ledger;
pub use pick::{ExactZipf, GrayZipf, YCSB_ITEMS, YCSB_ZETA};
pub use rng::Rng;
pub use spec::{
    Arrival, Distribution, KeyFormat, KeyOrder, Keys, Lengths, Load, LoadModel, Mix, Overrides,
    Phase, PhaseKind, Pick, RecordModel, SCHEMA, SETTLE_MAX, SizeKind, Sizes, Span, Values,
    Workload,
};
pub use stream::{Op, OpKind, OpStream, StreamId};
pub use values::{ValueCodec, ValueFault};
pub use zeta::zeta;
