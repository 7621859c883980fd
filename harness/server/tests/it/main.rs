//! The server as its users meet it: real sockets, real files, the program itself.

#![expect(clippy::unwrap_used, reason = "a failing test should stop where it fails")]

mod cluster;
mod keys;
mod pipe;
mod process;
mod wire;

use norikv_client::Client;
use norikv_server::config::resolve::Resolved;
use norikv_server::start::World;
use norikv_server::{Config, Origin, Running};
use std::path::Path;

/// Settings of a server that listens wherever there is room and keeps everything in `dir`.
fn settings(dir: &Path, more: &[(&str, &str)]) -> Resolved {
    let mut config = Config::new();
    let dir = dir.display().to_string();
    let of_all = [
        ("node.data_dir", dir.as_str()),
        ("listen.client", "127.0.0.1:0"),
        ("listen.peer", "127.0.0.1:0"),
        ("listen.swim", "127.0.0.1:0"),
        ("listen.http", "127.0.0.1:0"),
        ("cluster.shards", "4"),
        ("engine.memory", "16MiB"),
        ("wal.segment", "1MiB"),
        ("limits.disk_reserve", "0"),
        ("consensus.quiesce_after", "off"),
    ];
    for (name, value) in of_all.iter().chain(more) {
        config.set(name, (*value).to_owned(), Origin::Flag("test".to_owned())).unwrap();
    }
    config.resolve().unwrap()
}

/// A server of one node, and a client of it.
async fn one(dir: &Path, more: &[(&str, &str)]) -> (Running, Client) {
    let running = Running::start(settings(dir, more), World::real()).await.unwrap();
    while running.handle().topology().is_ready().is_err() {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let client = Client::connect([running.addresses().client.to_string()]).unwrap();
    (running, client)
}
