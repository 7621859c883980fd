//! The laws of [`Fs`], checked on every implementation, and the faults of [`FaultFs`].

use crate::{
    FaultFs, FaultPlan, Fs, MemFs, NameChange, OpenMode, OsFs, PowerLoss, SegmentKind, SyncTicket,
    Zeros,
};
use std::collections::BTreeSet;
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
    let both = [Zeros::Written, Zeros::Allocated];
    for (kind, zeros) in
        [SegmentKind::Pwrite, SegmentKind::Mapped].into_iter().flat_map(|k| both.map(|z| (k, z)))
    {
        on_each(|fs, dir| {
            let path = dir.join("log");
            let segment = fs.segment(&path, kind, zeros, 4096).unwrap();
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
    fs.sync_dir(Path::new("/")).unwrap();
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
    let segment = fs.segment(&dir.join("log"), SegmentKind::Pwrite, Zeros::Written, 64);
    assert_eq!(segment.err().unwrap().kind(), ErrorKind::StorageFull);
}

#[test]
fn a_sync_that_fails_makes_nothing_safe() {
    let dir = Path::new("/store");
    let fs = FaultFs::new(FaultPlan { fail_at_sync: Some(3), ..FaultPlan::default() });
    fs.create_dir(dir).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    fs.sync_dir(dir).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    assert!(sync(|done| file.sync(done)).is_err());
    assert_eq!(fs.after_power_loss(PowerLoss::LosesAll).read(&dir.join("a")).unwrap(), [0; 0]);
}

/// An empty folder whose name is safe.
fn folder(plan: FaultPlan) -> (FaultFs, &'static Path) {
    let (fs, dir) = (FaultFs::new(FaultPlan::default()), Path::new("/store"));
    fs.create_dir(dir).unwrap();
    fs.sync_dir(Path::new("/")).unwrap();
    fs.set_plan(plan);
    (fs, dir)
}

/// The contents of the files that a power loss may leave, over many draws of one kind.
fn images(
    fs: &FaultFs,
    dir: &Path,
    kind: fn(u64) -> PowerLoss,
) -> BTreeSet<Vec<(String, Vec<u8>)>> {
    let image = |seed| {
        let image = fs.after_power_loss(kind(seed));
        let names = image.list(dir).unwrap().into_iter();
        names.map(|name| (name.clone(), image.read(&dir.join(name)).unwrap())).collect()
    };
    (0..200).map(image).collect()
}

#[test]
fn a_sync_that_goes_after_one_that_failed_makes_safe_only_what_was_written_again() {
    for is_segment in [false, true] {
        let (fs, dir) = folder(FaultPlan::default());
        let path = dir.join("a");
        let file = fs.open(&path, OpenMode::CreateNew).unwrap();
        let segment =
            fs.segment(&dir.join("log"), SegmentKind::Mapped, Zeros::Written, 2048).unwrap();
        fs.sync_dir(dir).unwrap();
        let write = |byte: u8, offset: u64| {
            let bytes = [byte; 512];
            if is_segment { segment.put(offset, &bytes) } else { file.write_at(&bytes, offset) }
        };
        let sync_it = || sync(|done| if is_segment { segment.sync(done) } else { file.sync(done) });
        write(1, 0).unwrap();
        write(1, 512).unwrap();
        let fail_at_sync = Some(fs.syncs() + 1);
        fs.set_plan(FaultPlan { fail_at_sync, ..FaultPlan::default() });
        assert!(sync_it().is_err());
        write(2, 512).unwrap();
        write(2, 1024).unwrap();
        sync_it().unwrap();
        let path = if is_segment { dir.join("log") } else { path };
        let left = fs.after_power_loss(PowerLoss::LosesAll).read(&path).unwrap();
        assert_eq!([left[0], left[512], left[1024]], [0, 2, 2]);
        // The page cache has it all, and so may the disk.
        for image in [fs.after_kill(), fs.after_power_loss(PowerLoss::KeepsAll)] {
            assert_eq!(image.read(&path).unwrap()[..512], [1; 512]);
        }
    }
}

#[test]
fn names_are_unsafe_after_a_failed_sync_of_their_folder_until_one_goes() {
    let (fs, dir) = folder(FaultPlan::default());
    fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    fs.set_plan(FaultPlan { fail_at_sync: Some(fs.syncs() + 1), ..FaultPlan::default() });
    assert!(fs.sync_dir(dir).is_err());
    assert_eq!(fs.after_power_loss(PowerLoss::LosesAll).list(dir).unwrap(), [""; 0]);
    fs.sync_dir(dir).unwrap();
    assert_eq!(fs.after_power_loss(PowerLoss::LosesAll).list(dir).unwrap(), ["a"]);
}

#[test]
fn a_folder_whose_name_is_not_safe_is_lost_with_all_that_lies_in_it() {
    let (fs, dir) = folder(FaultPlan::default());
    let deep = dir.join("new/newer");
    fs.create_dir(&deep).unwrap();
    let file = fs.open(&deep.join("a"), OpenMode::CreateNew).unwrap();
    sync(|done| file.sync(done)).unwrap();
    fs.sync_dir(&deep).unwrap();
    fs.sync_dir(&dir.join("new")).unwrap();
    let left = fs.after_power_loss(PowerLoss::LosesAll);
    assert_eq!(left.list(dir).unwrap(), [""; 0]);
    assert!(left.list(&deep).is_err() && !left.exists(&deep.join("a")).unwrap());
    fs.sync_dir(dir).unwrap();
    assert!(fs.after_power_loss(PowerLoss::LosesAll).exists(&deep.join("a")).unwrap());
}

#[test]
fn an_unsynced_creation_rename_and_removal_are_each_kept_lost_or_torn() {
    let (fs, dir) = folder(FaultPlan::default());
    for name in ["old", "moved", "replaced"] {
        let file = fs.open(&dir.join(name), OpenMode::CreateNew).unwrap();
        file.write_at(name.as_bytes(), 0).unwrap();
        sync(|done| file.sync(done)).unwrap();
    }
    fs.sync_dir(dir).unwrap();
    fs.open(&dir.join("new"), OpenMode::CreateNew).unwrap();
    fs.rename(&dir.join("moved"), &dir.join("replaced")).unwrap();
    fs.remove(&dir.join("old")).unwrap();
    let names = |image: &Vec<(String, Vec<u8>)>| -> Vec<String> {
        image.iter().map(|(name, bytes)| format!("{name}={}", bytes.len())).collect()
    };
    let drawn = images(&fs, dir, PowerLoss::Draws);
    assert_eq!(drawn.len(), 8, "creation, rename and removal are drawn each by itself");
    let torn = images(&fs, dir, PowerLoss::Tears);
    assert_eq!(torn.len(), 12, "a rename has three ways");
    assert!(torn.is_superset(&drawn));
    let both = torn.iter().map(names).find(|names| {
        names.contains(&"moved=5".to_owned()) && names.contains(&"replaced=5".to_owned())
    });
    assert!(both.is_some(), "the file has both names");
}

#[test]
fn a_torn_sector_is_as_it_was_between_two_writes() {
    let (fs, dir) = folder(FaultPlan::default());
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    file.write_at(&[1; 1024], 0).unwrap();
    sync(|done| file.sync(done)).unwrap();
    fs.sync_dir(dir).unwrap();
    // Three writes to the first sector, and one to the second, which a disk writes whole or not at all.
    for (offset, len) in [(0, 100), (100, 200), (300, 212), (512, 512)] {
        file.write_at(&vec![2; len], offset).unwrap();
    }
    let images = images(&fs, dir, PowerLoss::Tears);
    let new: BTreeSet<_> = images
        .iter()
        .map(|image| {
            let count = |bytes: &[u8]| bytes.iter().take_while(|byte| **byte == 2).count();
            let (first, second) = image[0].1.split_at(512);
            assert!(first[count(first)..].iter().all(|byte| *byte == 1));
            (count(first), count(second))
        })
        .collect();
    let expected = [0, 100, 300, 512].into_iter().flat_map(|first| [(first, 0), (first, 512)]);
    assert_eq!(new, expected.collect());
}

#[test]
fn a_segment_that_the_power_loss_interrupts_may_be_there_with_half_of_its_length() {
    let (fs, dir) = folder(FaultPlan::default());
    let crash_at_event = Some(fs.events() + 1);
    fs.set_plan(FaultPlan { crash_at_event, ..FaultPlan::default() });
    assert!(fs.segment(&dir.join("log"), SegmentKind::Pwrite, Zeros::Written, 4096).is_err());
    let sizes: BTreeSet<_> = images(&fs, dir, PowerLoss::Draws)
        .iter()
        .map(|image| image.first().map(|of| of.1.len()))
        .collect();
    assert_eq!(sizes, BTreeSet::from([None, Some(0), Some(2048)]));
}

#[test]
fn a_short_read_gets_half_and_the_next_one_all() {
    let (fs, dir) = folder(FaultPlan::default());
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    let next = || {
        let short_at_read = Some(fs.reads() + 1);
        fs.set_plan(FaultPlan { short_at_read, ..FaultPlan::default() });
    };
    next();
    let mut bytes = [0; 8];
    assert_eq!(
        [file.read_at(&mut bytes, 0).unwrap(), file.read_at(&mut bytes, 0).unwrap()],
        [4, 8]
    );
    next();
    assert_eq!([file.map().unwrap().len(), file.map().unwrap().len()], [4, 8]);
    next();
    assert_eq!(file.len().unwrap(), 8);
}

#[test]
fn on_a_disk_that_is_full_whatever_takes_room_fails_and_the_rest_goes() {
    let (fs, dir) = folder(FaultPlan::default());
    let file = fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    file.write_at(&[1; 8], 0).unwrap();
    let segment = fs.segment(&dir.join("log"), SegmentKind::Pwrite, Zeros::Written, 64).unwrap();
    let full_from_event = Some(fs.events() + 1);
    fs.set_plan(FaultPlan { full_from_event, ..FaultPlan::default() });
    let refused = [
        file.write_at(&[2; 8], 4),
        fs.open(&dir.join("b"), OpenMode::CreateNew).map(drop),
        fs.segment(&dir.join("c"), SegmentKind::Pwrite, Zeros::Written, 64).map(drop),
        fs.create_dir(&dir.join("d")),
        fs.rename(&dir.join("a"), &dir.join("e")),
        fs.sync_dir(dir),
        sync(|done| file.sync(done)),
        sync(|done| segment.sync(done)),
    ];
    for (n, outcome) in refused.into_iter().enumerate() {
        assert_eq!(outcome.unwrap_err().kind(), ErrorKind::StorageFull, "call {n}");
    }
    file.write_at(&[3; 8], 0).unwrap();
    segment.put(0, &[1; 64]).unwrap();
    assert_eq!(fs.list(dir).unwrap(), ["a", "log"]);
    fs.remove(&dir.join("a")).unwrap();
}

#[test]
fn every_kind_of_event_fails_when_its_number_comes_and_the_next_call_goes() {
    type Call = fn(&FaultFs, &Path) -> std::io::Result<()>;
    let calls: [Call; 8] = [
        |fs, dir| fs.open(&dir.join("b"), OpenMode::CreateNew).map(drop),
        |fs, dir| fs.segment(&dir.join("log"), SegmentKind::Pwrite, Zeros::Written, 64).map(drop),
        |fs, dir| fs.rename(&dir.join("b"), &dir.join("c")),
        |fs, dir| fs.remove(&dir.join("c")),
        |fs, dir| fs.create_dir(&dir.join("d")),
        |fs, dir| fs.change(NameChange::RemoveDir(&dir.join("d"))),
        |fs, dir| fs.sync_dir(dir),
        |fs, dir| {
            let file = fs.open(&dir.join("a"), OpenMode::Read)?;
            sync(|done| file.sync(done))
        },
    ];
    let (fs, dir) = folder(FaultPlan::default());
    fs.open(&dir.join("a"), OpenMode::CreateNew).unwrap();
    for (n, call) in calls.iter().enumerate() {
        let at = fs.events() + 1;
        let fail_at_event = Some((at, ErrorKind::PermissionDenied));
        fs.set_plan(FaultPlan { fail_at_event, ..FaultPlan::default() });
        let error = call(&fs, dir).unwrap_err();
        assert_eq!((error.kind(), fs.events()), (ErrorKind::PermissionDenied, at), "call {n}");
        call(&fs, dir).unwrap_or_else(|error| panic!("call {n} again: {error}"));
    }
}
