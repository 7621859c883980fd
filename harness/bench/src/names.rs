//! From the names on a command line to workloads, engines and choices.

use crate::effect::BLOCKS_MAX;
use crate::plan::Step;
use crate::ratios::baselines;
use crate::registry::{engine, engines};
use crate::{Usage, out};
use anyhow::{Context, Result};
use nori_workloads::{
    Arrival, BUILT_IN, Dialect, Overrides, PhaseKind, THREADS_MAX, Workload, built_in, nearest,
};
use norikv_parts::{Choice, EngineRequest, MEMORY_BYTES_MAX, MEMORY_BYTES_MIN, Role};
use std::path::Path;

/// The name that means: load once, then YCSB A to F.
pub(crate) const SUITE: &str = "ycsb";

pub(crate) fn usage(what: impl Into<String>) -> anyhow::Error {
    anyhow::Error::new(Usage(what.into()))
}

/// The phases that a name or a path stands for.
pub(crate) fn steps(name: &str, overrides: &Overrides) -> Result<Vec<Step>> {
    if name == SUITE {
        return suite(overrides);
    }
    let workload = match built_in(name) {
        Some(file) => file.workload().map_err(|error| usage(error.to_string()))?,
        None if name.ends_with(".toml") || name.contains('/') || Path::new(name).exists() => {
            check_file(name)?;
            let text = std::fs::read_to_string(name)
                .map_err(|error| usage(format!("workload {name} cannot be read: {error}")))?;
            Workload::parse(name, &text).map_err(|error| usage(error.to_string()))?
        }
        None => {
            let known = BUILT_IN.iter().map(|file| file.name).chain([SUITE]);
            let hint = nearest(name, known).map_or_else(
                || {
                    "; `norikv-bench list workload` shows them, and a file's name ends in .toml"
                        .to_owned()
                },
                |known| format!("; did you mean `{known}`?"),
            );
            return Err(usage(format!("no workload is called `{name}`{hint}")));
        }
    };
    steps_of(workload, overrides)
}

/// Refuses what a workload cannot be read from, by what it is; what is not there is told when it is read.
fn check_file(name: &str) -> Result<()> {
    let Ok(found) = std::fs::metadata(name) else { return Ok(()) };
    let what = match (found.is_file(), found.is_dir()) {
        (true, _) => return Ok(()),
        (_, true) => "is a folder",
        _ => "is no file",
    };
    Err(usage(format!(
        "workload {name} {what}: give a workload file, or a name (`norikv-bench list workload` shows them)"
    )))
}

/// The phases of one workload.
fn steps_of(workload: Workload, overrides: &Overrides) -> Result<Vec<Step>> {
    let workload = with(workload, overrides)?;
    let phases = 0..workload.phases.len();
    let step = |phase| Step { label: workload.name.clone(), workload: workload.clone(), phase };
    Ok(phases.map(step).collect())
}

/// The phases of a property file. Notes about it go to standard error.
pub(crate) fn imported_steps(
    path: &Path,
    dialect: Dialect,
    overrides: &Overrides,
) -> Result<Vec<Step>> {
    let origin = path.display().to_string();
    let text = std::fs::read_to_string(path)
        .map_err(|error| usage(format!("property file {origin} cannot be read: {error}")))?;
    // The name becomes part of those of files.
    let stem =
        path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let name: String = stem.chars().map(plain).collect();
    let imported = Workload::import(&origin, &name, &text, dialect, overrides)
        .map_err(|error| usage(error.to_string()))?;
    imported.notes.iter().for_each(|note| out::error(&format!("note: {note}")));
    steps_of(imported.workload, overrides)
}

