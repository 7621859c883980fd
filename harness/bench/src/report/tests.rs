//! The report needs nothing but itself and says what it must.

use super::*;
use crate::plot::draw_all;
use crate::ratios::ratios;

fn page() -> String {
    page_of(1)
}

fn page_of(blocks: u32) -> String {
    let dir = tempfile::tempdir().unwrap();
    crate::testing::small_experiment(dir.path(), blocks);
    let stored = Stored::read(dir.path()).unwrap();
    let plots = draw_all(&stored, dir.path()).unwrap();
    write(&stored, &plots, &ratios(&stored), dir.path()).unwrap();
    std::fs::read_to_string(dir.path().join("report.html")).unwrap()
}

#[test]
fn the_page_is_whole_and_asks_nothing_of_the_network() {
    let page = page();
    assert!(!page.contains("{{") || page.matches("{{").count() == 0);
    for outside in ["src=", "@import", "url(", "fetch(", "href=\"http", "href=\"//"] {
        assert!(!page.contains(outside), "the page contains `{outside}`");
    }
    // The name spaces of SVG are names, not requests.
    for (at, _) in page.match_indices("http://") {
        assert!(page[at..].starts_with("http://www.w3.org/"), "{}", &page[at..at + 40]);
    }
    assert!(!page.contains("https://"));
    for words in [
        "(best)",
        "<h2>Reproduce</h2>",
        "cargo run --release",
        "do not say",
        "ycsb-a",
        "p99.9",
        "Each target ran once.",
        "A plot over time needs a phase of at least five seconds: the longest took 0.",
    ] {
        assert!(page.contains(words), "the page does not say `{words}`");
    }
    assert_eq!(page.matches("<figure>").count(), 5);
    assert!(page.find("id=\"verdicts\"") < page.find("Reproduce"), "the table comes first");
}

#[test]
fn ratios_come_first_where_there_are_blocks_to_make_them_of() {
    assert!(!page().contains("id=\"ratios\""), "one block has no interval");
    let page = page_of(2);
    assert!(page.find("id=\"ratios\"").unwrap() < page.find("id=\"verdicts\"").unwrap());
    for words in ["Compared with noop", "95 % interval", "undecided", "Each target ran 2 times."] {
        assert!(page.contains(words), "the page does not say `{words}`");
    }
}

#[test]
fn the_data_of_the_page_are_the_rows() {
    let page = page();
    let (_, after) = page.split_once("id=\"rows\">").unwrap();
    let (data, _) = after.split_once("</script>").unwrap();
    let rows: Vec<Row> = serde_json::from_str(data).unwrap();
    assert!(rows.iter().any(|row| row.workload == "ycsb-a" && row.op == "read"));
}

#[test]
fn a_name_with_markup_stays_a_name() {
    let page = page();
    assert!(page.contains("noop+cache=&lt;none&gt;") && !page.contains("cache=<none>\"</td>"));
    assert!(!page.contains("<none>"));
}

#[test]
fn parts_are_put_in_once() {
    let parts = [("a", "{{b}}".to_owned()), ("b", "no".to_owned())];
    assert_eq!(fill("x {{a}} y {{c}}", &parts), "x {{b}} y ");
}

type Settings = [(&'static str, &'static str)];

/// What is said of an experiment whose runs are of these engines, each with its settings and its memory.
fn limits_of(engines: &[(&str, &Settings, u64)]) -> String {
    let dir = tempfile::tempdir().unwrap();
    crate::testing::small_experiment(dir.path(), 1);
    let mut stored = Stored::read(dir.path()).unwrap();
    (stored.note.runs, stored.note.targets) = (Vec::new(), Vec::new());
    for (run, (name, settings, memory_bytes)) in stored.runs.iter_mut().zip(engines) {
        let engine = &mut run.manifest.engine;
        (engine.name, engine.target) = ((*name).into(), (*name).into());
        engine.memory_bytes = *memory_bytes;
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        engine.settings = settings.iter().map(owned).collect();
    }
    limits(&stored)
}

#[test]
fn a_memory_budget_is_the_same_only_where_it_is() {
    const CACHE: &Settings = &[("cache_bytes", "1048576")];
    const MIB: u64 = 1 << 20;
    let same = limits_of(&[("nori-lsm", CACHE, MIB), ("fjall", CACHE, MIB)]);
    assert!(same.contains("same memory budget, 1 MiB, was given to nori-lsm, fjall."), "{same}");
    assert!(same.contains("Set to match") && !same.contains("Without a memory budget"), "{same}");
    for other in [
        limits_of(&[("nori-lsm", CACHE, MIB), ("fjall", CACHE, 2 * MIB)]),
        limits_of(&[("nori-lsm", CACHE, MIB), ("noop", &[], MIB)]),
        limits_of(&[("nori-lsm", CACHE, MIB), ("lmdb", &[("cache", "no budget")], MIB)]),
        limits_of(&[("nori-lsm", CACHE, MIB), ("redb:default", CACHE, MIB)]),
    ] {
        assert!(!other.contains("same memory budget"), "{other}");
    }
    let lmdb = limits_of(&[("nori-lsm", CACHE, MIB), ("lmdb", &[], MIB)]);
    assert!(lmdb.contains("Without a memory budget, with all of the page cache: lmdb."), "{lmdb}");
    let shipped = limits_of(&[("nori-lsm", CACHE, MIB), ("redb:default", CACHE, MIB)]);
    assert!(shipped.contains("As shipped") && !shipped.contains("Set to match"), "{shipped}");
}

#[test]
fn a_checkout_of_a_commit_is_asked_for_only_where_the_commit_is_known() {
    let dir = tempfile::tempdir().unwrap();
    crate::testing::small_experiment(dir.path(), 1);
    let mut stored = Stored::read(dir.path()).unwrap();
    let mut told = |commit: Option<&str>, dirty| {
        let build = &mut stored.runs[0].manifest.build;
        (build.git_commit, build.git_dirty) = (commit.map(str::to_owned), dirty);
        checkout(&stored)
    };
    assert_eq!(told(Some("0123"), Some(false)), "In a checkout of the commit below.");
    assert!(told(Some("0123"), Some(true)).contains("with changes"));
    assert!(told(None, None).contains("not known"));
}
