//! What is read ahead is read with few calls, and neither too much of it nor what is wrong with it shows.

use super::{DIR, Entry, build, entries, options, owned};
use nori_env::{FaultFs, FaultPlan, MemFs};
use nori_kv::{EntryCursor, ErrorKind, SeqNo};
use nori_sstable::{
    Access, Cache, Fetch, Table, TableContext, TableCursor, cache_policy, table_name,
};
use std::path::Path;
use std::sync::Arc;

/// A table of more than a hundred blocks, nothing of it cached, on a file system that counts reads.
struct Walked {
    fs: FaultFs,
    files: MemFs,
    entries: Vec<Entry>,
    table: Arc<Table>,
}

fn walked() -> Walked {
    let (files, entries) = (MemFs::new(), entries(5, 1_000));
    build(&files, 7, &options("raw", "none"), &entries);
    let fs = FaultFs::over(files.clone(), FaultPlan::default());
    let cache = Cache::new(cache_policy("lru", 1 << 20).unwrap(), 1 << 20);
    let context = TableContext::new(Arc::new(fs.clone()), cache, Access::Pread);
    let table = Table::open(&context, Path::new(DIR), 7).unwrap();
    Walked { fs, files, entries, table }
}

/// Goes on until `blocks` more blocks were fetched or the table ends; how many were.
fn walk(cursor: &mut TableCursor, blocks: u64) -> u64 {
    let mut fetched = 0;
    while fetched < blocks && cursor.next().unwrap() {
        let tally = cursor.take_tally();
        fetched += tally.cache_hits + tally.cache_misses;
    }
    fetched
}

/// The blocks, counted from the next, at which a walk to the end calls the file system; and how many it fetches.
fn calls(cursor: &mut TableCursor, fs: &FaultFs) -> (Vec<u64>, u64) {
    let (mut calls, mut fetched, mut reads) = (Vec::new(), 0, fs.reads());
    while walk(cursor, 1) == 1 {
        if fs.reads() > reads {
            reads = fs.reads();
            calls.push(fetched);
        }
        fetched += 1;
    }
    (calls, fetched)
}

#[test]
fn a_walk_reads_as_much_again_as_it_has_walked() {
    let Walked { fs, table, .. } = walked();
    let (calls, fetched) = calls(&mut table.cursor(Fetch::Fill), &fs);
    assert_eq!(calls[..7], [0, 1, 2, 4, 8, 16, 32]);
    // A stretch is at most 32 KiB, and so are 64 blocks of 512 bytes and their trailers, or nearly.
    assert!(fetched > 130 && calls[7] > 62, "{fetched}: {calls:?}");
    assert!(calls[7..].windows(2).all(|two| two[1] - two[0] > 55), "{calls:?}");
    let before = fs.reads();
    assert_eq!(walk(&mut table.cursor(Fetch::Fill), u64::MAX), fetched);
    assert_eq!(fs.reads(), before, "all of it is cached");
}

#[test]
fn nothing_is_read_ahead_behind_a_cached_block() {
    let Walked { fs, table, .. } = walked();
    let mut cursor = table.cursor(Fetch::Pass);
    walk(&mut cursor, 7);
    let seventh = cursor.entry().unwrap();
    assert!(table.cursor(Fetch::Fill).seek(seventh.key, seventh.seqno).unwrap());
    let (calls, _) = calls(&mut table.cursor(Fetch::Fill), &fs);
    assert_eq!(calls[..6], [0, 1, 2, 4, 7, 14]);
}

#[test]
fn a_seek_and_a_step_back_begin_anew() {
    let Walked { fs, entries, table, .. } = walked();
    let mut cursor = table.cursor(Fetch::Fill);
    walk(&mut cursor, 20);
    // The key in the middle fills several blocks.
    let (key, seqno, ..) = &entries[entries.len() / 4];
    let before = fs.reads();
    assert!(cursor.seek(key, SeqNo::new(*seqno).unwrap()).unwrap());
    assert_eq!((fs.reads() - before, cursor.take_tally().cache_misses), (1, 1));
    let (after_seek, _) = calls(&mut cursor, &fs);
    assert_eq!(after_seek[..4], [0, 1, 3, 7], "counted from the block behind the one of the seek");

    let Walked { fs, table, .. } = walked();
    let mut cursor = table.cursor(Fetch::Fill);
    walk(&mut cursor, 20);
    while cursor.take_tally().cache_hits == 0 {
        assert!(cursor.prev().unwrap());
    }
    let (after_step_back, _) = calls(&mut cursor, &fs);
    assert_eq!(after_step_back[..3], [13, 27, 55], "what was read up to the 32nd is used first");
}

#[test]
fn what_is_cached_is_not_read_again() {
    let Walked { fs, table, .. } = walked();
    let mut cursor = table.cursor(Fetch::Fill);
    walk(&mut cursor, 40);
    let before = fs.reads();
    let mut cursor = table.cursor(Fetch::Fill);
    walk(&mut cursor, 40);
    assert_eq!(fs.reads(), before);
    walk(&mut cursor, 2);
    assert_eq!(fs.reads(), before + 1, "what was read ahead of the first and not used is not kept");
}

#[test]
fn a_file_that_ends_ahead_is_an_error_only_where_it_ends() {
    for fetch in [Fetch::Fill, Fetch::Pass] {
        let Walked { files, entries, table, .. } = walked();
        let path = Path::new(DIR).join(table_name(7));
        files.truncate(&path, table.bytes() / 2).unwrap();
        let mut cursor = table.cursor(fetch);
        let mut met = 0;
        let error = loop {
            match cursor.next() {
                Ok(is_there) => assert!(is_there),
                Err(error) => break error,
            }
            assert_eq!(owned(cursor.entry().unwrap()), entries[met]);
            met += 1;
        };
        assert_eq!(error.kind(), ErrorKind::Corrupt);
        let share = met as f64 / entries.len() as f64;
        assert!((0.4..0.6).contains(&share), "{fetch:?}: {met} entries before the end");
    }
}

#[test]
fn a_read_that_fails_once_is_an_error_or_no_matter() {
    for fetch in [Fetch::Fill, Fetch::Pass] {
        let mut without_error = 0;
        for nth in 1..10 {
            let Walked { fs, entries, table, .. } = walked();
            let fail_at_read = Some(fs.reads() + nth);
            fs.set_plan(FaultPlan { fail_at_read, ..FaultPlan::default() });
            let mut cursor = table.cursor(fetch);
            let mut met = 0;
            let end = loop {
                match cursor.next() {
                    Ok(true) => assert_eq!(owned(cursor.entry().unwrap()), entries[met]),
                    end => break end,
                }
                met += 1;
            };
            match &end {
                Ok(_) => assert_eq!(met, entries.len()),
                Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{error}"),
            }
            without_error += u32::from(end.is_ok());
        }
        assert!(without_error > 0, "{fetch:?}: a stretch that fails is read block by block");
    }
}
