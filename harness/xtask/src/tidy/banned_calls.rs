//! One door to the world: in `engines/` and `consensus/` only the doors name files, clocks, threads,
//! sleep and entropy.
//!
//! 1. Take the code without comments and literals, tests included: a test that sleeps is no promise.
//! 2. Spell out every `use`, so that `use std::{fs, io}` is seen as `std::fs`.
//! 3. Look for each banned path as a run of whole words joined by `::`.
//!
//! A use that is right where it stands is an exception in `tidy.toml`, with its file and its reason;
//! an exception that nothing needs is a finding too.

use super::Finding;
use super::rules::{Exception, Rules};
use super::source::Source;

/// What must not be named, and what to use.
const BANNED: [(&str, &str); 21] = [
    ("std::fs", "nori_env::Fs"),
    ("os::unix::fs", "nori_env::Fs"),
    ("rustix::fs", "nori_env::Fs"),
    ("memmap2", "nori_env::Segment"),
    ("Instant::now", "nori_env::Clock"),
    ("SystemTime::now", "nori_env::Clock"),
    ("UNIX_EPOCH", "nori_env::Clock"),
    ("thread::spawn", "nori_env::Tasks"),
    ("thread::scope", "nori_env::Tasks"),
    ("thread::Builder", "nori_env::Tasks"),
    ("thread::sleep", "nori_env::Tasks::wait"),
    ("thread::park", "nori_env::Tasks::wait"),
    ("thread::park_timeout", "nori_env::Tasks::wait"),
    ("Condvar", "nori_env::Signal"),
    ("std::net", "a message that the caller carries"),
    ("rand", "nori_env::Entropy"),
    ("getrandom", "nori_env::Entropy"),
    ("fastrand", "nori_env::Entropy"),
    ("RandomState", "nori_env::Entropy"),
    ("rayon", "nori_env::Tasks"),
    ("tokio", "nori_env::Tasks"),
];

pub(super) fn check(rust: &[&Source], rules: &Rules) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; rules.exception.len()];
    for file in rust.iter().filter(|file| is_bound(&file.path, &rules.doors)) {
        for (line, call, instead) in uses(&file.code) {
            let excuses = |e: &Exception| e.file == file.path && e.call == call;
            if let Some(at) = rules.exception.iter().position(excuses) {
                used[at] = true;
                continue;
            }
            let what = format!("{call} is for nori-env alone here; use {instead}");
            findings.push(Finding::new(&file.path, line, what));
        }
    }
    for (exception, used) in rules.exception.iter().zip(used) {
        let wrong = match (used, exception.reason.trim().is_empty()) {
            (true, false) => continue,
            (false, _) => "nothing needs it any more",
            (true, true) => "it gives no reason",
        };
        let what = format!("exception for {} in {}: {wrong}", exception.call, exception.file);
        findings.push(Finding::new("harness/xtask/tidy.toml", 0, what));
    }
    findings
}

fn is_bound(path: &str, doors: &[String]) -> bool {
    let inside = path.starts_with("engines/") || path.starts_with("consensus/");
    inside && !doors.iter().any(|door| path.starts_with(door.as_str()))
}

/// Every banned path: its line, the path, and what to use instead.
fn uses(code: &str) -> Vec<(usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (line, path) in paths(code) {
        for (call, instead) in BANNED {
            if names(&path, call) && !found.contains(&(line, call, instead)) {
                found.push((line, call, instead));
            }
        }
    }
    found
}

/// Whether `call` is a run of whole segments of `path`. A crate's name counts only in front, where
/// it is a crate and not somebody's variable or method.
fn names(path: &[String], call: &str) -> bool {
    let call: Vec<&str> = call.split("::").collect();
    let is_crate = call.len() == 1 && call[0].starts_with(char::is_lowercase);
    if is_crate {
        return path.len() > 1 && path[0] == call[0];
    }
    path.windows(call.len()).any(|run| run.iter().zip(&call).all(|(a, b)| a == b))
}

