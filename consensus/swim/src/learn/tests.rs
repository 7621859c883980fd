//! That what is said is believed exactly when it is news.

use super::*;
use crate::testing::{Lone, alive, alive_with, down, later, left, some, suspect};
use crate::{Chance, MemberState, Settings};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3_600);

/// Without the noise of probes that nobody answers.
fn quiet() -> Settings {
    Settings { period: Duration::from_secs(3_600), ..Settings::default() }
}

#[test]
fn a_member_refutes_what_is_said_of_it_by_a_greater_incarnation() {
    for accusation in [suspect(some(1), 0, &[3]), down(some(1), 0), left(some(1), 0)] {
        let mut lone = Lone::among(4, quiet());
        lone.rumour(accusation);
        assert_eq!(lone.take_events(), [Event::Refuted { incarnation: Incarnation(1) }]);
        assert_eq!(lone.swim.status().local_health, 1);
        lone.asked.sent.clear();
        lone.run_for(Duration::from_millis(200));
        let told = lone.take_sent();
        assert!(!told.is_empty());
        assert!(told.iter().all(|sent| sent.packet.rumours.contains(&alive(some(1), 1))));
    }
}

#[test]
fn a_member_never_believes_itself_down() {
    let mut lone = Lone::among(4, quiet());
    for incarnation in [0, 7, 7, 1 << 40] {
        lone.rumour(down(some(1), incarnation));
        assert!(lone.swim.status().incarnation > Incarnation(incarnation));
        assert!(lone.member(1).is_none());
    }
}

#[test]
fn a_stale_accusation_does_not_raise_the_incarnation_but_is_answered() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(suspect(some(1), 5, &[3]));
    lone.run_for(Duration::from_secs(60));
    assert!(lone.swim.rumours.is_empty());
    lone.rumour(suspect(some(1), 5, &[3]));
    assert_eq!(lone.swim.status().incarnation, Incarnation(6));
    assert!(lone.swim.rumours.contains(NodeId(1)), "who says so has not heard the refutation");
}

#[test]
fn a_refutation_clears_a_suspect_and_its_deadline_passes_without_effect() {
    let settings = Settings { suspicion_multiplier: 1, suspicion_stretch: 1, ..quiet() };
    let lasts = settings.period;
    let mut lone = Lone::among(4, settings);
    lone.rumour(suspect(some(3), 0, &[4]));
    assert_eq!(lone.member(3).unwrap().suspicion_deadline, Some(lone.now.after(lasts)));
    lone.rumour(alive(some(3), 1));
    assert_eq!(lone.state(3), MemberState::Alive);
    let events =
        [Event::Suspected { member: some(3), by: NodeId(4) }, Event::Cleared { member: some(3) }];
    assert_eq!(lone.take_events(), events);
    lone.run_for(lasts);
    assert_eq!(lone.state(3), MemberState::Alive);
}

#[test]
fn the_same_incarnation_does_not_refute() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(suspect(some(3), 2, &[4]));
    lone.rumour(alive(some(3), 2));
    assert_eq!(lone.state(3), MemberState::Suspect);
}

#[test]
fn a_stale_incarnation_changes_nothing() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(alive_with(some(3), 5, b"new"));
    let before = lone.member(3);
    lone.take_events();
    let stale = [
        alive_with(some(3), 4, b"old"),
        suspect(some(3), 4, &[2]),
        down(some(3), 4),
        left(some(3), 4),
    ];
    for rumour in stale {
        lone.rumour(rumour);
    }
    assert_eq!(lone.member(3), before);
    assert!(lone.take_events().is_empty());
}

#[test]
fn a_suspect_that_says_nothing_is_down_at_its_deadline() {
    let mut lone = Lone::among(4, Settings { confirmations: 0, ..quiet() });
    lone.rumour(suspect(some(3), 0, &[4]));
    let deadline = lone.member(3).unwrap().suspicion_deadline.unwrap();
    let lasts = deadline.since(lone.now);
    assert_eq!(lasts, Duration::from_secs(4 * 3_600));
    lone.run_for(lasts - Duration::from_nanos(1));
    assert_eq!(lone.state(3), MemberState::Suspect);
    lone.run_for(Duration::from_nanos(1));
    assert_eq!(lone.state(3), MemberState::Down);
}

#[test]
fn confirmations_bring_the_end_of_a_suspicion_nearer_and_one_accuser_confirms_once() {
    let mut lone = Lone::among(10, Settings::default());
    let began = lone.now;
    let lasts =
        |lone: &Lone| lone.member(3).unwrap().suspicion_deadline.unwrap().since(began).as_millis();
    lone.rumour(suspect(some(3), 0, &[4]));
    assert_eq!(lasts(&lone), 24_000);
    lone.rumour(suspect(some(3), 0, &[4]));
    assert_eq!(lasts(&lone), 24_000);
    lone.rumour(suspect(some(3), 0, &[5]));
    assert_eq!(lasts(&lone), 14_000);
    lone.rumour(suspect(some(3), 0, &[4, 6, 7]));
    assert_eq!(lasts(&lone), 4_000);
    lone.rumour(suspect(some(3), 0, &[8, 9]));
    assert_eq!(lasts(&lone), 4_000);
    assert_eq!(lone.member(3).unwrap().accusers.len(), 4, "no more are needed");
}

