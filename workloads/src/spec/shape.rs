//! The fields of a workload file.

use crate::hash::{fnv64, fnv64_big_endian, fnv64_unsigned};
use crate::{OpKind, pick};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::time::Duration;

/// One workload file.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// [`SCHEMA`](super::SCHEMA).
    pub schema: String,
    /// The name it goes by in tables.
    pub name: String,
    /// One sentence for people.
    #[serde(default)]
    pub about: String,
    /// The keys.
    pub keys: Keys,
    /// The values.
    pub values: Values,
    /// What is done, in order.
    #[serde(rename = "phase")]
    pub phases: Vec<Phase>,
}

/// The keys of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Keys {
    /// Loaded before anything else, numbered from 0. `>= 1`.
    pub records: u64,
    /// Key numbers kept for inserts. Fixed in advance, so that the hot keys of a phase that runs for
    /// a time do not depend on how quick the store is.
    #[serde(default)]
    pub max_new: u64,
    /// Whether keys lie in the order of their numbers.
    #[serde(default)]
    pub order: KeyOrder,
    /// How a number is written.
    #[serde(default)]
    pub format: KeyFormat,
    /// Whose hash of a number it is.
    #[serde(default, skip_serializing_if = "KeyHash::is_default")]
    pub hash: KeyHash,
}

/// The hash that spreads `hashed` keys, and by which `ycsb_zipfian` folds ranks: programs that read the same
/// property files differ in it, and so in which keys lie beside which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyHash {
    /// YCSB's: least significant byte first, then the absolute value.
    #[default]
    Ycsb,
    /// go-ycsb's: most significant byte first, then the absolute value. Hashed keys stay almost in order.
    GoYcsb,
    /// YCSB-cpp's: least significant byte first, unsigned. Its zipfian folds into one key fewer than YCSB's.
    YcsbCpp,
}

impl KeyHash {
    /// The hash of a number.
    #[inline]
    pub fn of(self, number: u64) -> u64 {
        match self {
            Self::Ycsb => fnv64(number),
            Self::GoYcsb => fnv64_big_endian(number),
            Self::YcsbCpp => fnv64_unsigned(number),
        }
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a key number lies among the keys.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeyOrder {
    /// Anywhere: the key holds a hash of the number.
    #[default]
    Hashed,
    /// After the key of the number before.
    Ordered,
}

/// How a key is written.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum KeyFormat {
    /// A prefix and decimal digits, as YCSB does.
    Ycsb {
        /// At most 64 bytes.
        prefix: String,
        /// Digits at least, zeros in front. At most 64.
        zero_pad: u32,
    },
    /// Eight bytes, most significant first.
    /// No field; with braces, so that a field that is given is refused.
    Be64 {},
}

impl Default for KeyFormat {
    fn default() -> Self {
        Self::Ycsb { prefix: "user".into(), zero_pad: 1 }
    }
}

/// The values of a workload.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Values {
    /// What an update writes.
    pub record: RecordModel,
    /// How long values are.
    pub size: Sizes,
    /// Every how many reads of a client one is checked. 0: none.
    pub check_every: u64,
}

/// What a record is to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordModel {
    /// One value. An update writes all of it (YCSB's own client writes one field of ten).
    Blob,
}

/// Lengths of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Sizes {
    /// Which of the other fields are meant.
    pub dist: SizeKind,
    /// For `constant`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// For `uniform`: the shortest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min: Option<u64>,
    /// For `uniform`: the longest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u64>,
}

/// How lengths of values are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SizeKind {
    /// All the same.
    Constant,
    /// Every length from `min` to `max` equally often.
    Uniform,
}

/// One phase.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Loading, or the mix.
    pub kind: PhaseKind,
    /// Ends after so many operations of all clients together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<u64>,
    /// Ends after this time. A load that is not done by then goes on in large batches that are not measured, so
    /// that what follows finds every record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Span>,
    /// Shares of the operations. They sum to 1.
    #[serde(default, skip_serializing_if = "Mix::is_empty")]
    pub mix: Mix,
    /// Which existing keys are named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pick: Option<Pick>,
    /// Entries that a scan reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scan_length: Option<Lengths>,
    /// Key numbers that a range delete covers, from the picked one on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub range_length: Option<Lengths>,
    /// Writes that a batch holds. `>= 1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_size: Option<u32>,
    /// Whether an insert takes the key that its client deleted first in this phase, if there is one, and only
    /// else a new one. With as many deletes as inserts the number of keys then stays the same.
    #[serde(default, skip_serializing_if = "is_false")]
    pub reinsert: bool,
    /// How operations are sent. Not for settling.
    #[serde(default, skip_serializing_if = "Load::is_none")]
    pub load: Load,
    /// Whether it has rows in the summary. A warm-up runs like any other phase and has none.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub record: bool,
    /// For settling: how long at most. [`SETTLE_MAX`] if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
}

