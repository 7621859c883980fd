//! The program: serves with no arguments; `--help` says what else there is.
//!
//! Exit codes: 0 it was told to stop and did; 1 it could not go on; 2 it was set to what cannot be.

use crate::config::resolve::Resolved;
use crate::ephemeral::{self, Cluster};
use crate::start::World;
use crate::{Config, ConfigError, Origin, Running, StartError};
use anyhow::{Context as _, Result};
use clap::{Args, Parser, Subcommand};
use norikv_telemetry::log;
use norikv_transport_grpc::Ended;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use tokio::signal::unix::{SignalKind, signal};

const FAILED: u8 = 1;
const USAGE: u8 = 2;
/// Threads that may wait for the disk: each may have a long row in its hands.
const BLOCKING_THREADS_MAX: usize = 64;

#[derive(Parser)]
#[command(
    name = "norikv-server",
    version,
    about = "A replicated key-value server",
    args_conflicts_with_subcommands = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Serve,
}

#[derive(Args)]
struct Serve {
    /// A file of settings in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, over everything else: `--set wal.durability=os`.
    #[arg(short = 's', long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where everything is kept: short for `--set node.data_dir=DIR`.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
    /// Listen beyond this machine, though nothing encrypts and nobody is asked who he is.
    #[arg(long)]
    insecure: bool,
    /// Keep everything in memory, choose ports, say where on the standard output, and end with the parent process.
    #[arg(long)]
    ephemeral: bool,
    /// Nodes of an ephemeral cluster, all in this process.
    #[arg(long, value_name = "N", requires = "ephemeral", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=7))]
    nodes: u8,
    /// Shards of an ephemeral cluster.
    #[arg(long, value_name = "N", requires = "ephemeral")]
    shards: Option<u32>,
}

#[derive(Subcommand)]
enum Command {
    /// Looks at settings without starting anything.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Whether a file of settings can be used.
    Check {
        /// The file.
        file: PathBuf,
        /// It is for a server that is started with `--insecure`.
        #[arg(long)]
        insecure: bool,
    },
    /// Every setting, as a file would say it.
    Print {
        /// With where each value comes from.
        #[arg(long)]
        effective: bool,
        #[command(flatten)]
        serve: Box<Serve>,
    },
}

/// Does what the command line says, with every other argument of it than the program's name.
///
/// # Errors
///
/// If the server cannot begin or go on, or the arguments say what cannot be.
pub fn serve(args: Vec<OsString>) -> Result<()> {
    let name = OsString::from("norikv-server");
    run(Cli::try_parse_from(std::iter::once(name).chain(args))?)
}

/// The whole program.
pub fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = told_once(&error);
            let lines: Vec<&str> = text.lines().map(str::trim).filter(|l| !l.is_empty()).collect();
            let _ = writeln!(std::io::stderr(), "error: {}", lines.join("; "));
            let is_usage = error.is::<ConfigError>()
                || matches!(
                    error.downcast_ref::<StartError>(),
                    Some(StartError::Config(_) | StartError::Parts(_))
                );
            ExitCode::from(if is_usage { USAGE } else { FAILED })
        }
    }
}

/// An error with its causes, but for those that it tells of itself.
fn told_once(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.contains(&cause) => text,
        cause if text.is_empty() => cause,
        cause => format!("{text}: {cause}"),
    })
}

fn run(cli: Cli) -> Result<()> {
    match cli.command {
        Some(Command::Config(ConfigCommand::Check { file, insecure })) => {
            let mut config = Config::new();
            config.read(&file)?;
            config.resolve()?.shard_count()?;
            if !insecure {
                config.check_loopback()?;
            }
            Ok(())
        }
        Some(Command::Config(ConfigCommand::Print { effective, serve })) => {
            let text = config(&serve)?.print(effective);
            std::io::stdout().write_all(text.as_bytes()).context("printing")
        }
        None => begin(&cli.serve),
    }
}