/// One load, then what each of YCSB's workloads runs, on the same store.
fn suite(overrides: &Overrides) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for file in BUILT_IN.iter().filter(|file| file.is_core()) {
        let workload = with(file.workload().context("a built-in workload is broken")?, overrides)?;
        for (phase, kind) in workload.phases.iter().map(|phase| phase.kind).enumerate() {
            let is_load = kind == PhaseKind::Load;
            if is_load && !steps.is_empty() {
                continue;
            }
            let label = if is_load { SUITE } else { file.name }.to_owned();
            steps.push(Step { label, workload: workload.clone(), phase });
        }
    }
    Ok(steps)
}

fn with(workload: Workload, overrides: &Overrides) -> Result<Workload> {
    workload.with(overrides).map_err(|error| usage(error.what))
}

/// An engine and the parts chosen for it.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) engine: String,
    pub(crate) choices: Vec<Choice>,
    /// Tells it from another target that is the same; else `None`.
    pub(crate) label: Option<&'static str>,
}

/// The targets that the names stand for; `all` is both rows of every engine but oracles and probes. Choices go to
/// every engine that has the seam; one that none has is an error.
pub(crate) fn targets(
    names: &[String],
    choices: &[Choice],
    memory_bytes: u64,
) -> Result<Vec<Target>> {
    for (n, (seam, part)) in choices.iter().enumerate() {
        if seam == "engine" {
            return Err(usage(format!(
                "-s engine={part}: an engine is not chosen like its parts: give --engine {part}"
            )));
        }
        if choices[..n].iter().any(|(other, _)| other == seam) {
            return Err(usage(format!("-s chooses {seam} twice")));
        }
    }
    let mut wanted: Vec<&str> = Vec::new();
    for (n, name) in names.iter().enumerate() {
        if names[..n].contains(name) {
            return Err(usage(format!(
                "--engine {name} is given twice; `norikv-bench doctor` runs an engine against itself"
            )));
        }
        if name == "all" {
            let all = engines().into_iter();
            let real = all
                .filter(|entry| !matches!(entry.role, Role::Oracle | Role::Probe | Role::Cluster));
            wanted.extend(real.map(|entry| entry.name));
        } else {
            wanted.push(engine(name).map_err(|error| usage(error.to_string()))?.name);
        }
    }
    let mut seen = Vec::new();
    wanted.retain(|name| {
        let is_new = !seen.contains(name);
        seen.push(name);
        is_new
    });
    let mut targets = Vec::new();
    let mut used = vec![false; choices.len()];
    let mut refusal = None;
    for name in wanted {
        let entry = engine(name)?;
        let mut fitting = Vec::new();
        for (choice, used) in choices.iter().zip(&mut used) {
            match entry.check(choice) {
                Ok(()) => {
                    fitting.push(choice.clone());
                    *used = true;
                }
                // Ours decides what the message says: peers have few seams.
                Err(error) if entry.role == Role::Ours => refusal = Some(error),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        targets.push(Target { engine: name.to_owned(), choices: fitting, label: None });
    }
    if let (true, Some(refusal)) = (used.contains(&false), refusal) {
        return Err(usage(refusal.to_string()));
    }
    for target in &targets {
        // Choices that each exist need not go together.
        let request = EngineRequest { memory_bytes, choices: &target.choices };
        engine(&target.engine)?.build(&request).map_err(|error| usage(error.to_string()))?;
    }
    if targets.is_empty() {
        return Err(usage("name an engine: --engine NAME (`norikv-bench list engine` shows them)"));
    }
    Ok(targets)
}

/// The targets whose maximum rates of open loops are shares of: an engine's name, and `+seam=name` for each choice.
pub(crate) fn references(steps: &[Step], memory_bytes: u64) -> Result<Vec<Target>> {
    let mut all: Vec<Target> = Vec::new();
    for name in steps.iter().filter_map(Step::reference) {
        let mut parts = name.split('+');
        let engine = parts.next().unwrap_or_default().to_owned();
        let choices = parts.map(parse_choice).collect::<Result<Vec<_>, _>>().map_err(usage)?;
        let target = targets(&[engine], &choices, memory_bytes)
            .with_context(|| format!("of = \"{name}\""))
            .map_err(|error| usage(format!("{error:#}")))?;
        all.extend(target.into_iter().filter(|one| one.name() == name));
        if all.iter().all(|known| known.name() != name) {
            return Err(usage(format!("of = \"{name}\" names no single target")));
        }
    }
    let mut seen = Vec::new();
    all.retain(|target| {
        let is_new = !seen.contains(&target.name());
        seen.push(target.name());
        is_new
    });
    Ok(all)
}

/// What the targets are compared with: what was named, or the first.
pub(crate) fn baseline(name: Option<&str>, targets: &[Target]) -> Result<String> {
    let names: Vec<String> = targets.iter().map(Target::name).collect();
    let known = baselines(&names);
    let Some(name) = name else {
        return Ok(known.into_iter().next().unwrap_or_default());
    };
    if known.iter().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    // An engine's name is enough where it is there once, whatever was chosen for all.
    let mut of_engine = targets.iter().filter(|target| target.engine == name);
    if let (Some(target), None) = (of_engine.next(), of_engine.next()) {
        return Ok(target.name());
    }
    let hint = nearest(name, known.iter().map(String::as_str));
    let hint = hint.map_or(String::new(), |known| format!("; did you mean `{known}`?"));
    Err(usage(format!("--baseline: `{name}` is not among the targets {}{hint}", known.join(", "))))
}

/// `compaction=tiered`.
pub(crate) fn parse_choice(text: &str) -> Result<Choice, String> {
    match text.split_once('=') {
        Some((seam, part)) if !seam.is_empty() && !part.is_empty() => {
            Ok((seam.to_owned(), part.to_owned()))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// A number of bytes with or without a unit: `16MiB`, `4096`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let digits =
        text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
    let (number, unit) = text.split_at(digits);
    let number: u64 = match number {
        "" => {
            return Err(parse_count(text).err().unwrap_or_else(|| format!("`{text}` is no size")));
        }
        digits => parse_count(digits)?,
    };
    let unit = match unit.trim() {
        "" | "B" => 1,
        "KiB" | "K" | "k" => 1 << 10,
        "MiB" | "M" | "m" => 1 << 20,
        "GiB" | "G" | "g" => 1 << 30,
        "TiB" | "T" | "t" => 1 << 40,
        other if other.starts_with(['.', ',']) => {
            return Err(format!("`{text}` is not a whole number of bytes, KiB, MiB, GiB or TiB"));
        }
        other => return Err(format!("`{other}` is no unit of bytes: KiB, MiB, GiB or TiB")),
    };
    number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too many bytes"))
}

/// A number of minutes, with or without a fraction. More than none, and at most a month.
pub(crate) fn parse_minutes(text: &str) -> Result<f64, String> {
    const MONTH: f64 = 31.0 * 24.0 * 60.0;
    let minutes: Option<f64> = text.parse().ok();
    let minutes = minutes.filter(|minutes| *minutes > 0.0 && *minutes <= MONTH);
    minutes.ok_or_else(|| {
        format!("`{text}` is no number of minutes that is above 0 and at most {MONTH}")
    })
}

/// A number in which `_` may stand between digits.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    digits.parse().map_err(|_| match text.strip_prefix('-') {
        Some(_) => format!("`{text}` is negative"),
        None if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            format!("`{text}` is too large")
        }
        None => format!("`{text}` is not a whole number"),
    })
}

