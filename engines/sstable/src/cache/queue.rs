//! What the policies with queues share: the admitted frames, and queues that they may leave at any place.
//!
//! A frame that goes is not searched for in its queue. It takes its stamp with it, and the place it leaves is
//! passed over when the queue comes to it; so is the place of a frame whose number was given to another.

use super::{BlockId, FrameId};
use std::collections::VecDeque;

/// An admitted frame.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Node {
    /// Zero: not admitted.
    pub(super) bytes: usize,
    pub(super) block: BlockId,
    /// How often it was read since it was passed over, up to what the policy counts.
    pub(super) touches: u8,
    /// The policy's own: which of its queues the frame is in.
    pub(super) is_hot: bool,
    stamp: u32,
}

/// A place in a queue: a frame, and the stamp it had when it took the place.
pub(super) type Spot = (FrameId, u32);

/// All admitted frames, by id.
///
/// Invariant: `bytes` is the sum over them, `count` their number.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    of: Vec<Node>,
    pub(super) bytes: usize,
    count: usize,
    stamp: u32,
}

impl Nodes {
    /// Takes a frame in; its place for a queue.
    pub(super) fn admit(
        &mut self,
        id: FrameId,
        block: BlockId,
        bytes: usize,
        is_hot: bool,
    ) -> Spot {
        let needed = id as usize + 1;
        if self.of.len() < needed {
            self.of.resize(needed, Node::default());
        }
        debug_assert_eq!(self.of[id as usize].bytes, 0, "frame {id} is admitted twice");
        self.stamp = self.stamp.wrapping_add(1);
        // An empty frame still needs a mark that it is there.
        let bytes = bytes.max(1);
        self.of[id as usize] = Node { bytes, block, touches: 0, is_hot, stamp: self.stamp };
        self.bytes += bytes;
        self.count += 1;
        (id, self.stamp)
    }

    /// The frame, if it is admitted.
    pub(super) fn held(&mut self, id: FrameId) -> Option<&mut Node> {
        self.of.get_mut(id as usize).filter(|node| node.bytes > 0)
    }

    /// The frame of a place, if it is still the same one.
    pub(super) fn at(&mut self, (id, stamp): Spot) -> Option<&mut Node> {
        self.held(id).filter(|node| node.stamp == stamp)
    }

    /// Lets a frame go.
    pub(super) fn remove(&mut self, id: FrameId) -> Option<Node> {
        let node = std::mem::take(self.held(id)?);
        self.bytes -= node.bytes;
        self.count -= 1;
        Some(node)
    }

    /// Takes places that were left out of `queue`, once they are more than those that are taken.
    pub(super) fn tidy(&mut self, queue: &mut VecDeque<Spot>) {
        if queue.len() > 2 * self.count + 64 {
            queue.retain(|&spot| self.at(spot).is_some());
        }
    }
}
