//! On which machine, and from which source, numbers were made.

use crate::process::labelled;
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{Seek, Write};
use std::path::Path;
use std::time::Instant;

/// Syncs of the probe: enough for a p99 that is not the maximum.
const PROBE_SYNCS: usize = 100;
const PROBE_BYTES: usize = 4_096;

/// The machine. What it does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Machine {
    pub(crate) cpu: Option<String>,
    pub(crate) cores: usize,
    pub(crate) cpu_mhz: Option<String>,
    pub(crate) governor: Option<String>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) kernel: Option<String>,
    /// File system, mount options of the data directory.
    pub(crate) file_system: Option<String>,
    pub(crate) mount_options: Option<String>,
    pub(crate) virtualised: bool,
    /// Runnable tasks, mean of the last minute, before the first run.
    pub(crate) load_before: Option<f64>,
    pub(crate) fsync_us: Option<FsyncProbe>,
}

/// How long a 4 KiB write and fdatasync take in the data directory.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct FsyncProbe {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Machine {
    /// Looks at the machine; `data` is a directory on the disk that will be used.
    pub(crate) fn look(data: &Path) -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let info = |name: &str| {
            let line = cpuinfo.lines().find(|line| line.starts_with(name))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        };
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let mount = mount_of(data);
        Self {
            cpu: info("model name"),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            cpu_mhz: info("cpu MHz"),
            governor: first_word("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_bytes: labelled(&meminfo, "MemTotal:").map(|kib| kib * 1_024),
            kernel: first_word("/proc/sys/kernel/osrelease"),
            file_system: mount.as_ref().map(|(kind, _)| kind.clone()),
            mount_options: mount.map(|(_, options)| options),
            virtualised: info("flags").is_some_and(|flags| flags.contains("hypervisor")),
            load_before: first_word("/proc/loadavg").and_then(|load| load.parse().ok()),
            fsync_us: FsyncProbe::of(data, Written::Growing).ok(),
        }
    }

    /// One line for plots and tables.
    pub(crate) fn line(&self) -> String {
        let cpu = self.cpu.as_deref().unwrap_or("unknown processor");
        let memory =
            self.memory_bytes.map_or(String::new(), |b| format!(", {:.0} GiB", b as f64 / GIB));
        let fs = self.file_system.as_deref().map_or(String::new(), |fs| format!(", {fs}"));
        format!("{} x {cpu}{memory}{fs}", self.cores)
    }
}

const GIB: f64 = 1_073_741_824.0;

fn first_word(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()?.split_whitespace().next().map(str::to_owned)
}

/// Kind and options of the file system that holds `path`.
fn mount_of(path: &Path) -> Option<(String, String)> {
    let path = path.canonicalize().ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let fields = |line: &str| -> Option<(String, String, String)> {
        let mut words = line.split_whitespace().skip(1).map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    let (_, kind, options) = mounts
        .lines()
        .filter_map(fields)
        .filter(|(at, ..)| path.starts_with(at))
        .max_by_key(|(at, ..)| at.len())?;
    Some((kind, options))
}

/// What the writes of an fsync probe do to their file. One that grows has its new length written with each sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    /// They make it longer.
    Growing,
    /// They go where there are zeros already.
    Preallocated,
}

impl FsyncProbe {
    /// Writes and syncs a file in `data`, which is removed then.
    pub(crate) fn of(data: &Path, written: Written) -> Result<Self> {
        let path = data.join("fsync-probe");
        let micros = write_and_sync(&path, written);
        let removed = fs::remove_file(&path);
        let mut micros = micros.with_context(|| path.display().to_string())?;
        removed.with_context(|| format!("removing {}", path.display()))?;
        micros.sort_by(f64::total_cmp);
        Ok(Self { p50: micros[PROBE_SYNCS / 2], p99: micros[PROBE_SYNCS * 99 / 100] })
    }
}

fn write_and_sync(path: &Path, written: Written) -> std::io::Result<Vec<f64>> {
    let mut file = fs::File::create(path)?;
    if written == Written::Preallocated {
        file.write_all(&[0; PROBE_BYTES * PROBE_SYNCS])?;
        file.sync_all()?;
        file.rewind()?;
    }
    let block = [7_u8; PROBE_BYTES];
    let mut micros = Vec::with_capacity(PROBE_SYNCS);
    for _ in 0..PROBE_SYNCS {
        let began = Instant::now();
        file.write_all(&block)?;
        file.sync_data()?;
        micros.push(began.elapsed().as_nanos() as f64 / 1_000.0);
    }
    Ok(micros)
}

/// From which source the program was built.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) version: String,
    pub(crate) profile: String,
    pub(crate) rustc: String,
    /// The commit that the program was built from; absent if it was not built in its repository.
    pub(crate) git_commit: Option<String>,
    /// Whether the sources differed from it.
    pub(crate) git_dirty: Option<bool>,
}

impl Build {
    pub(crate) fn look() -> Self {
        let commit = env!("NORIKV_COMMIT");
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            profile: if cfg!(debug_assertions) { "debug" } else { "release" }.to_owned(),
            rustc: env!("NORIKV_RUSTC").to_owned(),
            git_commit: (!commit.is_empty()).then(|| commit.to_owned()),
            git_dirty: env!("NORIKV_DIRTY").parse().ok(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_core_and_an_fsync_that_takes_time() {
        let dir = tempfile::tempdir().unwrap();
        let machine = Machine::look(dir.path());
        assert!(machine.cores >= 1 && machine.kernel.is_some());
        let probe = machine.fsync_us.unwrap();
        assert!(probe.p50 > 0.0 && probe.p99 >= probe.p50);
        let probe = FsyncProbe::of(dir.path(), Written::Preallocated).unwrap();
        assert!(probe.p50 > 0.0 && probe.p99 >= probe.p50);
        assert!(!dir.path().join("fsync-probe").exists());
        assert!(machine.line().contains(" x "));
    }
}
