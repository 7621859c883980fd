//! The numbers that shape a tree.

/// The numbers a strategy is made with; settings of the engine, not state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// The memtable's size, and so about the size of a flush, in bytes.
    pub buffer_bytes: u64,
    /// How many times larger a level is than the one above (the `T` of the literature); at least 2.
    pub size_ratio: u64,
    /// The size at which output tables are cut, in bytes.
    pub table_bytes_target: u64,
    /// The runs in level 0 (in any level of a tiered tree) that start a compaction; at least 2.
    pub l0_runs_trigger: usize,
    /// The number of levels, level 0 included; at least 2.
    pub levels_max: usize,
    /// The bytes whose merging costs as much as one seek of a cursor in one table; zero: reads start no compaction.
    pub seek_bytes: u64,
}

/// 64 MiB: RocksDB's default write buffer.
pub const BUFFER_BYTES: u64 = 64 << 20;
/// 10: the default of LevelDB, RocksDB and Pebble, and the ratio of the PVLDB 2021 study.
pub const SIZE_RATIO: u64 = 10;
/// 64 MiB: RocksDB's default target for table files.
pub const TABLE_BYTES_TARGET: u64 = 64 << 20;
/// 4: RocksDB's default trigger for compactions of level 0.
pub const L0_RUNS_TRIGGER: usize = 4;
/// 7: RocksDB's default number of levels; with a ratio of 10, enough for any disk.
pub const LEVELS_MAX: usize = 7;

/// 1 KiB: a seek in a block that is cached costs about as much processor time as merging half of that, and one that has to be
/// fetched is a block of 4 KiB read. LevelDB, made for disks with arms, counts 16 KiB.
pub const SEEK_BYTES: u64 = 1 << 10;

impl Default for Shape {
    fn default() -> Self {
        Self {
            buffer_bytes: BUFFER_BYTES,
            size_ratio: SIZE_RATIO,
            table_bytes_target: TABLE_BYTES_TARGET,
            l0_runs_trigger: L0_RUNS_TRIGGER,
            levels_max: LEVELS_MAX,
            seek_bytes: SEEK_BYTES,
        }
    }
}

impl Shape {
    /// The same with every number brought to its least possible value if it is below that. `seek_bytes` may be any.
    #[must_use]
    pub fn clamped(self) -> Self {
        Self {
            buffer_bytes: self.buffer_bytes.max(1),
            size_ratio: self.size_ratio.max(2),
            table_bytes_target: self.table_bytes_target.max(1),
            l0_runs_trigger: self.l0_runs_trigger.max(2),
            levels_max: self.levels_max.clamp(2, 64),
            seek_bytes: self.seek_bytes,
        }
    }
}
