//! Every seam and what can stand behind it, as `norikv-bench list` shows it.

use crate::{PROTOCOLS, PartsError, Role, engines};

/// A place where one part can be exchanged for another.
#[derive(Clone, Debug)]
pub struct Seam {
    /// The name in files and command lines.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Whether it is a place in our engine: a run of one engine chooses there.
    pub is_of_engine: bool,
    /// What can stand there.
    pub parts: Vec<Part>,
}

/// Something that can stand behind a seam.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// The name in files and command lines.
    pub name: &'static str,
    /// One line for people.
    pub about: &'static str,
    /// Whether it stands there if nothing is chosen.
    pub is_default: bool,
}

/// What stands behind each seam of our engine, in its order.
const ABOUT: [(&str, &str); nori_lsm::SEAMS.len()] = [
    ("memtable", "where writes wait in memory"),
    ("memtable_index", "what a memtable carries so that a get need not walk"),
    ("filter", "tells of a table that it does not hold a key"),
    ("filter_budget", "how filter bits are spread over the levels"),
    ("compaction", "decides which tables are merged when"),
    ("cache", "which blocks stay in memory"),
    ("codec", "how blocks are stored"),
    ("access", "how a table's blocks come out of its file"),
    ("wal", "how the log is written"),
];

/// Every seam.
pub fn seams() -> Vec<Seam> {
    let part = |name, about, is_default| Part { name, about, is_default };
    let engine = engines().into_iter().map(|e| part(e.name, e.about, e.role == Role::Ours));
    let defaults: Vec<_> = nori_lsm::Components::default().names().collect();
    let outer = |name, about, parts| Seam { name, about, is_of_engine: false, parts };
    let mut seams = vec![outer("engine", "a whole store", engine.collect())];
    let lines = nori_lsm::Components::list();
    for name in nori_lsm::SEAMS {
        let about = ABOUT.iter().find(|(seam, _)| *seam == name).map_or("", |(_, about)| about);
        let of_seam = lines.iter().filter(|line| line.seam == name);
        let parts = of_seam
            .map(|line| part(line.name, line.about, defaults.contains(&(line.seam, line.name))));
        let parts = parts.collect();
        seams.push(Seam { name, about, is_of_engine: true, parts });
    }
    // Not a seam, but chosen in the same way.
    let settings = nori_lsm::Settings::lines().iter();
    let parts = settings.map(|line| part(line.name, line.about, false)).collect();
    let about = "numbers of our engine, chosen like parts: `-s block_bytes=16KiB`";
    seams.push(outer("setting", about, parts));
    let protocols =
        PROTOCOLS.into_iter().map(|(name, about)| part(name, about, name == PROTOCOLS[0].0));
    let about = "what the replicas of a shard agree by";
    seams.push(outer("consensus", about, protocols.collect()));
    let logs = nori_raft_log::KINDS;
    let parts =
        logs.into_iter().map(|(name, about)| part(name, about, name == logs[0].0)).collect();
    let about = "where the replicas of a node keep their logs";
    seams.push(outer("log", about, parts));
    seams
}

/// The seam called `name`.
///
/// # Errors
///
/// If there is none, with the nearest name there is.
pub fn seam(name: &str) -> Result<Seam, PartsError> {
    let all = seams();
    let known: Vec<&str> = all.iter().map(|seam| seam.name).collect();
    let error = PartsError::unknown("seam", name, known);
    all.into_iter().find(|seam| seam.name == name).ok_or(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seam_has_a_line_and_parts_with_a_line_each() {
        let all = seams();
        assert_eq!(all.len(), 4 + ABOUT.len());
        for seam in all {
            assert!(!seam.about.is_empty(), "{} is not described", seam.name);
            assert!(!seam.parts.is_empty(), "{} has no part", seam.name);
            let defaults = seam.parts.iter().filter(|part| part.is_default).count();
            assert_eq!(defaults, usize::from(seam.name != "setting"), "{}", seam.name);
            for part in seam.parts {
                let one_line = !part.about.is_empty() && !part.about.contains('\n');
                assert!(one_line, "{} {}", seam.name, part.name);
            }
        }
        assert!(seam("memtabel").unwrap_err().to_string().ends_with("did you mean `memtable`?"));
    }
}
