//! The laws of [`Fs`], checked on every implementation, and the faults of [`FaultFs`].

use crate::{
    FaultFs, FaultPlan, Fs, MemFs, NameChange, OpenMode, OsFs, PowerLoss, SegmentKind, SyncTicket,
};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

fn on_each(law: impl Fn(&dyn Fs, &Path)) {
    let dir = tempfile::tempdir().unwrap();
    law(&OsFs, dir.path());
    for fs in [&MemFs::new() as &dyn Fs, &FaultFs::new(FaultPlan::default())] {
        fs.create_dir(Path::new("/store")).unwrap();
        law(fs, Path::new("/store"));
    }
}

fn sync(start: impl FnOnce(crate::Completion)) -> std::io::Result<()> {
    let ticket = SyncTicket::start(start);
    assert!(ticket.signal().is_fired());
    ticket.take().unwrap()
}

#[test]
fn bytes_are_read_back_where_they_were_written() {
    on_each(|fs, dir| {
        let path = dir.join("a");
        let file = fs.open(&path, OpenMode::CreateNew).unwrap();
        file.write_at(b"world", 5).unwrap();
        file.write_at(b"hello", 0).unwrap();
        sync(|done| file.sync(done)).unwrap();
        assert_eq!(fs.read(&path).unwrap(), b"helloworld");
        let mut rest = [0; 8];
        assert_eq!(file.read_at(&mut rest, 7).unwrap(), 3);
        assert_eq!(&rest[..3], b"rld");
        let again = fs.open(&path, OpenMode::CreateNew).err().unwrap();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
    });
}

#[test]
fn names_change_and_open_handles_outlive_their_name() {
    on_each(|fs, dir| {
        let (a, b) = (dir.join("a"), dir.join("b"));
        for (path, content) in [(&a, b"1"), (&b, b"2")] {
            fs.open(path, OpenMode::CreateNew).unwrap().write_at(content, 0).unwrap();
        }
        let old = fs.open(&b, OpenMode::Read).unwrap();
        fs.rename(&a, &b).unwrap();
        fs.sync_dir(dir).unwrap();
        assert_eq!(fs.list(dir).unwrap(), ["b"]);
        assert_eq!(fs.read(&b).unwrap(), b"1");
        let mut byte = [0];
        assert_eq!((old.read_at(&mut byte, 0).unwrap(), byte), (1, *b"2"));
        fs.remove(&b).unwrap();
        assert!(!fs.exists(&b).unwrap());
        assert_eq!(fs.remove(&b).unwrap_err().kind(), ErrorKind::NotFound);
        fs.create_dir(&dir.join("sub/deep")).unwrap();
        fs.change(NameChange::RemoveDir(&dir.join("sub/deep"))).unwrap();
    });
}

#[test]
fn a_segment_takes_bytes_at_offsets_and_nothing_outside() {
    for kind in [SegmentKind::Pwrite, SegmentKind::Mapped] {
        on_each(|fs, dir| {
            let path = dir.join("log");
            let segment = fs.segment(&path, kind, 4096).unwrap();
            segment.put(4090, b"abcdef").unwrap();
            segment.put(0, b"xyz").unwrap();
            for (offset, bytes) in [(4091, &b"abcdef"[..]), (4097, b""), (u64::MAX, b"a")] {
                let error = segment.put(offset, bytes).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::InvalidInput);
            }
            sync(|done| segment.sync(done)).unwrap();
            let content = fs.read(&path).unwrap();
            assert_eq!(
                (content.len(), &content[..4], &content[4090..]),
                (4096, &b"xyz\0"[..], &b"abcdef"[..])
            );
        });
    }
}

#[test]
fn a_lock_is_held_by_one_until_dropped() {
    on_each(|fs, dir| {
        let path = dir.join("LOCK");
        let held = fs.lock(&path).unwrap();
        assert_eq!(fs.lock(&path).err().unwrap().kind(), ErrorKind::WouldBlock);
        drop(held);
        fs.lock(&path).unwrap();
    });
}

#[test]
fn power_loss_takes_unsynced_bytes_and_unsynced_names() {
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan::default());
    fs.create_dir(dir).unwrap();
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    file.write_at(&[1; 2048], 0).unwrap();
    sync(|done| file.sync(done)).unwrap();
    assert_eq!(fs.after_power_loss(PowerLoss::LosesAll).list(dir).unwrap(), [""; 0]);
    fs.sync_dir(dir).unwrap();
    file.write_at(&[2; 2048], 0).unwrap();
    let read = |image: &MemFs| image.read(&dir.join("a")).unwrap();
    assert_eq!(read(&fs.after_power_loss(PowerLoss::LosesAll)), [1; 2048]);
    assert_eq!(read(&fs.after_kill()), [2; 2048]);
    let images: Vec<_> =
        (0..16).map(|seed| read(&fs.after_power_loss(PowerLoss::Draws(seed)))).collect();
    assert!(images.iter().any(|image| image.contains(&1) && image.contains(&2)));
    for image in images {
        assert!(image.chunks(512).all(|sector| sector.iter().all(|byte| *byte == sector[0])));
    }
}

#[test]
fn the_power_fails_at_the_planned_event_and_stays_off() {
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan { crash_at_event: Some(3), ..FaultPlan::default() });
    fs.create_dir(dir).unwrap();
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    assert!(file.write_at(&[1; 8], 0).is_err());
    assert!(fs.has_crashed() && fs.read(&dir.join("a")).is_err());
    assert_eq!(fs.after_kill().read(&dir.join("a")).unwrap(), [1; 4]);
}

#[test]
fn what_is_mapped_is_the_content_and_outlives_the_name() {
    on_each(|fs, dir| {
        for content in [vec![], (0..100_000_u32).map(|n| n as u8).collect::<Vec<u8>>()] {
            let path = dir.join("a");
            fs.open(&path, OpenMode::CreateNew).unwrap().write_at(&content, 0).unwrap();
            let map = fs.open(&path, OpenMode::Read).unwrap().map().unwrap();
            fs.remove(&path).unwrap();
            assert!(map == content);
        }
    });
}

#[test]
fn a_full_disk_cuts_a_write_short_and_says_so() {
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan { capacity_bytes: Some(10), ..FaultPlan::default() });
    fs.create_dir(dir).unwrap();
    let file: Arc<_> = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    assert_eq!(file.write_at(&[2; 8], 8).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.len().unwrap(), 10);
    let segment = fs.segment(&dir.join("log"), SegmentKind::Pwrite, 64);
    assert_eq!(segment.err().unwrap().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_sync_that_fails_makes_nothing_safe() {
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan { fail_at_sync: Some(2), ..FaultPlan::default() });
    fs.create_dir(dir).unwrap();
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    fs.sync_dir(dir).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    assert!(sync(|done| file.sync(done)).is_err());
    assert_eq!(fs.after_power_loss(PowerLoss::LosesAll).read(&dir.join("a")).unwrap(), [0; 0]);
}
