//! What is wrong with a workload file, in one line: file, line, what, and the nearest known name.

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
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let what = match suggestion(&message) {
            Some(name) => format!("{}; did you mean `{name}`?", message_head(&message)),
            None => message,
        };
        Self::at(origin, text, error.span().map_or(0, |span| span.start), what)
    }
}

/// The part of a serde message before its list of names: the list is long, the nearest name is not.
fn message_head(message: &str) -> &str {
    message.split(", expected").next().unwrap_or(message)
}

/// For "unknown field `x`, expected one of `a`, `b`": the nearest of `a`, `b` to `x`.
fn suggestion(message: &str) -> Option<&str> {
    let (head, tail) = message.split_once(", expected")?;
    let wrong = head.strip_prefix("unknown ")?.split('`').nth(1)?;
    nearest(wrong, tail.split('`').skip(1).step_by(2))
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

    #[test]
    fn a_common_beginning_does_not_outweigh_fewer_slips() {
        let names = ["ycsb-a", "ycsb-b", "ycsb"];
        assert_eq!(nearest("ycsb_b", names), Some("ycsb-b"));
        assert_eq!(nearest("ycsb-z", names), Some("ycsb-a"));
        assert_eq!(nearest("ycbs", names), Some("ycsb"));
    }
}
