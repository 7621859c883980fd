//! One program for all targets: `NORI_FUZZ_TARGET` names the one that libFuzzer drives.

#![no_main]

use norikv_fuzz::{TARGETS, Target};
use std::sync::LazyLock;

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("NORI_FUZZ_TARGET").unwrap_or_default();
    let known = TARGETS.iter().find(|(known, _)| *known == name);
    known.map_or_else(|| panic!("NORI_FUZZ_TARGET: no target is called `{name}`"), |(_, target)| *target)
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| CHOSEN(bytes));
