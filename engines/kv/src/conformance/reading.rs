//! Point reads: what was written is read, byte for byte.

use super::Law;
use super::bench::{Bench, holds, ok, value};
use crate::{Engine, Error, ErrorKind, Feature, KeyRange, ReadOptions, Reader, Tier, WriteBatch};

pub(super) const LAWS: &[Law] = &[
    Law { name: "a key that was never written is absent", needs: &[], check: absent },
    Law { name: "the newest write of a key wins", needs: &[], check: newest },
    Law { name: "a deleted key is absent until it is written again", needs: &[], check: deleted },
    Law { name: "values come back byte for byte", needs: &[], check: values },
    Law { name: "keys are any bytes up to the longest", needs: &[], check: keys },
    Law {
        name: "a key outside the row is refused and nothing is written",
        needs: &[],
        check: refused,
    },
    Law { name: "many keys are read as one by one", needs: &[Feature::ReadMany], check: many },
    Law {
        name: "a read of memory alone answers or says it would block",
        needs: &[Feature::CacheOnly],
        check: cached,
    },
];

fn absent(bench: &Bench<'_>) {
    let engine = bench.open();
    for key in [&b"a"[..], b"\x00", b"\xff\xff\xff", &[0x80; 300]] {
        holds(&*engine, key, None);
    }
    bench.put(&*engine, b"b", b"1");
    for key in [&b"a"[..], b"b\x00", b"c"] {
        holds(&*engine, key, None);
    }
}

fn newest(bench: &Bench<'_>) {
    let engine = bench.open();
    for round in 0..100_u32 {
        bench.put(&*engine, b"k", &round.to_le_bytes());
        holds(&*engine, b"k", Some(&round.to_le_bytes()));
    }
}

fn deleted(bench: &Bench<'_>) {
    let engine = bench.open();
    bench.delete(&*engine, b"k");
    holds(&*engine, b"k", None);
    bench.put(&*engine, b"k", b"1");
    bench.put(&*engine, b"l", b"2");
    bench.delete(&*engine, b"k");
    holds(&*engine, b"k", None);
    holds(&*engine, b"l", Some(b"2"));
    bench.put(&*engine, b"k", b"3");
    holds(&*engine, b"k", Some(b"3"));
}

/// Lengths around the edges of varints, pages, blocks and buffers.
const LENGTHS: [usize; 14] =
    [0, 1, 127, 128, 255, 256, 511, 4_095, 4_096, 4_097, 16_384, 65_536, 262_145, 3 << 20];

fn values(bench: &Bench<'_>) {
    let engine = bench.open();
    let content = |len: usize| -> Vec<u8> { (0..len).map(|i| (i * 31 + len) as u8).collect() };
    for len in LENGTHS {
        bench.put(&*engine, format!("v{len:08}").as_bytes(), &content(len));
    }
    for len in LENGTHS {
        holds(&*engine, format!("v{len:08}").as_bytes(), Some(&content(len)));
    }
}

fn keys(bench: &Bench<'_>) {
    let engine = bench.open();
    let capabilities = bench.capabilities();
    let longest = vec![0xAB; capabilities.key_bytes_max.min(WriteBatch::KEY_BYTES_MAX)];
    let mut keys: Vec<&[u8]> = vec![
        b"\x00",
        b"\x00\x00",
        b"\x7f",
        b"\x80",
        b"\xff",
        b"\xff\xff\xff\xff",
        b"key with\nanything",
        &longest,
    ];
    if capabilities.has_empty_key {
        keys.push(b"");
    }
    for (n, key) in keys.iter().enumerate() {
        bench.put(&*engine, key, &[n as u8]);
    }
    for (n, key) in keys.iter().enumerate() {
        holds(&*engine, key, Some(&[n as u8]));
    }
    for key in &keys {
        bench.delete(&*engine, key);
        holds(&*engine, key, None);
    }
}

