//! Which properties there are, in which dialect, and which of them say nothing to us.

use super::Dialect;
use super::Dialect::{GoYcsb, Ycsb, YcsbCpp};
use crate::nearest;

const ALL: &[Dialect] = &[Ycsb, GoYcsb, YcsbCpp];
const NOT_CPP: &[Dialect] = &[Ycsb, GoYcsb];
const YCSB: &[Dialect] = &[Ycsb];
const GO: &[Dialect] = &[GoYcsb];
const CPP: &[Dialect] = &[YcsbCpp];

/// Every property that is read, and the programs that read it.
pub(super) const KNOWN: &[(&str, &[Dialect])] = &[
    ("batch.size", GO),
    ("core_workload_insertion_retry_limit", NOT_CPP),
    ("dataintegrity", NOT_CPP),
    ("deleteproportion", ALL),
    ("exponential.frac", NOT_CPP),
    ("exponential.percentile", NOT_CPP),
    ("field_len_dist", CPP),
    ("fieldcount", ALL),
    ("fieldlength", ALL),
    ("fieldlengthdistribution", NOT_CPP),
    ("hotspotdatafraction", NOT_CPP),
    ("hotspotopnfraction", NOT_CPP),
    ("insertcount", NOT_CPP),
    ("insertorder", ALL),
    ("insertproportion", ALL),
    ("insertstart", ALL),
    ("keyprefix", GO),
    ("limit.file", CPP),
    ("limit.ops", CPP),
    ("maxexecutiontime", ALL),
    ("maxscanlength", ALL),
    ("minfieldlength", YCSB),
    ("minscanlength", &[Ycsb, YcsbCpp]),
    ("operationcount", ALL),
    ("readallfields", ALL),
    ("readmodifywriteproportion", ALL),
    ("readproportion", ALL),
    ("recordcount", ALL),
    ("requestdistribution", ALL),
    ("scanlengthdistribution", ALL),
    ("scanproportion", ALL),
    ("sleepafterload", CPP),
    ("target", ALL),
    ("threadcount", ALL),
    ("updateproportion", ALL),
    ("warmuptime", GO),
    ("workload", ALL),
    ("writeallfields", ALL),
    ("zeropadding", ALL),
    ("zipfian_const", CPP),
];

/// Properties that tell the other programs how to measure, print or reach a database, and change no operation.
pub(super) const IGNORED: &[&str] = &[
    "command",
    "core_workload_insertion_retry_interval",
    "db",
    "dotransactions",
    "dropdata",
    "exporter",
    "exportfile",
    "fieldlengthhistogram",
    "fieldnameprefix",
    "label",
    "latencytrackederrors",
    "measurementtype",
    "outputstyle",
    "reportlatencyforeacherror",
    "silence",
    "status",
    "table",
    "verbose",
];

/// What stands before the first point of such properties: ways to measure, and databases.
const IGNORED_GROUPS: &[&str] = &[
    "aerospike",
    "badger",
    "basicdb",
    "boltdb",
    "cassandra",
    "db",
    "debug",
    "etcd",
    "foundationdb",
    "hbase",
    "hdrhistogram",
    "histogram",
    "jdbc",
    "leveldb",
    "lmdb",
    "measurement",
    "memcached",
    "mongodb",
    "mysql",
    "pg",
    "raw",
    "redis",
    "rocksdb",
    "sqlite",
    "status",
    "tikv",
    "timeseries",
    "wiredtiger",
];

/// What is to be done about a property.
pub(super) enum Meaning {
    Read,
    Ignored,
    /// The sentence that refuses it.
    Refused(String),
}

pub(super) fn meaning(key: &str, dialect: Dialect) -> Meaning {
    if let Some((_, dialects)) = KNOWN.iter().find(|(known, _)| *known == key) {
        let Some(other) = dialects.first().filter(|_| !dialects.contains(&dialect)) else {
            return Meaning::Read;
        };
        return Meaning::Refused(format!(
            "{} has no property `{key}`; --dialect {} has",
            dialect.name(),
            other.name()
        ));
    }
    let group = key.split_once('.').map(|(group, _)| group);
    if IGNORED.contains(&key) || group.is_some_and(|group| IGNORED_GROUPS.contains(&group)) {
        return Meaning::Ignored;
    }
    let of_dialect = KNOWN.iter().filter(|(_, dialects)| dialects.contains(&dialect));
    let names = of_dialect.map(|(known, _)| *known).chain(IGNORED.iter().copied());
    let hint =
        nearest(key, names).map_or(String::new(), |name| format!("; did you mean `{name}`?"));
    Meaning::Refused(format!("unknown property `{key}`{hint}"))
}
