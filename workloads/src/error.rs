//! What is wrong with a workload file, in one line: file, line, what, and the nearest known name. Of a field whose name none in its
//! own table is like, the nearest in the other tables is told. What a number must be is said in words, not as a type.

use crate::spec::{Keys, Load, Phase, Pick, Values};
use serde::de::DeserializeOwned;

/// A workload file that cannot be used. Mend the file; nothing else helps.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}: {what}")]
pub struct FileError {
    /// The path or name under which the text was given.
    pub origin: String,
    /// Counted from 1.
    pub line: usize,
    /// A sentence without its full stop.
    pub what: String,
}

impl FileError {
    /// An error about the line that holds the byte `offset` of `text`.
    pub(crate) fn at(origin: &str, text: &str, offset: usize, what: String) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
        Self { origin: origin.into(), line, what }
    }

    pub(crate) fn from_toml(origin: &str, text: &str, error: &toml::de::Error) -> Self {
        let message = plain(&error.message().lines().collect::<Vec<_>>().join("; "));
        let what = match suggestion(&message) {
            Some(meant) => format!("{}; did you mean {meant}?", message_head(&message)),
            None => message,
        };
        Self::at(origin, text, error.span().map_or(0, |span| span.start), what)
    }
}

/// A serde message in the words of files: theirs have no types.
fn plain(message: &str) -> String {
    const WORDS: [(&str, &str); 3] = [
        (", expected u64", ", expected a whole number, 0 or more"),
        (", expected u32", ", expected a whole number from 0 to 4294967295"),
        (", expected f64", ", expected a number"),
    ];
    let message = message.replace("` as i128", "`").replace("` as u128", "`");
    if let Some((head, _)) = message.split_once(", expected struct ") {
        return format!("{head}, expected a table");
    }
    let typed = WORDS
        .into_iter()
        .find_map(|(typed, words)| message.strip_suffix(typed).map(|head| head.to_owned() + words));
    typed.unwrap_or(message)
}

/// The part of a serde message before its list of names: the list is long, the nearest name is not.
fn message_head(message: &str) -> &str {
    message.split(", expected").next().unwrap_or(message)
}

/// The name that a serde message does not know, and those that it does: of "unknown field `x`, expected one of `a`, `b`"
/// `x`, `a` and `b`.
fn unknown(message: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let (head, tail) = message.split_once(", expected")?;
    let wrong = head.strip_prefix("unknown ")?.split('`').nth(1)?;
    Some((wrong, tail.split('`').skip(1).step_by(2)))
}

/// The nearest of the names that the message knows to the one that it does not; else of a field the nearest of other tables, and of which.
fn suggestion(message: &str) -> Option<String> {
    let (wrong, known) = unknown(message)?;
    if let Some(name) = nearest(wrong, known) {
        return Some(format!("`{name}`"));
    }
    if !message.starts_with("unknown field") {
        return None;
    }
    let others = [
        ("[keys]", fields::<Keys>()),
        ("[values]", fields::<Values>()),
        ("a [[phase]]", fields::<Phase>()),
        ("the load of a [[phase]]", fields::<Load>()),
        ("the pick of a [[phase]]", fields::<Pick>()),
    ];
    let names = others.iter().flat_map(|(_, names)| names).map(String::as_str);
    let name = nearest(wrong, names)?;
    let (table, _) = others.iter().find(|(_, names)| names.iter().any(|known| known == name))?;
    Some(format!("`{name}`, of {table}"))
}

/// The fields of a table, by what its parser says of one that it does not know.
fn fields<T: DeserializeOwned>() -> Vec<String> {
    let Err(error) = toml::from_str::<T>("no-field = 0") else { return Vec::new() };
    let known = unknown(error.message()).map(|(_, known)| known.map(str::to_owned).collect());
    known.unwrap_or_default()
}

/// The name most like `wrong`, if one is like it at all: the one that the fewest slips lead to, where a capital letter
/// is none and neither is `_` for `-`; of several the one that is most alike, of those the first.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace('_', "-");
    let wrong = plain(wrong);
    let likeness = |name: &'a str| {
        let known = plain(name);
        let slips = strsim::osa_distance(&wrong, &known);
        let score = strsim::jaro_winkler(&wrong, &known)
            .max(strsim::normalized_damerau_levenshtein(&wrong, &known));
        (slips <= 1 || score > 0.7).then_some((slips, score, name))
    };
    let alike = names.into_iter().filter_map(likeness);
    alike.min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1))).map(|(.., name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_offered_and_a_wild_one_gets_none() {
        let names = ["uniform", "zipfian", "ycsb_zipfian", "latest"];
        assert_eq!(nearest("zipfan", names), Some("zipfian"));
        assert_eq!(nearest("latst", names), Some("latest"));
        assert_eq!(nearest("qqqq", names), None);
        assert_eq!(nearest("YCSB-Zipfian", names), Some("ycsb_zipfian"));
    }

    fn told(text: &str) -> String {
        crate::Workload::parse("w", text).unwrap_err().to_string()
    }

    #[test]
    fn a_field_in_the_wrong_table_is_told_the_right_one() {
        for (text, meant) in [
            (
                "[load]\nmodel = \"closed\"",
                "w:1: unknown field `load`; did you mean `load`, of a [[phase]]?",
            ),
            (
                "[laod]\nmodel = \"closed\"",
                "w:1: unknown field `laod`; did you mean `load`, of a [[phase]]?",
            ),
            (
                "name = \"x\"\nrecord = 5",
                "w:2: unknown field `record`; did you mean `record`, of [values]?",
            ),
            (
                "[[phase]]\nthreads = 5",
                "w:2: unknown field `threads`; did you mean `threads`, of the load of a [[phase]]?",
            ),
            (
                "[[phase]]\nthet = 0.5",
                "w:2: unknown field `thet`; did you mean `theta`, of the pick of a [[phase]]?",
            ),
            ("[kyes]\nrecords = 5", "w:1: unknown field `kyes`; did you mean `keys`?"),
        ] {
            assert_eq!(told(text), meant);
        }
        assert!(told("qqqq = 1").contains("unknown field `qqqq`, expected one of `schema`"));
    }

    #[test]
    fn a_number_that_cannot_be_is_told_what_is_wanted_in_words() {
        for (text, wanted) in [
            ("[keys]\nrecords = -1", "integer `-1`, expected a whole number, 0 or more"),
            ("[keys]\nrecords = 1.5", "floating point `1.5`, expected a whole number, 0 or more"),
            (
                "[keys]\nrecords = 99999999999999999999",
                "`99999999999999999999`, expected a whole number, 0 or more",
            ),
            ("[[phase]]\nbatch_size = -1", "expected a whole number from 0 to 4294967295"),
            ("[[phase]]\nmix = { read = \"x\" }", "string \"x\", expected a number"),
            ("[[phase]]\npick = 3", "integer `3`, expected a table"),
            ("[[phase]]\nduration = 5", "integer `5`, expected a string"),
        ] {
            let error = told(text);
            assert!(error.starts_with("w:2: invalid ") && error.ends_with(wanted), "{error}");
        }
    }

    #[test]
    fn a_common_beginning_does_not_outweigh_fewer_slips() {
        let names = ["ycsb-a", "ycsb-b", "ycsb"];
        assert_eq!(nearest("ycsb_b", names), Some("ycsb-b"));
        assert_eq!(nearest("ycsb-z", names), Some("ycsb-a"));
        assert_eq!(nearest("ycbs", names), Some("ycsb"));
    }
}
