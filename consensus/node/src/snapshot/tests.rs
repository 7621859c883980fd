//! Notes come back; nothing leads out of the folder.

use super::*;
use proptest::prelude::*;

fn offer() -> Offer {
    Offer {
        through: LogId::new(3, 900),
        membership: Bytes::from_static(b"members"),
        message: Bytes::from_static(b"message"),
        files: vec![("one.table".to_owned(), 300), ("empty".to_owned(), 0), ("two".to_owned(), 5)],
    }
}

#[test]
fn notes_come_back_and_every_cut_is_none() {
    let whats = [
        What::Offer(offer()),
        What::Wants(300),
        What::Piece(128, Bytes::from_static(b"piece")),
        What::Refused,
    ];
    for what in whats {
        let has_end = !matches!(what, What::Piece(..));
        let note = Note { shard: ShardId(300), transfer: TransferId(1 << 40), what };
        let bytes = Bytes::from(note.encode());
        assert_eq!(Note::decode(&bytes), Some(note));
        for end in 0..if has_end { bytes.len() } else { 8 } {
            assert_eq!(Note::decode(&bytes.slice(..end)), None, "cut at {end}");
        }
    }
}

#[test]
fn positions_are_of_files() {
    let offer = offer();
    assert_eq!(offer.bytes(), 305);
    assert_eq!(offer.at(0), Some(("one.table", 0, 300)));
    assert_eq!(offer.at(299), Some(("one.table", 299, 1)));
    assert_eq!(offer.at(300), Some(("two", 0, 5)));
    assert_eq!(offer.at(305), None);
}

#[test]
fn names_that_lead_elsewhere_and_lengths_beyond_all_are_refused() {
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "a\0b", "ä"] {
        let files = vec![(name.to_owned(), 1)];
        let what = What::Offer(Offer { files, ..offer() });
        let note = Note { shard: ShardId(1), transfer: TransferId(1), what };
        assert_eq!(Note::decode(&note.encode().into()), None, "{name:?}");
    }
    for files in [
        vec![("a".to_owned(), u64::MAX), ("b".to_owned(), 1)],
        vec![("a".to_owned(), 1), ("a".to_owned(), 1)],
    ] {
        let what = What::Offer(Offer { files, ..offer() });
        let note = Note { shard: ShardId(1), transfer: TransferId(1), what };
        assert_eq!(Note::decode(&note.encode().into()), None);
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let _ = Note::decode(&bytes.into());
    }
}
