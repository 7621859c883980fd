//! Every combination of parts obeys every law of the seam.

use crate::parts::{factory, threaded};
use nori_env::{Fs, MemFs, OsFs};
use nori_kv::conformance::Suite;
use nori_lsm::{Components, SEAMS};
use std::path::Path;

/// One name per seam, in the order of [`SEAMS`].
fn combinations() -> Vec<Vec<(&'static str, &'static str)>> {
    let lines = Components::list();
    let mut all = vec![vec![]];
    for seam in SEAMS {
        let names: Vec<_> = lines.iter().filter(|line| line.seam == seam).collect();
        all = all
            .into_iter()
            .flat_map(|chosen: Vec<_>| {
                names.iter().map(move |line| {
                    let mut more = chosen.clone();
                    more.push((line.seam, line.name));
                    more
                })
            })
            .collect();
    }
    all
}

#[test]
fn every_combination_of_parts_obeys_the_laws() {
    let all = combinations();
    assert!(all.len() >= 64, "{} combinations", all.len());
    for chosen in all {
        let factory = factory(&chosen);
        let parts = || {
            let fs = MemFs::new();
            fs.create_dir(Path::new("/")).unwrap();
            threaded(fs)
        };
        let outcome = Suite::new(&factory, &parts, Path::new("/laws")).run();
        assert!(outcome.held.len() > 20, "{chosen:?}: {outcome:?}");
    }
}

#[test]
fn the_laws_hold_on_real_files() {
    for wal in ["mmap", "pwrite"] {
        let dir = tempfile::tempdir().unwrap();
        let factory = factory(&[("wal", wal)]);
        Suite::new(&factory, &|| threaded(OsFs), dir.path()).run();
    }
}
