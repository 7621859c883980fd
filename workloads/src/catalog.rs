//! The workload files that are built in, by name: what is at hand without a path.

use crate::{FileError, Workload};

/// A workload file inside the program.
#[derive(Clone, Copy, Debug)]
pub struct BuiltIn {
    /// The name in the file, by which it is asked for.
    pub name: &'static str,
    /// Where the file lies in the repository.
    pub path: &'static str,
    /// Its text.
    pub text: &'static str,
}

impl BuiltIn {
    /// Whether it is one of YCSB's own, which the suite runs.
    pub fn is_core(&self) -> bool {
        self.path.starts_with("workloads/ycsb/")
    }

    /// The workload it describes.
    pub fn workload(&self) -> Result<Workload, FileError> {
        Workload::parse(self.path, self.text)
    }
}

macro_rules! built_in {
    ($($name:literal => $path:literal),* $(,)?) => {
        /// Every built-in workload; those of YCSB in the order in which the suite runs.
        ///
        /// YCSB's own advice: the two that insert come last, for they change the size of the store.
        pub const BUILT_IN: &[BuiltIn] = &[$(BuiltIn {
            name: $name,
            path: concat!("workloads/", $path),
            text: include_str!(concat!("../", $path)),
        }),*];
    };
}

built_in! {
    "ycsb-a" => "ycsb/a.toml",
    "ycsb-b" => "ycsb/b.toml",
    "ycsb-c" => "ycsb/c.toml",
    "ycsb-f" => "ycsb/f.toml",
    "ycsb-d" => "ycsb/d.toml",
    "ycsb-e" => "ycsb/e.toml",
    "queue" => "research/queue.toml",
    "churn" => "research/churn.toml",
    "absent-reads" => "research/absent-reads.toml",
    "hotspot-updates" => "research/hotspot-updates.toml",
    "range-deletes" => "research/range-deletes.toml",
    "batched-writes" => "research/batched-writes.toml",
}

/// The built-in workload of that name.
pub fn built_in(name: &str) -> Option<&'static BuiltIn> {
    BUILT_IN.iter().find(|workload| workload.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_file_parses_and_bears_its_name() {
        for file in BUILT_IN {
            let workload = file.workload().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(workload.name, file.name);
            assert!(!workload.about.is_empty());
        }
    }

    #[test]
    fn the_core_workloads_have_the_published_mixes() {
        let run = |name| built_in(name).unwrap().workload().unwrap().phases[1].clone();
        assert_eq!((run("ycsb-a").mix.read, run("ycsb-a").mix.update), (0.5, 0.5));
        assert_eq!((run("ycsb-b").mix.read, run("ycsb-b").mix.update), (0.95, 0.05));
        assert_eq!(run("ycsb-c").mix.read, 1.0);
        assert_eq!((run("ycsb-d").mix.read, run("ycsb-d").mix.insert), (0.95, 0.05));
        assert_eq!((run("ycsb-e").mix.scan, run("ycsb-e").mix.insert), (0.95, 0.05));
        assert_eq!((run("ycsb-f").mix.read, run("ycsb-f").mix.rmw), (0.5, 0.5));
        let lengths = run("ycsb-e").scan_length.unwrap();
        assert_eq!((lengths.min, lengths.max), (1, 100));
    }
}