fn yes() -> bool {
    true
}

/// What a phase does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PhaseKind {
    /// Inserts every record once, in the order of key numbers.
    Load,
    /// Waits until the store has done what it put off.
    Settle,
    /// Runs the mix.
    Run,
}

impl PhaseKind {
    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Settle => "settle",
            Self::Run => "run",
        }
    }
}

/// Shares of the operations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mix {
    /// Reads of a key that exists.
    #[serde(skip_serializing_if = "is_zero")]
    pub read: f64,
    /// New values for a key that exists.
    #[serde(skip_serializing_if = "is_zero")]
    pub update: f64,
    /// New keys.
    #[serde(skip_serializing_if = "is_zero")]
    pub insert: f64,
    /// A read of a key that exists, then a new value for it.
    #[serde(skip_serializing_if = "is_zero")]
    pub rmw: f64,
    /// Reads of some entries in order, from a key that exists.
    #[serde(skip_serializing_if = "is_zero")]
    pub scan: f64,
    /// Reads of a key that does not exist and never did.
    #[serde(skip_serializing_if = "is_zero")]
    pub read_absent: f64,
    /// Deletes of a key that exists.
    #[serde(skip_serializing_if = "is_zero")]
    pub delete: f64,
    /// Deletes of a key, whether or not it exists.
    #[serde(skip_serializing_if = "is_zero")]
    pub delete_blind: f64,
    /// Deletes of all keys of a range that begins with one that exists.
    #[serde(skip_serializing_if = "is_zero")]
    pub delete_range: f64,
    /// New values for some keys that exist, written as one batch.
    #[serde(skip_serializing_if = "is_zero")]
    pub batch: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(flag: &bool) -> bool {
    !flag
}

impl Mix {
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Each kind of operation with its share, in the order of [`OpKind::ALL`].
    pub(crate) fn shares(&self) -> [(OpKind, f64); OpKind::ALL.len()] {
        OpKind::ALL.map(|kind| {
            let share = match kind {
                OpKind::Read => self.read,
                OpKind::Update => self.update,
                OpKind::Insert => self.insert,
                OpKind::Rmw => self.rmw,
                OpKind::Scan => self.scan,
                OpKind::ReadAbsent => self.read_absent,
                OpKind::Delete => self.delete,
                OpKind::DeleteBlind => self.delete_blind,
                OpKind::DeleteRange => self.delete_range,
                OpKind::Batch => self.batch,
            };
            (kind, share)
        })
    }

    /// Whether it deletes. Each client of such a phase keeps to keys of its own.
    pub fn deletes(&self) -> bool {
        self.delete > 0.0 || self.delete_blind > 0.0 || self.delete_range > 0.0
    }
}

/// Which existing keys are named.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Pick {
    /// The distribution.
    pub dist: Distribution,
    /// Skew of `zipfian` (any) and `latest` (below 1). 0.99 if absent. Not for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub theta: Option<f64>,
    /// Of `hotspot`: the share of the loaded keys that is hot, the lowest numbers. 0.2 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_keys: Option<f64>,
    /// Of `hotspot`: the share of operations that name a hot key. 0.8 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hot_ops: Option<f64>,
    /// Of `exponential`: this percentage of operations names keys among the newest `frac` of the loaded number.
    /// 95 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percentile: Option<f64>,
    /// See `percentile`. 0.8571428571 if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frac: Option<f64>,
}

impl Pick {
    /// The distribution with its defaults.
    pub fn of(dist: Distribution) -> Self {
        Self { dist, theta: None, hot_keys: None, hot_ops: None, percentile: None, frac: None }
    }

    /// The skew in force.
    pub fn theta(&self) -> f64 {
        self.theta.unwrap_or(pick::YCSB_THETA)
    }

    /// The share of hot keys in force.
    pub fn hot_keys(&self) -> f64 {
        self.hot_keys.unwrap_or(pick::HOT_KEYS)
    }

    /// The share of operations on hot keys in force.
    pub fn hot_ops(&self) -> f64 {
        self.hot_ops.unwrap_or(pick::HOT_OPS)
    }

