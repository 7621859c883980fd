//! Functions fit on a screen. Those that do not are on a list that can only shrink.
//!
//! A line of `long-functions.txt` is `path function lines`. A function longer than the rule that is not
//! listed, or longer than its listed length, is a finding; so is a listed one that has become shorter,
//! until the list is shrunk. There is no command that adds to the list.

use super::Finding;
use super::headers::is_generated;
use super::source::Source;
use anyhow::{Context, Result};
use std::collections::BTreeMap;

/// Lines from `fn` to the closing brace.
const LINES_MAX: usize = 70;

/// The longest function of each path and name.
pub(super) type Lengths = BTreeMap<(String, String), usize>;

/// Reads the list of offenders.
pub(super) fn parse_list(text: &str) -> Result<Lengths> {
    let mut list = Lengths::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [path, name, lines] = words[..] else { anyhow::bail!("long-functions.txt: {line}") };
        let lines = lines.parse().with_context(|| format!("long-functions.txt: {line}"))?;
        list.insert((path.to_owned(), name.to_owned()), lines);
    }
    Ok(list)
}

/// Writes the list of offenders.
pub(super) fn list_text(list: &Lengths) -> String {
    list.iter().map(|((path, name), lines)| format!("{path} {name} {lines}\n")).collect()
}

/// Every function over the limit.
pub(super) fn long(rust: &[&Source]) -> Lengths {
    let mut long = Lengths::new();
    for file in rust.iter().filter(|file| !is_generated(&file.path)) {
        for function in functions(&file.code) {
            if function.lines > LINES_MAX {
                let longest = long.entry((file.path.clone(), function.name)).or_default();
                *longest = function.lines.max(*longest);
            }
        }
    }
    long
}

/// The list without what is mended, and with what is shorter at its new length.
pub(super) fn shrunk(list: &Lengths, long: &Lengths) -> Lengths {
    let still = list.iter().filter_map(|(key, allowed)| {
        let now = long.get(key)?;
        Some((key.clone(), *now.min(allowed)))
    });
    still.collect()
}

pub(super) fn check(list: &Lengths, long: &Lengths) -> Vec<Finding> {
    let mut findings = Vec::new();
    for ((path, name), lines) in long {
        let allowed = list.get(&(path.clone(), name.clone())).copied().unwrap_or(LINES_MAX);
        if *lines > allowed {
            let what = format!("fn {name} has {lines} lines; at most {allowed}");
            findings.push(Finding::new(path, 0, what));
        }
    }
    for ((path, name), allowed) in list {
        let now = long.get(&(path.clone(), name.clone())).copied().unwrap_or_default();
        if now < *allowed {
            let what = format!(
                "fn {name} is shorter than its entry in long-functions.txt: run `cargo xtask tidy --ratchet`"
            );
            findings.push(Finding::new(path, 0, what));
        }
    }
    findings
}

struct Function {
    name: String,
    lines: usize,
}

/// Every function with a body, nested ones too, from code without comments and literals.
fn functions(code: &str) -> Vec<Function> {
    let bytes = code.as_bytes();
    let starts = code.match_indices("fn ").map(|(at, _)| at);
    let starts = starts.filter(|at| *at == 0 || !is_word(bytes[at - 1]));
    let mut found = Vec::new();
    for at in starts {
        let rest = &code[at + 3..];
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        if name.is_empty() {
            continue;
        }
        if let Some(end) = body_end(&bytes[at..]) {
            let lines = 1 + bytes[at..at + end].iter().filter(|byte| **byte == b'\n').count();
            found.push(Function { name, lines });
        }
    }
    found
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Where the body that follows a signature ends; none if the signature ends in `;`.
fn body_end(code: &[u8]) -> Option<usize> {
    let (mut brackets, mut braces) = (0_i64, 0_i64);
    for (at, byte) in code.iter().enumerate() {
        match byte {
            b'(' | b'[' => brackets += 1,
            b')' | b']' => brackets -= 1,
            b';' if brackets == 0 && braces == 0 => return None,
            b'{' => braces += 1,
            b'}' => {
                braces -= 1;
                if braces == 0 && brackets == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Lengths, Source, check, functions, list_text, long, parse_list, shrunk};

    fn lengths(rows: &[(&str, usize)]) -> Lengths {
        rows.iter().map(|(name, lines)| (("a.rs".to_owned(), (*name).to_owned()), *lines)).collect()
    }

    #[test]
    fn lengths_run_from_fn_to_the_closing_brace() {
        let code = "impl X {\n  pub fn one(a: [u8; 4]) -> u8\n  where\n    A: B,\n  {\n    a\n  }\n  fn two();\n}\nfn three() {}\n";
        let found: Vec<_> = functions(code).into_iter().map(|f| (f.name, f.lines)).collect();
        assert_eq!(found, [("one".to_owned(), 6), ("three".to_owned(), 1)]);
    }

    #[test]
    fn a_function_pointer_is_no_function() {
        assert!(functions("struct S { f: fn (u8) -> u8 }").is_empty());
    }

    #[test]
    fn a_new_long_function_is_found() {
        let file = Source::new("a.rs", &format!("fn f() {{{}}}\n", "\n".repeat(70)));
        let found = check(&Lengths::new(), &long(&[&file]));
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("71 lines; at most 70"), "{}", found[0]);
    }

    #[test]
    fn a_listed_function_may_not_grow_and_its_entry_may_not_go_stale() {
        let list = lengths(&[("f", 90), ("g", 80)]);
        assert!(check(&list, &list).is_empty());
        assert_eq!(check(&list, &lengths(&[("f", 91), ("g", 80)])).len(), 1);
        assert_eq!(check(&list, &lengths(&[("f", 89)])).len(), 2);
    }

    #[test]
    fn the_list_only_shrinks() {
        let list = lengths(&[("f", 90), ("g", 80)]);
        let now = lengths(&[("f", 75), ("h", 200)]);
        assert_eq!(shrunk(&list, &now), lengths(&[("f", 75)]));
        assert_eq!(shrunk(&list, &lengths(&[("f", 95)])), lengths(&[("f", 90)]));
    }

    #[test]
    fn the_list_reads_back_as_it_was_written() {
        let list = lengths(&[("f", 90), ("g", 80)]);
        assert_eq!(parse_list(&list_text(&list)).unwrap(), list);
        assert!(parse_list("a.rs f many").is_err());
    }
}
