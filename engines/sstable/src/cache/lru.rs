//! Least recently used: one list in order of use, kept in an array by frame id.

use super::{BlockId, CachePolicy, FrameId};
use parking_lot::Mutex;

/// No frame.
const NIL: FrameId = FrameId::MAX;

/// Keeps the frames that were touched last.
pub(crate) struct Lru {
    list: Mutex<List>,
}

/// Invariant: following `next` from `newest` meets each admitted frame once and ends at `oldest`; `bytes` is the
/// sum over them, and `bytes <= capacity_bytes`.
struct List {
    nodes: Vec<Node>,
    newest: FrameId,
    oldest: FrameId,
    bytes: usize,
    capacity_bytes: usize,
}

#[derive(Clone, Copy)]
struct Node {
    previous: FrameId,
    next: FrameId,
    /// Zero: not admitted.
    bytes: usize,
}

const ABSENT: Node = Node { previous: NIL, next: NIL, bytes: 0 };

impl Lru {
    pub(crate) fn new(capacity_bytes: usize) -> Self {
        let list = List { nodes: vec![], newest: NIL, oldest: NIL, bytes: 0, capacity_bytes };
        Self { list: Mutex::new(list) }
    }
}

impl CachePolicy for Lru {
    fn name(&self) -> &'static str {
        "lru"
    }

    fn admit(&self, id: FrameId, _: BlockId, bytes: usize, victims: &mut Vec<FrameId>) -> bool {
        let mut list = self.list.lock();
        if bytes > list.capacity_bytes {
            return false;
        }
        let room = list.capacity_bytes - bytes;
        list.shrink_to(room, victims);
        let needed = id as usize + 1;
        if list.nodes.len() < needed {
            list.nodes.resize(needed, ABSENT);
        }
        debug_assert_eq!(list.nodes[id as usize].bytes, 0, "frame {id} is admitted twice");
        // An empty frame still needs a mark that it is there.
        list.nodes[id as usize].bytes = bytes.max(1);
        list.bytes += bytes.max(1);
        list.push_newest(id);
        true
    }

    fn touch(&self, id: FrameId) {
        let mut list = self.list.lock();
        if list.holds(id) && list.newest != id {
            list.unlink(id);
            list.push_newest(id);
        }
    }

    fn forget(&self, id: FrameId) {
        let mut list = self.list.lock();
        if list.holds(id) {
            list.remove(id);
        }
    }

    fn resize(&self, capacity_bytes: usize, victims: &mut Vec<FrameId>) {
        let mut list = self.list.lock();
        list.capacity_bytes = capacity_bytes;
        list.shrink_to(capacity_bytes, victims);
    }

    fn bytes(&self) -> usize {
        self.list.lock().bytes
    }
}

impl List {
    fn holds(&self, id: FrameId) -> bool {
        self.nodes.get(id as usize).is_some_and(|node| node.bytes > 0)
    }

    fn shrink_to(&mut self, bytes_max: usize, victims: &mut Vec<FrameId>) {
        while self.bytes > bytes_max {
            let oldest = self.oldest;
            self.remove(oldest);
            victims.push(oldest);
        }
    }

    fn remove(&mut self, id: FrameId) {
        self.unlink(id);
        self.bytes -= self.nodes[id as usize].bytes;
        self.nodes[id as usize] = ABSENT;
    }

    fn push_newest(&mut self, id: FrameId) {
        let newest = self.newest;
        self.nodes[id as usize].previous = NIL;
        self.nodes[id as usize].next = newest;
        match newest {
            NIL => self.oldest = id,
            other => self.nodes[other as usize].previous = id,
        }
        self.newest = id;
    }

    fn unlink(&mut self, id: FrameId) {
        let Node { previous, next, .. } = self.nodes[id as usize];
        match previous {
            NIL => self.newest = next,
            other => self.nodes[other as usize].next = next,
        }
        match next {
            NIL => self.oldest = previous,
            other => self.nodes[other as usize].previous = previous,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_that_was_not_touched_for_longest_goes_first() {
        let lru = Lru::new(30);
        let mut victims = Vec::new();
        for id in 0..3 {
            assert!(lru.admit(id, 0, 10, &mut victims));
        }
        lru.touch(0);
        assert!(lru.admit(3, 0, 10, &mut victims));
        assert_eq!(victims, [1]);
        lru.forget(2);
        assert!(lru.admit(4, 0, 10, &mut victims));
        assert_eq!((victims, lru.bytes()), (vec![1], 30));
    }
}
