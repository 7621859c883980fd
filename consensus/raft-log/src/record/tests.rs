//! Records come back from their own place only, and no bytes make a decoder panic.

use super::*;
use proptest::prelude::*;

const SHARD: ShardId = ShardId(7);

fn entry(index: u64, payload: &[u8]) -> Entry {
    let payload = Bytes::copy_from_slice(payload);
    Entry { id: LogId::new(3, index), kind: EntryKind::Data, payload }
}

fn one_of_each() -> Bytes {
    let mut writer = Writer::default();
    writer.entries(SHARD, &[entry(5, b"five"), entry(6, b"")], false);
    writer.entries(SHARD, &[entry(4, b"four")], true);
    writer.cut(SHARD, Index(6));
    writer.promise(SHARD, b"hard");
    writer.release(SHARD, LogId::new(2, 4));
    writer.reset(SHARD, LogId::new(9, 40));
    writer.forget(SHARD);
    assert_eq!(writer.records, 7);
    writer.payload.into()
}

#[test]
fn every_record_comes_back() {
    let payload = one_of_each();
    let read: Vec<Body> = Records::new(&payload).map(|record| record.unwrap().2).collect();
    let entries = |body: &Body| match body {
        Body::Entries { entries, is_copy } => {
            (entries.iter().map(|(entry, _)| entry.clone()).collect::<Vec<_>>(), *is_copy)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(entries(&read[0]), (vec![entry(5, b"five"), entry(6, b"")], false));
    assert_eq!(entries(&read[1]), (vec![entry(4, b"four")], true));
    let rest = [
        Body::Cut(Index(6)),
        Body::Promise(Bytes::from_static(b"hard")),
        Body::Release(LogId::new(2, 4)),
        Body::Reset(LogId::new(9, 40)),
        Body::Forget,
    ];
    assert_eq!(read[2..], rest);
}

#[test]
fn an_entry_comes_back_only_from_its_own_place_and_shard() {
    let mut writer = Writer::default();
    let spans = writer.entries(SHARD, &[entry(5, b"five"), entry(6, b"six")], false);
    let payload = Bytes::from(writer.payload);
    let Span { offset, bytes } = spans[1];
    let bytes = payload.slice(offset as usize..(offset + bytes) as usize);
    assert_eq!(decode_entry(SHARD, Index(6), &bytes).unwrap().0, entry(6, b"six"));
    assert!(decode_entry(SHARD, Index(5), &bytes).is_err());
    assert!(decode_entry(ShardId(8), Index(6), &bytes).is_err());
}

proptest! {
    #[test]
    fn no_bytes_make_decoding_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let bytes = Bytes::from(bytes);
        let _ = Records::new(&bytes).count();
    }

    #[test]
    fn no_changed_byte_makes_decoding_panic_or_run_on(at in 0usize..300, to: u8, cut in 0usize..300) {
        let mut bytes = one_of_each().to_vec();
        let len = bytes.len();
        bytes[at % len] = to;
        bytes.truncate(cut % len + 1);
        prop_assert!(Records::new(&bytes.into()).count() <= 8);
    }
}
