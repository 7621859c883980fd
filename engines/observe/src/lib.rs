//! What the parts of the house tell about themselves: counters, gauges, times and events.
//!
//! A part is handed an [`Arc<dyn Meter>`](Meter) at construction, fetches the handles it needs
//! **once**, and from then on a count is one relaxed atomic add: no look-up, no allocation, no
//! branch on whether anybody listens. [`Registry`] keeps what was counted and hands out snapshots;
//! [`NullMeter`] hands out handles that nobody reads.
//!
//! Left to others: exporters (Prometheus, OTLP), files of events, plots. Nothing here reads a clock:
//! an event carries the time its sender gives it.

mod event;
mod histogram;
mod meter;
mod registry;

pub use event::{Field, VizEvent};
pub use histogram::{Histogram, Times};
pub use meter::{Counter, Gauge, Meter, NullMeter};
pub use registry::{Registry, Sample};
