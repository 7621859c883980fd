//! Stores small enough that a few hundred operations seal, flush and compact.

use nori_env::{Fs, OsClock, PoolTasks, SeededEntropy};
use nori_kv::Parts;
use nori_lsm::{Components, LsmFactory, Settings};
use nori_observe::NullMeter;
use std::sync::Arc;

/// Settings under which a memtable holds some dozens of entries.
pub(crate) fn tiny() -> Settings {
    Settings {
        memtable_bytes: 8 << 10,
        cache_bytes: 8 << 10,
        block_bytes: 256,
        table_bytes: 4 << 10,
        size_ratio: 3,
        levels_max: 5,
        ..Settings::for_memory(1 << 20)
    }
}

/// A factory of tiny stores with these parts and the defaults behind all other seams.
pub(crate) fn factory(chosen: &[(&str, &str)]) -> LsmFactory {
    let mut components = Components::default();
    for (seam, name) in chosen {
        components.set(seam, name).unwrap();
    }
    LsmFactory::new(tiny(), components)
}

/// The same under a replicated log.
pub(crate) fn replicated(chosen: &[(&str, &str)]) -> LsmFactory {
    let LsmFactory { settings, components, .. } = factory(chosen);
    LsmFactory::replicated(settings, components)
}

/// Real threads over any file system.
pub(crate) fn threaded(fs: impl Fs + 'static) -> Parts {
    let clock = Arc::new(OsClock::default());
    Parts {
        fs: Arc::new(fs),
        tasks: Arc::new(PoolTasks::new(2, clock.clone()).unwrap()),
        clock,
        entropy: Arc::new(SeededEntropy::new(1)),
        meter: Arc::new(NullMeter),
    }
}