fn refused(bench: &Bench<'_>) {
    let engine = bench.open();
    let capabilities = bench.capabilities();
    let too_long = vec![b'x'; capabilities.key_bytes_max + 1];
    let mut wrong: Vec<&[u8]> = Vec::new();
    if !capabilities.has_empty_key {
        wrong.push(b"");
    }
    if too_long.len() <= WriteBatch::KEY_BYTES_MAX {
        wrong.push(&too_long);
    }
    for key in wrong {
        let mut put = WriteBatch::new();
        put.put(b"beside", b"1").put(key, b"2");
        let mut delete = WriteBatch::new();
        delete.put(b"beside", b"1").delete(key);
        for batch in [put, delete] {
            let Err(error) = engine.write(&batch, bench.durability()) else {
                panic!("a key of {} bytes was taken", key.len());
            };
            assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
            holds(&*engine, b"beside", None);
        }
        holds(&*engine, key, None);
    }
    bench.put(&*engine, b"after", b"1");
    holds(&*engine, b"after", Some(b"1"));
}

fn many(bench: &Bench<'_>) {
    let engine = bench.open();
    for n in (0..100_u8).step_by(2) {
        bench.put(&*engine, &[b'k', n], &[n; 3]);
    }
    bench.delete(&*engine, &[b'k', 10]);
    let keys: Vec<Vec<u8>> = (0..100_u8).rev().chain([7, 8]).map(|n| vec![b'k', n]).collect();
    let lent: Vec<&[u8]> = keys.iter().map(Vec::as_slice).collect();
    as_one_by_one(&*engine, &lent);
    if bench.capabilities().has(Feature::Flush) {
        ok("flush", engine.maintain().expect("flush is offered").flush());
        bench.put(&*engine, &[b'k', 10], b"back");
        bench.delete(&*engine, &[b'k', 20]);
        as_one_by_one(&*engine, &lent);
    }
    if bench.capabilities().has(Feature::Snapshots) {
        let snapshot = ok("snapshot", engine.snapshot());
        for key in &keys {
            bench.put(&*engine, key, b"later");
        }
        as_one_by_one(&*snapshot, &lent);
    }
    ok(
        "read_many of nothing",
        engine.read_many(&[], &ReadOptions::default(), &mut |_, _| panic!("a row")),
    );
}

/// Many keys at once get what each gets alone.
fn as_one_by_one(reader: &(impl Reader + ?Sized), keys: &[&[u8]]) {
    let mut found: Vec<Option<Option<Vec<u8>>>> = vec![None; keys.len()];
    let read = reader.read_many(keys, &ReadOptions::default(), &mut |index, row| {
        assert!(found[index].is_none(), "key {index} was answered twice");
        if let Some(row) = row {
            assert_eq!(row.key, keys[index]);
        }
        found[index] = Some(row.map(|row| row.value.to_vec()));
    });
    ok("read_many", read);
    for (key, found) in keys.iter().zip(found) {
        assert_eq!(found.expect("each key is answered"), value(reader, key));
    }
}

fn cached(bench: &Bench<'_>) {
    let engine = bench.open();
    let key = |n: u16| format!("k{n:04}").into_bytes();
    for n in (0..400).step_by(2) {
        bench.put(&*engine, &key(n), &n.to_le_bytes());
    }
    from_memory(&*engine, key);
    if bench.capabilities().has(Feature::Flush) {
        ok("flush", engine.maintain().expect("flush is offered").flush());
    }
    // Cold, then with whatever these reads brought into memory.
    from_memory(&*engine, key);
    for n in (0..400).step_by(50) {
        holds(&*engine, &key(n), Some(&n.to_le_bytes()));
    }
    from_memory(&*engine, key);
}

/// Of 400 keys each even one has its number as value: so says memory alone, where it says something.
fn from_memory(engine: &dyn Engine, key: impl Fn(u16) -> Vec<u8>) {
    let options = ReadOptions { tier: Tier::CacheOnly, ..ReadOptions::default() };
    let would_block = |error: Error| assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}");
    for n in 0..400 {
        let mut seen = None;
        match engine.read(&key(n), &options, &mut |row| seen = Some(row.value.to_vec())) {
            Ok(found) => {
                assert_eq!(found, seen.is_some());
                assert_eq!(seen, (n % 2 == 0).then(|| n.to_le_bytes().to_vec()), "key {n}");
            }
            Err(error) => would_block(error),
        }
    }
    let walk = || -> crate::Result<()> {
        let mut cursor = engine.cursor(&KeyRange::all(), &options)?;
        for n in (0..400).step_by(2) {
            assert!(cursor.next()?, "memory alone ends before key {n}");
            assert_eq!(cursor.row().map(|row| row.key.to_vec()), Some(key(n)));
        }
        assert!(!cursor.next()?);
        Ok(())
    };
    walk().unwrap_or_else(would_block);
}
