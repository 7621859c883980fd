//! Cold, hot and ghosts: what was read once makes way for what was read twice.
//!
//! The approach of the crate `quick_cache`, a simplified CLOCK-Pro (Jiang, Chen, Zhang, USENIX ATC 2005) that is
//! close to S3-FIFO (Yang and others, SOSP 2023), over slots:
//!
//! 1. A new frame goes to the end of the *cold* queue. A block that went lately is still known as a *ghost*: its
//!    frame goes to the end of the *hot* queue.
//! 2. A read adds one to the frame's count, up to two.
//! 3. For room, the first of the cold queue is taken. With a count it becomes hot; without one it goes and
//!    leaves a ghost.
//! 4. While hot frames are more than their share, or none is cold, the first of the hot queue is taken. With a
//!    count it loses one and goes to the end; without one it goes, and leaves no ghost.
//!
//! A long scan passes through the cold queue and leaves the hot frames alone.

use super::queue::{Nodes, Spot};
use super::{BlockId, CachePolicy, FrameId};
use foldhash::fast::FixedState;
use parking_lot::Mutex;
use std::collections::{HashSet, VecDeque};

/// The share of the capacity that hot frames may take, in per cent: all but enough to see new frames twice.
const HOT_PER_CENT: usize = 97;
/// Reads that are counted: two are enough to tell a habit from a repetition.
const TOUCHES_MAX: u8 = 2;
/// Ghosts for each two frames: a block that comes back after half of the cache was replaced is known.
const GHOSTS_PER_2_FRAMES: usize = 1;

/// Keeps the frames that are read more than once.
pub(crate) struct Quick {
    state: Mutex<State>,
}

/// Invariant: each admitted frame has one place, in `hot` if its node is hot, else in `cold`;
/// `hot_bytes <= nodes.bytes <= capacity_bytes`.
struct State {
    nodes: Nodes,
    cold: VecDeque<Spot>,
    hot: VecDeque<Spot>,
    hot_bytes: usize,
    ghosts: Ghosts,
    capacity_bytes: usize,
}

/// Blocks that went lately, oldest first.
///
/// Invariant: `known` is a subset of `order`. Its hashes need not resist anybody: numbers of blocks come from counting.
#[derive(Default)]
struct Ghosts {
    order: VecDeque<BlockId>,
    known: HashSet<BlockId, FixedState>,
}

impl Ghosts {
    fn push(&mut self, block: BlockId, count_max: usize) {
        if self.known.insert(block) {
            self.order.push_back(block);
        }
        while self.order.len() > count_max.max(1) {
            let oldest = self.order.pop_front().expect("there are more than none");
            self.known.remove(&oldest);
        }
    }
}

impl Quick {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let (cold, hot) = (VecDeque::new(), VecDeque::new());
        let (nodes, ghosts) = (Nodes::default(), Ghosts::default());
        let state = State { nodes, cold, hot, hot_bytes: 0, ghosts, capacity_bytes };
        Self { state: Mutex::new(state) }
    }
}

impl State {
    fn shrink_to(&mut self, bytes_max: usize, victims: &mut Vec<FrameId>) {
        while self.nodes.bytes > bytes_max {
            let hot_bytes_max = self.capacity_bytes / 100 * HOT_PER_CENT;
            match self.cold.pop_front() {
                Some(spot) if self.hot_bytes <= hot_bytes_max => self.pass_cold(spot, victims),
                Some(spot) => {
                    self.cold.push_front(spot);
                    self.pass_hot(victims);
                }
                None => self.pass_hot(victims),
            }
        }
        self.nodes.tidy(&mut self.cold);
        self.nodes.tidy(&mut self.hot);
    }

    fn pass_cold(&mut self, spot: Spot, victims: &mut Vec<FrameId>) {
        let Some(node) = self.nodes.at(spot) else { return };
        if node.touches > 0 {
            node.touches = 0;
            node.is_hot = true;
            self.hot_bytes += node.bytes;
            self.hot.push_back(spot);
            return;
        }
        let block = node.block;
        self.nodes.remove(spot.0);
        victims.push(spot.0);
        let frames = self.cold.len() + self.hot.len();
        self.ghosts.push(block, frames / 2 * GHOSTS_PER_2_FRAMES);
    }

