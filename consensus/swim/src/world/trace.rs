//! A hash of what members ask for: FNV-1a of 64 bits, by which two runs are compared.

use crate::{Address, Class, Event, Instant, Timer};
use std::hash::{Hash, Hasher};
use std::time::Duration;

#[derive(Clone, Debug)]
pub(super) struct Trace(u64);

impl Default for Trace {
    fn default() -> Self {
        Self(0xCBF2_9CE4_8422_2325)
    }
}

impl Hasher for Trace {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3);
        }
    }
}

impl Trace {
    pub(super) fn event(&mut self, event: &Event) {
        self.write(format!("{event:?}").as_bytes());
    }

    pub(super) fn packet(&mut self, to: &Address, class: Class, packet: &[u8]) {
        self.write(to.bytes());
        self.write(&[class as u8]);
        self.write(packet);
    }

    pub(super) fn timer(&mut self, after: Duration, timer: Timer) {
        (after, timer).hash(self);
    }

    pub(super) fn input(&mut self, now: Instant, member: usize, calls: &Self) {
        (now.nanos, member as u64, calls.0).hash(self);
    }

    pub(super) fn value(&self) -> u64 {
        self.0
    }
}
