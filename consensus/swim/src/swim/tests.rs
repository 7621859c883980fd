//! That a member takes in what is meant for it, stays within its bounds, and goes when it is told to.

use super::*;
use crate::message::Claim;
use crate::testing::{Lone, alive, alive_with, boot, down, some, suspect};
use crate::{Chance, ClusterId, Generation, MemberState};
use std::collections::BTreeMap;

fn quiet() -> Settings {
    Settings { period: Duration::from_secs(3_600), ..Settings::default() }
}

fn envelope(cluster: u64) -> Envelope {
    let identity = Identity { node: NodeId(2), generation: Generation(1) };
    Envelope::new(ClusterId(cluster), identity, 0, None)
}

#[test]
fn a_packet_of_another_cluster_is_refused_and_counted_and_changes_nothing() {
    let mut lone = Lone::among(3, quiet());
    let packet = lone.packet(some(2), Message::Gossip, vec![down(some(3), 0)]);
    let body = envelope(crate::testing::CLUSTER.0).open(&packet).unwrap();
    let foreign = envelope(8).seal(&body);
    let before = lone.swim.status();
    let refused = Err(SwimError::Packet(Refusal::ForeignCluster));
    assert_eq!(lone.hand_in(Class::Datagram, &foreign), refused);
    assert_eq!(lone.swim.status(), before);
    assert_eq!(lone.count("swim_refused_foreign_cluster"), 1);
    lone.hand_in(Class::Datagram, &packet).unwrap();
    assert_eq!(lone.state(3), MemberState::Down, "the same in its own cluster is taken in");
}

#[test]
fn no_bytes_from_outside_make_a_member_panic_or_change_unless_they_are_a_packet() {
    let mut lone = Lone::among(5, quiet());
    let mut chance = Chance::new(21);
    let good = lone.packet(some(2), Message::Gossip, vec![suspect(some(3), 0, &[4])]);
    let before = lone.swim.status();
    for round in 0..20_000 {
        let mut bytes = good.to_vec();
        match round % 3 {
            0 => bytes.truncate(chance.below(good.len() as u64) as usize),
            1 => {
                let at = chance.below(good.len() as u64) as usize;
                bytes[at] ^= 1 << chance.below(8);
            }
            _ => bytes = (0..chance.below(120)).map(|_| chance.next_u64() as u8).collect(),
        }
        assert!(lone.hand_in(Class::Datagram, &bytes.into()).is_err());
    }
    // Bodies at random, in a right envelope: refused as a whole, or packets.
    assert_eq!(lone.swim.status(), before);
    for _ in 0..20_000 {
        let body: Vec<u8> = (0..chance.below(60)).map(|_| chance.below(8) as u8).collect();
        let packet = envelope(crate::testing::CLUSTER.0).seal(&body);
        let _ = lone.hand_in(Class::Datagram, &packet);
        lone.swim.check();
        lone.asked.sent.clear();
    }
}

#[test]
fn a_packet_that_says_it_comes_from_this_node_or_an_earlier_boot_is_refused() {
    let mut lone = Lone::among(3, quiet());
    let mirror = lone.packet(some(1), Message::Gossip, vec![]);
    let refused = Err(SwimError::Packet(Refusal::FromMyself));
    assert_eq!(lone.hand_in(Class::Datagram, &mirror), refused);
    lone.rumour(alive(crate::testing::later(3), 0));
    let stale = lone.packet(some(3), Message::Gossip, vec![]);
    let refused = Err(SwimError::Packet(Refusal::StaleSender));
    lone.run_for(Duration::from_secs(60));
    lone.take_sent();
    assert_eq!(lone.hand_in(Class::Datagram, &stale), refused);
    let told = lone.take_sent().remove(0);
    assert_eq!(told.to, 3);
    assert!(told.packet.rumours.contains(&alive(crate::testing::later(3), 0)), "and told why");
}

#[test]
fn no_packet_is_longer_than_the_settings_say_and_all_news_get_through() {
    let settings = Settings { packet_bytes_max: 1_000, ..quiet() };
    let mut lone = Lone::among(2, settings);
    for node in 3..60 {
        lone.rumour(alive_with(some(node), 0, &vec![7; (node as usize * 37) % 512]));
    }
    let mut told = BTreeMap::new();
    let mut longest = 0;
    for _ in 0..200 {
        lone.run_for(Duration::from_millis(200));
        let datagrams = lone.asked.sent.iter().filter(|sent| sent.1 == Class::Datagram);
        longest = datagrams.map(|sent| sent.2.len()).fold(longest, usize::max);
        let sent = lone.take_sent().into_iter();
        for sent in sent.filter(|sent| sent.class == Class::Datagram) {
            for rumour in sent.packet.rumours {
                *told.entry(rumour.identity.node.0).or_insert(0) += 1;
            }
        }
    }
    assert!((800..=1_000).contains(&longest), "{longest} bytes");
    // 60 members: four times the logarithm of 61.
    let most = told.values().max();
    assert_eq!(most, Some(&20), "{told:?}");
    assert!((3..60).all(|node| told.get(&node) == Some(&20)), "{told:?}");
    assert!(lone.swim.rumours.is_empty());
}

