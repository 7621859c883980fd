//! What a workload file must say beyond having the right fields.

use super::SCHEMA;
use super::shape::{
    Distribution, KeyFormat, KeyOrder, Keys, Lengths, Load, LoadModel, Mix, Phase, PhaseKind, Pick,
    SizeKind, Sizes, Workload,
};
use crate::OpKind;
use crate::pick::hot_keys;

/// Values longer than this are refused: no engine here takes them.
const VALUE_BYTES_MAX: u64 = 1 << 26;
/// More keys than this cannot be numbered with room to spare for inserts of every client.
const RECORDS_MAX: u64 = 1 << 40;
/// No phase has more clients than this: each is a thread with its own histograms.
pub const THREADS_MAX: u32 = 1_024;
/// Faster than any clock here can tell one operation from the next.
const RATE_MAX: f64 = 1e8;
/// The longest that a phase with a duration may take.
const YEAR_S: f64 = 365.0 * 24.0 * 3600.0;
/// Beyond this share of what it can do a store only falls behind.
const OF_MAX_MAX: f64 = 2.0;
const PREFIX_BYTES_MAX: usize = 64;
const ZERO_PAD_MAX: u32 = 64;
/// Shares may miss a sum of 1 by what rounding of decimal fractions takes.
const MIX_SUM_ERROR_MAX: f64 = 1e-9;
/// A batch is kept in memory as a whole, with every value.
const BATCH_MAX: u32 = 10_000;
/// Longer ranges would make the ledger of one delete a measurable part of a run.
const RANGE_MAX: u32 = 1_000_000;
/// With as many digits all numbers that can be loaded, inserted or made up have the same length, so they sort as
/// numbers do.
const SORTED_DIGITS: u32 = 13;

