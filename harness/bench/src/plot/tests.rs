//! Plots are drawn from files, hold their words, and are not blank.

use super::*;
use crate::testing::small_experiment;

#[test]
fn every_workload_has_two_plots_in_both_formats_with_their_words() {
    let dir = tempfile::tempdir().unwrap();
    small_experiment(dir.path(), 1);
    let stored = Stored::read(dir.path()).unwrap();
    let drawn = draw_all(&stored, dir.path()).unwrap();
    let stems: Vec<&str> = drawn.iter().map(|plot| plot.stem.as_str()).collect();
    for stem in [
        "overview-throughput",
        "ycsb-load-throughput",
        "ycsb-load-latency",
        "ycsb-a-throughput",
        "ycsb-a-latency",
    ] {
        assert!(stems.contains(&stem), "{stem} is not among {stems:?}");
    }
    for plot in &drawn {
        for words in ["noop", "What to look for", "durability os", "n = 1 run", " x "] {
            assert!(plot.svg.contains(words), "{} does not say `{words}`", plot.stem);
        }
        let png =
            std::fs::read(dir.path().join("plots").join(format!("{}.png", plot.stem))).unwrap();
        // A blank picture of that size compresses to far less.
        assert!(png.starts_with(b"\x89PNG") && png.len() > 20_000, "{}: {}", plot.stem, png.len());
    }
    let latency = drawn.iter().find(|plot| plot.stem == "ycsb-a-latency").unwrap();
    for words in ["read", "update", "99 %", "share of operations"] {
        assert!(latency.svg.contains(words), "the spectrum does not say `{words}`");
    }
}

/// Puts eight seconds into the files of each run of YCSB A, as an open loop on a levelled engine leaves them.
fn lengthen(dir: &Path) {
    for run in std::fs::read_dir(dir.join("runs")).unwrap() {
        let run = run.unwrap().path();
        let kept = |name: &str, is_kept: fn(&str) -> bool| -> String {
            let text = std::fs::read_to_string(run.join(name)).unwrap();
            text.split_inclusive('\n').filter(|line| is_kept(line)).collect()
        };
        // The load stays as it was. Its intervals have no open loop's columns, but all have the same.
        let mut intervals = kept("intervals.csv", |line| !line.contains("ycsb-a"));
        let mut levels =
            String::from("t_s,level,runs,files,bytes,entries,tombstones,bytes_written\n");
        for second in 0..8 {
            let t_s = 10.0 + f64::from(second);
            let rsp = if second == 4 { 90_000.0 } else { 20.0 };
            intervals += &format!(
                "{t_s},ycsb-a,run,all,1,6250,0,3,9,700,4,{rsp},120000,5000,{second},2\n\
                 {t_s},ycsb-a,run,read,1,6250,0,3,9,700,4,{rsp},120000,,,\n"
            );
            for level in 0..3 {
                levels += &format!("{t_s},{level},1,1,{},9,0,9\n", (level + second) << 20);
            }
        }
        std::fs::write(run.join("intervals.csv"), intervals).unwrap();
        std::fs::write(run.join("levels.csv"), levels).unwrap();
        let events = r#"{"t_us":10000000,"kind":"phase_begin","workload":"ycsb-a","phase":"run","t_s":10.0}
{"t_us":12000000,"kind":"flush_end","reason":"memtable_full","bytes_out":1048576,"took_micros":300000}
{"t_us":15000000,"kind":"compaction_end","reason":"run_count","level":0,"level_out":1,"job":1,"bytes_out":9437184,"took_micros":2000000}
{"t_us":14800000,"kind":"stall_end","reason":"run_count","level":0,"is_stop":1,"took_micros":600000}
"#;
        let ends = kept("events.jsonl", |line| line.contains("phase_end"));
        std::fs::write(run.join("events.jsonl"), events.to_owned() + &ends).unwrap();
    }
}