/// Of what there is at least one.
pub(crate) fn parse_number(text: &str) -> Result<u64, String> {
    match parse_count(text)? {
        0 => Err(format!("`{text}` is not above 0")),
        count => Ok(count),
    }
}

/// A rate or a share; what a workload takes is checked with the workload.
pub(crate) fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.replace('_', "").parse::<f64>().ok().filter(|number| number.is_finite());
    match number {
        Some(number) if number > 0.0 => Ok(number),
        Some(_) => Err(format!("`{text}` is not above 0")),
        None => Err(format!("`{text}` is not a number")),
    }
}

/// `fixed` or `poisson`.
pub(crate) fn parse_arrival(text: &str) -> Result<Arrival, String> {
    let named = Arrival::ALL.into_iter().find(|arrival| arrival.name() == text);
    named.ok_or_else(|| {
        let hint = nearest(text, Arrival::ALL.map(Arrival::name));
        let hint = hint.map_or(String::new(), |name| format!("; did you mean `{name}`?"));
        format!("no arrival is called `{text}`, only `fixed` and `poisson`{hint}")
    })
}

/// A number of client threads.
pub(crate) fn parse_threads(text: &str) -> Result<u32, String> {
    let threads = parse_number(text)?;
    let fitting = u32::try_from(threads).ok().filter(|threads| *threads <= THREADS_MAX);
    fitting.ok_or_else(|| format!("`{text}` is too many: the most is {THREADS_MAX}"))
}

