//! A property file, the TOML that it prints, and our own file of the same workload are one workload.

use nori_workloads::{Dialect, Ledger, Op, OpStream, Overrides, StreamId, Workload, built_in};
use std::sync::Arc;

const FILES: [(&str, &str); 6] = [
    ("ycsb-a", include_str!("ycsb/a.properties")),
    ("ycsb-b", include_str!("ycsb/b.properties")),
    ("ycsb-c", include_str!("ycsb/c.properties")),
    ("ycsb-d", include_str!("ycsb/d.properties")),
    ("ycsb-e", include_str!("ycsb/e.properties")),
    ("ycsb-f", include_str!("ycsb/f.properties")),
];

fn stream(w: &Workload) -> Vec<Op> {
    let ledger = Arc::new(Ledger::new(w.keys.records, 1));
    let mut stream = OpStream::new(w, 1, StreamId { seed: 42, phase: 1, client: 0 }, ledger);
    let next = || {
        let op = stream.next_op()?;
        stream.acknowledge(&op);
        Some(op)
    };
    std::iter::from_fn(next).take(20_000).collect()
}

#[test]
fn a_property_file_its_toml_and_our_own_file_give_the_same_operations() {
    for (name, text) in FILES {
        let imported = Workload::import(name, name, text, Dialect::Ycsb, &Overrides::default())
            .unwrap()
            .workload;
        let again = Workload::parse(name, &imported.to_toml()).unwrap();
        assert_eq!(imported, again, "{name}");
        let ours = built_in(name).unwrap().workload().unwrap();
        assert_eq!((&imported.keys, &imported.values), (&ours.keys, &ours.values), "{name}");
        assert_eq!(imported.phases, ours.phases, "{name}");
        assert_eq!(stream(&imported), stream(&again), "{name}");
        assert_eq!(stream(&imported), stream(&ours), "{name}");
    }
}

#[test]
fn the_dialects_of_other_programs_survive_the_way_through_toml() {
    for dialect in Dialect::ALL {
        for (name, text) in FILES {
            let imported = Workload::import(name, name, text, dialect, &Overrides::default())
                .unwrap()
                .workload;
            let again = Workload::parse(name, &imported.to_toml()).unwrap();
            assert_eq!(stream(&imported), stream(&again), "{name} {}", dialect.name());
        }
    }
}
