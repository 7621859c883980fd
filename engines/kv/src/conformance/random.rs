//! Random operations against an ordered map: the store and the map always agree.
//!
//! 1. Draw an operation: put, delete, batch, range delete, snapshot, reopen, flush, compact, settle.
//! 2. Do it to the store and to the map; features that the row lacks are not drawn.
//! 3. Now and then compare all rows both ways, some point reads, and every snapshot with its map.
//!
//! The seed is fixed, so a failure comes back on every run.

use super::Law;
use super::bench::{Bench, Pair, holds, ok, rows, rows_back, same};
use crate::{Engine, Feature, KeyRange, Reader, WriteBatch};
use nori_env::{Entropy, SeededEntropy};
use std::collections::BTreeMap;
use std::sync::Arc;

pub(super) const LAWS: &[Law] =
    &[Law { name: "random operations agree with an ordered map", needs: &[], check: random }];

/// Operations per seed: enough for several reopens and snapshots of each.
const STEPS: u32 = 1_500;
const SEEDS: u64 = 3;
/// Few enough that keys are overwritten, deleted and written again.
const KEYS: u64 = 120;

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

struct Play<'a> {
    bench: &'a Bench<'a>,
    entropy: SeededEntropy,
    engine: Arc<dyn Engine>,
    map: Map,
    snapshots: Vec<(Arc<dyn Reader>, Map)>,
}

fn random(bench: &Bench<'_>) {
    for seed in 0..SEEDS {
        let dir = bench.dir.join(format!("seed-{seed}"));
        let bench = &Bench::new(bench.factory, bench.parts.clone(), dir);
        let mut play = Play {
            bench,
            entropy: SeededEntropy::new(seed),
            engine: bench.open(),
            map: Map::new(),
            snapshots: Vec::new(),
        };
        for _ in 0..STEPS {
            play.step();
        }
        play.compare();
    }
}

impl Play<'_> {
    fn has(&self, feature: Feature) -> bool {
        self.bench.capabilities().has(feature)
    }

    fn key(&self) -> Vec<u8> {
        let n = self.entropy.below(KEYS);
        // Keys of several lengths, some a prefix of others, with bytes above 127.
        let mut key = vec![(n / 8) as u8 * 16 + 1];
        key.extend(std::iter::repeat_n(0xFF, (n % 4) as usize));
        key.push((n % 8) as u8);
        key
    }

    fn value(&self) -> Vec<u8> {
        let longest = if self.entropy.below(50) == 0 { 20_000 } else { 60 };
        let len = self.entropy.below(longest) as usize;
        let first = self.entropy.next_u64() as u8;
        (0..len).map(|i| first.wrapping_add(i as u8)).collect()
    }

    fn step(&mut self) {
        match self.entropy.below(100) {
            0..50 => self.write(1),
            50..65 if self.has(Feature::Batches) => self.write(2 + self.entropy.below(20)),
            65..70 if self.has(Feature::RangeDeletes) => self.delete_range(),
            70..75 if self.has(Feature::Snapshots) => self.snapshot(),
            75..77 => self.reopen(),
            77..80 => self.operate(),
            80..84 => self.compare(),
            _ => {
                let key = self.key();
                holds(&*self.engine, &key, self.map.get(&key).map(Vec::as_slice));
            }
        }
    }

    fn write(&mut self, ops: u64) {
        let mut batch = WriteBatch::new();
        for _ in 0..ops {
            let key = self.key();
            if self.entropy.below(3) == 0 {
                batch.delete(&key);
                self.map.remove(&key);
            } else {
                let value = self.value();
                batch.put(&key, &value);
                self.map.insert(key, value);
            }
        }
        ok("write", self.engine.write(&batch, self.bench.durability()));
    }

    fn delete_range(&mut self) {
        let (start, end) = (self.key(), self.key());
        let range = KeyRange::between(&start, &end);
        self.bench.write(&*self.engine, |batch| {
            batch.delete_range(&start, &end);
        });
        self.map.retain(|key, _| !range.contains(key));
    }

    fn snapshot(&mut self) {
        self.snapshots.push((ok("snapshot", self.engine.snapshot()), self.map.clone()));
        if self.snapshots.len() > 4 {
            let oldest = self.entropy.below(self.snapshots.len() as u64) as usize;
            self.snapshots.swap_remove(oldest);
        }
    }

    fn reopen(&mut self) {
        self.snapshots.clear();
        let beside = self.bench.dir.join("beside");
        // The handle in use is replaced first, for a store that is open is not opened again.
        let engine = std::mem::replace(&mut self.engine, self.bench.open_in(&beside));
        self.bench.close(engine);
        self.engine = self.bench.open();
        self.compare();
    }

    fn operate(&self) {
        let Some(operator) = self.engine.maintain() else { return };
        match self.entropy.below(3) {
            0 if self.has(Feature::Flush) => ok("flush", operator.flush()),
            1 if self.has(Feature::Settle) => ok("settle", operator.settle()),
            2 if self.has(Feature::Compact) => {
                let range = KeyRange::between(&self.key(), &self.key());
                ok("compact", operator.compact(&range));
            }
            _ => {}
        }
    }

    fn compare(&self) {
        self.compare_one(&*self.engine, &self.map);
        for (snapshot, map) in &self.snapshots {
            self.compare_one(&**snapshot, map);
        }
    }

    fn compare_one(&self, reader: &(impl Reader + ?Sized), map: &Map) {
        let range = match self.entropy.below(2) {
            0 => KeyRange::all(),
            _ => KeyRange::between(&self.key(), &self.key()),
        };
        let inside = map.iter().filter(|(key, _)| range.contains(key));
        let mut expected: Vec<Pair> = inside.map(|(k, v)| (k.clone(), v.clone())).collect();
        same("rows", &rows(reader, &range), &expected);
        if self.has(Feature::Reverse) {
            expected.reverse();
            same("rows backwards", &rows_back(reader, &range), &expected);
        }
        let key = self.key();
        holds(reader, &key, map.get(&key).map(Vec::as_slice));
    }
}
