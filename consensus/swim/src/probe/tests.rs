//! That who answers is alive, whichever way the answer comes, and who does not is suspect.

use super::*;
use crate::testing::{Lone, address_of, some};
use crate::{MemberState, Settings};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Of what was sent: those asked to ping another.
fn asked(lone: &Lone) -> Vec<u64> {
    let sent = lone.sent().into_iter();
    let asked = sent.filter(|sent| matches!(sent.packet.message, Message::IndirectPing { .. }));
    asked.map(|sent| sent.to).collect()
}

/// The class and message of what was sent to `node`.
fn sent_to(lone: &Lone, node: u64) -> Vec<(Class, Message)> {
    let sent = lone.sent().into_iter().filter(|sent| sent.to == node);
    sent.map(|sent| (sent.class, sent.packet.message)).collect()
}

#[test]
fn an_answer_in_time_keeps_a_member_alive_and_measures_the_way() {
    let mut lone = Lone::among(6, Settings::default());
    let (node, number) = lone.next_ping();
    lone.run_for(millis(8));
    lone.tell(some(node), Message::Ack { number }, vec![]);
    assert_eq!(lone.member(node).unwrap().rtt, Some(millis(8)));
    lone.run_for(millis(991));
    assert!(lone.take_events().is_empty());
    assert_eq!(lone.state(node), MemberState::Alive);
}

#[test]
fn a_probe_without_an_answer_asks_others_and_a_stream_and_then_suspects() {
    let mut lone = Lone::among(6, Settings::default());
    let (node, number) = lone.next_ping();
    let target = some(node);
    lone.run_for(millis(499));
    assert!(asked(&lone).is_empty());
    lone.run_for(millis(1));
    let asked = asked(&lone);
    assert_eq!(asked.len(), 3);
    assert!(!asked.contains(&node));
    assert!(sent_to(&lone, node).contains(&(Class::Stream, Message::Ping { number, target })));
    assert_eq!(lone.take_events(), [Event::ProbeFailed { member: target }]);
    lone.run_for(millis(499));
    assert_eq!(lone.state(node), MemberState::Alive);
    lone.run_for(millis(1));
    assert_eq!(lone.state(node), MemberState::Suspect);
    assert_eq!(lone.take_events(), [Event::Suspected { member: target, by: NodeId(1) }]);
}

#[test]
fn an_answer_through_another_rescues_the_probed() {
    let mut lone = Lone::among(6, Settings::default());
    let (node, number) = lone.next_ping();
    lone.run_for(millis(500));
    let through = asked(&lone)[0];
    lone.tell(some(through), Message::Ack { number }, vec![]);
    lone.run_for(millis(500));
    assert_eq!(lone.state(node), MemberState::Alive);
    assert_eq!(lone.count("swim_probes_rescued"), 1);
    assert_eq!(lone.member(node).unwrap().rtt, None, "that was not the direct way");
}

#[test]
fn an_answer_over_a_stream_rescues_the_probed() {
    let mut lone = Lone::among(6, Settings::default());
    let (node, number) = lone.next_ping();
    lone.run_for(millis(500));
    let ack = lone.packet(some(node), Message::Ack { number }, vec![]);
    lone.hand_in(Class::Stream, &ack).unwrap();
    lone.run_for(millis(500));
    assert_eq!(lone.state(node), MemberState::Alive);
    assert_eq!(lone.count("swim_probes_rescued_by_stream"), 1);
}

#[test]
fn an_answer_of_one_who_was_not_asked_is_none() {
    let mut lone = Lone::among(6, Settings::default());
    let (node, number) = lone.next_ping();
    let other = (2..=6).find(|other| *other != node).unwrap();
    lone.tell(some(other), Message::Ack { number }, vec![]);
    lone.tell(some(node), Message::Ack { number: number.wrapping_add(1) }, vec![]);
    lone.run_for(PERIOD);
    assert_eq!(lone.state(node), MemberState::Suspect);
}

#[test]
fn a_member_pings_for_another_and_passes_the_answer_on_under_its_number() {
    let mut lone = Lone::among(4, Settings::default());
    lone.take_sent();
    let ask = Message::IndirectPing {
        number: 77,
        target: some(3),
        address: address_of(3),
        wants_nack: true,
    };
    lone.tell(some(2), ask, vec![]);
    let Some((_, Message::Ping { number, target })) = sent_to(&lone, 3).pop() else {
        panic!("it pings nobody")
    };
    assert_eq!(target, some(3));
    lone.take_sent();
    lone.tell(some(4), Message::Ack { number }, vec![]);
    assert!(sent_to(&lone, 2).is_empty(), "that was another's answer");
    lone.tell(some(3), Message::Ack { number }, vec![]);
    assert_eq!(sent_to(&lone, 2), [(Class::Datagram, Message::Ack { number: 77 })]);
    lone.take_sent();
    lone.run_for(millis(500));
    let nack = (Class::Datagram, Message::Nack { number: 77 });
    assert!(!sent_to(&lone, 2).contains(&nack), "there was an answer");
}

