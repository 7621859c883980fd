//! News that are still passed on: of which node, and how often it was done already. What is said of a node is looked up when it is
//! sent, so that a newer state replaces an older one by itself.

use crate::NodeId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

/// The order of sending: fewest transmissions first, and of those the newest.
type Place = (u32, Reverse<u64>);

/// News still to be passed on.
#[derive(Debug, Default)]
pub(crate) struct Rumours {
    /// By order of sending. order.len() == places.len()
    order: BTreeSet<(Place, NodeId)>,
    places: BTreeMap<NodeId, Place>,
    /// The next place's age. Every `Reverse(age)` in `order` has age < newest
    newest: u64,
}

impl Rumours {
    /// There is something new of `node`: nobody has been told it yet.
    pub(crate) fn push(&mut self, node: NodeId) {
        self.remove(node);
        self.place(node, (0, Reverse(self.newest)));
        self.newest += 1;
    }

    pub(crate) fn remove(&mut self, node: NodeId) {
        if let Some(place) = self.places.remove(&node) {
            self.order.remove(&(place, node));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    pub(crate) fn contains(&self, node: NodeId) -> bool {
        self.places.contains_key(&node)
    }

    /// Offers the nodes in order to `take`, which says whether it took the news of one, or that it can take no more. What was taken
    /// `most` times in all is dropped.
    pub(crate) fn offer(&mut self, most: u32, mut take: impl FnMut(NodeId) -> Taken) {
        let mut taken = Vec::new();
        for (_, node) in &self.order {
            match take(*node) {
                Taken::Yes => taken.push(*node),
                Taken::TooLong => {}
                Taken::Full => break,
            }
        }
        for node in taken {
            let Some((times, age)) = self.places.get(&node).copied() else { continue };
            self.remove(node);
            if times + 1 < most {
                self.place(node, (times + 1, age));
            }
        }
    }

    fn place(&mut self, node: NodeId, place: Place) {
        self.places.insert(node, place);
        self.order.insert((place, node));
        debug_assert_eq!(self.order.len(), self.places.len());
    }
}

/// What becomes of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is on its way.
    Yes,
    /// This one has no room; a shorter one may have.
    TooLong,
    /// None has room.
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offered(rumours: &mut Rumours, most: u32, room: usize) -> Vec<u64> {
        let mut taken = Vec::new();
        rumours.offer(most, |node| {
            if taken.len() == room {
                return Taken::Full;
            }
            taken.push(node.0);
            Taken::Yes
        });
        taken
    }

    #[test]
    fn what_was_passed_on_least_goes_first_and_of_that_the_newest() {
        let mut rumours = Rumours::default();
        (1..=3).for_each(|node| rumours.push(NodeId(node)));
        assert_eq!(offered(&mut rumours, 9, 2), [3, 2]);
        assert_eq!(offered(&mut rumours, 9, 2), [1, 3]);
        rumours.push(NodeId(3));
        assert_eq!(offered(&mut rumours, 9, 3), [3, 2, 1]);
    }

    #[test]
    fn a_rumour_is_dropped_once_it_was_passed_on_often_enough() {
        let mut rumours = Rumours::default();
        rumours.push(NodeId(1));
        for _ in 0..4 {
            assert_eq!(offered(&mut rumours, 4, 1), [1]);
        }
        assert!(rumours.is_empty());
        rumours.push(NodeId(1));
        assert_eq!(offered(&mut rumours, 4, 1), [1], "something newer is passed on anew");
    }

    #[test]
    fn one_that_has_no_room_does_not_hold_up_the_others() {
        let mut rumours = Rumours::default();
        (1..=2).for_each(|node| rumours.push(NodeId(node)));
        let mut taken = Vec::new();
        rumours.offer(4, |node| {
            if node == NodeId(2) {
                return Taken::TooLong;
            }
            taken.push(node.0);
            Taken::Yes
        });
        assert_eq!(taken, [1]);
        assert!(rumours.contains(NodeId(2)));
    }
}
