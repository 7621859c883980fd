//! Workload files: what they may say, and what they must not.
//!
//! Parsing ends in a [`Workload`] that is checked as a whole, so that whoever holds one needs no
//! checks of his own. What this version cannot run yet (rates that change, several streams, compressible
//! values) has no field here: a file that asks for it is refused, never half-obeyed.

mod check;
mod shape;

pub use check::THREADS_MAX;
pub use shape::{
    Arrival, Distribution, KeyFormat, KeyHash, KeyOrder, Keys, Lengths, Load, LoadModel, Mix,
    Phase, PhaseKind, Pick, RecordModel, SETTLE_MAX, SizeKind, Sizes, Span, Values, Workload,
};

use crate::FileError;

/// The schema that files of this version name.
pub const SCHEMA: &str = "norikv.workload/1";

/// What a command line may change in a workload. What is `None` stays as it is.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Loaded records. Keys reserved for inserts are scaled with them.
    pub records: Option<u64>,
    /// Bytes of every value.
    pub value_bytes: Option<u64>,
    /// Client threads of every phase.
    pub threads: Option<u32>,
    /// Operations of every run phase, in place of its length.
    pub ops: Option<u64>,
    /// Length of every run phase, in place of its operations.
    pub duration: Option<Span>,
    /// Time after which the rest of a load is not measured.
    pub load_duration: Option<Span>,
    /// Load of every run phase, but for its threads.
    pub load: Option<Load>,
}

impl Workload {
    /// Reads a workload file. `origin` is what errors call it.
    pub fn parse(origin: &str, text: &str) -> Result<Self, FileError> {
        let workload: Self =
            toml::from_str(text).map_err(|error| FileError::from_toml(origin, text, &error))?;
        check::check(&workload)
            .map_err(|fault| FileError::at(origin, text, fault.offset(text), fault.what))?;
        Ok(workload)
    }

    /// The same workload with some numbers changed. The result is checked again.
    pub fn with(mut self, overrides: &Overrides) -> Result<Self, FileError> {
        if let Some(records) = overrides.records {
            let scaled = u128::from(self.keys.max_new) * u128::from(records);
            self.keys.max_new = (scaled / u128::from(self.keys.records)) as u64;
            self.keys.records = records;
        }
        if let Some(bytes) = overrides.value_bytes {
            self.values.size =
                Sizes { dist: SizeKind::Constant, bytes: Some(bytes), min: None, max: None };
        }
        for phase in &mut self.phases {
            match phase.kind {
                PhaseKind::Settle => continue,
                PhaseKind::Load => phase.duration = overrides.load_duration.or(phase.duration),
                PhaseKind::Run => {
                    if let Some(load) = &overrides.load {
                        phase.load = Load { threads: phase.load.threads, ..load.clone() };
                    }
                    if overrides.ops.is_some() || overrides.duration.is_some() {
                        (phase.ops, phase.duration) = (overrides.ops, overrides.duration);
                    }
                }
            }
            if let Some(threads) = overrides.threads {
                phase.load.threads = threads;
            }
        }
        check::check(&self).map_err(|fault| FileError {
            origin: self.name.clone(),
            line: 0,
            what: fault.what,
        })?;
        Ok(self)
    }

    /// Whether it may be run; if not, the word of a file that is wrong, and why.
    pub(crate) fn checked(&self) -> Result<(), (&'static str, String)> {
        check::check(self).map_err(|fault| (fault.word, fault.what))
    }

    /// The file that says what this value says.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field has a TOML form")
    }
}

#[cfg(test)]
mod tests;
