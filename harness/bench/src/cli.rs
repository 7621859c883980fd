//! The command line.
//!
//! What it says wrongly is told in one line, with the nearest name where there is one, before anything is started.

mod able;
mod complaint;
mod quick;

use crate::experiment::{Experiment, finish};
use crate::inspect::Inspect;
use crate::names::{
    self, baseline, imported_steps, parse_arrival, parse_blocks, parse_bytes, parse_choice,
    parse_count, parse_memory, parse_minutes, parse_number, parse_rate, parse_threads, references,
    steps, targets, usage,
};
use crate::note::Note;
use crate::plan::Step;
use crate::plot::{self, Kind};
use crate::progress::Progress;
use crate::registry::engines;
use crate::soak::Soak;
use crate::stored::Stored;
use crate::{
    Ended, INCOMPLETE, INVALID, distrust, doctor, experiment, generate, guard, inspect, limits,
    list, out, remote, rows, soak, table, worker,
};
use anyhow::{Result, bail};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};
use nori_kv::Durability;
use nori_workloads::{Arrival, Dialect, Load, LoadModel, Overrides, Span};
use norikv_parts::{Choice, Role};
use quick::QuickArgs;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

const MEMORY_DEFAULT: &str = "16MiB";
const SEED_DEFAULT: u64 = 42;

