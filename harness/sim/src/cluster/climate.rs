//! What a seed is like: how many nodes, how they are set, and what may happen to them.

use nori_consensus::chance::Chance;
use nori_consensus::{LeaseKind, Settings};
use nori_env::Durability;
use std::time::Duration;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Climate {
    pub(super) nodes: usize,
    /// Shards for keys.
    pub(super) shards: u32,
    pub(super) replicas: u8,
    pub(super) durability: Durability,
    pub(super) consensus: Settings,
    pub(super) replica: norikv_replica::Settings,
    pub(super) log: &'static str,
    pub(super) segment_bytes: u64,
    pub(super) log_rewrite_bytes_max: u64,
    pub(super) cached_bytes: usize,
    pub(super) memtable_bytes: u64,
    pub(super) compaction: &'static str,
    pub(super) memtable: &'static str,
    /// Of a packet, between the fastest and the slowest.
    pub(super) delay: (u64, u64),
    /// Of a million packets of a stream so many are lost, and of datagrams.
    pub(super) loss_ppm: u32,
    pub(super) chance: Chance,
}

impl Climate {
    pub(super) fn of(seed: u64) -> Self {
        let mut chance = Chance::new(seed ^ 0x5eed_0002);
        let mut pick = |of: &[u64]| of[chance.below(of.len() as u64) as usize];
        let nodes = pick(&[3, 3, 3, 5]) as usize;
        let shards = pick(&[1, 2, 3, 4]) as u32;
        let replicas = if nodes == 5 { pick(&[3, 5]) } else { 3 } as u8;
        // Unlucky settings on purpose: what is rare with large ones happens all the time with these.
        let trailing_entries = pick(&[0, 5, 50, 1_000]);
        let append_bytes_max = pick(&[64, 1 << 10, 1 << 20]) as usize;
        let inflight_messages_max = pick(&[1, 4, 256]) as usize;
        let quiesce_after = match pick(&[0, 0, 500, 3_000]) {
            0 => None,
            millis => Some(Duration::from_millis(millis)),
        };
        let lease = LeaseKind::ALL[pick(&[0, 1, 1, 1, 2]) as usize];
        let segment_bytes = pick(&[16 << 10, 64 << 10, 1 << 20]);
        let cached_bytes = pick(&[0, 4 << 10, 256 << 10]) as usize;
        let memtable_bytes = pick(&[8 << 10, 16 << 10, 64 << 10]);
        let log = ["shared", "shared", "log-per-shard"][pick(&[0, 1, 2]) as usize];
        let compaction = ["leveled", "tiered", "lazy-leveling"][pick(&[0, 1, 2]) as usize];
        let memtable = ["skiplist", "btree", "vector"][pick(&[0, 1, 2]) as usize];
        let slowest = pick(&[500, 2_000, 10_000]);
        let loss_ppm = pick(&[0, 100, 5_000, 30_000]) as u32;
        let durability = match pick(&[0, 0, 0, 1]) {
            0 => Durability::Sync,
            _ => Durability::Os,
        };
        // A clock may jump by ten seconds, and stand still for eight: identities of clients with a right one are not made in the future.
        let identity_window = Duration::from_secs(pick(&[20, 60, 600]));
        let identities_max = pick(&[8, 64, 65_536, 65_536]) as usize;
        let log_rewrite_bytes_max = pick(&[256, 64 << 10, 256 << 10, 256 << 10]);
        let replica = norikv_replica::Settings {
            identity_window,
            identities_max,
            ..norikv_replica::Settings::default()
        };
        Self {
            replica,
            nodes,
            shards,
            replicas,
            durability,
            consensus: Settings {
                election_min: Duration::from_millis(300),
                heartbeat: Duration::from_millis(50),
                trailing_entries,
                append_bytes_max,
                inflight_messages_max,
                quiesce_after,
                lease,
                ..Settings::default()
            },
            log,
            segment_bytes,
            log_rewrite_bytes_max,
            cached_bytes,
            memtable_bytes,
            compaction,
            memtable,
            delay: (100_000, slowest * 1_000),
            loss_ppm,
            chance,
        }
    }
}
