//! One machine: a disk, clocks, and the node that runs on it, one life after the other.

use super::climate::Climate;
use bytes::Bytes;
use nori_consensus::{Instant, NodeId};
use nori_env::{
    DeferredFs, FaultFs, FaultPlan, Fs, ManualClock, MemFs, PowerLoss, SeededEntropy, SeededTasks,
    SegmentKind,
};
use nori_kv::Tick;
use nori_lsm::{Components, LsmFactory};
use nori_observe::NullMeter;
use nori_raft_log::LogOptions;
use nori_wal::WalOptions;
use norikv_node::charter::{Addresses, Files, Identity};
use norikv_node::{Candidate, Fatal, Node, Parts, Settings};
use norikv_placement::{MoveLimit, ReplicaCount, ShardCount, Weight, Zone};
use norikv_replica::Now;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Where a node keeps everything.
const DIR: &str = "/node";
/// When the world began, by the time of day.
const EPOCH_MS: u64 = 1_700_000_000_000;
const BILLION: i128 = 1_000_000_000;

/// A node that runs.
pub(super) struct Running {
    pub(super) node: Node,
    pub(super) tasks: SeededTasks,
    pub(super) fs: FaultFs,
    clock: ManualClock,
    is_woken: Arc<AtomicBool>,
}

/// See the module.
pub(super) struct Machine {
    /// Its number among machines, and in its addresses.
    pub(super) number: usize,
    /// What the next life finds.
    disk: MemFs,
    pub(super) running: Option<Running>,
    /// How often the node was started.
    pub(super) life: u64,
    /// How often the machine itself was.
    boots: u64,
    /// Its node's number, as soon as it has one.
    pub(super) id: Option<NodeId>,
    /// Nothing happens on it until then.
    pub(super) paused_until: u64,
    /// Its clock as it was when it stood still: what comes next may be handled by it.
    pub(super) held: Option<Now>,
    /// It is never started again.
    pub(super) is_gone: bool,
    /// Its jobs take so many times longer until then.
    pub(super) slow_until: u64,
    /// Its own time at `since`, and how much faster it runs, in millionths.
    steady: u64,
    since: u64,
    drift_ppm: i64,
    /// By how much its time of day is ahead, in milliseconds.
    ahead_ms: i64,
    /// When its node is to take a turn, if that was planned.
    pub(super) turn_at: Option<u64>,
    /// Its jobs are to go on.
    pub(super) is_working: bool,
}

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Death {
    /// The process; what it had written is there.
    Kill,
    /// The power; of what was not synced some is there.
    Power(u64),
}

/// What a node rests on in one of its lives.
struct Seams {
    tasks: SeededTasks,
    fs: FaultFs,
    clock: ManualClock,
    is_woken: Arc<AtomicBool>,
}

impl Machine {
    pub(super) fn new(number: usize, drift_ppm: i64) -> Self {
        Self {
            number,
            disk: MemFs::new(),
            running: None,
            life: 0,
            boots: 1,
            id: None,
            paused_until: 0,
            held: None,
            is_gone: false,
            slow_until: 0,
            steady: 1_000_000_000,
            since: 0,
            drift_ppm,
            ahead_ms: 0,
            turn_at: None,
            is_working: false,
        }
    }

    /// Its own time when the world's is `time`.
    pub(super) fn steady(&self, time: u64) -> u64 {
        let passed = i128::from(time.saturating_sub(self.since));
        let drifted = passed + passed * i128::from(self.drift_ppm) / 1_000_000;
        self.steady + u64::try_from(drifted).unwrap_or(0)
    }

    /// The world's time when its own is `steady`, or a little after.
    pub(super) fn world_time(&self, steady: u64) -> u64 {
        let ahead = i128::from(steady.saturating_sub(self.steady));
        let per = BILLION + BILLION * i128::from(self.drift_ppm) / 1_000_000;
        let passed = ahead * BILLION / per + 1;
        self.since + u64::try_from(passed).unwrap_or(u64::MAX / 4)
    }

    pub(super) fn now(&self, time: u64) -> Now {
        let wall = EPOCH_MS as i64 + (time / 1_000_000) as i64 + self.ahead_ms;
        Now { steady: Instant { nanos: self.steady(time) }, wall: Tick(wall.max(0) as u64) }
    }

