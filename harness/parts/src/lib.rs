//! The registries: one per seam, from names to parts.
//!
//! A server's configuration, an experiment file, and the bench's command line choose parts by name;
//! this is where a name is looked up, and the only place that knows all engines. Promises:
//!
//! * What [`seams`](seams()) lists can be chosen, and what can be chosen is listed.
//! * A name that is not known is an error with the nearest known one, that of an engine which is not built in one that tells how
//!   it would be; so is a choice that the chosen
//!   engine does not have. Nothing is ignored.
//!
//! Left to others: what the parts do.

mod consensus;
mod engines;
mod error;
mod lsm;
mod noop;
mod seams;

pub use consensus::{PROTOCOLS, consensus, node_log};
pub use engines::{
    Choice, EngineEntry, EngineRequest, LeftOut, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, Role, engine,
    engines, left_out,
};
pub use error::PartsError;
pub use lsm::{Setting, settings, silenced_by};
pub use noop::NoopFactory;
pub use seams::{Part, Seam, seam, seams};
