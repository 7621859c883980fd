//! The program against a cluster in memory.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod deaf;

use norikv_proto::v1;
use norikv_proto::v1::test_control_client::TestControlClient;
use norikv_server::Config;
use norikv_server::ephemeral::Cluster;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tokio::runtime::Runtime;

struct Rig {
    runtime: Runtime,
    cluster: Option<Arc<Cluster>>,
    endpoints: String,
}

impl Rig {
    fn new(nodes: usize) -> Self {
        let runtime = Runtime::new().unwrap();
        let mut resolved = Config::new().resolve().unwrap();
        resolved.shards = 4;
        let cluster = runtime.block_on(async {
            let cluster = Cluster::start(&resolved, nodes).await.unwrap();
            cluster.ready().await;
            cluster
        });
        let said = runtime.block_on(cluster.describe());
        let nodes = said["nodes"].as_array().unwrap();
        let clients = nodes.iter().map(|node| node["client"].as_str().unwrap());
        let endpoints = clients.collect::<Vec<_>>().join(",");
        Self { runtime, cluster: Some(cluster), endpoints }
    }

    fn run(&self, args: &[&str]) -> (i32, String, String) {
        told(&command(&self.endpoints, args).output().unwrap())
    }

    /// Kills a node, or starts it again.
    fn set_running(&self, number: usize, is_running: bool) {
        let said = self.runtime.block_on(self.cluster.as_ref().unwrap().describe());
        let node_id = said["nodes"][number]["node_id"].as_u64().unwrap();
        let asked = format!("http://{}", self.endpoints.split(',').next().unwrap());
        self.runtime.block_on(async {
            let mut control = TestControlClient::connect(asked).await.unwrap();
            if is_running {
                control.restart(v1::RestartRequest { node_id }).await.map(drop).unwrap();
            } else {
                control.kill(v1::KillRequest { node_id }).await.map(drop).unwrap();
            }
        });
    }

    /// What is printed by something that has to go well.
    fn fine(&self, args: &[&str]) -> String {
        let (code, out, err) = self.run(args);
        assert_eq!(code, 0, "{args:?}: {out} {err}");
        out
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        if let Some(cluster) = self.cluster.take() {
            self.runtime.block_on(cluster.stop());
        }
    }
}

fn command(endpoints: &str, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_norikvctl"));
    command.args(["--endpoints", endpoints]).args(args);
    command
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn keys_are_put_shown_compared_and_removed_with_codes_of_their_own() {
    let rig = Rig::new(1);
    rig.fine(&["put", "a", "1"]);
    assert_eq!(rig.fine(&["get", "a", "-o", "raw"]), "1");
    let (code, out, err) = rig.run(&["get", "nosuch"]);
    assert_eq!((code, &out[..], &err[..]), (5, "", "error: the key is not there\n"));
    let shown: serde_json::Value =
        serde_json::from_str(&rig.fine(&["get", "a", "-o", "json"])).unwrap();
    let version = shown["version"].as_u64().unwrap();
    let (code, _, err) = rig.run(&["put", "a", "2", "--if-version", "1000000"]);
    assert!(code == 6 && err.contains(&format!("the version is {version}")), "{code} {err}");
    rig.fine(&["cas", "a", "--expect-version", &version.to_string(), "--value", "2"]);
    assert_eq!(rig.run(&["put", "a", "3", "--if-absent"]).0, 6);
    rig.fine(&["del", "a"]);
    assert_eq!(rig.run(&["get", "a"]).0, 5);
    let mut child =
        command(&rig.endpoints, &["put", "piped"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"\x00\xff\n").unwrap();
    assert!(child.wait().unwrap().success());
    let output = command(&rig.endpoints, &["get", "piped", "-o", "raw"]).output().unwrap();
    assert_eq!(output.stdout, b"\x00\xff\n");
}

#[test]
fn rows_are_scanned_in_order_and_located() {
    let rig = Rig::new(1);
    for n in 0..20 {
        rig.fine(&["put", &format!("k{n:02}"), &format!("v{n}")]);
    }
    let lines = rig.fine(&["scan", "--prefix", "k", "--limit", "3", "-o", "raw"]);
    assert_eq!(lines, "k00\tv0\nk01\tv1\nk02\tv2\n");
    let rows = rig.fine(&["scan", "--start", "k05", "--end", "k07", "--keys-only", "-o", "jsonl"]);
    assert_eq!(rows.lines().count(), 2);
    let place: serde_json::Value =
        serde_json::from_str(&rig.fine(&["locate", "k00", "-o", "json"])).unwrap();
    assert!(place["shard"].as_u64().unwrap() < 4 && place["leader"].is_string(), "{place}");
}

#[test]
fn a_cluster_is_ready_when_all_of_its_members_are() {
    let rig = Rig::new(3);
    rig.fine(&["--timeout", "20s", "cluster", "wait-ready"]);
    rig.set_running(2, false);
    let (code, _, err) = rig.run(&["--timeout", "6s", "cluster", "wait-ready"]);
    assert!(code == 8 && err.contains("node-3 does not answer"), "{code} {err}");
    rig.set_running(2, true);
    rig.fine(&["--timeout", "20s", "cluster", "wait-ready"]);
}

#[test]
fn the_cluster_says_how_it_is_in_one_sentence() {
    let rig = Rig::new(3);
    let sentence = rig.fine(&["cluster", "status"]);
    assert_eq!(sentence, "Cluster \"norikv\": 3 of 3 nodes up, 4 shards, each with a leader.\n");
    assert_eq!(rig.fine(&["members"]).lines().count(), 4);
    assert_eq!(rig.fine(&["shard", "list"]).lines().count(), 5);
    assert!(rig.fine(&["node", "status", "node-2"]).contains("durability"));
    rig.fine(&["put", "a", "1"]);
    for shard in ["0", "1", "2", "3"] {
        assert_eq!(rig.fine(&["shard", "checksum", shard]).lines().count(), 4);
        rig.fine(&["shard", "flush", shard]);
    }
    let (code, _, err) = rig.run(&["shard", "status", "9"]);
    assert_eq!((code, &err[..]), (2, "error: there is no shard 9: they go from 0 to 3\n"));
    let (code, _, err) = rig.run(&["node", "drain", "nosuch"]);
    assert!(code == 2 && err.contains("there are node-1, node-2, node-3"), "{code} {err}");
}

#[test]
fn another_leader_is_one_command() {
    let rig = Rig::new(3);
    for to in ["node-1", "node-2", "node-3"] {
        rig.fine(&["shard", "transfer-leader", "1", "--to", to]);
        let until = std::time::Instant::now() + std::time::Duration::from_secs(30);
        loop {
            let shards = rig.fine(&["shard", "list", "-o", "json"]);
            let shards: serde_json::Value = serde_json::from_str(&shards).unwrap();
            if shards[1]["leader"] == to {
                break;
            }
            assert!(std::time::Instant::now() < until, "{shards}");
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }
}

#[test]
fn nobody_there_is_said_within_the_timeout() {
    let begun = std::time::Instant::now();
    let (code, _, err) =
        told(&command("127.0.0.1:1", &["--timeout", "500ms", "get", "a"]).output().unwrap());
    assert_eq!(code, 8, "{err}");
    assert!(err.starts_with("error: ") && err.lines().count() == 1, "{err}");
    assert!(begun.elapsed() < std::time::Duration::from_secs(5));
    let (code, _, err) = told(&command("not an address", &["get", "a"]).output().unwrap());
    assert_eq!(code, 2, "{err}");
}