/// A number of blocks.
pub(crate) fn parse_blocks(text: &str) -> Result<u32, String> {
    let blocks = parse_count(text)?;
    let fitting = u32::try_from(blocks).ok().filter(|blocks| (1..=BLOCKS_MAX).contains(blocks));
    fitting.ok_or_else(|| format!("`{text}` is not from 1 to {BLOCKS_MAX}"))
}

/// Bytes of memory that engines can work with.
pub(crate) fn parse_memory(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if bytes < MEMORY_BYTES_MIN {
        return Err(format!(
            "`{text}` is too little: the smallest is {}MiB",
            MEMORY_BYTES_MIN >> 20
        ));
    }
    if bytes > MEMORY_BYTES_MAX {
        return Err(format!("`{text}` is too much: the largest is {}TiB", MEMORY_BYTES_MAX >> 40));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suite_loads_once_and_inserts_last() {
        let steps = steps(SUITE, &Overrides::default()).unwrap();
        let names: Vec<&str> = steps.iter().map(|step| step.label.as_str()).collect();
        assert_eq!(names, ["ycsb", "ycsb-a", "ycsb-b", "ycsb-c", "ycsb-f", "ycsb-d", "ycsb-e"]);
        assert_eq!(steps.iter().filter(|step| step.kind() == PhaseKind::Load).count(), 1);
    }

    #[test]
    fn misspelt_names_are_one_line_with_the_nearest_name() {
        let error = steps("ycbs-a", &Overrides::default()).unwrap_err();
        assert_eq!(error.to_string(), "no workload is called `ycbs-a`; did you mean `ycsb-a`?");
        assert!(error.is::<Usage>());
        let error = targets(&["nop".into()], &[], 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "no engine is called `nop`; did you mean `noop`?");
        let choice = ("compacton".to_owned(), "tiered".to_owned());
        let error = targets(&["noop".into()], &[choice], 1 << 20).unwrap_err();
        assert_eq!(error.to_string(), "noop has no `compacton` to choose");
        assert!(error.is::<Usage>());
    }

    #[test]
    fn an_engine_named_twice_is_refused_and_one_that_is_among_all_runs_once() {
        let named = |names: [&str; 2]| targets(&names.map(str::to_owned), &[], 16 << 20);
        let error = named(["noop", "noop"]).unwrap_err();
        assert!(
            error.is::<Usage>() && error.to_string().starts_with("--engine noop is given twice")
        );
        let all = named(["all", "nori-lsm"]).unwrap();
        assert_eq!(all.iter().filter(|target| target.engine == "nori-lsm").count(), 1);
    }

    #[test]
    fn choices_that_do_not_go_together_are_refused_before_anything_is_touched() {
        let own = |(name, part): (&str, &str)| (name.to_owned(), part.to_owned());
        let refused = |choices: &[Choice]| targets(&["nori-lsm".into()], choices, 16 << 20);
        for choices in [
            vec![own(("cache", "none")), own(("cache_bytes", "8MiB"))],
            vec![own(("memtable_bytes", "1GiB"))],
        ] {
            assert!(refused(&choices).unwrap_err().is::<Usage>(), "{choices:?}");
        }
        let both = [own(("memtable_bytes", "7MiB")), own(("memtables_sealed_max", "1"))];
        assert_eq!(refused(&both).unwrap()[0].choices.len(), 2, "neither is judged alone");
    }

    #[test]
    fn the_baseline_is_the_first_target_or_one_that_is_there() {
        let names = ["nori-lsm", "fjall", "fjall:default"].map(str::to_owned);
        let targets = targets(&names, &[], 16 << 20).unwrap();
        assert_eq!(baseline(None, &targets).unwrap(), "nori-lsm");
        assert_eq!(baseline(Some("fjall:better"), &targets).unwrap(), "fjall:better");
        let error = baseline(Some("fjal"), &targets).unwrap_err();
        assert!(
            error.is::<Usage>() && error.to_string().ends_with("did you mean `fjall`?"),
            "{error}"
        );
    }

    #[test]
    fn an_engine_that_is_there_once_is_a_baseline_by_its_name() {
        let choices = [("cache".to_owned(), "lru".to_owned())];
        let chosen = targets(&["nori-lsm".to_owned()], &choices, 16 << 20).unwrap();
        let name = baseline(Some("nori-lsm"), &chosen).unwrap();
        assert!(name != "nori-lsm" && name == chosen[0].name(), "{name}");
        let twice: Vec<Target> = chosen.into_iter().cycle().take(2).collect();
        assert!(baseline(Some("nori-lsm"), &twice).is_err());
    }

    #[test]
    fn bytes_have_units() {
        assert_eq!(parse_bytes("16MiB"), Ok(16 << 20));
        assert_eq!(parse_bytes("4_096"), Ok(4_096));
        assert!(parse_bytes("16MB").is_err() && parse_bytes("").is_err());
        assert!(parse_bytes("99999999999999GiB").is_err());
        let why = parse_bytes("1.5KiB").unwrap_err();
        assert_eq!(why, "`1.5KiB` is not a whole number of bytes, KiB, MiB, GiB or TiB");
    }

    #[test]
    fn a_number_that_is_none_is_told_why() {
        let why = |text| parse_count(text).unwrap_err();
        assert_eq!(why("abc"), "`abc` is not a whole number");
        assert_eq!(why("-5"), "`-5` is negative");
        assert_eq!(why("99999999999999999999"), "`99999999999999999999` is too large");
        assert_eq!(why("_"), "`_` is not a whole number");
        assert_eq!(parse_bytes("-5").unwrap_err(), "`-5` is negative");
        assert!(parse_threads("4294967296").is_err());
    }

    #[test]
    fn too_little_and_too_much_memory_are_refused_with_what_there_may_be() {
        assert_eq!(parse_memory("1TiB"), Ok(1 << 40));
        for text in ["2000GiB", "99999999GiB"] {
            let why = parse_memory(text).unwrap_err();
            assert_eq!(why, format!("`{text}` is too much: the largest is 1TiB"));
        }
        assert_eq!(parse_memory("0").unwrap_err(), "`0` is too little: the smallest is 1MiB");
        assert!(parse_memory("1048575").is_err());
        assert_eq!(parse_memory("1MiB"), Ok(1 << 20));
    }

    #[test]
    fn a_workload_with_one_wrong_letter_is_told_the_one_that_is_meant() {
        for (wrong, meant) in
            [("ycsb_a", "ycsb-a"), ("YCSB-B", "ycsb-b"), ("ycsb-z", "ycsb-a"), ("ycbs", "ycsb")]
        {
            let error = steps(wrong, &Overrides::default()).unwrap_err().to_string();
            assert!(error.ends_with(&format!("did you mean `{meant}`?")), "{wrong}: {error}");
        }
    }
}