#[test]
fn plots_over_time_are_drawn_from_stored_files_alone_and_only_where_there_are_seconds() {
    let dir = tempfile::tempdir().unwrap();
    small_experiment(dir.path(), 1);
    let stored = Stored::read(dir.path()).unwrap();
    let over_time = [Kind::LatencyOverTime, Kind::ThroughputOverTime, Kind::LevelsOverTime];
    for kind in over_time {
        let drawn = draw_kind(&stored, dir.path(), kind).unwrap();
        assert!(drawn.is_empty(), "{}: the run took no five seconds", kind.name());
    }
    lengthen(dir.path());
    let stored = Stored::read(dir.path()).unwrap();
    let svg = |kind: Kind| draw_kind(&stored, dir.path(), kind).unwrap().remove(0).svg;
    let latency = svg(Kind::LatencyOverTime);
    for words in [
        "Response time over time, ycsb-a: noop (open loop)",
        "p99 of service time",
        "writers wait",
        "what they wait for",
        "flushes",
        "into L1",
        "1 x, 9 MiB",
        "What to look for",
        "durability os",
    ] {
        assert!(latency.contains(words), "the plot does not say `{words}`");
    }
    assert!(latency.contains("straight") && !latency.contains("is not shown"));
    let rates = svg(Kind::ThroughputOverTime);
    assert!(rates.contains("5.0k offered, dashed") && rates.contains("operations a second"));
    let levels = svg(Kind::LevelsOverTime);
    assert!(levels.contains("L0 (7 MiB at the end)") && levels.contains("L2 (9 MiB at the end)"));
    // Both targets have one, and all of it stands in the report's list, too.
    let stems: Vec<String> =
        draw_all(&stored, dir.path()).unwrap().into_iter().map(|plot| plot.stem).collect();
    for stem in [
        "ycsb-a-latency-over-time-noop",
        "ycsb-a-latency-over-time-noop+cache=-none-",
        "ycsb-a-levels-over-time-noop",
        "ycsb-a-throughput-over-time",
    ] {
        assert!(stems.iter().any(|known| known == stem), "{stem} is not among {stems:?}");
        let png = dir.path().join("plots").join(format!("{stem}.png"));
        assert!(std::fs::metadata(png).unwrap().len() > 20_000);
    }
    assert!(!stems.iter().any(|stem| stem.contains("load-latency-over-time")));
}

#[test]
fn nobody_is_told_to_look_at_lanes_that_are_not_there() {
    let dir = tempfile::tempdir().unwrap();
    small_experiment(dir.path(), 1);
    lengthen(dir.path());
    for run in std::fs::read_dir(dir.path().join("runs")).unwrap() {
        let path = run.unwrap().path().join("events.jsonl");
        let events = std::fs::read_to_string(&path).unwrap();
        let phases = events.split_inclusive('\n').filter(|line| line.contains("\"phase_"));
        std::fs::write(&path, phases.collect::<String>()).unwrap();
    }
    let stored = Stored::read(dir.path()).unwrap();
    let svg = draw_kind(&stored, dir.path(), Kind::LatencyOverTime).unwrap().remove(0).svg;
    assert!(!svg.contains("straight") && !svg.contains("red band"), "there is nothing below");
    assert!(svg.contains("told of no"));
}

#[test]
fn the_scatter_shows_targets_that_count_and_is_left_out_where_none_does() {
    let dir = tempfile::tempdir().unwrap();
    small_experiment(dir.path(), 1);
    let mut stored = Stored::read(dir.path()).unwrap();
    assert!(draw_kind(&stored, dir.path(), Kind::Amplification).unwrap().is_empty());
    for (run, write) in stored.runs.iter_mut().zip([3.0, 12.0]) {
        for row in run.rows.iter_mut().filter(|row| row.workload == "ycsb-a") {
            (row.wa_stop, row.wa_settled) = (Some(1.0), Some(write));
            (row.ra_point_blocks, row.sa_stop) = (Some(15.0 / write), Some(1.25));
        }
    }
    let drawn = draw_kind(&stored, dir.path(), Kind::Amplification).unwrap();
    assert_eq!(drawn.len(), 1);
    for words in ["noop (3.00, 5.00, space 1.25)", "(12.00, 1.25, space 1.25)", "What to look for"]
    {
        assert!(drawn[0].svg.contains(words), "the scatter does not say `{words}`");
    }
}
