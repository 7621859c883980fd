//! What an engine tells while it runs, and why it did what it did.

use crate::SeqNo;
use nori_observe::VizEvent;
use std::borrow::Cow;

/// Why a piece of background work was chosen, with the numbers that decided.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The memtable reached its size.
    MemtableFull,
    /// The log's segment reached its size.
    SegmentFull,
    /// Stores that share a budget for their memtables have all of it together.
    SharedBudget,
    /// The replicated log wants to let go of its oldest entries.
    LogRelease,
    /// The operator asked.
    Manual,
    /// The store is being opened.
    Recovery,
    /// A level holds `runs` sorted runs where `runs_max` are allowed.
    RunCount {
        /// The level.
        level: u8,
        /// Its sorted runs.
        runs: u32,
        /// The allowed number.
        runs_max: u32,
    },
    /// A level holds `bytes` where its target is `bytes_target`.
    LevelSaturation {
        /// The level.
        level: u8,
        /// Its bytes.
        bytes: u64,
        /// Its target.
        bytes_target: u64,
    },
    /// Cursors had to seek in a level, or in one of its tables, so often that it cost as much as a merge into the next level.
    Seeks {
        /// The level.
        level: u8,
        /// The seeks.
        seeks: u64,
        /// The bytes of that merge.
        bytes: u64,
    },
    /// Small tables lie side by side in a run.
    SmallTables {
        /// The level.
        level: u8,
        /// The most of them that become one table.
        tables: u32,
    },
    /// Neighbouring runs are of like size.
    SizeRatio {
        /// The level.
        level: u8,
        /// The runs taken together.
        runs: u32,
    },
    /// Dead entries take more than the allowed share.
    SpaceAmplification {
        /// Total bytes per hundred bytes of the last run.
        percent: u32,
    },
    /// A tombstone is older than allowed.
    TombstoneAge {
        /// The level.
        level: u8,
        /// Its age.
        ticks: u64,
    },
    /// A table holds more tombstones than allowed.
    TombstoneDensity {
        /// The level.
        level: u8,
        /// Tombstones per hundred entries.
        percent: u32,
    },
    /// A table has not been rewritten for longer than allowed.
    Staleness {
        /// The level.
        level: u8,
        /// Its age.
        ticks: u64,
    },
}

impl Reason {
    /// The name that events, plots and tables show.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::MemtableFull => "memtable_full",
            Self::SegmentFull => "segment_full",
            Self::SharedBudget => "shared_budget",
            Self::LogRelease => "log_release",
            Self::Manual => "manual",
            Self::Recovery => "recovery",
            Self::RunCount { .. } => "run_count",
            Self::LevelSaturation { .. } => "level_saturation",
            Self::Seeks { .. } => "seeks",
            Self::SmallTables { .. } => "small_tables",
            Self::SizeRatio { .. } => "size_ratio",
            Self::SpaceAmplification { .. } => "space_amplification",
            Self::TombstoneAge { .. } => "tombstone_age",
            Self::TombstoneDensity { .. } => "tombstone_density",
            Self::Staleness { .. } => "staleness",
        }
    }

    /// The numbers that decided.
    pub fn fields(&self) -> Vec<nori_observe::Field> {
        match *self {
            Self::MemtableFull
            | Self::SegmentFull
            | Self::SharedBudget
            | Self::LogRelease
            | Self::Manual
            | Self::Recovery => vec![],
            Self::RunCount { level, runs, runs_max } => {
                vec![("level", level.into()), ("runs", runs.into()), ("runs_max", runs_max.into())]
            }
            Self::LevelSaturation { level, bytes, bytes_target } => {
                vec![("level", level.into()), ("bytes", bytes), ("bytes_target", bytes_target)]
            }
            Self::Seeks { level, seeks, bytes } => {
                vec![("level", level.into()), ("seeks", seeks), ("bytes", bytes)]
            }
            Self::SmallTables { level, tables } => {
                vec![("level", level.into()), ("tables", tables.into())]
            }
            Self::SizeRatio { level, runs } => vec![("level", level.into()), ("runs", runs.into())],
            Self::SpaceAmplification { percent } => vec![("percent", percent.into())],
            Self::TombstoneAge { level, ticks } | Self::Staleness { level, ticks } => {
                vec![("level", level.into()), ("ticks", ticks)]
            }
            Self::TombstoneDensity { level, percent } => {
                vec![("level", level.into()), ("percent", percent.into())]
            }
        }
    }
}

/// How a writer was held up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallKind {
    /// Each write was delayed a little.
    Slowdown,
    /// Writes waited for a job to end.
    Stop,
}