    fn pass_hot(&mut self, victims: &mut Vec<FrameId>) {
        let spot = self.hot.pop_front().expect("a frame that is not cold is hot");
        let Some(node) = self.nodes.at(spot) else { return };
        if node.touches > 0 {
            node.touches -= 1;
            self.hot.push_back(spot);
        } else {
            self.remove(spot.0);
            victims.push(spot.0);
        }
    }

    fn remove(&mut self, id: FrameId) {
        if let Some(node) = self.nodes.remove(id)
            && node.is_hot
        {
            self.hot_bytes -= node.bytes;
        }
    }
}

impl CachePolicy for Quick {
    fn name(&self) -> &'static str {
        "quick"
    }

    fn admit(&self, id: FrameId, block: BlockId, bytes: usize, victims: &mut Vec<FrameId>) -> bool {
        let mut state = self.state.lock();
        let Some(room) = state.capacity_bytes.checked_sub(bytes.max(1)) else { return false };
        state.shrink_to(room, victims);
        // A ghost that is taken back keeps its place in the order until that is passed.
        let is_hot = state.ghosts.known.remove(&block);
        let spot = state.nodes.admit(id, block, bytes, is_hot);
        if is_hot {
            state.hot_bytes += bytes.max(1);
            state.hot.push_back(spot);
        } else {
            state.cold.push_back(spot);
        }
        true
    }

    fn touch(&self, id: FrameId) {
        if let Some(node) = self.state.lock().nodes.held(id) {
            node.touches = (node.touches + 1).min(TOUCHES_MAX);
        }
    }

    fn forget(&self, id: FrameId) {
        self.state.lock().remove(id);
    }

    fn resize(&self, capacity_bytes: usize, victims: &mut Vec<FrameId>) {
        let mut state = self.state.lock();
        state.capacity_bytes = capacity_bytes;
        state.shrink_to(capacity_bytes, victims);
    }

    fn bytes(&self) -> usize {
        self.state.lock().nodes.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Admits blocks under their own numbers as ids; those that went.
    fn admit(quick: &Quick, blocks: std::ops::Range<u32>) -> Vec<FrameId> {
        let mut victims = Vec::new();
        for id in blocks {
            assert!(quick.admit(id, u64::from(id), 10, &mut victims));
        }
        victims
    }

    #[test]
    fn a_scan_leaves_alone_what_was_read_twice() {
        let quick = Quick::new(1_000);
        assert!(admit(&quick, 0..50).is_empty());
        (0..50).for_each(|id| quick.touch(id));
        let victims = admit(&quick, 100..1_100);
        assert!(victims.iter().all(|id| *id >= 100), "of the fifty, none went");
        assert_eq!(quick.bytes(), 1_000);
    }

    #[test]
    fn a_block_that_comes_back_soon_is_hot() {
        let quick = Quick::new(100);
        assert_eq!(admit(&quick, 0..11), [0], "the first went and left a ghost");
        assert_eq!(admit(&quick, 0..1), [1]);
        assert_eq!(quick.state.lock().hot_bytes, 10);
        let victims = admit(&quick, 20..60);
        assert!(!victims.contains(&0), "forty new blocks do not push it out");
    }

    #[test]
    fn hot_frames_that_are_read_no_more_go_in_the_end() {
        let quick = Quick::new(100);
        admit(&quick, 0..10);
        (0..10).for_each(|id| quick.touch(id));
        admit(&quick, 10..20);
        (10..20).for_each(|id| quick.touch(id));
        let victims = admit(&quick, 20..60);
        assert!(victims.iter().any(|id| *id < 10), "{victims:?}");
        assert!(quick.state.lock().hot_bytes <= 100);
    }
}
