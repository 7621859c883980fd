//! Class `sync`, proven by counting: each acknowledged write has asked the kernel for a sync, and a write of class
//! `os` has asked for none.
//!
//! The functions below take the place of the C library's in this executable: the linker prefers its own. They
//! count on the calling thread and then make the system call themselves.

use nori_adapters::{ROWS, factory};
use nori_kv::{Durability, Parts, WriteBatch};
use rustix::fd::BorrowedFd;
use rustix::mm::MsyncFlags;
use std::cell::Cell;
use std::ffi::{c_int, c_void};

thread_local! {
    /// Syncs that this thread has asked for.
    static SYNCS: Cell<u64> = const { Cell::new(0) };
}

fn count(result: rustix::io::Result<()>) -> c_int {
    SYNCS.with(|syncs| syncs.set(syncs.get() + 1));
    if result.is_ok() { 0 } else { -1 }
}

#[expect(unsafe_code, reason = "replaces a function of the C library")]
#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    // SAFETY: the caller owns the descriptor and keeps it open during the call.
    count(rustix::fs::fsync(unsafe { BorrowedFd::borrow_raw(fd) }))
}

#[expect(unsafe_code, reason = "replaces a function of the C library")]
#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: the caller owns the descriptor and keeps it open during the call.
    count(rustix::fs::fdatasync(unsafe { BorrowedFd::borrow_raw(fd) }))
}

#[expect(unsafe_code, reason = "replaces a function of the C library")]
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(address: *mut c_void, bytes: usize, flags: c_int) -> c_int {
    // SAFETY: the caller maps the range.
    count(unsafe { rustix::mm::msync(address, bytes, MsyncFlags::from_bits_retain(flags as u32)) })
}

const WRITES: u64 = 50;

/// The rows that offer class `sync`.
fn rows() -> impl Iterator<Item = &'static str> {
    let offers = |name: &&str| {
        let factory = factory(name, 16 << 20).expect("the row is listed");
        factory.capabilities().offers(Durability::Sync)
    };
    ROWS.iter().map(|row| row.name).filter(offers)
}

/// Syncs that this thread asks for during some writes of a class to a store that has seen writes before.
fn syncs_of(name: &str, durability: Durability) -> u64 {
    let dir = tempfile::tempdir().expect("a folder");
    let factory = factory(name, 16 << 20).expect("the row is listed");
    let engine = factory.open(dir.path(), Parts::os(1).expect("threads")).expect("opens");
    let mut batch = WriteBatch::new();
    let mut write = |n: u64, durability| {
        batch.clear();
        batch.put(&n.to_be_bytes(), &[7; 100]);
        engine.write(&batch, durability).expect("a write is taken");
    };
    // The other class first: what a store did before must not decide what this write does.
    let other = if durability == Durability::Sync { Durability::Os } else { Durability::Sync };
    write(0, other);
    let before = SYNCS.with(Cell::get);
    for n in 1..=WRITES {
        write(n, durability);
    }
    SYNCS.with(Cell::get) - before
}

#[test]
fn every_acknowledged_sync_write_has_asked_for_a_sync() {
    for name in rows() {
        let syncs = syncs_of(name, Durability::Sync);
        assert!(syncs >= WRITES, "{name}: {syncs} syncs for {WRITES} writes");
    }
}

#[test]
fn a_write_of_class_os_asks_for_no_sync() {
    for name in rows() {
        assert_eq!(syncs_of(name, Durability::Os), 0, "{name}");
    }
}

#[test]
fn a_delete_of_nothing_asks_for_a_sync_too() {
    for name in rows() {
        let dir = tempfile::tempdir().expect("a folder");
        let factory = factory(name, 16 << 20).expect("the row is listed");
        let engine = factory.open(dir.path(), Parts::os(1).expect("threads")).expect("opens");
        let mut batch = WriteBatch::new();
        batch.delete(b"not there");
        engine.write(&batch, Durability::Os).expect("a write is taken");
        let before = SYNCS.with(Cell::get);
        engine.write(&batch, Durability::Sync).expect("a write is taken");
        assert!(SYNCS.with(Cell::get) > before, "{name}");
    }
}
