//! What the project must not contain: paths of one machine, hosts of package registries, and words
//! about how it was made instead of what it is.
//!
//! The words stand here in pieces, so that this file passes its own check. Lock files name hosts by
//! their nature and are left out.

use super::Finding;
use super::source::Source;

/// A phrase in pieces. Found as whole words; the case must match only where `exact` says so.
struct Phrase {
    pieces: &'static [&'static str],
    exact: bool,
}

const fn phrase(pieces: &'static [&'static str]) -> Phrase {
    Phrase { pieces, exact: false }
}

const fn exact(pieces: &'static [&'static str]) -> Phrase {
    Phrase { pieces, exact: true }
}

const PHRASES: &[Phrase] = &[
    // Folders of the machine this was written on.
    phrase(&["/wo", "rk/"]),
    phrase(&["/ro", "ot/"]),
    phrase(&["/ho", "me/"]),
    phrase(&["/tm", "p/bash"]),
    phrase(&["/tm", "p/brief"]),
    phrase(&["shared/", "anchors"]),
    phrase(&["shared/", "design"]),
    phrase(&["anchors", "/harness.md"]),
    phrase(&["anchors", "/engine-numbers.md"]),
    phrase(&["anchors", "/lsm.md"]),
    phrase(&["anchors", "/style.md"]),
    phrase(&["anchors", "/consensus.md"]),
    phrase(&["anchors", "/ecosystem.md"]),
    // Hosts of package registries.
    phrase(&["crates", ".io"]),
    phrase(&["npm", "js.org"]),
    phrase(&["npm", "js.com"]),
    phrase(&["py", "pi.org"]),
    phrase(&["python", "hosted.org"]),
    phrase(&["proxy.go", "lang.org"]),
    phrase(&["sum.go", "lang.org"]),
    phrase(&["maven", ".org"]),
    phrase(&["maven", ".apache.org/maven2"]),
    phrase(&["deb.deb", "ian.org"]),
    // Words about the work instead of the thing.
    exact(&["Cl", "aude"]),
    phrase(&["anth", "ropic"]),
    phrase(&["open", "ai"]),
    phrase(&["chat", "gpt"]),
    exact(&["L", "LM"]),
    exact(&["L", "LMs"]),
    phrase(&["language ", "model"]),
    phrase(&["ai-", "generated"]),
    phrase(&["ai ", "assistant"]),
    phrase(&["coding ", "agent"]),
    phrase(&["helper ", "session"]),
    phrase(&["session ", "transcript"]),
    phrase(&["this ", "session"]),
    phrase(&["previous ", "session"]),
    phrase(&["another ", "session"]),
    phrase(&["the brief ", "says"]),
    phrase(&["as requested in the ", "issue"]),
    phrase(&["co-authored", "-by"]),
    phrase(&["before-", "stop"]),
    // Work that is not done.
    exact(&["FIX", "ME"]),
    exact(&["TO", "DO"]),
    exact(&["XX", "X"]),
];

pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let phrases: Vec<(String, bool)> = PHRASES
        .iter()
        .map(|phrase| (phrase.pieces.concat(), phrase.exact))
        .map(|(text, exact)| (if exact { text } else { text.to_lowercase() }, exact))
        .collect();
    let mut findings = Vec::new();
    for file in tree.iter().filter(|file| !is_lock(&file.path)) {
        for (at, line) in file.text.lines().enumerate() {
            let lower = line.to_lowercase();
            for (phrase, exact) in &phrases {
                if contains(if *exact { line } else { &lower }, phrase) {
                    let what = format!("contains '{phrase}': take it out");
                    findings.push(Finding::new(&file.path, at + 1, what));
                }
            }
        }
    }
    findings
}

fn is_lock(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".lock") || matches!(name, "package-lock.json" | "go.sum")
}

/// Whether `phrase` stands in `line` as whole words. A phrase that starts with `/` is the start of an
/// absolute path: no word, dot or other folder stands before it.
fn contains(line: &str, phrase: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(phrase).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + phrase.len()..].chars().next();
        let goes_on = |c: char| {
            is_word(c) || (phrase.starts_with('/') && matches!(c, '.' | '-' | '}' | ')' | '*'))
        };
        let starts = !before.is_some_and(goes_on);
        let ends = phrase.ends_with('/') || after.is_none_or(|c| !is_word(c));
        starts && (ends || phrase.starts_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    fn lines(text: &str) -> Vec<usize> {
        check(&[Source::new("docs/a.md", text)]).into_iter().map(|f| f.line).collect()
    }

    #[test]
    fn a_path_of_one_machine_is_found_and_a_relative_one_is_not() {
        let path = ["/wo", "rk/"].concat();
        let text = format!("see {path}x\nsee target{path}x and a.{path}x");
        assert_eq!(lines(&text), [1]);
    }

    #[test]
    fn words_match_whole_and_some_only_in_their_own_case() {
        let word = ["L", "LM"].concat();
        assert_eq!(lines(&format!("an {word}\nan {}\nx{word}y", word.to_lowercase())), [1]);
        let host = ["Crates", ".IO"].concat();
        assert_eq!(lines(&format!("from {host}\nfrom my{host}")), [1]);
    }

    #[test]
    fn a_lock_file_may_name_hosts() {
        let host = ["crates", ".io"].concat();
        assert!(check(&[Source::new("Cargo.lock", &host)]).is_empty());
    }
}
