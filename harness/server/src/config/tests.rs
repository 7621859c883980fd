//! Layers of settings: which wins, and what is told of those that are wrong.

use super::*;
use std::io::Write as _;
use std::time::Duration;

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str) -> Result<Config, String> {
    let file = file(text);
    let mut config = Config::new();
    let path = file.path().display().to_string();
    config.read(file.path()).map_err(|error| error.to_string().replace(&path, "FILE"))?;
    Ok(config)
}

#[test]
fn every_default_is_a_value_that_may_be_given_and_all_together_are_settings() {
    for key in keys::all() {
        assert!(key.default.is_empty() || key.check(&key.default).is_ok(), "{}", key.name);
        assert!(!key.about.is_empty() && !key.about.contains('\n'), "{}", key.name);
    }
    let resolved = Config::new().resolve().unwrap();
    assert_eq!(resolved.consensus.heartbeat, Duration::from_millis(50));
    assert_eq!(resolved.consensus.election_min, Duration::from_millis(300));
    assert_eq!((resolved.shards, resolved.replicas.get()), (64, 3));
    assert_eq!(resolved.durability, nori_env::Durability::Sync);
    assert_eq!(resolved.limits.replica, norikv_replica::Settings::default());
    Config::new().check_loopback().unwrap();
}

#[test]
fn a_later_layer_wins_and_every_value_says_where_it_comes_from() {
    let file = file(
        "[cluster]\nname = \"ours\"\nseeds = [\"a:1\", \"b:2\"]\n\n[engine]\ncompaction = \"tiered\"\nmemory = \"64MiB\"\n",
    );
    let mut config = Config::new();
    config.read(file.path()).unwrap();
    let env = [
        ("NORIKV_CLUSTER__NAME".to_owned(), "of the environment".to_owned()),
        ("NORIKV_ENGINE__MEMORY".to_owned(), "32MiB".to_owned()),
        ("NORIKV_SERVER_BIN".to_owned(), "of others".to_owned()),
    ];
    config.environment(env.into_iter()).unwrap();
    let flag = Origin::Flag("--set".to_owned());
    config.set("cluster.name", "of the command line".to_owned(), flag.clone()).unwrap();
    assert_eq!(config.value("cluster.name").text, "of the command line");
    assert_eq!(config.value("cluster.name").origin, flag);
    assert_eq!(config.value("engine.memory").text, "32MiB");
    assert_eq!(config.value("engine.compaction").origin, Origin::File(file.path().to_owned(), 6));
    assert_eq!(config.value("node.zone").origin, Origin::Default);
    let resolved = config.resolve().unwrap();
    assert_eq!(resolved.seeds, ["a:1", "b:2"]);
    assert_eq!(resolved.choices, [("compaction".to_owned(), "tiered".to_owned())]);
}

#[test]
fn what_is_printed_is_a_file_that_says_the_same() {
    let mut config = Config::new();
    config.set("cluster.seeds", "a:1,b:2".to_owned(), Origin::Default).unwrap();
    config.set("wal.durability", "group:5ms".to_owned(), Origin::Default).unwrap();
    let again = read(&config.print(false)).unwrap();
    for (name, value) in config.values() {
        assert_eq!(again.value(name).text, value.text, "{name}");
    }
}

#[test]
fn a_wrong_key_is_told_with_its_line_and_the_nearest() {
    assert_eq!(
        read("[node]\nzone = \"a\"\nzome = \"b\"\n").unwrap_err(),
        "FILE:3: there is no `node.zome`; did you mean `node.zone`?"
    );
    assert_eq!(
        read("[node]\nshards = 5\n").unwrap_err(),
        "FILE:2: there is no `node.shards`; did you mean `cluster.shards`?"
    );
    assert_eq!(read("x = 5\n").unwrap_err(), "FILE:1: there is no `x`");
}

#[test]
fn a_wrong_value_is_told_with_its_line_and_what_would_be_right() {
    for (text, told) in [
        (
            "[wal]\ndurability = \"synk\"",
            "FILE:2: wal.durability cannot be `synk`: give sync, group:<n>ms, os or none",
        ),
        (
            "[consensus]\nplugin = \"openrat\"",
            "FILE:2: consensus.plugin cannot be `openrat`: did you mean `openraft`?",
        ),
        (
            "[cluster]\nshards = -1",
            "FILE:2: cluster.shards cannot be `-1`: give a number from 1 to 65536",
        ),
        (
            "[cluster]\nshards = 0",
            "FILE:2: cluster.shards cannot be `0`: give a number from 1 to 65536",
        ),
        (
            "[consensus]\nheartbeat = 5",
            "FILE:2: consensus.heartbeat cannot be `5`: give a length of time, as in 50ms, 5s, 10m or 2h",
        ),
        (
            "[listen]\nclient = \"9001\"",
            "FILE:2: listen.client cannot be `9001`: give host:port, as in 127.0.0.1:9001",
        ),
        (
            "[cluster]\nseeds = [1]",
            "FILE:2: cluster.seeds is to be a text, a number, true or false, or a list of texts",
        ),
        (
            "[engine]\nblock_bytes = 2",
            "FILE:2: engine.block_bytes cannot be `2`: give bytes from 64 to 1048576",
        ),
    ] {
        assert_eq!(read(text).unwrap_err(), told);
    }
    assert!(read("[node\n").unwrap_err().starts_with("FILE:1: "));
    let missing = Config::new().read(Path::new("/nosuch/file")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /nosuch/file: "), "{missing}");
}

#[test]
fn values_that_do_not_go_together_are_refused() {
    let set = |name: &str, text: &str| {
        let mut config = Config::new();
        config.set(name, text.to_owned(), Origin::Default).unwrap();
        config.resolve().map(|_| ()).map_err(|error| error.to_string())
    };
    assert!(set("consensus.heartbeat", "200ms").unwrap_err().contains("three times"));
    assert!(set("limits.value", "4MiB").unwrap_err().contains("limits.batch"));
}

#[test]
fn beyond_the_machine_is_refused() {
    for (address, is_fine) in [
        ("127.0.0.1:1", true),
        ("[::1]:1", true),
        ("localhost:1", true),
        ("0.0.0.0:1", false),
        ("[::]:1", false),
        ("host:1", false),
    ] {
        let mut config = Config::new();
        let flag = Origin::Flag("--set".to_owned());
        config.set("listen.peer", address.to_owned(), flag).unwrap();
        assert_eq!(config.check_loopback().is_ok(), is_fine, "{address}");
    }
}
