//! A server for tests: the real one, in memory, in a process of its own that ends with this one.
//!
//! The program is looked for where the options say, then in `NORIKV_SERVER_BIN`, in `PATH`, and in the folder `target` of the checkout. Nothing is downloaded.

use serde_json::Value;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

const PROGRAM: &str = "norikv-server";
const VARIABLE: &str = "NORIKV_SERVER_BIN";
/// A server that has not said anything by then does not begin.
const PATIENCE: Duration = Duration::from_secs(30);

/// What kind of cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// How many nodes, all in one process.
    pub nodes: u8,
    /// How many shards.
    pub shards: u32,
    /// The program.
    pub program: Option<PathBuf>,
    /// More settings, as `section.key=value`.
    pub settings: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { nodes: 1, shards: 8, program: None, settings: Vec::new() }
    }
}

/// A cluster that runs as long as this lives.
#[derive(Debug)]
pub struct EphemeralServer {
    addresses: Vec<String>,
    http: Vec<String>,
    child: Child,
}

impl EphemeralServer {
    /// Starts one, and waits until it can serve.
    ///
    /// # Errors
    ///
    /// If there is no such program, or it does not begin.
    pub async fn start(options: Options) -> io::Result<Self> {
        let program = find(options.program.as_deref())?;
        let mut command = Command::new(&program);
        command
            .arg("--ephemeral")
            .args(["--nodes", &options.nodes.to_string(), "--shards", &options.shards.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        for setting in &options.settings {
            command.args(["--set", setting]);
        }
        let mut child = command.spawn()?;
        let silent =
            || io::Error::other(format!("{} did not say that it is ready", program.display()));
        let stdout = child.stdout.take().ok_or_else(silent)?;
        let mut line = String::new();
        let mut lines = BufReader::new(stdout);
        match tokio::time::timeout(PATIENCE, lines.read_line(&mut line)).await {
            Ok(read) => read?,
            Err(_) => return Err(silent()),
        };
        let said: Value = serde_json::from_str(&line).map_err(|_| silent())?;
        let nodes = said["nodes"].as_array().cloned().unwrap_or_default();
        let of = |what: &str| -> Vec<String> {
            nodes.iter().filter_map(|node| node[what].as_str().map(str::to_owned)).collect()
        };
        let (addresses, http) = (of("client"), of("http"));
        if addresses.len() != usize::from(options.nodes) {
            return Err(silent());
        }
        Ok(Self { addresses, http, child })
    }

    /// Where clients reach the nodes.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where their HTTP is.
    pub fn http(&self) -> &[String] {
        &self.http
    }

    /// The number of the process.
    pub fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Ends it.
    ///
    /// # Errors
    ///
    /// As the operating system has it.
    pub async fn stop(mut self) -> io::Result<()> {
        self.child.kill().await
    }
}

fn find(given: Option<&Path>) -> io::Result<PathBuf> {
    if let Some(program) = given {
        return Ok(program.to_owned());
    }
    if let Some(program) = env::var_os(VARIABLE) {
        return Ok(program.into());
    }
    let in_path = env::var_os("PATH")
        .into_iter()
        .flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let here = env::current_dir()?;
    let targets = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from).into_iter();
    let targets = targets.chain(here.ancestors().map(|dir| dir.join("target")));
    let in_checkout =
        targets.flat_map(|target| ["release", "debug"].map(|profile| target.join(profile)));
    let mut all = in_path.chain(in_checkout).map(|dir| dir.join(PROGRAM));
    all.find(|program| program.is_file()).ok_or_else(|| {
        let what = format!("there is no {PROGRAM}: build it (`cargo build --release -p {PROGRAM}`), or say where it is in {VARIABLE}");
        io::Error::new(io::ErrorKind::NotFound, what)
    })
}
