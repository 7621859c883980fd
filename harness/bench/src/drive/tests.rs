//! The driver against small engines: what it counts, what it catches, what it costs.

use super::*;
use nori_kv::{
    Cursor, EngineStats, KeyRange, Kind, ReadOptions, Reader, Result as KvResult, Row, SeqNo,
    WriteBatch,
};
use nori_workloads::{
    Arrival, Distribution, KeyFormat, KeyOrder, Lengths, Load, Mix, Overrides, Phase, Pick, Span,
    built_in,
};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// Spoils a value before it is kept; whether it is kept.
type Fault = fn(&[u8], &mut Vec<u8>) -> bool;

/// A map under a lock, which can be told to lose or to spoil values.
#[derive(Default)]
struct MapEngine {
    rows: Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>,
    fault: Option<Fault>,
}

struct MapCursor {
    rows: Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>,
    from: Bound<Vec<u8>>,
    row: Option<(Vec<u8>, Vec<u8>)>,
}

impl Reader for MapEngine {
    fn read(&self, key: &[u8], _: &ReadOptions, sink: &mut dyn FnMut(Row<'_>)) -> KvResult<bool> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let row = rows.get(key);
        if let Some(value) = row {
            sink(Row { key, value });
        }
        Ok(row.is_some())
    }

    fn cursor(&self, range: &KeyRange, _: &ReadOptions) -> KvResult<Box<dyn Cursor>> {
        let from = Bound::Included(range.start.clone());
        Ok(Box::new(MapCursor { rows: Arc::clone(&self.rows), from, row: None }))
    }
}

impl Cursor for MapCursor {
    fn seek(&mut self, _: &[u8]) -> KvResult<bool> {
        unreachable!("the driver does not seek")
    }
    fn seek_back(&mut self, _: &[u8]) -> KvResult<bool> {
        unreachable!("the driver does not seek")
    }
    fn next(&mut self) -> KvResult<bool> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let next = rows.range((self.from.clone(), Bound::Unbounded)).next();
        self.row = next.map(|(key, value)| (key.clone(), value.clone()));
        if let Some((key, _)) = &self.row {
            self.from = Bound::Excluded(key.clone());
        }
        Ok(self.row.is_some())
    }
    fn prev(&mut self) -> KvResult<bool> {
        unreachable!("the driver does not go back")
    }
    fn row(&self) -> Option<Row<'_>> {
        self.row.as_ref().map(|(key, value)| Row { key, value })
    }
}

