//! Every two parts of different seams obey, together, every law of the seam.

use crate::parts::{factory, replicated, threaded};
use nori_env::{Fs, MemFs, OsFs};
use nori_kv::conformance::Suite;
use nori_lsm::{Components, SEAMS};
use nori_model::trial::pairs::covering;
use std::path::Path;

/// One name per seam, in the order of [`SEAMS`].
fn combinations() -> Vec<Vec<(&'static str, &'static str)>> {
    let lines = Components::list();
    let of_seam = |seam| lines.iter().filter(move |line| line.seam == seam);
    let sizes: Vec<usize> = SEAMS.iter().map(|seam| of_seam(*seam).count()).collect();
    let named = |chosen: Vec<usize>| {
        let parts = SEAMS.into_iter().zip(chosen);
        let line = |(seam, at)| of_seam(seam).nth(at).expect("the number of a listed part");
        parts.map(line).map(|line| (line.seam, line.name)).collect()
    };
    covering(&sizes).into_iter().map(named).collect()
}

fn obey_the_laws(all: &[Vec<(&'static str, &'static str)>]) {
    assert!(all.len() >= 4, "{} combinations", all.len());
    let of =
        |chosen: &Vec<_>| [(factory(chosen), chosen.clone()), (replicated(chosen), chosen.clone())];
    for (factory, chosen) in all.iter().flat_map(of) {
        let parts = || {
            let fs = MemFs::new();
            fs.create_dir(Path::new("/")).unwrap();
            threaded(fs)
        };
        let outcome = Suite::new(&factory, &parts, Path::new("/laws")).run();
        assert!(outcome.held.len() > 20, "{chosen:?}: {outcome:?}");
    }
}

// In two halves, which run beside each other.

#[test]
fn every_two_parts_obey_the_laws_together_first_half() {
    let all = combinations();
    obey_the_laws(&all[..all.len() / 2]);
}

#[test]
fn every_two_parts_obey_the_laws_together_second_half() {
    let all = combinations();
    obey_the_laws(&all[all.len() / 2..]);
}

#[test]
fn the_laws_hold_on_real_files() {
    for wal in ["mmap", "pwrite"] {
        let dir = tempfile::tempdir().unwrap();
        let factory = factory(&[("wal", wal)]);
        Suite::new(&factory, &|| threaded(OsFs), dir.path()).run();
    }
}
