//! Commands come back, and nothing else is one.

use super::*;
use proptest::prelude::*;

fn bytes(most: usize) -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn identity() -> impl Strategy<Value = Option<Identity>> {
    let tick = || any::<u64>().prop_map(Tick);
    prop_oneof![
        Just(None),
        (tick(), bytes(IDENTITY_KEY_BYTES_MAX + 1))
            .prop_map(|(issued_at, key)| Some(Identity::Key { issued_at, key })),
        (tick(), any::<u64>(), any::<u64>()).prop_map(|(issued_at, client, sequence)| {
            Some(Identity::Session(Session { issued_at, client, sequence }))
        }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let condition = prop_oneof![
        Just(Condition::None),
        Just(Condition::Absent),
        any::<u64>().prop_map(Condition::Version),
    ];
    let value = prop::option::of((bytes(20), prop::option::of(any::<u64>().prop_map(Tick))));
    (bytes(20), condition, value).prop_map(|(key, condition, value)| Operation {
        key,
        condition,
        value,
    })
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (identity(), prop::collection::vec(operation(), 0..5))
            .prop_map(|(identity, operations)| Command::Write { identity, operations }),
        (any::<u64>(), any::<u64>())
            .prop_map(|(upto, floor)| Command::Expire { upto: Tick(upto), floor: Tick(floor) }),
    ]
}

proptest! {
    #[test]
    fn a_command_comes_back(command in command()) {
        prop_assert_eq!(Command::decode(&command.encode()), Ok(command));
    }

    #[test]
    fn what_can_be_read_is_written_in_one_way_only(bytes in bytes(60)) {
        if let Ok(command) = Command::decode(&bytes) {
            prop_assert_eq!(command.encode(), bytes);
        }
    }

    #[test]
    fn every_cut_of_a_command_and_anything_behind_it_is_none(command in command()) {
        let whole = command.encode();
        for end in 0..whole.len() {
            prop_assert!(Command::decode(&whole.slice(..end)).is_err());
        }
        let longer = [&whole[..], &[0]].concat();
        prop_assert!(Command::decode(&longer.into()).is_err());
    }
}

#[test]
fn a_version_that_is_not_known_is_named() {
    let mut bytes = Command::Expire { upto: Tick(1), floor: Tick(0) }.encode().to_vec();
    bytes[0] = 2;
    assert_eq!(Command::decode(&bytes.into()), Err(BadEntry::Version(2)));
}

/// The bytes of the examples on the format page.
#[test]
fn the_bytes_of_the_format_page_are_what_is_written() {
    let page = include_str!("../../../../docs/formats/command.md");
    let identity = Identity::Key { issued_at: Tick(1_000), key: Bytes::from_static(b"id") };
    let put = Operation::put_value("a", "1").provided(Condition::Absent);
    let operations = vec![put, Operation::delete("b").provided(Condition::Version(300))];
    let write = Command::Write { identity: Some(identity), operations };
    for command in [write, Command::Expire { upto: Tick(300), floor: Tick(1) }] {
        let hex: Vec<String> = command.encode().iter().map(|byte| format!("{byte:02x}")).collect();
        assert!(page.contains(&format!("    {}\n", hex.join(" "))), "{}", hex.join(" "));
    }
}
