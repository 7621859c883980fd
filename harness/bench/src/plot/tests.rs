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
