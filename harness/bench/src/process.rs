//! What the kernel says about this process: processor time, memory, disk traffic.
//!
//! All of it is read from `/proc/self`. What cannot be read there (a container may hide it) is `None`,
//! and its column stays empty.

use std::fs;

/// Ticks per second of the times in `/proc/self/stat`. Fixed at 100 by the kernel's interface on every
/// architecture this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Totals since the process began.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) cpu_user_s: Option<f64>,
    pub(crate) cpu_sys_s: Option<f64>,
    /// Bytes this process caused to be sent to the disk.
    pub(crate) io_write_bytes: Option<u64>,
    /// Bytes this process caused to be fetched from the disk.
    pub(crate) io_read_bytes: Option<u64>,
}

impl Usage {
    pub(crate) fn now() -> Self {
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        let ticks = |index: usize| stat_field(&stat, index).map(|t| t as f64 / TICKS_PER_SECOND);
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        Self {
            cpu_user_s: ticks(14),
            cpu_sys_s: ticks(15),
            io_write_bytes: labelled(&io, "write_bytes:"),
            io_read_bytes: labelled(&io, "read_bytes:"),
        }
    }

    /// What was added since `before`.
    pub(crate) fn since(self, before: Self) -> Self {
        let seconds = |now: Option<f64>, then: Option<f64>| Some(now? - then?);
        let bytes = |now: Option<u64>, then: Option<u64>| now?.checked_sub(then?);
        Self {
            cpu_user_s: seconds(self.cpu_user_s, before.cpu_user_s),
            cpu_sys_s: seconds(self.cpu_sys_s, before.cpu_sys_s),
            io_write_bytes: bytes(self.io_write_bytes, before.io_write_bytes),
            io_read_bytes: bytes(self.io_read_bytes, before.io_read_bytes),
        }
    }
}

/// Field `index` (counted from 1, as the manual does) of `/proc/self/stat`.
fn stat_field(stat: &str, index: usize) -> Option<u64> {
    // The second field is the program's name in parentheses and may hold blanks.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(index.checked_sub(3)?)?.parse().ok()
}

/// The number after `label` in lines of `label number [unit]`.
pub(crate) fn labelled(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Sets the peak of resident memory back to what is resident now. Whether it worked shows in
/// [`rss_peak_bytes`] only, so the caller need not know.
pub(crate) fn reset_rss_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The most memory that was resident since the last [`reset_rss_peak`].
pub(crate) fn rss_peak_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    labelled(&status, "VmHWM:").map(|kib| kib * 1_024)
}

/// Memory resident now.
pub(crate) fn rss_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    labelled(&status, "VmRSS:").map(|kib| kib * 1_024)
}

/// Memory of this process alone that no file stands behind: its heap and its stacks.
pub(crate) fn rss_anonymous_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    labelled(&status, "RssAnon:").map(|kib| kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_grows_while_this_process_works() {
        let before = Usage::now();
        let began = std::time::Instant::now();
        let mut x = 1_u64;
        while began.elapsed().as_millis() < 120 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let spent = Usage::now().since(before);
        assert!(spent.cpu_user_s.unwrap() + spent.cpu_sys_s.unwrap() >= 0.02, "{spent:?}");
    }

    #[test]
    fn a_program_name_with_blanks_does_not_shift_the_fields() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 1234 5678 0";
        assert_eq!(stat_field(stat, 14), Some(1_234));
        assert_eq!(stat_field(stat, 15), Some(5_678));
        assert_eq!(stat_field("", 14), None);
    }

    #[test]
    fn the_peak_of_memory_is_at_least_what_is_resident() {
        assert!(rss_peak_bytes().unwrap() >= rss_bytes().unwrap());
    }
}