    /// The present as a request finds it: the clock may have been read before the machine stood still.
    pub(super) fn request_now(&self, time: u64) -> Now {
        let held = self.held.filter(|_| time <= self.paused_until);
        held.unwrap_or_else(|| self.now(time))
    }

    /// The machine itself starts anew, and its clock with it.
    fn restart(&mut self, time: u64) {
        self.boots += 1;
        (self.steady, self.since) = (BILLION as u64, time);
    }

    pub(super) fn set_drift(&mut self, time: u64, ppm: i64) {
        self.steady = self.steady(time);
        (self.since, self.drift_ppm) = (time, ppm);
    }

    pub(super) fn set_ahead(&mut self, millis: i64) {
        self.ahead_ms = millis;
    }

    pub(super) fn is_awake(&self, time: u64) -> bool {
        self.running.is_some() && self.paused_until <= time
    }

    /// Moves the clock of its jobs on, and says whether they wake the node.
    pub(super) fn take_wake(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.is_woken.swap(false, Ordering::SeqCst))
    }

    /// Lets up to `steps` jobs take a step; how many did.
    pub(super) fn work(&self, time: u64, steps: u64) -> u64 {
        let Some(running) = &self.running else { return 0 };
        let now = nori_env::Instant { nanos: self.steady(time) };
        running.clock.advance_to(now);
        running.tasks.fire_due();
        running.tasks.run(steps)
    }

    /// When the next of its jobs' alarms is due, by the world's time.
    pub(super) fn alarm_at(&self) -> Option<u64> {
        let at = self.running.as_ref()?.tasks.next_alarm_at()?;
        Some(self.world_time(at.nanos))
    }

    /// Begins a life. An error is how it ended at once.
    pub(super) fn start(
        &mut self,
        time: u64,
        climate: &Climate,
        plan: FaultPlan,
    ) -> Result<(), Fatal> {
        self.life += 1;
        let now = self.now(time);
        let clock = ManualClock::default();
        clock.advance_to(nori_env::Instant { nanos: now.steady.nanos });
        let seed = (self.number as u64) << 32 | self.life;
        let tasks = SeededTasks::new(seed, clock.clone());
        let fs = FaultFs::over(self.disk.clone(), plan);
        let is_woken = Arc::new(AtomicBool::new(true));
        let seams = Seams { tasks, fs, clock, is_woken };
        let node = match self.build(climate, &seams, now) {
            Ok(node) => node,
            Err(error) => {
                self.disk = if seams.fs.has_crashed() {
                    self.restart(time);
                    seams.fs.after_power_loss(PowerLoss::Tears(seed))
                } else {
                    seams.fs.after_kill()
                };
                return Err(error);
            }
        };
        self.id = Some(node.id());
        let Seams { tasks, fs, clock, is_woken } = seams;
        self.running = Some(Running { node, tasks, fs, clock, is_woken });
        (self.turn_at, self.is_working) = (None, false);
        Ok(())
    }

    fn build(&self, climate: &Climate, seams: &Seams, now: Now) -> Result<Node, Fatal> {
        let Seams { tasks, fs, clock, is_woken } = seams;
        let seed = (self.number as u64) << 32 | self.life;
        let disk: Arc<dyn Fs> = Arc::new(fs.clone());
        let engine_parts = nori_kv::Parts {
            fs: Arc::clone(&disk),
            tasks: Arc::new(tasks.clone()),
            clock: Arc::new(clock.clone()),
            entropy: Arc::new(SeededEntropy::new(seed ^ climate.chance.clone().next_u64())),
            meter: Arc::new(NullMeter),
        };
        let boot = format!("boot {}", self.boots);
        let files = Files { fs: &*disk, tasks };
        let identity = Identity::boot(Path::new(DIR), &boot, files, &*engine_parts.entropy)?;
        let wal = WalOptions { kind: SegmentKind::Pwrite, segment_bytes: climate.segment_bytes };
        let options = LogOptions { wal, cached_bytes_max: climate.cached_bytes };
        let (meter, handed) = (Arc::new(NullMeter), Arc::new(tasks.clone()));
        let dir = Path::new("/node/log");
        // As in a server, the node does not wait for its log's syncs: they are jobs, and others happen in between.
        let log_fs = Arc::new(DeferredFs::new(disk, Arc::new(tasks.clone())));
        let log = norikv_parts::node_log(climate.log, dir, log_fs, handed, meter, options)
            .expect("the climate names a log")
            .map_err(|error| Fatal::Node(error.into()))?;
        let mut components = Components::default();
        components.set("compaction", climate.compaction).expect("the climate names a strategy");
        components.set("memtable", climate.memtable).expect("the climate names a memtable");
        let engine = nori_lsm::Settings {
            memtable_bytes: climate.memtable_bytes,
            cache_bytes: 16 << 10,
            block_bytes: 512,
            table_bytes: 8 << 10,
            ..nori_lsm::Settings::for_memory(1 << 20)
        };
        let woken = Arc::clone(is_woken);
        let parts = Parts {
            engine: Arc::new(LsmFactory::replicated(engine, components)),
            engine_parts,
            protocol: norikv_parts::consensus("nori", climate.consensus.clone())
                .expect("the climate's settings are fine"),
            log,
            machine_boot: boot,
            waker: Arc::new(move || woken.store(true, Ordering::SeqCst)),
        };
        Node::boot(self.settings(climate, &identity), identity, parts, now)
    }

    fn settings(&self, climate: &Climate, identity: &Identity) -> Settings {
        let text = |kind: &str| format!("{kind}{}", self.number);
        Settings {
            candidate: Candidate {
                node: identity.node,
                cluster: "sim".to_owned(),
                protocol: "nori".to_owned(),
                addresses: Addresses {
                    name: text("n"),
                    client: text("c"),
                    peer: text("p"),
                    swim: text("s"),
                    http: text("h"),
                },
                zone: Zone::new("zone").expect("it is a name"),
                weight: Weight::new(1).expect("it is above zero"),
                shards: ShardCount::new(climate.shards).expect("they are few"),
                replicas: ReplicaCount::new(climate.replicas).expect("they are few"),
            },
            seeds: (0..climate.nodes).map(|n| format!("p{n}")).collect(),
            dir: PathBuf::from(DIR),
            durability: climate.durability,
            replica: climate.replica.clone(),
            log_segments_max: 4,
            log_rewrite_bytes_max: climate.log_rewrite_bytes_max,
            swim: nori_swim::Settings::default(),
            moves: MoveLimit::new(2).expect("it is above zero"),
        }
    }

    /// The life ends.
    pub(super) fn die(&mut self, time: u64, death: Death) {
        let Some(running) = self.running.take() else { return };
        // The disk is taken as it is now: whatever a node does when it is let go is done to nobody's disk.
        let Running { node, tasks, fs, .. } = running;
        self.disk = match death {
            Death::Kill => fs.after_kill(),
            Death::Power(seed) => {
                self.restart(time);
                fs.after_power_loss(PowerLoss::Tears(seed))
            }
        };
        drop(node);
        tasks.abandon();
        self.held = None;
        (self.turn_at, self.is_working) = (None, false);
    }

    /// Whether the power has failed in the middle of something.
    pub(super) fn has_crashed(&self) -> bool {
        self.running.as_ref().is_some_and(|running| running.fs.has_crashed())
    }

    /// Its disk is another, with nothing on it, and so is its node.
    pub(super) fn wipe(&mut self, time: u64) {
        self.die(time, Death::Kill);
        self.disk = MemFs::new();
        self.id = None;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.die(0, Death::Kill);
    }
}

/// The number of the machine at an address like `p3`.
pub(super) fn number_of(address: &str) -> Option<usize> {
    address.get(1..)?.parse().ok()
}

/// A value that no other write has.
pub(super) fn value_of(id: u64, len: usize) -> Bytes {
    let mut value = id.to_le_bytes().to_vec();
    value.resize(len.max(8), id as u8);
    value.into()
}

/// Which write a value is of.
pub(super) fn id_of(value: &[u8]) -> Option<u64> {
    value.first_chunk::<8>().map(|id| u64::from_le_bytes(*id))
}
