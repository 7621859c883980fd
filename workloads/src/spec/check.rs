//! What a workload file must say beyond having the right fields.

use super::SCHEMA;
use super::shape::{
    Distribution, KeyFormat, Load, LoadModel, Mix, Phase, PhaseKind, Pick, SizeKind, Sizes,
    Workload,
};
use crate::OpKind;

/// Values longer than this are refused: no engine here takes them.
const VALUE_BYTES_MAX: u64 = 1 << 26;
/// More keys than this cannot be numbered with room to spare for inserts of every client.
const RECORDS_MAX: u64 = 1 << 40;
const THREADS_MAX: u32 = 1_024;
/// Faster than any clock here can tell one operation from the next.
const RATE_MAX: f64 = 1e8;
/// Beyond this share of what it can do a store only falls behind.
const OF_MAX_MAX: f64 = 2.0;
const PREFIX_BYTES_MAX: usize = 64;
const ZERO_PAD_MAX: u32 = 64;
/// Shares may miss a sum of 1 by what rounding of decimal fractions takes.
const MIX_SUM_ERROR_MAX: f64 = 1e-9;

/// A rule that is broken, and the word by which its line is found.
pub(super) struct Fault {
    /// The word in the file that the rule is about.
    word: &'static str,
    /// Which of the `[[phase]]` tables it is in, if any.
    phase: Option<usize>,
    pub(super) what: String,
}

impl Fault {
    fn new(word: &'static str, what: impl Into<String>) -> Self {
        Self { word, phase: None, what: what.into() }
    }