    /// The percentage in force.
    pub fn percentile(&self) -> f64 {
        self.percentile.unwrap_or(pick::EXPONENTIAL_PERCENTILE)
    }

    /// The part of the keys in force.
    pub fn frac(&self) -> f64 {
        self.frac.unwrap_or(pick::EXPONENTIAL_FRAC)
    }
}

/// How picked keys are spread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Distribution {
    /// Every key equally often.
    Uniform,
    /// Key number `i` in proportion to `(i + 1)^-theta`.
    Zipfian,
    /// What YCSB calls zipfian: ranks of 10^10 + 1 items, hashed and folded.
    YcsbZipfian,
    /// Near the newest acknowledged insert.
    Latest,
    /// Some of the loaded keys more often than the rest, evenly within each part.
    Hotspot,
    /// Newer keys more often, falling exponentially with age.
    Exponential,
    /// The loaded keys in turn.
    Sequential,
    /// Always the oldest key that exists.
    Oldest,
}

impl Distribution {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipfian => "zipfian",
            Self::YcsbZipfian => "ycsb_zipfian",
            Self::Latest => "latest",
            Self::Hotspot => "hotspot",
            Self::Exponential => "exponential",
            Self::Sequential => "sequential",
            Self::Oldest => "oldest",
        }
    }
}

/// Numbers of entries, each from `min` to `max` equally often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Lengths {
    /// The smallest. `>= 1`.
    pub min: u32,
    /// The largest. `>= min`.
    pub max: u32,
}

/// How operations are sent.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// The model.
    pub model: LoadModel,
    /// For `open`: operations a second of all clients together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<f64>,
    /// For `open`, in place of a rate: the share of the rate that the same phase reaches in a closed loop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of_max: Option<f64>,
    /// With `of_max`: the target whose closed loop is meant, so that all targets are offered the same. Their own if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// For `open`: how operations follow each other. `poisson` if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arrival: Option<Arrival>,
    /// Client threads. `>= 1`; 0 stands for a phase without clients.
    pub threads: u32,
}

impl Load {
    /// A closed loop of so many clients.
    pub fn closed(threads: u32) -> Self {
        Self {
            model: LoadModel::Closed,
            rate: None,
            of_max: None,
            of: None,
            arrival: None,
            threads,
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// How operations follow each other in an open loop. Poisson's is the honest default: requests of many users do not
    /// keep a distance.
    pub fn arrival(&self) -> Arrival {
        self.arrival.unwrap_or(Arrival::Poisson)
    }
}

impl Default for Load {
    fn default() -> Self {
        Self::closed(0)
    }
}

/// When the next operation is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LoadModel {
    /// As soon as the one before has ended.
    Closed,
    /// At its time, whether the one before has ended in time or not.
    Open,
}

impl LoadModel {
    /// Its name in files and tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
        }
    }
}

/// How the operations of an open loop follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrival {
    /// At equal distances.
    Fixed,
    /// Each independent of the others: distances are exponential.
    Poisson,
}

impl Arrival {
    /// Every way, in the order of help texts.
    pub const ALL: [Self; 2] = [Self::Fixed, Self::Poisson];

    /// Its name in files and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Poisson => "poisson",
        }
    }
}

/// A length of time, written `"500ms"`, `"60s"`, `"2m"` or `"1h"`. At most a year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Duration);

/// How long settling may take if the file does not say.
pub const SETTLE_MAX: Span = Span(Duration::from_secs(120));

/// Longer times are slips of the keyboard, and points of time that lie so far ahead cannot all be told.
const SPAN_MAX: Duration = Duration::from_hours(8_760);

impl std::str::FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, unit) = text.split_at(digits);
        if number.is_empty() {
            return Err(format!("`{text}` is no time; write `500ms` or `60s`"));
        }
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return Err(format!("`{text}` has no unit of time; write `500ms`, `60s` or `2m`")),
        };
        let millis = number.parse::<u64>().ok().and_then(|number| number.checked_mul(millis));
        let span = millis.map(Duration::from_millis).filter(|span| *span <= SPAN_MAX);
        span.map(Self).ok_or_else(|| format!("`{text}` is longer than a year (8760h)"))
    }
}

impl std::fmt::Display for Span {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = self.0.as_millis();
        if millis.is_multiple_of(1_000) {
            write!(f, "{}s", millis / 1_000)
        } else {
            write!(f, "{millis}ms")
        }
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
