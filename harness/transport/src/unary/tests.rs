//! What is put together of frames, and what is refused.

use super::*;

fn put_together(frames: &[&[u8]], bytes_max: usize) -> Result<Bytes, Failure> {
    let mut gathered =
        Gathered::new(Bounds { bytes_max, scan_bytes_max: 0, room: Room::new(1 << 20) });
    for frame in frames {
        gathered.add(Bytes::copy_from_slice(frame))?;
    }
    gathered.whole()
}

fn reason(frames: &[&[u8]]) -> String {
    put_together(frames, 8).unwrap_err().to_string()
}

#[test]
fn a_message_comes_in_any_frames() {
    let whole = [0, 0, 0, 0, 3, 7, 8, 9];
    for at in 0..=whole.len() {
        let (one, two) = whole.split_at(at);
        for frames in [
            &[one, two][..],
            &[one, &[], two],
            &[one, &two[..two.len() / 2], &two[two.len() / 2..]],
        ] {
            assert_eq!(put_together(frames, 3).unwrap(), [7, 8, 9][..], "{frames:?}");
        }
    }
    let bytes: Vec<&[u8]> = whole.chunks(1).collect();
    assert_eq!(put_together(&bytes, 3).unwrap(), [7, 8, 9][..]);
    assert_eq!(put_together(&[&[0; 5]], 3).unwrap(), [][..]);
}

#[test]
fn what_is_no_message_is_told_of() {
    assert!(reason(&[]).contains("there is none"));
    assert!(reason(&[&[0, 0, 0, 0]]).contains("there is none"));
    assert!(reason(&[&[0, 0, 0, 0, 3, 7]]).contains("1 bytes came of one of 3"));
    assert!(reason(&[&[0, 0, 0, 0, 1, 7], &[0, 0]]).contains("3 bytes came of one of 1"));
}

#[test]
fn what_is_too_long_is_refused_by_its_length_or_when_it_comes() {
    let too_large = |frames: &[&[u8]], bytes| {
        let refusal = Refusal::TooLarge { what: "message", bytes, bytes_max: 8 };
        assert_eq!(put_together(frames, 8).unwrap_err(), Failure::from(refusal));
    };
    too_large(&[&[0, 255, 255, 255, 255]], u32::MAX as usize);
    too_large(&[&[0, 0, 0], &[0, 9]], 9);
    too_large(&[&[0, 0, 0, 0, 1, 7], &[0; 8]], 9);
}

#[test]
fn what_came_is_counted_until_it_is_answered() {
    let bounds = Bounds { bytes_max: 9_000, scan_bytes_max: 0, room: Room::new(10_000) };
    let frame = Bytes::from([&[0, 0, 0, 0x1f, 0x40][..], &[7; 3_995]].concat());
    let mut one = Gathered::new(bounds.clone());
    one.add(frame.clone()).unwrap();
    one.add(frame.clone()).unwrap();
    let mut other = Gathered::new(bounds.clone());
    assert_eq!(other.add(frame.clone()), Err(Failure::Overloaded));
    let _ = one.whole();
    assert_eq!(other.add(frame.clone()), Err(Failure::Overloaded));
    drop(one);
    other.add(frame).unwrap();
}