/// Every path in the code with its line; `use` trees are spelled out.
fn paths(code: &str) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    // Paths that are open at each depth of `{`; only inside a `use` do they carry a prefix.
    let mut open: Vec<Vec<String>> = Vec::new();
    let mut path: Vec<String> = Vec::new();
    let (mut in_use, mut joined) = (false, false);
    let mut finish = |line: usize, path: &mut Vec<String>, open: &[Vec<String>]| {
        if !path.is_empty() {
            let prefix = open.last().cloned().unwrap_or_default();
            found.push((line, prefix.into_iter().chain(path.drain(..)).collect()));
        }
    };
    // What an opaque type captures (`impl Trait + use<'_>`) is no import.
    let code = code.replace("use<", "captures<");
    for (at, line) in code.lines().enumerate() {
        for token in tokens(line) {
            match token {
                "::" => joined = true,
                "{" if in_use => {
                    let prefix = open.last().cloned().unwrap_or_default();
                    open.push(prefix.into_iter().chain(path.drain(..)).collect());
                    joined = false;
                }
                "}" if in_use => {
                    finish(at + 1, &mut path, &open);
                    open.pop();
                    joined = false;
                }
                word if word.starts_with(|c: char| c.is_alphanumeric() || c == '_') => {
                    if !joined {
                        finish(at + 1, &mut path, &open);
                    }
                    joined = false;
                    in_use |= word == "use";
                    path.push(word.to_owned());
                    if matches!(word, "use" | "as" | "pub") {
                        path.clear();
                    }
                }
                other => {
                    finish(at + 1, &mut path, &open);
                    joined = false;
                    if other == ";" {
                        in_use = false;
                        open.clear();
                    }
                }
            }
        }
    }
    finish(code.lines().count(), &mut path, &open);
    found
}

/// Words, `::`, and every other character alone.
fn tokens(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        let (token, after) = rest.split_at(length);
        found.push(token);
        rest = after.trim_start();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::rules::{Exception, Rules};
    use super::{Source, check, uses};

    fn calls(code: &str) -> Vec<(usize, &'static str)> {
        uses(code).into_iter().map(|(line, call, _)| (line, call)).collect()
    }

    #[test]
    fn a_banned_path_is_found_however_it_is_imported() {
        assert_eq!(calls("fn f() {\n    std::fs::read(p);\n}"), [(2, "std::fs")]);
        assert_eq!(calls("use std::{\n    io,\n    fs,\n};"), [(3, "std::fs")]);
        assert_eq!(calls("use std::{fs::{self, File}, io};"), [(1, "std::fs")]);
        assert_eq!(calls("use std::{sync::{Arc, Condvar}, thread};"), [(1, "Condvar")]);
        assert_eq!(calls("let t = Instant::now();"), [(1, "Instant::now")]);
        assert_eq!(calls("use tokio::sync;"), [(1, "tokio")]);
    }

    #[test]
    fn likenesses_are_not_found() {
        for code in [
            "let rand = 3; x.rand(rand)",
            "use nori_env::{Clock, fs};",
            "my_std::fs_like();",
            "use std::{io, thread}; use crate::fs;",
            "let instant = Instant::nowhere();",
            "fn f() -> impl Trait + use<'_> { 1 }\nfn g() -> Instant { now }",
        ] {
            assert_eq!(calls(code), [], "{code}");
        }
    }

    fn found(path: &str, text: &str, exception: Vec<Exception>) -> Vec<String> {
        let file = Source::new(path, text);
        let rules = Rules { doors: vec!["engines/env/".into()], exception, ..Rules::default() };
        check(&[&file], &rules).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn only_the_doors_and_the_harness_may() {
        let text = "use std::fs;";
        assert_eq!(found("engines/lsm/src/lib.rs", text, Vec::new()).len(), 1);
        assert_eq!(found("consensus/raft/src/lib.rs", text, Vec::new()).len(), 1);
        assert!(found("engines/env/src/os.rs", text, Vec::new()).is_empty());
        assert!(found("harness/bench/src/main.rs", text, Vec::new()).is_empty());
    }

    #[test]
    fn an_exception_excuses_its_file_and_must_be_needed_and_reasoned() {
        let excuse = |file: &str, reason: &str| {
            vec![Exception { file: file.into(), call: "std::fs".into(), reason: reason.into() }]
        };
        let path = "engines/lsm/src/lib.rs";
        assert!(found(path, "use std::fs;", excuse(path, "it must")).is_empty());
        assert_eq!(found(path, "use std::fs;", excuse(path, " ")).len(), 1);
        assert_eq!(found(path, "use std::fs;", excuse("engines/lsm/src/x.rs", "no")).len(), 2);
        assert_eq!(found(path, "use std::io;", excuse(path, "no more")).len(), 1);
    }
}
