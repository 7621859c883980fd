//! A scrub: does the disk still give what was written?
//!
//! 1. `CURRENT` and the manifest are read while no edit is written; the last edit must be there.
//! 2. The tables of the version of that moment are read block by block, past the cache, on the caller's thread. No lock is
//!    held: the version keeps its tables from going.
//! 3. The first damage of each file is noted, and the next file is read.
//!
//! Left to others: the log. What it holds is in memory as well, and the next opening checks every group of it.

use crate::core::Core;
use crate::manifest::{self, CURRENT, manifest_name};
use nori_kv::{Error, ErrorKind, Result, Scrubbed};

/// Reads every table, and the manifest.
pub(crate) fn scrub(core: &Core) -> Result<Scrubbed> {
    let mut scrubbed = Scrubbed::default();
    let version = {
        let tree = core.tree.lock();
        if let Ok(manifest) = &tree.manifest {
            let mark = manifest.mark();
            note(&mut scrubbed, mark.bytes, scrub_manifest(core, mark.number, mark.bytes))?;
        }
        std::sync::Arc::clone(&tree.version)
    };
    for table in version.tables() {
        note(&mut scrubbed, table.bytes(), table.verify())?;
    }
    Ok(scrubbed)
}

fn note(scrubbed: &mut Scrubbed, bytes: u64, outcome: Result<u64>) -> Result<()> {
    match outcome {
        Ok(entries) => {
            scrubbed.files += 1;
            scrubbed.bytes += bytes;
            scrubbed.entries += entries;
            Ok(())
        }
        Err(damage) if damage.kind() == ErrorKind::Corrupt => {
            scrubbed.damage.push(damage);
            Ok(())
        }
        Err(error) => Err(error),
    }
}

fn scrub_manifest(core: &Core, number: u64, bytes: u64) -> Result<u64> {
    let found = manifest::read(&*core.parts.fs, &core.dir)?;
    let current = core.dir.join(CURRENT);
    let found = found.ok_or_else(|| Error::corrupt(&current, 0, "it is gone"))?;
    let name = manifest_name(number);
    if found.number != number {
        let what = format!("it names {}, and {name} is in force", manifest_name(found.number));
        return Err(Error::corrupt(&current, 0, what));
    }
    if found.end != bytes {
        let what = format!("no edit can be read here, and {bytes} bytes were written");
        return Err(Error::corrupt(&core.dir.join(name), found.end, what));
    }
    Ok(0)
}
