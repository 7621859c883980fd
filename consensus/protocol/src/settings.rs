//! The numbers that every protocol is set by.

use std::time::Duration;

/// How long and how much. All protocols take what of it they know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A follower that hears nothing for this long, and up to twice as long, campaigns. `election_min >= 3 * heartbeat`.
    pub election_min: Duration,
    /// A leader with nothing to say says so this often.
    pub heartbeat: Duration,
    /// How much faster or slower than another one's a clock may run, in millionths: what a lease rests upon.
    pub drift_ppm: u32,
    /// Entries of one message, in bytes; one entry may be longer.
    pub append_bytes_max: usize,
    /// Messages with entries that may be under way to one peer.
    pub inflight_messages_max: usize,
    /// Bytes of entries that may be under way to one peer.
    pub inflight_bytes_max: usize,
    /// Bytes of entries that may wait to be committed; a proposal beyond is refused.
    pub uncommitted_bytes_max: u64,
    /// Bytes that may wait to be applied; while there are more, proposals are refused.
    pub apply_debt_bytes_max: u64,
    /// Reads that may wait.
    pub reads_max: usize,
    /// Entries that are kept, though they are applied, for a peer that lags.
    pub trailing_entries: u64,
    /// What a read by lease rests upon.
    pub lease: LeaseKind,
    /// A group in which nothing happened for this long falls asleep; `None`: never.
    pub quiesce_after: Option<Duration>,
}

/// What a read by lease rests upon.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeaseKind {
    /// Nothing: such a read asks a quorum as a linearizable one does. Clocks may do what they like, and whoever starts anew votes at once.
    Off,
    /// A quorum that votes for nobody for an election's time after it heard the leader, or started.
    #[default]
    Quorum,
    /// The log: who begins to lead commits nothing for an election's time after the last entry came that it found (LeaseGuard, arXiv
    /// 2512.15659). Elections are as without leases; what waits is the first commit after one.
    Log,
}

impl LeaseKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Off, Self::Quorum, Self::Log];

    /// Its name, in a config.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Quorum => "quorum",
            Self::Log => "log",
        }
    }
}

/// Ten heartbeats, as etcd sets it (election 1,000 ms, heartbeat 100 ms).
const ELECTION_MIN: Duration = Duration::from_millis(1_000);
const HEARTBEAT: Duration = Duration::from_millis(100);
/// Crystals keep to 100 ppm; five times that is one part in two thousand.
const DRIFT_PPM: u32 = 500;
/// TiKV's `raft_max_size_per_msg` and `raft_max_inflight_msgs`.
const APPEND_BYTES_MAX: usize = 1 << 20;
const INFLIGHT_MESSAGES_MAX: usize = 256;
/// Enough for a gigabit over 250 ms.
const INFLIGHT_BYTES_MAX: usize = 32 << 20;
const UNCOMMITTED_BYTES_MAX: u64 = 64 << 20;
const APPLY_DEBT_BYTES_MAX: u64 = 64 << 20;
const READS_MAX: usize = 1 << 16;
/// As `TrailingLogs` of hashicorp/raft, 10,240.
const TRAILING_ENTRIES: u64 = 10_240;

impl Default for Settings {
    fn default() -> Self {
        Self {
            election_min: ELECTION_MIN,
            heartbeat: HEARTBEAT,
            drift_ppm: DRIFT_PPM,
            append_bytes_max: APPEND_BYTES_MAX,
            inflight_messages_max: INFLIGHT_MESSAGES_MAX,
            inflight_bytes_max: INFLIGHT_BYTES_MAX,
            uncommitted_bytes_max: UNCOMMITTED_BYTES_MAX,
            apply_debt_bytes_max: APPLY_DEBT_BYTES_MAX,
            reads_max: READS_MAX,
            trailing_entries: TRAILING_ENTRIES,
            lease: LeaseKind::Quorum,
            quiesce_after: None,
        }
    }
}

impl Settings {
    /// What is wrong with them, if anything.
    pub fn fault(&self) -> Option<String> {
        let positive = [
            ("append_bytes_max", self.append_bytes_max as u64),
            ("inflight_messages_max", self.inflight_messages_max as u64),
            ("inflight_bytes_max", self.inflight_bytes_max as u64),
            ("uncommitted_bytes_max", self.uncommitted_bytes_max),
            ("apply_debt_bytes_max", self.apply_debt_bytes_max),
            ("reads_max", self.reads_max as u64),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Some(format!("{name} must be above zero"));
        }
        if self.heartbeat.is_zero() || self.election_min < 3 * self.heartbeat {
            return Some(
                "election_min must be three heartbeats at least, and those above zero".into(),
            );
        }
        (self.drift_ppm >= 100_000).then(|| "drift_ppm must be below a tenth, 100000".into())
    }
}
