//! What the parts of a server count, for Prometheus, and what happens in it, as lines for people or for programs.
//!
//! * [`Exposition`] is the [`nori_observe::Meter`] of a server: it hands out the same cheap handles as any, and writes all of them as text when it is scraped.
//! * [`log`] sets up the lines.
//!
//! Left to others: what is counted, and where the text is served.

mod exposition;
pub mod log;

pub use exposition::{Exposition, Label, Labelled};
