//! That an exchange tells all, however it is cut, and that joining goes on until somebody answers.

use super::*;
use crate::testing::{Lone, address_of, alive_with, down, some, suspect};
use crate::{MemberState, Settings};
use std::collections::BTreeSet;
use std::time::Duration;

fn syncs(lone: &mut Lone) -> Vec<u64> {
    let sent = lone.take_sent().into_iter();
    let syncs = sent.filter(|sent| sent.packet.message == Message::Sync { is_answer: false });
    syncs.map(|sent| sent.to).collect()
}

#[test]
fn whoever_asks_is_told_all_that_is_known_with_the_state_it_is_in() {
    let mut lone = Lone::among(5, Settings::default());
    lone.rumour(alive_with(some(3), 4, b"zone=a"));
    lone.rumour(suspect(some(3), 4, &[2]));
    lone.rumour(down(some(4), 0));
    lone.take_sent();
    lone.tell(some(9), Message::Sync { is_answer: false }, vec![alive_with(some(9), 0, b"")]);
    let sent = lone.take_sent();
    let [answer] = &sent[..] else { panic!("one answer") };
    assert_eq!((answer.to, answer.class), (9, Class::Stream));
    assert_eq!(answer.packet.message, Message::Sync { is_answer: true });
    for rumour in [alive_with(some(3), 4, b"zone=a"), suspect(some(3), 4, &[2]), down(some(4), 0)] {
        assert!(answer.packet.rumours.contains(&rumour), "{rumour:?}");
    }
    assert_eq!(lone.state(9), MemberState::Alive, "and who asked is known");
}

#[test]
fn an_answer_is_not_answered() {
    let mut lone = Lone::among(5, Settings::default());
    lone.take_sent();
    lone.tell(some(2), Message::Sync { is_answer: true }, vec![]);
    assert!(lone.take_sent().is_empty());
}

#[test]
fn joining_is_tried_again_until_somebody_is_known() {
    let mut lone = Lone::among(1, Settings::default());
    let seeds = [address_of(1), address_of(2), address_of(3)];
    lone.swim.join(lone.now, &seeds, &mut lone.asked).unwrap();
    assert_eq!(syncs(&mut lone), [2, 3], "nobody joins at itself");
    lone.run_for(Duration::from_secs(2));
    assert_eq!(syncs(&mut lone), [2, 3]);
    lone.tell(some(2), Message::Sync { is_answer: true }, vec![alive_with(some(2), 0, b"")]);
    lone.take_sent();
    lone.run_for(Duration::from_secs(2));
    assert!(syncs(&mut lone).is_empty());
}

#[test]
fn who_has_found_some_goes_on_looking_for_the_others_where_it_tried_to_join() {
    let mut lone = Lone::among(1, Settings::default());
    let seeds = [address_of(1), address_of(2), address_of(3)];
    lone.swim.join(lone.now, &seeds, &mut lone.asked).unwrap();
    // The first one lives, whatever is thought of it.
    let mut beat = 0;
    let mut asked_in = |lone: &mut Lone, seconds: u64| {
        lone.take_sent();
        for _ in 0..seconds {
            beat += 1;
            lone.tell(some(2), Message::Gossip, vec![alive_with(some(2), beat, b"")]);
            lone.run_for(Duration::from_secs(1));
        }
        syncs(lone)
    };
    let asked = asked_in(&mut lone, 120);
    assert!(asked.contains(&3), "it is of another part of the cluster, and nobody here knows it");
    assert!(asked.len() <= 10, "{asked:?}");
    lone.rumour(alive_with(some(3), 0, b""));
    lone.rumour(crate::testing::left(some(3), 0));
    assert!(!asked_in(&mut lone, 120).contains(&3), "it is known, and has left");
}

#[test]
fn an_exchange_that_is_cut_for_its_length_tells_of_everyone_in_time() {
    let settings = Settings { stream_bytes_max: 1_000, ..Settings::default() };
    let mut lone = Lone::among(2, settings);
    for node in 3..60 {
        lone.rumour(alive_with(some(node), 0, &[7; 64]));
    }
    let mut told = BTreeSet::new();
    for _ in 0..200 {
        lone.take_sent();
        lone.tell(some(2), Message::Sync { is_answer: false }, vec![]);
        let (_, _, bytes) = lone.asked.sent.last().unwrap();
        assert!(bytes.len() <= 1_000);
        let sent = lone.take_sent().pop().unwrap();
        assert!(sent.packet.rumours.len() < 20);
        told.extend(sent.packet.rumours.iter().map(|rumour| rumour.identity.node.0));
    }
    assert_eq!(told.len(), 59);
}

#[test]
fn one_that_is_down_is_asked_now_and_then_and_one_that_left_is_not() {
    let mut lone = Lone::among(2, Settings::default());
    lone.rumour(down(some(2), 0));
    lone.take_sent();
    lone.run_for(Duration::from_secs(60));
    assert!(syncs(&mut lone).contains(&2));
    lone.rumour(crate::testing::left(some(2), 0));
    lone.take_sent();
    lone.run_for(Duration::from_secs(120));
    assert!(syncs(&mut lone).is_empty());
}

#[test]
fn who_has_become_alone_asks_where_it_once_joined() {
    let mut lone = Lone::among(2, Settings::default());
    lone.swim.join(lone.now, &[address_of(9)], &mut lone.asked).unwrap();
    lone.rumour(crate::testing::left(some(2), 0));
    lone.run_for(Duration::from_secs(10));
    lone.take_sent();
    lone.run_for(Duration::from_secs(60));
    assert!(syncs(&mut lone).contains(&9));
}
