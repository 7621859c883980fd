//! Features that plant bugs are asked for by name or not at all: no default turns them on, and no dependency does.

use super::Finding;
use super::metadata::{Metadata, Package};
use std::collections::BTreeSet;

pub(super) fn check(planted: &[String], metadata: &Metadata) -> Vec<Finding> {
    let planted: BTreeSet<&str> = planted.iter().map(String::as_str).collect();
    metadata
        .members()
        .flat_map(|package| of(&planted, package, &metadata.folder(package)))
        .collect()
}

fn of(planted: &BTreeSet<&str>, package: &Package, folder: &str) -> Vec<Finding> {
    let manifest = format!("{folder}/Cargo.toml");
    let mut findings = Vec::new();
    // `name/feature` and `name?/feature` turn on another crate's.
    let feature = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let (mut seen, mut todo) = (BTreeSet::new(), vec!["default".to_owned()]);
    while let Some(name) = todo.pop() {
        if planted.contains(feature(&name).as_str()) {
            findings.push(Finding::new(&manifest, 0, format!("`{name}` is on by default")));
        } else if seen.insert(name.clone()) {
            todo.extend(package.features.get(&name).cloned().unwrap_or_default());
        }
    }
    for dependency in &package.dependencies {
        for name in dependency.features.iter().filter(|name| planted.contains(name.as_str())) {
            let what = format!("the dependency on {} turns on `{name}`", dependency.name);
            findings.push(Finding::new(&manifest, 0, what));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::metadata::{Dependency, Package};
    use super::of;
    use std::collections::BTreeSet;

    fn found(features: &[(&str, &[&str])], of_dependency: &[&str]) -> Vec<String> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let package = Package {
            features: features.iter().map(|(name, on)| ((*name).to_owned(), owned(on))).collect(),
            dependencies: vec![Dependency {
                name: "raft".to_owned(),
                features: owned(of_dependency),
                ..Dependency::default()
            }],
            ..Package::default()
        };
        let planted = BTreeSet::from(["mutants"]);
        of(&planted, &package, "sim").into_iter().map(|finding| finding.to_string()).collect()
    }

    #[test]
    fn a_feature_that_must_be_asked_for_is_found_where_nobody_asks() {
        assert_eq!(found(&[("mutants", &["raft/mutants"]), ("default", &[])], &["std"]), [""; 0]);
        let on = "sim/Cargo.toml: `raft/mutants` is on by default";
        assert_eq!(found(&[("default", &["all"]), ("all", &["raft/mutants"])], &[]), [on]);
        let by = "sim/Cargo.toml: the dependency on raft turns on `mutants`";
        assert_eq!(found(&[], &["mutants"]), [by]);
    }
}
