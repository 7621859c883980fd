//! YCSB's property files, as people have them, become workloads.
//!
//! 1. Each property is read, or is known to say nothing about operations, or is refused at its line.
//! 2. What is absent has the default of the program that the file is for, even where that surprises: requests are
//!    uniform, and 95 % of the weight of a mix is reads, whatever else it names.
//! 3. What comes out is a [`Workload`] like any other: checked, and the same as the TOML that it prints.
//!
//! A property that we cannot honour is refused with the reason. Three programs read such files, each in its way:
//! [`Dialect`] says which one is meant.

mod names;

use crate::properties::{self, Property};
use crate::spec::{
    Arrival, Distribution, KeyFormat, KeyHash, KeyOrder, Keys, Lengths, Load, LoadModel, Mix,
    Overrides, Phase, PhaseKind, Pick, RecordModel, SCHEMA, SizeKind, Sizes, Span, Values,
    Workload,
};
use crate::{FileError, nearest};
use names::Meaning;
use std::str::FromStr;

/// The sample of reads that is checked where the file does not ask for all: that of our own files.
const CHECK_EVERY: u64 = 1_000;
/// What weights may miss a sum of 1 by and be taken as they are.
const SUM_ERROR_MAX: f64 = 1e-9;

/// The program whose reading of property files is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// The original, in Java.
    #[default]
    Ycsb,
    /// pingcap/go-ycsb.
    GoYcsb,
    /// ls4154/YCSB-cpp.
    YcsbCpp,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ycsb, Self::GoYcsb, Self::YcsbCpp];

    /// Its name on a command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ycsb => "ycsb",
            Self::GoYcsb => "go-ycsb",
            Self::YcsbCpp => "ycsb-cpp",
        }
    }

    fn hash(self) -> KeyHash {
        match self {
            Self::Ycsb => KeyHash::Ycsb,
            Self::GoYcsb => KeyHash::GoYcsb,
            Self::YcsbCpp => KeyHash::YcsbCpp,
        }
    }
}

impl FromStr for Dialect {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = Self::ALL.into_iter().find(|dialect| dialect.name() == text);
        named.ok_or_else(|| {
            let hint = nearest(text, Self::ALL.map(Self::name));
            let known = || format!(", only {}", Self::ALL.map(Self::name).join(", "));
            let hint = hint.map_or_else(known, |name| format!("; did you mean `{name}`?"));
            format!("no dialect is called `{text}`{hint}")
        })
    }
}

/// A workload that was a property file, and what its user should know.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The workload.
    pub workload: Workload,
    /// Sentences without their full stop.
    pub notes: Vec<String>,
}

impl Workload {
    /// Reads a property file. `origin` is what errors call it, `name` what the workload is called. What it must say and does not
    /// is taken from the `overrides`: records, and operations or length, these too if it says both; they change nothing else.
    pub fn import(
        origin: &str,
        name: &str,
        text: &str,
        dialect: Dialect,
        overrides: &Overrides,
    ) -> Result<Imported, FileError> {
        let properties = properties::parse(origin, text)?;
        let mut notes = Vec::new();
        let mut ignored = Vec::new();
        for property in &properties {
            match names::meaning(&property.key, dialect) {
                Meaning::Read => {}
                Meaning::Ignored => ignored.push(property.key.as_str()),
                Meaning::Refused(what) => {
                    return Err(FileError { origin: origin.into(), line: property.line, what });
                }
            }
        }
        if !ignored.is_empty() {
            notes.push(format!("{origin}: of other programs, ignored: {}", ignored.join(", ")));
        }
        let file = File { origin, properties: &properties, dialect, overrides };
        file.refuse_what_is_not_done()?;
        let workload = file.workload(name, &mut notes)?;
        workload.checked().map_err(|(word, what)| file.error(property_of(word, &what), what))?;
        Ok(Imported { workload, notes })
    }
}

