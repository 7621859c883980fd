//! One thing that happened, as a name and numbers, so that a dashboard, a log and a plot can show it
//! without knowing the crate it came from.

use std::borrow::Cow;

/// A named number of an event, such as `("bytes_out", 4096)`.
pub type Field = (&'static str, u64);

/// Something that happened once: a flush that ended, a stall that began, a plan that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VizEvent {
    /// Nanoseconds on the sender's clock. Comparable only between events of one clock.
    pub at_nanos: u64,
    /// What happened, in the field's words: `flush_end`, `compaction_begin`, `stall_end`.
    pub kind: &'static str,
    /// Why it happened, by name: `run_count`, `level_saturation`. Empty when there is no choice to
    /// explain.
    pub why: Cow<'static, str>,
    /// The numbers that go with it, units last in their names.
    pub fields: Vec<Field>,
}

impl VizEvent {
    /// The number called `name`, if the event carries it.
    pub fn field(&self, name: &str) -> Option<u64> {
        self.fields.iter().find(|(n, _)| *n == name).map(|(_, v)| *v)
    }
}