/// What all layers say together.
fn config(serve: &Serve) -> Result<Config, ConfigError> {
    let mut config = Config::new();
    if let Some(file) = &serve.config {
        config.read(file)?;
    }
    config.environment(
        std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    )?;
    if let Some(dir) = &serve.data_dir {
        config.set("node.data_dir", dir.clone(), Origin::Flag("--data-dir".to_owned()))?;
    }
    for given in &serve.set {
        let origin = Origin::Flag("--set".to_owned());
        let Some((name, value)) = given.split_once('=') else {
            let why = "give KEY=VALUE".to_owned();
            let (name, given) = ("--set".to_owned(), given.clone());
            return Err(ConfigError::Value { origin, name, given, why });
        };
        config.set(name, value.to_owned(), origin)?;
    }
    Ok(config)
}

fn begin(serve: &Serve) -> Result<()> {
    // Before the settings: how many connections there may be depends on it.
    raise_open_files();
    let config = config(serve)?;
    let mut resolved = config.resolve()?;
    if !serve.insecure && !serve.ephemeral {
        config.check_loopback()?;
    }
    log::init(&resolved.log_filter, resolved.log_format)?;
    let runtime = runtime(&resolved, serve.ephemeral).context("starting threads")?;
    if serve.ephemeral {
        resolved.shards = serve.shards.unwrap_or(ephemeral::SHARDS);
        let result = runtime.block_on(in_memory(&resolved, usize::from(serve.nodes)));
        runtime.shutdown_background();
        return result;
    }
    let result = runtime.block_on(on_disk(resolved));
    // What still waits for the disk is not waited for: everything that was acknowledged is there.
    runtime.shutdown_background();
    result
}

/// The threads for connections. The node's loop and the engine's jobs have their own: where these were as many as processors, each wakes another for what it could do
/// itself, and a third of all system calls were about that (decision 0023).
fn runtime(resolved: &Resolved, is_ephemeral: bool) -> std::io::Result<tokio::runtime::Runtime> {
    let processors = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    let threads = match resolved.threads {
        // Several nodes share them.
        0 if is_ephemeral => 2,
        0 => (processors / 2).max(1),
        threads => threads,
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(threads).max_blocking_threads(BLOCKING_THREADS_MAX).enable_all().build()
}

/// Lets this process open as many files as the system allows without asking: every table of every shard is one.
fn raise_open_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

async fn on_disk(resolved: Resolved) -> Result<()> {
    let (durability, deadline) = (resolved.durability, resolved.deadline);
    if durability != nori_env::Durability::Sync {
        tracing::warn!(%durability, "acknowledged writes may be lost when the machine loses power");
    }
    let running = Running::start(resolved, World::real()).await?;
    let at = running.addresses();
    tracing::info!(client = %at.client, peer = %at.peer, swim = %at.swim, http = ?at.http, "listening");
    let told = tell_events(&running);
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut topology = running.handle().watch();
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            // Whoever publishes has gone: the node has ended by itself.
            changed = topology.changed() => if changed.is_err() { break },
        }
    }
    tracing::info!("stopping");
    let ended = tokio::select! {
        ended = running.stop() => ended,
        () = tokio::time::sleep(deadline) => {
            tracing::warn!(?deadline, "something did not end in time");
            return Ok(());
        }
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    told.abort();
    match ended {
        Ended::Stopped => Ok(()),
        ended => Err(ended.into()),
    }
}

/// Has a line of each event, until it is aborted.
fn tell_events(running: &Running) -> tokio::task::JoinHandle<()> {
    let mut events = running.handle().events();
    tokio::spawn(async move {
        loop {
            match events.recv().await {
                Ok(event) => {
                    let event = norikv_transport_grpc::http::describe(&event);
                    tracing::info!(%event, "event");
                }
                Err(tokio::sync::broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "events came faster than their lines");
                }
                Err(tokio::sync::broadcast::error::RecvError::Closed) => return,
            }
        }
    })
}

async fn in_memory(resolved: &Resolved, nodes: usize) -> Result<()> {
    // Not the standard input's end: a test runner may close that early, or never.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    let cluster = Cluster::start(resolved, nodes).await?;
    cluster.ready().await;
    let said = cluster.describe().await;
    writeln!(std::io::stdout(), "{said}").context("saying where the cluster is")?;
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    cluster.stop().await;
    Ok(())
}