/// The property from which a field of a workload mostly comes.
fn property_of(word: &str, what: &str) -> &'static str {
    match word {
        "load" if what.starts_with("rate") => "target",
        "records" => "recordcount",
        "max_new" | "mix" => "insertproportion",
        "format" => "zeropadding",
        "size" => "fieldlength",
        "load" => "threadcount",
        "pick" => "requestdistribution",
        "scan_length" => "maxscanlength",
        _ => "operationcount",
    }
}

/// A file that holds known properties only.
struct File<'a> {
    origin: &'a str,
    properties: &'a [Property],
    dialect: Dialect,
    overrides: &'a Overrides,
}

impl File<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let property = self.properties.iter().find(|property| property.key == key)?;
        Some(&property.value)
    }

    /// An error at the line of the property; at the first line of the file if it is absent.
    fn error(&self, key: &str, what: impl Into<String>) -> FileError {
        let property = self.properties.iter().find(|property| property.key == key);
        let line = property.map_or(1, |property| property.line);
        FileError { origin: self.origin.into(), line, what: what.into() }
    }

    fn whole(&self, key: &str, default: u64) -> Result<u64, FileError> {
        let Some(text) = self.get(key) else { return Ok(default) };
        text.parse().map_err(|_| {
            let why = match text.strip_prefix('-') {
                Some(rest) if rest.parse::<f64>().is_ok() => "is negative",
                _ => "is not a whole number",
            };
            self.error(key, format!("{key}: `{text}` {why}"))
        })
    }

    fn whole_u32(&self, key: &str, default: u32) -> Result<u32, FileError> {
        let whole = self.whole(key, default.into())?;
        whole.try_into().map_err(|_| self.error(key, format!("{key}: `{whole}` is too large")))
    }

    /// A number that is not negative.
    fn number(&self, key: &str, default: f64) -> Result<f64, FileError> {
        let Some(text) = self.get(key) else { return Ok(default) };
        let number: f64 =
            text.parse().map_err(|_| self.error(key, format!("{key}: `{text}` is no number")))?;
        if number.is_finite() && number >= 0.0 {
            return Ok(number);
        }
        let why = if number < 0.0 { "negative" } else { "not finite" };
        Err(self.error(key, format!("{key}: `{text}` is {why}")))
    }

    fn flag(&self, key: &str, default: bool) -> Result<bool, FileError> {
        match self.get(key) {
            None => Ok(default),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(self.error(key, format!("{key}: `{text}` is not true or false"))),
        }
    }

    /// One of the words; the first if the property is absent.
    fn word<'w>(&self, key: &str, words: &[&'w str]) -> Result<&'w str, FileError> {
        let Some(text) = self.get(key) else { return Ok(words[0]) };
        let known = words.iter().copied();
        known.clone().find(|word| *word == text).ok_or_else(|| {
            let hint = nearest(text, known)
                .map_or(String::new(), |name| format!("; did you mean `{name}`?"));
            let one_of = words.join(", ");
            self.error(key, format!("{key}: `{text}` is not one of {one_of}{hint}"))
        })
    }

    /// Properties that ask for something that is not done here.
    fn refuse_what_is_not_done(&self) -> Result<(), FileError> {
        let zero_only = [
            (
                "limit.ops",
                "its token bucket forgets operations that were due, an open loop here does not; give --rate for one",
            ),
            ("insertstart", "a load here begins with key number 0"),
            ("sleepafterload", "a rest after the load is not imported"),
            (
                "core_workload_insertion_retry_limit",
                "an insert that fails is an error here, and is not tried again",
            ),
        ];
        for (key, why) in zero_only {
            if self.number(key, 0.0)? != 0.0 {
                return Err(self.error(key, format!("{key}: {why}")));
            }
        }
        if self.dialect == Dialect::YcsbCpp && self.whole("target", 0)? > 0 {
            let why = "ycsb-cpp does not read it and sends as quickly as it can; leave it out, or give --rate";
            return Err(self.error("target", format!("target: {why}")));
        }
        if self.get("limit.file").is_some() {
            return Err(self.error("limit.file", "limit.file: rates that change are not imported"));
        }
        if self.whole("batch.size", 1)? > 1 {
            let why = "batches of every kind of operation are not done here; a TOML workload has `batch` for writes";
            return Err(self.error("batch.size", format!("batch.size: {why}")));
        }
        if self.number("zipfian_const", 0.99)? != 0.99 {
            let why = "a zipfian of 10^10 items has the constant 0.99 here; a TOML workload has `zipfian` with any theta";
            return Err(self.error("zipfian_const", format!("zipfian_const: {why}")));
        }
        if !self.flag("readallfields", true)? {
            let why = "a record is one value here, so all of it is read";
            return Err(self.error("readallfields", format!("readallfields: {why}")));
        }
        let workload = self.get("workload").unwrap_or("core");
        if workload != "core" && !workload.ends_with(".CoreWorkload") {
            let what = format!("workload: `{workload}` is not the core workload");
            return Err(self.error("workload", what));
        }
        Ok(())
    }

    fn workload(&self, name: &str, notes: &mut Vec<String>) -> Result<Workload, FileError> {
        let threads = if self.dialect == Dialect::GoYcsb { 200 } else { 1 };
        let threads = self.whole_u32("threadcount", threads)?;
        let load = Load::closed(threads);
        // A number that cannot be read is told before one that is missing.
        self.whole("recordcount", 0)?;
        let run = self.run_phase(self.run_load(threads, notes)?, notes)?;
        let ops = run.ops.map_or_else(|| self.whole("operationcount", 0), Ok)?;
        let max_new = ops as f64 * self.number("insertproportion", 0.0)? * 2.0;
        let load_phase = Phase {
            kind: PhaseKind::Load,
            ops: None,
            duration: None,
            mix: Mix::default(),
            pick: None,
            scan_length: None,
            range_length: None,
            batch_size: None,
            reinsert: false,
            load,
            record: true,
            timeout: None,
        };
        let warm_up = self.warm_up(&run)?;
        Ok(Workload {
            schema: SCHEMA.into(),
            name: name.into(),
            about: format!("A property file of {}", self.dialect.name()),
            keys: self.keys(max_new as u64)?,
            values: self.values()?,
            phases: [Some(load_phase), warm_up, Some(run)].into_iter().flatten().collect(),
        })
    }

    /// How operations of the run are sent. A client of YCSB with a `target` sends each at its time, evenly spaced, and those
    /// that are overdue at once: an open loop with fixed distances.
    fn run_load(&self, threads: u32, notes: &mut Vec<String>) -> Result<Load, FileError> {
        let target = self.whole("target", 0)?;
        if target == 0 {
            return Ok(Load::closed(threads));
        }
        notes.push(format!(
            "{}: target is of the run; a load is always as quick as it can be here",
            self.origin
        ));
        Ok(Load {
            model: LoadModel::Open,
            rate: Some(target as f64),
            arrival: Some(Arrival::Fixed),
            ..Load::closed(threads)
        })
    }

    /// The phase of go-ycsb's `warmuptime`: what the run does, as quickly as it can, for so many seconds that count for
    /// nothing.
    fn warm_up(&self, run: &Phase) -> Result<Option<Phase>, FileError> {
        let seconds = self.whole("warmuptime", 0)?;
        if seconds == 0 {
            return Ok(None);
        }
        let cannot = |why: &str| Err(self.error("warmuptime", format!("warmuptime: {why}")));
        if run.load.model == LoadModel::Open {
            return cannot(
                "beside a target go-ycsb makes up for the warm-up's time in the run, which is not done here; leave out one",
            );
        }
        if self.whole("maxexecutiontime", 0)? > 0 {
            return cannot(
                "beside maxexecutiontime it says nothing about how long the run is; leave out one",
            );
        }
        Ok(Some(Phase {
            ops: None,
            duration: Some(self.span("warmuptime", seconds)?),
            record: false,
            ..run.clone()
        }))
    }

    fn keys(&self, max_new: u64) -> Result<Keys, FileError> {
        let records = match (self.whole("recordcount", 0)?, self.overrides.records) {
            (0, None) => {
                let what = "recordcount is missing or 0: add it, or give --records";
                return Err(self.error("recordcount", what));
            }
            (0, Some(records)) => records,
            (records, _) => records,
        };
        let loaded = self.whole("insertcount", records)?;
        if loaded != records {
            let what =
                format!("insertcount: {loaded} of {records} records cannot be loaded alone here");
            return Err(self.error("insertcount", what));
        }
        let order = match self.word("insertorder", &["hashed", "ordered"])? {
            "ordered" => KeyOrder::Ordered,
            _ => KeyOrder::Hashed,
        };
        let prefix = self.get("keyprefix").unwrap_or("user").to_owned();
        let zero_pad = self.whole_u32("zeropadding", 1)?;
        let format = KeyFormat::Ycsb { prefix, zero_pad };
        Ok(Keys { records, max_new, order, format, hash: self.dialect.hash() })
    }

    fn values(&self) -> Result<Values, FileError> {
        let (count, length) = (self.whole("fieldcount", 10)?, self.whole("fieldlength", 100)?);
        let key = match self.dialect {
            Dialect::YcsbCpp => "field_len_dist",
            _ => "fieldlengthdistribution",
        };
        let size = match self.word(key, &["constant", "uniform", "zipfian", "histogram"])? {
            "constant" => {
                let bytes = count.checked_mul(length);
                let bytes = bytes.ok_or_else(|| {
                    self.error("fieldlength", "fieldcount x fieldlength is too large")
                })?;
                Sizes { dist: SizeKind::Constant, bytes: Some(bytes), min: None, max: None }
            }
            "uniform" if count == 1 => {
                let min = self.whole("minfieldlength", 1)?;
                Sizes { dist: SizeKind::Uniform, bytes: None, min: Some(min), max: Some(length) }
            }
            "uniform" => {
                let why = "a record is one value here, and the sum of several uniform lengths is not uniform";
                return Err(self.error(key, format!("{key}: {why}")));
            }
            other => {
                return Err(
                    self.error(key, format!("{key}: lengths that are {other} are not done here"))
                );
            }
        };
        let check_every = if self.flag("dataintegrity", false)? { 1 } else { CHECK_EVERY };
        Ok(Values { record: RecordModel::Blob, size, check_every })
    }

    fn run_phase(&self, load: Load, notes: &mut Vec<String>) -> Result<Phase, FileError> {
        let (ops, seconds) = (self.whole("operationcount", 0)?, self.whole("maxexecutiontime", 0)?);
        let is_told = self.overrides.ops.is_some() || self.overrides.duration.is_some();
        let (ops, duration) = match (ops, seconds) {
            // With both the file does not say how the run ends, no more than with none.
            (0, 0) | (1.., 1..) if is_told => (self.overrides.ops, self.overrides.duration),
            (0, 0) => {
                let what = "operationcount is missing or 0, and so is maxexecutiontime: add one, or give --ops or --duration";
                return Err(self.error("operationcount", what));
            }
            (ops, 0) => (Some(ops), None),
            (0, seconds) => (None, Some(self.span("maxexecutiontime", seconds)?)),
            _ => {
                let what = "maxexecutiontime: a phase here ends by operations or by time, not by whichever is first; \
                            leave out one, or settle it with --ops or --duration";
                return Err(self.error("maxexecutiontime", what));
            }
        };
        let mix = self.mix(notes)?;
        let scan_length = if mix.scan > 0.0 { Some(self.scan_length()?) } else { None };
        Ok(Phase {
            kind: PhaseKind::Run,
            ops,
            duration,
            mix,
            pick: Some(self.pick(mix.insert > 0.0)?),
            scan_length,
            range_length: None,
            batch_size: None,
            reinsert: false,
            load,
            record: true,
            timeout: None,
        })
    }

    fn span(&self, key: &str, seconds: u64) -> Result<Span, FileError> {
        let text = format!("{seconds}s");
        text.parse().map_err(|why| self.error(key, format!("{key}: {why}")))
    }

    fn mix(&self, notes: &mut Vec<String>) -> Result<Mix, FileError> {
        let mut mix = Mix {
            read: self.number("readproportion", 0.95)?,
            update: self.number("updateproportion", 0.05)?,
            insert: self.number("insertproportion", 0.0)?,
            scan: self.number("scanproportion", 0.0)?,
            rmw: self.number("readmodifywriteproportion", 0.0)?,
            delete: self.number("deleteproportion", 0.0)?,
            ..Mix::default()
        };
        let sum: f64 = mix.shares().iter().map(|(_, weight)| weight).sum();
        if sum == 0.0 {
            return Err(self.error("readproportion", "every proportion is 0"));
        }
        if (sum - 1.0).abs() > SUM_ERROR_MAX {
            let defaults = [("readproportion", 0.95), ("updateproportion", 0.05)];
            let absent = defaults.iter().filter(|(key, _)| self.get(key).is_none());
            let absent: Vec<String> =
                absent.map(|(key, default)| format!(", with {key}={default} by default")).collect();
            notes.push(format!(
                "{}: proportions sum to {sum}{}; they are weights, as in YCSB",
                self.origin,
                absent.join("")
            ));
            let shares = [
                &mut mix.read,
                &mut mix.update,
                &mut mix.insert,
                &mut mix.scan,
                &mut mix.rmw,
                &mut mix.delete,
            ];
            shares.into_iter().for_each(|share| *share /= sum);
        }
        if mix.update + mix.rmw > 0.0 && !self.flag("writeallfields", false)? {
            notes.push(format!(
                "{}: a record is one value here: an update writes all of it, as with writeallfields=true",
                self.origin
            ));
        }
        Ok(mix)
    }

    fn scan_length(&self) -> Result<Lengths, FileError> {
        if self.word("scanlengthdistribution", &["uniform", "zipfian"])? != "uniform" {
            let what = "scanlengthdistribution: lengths that are zipfian are not done here";
            return Err(self.error("scanlengthdistribution", what));
        }
        let (min, max) =
            (self.whole_u32("minscanlength", 1)?, self.whole_u32("maxscanlength", 1_000)?);
        Ok(Lengths { min, max })
    }

    fn pick(&self, inserts: bool) -> Result<Pick, FileError> {
        const WORDS: [&str; 6] =
            ["uniform", "zipfian", "latest", "hotspot", "sequential", "exponential"];
        let words = if self.dialect == Dialect::YcsbCpp { &WORDS[..3] } else { &WORDS[..] };
        let given = |key: &str, default: f64| {
            self.number(key, default).map(|number| self.get(key).map(|_| number))
        };
        Ok(match self.word("requestdistribution", words)? {
            // Uniform over what was loaded, in all dialects. Where nothing is inserted that is all there is.
            "uniform" if inserts => {
                Pick { hot_keys: Some(1.0), hot_ops: Some(1.0), ..Pick::of(Distribution::Hotspot) }
            }
            "uniform" => Pick::of(Distribution::Uniform),
            "zipfian" => Pick::of(Distribution::YcsbZipfian),
            "latest" => Pick::of(Distribution::Latest),
            "hotspot" => Pick {
                hot_keys: given("hotspotdatafraction", 0.2)?,
                hot_ops: given("hotspotopnfraction", 0.8)?,
                ..Pick::of(Distribution::Hotspot)
            },
            "sequential" => Pick::of(Distribution::Sequential),
            _ => Pick {
                percentile: given("exponential.percentile", 95.0)?,
                frac: given("exponential.frac", 0.857_142_857_1)?,
                ..Pick::of(Distribution::Exponential)
            },
        })
    }
}

#[cfg(test)]
mod tests;