#[derive(Parser)]
#[command(
    name = "norikv-bench",
    version,
    about = "Workloads against storage engines, in tables, plots and a report.",
    long_about = "Workloads against storage engines, in tables, plots and a report.\n\n\
                  Without arguments: the quick experiment. YCSB A to F, our engine against its peers, then our server \
                  as three nodes, in under three minutes; results in results/quick.",
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// The quick experiment, as without a command, in another size
    Quick(QuickArgs),
    /// Everything that has a name: engines, the parts of each seam, workloads
    List {
        /// Only this seam
        seam: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// A workload on one or more engines
    Run(Box<RunArgs>),
    /// The operations of a workload, or of a property file of YCSB, without an engine
    Gen(GenArgs),
    /// Tables, plots and report of a stored experiment, made again from its files
    Report {
        /// The experiment's directory
        dir: PathBuf,
    },
    /// Trials of our engine with ever new combinations of its parts; goes on where it was
    Soak(SoakArgs),
    /// One kind of plot of stored experiments, as SVG and PNG
    #[command(after_help = plot_kinds())]
    Plot {
        /// What it shows
        kind: Kind,
        /// The experiments' directories; the plots go into `plots` of each
        #[arg(required = true)]
        dirs: Vec<PathBuf>,
    },
    /// What lies in a table, a segment of the log or a manifest, without opening the store
    Inspect {
        /// What it is
        kind: inspect::Kind,
        /// The file, under its own name
        path: PathBuf,
        /// Entries, groups or edits to show
        #[arg(long, value_parser = parse_number, allow_negative_numbers = true, default_value_t = 20)]
        limit: u64,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Is this machine fit to measure on? What spoils numbers, an fsync probe, the noise of an engine against itself
    Doctor(doctor::DoctorArgs),
    /// Parts alone, each beside what this machine could do at best and beside the goal
    #[command(after_help = limits::sections())]
    Limits(limits::Limits),
    /// Measures one part; started by `limits`
    #[command(hide = true)]
    LimitsJob(limits::LimitsJob),
    /// Carries out one plan; started by the other commands
    #[command(hide = true)]
    Worker { plan: PathBuf },
    /// Is a node of a cluster; started by runs against one
    #[command(hide = true, disable_help_flag = true)]
    Serve {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
    /// Is the bare server of the target `echo`; started by runs against it
    #[command(hide = true)]
    Echo { at: SocketAddr },
    /// Becomes a program that ends with whoever started this one; started by runs against a cluster
    #[command(hide = true)]
    Tied {
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

/// Where a workload comes from.
#[derive(Args)]
struct Source {
    /// A workload file's path, a workload's name, or `ycsb` (load, then A to F)
    workload: Option<String>,
    /// A property file of YCSB, in place of WORKLOAD
    #[arg(long, value_name = "FILE", conflicts_with = "workload")]
    ycsb: Option<PathBuf>,
    /// The program that the property file is for: ycsb, go-ycsb or ycsb-cpp [default: ycsb]
    #[arg(long, requires = "ycsb", conflicts_with = "workload")]
    dialect: Option<Dialect>,
}

impl Source {
    /// The phases, and the name that they have together.
    fn steps(&self, overrides: &Overrides) -> Result<(String, Vec<Step>)> {
        let steps = match (&self.workload, &self.ycsb) {
            (Some(workload), _) => steps(workload, overrides)?,
            (None, Some(path)) => {
                imported_steps(path, self.dialect.unwrap_or_default(), overrides)?
            }
            (None, None) => return Err(usage("WORKLOAD is missing")),
        };
        let name = match &self.workload {
            Some(workload) if workload == names::SUITE => workload.clone(),
            _ => steps.first().map_or_else(|| "run".into(), |step| step.label.clone()),
        };
        Ok((name, steps))
    }
}

#[derive(Args)]
struct GenArgs {
    #[command(flatten)]
    source: Source,
    /// Operations of each run phase
    #[arg(long, value_parser = parse_number, allow_negative_numbers = true)]
    ops: Option<u64>,
    /// Records loaded
    #[arg(long, value_parser = parse_number, allow_negative_numbers = true)]
    records: Option<u64>,
    /// Client threads, which take turns
    #[arg(long, value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<u32>,
    /// Of the operation streams
    #[arg(long, value_parser = parse_count, allow_negative_numbers = true, default_value_t = SEED_DEFAULT)]
    seed: u64,
    /// How often each key number is picked, and nothing else
    #[arg(long)]
    histogram: bool,
    /// The workload file itself, and no operation
    #[arg(long, conflicts_with_all = ["histogram", "json", "seed"])]
    toml: bool,
    /// A JSON object a line
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct SoakArgs {
    /// How long
    #[arg(long, value_parser = parse_minutes, allow_negative_numbers = true, default_value = "10")]
    minutes: f64,
    /// Of all rounds
    #[arg(long, value_parser = parse_count, allow_negative_numbers = true, default_value_t = 1)]
    seed: u64,
    /// Only this round, as a failure names it
    #[arg(long, value_parser = parse_count, allow_negative_numbers = true)]
    round: Option<u64>,
    /// Where the state of the campaign is kept
    #[arg(long, default_value = "results/soak")]
    out: PathBuf,
    /// Print the state as JSON and nothing else
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct RunArgs {
    #[command(flatten)]
    source: Source,
    /// An engine's name, or `all`; may be given more than once [default: our own]
    #[arg(long = "engine", value_name = "NAME")]
    engines: Vec<String>,
    /// The part to put behind a seam (`-s cache=lru`), or a setting of our engine (`-s block_bytes=16KiB`); `norikv-bench
    /// list` shows them; may be given more than once
    #[arg(short = 's', value_name = "NAME=VALUE", value_parser = parse_choice)]
    choices: Vec<Choice>,
    /// Client threads
    #[arg(long, value_parser = parse_threads, allow_negative_numbers = true)]
    threads: Option<u32>,
    /// Open loop: operations a second that all clients together send, ready or not
    #[arg(long, value_parser = parse_rate, allow_negative_numbers = true)]
    rate: Option<f64>,
    /// Open loop at this share of what a closed loop reaches, which is measured first, as in 0.8; above 1 is overload
    #[arg(long, value_name = "SHARE", value_parser = parse_rate, allow_negative_numbers = true, conflicts_with = "rate")]
    of_max: Option<f64>,
    /// How an open loop's operations follow each other: fixed or poisson [default: poisson]
    #[arg(long, value_parser = parse_arrival)]
    arrival: Option<Arrival>,
    /// Records loaded
    #[arg(long, value_parser = parse_number, allow_negative_numbers = true)]
    records: Option<u64>,
    /// Operations of each run phase
    #[arg(long, value_parser = parse_number, allow_negative_numbers = true)]
    ops: Option<u64>,
    /// Length of each run phase, in place of a number of operations, as in 500ms or 30s
    #[arg(long, conflicts_with = "ops")]
    duration: Option<Span>,
    /// Measure loading for this long; what is not loaded by then is loaded in batches, unmeasured
    #[arg(long)]
    load_duration: Option<Span>,
    /// Bytes of each value
    #[arg(long, value_parser = parse_bytes, allow_negative_numbers = true)]
    value_bytes: Option<u64>,
    /// Memory of the engine, as in 64MiB
    #[arg(long, value_parser = parse_memory, allow_negative_numbers = true, default_value = MEMORY_DEFAULT)]
    memory: u64,
    /// What an acknowledged write survives: none, os, group:5ms (or any number), sync
    #[arg(long, default_value = "os")]
    durability: String,
    /// Of the operation streams
    #[arg(long, value_parser = parse_count, allow_negative_numbers = true, default_value_t = SEED_DEFAULT)]
    seed: u64,
    /// How often each target runs, in an order drawn anew each time; six or more give verdicts
    #[arg(long, value_parser = parse_blocks, allow_negative_numbers = true, default_value_t = 1)]
    blocks: u32,
    /// The target, or PEER:better for the better of its rows, that the others are compared with [default: the first]
    #[arg(long, value_name = "NAME")]
    baseline: Option<String>,
    /// Go on with what an interrupted experiment in the same directory left undone
    #[arg(long)]
    resume: bool,
    /// Keep each run's store, in the run's directory, and print where: for `inspect`
    #[arg(long)]
    keep: bool,
    /// Where the results go [default: results/WORKLOAD]
    #[arg(long)]
    out: Option<PathBuf>,
    /// Print the rows of the summary as JSON and nothing else
    #[arg(long)]
    json: bool,
}

/// Does what the command line says.
pub(crate) fn run() -> Result<()> {
    match parse()?.command {
        None => quick::quick(&QuickArgs::default()),
        Some(Command::Quick(args)) => quick::quick(&args),
        Some(Command::List { seam, json }) => {
            list::list(seam.as_deref(), parse_bytes(MEMORY_DEFAULT).map_err(usage)?, json)
        }
        Some(Command::Run(args)) => run_workload(*args),
        Some(Command::Gen(args)) => generate(&args),
        Some(Command::Report { dir }) => report(&dir),
        Some(Command::Plot { kind, dirs }) => plot(kind, &dirs),
        Some(Command::Soak(args)) => soak::soak(&Soak {
            minutes: args.minutes,
            seed: args.seed,
            round: args.round,
            dir: args.out,
            is_json: args.json,
        }),
        Some(Command::Inspect { kind, path, limit, json }) => {
            let limit = usize::try_from(limit).unwrap_or(usize::MAX);
            inspect::inspect(&Inspect { kind, path, limit, is_json: json })
        }
        Some(Command::Doctor(args)) => doctor::doctor(&args),
        Some(Command::Limits(asked)) => limits::limits(&asked),
        Some(Command::LimitsJob(job)) => limits::carry_out(&job),
        Some(Command::Worker { plan }) => worker::work(&plan),
        Some(Command::Serve { args }) => norikv_server::program::serve(args),
        Some(Command::Echo { at }) => remote::serve_echo(at),
        Some(Command::Tied { command }) => remote::tied(&command).map(|_| ()),
    }
}

/// The command line as clap understands it. Help goes to standard output, and with it the program ends.
fn parse() -> Result<Cli> {
    Cli::try_parse().map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        _ => {
            let cli = Cli::command();
            let shown = cli.get_subcommands().filter(|command| !command.is_hide_set());
            let commands: Vec<&str> = shown.map(clap::Command::get_name).collect();
            let args: Vec<String> = std::env::args().collect();
            usage(complaint::complaint(&error, &args, &commands))
        }
    })
}

fn run_workload(args: RunArgs) -> Result<()> {
    let durability: Durability =
        args.durability.parse().map_err(|error| usage(format!("--durability: {error}")))?;
    let overrides = Overrides {
        records: args.records,
        value_bytes: args.value_bytes,
        threads: args.threads,
        ops: args.ops,
        duration: args.duration,
        load_duration: args.load_duration,
        load: load(args.rate, args.of_max, args.arrival)?,
    };
    let (name, steps) = args.source.steps(&overrides)?;
    let mut names = args.engines;
    let is_all = names.iter().any(|name| name == "all");
    if names.is_empty() {
        let ours = engines().into_iter().filter(|entry| entry.role == Role::Ours);
        names.extend(ours.map(|entry| entry.name.to_owned()));
    }
    if args.keep {
        able::check_kept(&names)?;
    }
    let needs = able::needs(&steps);
    let named = targets(&names, &args.choices, args.memory)?;
    let targets = able::offering(named, durability, &needs, args.memory, is_all)?;
    let of_others = references(&steps, args.memory)?;
    let experiment = Experiment {
        dir: args.out.unwrap_or_else(|| Path::new("results").join(&name)),
        references: able::offering(of_others, durability, &needs, args.memory, false)?,
        baseline: baseline(args.baseline.as_deref(), &targets)?,
        targets,
        name,
        steps,
        memory_bytes: args.memory,
        durability: durability.to_string(),
        seed: args.seed,
        blocks: args.blocks,
        is_resumed: args.resume,
        keeps_stores: args.keep,
        apart: None,
    };
    carry_out(&experiment, args.json)
}

fn generate(args: &GenArgs) -> Result<()> {
    let overrides = Overrides {
        records: args.records,
        ops: args.ops,
        threads: args.threads,
        ..Overrides::default()
    };
    let (_, steps) = args.source.steps(&overrides)?;
    match (args.toml, args.histogram) {
        (true, _) => generate::toml(&steps),
        (_, true) => generate::histogram(&steps, args.seed, args.json),
        _ => generate::operations(&steps, args.seed, args.json),
    }
}

/// The load of run phases that the command line asks for; `None` leaves what the workload says.
fn load(rate: Option<f64>, of_max: Option<f64>, arrival: Option<Arrival>) -> Result<Option<Load>> {
    if rate.is_none() && of_max.is_none() {
        return match arrival {
            None => Ok(None),
            Some(_) => Err(usage("--arrival is of an open loop: give --rate or --of-max with it")),
        };
    }
    Ok(Some(Load { model: LoadModel::Open, rate, of_max, arrival, ..Load::default() }))
}

fn carry_out(experiment: &Experiment, is_json: bool) -> Result<()> {
    let prepared = experiment::prepare(experiment)?;
    let mut progress = Progress::new(experiment, is_json);
    let many =
        |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let blocks = if experiment.blocks > 1 {
        format!(" x {}", many(experiment.blocks as usize, "block"))
    } else {
        String::new()
    };
    let apart = experiment.apart.as_ref().map_or(String::new(), |apart| {
        let (targets, phases) = (apart.targets.len(), apart.steps.len());
        format!(", then {} x {}", many(targets, "cluster"), many(phases, "phase"))
    });
    progress.line(&format!(
        "{}: {} x {}{apart}{blocks}, durability {}, results in {}",
        experiment.name,
        many(experiment.targets.len(), "target"),
        many(experiment.steps.len(), "phase"),
        experiment.durability,
        experiment.dir.display(),
    ));
    if experiment.is_resumed && !prepared.is_resumed() {
        let dir = experiment.dir.display();
        progress
            .line(&format!("--resume: {dir} holds no experiment to go on with: it is begun anew"));
    }
    if prepared.is_resumed() {
        progress.line(&format!("resumed: {} done before", many(prepared.done(), "run")));
        for why in prepared.again() {
            progress.line(&format!("done again, for it failed: {why}"));
        }
    }
    let stores = prepared.stores_kept();
    let outcome = experiment::run(experiment, prepared, &mut progress);
    let tell_kept = || {
        for store in stores.iter().filter(|store| store.exists()) {
            let line = format!("kept: {}", store.display());
            if is_json { out::error(&line) } else { out::line(&line) }
        }
    };
    let outcome = outcome.inspect_err(|_| tell_kept())?;
    if is_json {
        let rows: Vec<_> = outcome.stored.rows().collect();
        out::line(&serde_json::to_string_pretty(&rows)?);
        let warnings = distrust::warnings(&outcome.stored);
        warnings.iter().for_each(|what| out::error(&format!("warning: {what}")));
    } else {
        table::show(&outcome.stored, &experiment.dir);
    }
    tell_kept();
    failed(&outcome.failures)?;
    valid(&outcome.stored)
}

/// An error if a run is not to be believed.
fn valid(stored: &Stored) -> Result<()> {
    let invalid = stored.invalid();
    let Some((run, why)) = invalid.first() else { return Ok(()) };
    let what = match invalid.len() {
        1 => format!("the run of {run} is invalid: {why}"),
        many => {
            format!("{many} of {} runs are invalid; the first, {run}: {why}", stored.runs.len())
        }
    };
    Err(Ended { code: INVALID, what }.into())
}

/// The error of an experiment in which these runs failed.
fn failed(failures: &[String]) -> Result<()> {
    if failures.is_empty() { Ok(()) } else { bail!("{}", experiment::first_of(failures)) }
}

/// The experiment in a directory that more is to be written to.
fn stored(dir: &Path) -> Result<Stored> {
    if !Note::exists(dir) {
        let note = dir.join("experiment.json");
        return Err(usage(format!(
            "{} holds no experiment ({} is missing): give a directory that `run` wrote its results to, as results/quick",
            dir.display(),
            note.display()
        )));
    }
    let stored = Stored::read(dir).map_err(|error| usage(format!("{error:#}")))?;
    guard::check_writable(dir)?;
    Ok(stored)
}

fn report(dir: &Path) -> Result<()> {
    let stored = stored(dir)?;
    check_whole(&stored, dir)?;
    finish(&stored, dir)?;
    table::show(&stored, dir);
    let unfinished = stored.unfinished();
    if !unfinished.is_empty() {
        let runs = stored.note.runs.len().max(stored.runs.len());
        let what = format!("{} of {runs} runs did not finish", unfinished.len());
        return Err(Ended { code: INCOMPLETE, what }.into());
    }
    failed(&stored.failures())?;
    valid(&stored)
}

/// What is made again from runs must not take the place of the numbers of runs that are gone.
fn check_whole(stored: &Stored, dir: &Path) -> Result<()> {
    let summary = dir.join("summary.csv");
    let known = rows::read_rows(&summary).unwrap_or_default();
    let is_there = |id: &str| stored.runs.iter().any(|run| run.manifest.run_id == id);
    match known.iter().find(|row| !is_there(&row.run_id)) {
        None => Ok(()),
        Some(row) => Err(usage(format!(
            "{} is missing, and {} has its numbers: a report is made from runs, and would lose them",
            dir.join("runs").join(&row.run_id).display(),
            summary.display()
        ))),
    }
}

/// The kinds of plot, a line each.
fn plot_kinds() -> String {
    let line = |kind: Kind| format!("\n  {:22}{}", kind.name(), kind.about());
    format!("Kinds:{}", Kind::ALL.map(line).concat())
}

fn plot(kind: Kind, dirs: &[PathBuf]) -> Result<()> {
    for dir in dirs {
        let stored = stored(dir)?;
        let drawn = plot::draw_kind(&stored, dir, kind)?;
        if drawn.is_empty() {
            let short = plot::too_short(&stored);
            let short = match kind.is_over_time() && !short.is_empty() {
                true => format!(": {short}"),
                false => String::new(),
            };
            let (dir, needs) = (dir.display(), kind.needs());
            return Err(usage(format!("{dir}: {} needs {needs}{short}", kind.name())));
        }
        for one in drawn {
            out::line(&dir.join("plots").join(one.stem + ".png").display().to_string());
        }
    }
    Ok(())
}