    /// Where in the text the word is; the start of its table if the word is what lacks.
    pub(super) fn offset(&self, text: &str) -> usize {
        let table = match self.phase {
            Some(index) => {
                text.match_indices("[[phase]]").nth(index).map_or(0, |(offset, _)| offset)
            }
            None => 0,
        };
        // A word of the next phase is not this one's.
        let end = self.phase.and_then(|index| text.match_indices("[[phase]]").nth(index + 1));
        let rest = &text[table..end.map_or(text.len(), |(offset, _)| offset)];
        let mut offset = table;
        for line in rest.split_inclusive('\n') {
            let key = line.trim_start().trim_start_matches('[');
            if key.starts_with(self.word)
                && !key[self.word.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_')
            {
                return offset;
            }
            offset += line.len();
        }
        table
    }
}

fn require(holds: bool, word: &'static str, what: impl Into<String>) -> Result<(), Fault> {
    if holds { Ok(()) } else { Err(Fault::new(word, what)) }
}

/// Checks the whole workload.
pub(super) fn check(workload: &Workload) -> Result<(), Fault> {
    let schema = &workload.schema;
    require(schema == SCHEMA, "schema", format!("schema `{schema}` is not `{SCHEMA}`"))?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    require(
        !workload.name.is_empty() && workload.name.chars().all(plain),
        "name",
        "name must be letters, digits, `-`, `_` and `.`: it becomes part of file names",
    )?;
    let keys = &workload.keys;
    require(
        (1..=RECORDS_MAX).contains(&keys.records),
        "records",
        format!("records must be 1 to {RECORDS_MAX}"),
    )?;
    require(
        keys.max_new <= RECORDS_MAX,
        "max_new",
        format!("max_new must be at most {RECORDS_MAX}"),
    )?;
    if let KeyFormat::Ycsb { prefix, zero_pad } = &keys.format {
        require(
            prefix.len() <= PREFIX_BYTES_MAX && *zero_pad <= ZERO_PAD_MAX,
            "format",
            format!(
                "prefix has at most {PREFIX_BYTES_MAX} bytes, zero_pad is at most {ZERO_PAD_MAX}"
            ),
        )?;
    }
    check_sizes(workload.values.size)?;
    require(!workload.phases.is_empty(), "phase", "a workload has at least one [[phase]]")?;
    for (index, phase) in workload.phases.iter().enumerate() {
        check_phase(phase).map_err(|fault| Fault { phase: Some(index), ..fault })?;
    }
    Ok(())
}

fn check_sizes(sizes: Sizes) -> Result<(), Fault> {
    let (shortest, longest) = match (sizes.dist, sizes.bytes, sizes.min, sizes.max) {
        (SizeKind::Constant, Some(bytes), None, None) => (bytes, bytes),
        (SizeKind::Uniform, None, Some(min), Some(max)) if min <= max => (min, max),
        (SizeKind::Constant, ..) => {
            return Err(Fault::new("size", "a constant size has `bytes` and nothing else"));
        }
        (SizeKind::Uniform, ..) => {
            return Err(Fault::new("size", "a uniform size has `min` and `max`, min <= max"));
        }
    };
    require(
        shortest >= 1 && longest <= VALUE_BYTES_MAX,
        "size",
        format!("values have 1 to {VALUE_BYTES_MAX} bytes"),
    )
}

fn check_phase(phase: &Phase) -> Result<(), Fault> {
    let has_operations = phase.ops.is_some()
        || !phase.mix.is_empty()
        || phase.pick.is_some()
        || phase.scan_length.is_some();
    if phase.kind == PhaseKind::Settle {
        require(
            !has_operations && phase.duration.is_none() && phase.load.is_none() && phase.record,
            "kind",
            "a settle phase has a timeout and nothing else",
        )?;
        let is_never = phase.timeout.is_some_and(|span| span.0.is_zero());
        return require(!is_never, "timeout", "timeout must be above 0");
    }
    require(phase.timeout.is_none(), "timeout", "timeout is for settle phases")?;
    check_load(&phase.load)?;
    match phase.kind {
        PhaseKind::Run => check_run(phase),
        PhaseKind::Load | PhaseKind::Settle => {
            require(
                !has_operations && phase.duration.is_none_or(|span| !span.0.is_zero()),
                "kind",
                "a load phase inserts all records: it has no ops, mix, pick or scan_length, and no duration of 0",
            )?;
            let is_closed = phase.load.model == LoadModel::Closed;
            require(
                is_closed,
                "load",
                "a load phase is a closed loop: it loads as quickly as it can",
            )?;
            require(phase.record, "record", "a load phase is always recorded")
        }
    }
}

fn check_load(load: &Load) -> Result<(), Fault> {
    require(
        (1..=THREADS_MAX).contains(&load.threads),
        "load",
        format!("threads must be 1 to {THREADS_MAX}; load and run phases have a load"),
    )?;
    require(
        load.of.is_none() || load.of_max.is_some(),
        "load",
        "`of` names the target of an of_max: give that, too",
    )?;
    match (load.model, load.rate, load.of_max) {
        (LoadModel::Closed, None, None) => require(
            load.arrival.is_none(),
            "load",
            "a closed loop has no arrival: the store decides when it sends",
        ),
        (LoadModel::Closed, ..) => Err(Fault::new(
            "load",
            "a closed loop has no rate and no of_max; write model = \"open\"",
        )),
        (LoadModel::Open, Some(rate), None) => require(
            rate > 0.0 && rate <= RATE_MAX,
            "load",
            format!("rate must be above 0 and at most {RATE_MAX}"),
        ),
        (LoadModel::Open, None, Some(share)) => require(
            share > 0.0 && share <= OF_MAX_MAX,
            "load",
            format!("of_max must be above 0 and at most {OF_MAX_MAX}"),
        ),
        (LoadModel::Open, ..) => Err(Fault::new("load", "an open loop has either rate or of_max")),
    }
}

fn check_run(phase: &Phase) -> Result<(), Fault> {
    match (phase.ops, phase.duration) {
        (Some(ops), None) => require(ops > 0, "ops", "ops must be above 0")?,
        (None, Some(span)) => require(!span.0.is_zero(), "duration", "duration must be above 0")?,
        _ => return Err(Fault::new("kind", "a run phase has either ops or duration")),
    }
    let mix = &phase.mix;
    check_mix(mix)?;
    let names_keys =
        mix.shares().iter().any(|(kind, share)| *kind != OpKind::Insert && *share > 0.0);
    require(phase.pick.is_some() || !names_keys, "kind", "this mix needs a pick")?;
    require(
        phase.scan_length.is_some() == (mix.scan > 0.0),
        "mix",
        "scan and scan_length go together",
    )?;
    if let Some(lengths) = phase.scan_length {
        require(
            1 <= lengths.min && lengths.min <= lengths.max,
            "scan_length",
            "scan_length has 1 <= min <= max",
        )?;
    }
    phase.pick.map_or(Ok(()), check_pick)
}

fn check_mix(mix: &Mix) -> Result<(), Fault> {
    require(!mix.is_empty(), "mix", "a run phase has a mix")?;
    for (kind, share) in mix.shares() {
        let (name, fits) = (kind.name(), (0.0..=1.0).contains(&share));
        require(fits, "mix", format!("the share of {name} is {share}; it must lie from 0 to 1"))?;
    }
    let sum: f64 = mix.shares().iter().map(|(_, share)| share).sum();
    require(
        (sum - 1.0).abs() <= MIX_SUM_ERROR_MAX,
        "mix",
        format!("the shares of the mix sum to {}, not to 1", rounded(sum)),
    )
}

/// A number to nine digits after the point, without the zeros at its end.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

fn check_pick(pick: Pick) -> Result<(), Fault> {
    let Some(theta) = pick.theta else { return Ok(()) };
    let (holds, what) = match pick.dist {
        Distribution::Uniform => (false, "uniform has no theta"),
        Distribution::YcsbZipfian => {
            (false, "ycsb_zipfian has no theta: it is 0.99 in YCSB; use zipfian for others")
        }
        Distribution::Zipfian => (theta.is_finite() && theta >= 0.0, "theta must be 0 or more"),
        Distribution::Latest => {
            (theta > 0.0 && theta < 1.0, "theta of latest must be above 0 and below 1")
        }
    };
    require(holds, "pick", what)
}
