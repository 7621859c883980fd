//! Sections at a small size, and what holds for all of them.

use super::row::{Bound, Figure, Worth, median};
use super::*;

/// What a job of that section finds, everything `divisor` times smaller than usual.
fn rows(section: &str, job: &str, divisor: u64) -> Vec<Row> {
    let dir = tempfile::tempdir().unwrap();
    let mut rows = Vec::new();
    let mut tell = |told| {
        if let Told::Row { row } = told {
            rows.push(*row);
        }
    };
    let section = super::section(section).unwrap();
    let outcome = (section.measure)(&mut Job::small(job, dir.path(), divisor, &mut tell));
    outcome.unwrap_or_else(|error| panic!("{}: {error:#}", section.name));
    for figure in rows.iter().flat_map(|row| row.physical.iter().chain([&row.figure])) {
        assert!(figure.n > 0 && figure.trials > 0, "{figure:?}");
        assert!(figure.value.is_finite() && figure.value >= 0.0, "{figure:?}");
    }
    rows
}

#[test]
fn an_unknown_section_is_told_the_nearest_and_none_means_all() {
    let error = chosen(&["memry".into()]).err().unwrap();
    assert_eq!(error.to_string(), "no section is called `memry`; did you mean `memory`?");
    assert!(error.is::<crate::Usage>());
    assert_eq!(chosen(&[]).unwrap().len(), SECTIONS.len());
    assert_eq!(chosen(&["memory".into(), "memory".into()]).unwrap().len(), 1);
}

#[test]
fn names_are_unique_and_all_together_take_less_than_ten_minutes() {
    let mut names: Vec<&str> = SECTIONS.iter().map(|section| section.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), SECTIONS.len());
    assert!(SECTIONS.iter().map(|section| section.seconds[0]).sum::<u64>() <= 600);
    assert!(SECTIONS.iter().all(|section| !(section.jobs)().is_empty()));
}

#[test]
fn a_bound_is_missed_on_its_far_side_only() {
    let row = |value| Row::new(Figure::new("x", value, "ns", 1), &[]);
    assert!(!row(10.0).at_most(Worth::Floor, 10.0).misses_floor());
    assert!(row(10.1).at_most(Worth::Floor, 10.0).misses_floor());
    assert!(row(9.9).at_least(Worth::Goal, 10.0).misses_goal());
    assert!(!row(10.0).at_least(Worth::Goal, 10.0).misses_goal());
    assert!(!row(11.0).at_most(Worth::Goal, 10.0).misses_floor(), "a goal is no floor");
}

#[test]
fn what_a_job_tells_is_read_back_as_it_was() {
    let row = Row::new(Figure::new("x", 1.5, "ns", 3), &[Figure::new("y", 1.0, "ns", 1)]);
    let row = row.at_most(Worth::Goal, 2.0);
    assert_eq!(row.bounds, [Bound { worth: Worth::Goal, value: 2.0, is_most: true, holds: true }]);
    let line = serde_json::to_string(&Told::Row { row: Box::new(row.clone()) }).unwrap();
    let Told::Row { row: back } = serde_json::from_str(&line).unwrap() else { panic!("{line}") };
    assert_eq!(*back, row);
}

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(Vec::new()), 0.0);
}

#[test]
fn keys_keep_the_order_of_numbers_or_lose_it() {
    assert_eq!(&job::ordered_key(1_234), b"user00000000000000001234");
    assert!(job::ordered_key(9) < job::ordered_key(10));
    assert_eq!(&job::ordered_key(u64::MAX)[4..], b"18446744073709551615");
    let out_of_order = (0..100).filter(|n| job::key(*n) > job::key(n + 1)).count();
    assert!((20..80).contains(&out_of_order), "{out_of_order}");
}

#[test]
fn memory_is_looked_at_for_every_memtable_and_cache() {
    let jobs = (section("memory").unwrap().jobs)();
    assert!(jobs.contains(&"memtable=vector".into()) && jobs.contains(&"cache=lru".into()));
    let rows = rows("memory", &jobs[0], 500);
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| row.figure.value > 0.5 && row.bounds.len() == 1), "{rows:?}");
}

#[test]
fn every_other_section_finds_what_it_says_at_a_small_size() {
    // Sections whose p99 needs samples are made less small.
    for (section, divisor, count) in [
        ("filter", 1_000, 5),
        ("memtable", 1_000, 10),
        ("wal", 1_000, 2),
        ("fdatasync", 20, 8),
        ("latency", 40, 4),
        ("replay", 1_000, 2),
        ("merge", 1_000, 2),
        ("open", 1_000, 1),
    ] {
        let rows = rows(section, "", divisor);
        assert_eq!(rows.len(), count, "{section}");
        assert!(rows.iter().all(|row| row.figure.value > 0.0), "{section}: {rows:?}");
        if section == "latency" {
            let [_, files] = &*rows[2].physical else { panic!("{rows:?}") };
            assert_eq!(
                (&*files.what, files.value),
                ("by blocks from files", 0.0),
                "all was cached"
            );
        }
    }
}