impl Engine for MapEngine {
    fn write(&self, batch: &WriteBatch, _: Durability) -> KvResult<SeqNo> {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (op, key, value) in batch.iter() {
            let mut value = value.to_vec();
            match op.kind {
                Kind::Delete => _ = rows.remove(key),
                Kind::DeleteRange => rows.retain(|k, _| !(key..value.as_slice()).contains(&&k[..])),
                _ if self.fault.is_none_or(|fault| fault(key, &mut value)) => {
                    rows.insert(key.to_vec(), value);
                }
                _ => {}
            }
        }
        Ok(SeqNo::ZERO)
    }
    fn snapshot(&self) -> KvResult<Arc<dyn Reader>> {
        unreachable!("the driver takes no snapshot")
    }
    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

fn workload(name: &str, ops: u64, threads: u32) -> Workload {
    let overrides = Overrides {
        records: Some(2_000),
        value_bytes: Some(100),
        ops: Some(ops),
        threads: Some(threads),
        duration: None,
        load_duration: None,
        load: None,
    };
    let mut workload = built_in(name).unwrap().workload().unwrap().with(&overrides).unwrap();
    workload.values.check_every = 1;
    workload
}

/// Loads and runs; both outcomes.
fn load_and_run(engine: MapEngine, w: &Workload) -> (PhaseOutcome, PhaseOutcome) {
    load_and_watch(engine, w, &mut |_| {})
}

fn load_and_watch(
    engine: MapEngine,
    w: &Workload,
    on_tick: &mut dyn FnMut(Tick<'_>),
) -> (PhaseOutcome, PhaseOutcome) {
    let engine: Arc<dyn Engine> = Arc::new(engine);
    let mut outcomes = Vec::new();
    for (phase, base) in [(0, 0), (1, w.keys.records)] {
        let clients = w.phases[phase].load.threads;
        let job = PhaseJob {
            engine: &engine,
            tasks: None,
            workload: w,
            phase,
            seed: 1,
            number: phase as u32,
            durability: Durability::Os,
            ledger: Arc::new(Ledger::new(base, clients)),
            checks: true,
            rate: None,
        };
        outcomes.push(run_phase(&job, on_tick).unwrap());
    }
    let run = outcomes.pop().unwrap();
    (outcomes.pop().unwrap(), run)
}

#[test]
fn every_operation_is_counted_timed_and_checked() {
    for (name, threads) in [("ycsb-a", 1), ("ycsb-d", 2), ("ycsb-e", 2), ("ycsb-f", 3)] {
        let w = workload(name, 3_000, threads);
        let (load, run) = load_and_run(MapEngine::default(), &w);
        assert_eq!(load.counts.ops[OpKind::Insert as usize], 2_000, "{name}");
        assert_eq!(run.counts.ops_total(), 3_000, "{name}");
        assert_eq!(run.latencies.total().len(), 3_000, "{name}");
        assert_eq!((run.counts.errors_total(), run.first_error), (0, None), "{name}");
        assert!(run.counts.checked > 1_000, "{name}: {} checked", run.counts.checked);
        let bytes = load.counts.bytes_inserted;
        assert!((2_000 * 120..2_000 * 124).contains(&bytes), "{name}: {bytes} bytes");
        assert!(run.seconds > 0.0);
    }
}

#[test]
fn a_value_that_is_lost_or_spoiled_or_swapped_is_an_error_that_names_the_key() {
    let lost = |key: &[u8], _: &mut Vec<u8>| key[5] != b'7';
    let spoiled = |key: &[u8], value: &mut Vec<u8>| {
        value[50] ^= u8::from(key[5] == b'7');
        true
    };
    let cut = |_: &[u8], value: &mut Vec<u8>| {
        value.truncate(60);
        true
    };
    let cases: [(Fault, &str); 3] =
        [(lost, "not there"), (spoiled, "byte 50 is wrong"), (cut, "60 bytes, not 100")];
    for (fault, words) in cases {
        for name in ["ycsb-c", "ycsb-e"] {
            let engine = MapEngine { fault: Some(fault), ..MapEngine::default() };
            let (_, run) = load_and_run(engine, &workload(name, 3_000, 1));
            let error = run.first_error.unwrap_or_default();
            assert!(run.counts.errors_total() > 0, "{name}: {words}");
            assert!(error.contains(words) && error.contains("user"), "{name}: {error}");
        }
    }
}

#[test]
fn a_client_gives_up_on_a_broken_store() {
    let engine = MapEngine { fault: Some(|_, _| false), ..MapEngine::default() };
    let (_, run) = load_and_run(engine, &workload("ycsb-c", 1_000_000, 1));
    assert_eq!(run.counts.errors_total(), 101);
}

#[test]
fn a_phase_with_a_time_ends_with_it_and_has_an_interval_a_second() {
    let mut w = workload("ycsb-a", 1, 2);
    w.phases[1].ops = None;
    w.phases[1].duration = Some(Span(Duration::from_millis(2_300)));
    let mut intervals = Vec::new();
    let (_, run) = load_and_watch(MapEngine::default(), &w, &mut |tick| {
        let interval =
            tick.interval.map(|one| (one.start, one.length, one.recorded.latencies.total().len()));
        intervals.extend(interval);
    });
    assert!((2.3..2.6).contains(&run.seconds), "{}", run.seconds);
    // The load is quick: its one interval comes first.
    let intervals = &intervals[1..];
    assert_eq!(intervals.len(), 3);
    assert_eq!(intervals.iter().map(|(.., ops)| ops).sum::<u64>(), run.counts.ops_total());
    assert_eq!(run.latencies.total().len(), run.counts.ops_total());
    assert!(intervals[1].2 > 1_000);
    assert!(intervals.windows(2).all(|two| two[0].0 + two[0].1 == two[1].0), "{intervals:?}");
}

#[test]
fn a_load_past_its_time_is_finished_in_batches_that_are_not_measured() {
    let mut w = workload("ycsb-c", 2_000, 2);
    w.keys.records = 400_000;
    w.phases[0].duration = Some(Span(Duration::from_millis(20)));
    let mut intervals = Vec::new();
    let (load, run) = load_and_watch(MapEngine::default(), &w, &mut |tick| {
        intervals.extend(tick.interval.map(|one| (one.is_measured, one.start + one.length)));
    });
    let measured = intervals.iter().take_while(|(is_measured, _)| *is_measured).last().unwrap();
    let until = measured.1.as_secs_f64();
    assert!((until - load.seconds).abs() < 0.01, "{until} of {}", load.seconds);
    let rest = &intervals[1..];
    assert!(!rest[0].0 && rest[0].1 > measured.1, "the rest is there, and not measured: {rest:?}");
    let (ops, filled) = (load.counts.ops_total(), load.counts.filled);
    assert!(ops > 0 && filled > 0 && ops + filled == 400_000, "{ops} and {filled}");
    assert_eq!(load.latencies.total().len(), ops);
    assert!((0.02..0.2).contains(&load.seconds), "{}", load.seconds);
    assert!(load.counts.bytes_inserted > 400_000 * 120, "all bytes count");
    assert_eq!(run.first_error, None);
}

/// YCSB A with another mix over ordered keys.
fn with_mix(threads: u32, change: impl Fn(&mut Phase)) -> Workload {
    let mut w = workload("ycsb-a", 3_000, threads);
    (w.keys.order, w.keys.format) = (KeyOrder::Ordered, KeyFormat::Be64 {});
    let phase = &mut w.phases[1];
    phase.mix = Mix::default();
    phase.pick = Some(Pick::of(Distribution::Uniform));
    change(phase);
    Workload::parse("changed", &w.to_toml()).unwrap()
}

#[test]
fn keys_that_are_deleted_are_gone_and_no_read_misses_one_that_is_there() {
    let churn = |phase: &mut Phase| {
        let mix = &mut phase.mix;
        (mix.read, mix.read_absent, mix.insert, mix.delete) = (0.3, 0.1, 0.2, 0.2);
        (mix.delete_blind, mix.scan, mix.batch) = (0.05, 0.1, 0.05);
        phase.scan_length = Some(Lengths { min: 1, max: 9 });
        phase.batch_size = Some(3);
    };
    for threads in [1, 3] {
        let engine = MapEngine::default();
        let rows = Arc::clone(&engine.rows);
        let (load, run) = load_and_run(engine, &with_mix(threads, churn));
        assert_eq!((run.counts.errors_total(), run.first_error), (0, None));
        assert_eq!(run.counts.ops_total(), 3_000);
        for kind in [OpKind::ReadAbsent, OpKind::Delete, OpKind::DeleteBlind, OpKind::Batch] {
            assert!(run.counts.ops[kind as usize] > 90, "{kind:?}");
        }
        // Keys of 8 bytes, values of 100: what was inserted and not deleted is what is there.
        let live = load.counts.bytes_inserted + run.counts.bytes_inserted;
        let left = rows.read().unwrap().len() as u64;
        assert_eq!(live - run.counts.bytes_deleted, left * 108);
    }
}

#[test]
fn a_range_delete_removes_what_the_ledger_says() {
    let w = with_mix(1, |phase| {
        (phase.mix.read, phase.mix.insert, phase.mix.delete_range) = (0.4, 0.5, 0.1);
        phase.range_length = Some(Lengths { min: 1, max: 10 });
    });
    let engine = MapEngine::default();
    let rows = Arc::clone(&engine.rows);
    let (load, run) = load_and_run(engine, &w);
    assert_eq!(run.first_error, None);
    assert!(run.counts.ops[OpKind::DeleteRange as usize] > 200);
    let live = load.counts.bytes_inserted + run.counts.bytes_inserted - run.counts.bytes_deleted;
    assert_eq!(live, rows.read().unwrap().len() as u64 * 108);
}

#[test]
fn a_phase_whose_keys_are_all_gone_fails_and_says_why() {
    let w = with_mix(1, |phase| {
        (phase.mix.delete, phase.mix.delete_blind) = (0.1, 0.9);
        phase.ops = Some(19_000);
    });
    let (_, run) = load_and_run(MapEngine::default(), &w);
    assert!(run.counts.ops_total() < 19_000 && run.counts.errors_total() == 1);
    assert!(run.first_error.unwrap_or_default().starts_with("deletes left no key"));
}

#[test]
fn an_answer_to_an_absent_read_is_an_error() {
    let w = with_mix(1, |phase| phase.mix.read_absent = 1.0);
    let engine: Arc<dyn Engine> = Arc::new(Asked::default());
    let mut job = PhaseJob {
        engine: &engine,
        tasks: None,
        workload: &w,
        phase: 1,
        seed: 1,
        number: 1,
        durability: Durability::Os,
        ledger: Arc::new(Ledger::new(2_000, 1)),
        checks: true,
        rate: None,
    };
    let run = run_phase(&job, &mut |_| {}).unwrap();
    assert!(run.first_error.unwrap_or_default().contains("was never written and has a value"));
    job.checks = false;
    assert_eq!(run_phase(&job, &mut |_| {}).unwrap().first_error, None);
}

/// Takes note of the keys it is asked for.
#[derive(Default)]
struct Asked(RwLock<Vec<Vec<u8>>>);

impl Reader for Asked {
    fn read(&self, key: &[u8], _: &ReadOptions, sink: &mut dyn FnMut(Row<'_>)) -> KvResult<bool> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).push(key.to_vec());
        sink(Row { key, value: &[] });
        Ok(true)
    }
    fn cursor(&self, _: &KeyRange, _: &ReadOptions) -> KvResult<Box<dyn Cursor>> {
        unreachable!("the workload does not scan")
    }
}

impl Engine for Asked {
    fn write(&self, batch: &WriteBatch, _: Durability) -> KvResult<SeqNo> {
        let keys = batch.iter().map(|(_, key, _)| key.to_vec());
        self.0.write().unwrap_or_else(PoisonError::into_inner).extend(keys);
        Ok(SeqNo::ZERO)
    }
    fn snapshot(&self) -> KvResult<Arc<dyn Reader>> {
        unreachable!("the driver takes no snapshot")
    }
    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

#[test]
fn operations_drawn_ahead_are_those_of_the_stream() {
    // 101 operations: the last go is not full. D inserts, so its picks follow what was acknowledged.
    for name in ["ycsb-a", "ycsb-d"] {
        let w = workload(name, 101, 1);
        let asked = Arc::new(Asked::default());
        let engine: Arc<dyn Engine> = Arc::clone(&asked) as _;
        let job = PhaseJob {
            engine: &engine,
            tasks: None,
            workload: &w,
            phase: 1,
            seed: 7,
            number: 1,
            durability: Durability::Os,
            ledger: Arc::new(Ledger::new(w.keys.records, 1)),
            checks: false,
            rate: None,
        };
        assert_eq!(run_phase(&job, &mut |_| {}).unwrap().counts.ops_total(), 101);
        let id = StreamId { seed: 7, phase: 1, client: 0 };
        let ledger = Arc::new(Ledger::new(w.keys.records, 1));
        let mut stream = OpStream::new(&w, 1, id, ledger);
        let codec = nori_workloads::KeyCodec::new(&w.keys);
        let mut expected = Vec::new();
        while let Some(op) = stream.next_op() {
            let mut key = Vec::new();
            codec.write(op.key, &mut key);
            expected.push(key);
            stream.acknowledge(&op);
        }
        assert_eq!(*asked.0.read().unwrap(), expected, "{name}");
    }
}

/// Answers everything at once, but for one write that takes its time.
struct Stalling {
    writes: AtomicU64,
    stalls_at: u64,
    stall: Duration,
}

impl Reader for Stalling {
    fn read(&self, key: &[u8], _: &ReadOptions, sink: &mut dyn FnMut(Row<'_>)) -> KvResult<bool> {
        sink(Row { key, value: &[] });
        Ok(true)
    }
    fn cursor(&self, _: &KeyRange, _: &ReadOptions) -> KvResult<Box<dyn Cursor>> {
        unreachable!("the workload does not scan")
    }
}

impl Engine for Stalling {
    fn write(&self, _: &WriteBatch, _: Durability) -> KvResult<SeqNo> {
        if self.writes.fetch_add(1, Ordering::Relaxed) == self.stalls_at {
            std::thread::sleep(self.stall);
        }
        Ok(SeqNo::ZERO)
    }
    fn snapshot(&self) -> KvResult<Arc<dyn Reader>> {
        unreachable!("the driver takes no snapshot")
    }
    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }
}

/// YCSB A as an open loop on an engine that stalls once.
fn open_loop(
    rate: f64,
    ops: u64,
    stall: Duration,
    on_tick: &mut dyn FnMut(Tick<'_>),
) -> PhaseOutcome {
    let mut w = workload("ycsb-a", ops, 1);
    let load = Load {
        model: LoadModel::Open,
        rate: Some(rate),
        arrival: Some(Arrival::Fixed),
        ..Load::closed(1)
    };
    w.phases[1].load = load;
    let engine: Arc<dyn Engine> =
        Arc::new(Stalling { writes: AtomicU64::new(0), stalls_at: 200, stall });
    let job = PhaseJob {
        engine: &engine,
        tasks: None,
        workload: &w,
        phase: 1,
        seed: 1,
        number: 1,
        durability: Durability::Os,
        ledger: Arc::new(Ledger::new(w.keys.records, 1)),
        checks: false,
        rate: Some(rate),
    };
    run_phase(&job, on_tick).unwrap()
}

#[test]
fn response_times_count_the_queue_behind_a_stall_and_service_times_do_not() {
    // 2,000 a second: while the engine stalls for 50 ms, 100 of 2,000 operations become due.
    let outcome = open_loop(2_000.0, 2_000, Duration::from_millis(50), &mut |_| {});
    let service = outcome.latencies.total();
    let response = outcome.open.as_ref().unwrap().response().total();
    assert_eq!((service.len(), response.len()), (2_000, 2_000));
    let of = |histogram: &hdrhistogram::Histogram<u64>, q| {
        Duration::from_nanos(histogram.value_at_quantile(q))
    };
    assert!(of(&service, 0.99) < Duration::from_millis(5), "{:?}", of(&service, 0.99));
    assert!(of(&response, 0.99) > Duration::from_millis(20), "{:?}", of(&response, 0.99));
    assert!(service.max() >= 50_000_000 && response.max() >= 50_000_000);
    // Operations that were overdue were not waited for, so they have no lag.
    let lag = outcome.open.as_ref().unwrap().lag().len();
    assert!((500..=1_950).contains(&lag), "{lag} waits");
    assert!((0.99..1.5).contains(&outcome.seconds), "{}", outcome.seconds);
}

#[test]
fn an_interval_tells_how_many_operations_are_due_and_not_done() {
    let mut backlogs = Vec::new();
    open_loop(1_000.0, 1_800, Duration::from_millis(1_200), &mut |tick| {
        backlogs.extend(tick.interval.map(|interval| interval.backlog.unwrap()));
    });
    // The stall begins near 0.4 s, at the 200th write of a mix with half of them; at 1 s some 600 are due.
    assert!((300.0..900.0).contains(&backlogs[0]), "{backlogs:?}");
    assert!(*backlogs.last().unwrap() < 300.0, "{backlogs:?}");
}
