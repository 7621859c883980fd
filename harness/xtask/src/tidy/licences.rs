//! Every dependency comes under a licence that the project may use.
//!
//! An SPDX expression holds if its tree of `OR` and `AND` holds over the allow list. `OR` binds loosest,
//! then `AND`, then `WITH`; the old form `A/B` is read as `A OR B`.

use super::Finding;
use super::metadata::Metadata;

pub(super) fn check(allowed: &[String], metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &metadata.packages {
        let what = match (&package.license, &package.license_file) {
            (Some(text), _) if holds(text, allowed) => continue,
            (Some(text), _) => format!("comes under '{text}'"),
            (None, Some(file)) => format!("states its licence only in {file}"),
            (None, None) => "states no licence".to_owned(),
        };
        let what = format!(
            "{} {} {what}: not in the list of harness/xtask/tidy.toml",
            package.name, package.version
        );
        findings.push(Finding::new("Cargo.lock", 0, what));
    }
    findings
}

/// Whether an expression can be met with allowed licences alone. A malformed one cannot.
fn holds(text: &str, allowed: &[String]) -> bool {
    let text = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut parser = Parser { words: &words, at: 0, allowed };
    parser.either() == Some(true) && parser.at == words.len()
}

struct Parser<'a> {
    words: &'a [&'a str],
    /// `at <= words.len()`: what is before it has been read.
    at: usize,
    allowed: &'a [String],
}

impl Parser<'_> {
    fn take(&mut self, word: &str) -> bool {
        let is_next = self.words.get(self.at).is_some_and(|next| next.eq_ignore_ascii_case(word));
        self.at += usize::from(is_next);
        is_next
    }

    fn either(&mut self) -> Option<bool> {
        let mut holds = self.both()?;
        while self.take("OR") {
            holds |= self.both()?;
        }
        Some(holds)
    }

    fn both(&mut self) -> Option<bool> {
        let mut holds = self.one()?;
        while self.take("AND") {
            holds &= self.one()?;
        }
        Some(holds)
    }

    fn one(&mut self) -> Option<bool> {
        if self.take("(") {
            let holds = self.either()?;
            return self.take(")").then_some(holds);
        }
        let mut name = (*self.words.get(self.at)?).to_owned();
        self.at += 1;
        if self.take("WITH") {
            name = format!("{name} WITH {}", self.words.get(self.at)?);
            self.at += 1;
        }
        Some(self.allowed.contains(&name))
    }
}

#[cfg(test)]
mod tests {
    use super::holds;

    fn allowed() -> Vec<String> {
        ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC"].map(str::to_owned).to_vec()
    }

    #[test]
    fn one_allowed_side_of_an_or_is_enough() {
        assert!(holds("MIT OR GPL-3.0", &allowed()));
        assert!(holds("GPL-3.0/MIT", &allowed()));
        assert!(!holds("GPL-3.0 OR AGPL-3.0", &allowed()));
    }

    #[test]
    fn an_and_needs_both_sides() {
        assert!(holds("(MIT OR GPL-3.0) AND ISC", &allowed()));
        assert!(!holds("MIT AND GPL-3.0", &allowed()));
    }

    #[test]
    fn an_exception_is_part_of_the_name() {
        assert!(holds("Apache-2.0 WITH LLVM-exception", &allowed()));
        assert!(!holds("Apache-2.0 WITH other-exception", &allowed()));
    }

    #[test]
    fn a_malformed_expression_does_not_hold() {
        for text in ["", "MIT OR", "(MIT", "MIT ISC", "MIT)"] {
            assert!(!holds(text, &allowed()), "{text}");
        }
    }
}
