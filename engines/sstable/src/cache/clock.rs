//! CLOCK, the second chance: a queue in which a frame that was read goes round once more.
//!
//! 1. A new frame goes to the end of the queue, with no mark.
//! 2. A read marks the frame and moves nothing.
//! 3. For room, the first of the queue is taken: with a mark it loses it and goes to the end, without one it
//!    goes for good.
//!
//! It behaves nearly as least recently used does, and a read costs a store instead of moves in a list.

use super::queue::{Nodes, Spot};
use super::{BlockId, CachePolicy, FrameId};
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Keeps the frames that were read since the hand last came by.
pub(crate) struct Clock {
    ring: Mutex<Ring>,
}

/// Invariant: each admitted frame has one place in `hand`; `nodes.bytes <= capacity_bytes`.
struct Ring {
    nodes: Nodes,
    hand: VecDeque<Spot>,
    capacity_bytes: usize,
}

impl Clock {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let ring = Ring { nodes: Nodes::default(), hand: VecDeque::new(), capacity_bytes };
        Self { ring: Mutex::new(ring) }
    }
}

impl Ring {
    fn shrink_to(&mut self, bytes_max: usize, victims: &mut Vec<FrameId>) {
        while self.nodes.bytes > bytes_max {
            let spot = self.hand.pop_front().expect("every admitted frame has a place");
            let Some(node) = self.nodes.at(spot) else { continue };
            if node.touches > 0 {
                node.touches = 0;
                self.hand.push_back(spot);
            } else {
                self.nodes.remove(spot.0);
                victims.push(spot.0);
            }
        }
        self.nodes.tidy(&mut self.hand);
    }
}

impl CachePolicy for Clock {
    fn name(&self) -> &'static str {
        "clock"
    }

    fn admit(&self, id: FrameId, block: BlockId, bytes: usize, victims: &mut Vec<FrameId>) -> bool {
        let mut ring = self.ring.lock();
        let Some(room) = ring.capacity_bytes.checked_sub(bytes.max(1)) else { return false };
        ring.shrink_to(room, victims);
        let spot = ring.nodes.admit(id, block, bytes, false);
        ring.hand.push_back(spot);
        true
    }

    fn touch(&self, id: FrameId) {
        if let Some(node) = self.ring.lock().nodes.held(id) {
            node.touches = 1;
        }
    }

    fn forget(&self, id: FrameId) {
        self.ring.lock().nodes.remove(id);
    }

    fn resize(&self, capacity_bytes: usize, victims: &mut Vec<FrameId>) {
        let mut ring = self.ring.lock();
        ring.capacity_bytes = capacity_bytes;
        ring.shrink_to(capacity_bytes, victims);
    }

    fn bytes(&self) -> usize {
        self.ring.lock().nodes.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_read_goes_round_once_more() {
        let clock = Clock::new(30);
        let mut victims = Vec::new();
        for id in 0..3 {
            assert!(clock.admit(id, u64::from(id), 10, &mut victims));
        }
        clock.touch(0);
        assert!(clock.admit(3, 3, 10, &mut victims));
        assert!(clock.admit(4, 4, 10, &mut victims));
        assert_eq!(victims, [1, 2]);
        // Its chance is used up: now it is the first without a mark.
        assert!(clock.admit(5, 5, 10, &mut victims));
        assert_eq!((victims, clock.bytes()), (vec![1, 2, 0], 30));
    }

    #[test]
    fn places_that_were_left_do_not_pile_up() {
        let clock = Clock::new(1_000);
        for _ in 0..10_000 {
            assert!(clock.admit(0, 0, 10, &mut Vec::new()));
            clock.forget(0);
        }
        assert!(clock.ring.lock().hand.len() < 200);
    }
}