#[test]
fn a_member_says_so_when_a_ping_for_another_has_no_answer_and_only_if_it_was_asked_to() {
    for wants_nack in [true, false] {
        let mut lone = Lone::among(4, Settings::default());
        let target = some(3);
        let ask = Message::IndirectPing { number: 77, target, address: address_of(3), wants_nack };
        lone.tell(some(2), ask, vec![]);
        lone.take_sent();
        let nack = (Class::Datagram, Message::Nack { number: 77 });
        lone.run_for(millis(399));
        assert!(!sent_to(&lone, 2).contains(&nack));
        lone.run_for(millis(1));
        assert_eq!(sent_to(&lone, 2).contains(&nack), wants_nack);
    }
}

#[test]
fn missing_nacks_worsen_the_local_health_and_nacks_do_not() {
    let mut lone = Lone::among(6, Settings::default());
    let (_, number) = lone.next_ping();
    lone.run_for(millis(500));
    for node in asked(&lone) {
        lone.tell(some(node), Message::Nack { number }, vec![]);
    }
    lone.run_for(millis(500));
    assert_eq!(lone.swim.status().local_health, 0);
    lone.next_ping();
    lone.run_for(PERIOD);
    assert_eq!(lone.swim.status().local_health, 3, "three were asked and none said anything");
}

#[test]
fn a_member_in_bad_health_waits_longer_and_an_answer_mends_it() {
    let mut lone = Lone::among(6, Settings::default());
    lone.swim.worsen_health(2);
    let (node, number) = lone.next_ping();
    lone.run_for(millis(1_499));
    assert!(asked(&lone).is_empty());
    lone.run_for(millis(1));
    assert_eq!(asked(&lone).len(), 3);
    lone.run_for(millis(1_000));
    lone.tell(some(node), Message::Ack { number }, vec![]);
    assert_eq!(lone.swim.status().local_health, 1);
    assert_eq!(lone.state(node), MemberState::Alive);
}

#[test]
fn a_member_that_stood_still_reads_before_it_judges() {
    let mut lone = Lone::among(6, Settings::default());
    let (node, number) = lone.next_ping();
    lone.stand_still(Duration::from_secs(20));
    lone.run_for(millis(1));
    assert_eq!(lone.state(node), MemberState::Alive, "its answer may wait to be read");
    lone.tell(some(node), Message::Ack { number }, vec![]);
    lone.run_for(PERIOD * 2);
    assert_eq!(lone.state(node), MemberState::Alive);
    assert!(lone.count("swim_late_timers") > 0);
}

#[test]
fn a_member_that_is_restarted_is_told_apart_from_its_earlier_boot() {
    let mut lone = Lone::among(3, Settings::default());
    lone.take_sent();
    let earlier = Identity { node: NodeId(1), generation: crate::Generation(0) };
    let ping = lone.packet(some(2), Message::Ping { number: 5, target: earlier }, vec![]);
    assert!(lone.hand_in(Class::Datagram, &ping).is_err());
    let sent = lone.take_sent();
    assert!(sent.iter().all(|sent| sent.packet.message != Message::Ack { number: 5 }));
    let own = |sent: &crate::testing::Sent| {
        sent.packet.rumours.iter().any(|rumour| rumour.identity == some(1))
    };
    assert!(sent.iter().any(own), "whoever asks hears of the present boot");
}

#[test]
fn what_others_ask_for_is_bounded() {
    let mut lone = Lone::among(3, Settings::default());
    for number in 0..RELAYS_MAX as u32 + 10 {
        let ask = Message::IndirectPing {
            number,
            target: some(3),
            address: address_of(3),
            wants_nack: false,
        };
        lone.tell(some(2), ask, vec![]);
    }
    assert_eq!(lone.swim.relays.len(), RELAYS_MAX);
    assert_eq!(lone.count("swim_relays_refused"), 10);
    lone.run_for(PERIOD * 2);
    assert!(lone.swim.relays.is_empty(), "and forgotten");
}