/// Something an engine did.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EngineEvent {
    /// A store was opened, `replayed` operations of its log replayed.
    Opened {
        /// Operations replayed.
        replayed: u64,
        /// Bytes of the log that a torn tail cost.
        torn_bytes: u64,
        /// The last sequence number recovered.
        last: SeqNo,
    },
    /// A flush began.
    FlushBegin {
        /// Why the memtable was sealed.
        why: Reason,
        /// Its bytes.
        bytes_in: u64,
    },
    /// A flush ended.
    FlushEnd {
        /// Why the memtable was sealed.
        why: Reason,
        /// Bytes of the tables it wrote.
        bytes_out: u64,
        /// How long it took.
        took_micros: u64,
    },
    /// A compaction began.
    CompactionBegin {
        /// Its number in this run of the engine.
        job: u64,
        /// Why it was planned.
        why: Reason,
        /// The level it writes to.
        level_out: u8,
        /// The tables it reads.
        tables_in: u64,
        /// Their bytes.
        bytes_in: u64,
    },
    /// A compaction ended and its result was installed.
    CompactionEnd {
        /// Its number in this run of the engine.
        job: u64,
        /// Why it was planned.
        why: Reason,
        /// The level it wrote to.
        level_out: u8,
        /// Bytes read.
        bytes_in: u64,
        /// Bytes written; zero for a trivial move.
        bytes_out: u64,
        /// How long it took.
        took_micros: u64,
    },
    /// A plan was refused; the tree is as it was.
    PlanRefused {
        /// The rule it breaks.
        rule: Cow<'static, str>,
    },
    /// Writers are held up from now on. Told once for an episode, however many writes it holds up.
    StallBegin {
        /// How.
        kind: StallKind,
        /// Why.
        why: Reason,
    },
    /// Writers are free again.
    StallEnd {
        /// How they were held up.
        kind: StallKind,
        /// Why, when it began.
        why: Reason,
        /// The length of the episode.
        took_micros: u64,
        /// The sum of what single writes were made to wait in it.
        delay_micros: u64,
        /// How often a write waited in it.
        writes: u64,
    },
    /// Background work failed and the store takes no more writes.
    Poisoned {
        /// What happened.
        what: String,
    },
}

impl EngineEvent {
    /// The event as a name and numbers, stamped with the engine's clock.
    pub fn to_viz(&self, at_nanos: u64) -> VizEvent {
        let with = |kind, why: &Reason, mut fields: Vec<nori_observe::Field>| {
            fields.extend(why.fields().into_iter().filter(|(name, _)| *name != "level_out"));
            VizEvent { at_nanos, kind, why: Cow::Borrowed(why.name()), fields }
        };
        let stall = |kind: &StallKind| match kind {
            StallKind::Slowdown => 0,
            StallKind::Stop => 1,
        };
        match self {
            Self::Opened { replayed, torn_bytes, last } => VizEvent {
                at_nanos,
                kind: "opened",
                why: Cow::Borrowed("recovery"),
                fields: vec![
                    ("replayed", *replayed),
                    ("torn_bytes", *torn_bytes),
                    ("last_seqno", last.value()),
                ],
            },
            Self::FlushBegin { why, bytes_in } => {
                with("flush_begin", why, vec![("bytes_in", *bytes_in)])
            }
            Self::FlushEnd { why, bytes_out, took_micros } => {
                let fields = vec![("bytes_out", *bytes_out), ("took_micros", *took_micros)];
                with("flush_end", why, fields)
            }
            Self::CompactionBegin { job, why, level_out, tables_in, bytes_in } => {
                let level_out = u64::from(*level_out);
                let fields = vec![
                    ("job", *job),
                    ("level_out", level_out),
                    ("tables_in", *tables_in),
                    ("bytes_in", *bytes_in),
                ];
                with("compaction_begin", why, fields)
            }
            Self::CompactionEnd { job, why, level_out, bytes_in, bytes_out, took_micros } => {
                let level_out = u64::from(*level_out);
                let fields = vec![
                    ("job", *job),
                    ("level_out", level_out),
                    ("bytes_in", *bytes_in),
                    ("bytes_out", *bytes_out),
                    ("took_micros", *took_micros),
                ];
                with("compaction_end", why, fields)
            }
            Self::PlanRefused { rule } => {
                VizEvent { at_nanos, kind: "plan_refused", why: rule.clone(), fields: vec![] }
            }
            Self::StallBegin { kind, why } => {
                with("stall_begin", why, vec![("is_stop", stall(kind))])
            }
            Self::StallEnd { kind, why, took_micros, delay_micros, writes } => {
                let mut fields = vec![("is_stop", stall(kind)), ("took_micros", *took_micros)];
                fields.extend([("delay_micros", *delay_micros), ("writes", *writes)]);
                with("stall_end", why, fields)
            }
            Self::Poisoned { what } => VizEvent {
                at_nanos,
                kind: "poisoned",
                why: Cow::Owned(what.clone()),
                fields: vec![],
            },
        }
    }
}