/// A rule that is broken, and the word by which its line is found.
pub(super) struct Fault {
    /// The word in the file that the rule is about.
    pub(super) word: &'static str,
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
        check_phase(phase, &workload.keys)
            .map_err(|fault| Fault { phase: Some(index), ..fault })?;
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

fn check_phase(phase: &Phase, keys: &Keys) -> Result<(), Fault> {
    let has_operations = phase.ops.is_some()
        || !phase.mix.is_empty()
        || phase.pick.is_some()
        || phase.scan_length.is_some()
        || phase.range_length.is_some()
        || phase.batch_size.is_some()
        || phase.reinsert;
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
        PhaseKind::Run => check_run(phase, keys),
        PhaseKind::Load | PhaseKind::Settle => {
            require(
                !has_operations && phase.duration.is_none_or(|span| !span.0.is_zero()),
                "kind",
                "a load phase inserts all records: it has no ops, mix, pick, scan_length, range_length, batch_size or \
                 reinsert, and no duration of 0",
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

fn check_run(phase: &Phase, keys: &Keys) -> Result<(), Fault> {
    check_offered(phase)?;
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
    let pairs = [
        ("scan", mix.scan, "scan_length", phase.scan_length.is_some()),
        ("delete_range", mix.delete_range, "range_length", phase.range_length.is_some()),
        ("batch", mix.batch, "batch_size", phase.batch_size.is_some()),
    ];
    for (kind, share, field, is_given) in pairs {
        require(is_given == (share > 0.0), "mix", format!("{kind} and {field} go together"))?;
    }
    check_lengths("scan_length", phase.scan_length, u32::MAX)?;
    check_lengths("range_length", phase.range_length, RANGE_MAX)?;
    require(
        phase.batch_size.is_none_or(|size| (1..=BATCH_MAX).contains(&size)),
        "batch_size",
        format!("batch_size must be 1 to {BATCH_MAX}"),
    )?;
    check_deletes(phase, keys)?;
    phase.pick.map_or(Ok(()), |pick| check_pick(pick, keys))
}

/// An open loop must send something, and come to its end.
fn check_offered(phase: &Phase) -> Result<(), Fault> {
    let Some(rate) = phase.load.rate else { return Ok(()) };
    if let Some(span) = phase.duration {
        let ops = rate * span.0.as_secs_f64();
        let what = format!("a rate of {rate} for a duration of {span} is less than one operation");
        require(ops >= 1.0, "load", what)?;
    }
    if let Some(ops) = phase.ops {
        let what = format!("{ops} ops at a rate of {rate} take longer than a year");
        require(ops as f64 / rate <= YEAR_S, "load", what)?;
    }
    Ok(())
}

fn check_lengths(word: &'static str, lengths: Option<Lengths>, max: u32) -> Result<(), Fault> {
    let Some(lengths) = lengths else { return Ok(()) };
    require(
        1 <= lengths.min && lengths.min <= lengths.max,
        word,
        format!("{word} has 1 <= min <= max"),
    )?;
    require(lengths.max <= max, word, format!("{word} has a max of at most {max}"))
}

/// What must hold so that each client can keep to keys of its own, and a range of keys is one of numbers.
fn check_deletes(phase: &Phase, keys: &Keys) -> Result<(), Fault> {
    let (mix, threads) = (&phase.mix, phase.load.threads);
    let oldest = phase.pick.is_some_and(|pick| pick.dist == Distribution::Oldest);
    require(
        !phase.reinsert || (mix.deletes() && mix.insert > 0.0),
        "reinsert",
        "reinsert needs a mix that deletes and inserts",
    )?;
    require(
        !(phase.reinsert && oldest),
        "reinsert",
        "reinsert and a pick of oldest exclude each other: keys that come back are not the oldest",
    )?;
    require(
        !mix.deletes() || u64::from(threads) <= keys.records,
        "load",
        "each thread of a phase that deletes has keys of its own: threads must be at most records",
    )?;
    // Deletes that outrun the keys: then the phase could not do what it is asked for.
    if let Some(ops) = phase.ops {
        let gone = ops as f64 * (mix.delete - mix.insert);
        require(
            gone < keys.records as f64,
            "mix",
            format!(
                "{} deletes more than inserts leave nothing of {} records",
                gone as u64, keys.records
            ),
        )?;
    }
    if mix.delete_range == 0.0 {
        return Ok(());
    }
    let is_sorted = match &keys.format {
        KeyFormat::Ycsb { zero_pad, .. } => *zero_pad >= SORTED_DIGITS,
        KeyFormat::Be64 {} => true,
    };
    require(
        is_sorted && keys.order == KeyOrder::Ordered,
        "mix",
        format!(
            "delete_range needs keys that sort as their numbers: order = \"ordered\", and a format of be64 or a \
             zero_pad of {SORTED_DIGITS} or more"
        ),
    )?;
    require(
        threads == 1,
        "load",
        "a phase with delete_range has one thread: a range would hold keys of others",
    )
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

fn check_pick(pick: Pick, keys: &Keys) -> Result<(), Fault> {
    use Distribution::{Exponential, Hotspot, Latest, YcsbZipfian, Zipfian};
    let name = pick.dist.name();
    let fields = [
        ("theta", pick.theta, matches!(pick.dist, Zipfian | Latest)),
        ("hot_keys", pick.hot_keys, pick.dist == Hotspot),
        ("hot_ops", pick.hot_ops, pick.dist == Hotspot),
        ("percentile", pick.percentile, pick.dist == Exponential),
        ("frac", pick.frac, pick.dist == Exponential),
    ];
    for (field, given, is_its_own) in fields {
        let why = match pick.dist {
            YcsbZipfian if field == "theta" => ": it is 0.99 in YCSB; use zipfian for others",
            _ => "",
        };
        require(given.is_none() || is_its_own, "pick", format!("{name} has no {field}{why}"))?;
    }
    let theta = pick.theta();
    match pick.dist {
        Zipfian => require(theta.is_finite() && theta >= 0.0, "pick", "theta must be 0 or more"),
        Latest => require(
            theta > 0.0 && theta < 1.0,
            "pick",
            "theta of latest must be above 0 and below 1",
        ),
        Hotspot => check_hotspot(pick, keys.records),
        Exponential => {
            let percentile = pick.percentile();
            require(
                percentile > 0.0 && percentile < 100.0,
                "pick",
                "percentile must be above 0 and below 100",
            )?;
            let frac = pick.frac();
            require(frac > 0.0 && frac <= 1.0, "pick", "frac must be above 0 and at most 1")
        }
        _ => Ok(()),
    }
}

fn check_hotspot(pick: Pick, records: u64) -> Result<(), Fault> {
    let (keys, ops) = (pick.hot_keys(), pick.hot_ops());
    for (field, share) in [("hot_keys", keys), ("hot_ops", ops)] {
        let holds = (0.0..=1.0).contains(&share);
        require(holds, "pick", format!("{field} is {share}; it must lie from 0 to 1"))?;
    }
    let hot = hot_keys(records, keys);
    require(
        hot > 0 || ops == 0.0,
        "pick",
        format!(
            "a share of {keys} of {records} records is not one key, and {ops} of operations go there"
        ),
    )?;
    require(
        hot < records || ops == 1.0,
        "pick",
        format!("all {records} records are hot, so hot_ops must be 1 and not {ops}"),
    )
}
