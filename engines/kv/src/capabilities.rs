//! What an engine can do, declared: the row that tables of engines show and suites honour.

use nori_env::Durability;
use std::time::Duration;

/// Something an engine may lack. What it lacks answers `Unsupported`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Feature {
    /// `Engine::snapshot`.
    Snapshots,
    /// `Cursor::prev` and `Cursor::seek_back`.
    Reverse,
    /// `Reader::read_many`.
    ReadMany,
    /// Range deletes in a batch.
    RangeDeletes,
    /// Puts that expire.
    Expiry,
    /// `Maintain::flush`.
    Flush,
    /// `Maintain::compact`.
    Compact,
    /// `Maintain::settle`.
    Settle,
    /// `Maintain::scrub`.
    Scrub,
    /// `Maintain::checkpoint` and `EngineFactory::install`.
    Checkpoint,
    /// `Maintain::ingest`.
    Ingest,
    /// `Engine::replicated`.
    Replicated,
    /// `Tier::CacheOnly` reads.
    CacheOnly,
    /// Atomic batches of more than one operation.
    Batches,
    /// A store opened twice is refused.
    Lock,
    /// Every injected fault surfaces as a typed error: files, clock and tasks are those of `Parts`.
    Simulated,
}

impl Feature {
    /// Every feature, in the order tables show them.
    pub const ALL: [Self; 16] = [
        Self::Snapshots,
        Self::Reverse,
        Self::ReadMany,
        Self::RangeDeletes,
        Self::Expiry,
        Self::Flush,
        Self::Compact,
        Self::Settle,
        Self::Scrub,
        Self::Checkpoint,
        Self::Ingest,
        Self::Replicated,
        Self::CacheOnly,
        Self::Batches,
        Self::Lock,
        Self::Simulated,
    ];

    /// The name tables show.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snapshots => "snapshots",
            Self::Reverse => "reverse",
            Self::ReadMany => "read_many",
            Self::RangeDeletes => "range_deletes",
            Self::Expiry => "expiry",
            Self::Flush => "flush",
            Self::Compact => "compact",
            Self::Settle => "settle",
            Self::Scrub => "scrub",
            Self::Checkpoint => "checkpoint",
            Self::Ingest => "ingest",
            Self::Replicated => "replicated",
            Self::CacheOnly => "cache_only",
            Self::Batches => "batches",
            Self::Lock => "lock",
            Self::Simulated => "simulated",
        }
    }
}

/// An engine's capability row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// The durability classes it offers; `Group` stands for every age.
    durabilities: Vec<Durability>,
    features: Vec<Feature>,
    /// The longest key in bytes.
    pub key_bytes_max: usize,
    /// Whether the empty key is a key.
    pub has_empty_key: bool,
}

impl Capabilities {
    /// A row with the given classes and features, and keys from empty to `key_bytes_max` bytes.
    pub fn new(durabilities: &[Durability], features: &[Feature], key_bytes_max: usize) -> Self {
        Self {
            durabilities: durabilities.to_vec(),
            features: features.to_vec(),
            key_bytes_max,
            has_empty_key: true,
        }
    }

    /// All four classes, for an engine that offers them; any age stands for `Group`.
    pub const ALL_DURABILITIES: [Durability; 4] = [
        Durability::None,
        Durability::Os,
        Durability::Group { max_age: Duration::from_millis(5) },
        Durability::Sync,
    ];

    /// Whether it has the feature.
    pub fn has(&self, feature: Feature) -> bool {
        self.features.contains(&feature)
    }

    /// Whether it offers the class.
    pub fn offers(&self, durability: Durability) -> bool {
        let same = |offered: &Durability| match (offered, durability) {
            (Durability::Group { .. }, Durability::Group { .. }) => true,
            (offered, asked) => *offered == asked,
        };
        self.durabilities.iter().any(same)
    }

    /// The classes it offers.
    pub fn durabilities(&self) -> &[Durability] {
        &self.durabilities
    }
}
