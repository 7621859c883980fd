//! The layer check on small made-up workspaces.

use super::super::metadata::{Dependency, Metadata, Package};
use super::{Table, check};

const TABLE: &str = r#"
    [[crate]]
    name = "low"
    folder = "engines/low"
    layer = 0
    [[crate]]
    name = "mid"
    folder = "engines/mid"
    layer = 1
    [[crate]]
    name = "peer"
    folder = "engines/peer"
    layer = 1
    [[crate]]
    name = "top"
    folder = "harness/top"
    layer = 2
    knows_no = ["engines/"]
    but = ["mid"]
"#;

/// A crate in its folder with dependencies written as `name` or `dev:name`.
fn package(name: &str, folder: &str, dependencies: &[&str]) -> Package {
    let dependencies = dependencies
        .iter()
        .map(|text| match text.split_once(':') {
            Some((kind, name)) => {
                Dependency { name: name.into(), kind: Some(kind.into()), ..Dependency::default() }
            }
            None => Dependency { name: (*text).into(), ..Dependency::default() },
        })
        .collect();
    Package {
        id: name.into(),
        name: name.into(),
        manifest_path: format!("/ws/{folder}/Cargo.toml").into(),
        dependencies,
        ..Package::default()
    }
}

fn found(packages: Vec<Package>) -> Vec<String> {
    let metadata = Metadata {
        workspace_members: packages.iter().map(|p| p.id.clone()).collect(),
        workspace_root: "/ws".into(),
        packages,
        ..Metadata::default()
    };
    let table: Table = toml::from_str(TABLE).unwrap();
    check(&table, &metadata).iter().map(ToString::to_string).collect()
}

#[test]
fn arrows_that_point_down_pass() {
    let low = package("low", "engines/low", &[]);
    let mid = package("mid", "engines/mid", &["low", "dev:peer"]);
    let peer = package("peer", "engines/peer", &["serde"]);
    assert_eq!(found(vec![low, mid, peer]), Vec::<String>::new());
}

#[test]
fn an_arrow_up_or_sideways_is_found() {
    let low = package("low", "engines/low", &["mid"]);
    let mid = package("mid", "engines/mid", &["peer"]);
    let peer = package("peer", "engines/peer", &[]);
    let found = found(vec![low, mid, peer]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("low (layer 0) depends on mid (layer 1)"), "{found:?}");
    assert!(found[1].contains("mid (layer 1) depends on peer (layer 1)"), "{found:?}");
}

#[test]
fn a_dev_dependency_may_not_go_up() {
    let found = found(vec![
        package("low", "engines/low", &["dev:mid"]),
        package("mid", "engines/mid", &[]),
    ]);
    assert_eq!(found.len(), 1, "{found:?}");
}

#[test]
fn a_crate_outside_the_table_or_its_folder_is_found() {
    let found =
        found(vec![package("stray", "engines/stray", &[]), package("low", "engines/lo", &[])]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("stray is not in"), "{found:?}");
    assert!(found[1].contains("low belongs in engines/low"), "{found:?}");
}

#[test]
fn what_a_crate_must_not_know_is_found_through_others() {
    let found = found(vec![
        package("low", "engines/low", &[]),
        package("mid", "engines/mid", &["low"]),
        package("top", "harness/top", &["mid"]),
    ]);
    assert_eq!(found, ["harness/top/Cargo.toml: top must not know low, not even through others"]);
}

#[test]
fn the_real_table_names_each_crate_and_folder_once() {
    let table: Table = toml::from_str(include_str!("../../../layers.toml")).unwrap();
    let mut names: Vec<&str> = table.crates.iter().map(|row| row.name.as_str()).collect();
    let mut folders: Vec<&str> = table.crates.iter().map(|row| row.folder.as_str()).collect();
    for list in [&mut names, &mut folders] {
        let rows = list.len();
        list.sort_unstable();
        list.dedup();
        assert_eq!(list.len(), rows);
    }
    for foreign in &table.foreign {
        assert_ne!(foreign.only_in.is_empty(), foreign.not_in.is_empty(), "{:?}", foreign.names);
    }
}
