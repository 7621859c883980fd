//! Makes the messages of the outside peer of clusters (their compiler is a library: no program has to be installed), and tells the program which compiler built it and from which commit, for the manifest of a run.
//!
//! The commit is asked for here and not when a run begins: a program is often started outside its checkout, and a checkout may
//! have moved on since. Sources that differ from the commit are looked for among what the program is built from.

use std::path::Path;
use std::process::Command;

/// What the program is built from, seen from the root of the checkout.
const SOURCES: [&str; 8] =
    ["Cargo.toml", "Cargo.lock", "consensus", "engines", "harness", "proto", "sdks", "workloads"];
const ROOT: &str = "../..";
/// Where this package is in a checkout of its own. A copy inside another repository has not that one's commit.
const PREFIX: &str = "harness/bench/";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto/etcd.proto");
    let set = protox::compile(["proto/etcd.proto"], ["."])?;
    tonic_prost_build::configure()
        .bytes(".")
        .codec_path("norikv_proto::codec::SmallCodec")
        .compile_fds(set)?;
    println!("cargo::rerun-if-changed=build.rs");
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let version = said(Command::new(rustc).arg("--version")).unwrap_or_default();
    println!("cargo::rustc-env=NORIKV_RUSTC={version}");
    let commit = git(&["rev-parse", "--show-prefix"])
        .filter(|prefix| prefix == PREFIX)
        .and_then(|_| git(&["rev-parse", "HEAD"]));
    let mut status = vec!["-C", ROOT, "status", "--porcelain", "--"];
    status.extend(SOURCES);
    let is_dirty = commit.as_ref().and_then(|_| git(&status)).map(|changes| !changes.is_empty());
    let is_dirty = is_dirty.map_or(String::new(), |is_dirty| is_dirty.to_string());
    println!("cargo::rustc-env=NORIKV_COMMIT={}", commit.unwrap_or_default());
    println!("cargo::rustc-env=NORIKV_DIRTY={is_dirty}");
    watch();
    Ok(())
}

/// Has this asked again when a commit is made or another one checked out, or a source changes.
fn watch() {
    let branch = git(&["rev-parse", "--symbolic-full-name", "HEAD"]);
    let of_head = ["HEAD".to_owned(), "logs/HEAD".to_owned()].into_iter().chain(branch);
    let of_head = of_head.filter_map(|name| git(&["rev-parse", "--git-path", &name]));
    let sources = SOURCES.map(|source| format!("{ROOT}/{source}"));
    // One that is not there would be taken for changed each time.
    for path in of_head.chain(sources).filter(|path| Path::new(path).exists()) {
        println!("cargo::rerun-if-changed={path}");
    }
}

fn git(args: &[&str]) -> Option<String> {
    said(Command::new("git").args(args))
}

/// What a command printed, if it came to a good end.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
