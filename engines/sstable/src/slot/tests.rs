//! Whoever looks sees a value that lives, and each value goes exactly once. Under `--cfg nori_loom` every order in which the
//! threads of a small program can meet is tried; without it, many.

use super::*;

#[cfg(nori_loom)]
use loom::{cell::UnsafeCell, sync::atomic::AtomicUsize, thread};
#[cfg(not(nori_loom))]
use std::{sync::atomic::AtomicUsize, thread};

/// A value that says when it goes.
struct Probe {
    departures: Departures,
    drops: Arc<AtomicUsize>,
    /// Read by readers and written at the end: so the orders of memory are tested, too, and not those of threads alone.
    #[cfg(nori_loom)]
    content: UnsafeCell<u8>,
}

impl Slotted for Probe {
    fn departures(&self) -> &Departures {
        &self.departures
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        #[cfg(nori_loom)]
        self.content.with_mut(|_| ());
        self.drops.fetch_add(1, Relaxed);
    }
}

fn probe() -> (Arc<Probe>, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let probe = Probe {
        departures: Departures::none(),
        drops: Arc::clone(&drops),
        #[cfg(nori_loom)]
        content: UnsafeCell::new(0),
    };
    #[cfg(nori_loom)]
    probe.content.with_mut(|_| ());
    (Arc::new(probe), drops)
}

/// Puts a probe; what says that it went.
fn put(slot: &Slot<Probe>) -> Arc<AtomicUsize> {
    let (value, drops) = probe();
    slot.put(value);
    drops
}

/// A slot that threads share, and what says that the probe in it went.
fn filled() -> (Arc<Slot<Probe>>, Arc<AtomicUsize>) {
    let slot = Arc::new(Slot::empty());
    let drops = put(&slot);
    (slot, drops)
}

/// Every order of what the threads in `program` do, or this one often.
fn in_every_order(program: impl Fn() + Sync + Send + 'static) {
    #[cfg(nori_loom)]
    loom::model(program);
    #[cfg(not(nori_loom))]
    (0..2_000).for_each(|_| program());
}

fn look(slot: &Slot<Probe>) {
    if let Some(guard) = slot.get() {
        #[cfg(nori_loom)]
        guard.content.with(|_| ());
        assert_eq!(guard.drops.load(Relaxed), 0, "it went under a reader");
    }
}

#[test]
fn readers_meet_one_who_empties() {
    in_every_order(|| {
        let (slot, drops) = filled();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let slot = Arc::clone(&slot);
                thread::spawn(move || look(&slot))
            })
            .collect();
        slot.clear();
        readers.into_iter().for_each(|reader| reader.join().unwrap());
        assert_eq!(drops.load(Relaxed), 1);
        assert!(slot.is_empty() && slot.get().is_none());
    });
}

#[test]
fn a_reader_meets_one_who_empties_and_fills() {
    in_every_order(|| {
        let (slot, first) = filled();
        let reader = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || {
                look(&slot);
                look(&slot);
            })
        };
        let second = put(&slot);
        slot.clear();
        let third = put(&slot);
        reader.join().unwrap();
        let went = [&first, &second, &third].map(|drops| drops.load(Relaxed));
        assert_eq!(went, [1, 1, 0]);
        drop(slot);
        assert_eq!(third.load(Relaxed), 1);
    });
}

#[test]
fn a_handle_outlives_the_slot() {
    in_every_order(|| {
        let (slot, drops) = filled();
        let reader = {
            let slot = Arc::clone(&slot);
            thread::spawn(move || slot.get().map(Guard::into_arc))
        };
        slot.clear();
        let handle = reader.join().unwrap();
        drop(slot);
        assert_eq!(drops.load(Relaxed), usize::from(handle.is_none()));
        drop(handle);
        assert_eq!(drops.load(Relaxed), 1);
    });
}

#[test]
fn a_guard_keeps_what_was_taken_away() {
    in_every_order(|| {
        let (slot, drops) = filled();
        let guards: Vec<_> = (0..3).map(|_| slot.get().unwrap()).collect();
        slot.clear();
        for guard in guards {
            assert_eq!(drops.load(Relaxed), 0);
            drop(guard);
        }
        assert_eq!(drops.load(Relaxed), 1);
    });
}

#[test]
#[cfg(not(nori_loom))]
fn a_reader_too_many_is_turned_away() {
    let (slot, drops) = filled();
    let guards: Vec<_> = (0..READERS_MAX).map(|_| slot.get().unwrap()).collect();
    assert!((0..10).all(|_| slot.get().is_none()));
    drop(guards);
    look(&slot);
    slot.clear();
    assert_eq!(drops.load(Relaxed), 1);
}

#[test]
#[cfg(not(nori_loom))]
#[should_panic(expected = "once")]
fn a_value_is_put_once() {
    let slot = Slot::empty();
    let (value, _) = probe();
    slot.put(Arc::clone(&value));
    slot.clear();
    slot.put(value);
}
