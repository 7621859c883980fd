//! What spoils numbers before anything is measured, as the kernel tells it. What it does not tell is absent, and no finding
//! is made of it.

use super::told_bytes;
use crate::machine::Machine;
use crate::process::labelled;
use serde::Serialize;
use std::fs;
use std::path::Path;
use std::time::Duration;

const SAMPLE: Duration = Duration::from_secs(1);
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Other people's work takes half a core from then on.
const LOAD_MAX: f64 = 0.5;
/// A hundredth of the processor's time is seen in every p99.
const STEAL_MAX: f64 = 0.01;
/// What the race of the engine with itself may need, several times over.
const DISK_BYTES_MIN: u64 = 512 * MIB;
/// Below this a research workload does not fit, and many file systems slow down when they are nearly full.
const DISK_BYTES_ENOUGH: u64 = 8 * GIB;
/// Below this the page cache of a store competes with everything else.
const MEMORY_BYTES_ENOUGH: u64 = GIB;
/// Engines that keep every table open need that many for some gigabytes of data.
const OPEN_FILES_ENOUGH: u64 = 4_096;

/// What was found, in sentences without their full stop.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Findings {
    /// Each makes every number meaningless.
    pub(super) faults: Vec<String>,
    pub(super) warnings: Vec<String>,
}

impl Findings {
    pub(super) fn fault(&mut self, what: impl Into<String>) {
        self.faults.push(what.into());
    }

    pub(super) fn warn(&mut self, what: impl Into<String>) {
        self.warnings.push(what.into());
    }
}

/// The state of the machine now.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Conditions {
    /// Runnable tasks, mean of the last minute.
    load_1m: Option<f64>,
    /// The share of the processors' time that the host gave to others, over a second.
    steal_share: Option<f64>,
    swap_used_bytes: Option<u64>,
    memory_available_bytes: Option<u64>,
    disk_free_bytes: Option<u64>,
    /// Files that a process may have open.
    open_files_max: Option<u64>,
    /// Whether memory comes in transparent huge pages: `always`, `madvise` or `never`.
    pub(super) huge_pages: Option<String>,
}

/// Runnable tasks, mean of the last minute.
pub(super) fn load_1m() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split_whitespace().next()?.parse().ok()
}

impl Conditions {
    /// Looks for a second; `dir` need not exist. `load_1m` is from before.
    pub(super) fn look(dir: &Path, load_1m: Option<f64>) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let stat = read("/proc/stat");
        std::thread::sleep(SAMPLE);
        let meminfo = read("/proc/meminfo");
        let kib = |label: &str| labelled(&meminfo, label).map(|kib| kib * 1_024);
        let swap = kib("SwapTotal:").zip(kib("SwapFree:"));
        Self {
            load_1m,
            steal_share: steal_share(&stat, &read("/proc/stat")),
            swap_used_bytes: swap.and_then(|(total, free)| total.checked_sub(free)),
            memory_available_bytes: kib("MemAvailable:"),
            disk_free_bytes: rustix::fs::statvfs(dir).ok().map(|fs| fs.f_bavail * fs.f_frsize),
            open_files_max: open_files_max(&read("/proc/self/limits")),
            huge_pages: chosen(&read("/sys/kernel/mm/transparent_hugepage/enabled")),
        }
    }

    /// Whether the race of the engine with itself has room.
    pub(super) fn has_space(&self) -> bool {
        self.disk_free_bytes.is_none_or(|free| free >= DISK_BYTES_MIN)
    }

    /// What to think of it on `machine`.
    pub(super) fn findings(&self, machine: &Machine) -> Findings {
        let mut found = Findings::default();
        let free = told_bytes(self.disk_free_bytes);
        if !self.has_space() {
            found.fault(format!("only {free} are free on the disk"));
        } else if self.disk_free_bytes.is_some_and(|free| free < DISK_BYTES_ENOUGH) {
            found.warn(format!("only {free} are free on the disk: large workloads do not fit"));
        }
        if let Some(governor) = machine.governor.as_deref().filter(|name| *name != "performance") {
            found.warn(format!("the frequency governor is `{governor}`, not `performance`"));
        }
        if machine.virtualised {
            found.warn("the machine is virtual: its host decides when it runs, and what a sync is");
        }
        if let Some(load) = self.load_1m.filter(|load| *load > LOAD_MAX) {
            found.warn(format!("others are at work: the load was {load:.2} before anything began"));
        }
        if let Some(steal) = self.steal_share.filter(|share| *share > STEAL_MAX) {
            let percent = steal * 100.0;
            found.warn(format!("the host took {percent:.1} % of the processors' time in a second"));
        }
        if self.swap_used_bytes.is_some_and(|used| used > 0) {
            let used = told_bytes(self.swap_used_bytes);
            found.warn(format!("{used} are swapped out: memory may be a disk"));
        }
        if self.memory_available_bytes.is_some_and(|free| free < MEMORY_BYTES_ENOUGH) {
            let free = told_bytes(self.memory_available_bytes);
            found.warn(format!("only {free} of memory are available"));
        }
        match machine.file_system.as_deref() {
            Some(kind @ ("tmpfs" | "ramfs")) => {
                found
                    .warn(format!("the directory is on {kind}, in memory: nothing is ever synced"));
            }
            Some(kind @ ("overlay" | "aufs")) => found.warn(format!(
                "the directory is on {kind}, a container's layer: give --dir on a disk of its own"
            )),
            _ => {}
        }
        if self.huge_pages.as_deref() == Some("always") {
            found.warn(
                "transparent huge pages are `always` on: the kernel moves memory while runs go on",
            );
        }
        if let Some(most) = self.open_files_max.filter(|most| *most < OPEN_FILES_ENOUGH) {
            found.warn(format!(
                "a process may have {most} files open: `ulimit -n {OPEN_FILES_ENOUGH}` before large workloads"
            ));
        }
        found
    }

    /// One line for people.
    pub(super) fn line(&self) -> String {
        let number = |known: Option<f64>, factor: f64, unit: &str| {
            known.map_or_else(|| "unknown".into(), |known| format!("{:.2}{unit}", known * factor))
        };
        format!(
            "load {}, stolen {}, swapped {}, memory {}, disk {} free, {} open files",
            number(self.load_1m, 1.0, ""),
            number(self.steal_share, 100.0, " %"),
            told_bytes(self.swap_used_bytes),
            told_bytes(self.memory_available_bytes),
            told_bytes(self.disk_free_bytes),
            self.open_files_max.map_or_else(|| "any number of".into(), |most| most.to_string()),
        )
    }
}

