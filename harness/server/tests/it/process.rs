//! The program itself.

use norikv_client::Client;
use norikv_client::ephemeral::{EphemeralServer, Options};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;
use tokio::io::AsyncBufReadExt as _;

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_norikv-server"))
}

fn run(args: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.args(args).env("NORIKV_CLUSTER__NAME", "of-env").output().unwrap()
}

fn told(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stderr.clone()).unwrap())
}

#[test]
fn wrong_settings_are_one_line_and_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("norikv.toml");
    std::fs::write(&file, "[wal]\n\ndurabilty = \"sync\"\n").unwrap();
    let file = file.to_str().unwrap();
    for args in [&["config", "check", file][..], &["--config", file]] {
        let (code, text) = told(&run(args));
        assert_eq!(code, Some(2), "{text}");
        let line = format!(
            "error: {file}:3: there is no `wal.durabilty`; did you mean `wal.durability`?\n"
        );
        assert_eq!(text, line);
    }
    let (code, text) = told(&run(&["--set", "listen.client=0.0.0.0:0"]));
    assert!(code == Some(2) && text.contains("--insecure") && text.lines().count() == 1, "{text}");
    std::fs::write(file, "[listen]\nclient = \"0.0.0.0:0\"\n").unwrap();
    let (code, text) = told(&run(&["config", "check", file]));
    assert!(code == Some(2) && text.contains(":2:") && text.contains("--insecure"), "{text}");
    assert_eq!(told(&run(&["config", "check", file, "--insecure"])).0, Some(0));
    let (code, text) = told(&run(&["--set", "swim.probe_timeout=50s"]));
    assert!(code == Some(2) && text.contains("probe timeout"), "{text}");
    let (code, text) = told(&run(&["--set", "engine.compaction=teired"]));
    assert!(code == Some(2) && text.contains("did you mean `tiered`?"), "{text}");
}

#[test]
fn the_effective_settings_say_where_each_comes_from() {
    let output = run(&["config", "print", "--effective", "--set", "cluster.shards=16"]);
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "name = \"of-env\"  # environment, NORIKV_CLUSTER__NAME",
        "shards = 16  # command line, --set",
        "heartbeat = \"50ms\"  # default",
    ] {
        assert!(text.lines().any(|of| of == line), "{line} in\n{text}");
    }
}

#[test]
fn the_settings_in_the_documentation_are_those_there_are() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operations.md");
    let docs = std::fs::read_to_string(docs).unwrap();
    let block = docs.split_once("<!-- settings -->").unwrap().1;
    let block = block.split_once("```toml\n").unwrap().1.split_once("```").unwrap().0;
    let output = Command::new(program()).args(["config", "print"]).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    for (n, (documented, printed)) in block.lines().zip(printed.lines()).enumerate() {
        assert_eq!(documented, printed, "line {}", n + 1);
    }
    assert_eq!(block.trim_end().lines().count(), printed.trim_end().lines().count());
}

/// A server in a process of its own, its client address, and its lines.
async fn serve(dir: &Path) -> (tokio::process::Child, String) {
    let mut command = tokio::process::Command::new(program());
    command.arg("--data-dir").arg(dir);
    for set in ["client", "peer", "swim", "http"].map(|kind| format!("listen.{kind}=127.0.0.1:0")) {
        command.args(["--set", &set]);
    }
    command.args(["--set", "cluster.shards=4", "--set", "observability.log_format=json"]);
    let mut child = command.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = tokio::io::BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("it listens before it ends");
        if let Some((_, rest)) = line.split_once("\"client\":\"") {
            let address = rest.split('"').next().unwrap().to_owned();
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return (child, address);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_was_acknowledged_is_lost_by_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut count = 0;
    for _ in 0..3 {
        let (mut child, address) = serve(dir.path()).await;
        let client = Client::connect([address]).unwrap();
        for n in 0..count {
            assert!(client.get(format!("k{n}")).await.unwrap().is_some(), "k{n}");
        }
        for n in count..count + 50 {
            client.put(format!("k{n}"), "1").await.unwrap();
        }
        count += 50;
        child.kill().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_on_the_same_directory_is_refused_and_the_first_stops_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (mut child, address) = serve(dir.path()).await;
    let client = Client::connect([address]).unwrap();
    client.put("a", "1").await.unwrap();
    let dir = dir.path().to_str().unwrap();
    let free: Vec<String> = ["client", "peer", "swim", "http"]
        .iter()
        .flat_map(|kind| ["--set".to_owned(), format!("listen.{kind}=127.0.0.1:0")])
        .collect();
    let mut args = vec!["--data-dir", dir];
    args.extend(free.iter().map(String::as_str));
    let (code, text) = told(&run(&args));
    assert_eq!((code, text), (Some(1), format!("error: {dir} is in use by another server\n")));
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let status = tokio::time::timeout(Duration::from_secs(20), child.wait()).await.unwrap();
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ephemeral_cluster_says_where_it_is_and_goes_with_its_parent() {
    let options = Options { nodes: 3, program: Some(program()), ..Options::default() };
    let server = EphemeralServer::start(options).await.unwrap();
    let client = Client::connect(server.addresses().to_vec()).unwrap();
    client.put("a", "1").await.unwrap();
    assert!(client.get("a").await.unwrap().is_some());
    server.stop().await.unwrap();
    // A parent that is killed takes its server with it.
    let script = format!("'{}' --ephemeral & echo $!; wait", program().display());
    let mut shell = tokio::process::Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = tokio::io::BufReader::new(shell.stdout.take().unwrap()).lines();
    let pid: u32 = lines.next_line().await.unwrap().unwrap().parse().unwrap();
    assert!(lines.next_line().await.unwrap().unwrap().contains("\"ready\":true"));
    shell.kill().await.unwrap();
    let is_gone = async {
        while Path::new(&format!("/proc/{pid}/stat")).exists() {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if stat.contains(") Z ") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), is_gone).await.unwrap();
}
