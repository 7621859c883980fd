//! Every Rust file says what it is on its first line, and no source file outgrows a reader.

use super::Finding;
use super::source::Source;

/// Lines a source file may have. Half of it is the aim; past this it holds two things.
const LINES_MAX: usize = 600;

/// Endings of files that people write and read.
const CODE: [&str; 8] = [".rs", ".ts", ".js", ".svelte", ".py", ".go", ".java", ".sh"];

pub(super) fn check(tree: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in tree.iter().filter(|file| !is_generated(&file.path)) {
        if file.is_rust() && !file.text.starts_with("//!") {
            findings.push(Finding::new(&file.path, 1, "does not open with `//!`: say what it is"));
        }
        let lines = file.text.lines().count();
        if lines > LINES_MAX && CODE.iter().any(|ending| file.path.ends_with(ending)) {
            let what = format!("{lines} lines; at most {LINES_MAX}: split it by role");
            findings.push(Finding::new(&file.path, 0, what));
        }
    }
    findings
}

/// Code that a program wrote is not held to rules for people.
pub(super) fn is_generated(path: &str) -> bool {
    path.split('/').any(|folder| matches!(folder, "gen" | "_gen" | "dist" | "generated"))
}

#[cfg(test)]
mod tests {
    use super::{Source, check};

    #[test]
    fn a_file_without_a_header_is_found() {
        let found = check(&[Source::new("a.rs", "// no\n"), Source::new("b.rs", "//! yes\n")]);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].file, "a.rs");
    }

    #[test]
    fn a_long_file_is_found_unless_a_program_wrote_it() {
        let text = format!("//! x\n{}", "\n".repeat(600));
        let file = |path: &str| Source::new(path, &text);
        let found = check(&[file("a.rs"), file("sdks/go/gen/a.go"), file("table.csv")]);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("601 lines"), "{}", found[0]);
    }
}
