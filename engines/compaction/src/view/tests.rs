//! Spans with an end inside and with an end outside.

use super::*;

fn span(min: &str, max: &str) -> KeySpan {
    KeySpan::closed(min.as_bytes(), max.as_bytes())
}

fn open(min: &str, max: &str) -> KeySpan {
    KeySpan { max_excluded: true, ..span(min, max) }
}

#[test]
fn an_excluded_end_does_not_touch_its_neighbour() {
    assert!(open("a", "c").is_before(&span("c", "d")));
    assert!(!span("a", "c").is_before(&span("c", "d")));
    assert!(!open("a", "c").overlaps(&span("c", "d")));
    assert!(open("a", "c").overlaps(&span("b", "d")));
    assert!(!open("a", "c").contains(b"c") && span("a", "c").contains(b"c"));
}

#[test]
fn a_hull_ends_with_the_longer_end() {
    assert_eq!(open("a", "c").hull(&span("b", "c")), span("a", "c"));
    assert_eq!(span("b", "c").hull(&open("a", "c")), span("a", "c"));
    assert_eq!(span("b", "c").hull(&open("a", "d")), open("a", "d"));
    assert_eq!(hull_of([]), None);
}

#[test]
fn covering_minds_the_end() {
    assert!(span("a", "c").covers(&open("a", "c")) && !open("a", "c").covers(&span("a", "c")));
    assert!(open("a", "c").covers(&span("a", "b")));
    let range = KeyRange::between(b"a", b"c");
    assert!(open("a", "c").is_within(&range) && !span("a", "c").is_within(&range));
    assert!(span("a", "z").is_within(&KeyRange::all()));
}

#[test]
fn overlapping_tables_of_a_run_are_neighbours() {
    let tables = [span("a", "c"), open("d", "f"), span("f", "h"), span("k", "k")];
    let tables = tables.into_iter().zip(1..);
    let tables = tables.map(|(keys, id)| Arc::new(TableStats::new(TableId(id), keys, 1, 1)));
    let run = RunView { id: RunId(1), tables: tables.collect() };
    let ids = |keys: KeySpan| run.overlapping(&keys).iter().map(|t| t.id.0).collect::<Vec<_>>();
    assert_eq!(ids(span("b", "f")), [1, 2, 3]);
    assert_eq!(ids(span("f", "f")), [3]);
    assert_eq!(ids(open("c1", "d")), [0; 0]);
    assert_eq!(ids(span("i", "z")), [4]);
    assert_eq!(ids(span("z", "z")), [0; 0]);
}