#[test]
fn a_suspect_hears_of_its_suspicion_first() {
    for buddy in [true, false] {
        let mut lone = Lone::among(40, Settings { buddy, ..Settings::default() });
        lone.rumour(suspect(some(3), 0, &[4]));
        lone.run_for(Duration::from_secs(3));
        lone.take_sent();
        // Something newer is before it in the order, and takes all the room there is.
        for node in 50..60 {
            lone.rumour(alive_with(some(node), 0, &[7; 512]));
        }
        lone.tell(some(3), Message::Ping { number: 5, target: some(1) }, vec![]);
        let sent = lone.take_sent();
        let ack = sent.iter().find(|sent| sent.to == 3).unwrap();
        assert_eq!(ack.packet.message, Message::Ack { number: 5 });
        let first = &ack.packet.rumours[0];
        let is_suspicion = matches!(first.claim, Claim::Suspect { .. });
        assert_eq!(is_suspicion && first.identity == some(3), buddy, "{first:?}");
    }
}

#[test]
fn whoever_is_held_down_hears_of_it_when_it_speaks() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(down(some(3), 0));
    lone.run_for(Duration::from_secs(60));
    lone.take_sent();
    lone.tell(some(3), Message::Ping { number: 5, target: some(1) }, vec![]);
    assert_eq!(lone.take_sent()[0].packet.rumours, [down(some(3), 0)]);
}

#[test]
fn who_leaves_tells_the_others_and_is_silent_then() {
    let mut lone = Lone::among(4, quiet());
    lone.take_sent();
    lone.swim.leave(lone.now, &mut lone.asked).unwrap();
    lone.rumour(suspect(some(1), 0, &[2]));
    lone.run_for(Duration::from_secs(5));
    let left = crate::testing::left(some(1), 0);
    let told = lone.take_sent();
    assert!(told.iter().filter(|sent| sent.packet.rumours.contains(&left)).count() >= 4);
    assert_eq!(lone.take_events(), [Event::Gone], "who leaves refutes nothing");
    assert_eq!(lone.swim.status().phase, Phase::Gone);
    let ping = lone.packet(some(2), Message::Ping { number: 1, target: some(1) }, vec![]);
    assert_eq!(lone.hand_in(Class::Datagram, &ping), Err(SwimError::NotRunning));
    lone.run_for(Duration::from_secs(3_600));
    assert!(lone.take_sent().is_empty());
}

#[test]
fn who_is_alone_leaves_at_once() {
    let mut lone = Lone::among(1, quiet());
    lone.swim.leave(lone.now, &mut lone.asked).unwrap();
    assert_eq!(lone.take_events(), [Event::Gone]);
}

#[test]
fn new_metadata_raise_the_incarnation_and_spread_and_too_long_ones_do_not() {
    let mut lone = Lone::among(4, quiet());
    let long = Bytes::from(vec![0; 513]);
    assert!(lone.swim.set_metadata(lone.now, long, &mut lone.asked).is_err());
    assert_eq!(lone.swim.status().incarnation, Incarnation(0));
    let zone = Bytes::from_static(b"zone=b");
    lone.swim.set_metadata(lone.now, zone, &mut lone.asked).unwrap();
    lone.take_sent();
    lone.run_for(Duration::from_millis(200));
    let told = lone.take_sent();
    assert_eq!(told.len(), 3);
    let news = alive_with(some(1), 1, b"zone=b");
    assert!(told.iter().all(|sent| sent.packet.rumours.contains(&news)));
}

#[test]
fn a_member_starts_once_and_does_nothing_before() {
    let mut lone = Lone::among(1, quiet());
    assert_eq!(lone.swim.start(lone.now, &mut lone.asked), Err(SwimError::NotRunning));
    let mut fresh = Swim::new(boot(quiet()), &nori_observe::NullMeter).unwrap();
    assert_eq!(fresh.join(lone.now, &[], &mut lone.asked), Err(SwimError::NotRunning));
}

#[test]
fn settings_that_cannot_be_are_refused() {
    let settings = Settings { packet_bytes_max: 100, ..quiet() };
    assert!(Swim::new(boot(settings), &nori_observe::NullMeter).is_err());
}
