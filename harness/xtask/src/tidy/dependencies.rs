//! Crates of others: which of ours may name them, and which must not be linked at all.

use super::Finding;
use super::layers::{Foreign, Table};
use super::metadata::{Metadata, Package};

pub(super) fn check(table: &Table, metadata: &Metadata) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in metadata.members() {
        for rule in &table.foreign {
            findings.extend(named(rule, package, &metadata.folder(package)));
        }
    }
    for absent in &table.absent {
        let Some(package) = metadata.packages.iter().find(|p| p.name == absent.name) else {
            continue;
        };
        let through = pulled_in_by(metadata, package);
        let what = format!("{} must not be pulled in (by {through}): {}", absent.name, absent.why);
        findings.push(Finding::new("Cargo.lock", 0, what));
    }
    findings
}

/// Dependencies that `rule` forbids this crate to name. Dev-dependencies count: tests are code too.
fn named(rule: &Foreign, package: &Package, folder: &str) -> Vec<Finding> {
    let within = |start: &String| format!("{folder}/").starts_with(start.as_str());
    let may = if rule.only_in.is_empty() {
        !rule.not_in.iter().any(within) || rule.but.contains(&package.name)
    } else {
        rule.only_in.contains(&package.name)
    };
    if may {
        return Vec::new();
    }
    let manifest = format!("{folder}/Cargo.toml");
    let dependencies = package.dependencies.iter().filter(|d| rule.names.contains(&d.name));
    dependencies
        .map(|d| {
            let what = format!("{} must not depend on {}: {}", package.name, d.name, rule.why);
            Finding::new(&manifest, 0, what)
        })
        .collect()
}

fn pulled_in_by(metadata: &Metadata, package: &Package) -> String {
    let nodes =
        metadata.resolve.nodes.iter().filter(|node| node.dependencies.contains(&package.id));
    let names = nodes.filter_map(|node| metadata.packages.iter().find(|p| p.id == node.id));
    names.map(|p| p.name.as_str()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::super::metadata::{Dependency, Metadata, Node, Package, Resolve};
    use super::{Table, check};

    const TABLE: &str = r#"
        crate = []
        [[foreign]]
        names = ["tokio"]
        not_in = ["engines/"]
        but = ["door"]
        why = "no"
        [[foreign]]
        names = ["redb"]
        only_in = ["door"]
        why = "no"
        [[absent]]
        name = "font-kit"
        why = "no"
    "#;

    fn ours(name: &str, folder: &str, dependency: &str) -> Package {
        Package {
            id: name.into(),
            name: name.into(),
            manifest_path: format!("/ws/{folder}/Cargo.toml").into(),
            dependencies: vec![Dependency {
                name: dependency.into(),
                kind: Some("dev".into()),
                ..Dependency::default()
            }],
            ..Package::default()
        }
    }

    fn found(packages: Vec<Package>) -> Vec<String> {
        let ours = packages.iter().filter(|p| !p.dependencies.is_empty());
        let nodes = packages.iter().map(|p| Node {
            id: p.id.clone(),
            dependencies: p.dependencies.iter().map(|d| d.name.clone()).collect(),
        });
        let metadata = Metadata {
            workspace_members: ours.map(|p| p.id.clone()).collect(),
            workspace_root: "/ws".into(),
            resolve: Resolve { nodes: nodes.collect() },
            packages,
        };
        let table: Table = toml::from_str(TABLE).unwrap();
        check(&table, &metadata).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_crate_may_name_what_its_folder_allows() {
        let packages =
            vec![ours("door", "engines/door", "tokio"), ours("bench", "harness/bench", "tokio")];
        assert_eq!(found(packages), Vec::<String>::new());
    }

    #[test]
    fn a_crate_may_not_name_what_its_folder_forbids() {
        let found = found(vec![
            ours("lsm", "engines/lsm", "tokio"),
            ours("bench", "harness/bench", "redb"),
        ]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("lsm must not depend on tokio"), "{found:?}");
        assert!(found[1].contains("bench must not depend on redb"), "{found:?}");
    }

    #[test]
    fn what_must_be_absent_is_found_with_who_pulls_it_in() {
        let font = Package { id: "font-kit".into(), name: "font-kit".into(), ..Package::default() };
        let found = found(vec![font, ours("plots", "harness/plots", "font-kit")]);
        assert_eq!(found, ["Cargo.lock: font-kit must not be pulled in (by plots): no"]);
    }
}
