//! Every Rust file is compiled by somebody: it is a target's root or a `mod` of a file that is reached.
//!
//! 1. Start from the roots that cargo names, and those that are said to be built apart.
//! 2. Follow each `mod name;` to `name.rs` in the file's own folder: beside a root, or in the folder
//!    with a module's name. `name/mod.rs` is refused: the house form is `name.rs` beside `name/`.
//! 3. Follow each `include!("path")` likewise.
//! 4. What is left over is dead.

use super::Finding;
use super::metadata::Metadata;
use super::source::Source;
use std::collections::{BTreeMap, BTreeSet};

pub(super) fn check(rust: &[&Source], apart: &[String], metadata: &Metadata) -> Vec<Finding> {
    let targets = metadata.members().flat_map(|package| &package.targets);
    let roots = targets.map(|target| metadata.relative(&target.src_path));
    let roots: Vec<String> = roots.chain(apart.iter().cloned()).collect();
    unreached(rust, &roots)
}

fn unreached(rust: &[&Source], roots: &[String]) -> Vec<Finding> {
    let files: BTreeMap<&str, &Source> =
        rust.iter().map(|file| (file.path.as_str(), *file)).collect();
    let mut reached: BTreeSet<String> = BTreeSet::new();
    let mut todo: Vec<(String, String)> =
        roots.iter().map(|root| (root.clone(), folder_of(root).to_owned())).collect();
    while let Some((path, folder)) = todo.pop() {
        let Some(file) = files.get(path.as_str()) else { continue };
        if !reached.insert(path.clone()) {
            continue;
        }
        for name in modules(&file.code) {
            todo.push((format!("{folder}/{name}.rs"), format!("{folder}/{name}")));
        }
        for name in included(&file.text) {
            todo.push((format!("{}/{name}", folder_of(&path)), folder.clone()));
        }
    }
    let mut findings = Vec::new();
    for path in files.keys() {
        if path.ends_with("/mod.rs") {
            findings.push(Finding::new(path, 0, "rename to the form `name.rs` beside `name/`"));
        } else if !reached.contains(*path) {
            findings.push(Finding::new(path, 0, "dead file: no target and no `mod` reaches it"));
        }
    }
    findings
}

fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// Names in `mod name;`.
fn modules(code: &str) -> Vec<String> {
    let words = code.replace(';', " ; ");
    let words: Vec<&str> = words.split_whitespace().collect();
    let triples = words.windows(3).filter(|triple| triple[0] == "mod" && triple[2] == ";");
    triples.map(|triple| triple[1].trim_start_matches("r#").to_owned()).collect()
}

/// Paths in `include!("path")`.
fn included(text: &str) -> Vec<String> {
    let starts = text.split("include!(\"").skip(1);
    starts.filter_map(|rest| rest.split_once('"')).map(|(path, _)| path.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::{Source, unreached};

    fn dead(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<Source> = files.iter().map(|(path, text)| Source::new(path, text)).collect();
        let files: Vec<&Source> = files.iter().collect();
        unreached(&files, &["a/src/lib.rs".to_owned()]).into_iter().map(|f| f.file).collect()
    }

    #[test]
    fn modules_are_followed_into_their_folders() {
        let files = [
            ("a/src/lib.rs", "mod one;\npub mod two ;"),
            ("a/src/one.rs", "#[cfg(test)]\nmod tests;"),
            ("a/src/one/tests.rs", ""),
            ("a/src/two.rs", "include!(\"more.rs\");"),
            ("a/src/more.rs", ""),
        ];
        assert_eq!(dead(&files), Vec::<String>::new());
    }

    #[test]
    fn a_file_that_only_a_comment_names_is_dead() {
        let files = [("a/src/lib.rs", "// mod tiered;\nmod m { }"), ("a/src/tiered.rs", "")];
        assert_eq!(dead(&files), ["a/src/tiered.rs"]);
    }

    #[test]
    fn the_other_module_form_is_refused() {
        let files = [("a/src/lib.rs", "mod one;"), ("a/src/one/mod.rs", "")];
        assert_eq!(dead(&files), ["a/src/one/mod.rs"]);
    }
}