#[test]
fn a_member_that_is_down_comes_back_with_a_greater_incarnation_only() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(down(some(3), 0));
    assert_eq!(lone.swim.size(), 3);
    lone.rumour(alive(some(3), 0));
    assert_eq!(lone.state(3), MemberState::Down);
    lone.rumour(alive(some(3), 1));
    assert_eq!(lone.state(3), MemberState::Alive);
    assert_eq!(lone.swim.size(), 4);
    assert!(matches!(lone.take_events()[..], [Event::Down { .. }, Event::Up { .. }]));
}

#[test]
fn a_later_boot_replaces_the_earlier_and_what_is_said_of_that_is_stale() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(down(some(3), 9));
    lone.take_events();
    lone.rumour(alive_with(later(3), 0, b"again"));
    assert_eq!(lone.state(3), MemberState::Alive);
    assert!(matches!(lone.take_events()[..], [Event::Restarted { member, earlier, .. }]
        if member == later(3) && earlier == crate::Generation(1)));
    for stale in [alive(some(3), 10), suspect(some(3), 10, &[4]), down(some(3), 10)] {
        lone.rumour(stale);
    }
    assert_eq!(lone.member(3).unwrap().identity, later(3));
    assert_eq!(lone.state(3), MemberState::Alive);
    assert_eq!(lone.swim.size(), 4);
}

#[test]
fn a_member_is_silent_once_a_later_boot_of_its_node_is_about() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(alive(later(1), 0));
    assert_eq!(lone.take_events(), [Event::Superseded { by: crate::Generation(2) }]);
    lone.asked.sent.clear();
    lone.run_for(DAY);
    assert!(lone.asked.sent.is_empty());
    assert_eq!(lone.swim.leave(lone.now, &mut lone.asked), Err(crate::SwimError::NotRunning));
}

#[test]
fn a_member_that_leaves_is_not_suspected_and_not_probed() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(left(some(3), 0));
    assert_eq!(lone.take_events(), [Event::Left { member: some(3) }]);
    lone.rumour(suspect(some(3), 0, &[2]));
    lone.rumour(down(some(3), 0));
    assert_eq!(lone.state(3), MemberState::Left);
    for _ in 0..6 {
        assert_ne!(lone.next_ping().0, 3);
    }
}

#[test]
fn what_a_member_says_of_itself_arrives_even_if_it_is_suspect_by_then() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(suspect(some(3), 2, &[4]));
    lone.rumour(alive_with(some(3), 2, b"zone=b"));
    assert_eq!(lone.state(3), MemberState::Suspect);
    assert_eq!(lone.member(3).unwrap().metadata, "zone=b");
    lone.rumour(alive_with(some(3), 1, b"zone=a"));
    assert_eq!(lone.member(3).unwrap().metadata, "zone=b");
}

#[test]
fn a_member_that_is_down_is_forgotten_after_its_time_and_not_if_it_came_back() {
    let mut lone = Lone::among(4, quiet());
    lone.rumour(down(some(3), 0));
    lone.rumour(down(some(4), 0));
    lone.run_for(DAY / 2);
    // Probed by nobody's answer it would fall again: what matters is when.
    lone.rumour(alive(some(4), 1));
    lone.rumour(down(some(4), 1));
    lone.take_events();
    lone.run_for(DAY / 2);
    assert!(lone.member(3).is_none());
    assert!(lone.member(4).is_some());
    assert!(lone.take_events().contains(&Event::Forgotten { member: some(3) }));
}

#[test]
fn nobody_comes_from_being_suspected() {
    let mut lone = Lone::among(4, quiet());
    for rumour in [suspect(some(9), 0, &[2]), down(some(9), 0), left(some(9), 0)] {
        lone.rumour(rumour);
    }
    assert!(lone.member(9).is_none());
}

#[test]
fn members_that_heard_the_same_agree_in_whatever_order_they_heard_it() {
    for seed in 0..300 {
        let mut chance = Chance::new(seed);
        let mut rumours: Vec<Rumour> = (0..12)
            .map(|_| {
                let identity = if chance.below(4) == 0 { later(3) } else { some(3) };
                let incarnation = chance.below(4);
                match chance.below(5) {
                    0 | 1 => alive_with(identity, incarnation, &incarnation.to_le_bytes()),
                    2 => suspect(identity, incarnation, &[4, 5]),
                    3 => down(identity, incarnation),
                    _ => left(identity, incarnation),
                }
            })
            .collect();
        // A later boot is known by its being alive only: let all orders begin with that.
        let first = alive_with(later(3), 0, &0u64.to_le_bytes());
        let mut known = Vec::new();
        for _ in 0..4 {
            chance.shuffle(&mut rumours);
            let mut lone = Lone::among(6, quiet());
            lone.rumour(first.clone());
            rumours.iter().for_each(|rumour| lone.rumour(rumour.clone()));
            let member = lone.member(3).unwrap();
            known.push((member.identity, member.incarnation, member.state, member.metadata));
        }
        assert!(known.windows(2).all(|pair| pair[0] == pair[1]), "seed {seed}: {known:?}");
    }
}
