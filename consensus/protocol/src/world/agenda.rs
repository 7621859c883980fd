//! What will happen, in order of time, and of making where times are the same.
//!
//! The heap has times and places only: what will happen lies still, however often the heap is put in order.

use super::Happening;
use crate::{Instant, NodeId};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something that will happen: when, and the node and life it is for.
pub(super) struct Due {
    pub(super) at: Instant,
    pub(super) node: NodeId,
    /// Zero for what outlives the process it is for.
    pub(super) life: u64,
    pub(super) what: Happening,
}

/// Everything that will happen.
#[derive(Default)]
pub(super) struct Agenda {
    /// When, the how-manieth, and where in `dues`. No two have the same number.
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
    /// `Some` exactly where `heap` says that one is.
    dues: Vec<Option<Due>>,
    free: Vec<u32>,
    made: u64,
}

impl Agenda {
    pub(super) fn put(&mut self, due: Due) {
        self.made += 1;
        self.put_as(self.made, due);
    }

    fn put_as(&mut self, number: u64, due: Due) {
        let at = due.at;
        let place = match self.free.pop() {
            Some(place) => {
                self.dues[place as usize] = Some(due);
                place
            }
            None => {
                self.dues.push(Some(due));
                (self.dues.len() - 1) as u32
            }
        };
        self.heap.push(Reverse((at, number, place)));
    }

    /// When the next is due.
    pub(super) fn next_at(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next, with its number.
    pub(super) fn pop(&mut self) -> Option<(u64, Due)> {
        let Reverse((_, number, place)) = self.heap.pop()?;
        self.free.push(place);
        let due = self.dues[place as usize].take().expect("what is in the heap is there");
        Some((number, due))
    }

    /// Puts one off that was taken; it keeps its number.
    pub(super) fn put_off(&mut self, number: u64, due: Due) {
        self.put_as(number, due);
    }

    pub(super) fn len(&self) -> usize {
        self.heap.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(nanos: u64, node: u64) -> Due {
        let what = Happening::Look { peer: NodeId(node) };
        Due { at: Instant { nanos }, node: NodeId(node), life: 0, what }
    }

    #[test]
    fn what_is_due_at_once_comes_in_the_order_of_its_making_and_what_was_put_off_keeps_its_place() {
        let mut agenda = Agenda::default();
        for (nanos, node) in [(5, 1), (3, 2), (5, 3), (5, 4), (1, 5)] {
            agenda.put(due(nanos, node));
        }
        let (number, mut first) = agenda.pop().unwrap();
        assert_eq!((first.node, agenda.next_at()), (NodeId(5), Some(Instant { nanos: 3 })));
        first.at = Instant { nanos: 5 };
        agenda.put_off(number, first);
        agenda.put(due(5, 6));
        assert_eq!(agenda.len(), 6);
        let order = std::iter::from_fn(|| agenda.pop()).map(|(_, due)| due.node.0);
        assert_eq!(order.collect::<Vec<_>>(), [2, 1, 3, 4, 5, 6]);
    }
}