/// The share that was stolen between two readings of `/proc/stat`.
fn steal_share(before: &str, after: &str) -> Option<f64> {
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests took is part of the first two.
    const FIELDS: usize = 8;
    let ticks = |text: &str| -> Option<(u64, u64)> {
        let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let fields: Vec<u64> =
            line.split_whitespace().take(FIELDS).map_while(|word| word.parse().ok()).collect();
        (fields.len() == FIELDS).then(|| (fields[FIELDS - 1], fields.iter().sum()))
    };
    let ((steal, all), (steal_then, all_then)) = (ticks(after)?, ticks(before)?);
    let all = all.checked_sub(all_then).filter(|all| *all > 0)?;
    Some(steal.checked_sub(steal_then)? as f64 / all as f64)
}

/// The soft limit in `/proc/self/limits`; `None` where there is none.
fn open_files_max(limits: &str) -> Option<u64> {
    labelled(limits, "Max open files")
}

/// The word in brackets.
fn chosen(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> (Conditions, Machine) {
        let conditions = Conditions {
            load_1m: Some(0.1),
            steal_share: Some(0.0),
            swap_used_bytes: Some(0),
            memory_available_bytes: Some(8 * GIB),
            disk_free_bytes: Some(100 * GIB),
            open_files_max: Some(65_536),
            huge_pages: Some("madvise".into()),
        };
        let machine = Machine {
            governor: Some("performance".into()),
            file_system: Some("ext4".into()),
            ..Machine::default()
        };
        (conditions, machine)
    }

    #[test]
    fn a_quiet_machine_and_one_that_tells_nothing_have_no_findings() {
        let (conditions, machine) = good();
        assert_eq!(conditions.findings(&machine), Findings::default());
        let unknown = Conditions::default().findings(&Machine::default());
        assert_eq!(unknown, Findings::default());
    }

    #[test]
    fn each_thing_that_spoils_numbers_is_one_warning_that_names_it() {
        type Spoil = fn(&mut Conditions, &mut Machine);
        let cases: [(Spoil, &str); 10] = [
            (|_, m| m.governor = Some("powersave".into()), "governor is `powersave`"),
            (|_, m| m.virtualised = true, "the machine is virtual"),
            (|c, _| c.load_1m = Some(0.51), "the load was 0.51"),
            (|c, _| c.steal_share = Some(0.025), "took 2.5 %"),
            (|c, _| c.swap_used_bytes = Some(MIB), "are swapped out"),
            (|c, _| c.memory_available_bytes = Some(GIB - 1), "of memory are available"),
            (|_, m| m.file_system = Some("tmpfs".into()), "is on tmpfs, in memory"),
            (|_, m| m.file_system = Some("overlay".into()), "is on overlay"),
            (|c, _| c.huge_pages = Some("always".into()), "huge pages are `always` on"),
            (|c, _| c.open_files_max = Some(1_024), "may have 1024 files open"),
        ];
        for (spoil, words) in cases {
            let (mut conditions, mut machine) = good();
            spoil(&mut conditions, &mut machine);
            let found = conditions.findings(&machine);
            assert!(found.faults.is_empty() && found.warnings.len() == 1, "{words}: {found:?}");
            assert!(found.warnings[0].contains(words), "{words}: {found:?}");
        }
    }

    #[test]
    fn little_space_is_a_warning_and_none_a_fault() {
        let (mut conditions, machine) = good();
        conditions.disk_free_bytes = Some(DISK_BYTES_ENOUGH - 1);
        let found = conditions.findings(&machine);
        assert!(found.faults.is_empty() && found.warnings.len() == 1, "{found:?}");
        conditions.disk_free_bytes = Some(DISK_BYTES_MIN - 1);
        let found = conditions.findings(&machine);
        assert!(found.faults.len() == 1 && found.warnings.is_empty(), "{found:?}");
        assert!(!conditions.has_space());
    }

    #[test]
    fn stolen_time_is_a_share_of_all_time_between_two_readings() {
        let before = "cpu  100 0 50 800 10 0 0 40 90 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        let after = "cpu  150 0 60 920 10 0 0 60 95 0\n";
        assert_eq!(steal_share(before, after), Some(20.0 / 200.0));
        assert_eq!(steal_share(before, before), None, "no time has passed");
        assert_eq!(steal_share("cpu  1 2 3\n", after), None, "an old kernel tells no stolen time");
    }

    #[test]
    fn limits_and_choices_are_read_as_the_kernel_writes_them() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(open_files_max(limits), Some(1_024));
        assert_eq!(open_files_max(&limits.replace("1024 ", "unlimited ")), None);
        assert_eq!(chosen("always [madvise] never\n").as_deref(), Some("madvise"));
        assert_eq!(chosen(""), None);
    }
}
