//! That many members agree, whatever the network does, and that two runs of one seed are one.

use super::measure::{Pauses, Sample, detection, dissemination, with_pauses, without_faults};
use super::*;
use crate::KEY_BYTES;

const SECOND: Duration = Duration::from_secs(1);

fn downs(noted: &[Noted]) -> usize {
    noted.iter().filter(|noted| matches!(noted.event, Event::Down { .. })).count()
}

/// A minute of everything that can go wrong.
fn turmoil(seed: u64) -> World {
    let mut settings = WorldSettings::new(12, seed);
    settings.loss_ppm = 50_000;
    settings.keyring = Some(Keyring::new([3; KEY_BYTES]));
    let mut world = World::settled(settings);
    world.cut(1, 2);
    world.pause(3);
    world.kill(4);
    world.run_for(SECOND * 20);
    world.resume(3);
    world.start(4);
    world.act(5, |swim, now, calls| swim.leave(now, calls).unwrap());
    world.run_for(SECOND * 20);
    world.mend();
    world.run_for(SECOND * 20);
    world
}

#[test]
fn the_same_seed_gives_the_same_calls_and_another_one_others() {
    let (one, same, other) = (turmoil(1), turmoil(1), turmoil(2));
    assert_eq!(one.trace(), same.trace());
    assert_eq!(one.noted(), same.noted());
    assert_ne!(one.trace(), other.trace());
}

/// Two minutes of faults that chance chooses.
fn misfortune(seed: u64) -> World {
    let mut chance = Chance::new(seed);
    let members = 4 + chance.below(9);
    let mut world = World::settled(WorldSettings::new(members as usize, seed));
    for _ in 0..40 {
        let (one, other) = (chance.below(members) as usize, chance.below(members) as usize);
        match chance.below(8) {
            0 => world.kill(one),
            1 | 2 if world.member(one).is_none() => world.start(one),
            3 => world.pause(one),
            4 | 5 => world.resume(one),
            6 if one != other => world.cut(one, other),
            7 => world.lose(chance.below(400_000) as u32),
            _ => world.mend(),
        }
        world.run_for(Duration::from_millis(chance.below(6_000)));
    }
    world
}

#[test]
fn whatever_happened_members_agree_in_the_end() {
    for seed in 0..12 {
        let mut world = misfortune(seed);
        world.mend();
        world.lose(0);
        for member in 0..world.nodes.len() {
            world.resume(member);
            if world.member(member).is_none() {
                world.start(member);
            }
        }
        assert!(world.settle(SECOND * 900), "seed {seed}");
        for (_, swim) in world.running() {
            assert_eq!(swim.size(), world.nodes.len(), "seed {seed}");
            swim.check();
        }
    }
}

#[test]
fn a_crash_is_noticed_one_and_a_half_periods_later_in_the_mean() {
    let worlds = [(32, 0), (32, 1), (32, 2), (64, 3)];
    let mut means = 0.0;
    for (n, seed) in worlds {
        let found = detection(WorldSettings::new(n, seed), 80);
        let Sample { mean, max, .. } = found.failed_probe;
        means += mean / worlds.len() as f64;
        assert_eq!(found.missed, 0);
        // Half a period more: the time others have for their probes.
        assert!((found.suspicion.mean - mean - 0.5).abs() < 0.1);
        assert!(max < 2.0 * n as f64, "the round bounds the worst case");
    }
    // All others together probe it once a period, at times that are independent; then the timeout of half a period.
    // The mean of 320 waits of about one period is off by 0.17 one time in four hundred.
    assert!((1.33..=1.67).contains(&means), "{means} periods");
}

#[test]
fn nobody_is_suspected_where_nothing_fails() {
    let found = without_faults(WorldSettings::new(16, 1), SECOND * 3_600);
    assert_eq!(found, measure::FalsePositives::default());
}

#[test]
fn nobody_is_declared_down_on_a_network_that_loses_one_datagram_in_ten() {
    let mut settings = WorldSettings::new(16, 1);
    settings.loss_ppm = 100_000;
    let mut world = World::settled(settings);
    world.run_for(SECOND * 1_800);
    assert_eq!(downs(world.noted()), 0);
}

#[test]
fn news_reach_the_last_member_within_three_times_the_logarithm() {
    for (n, bound) in [(16, 12.0), (64, 18.0)] {
        for gossip_interval in [Duration::ZERO, Duration::from_millis(200)] {
            let mut settings = WorldSettings::new(n, 1);
            settings.settings.gossip_interval = gossip_interval;
            let found = dissemination(settings, 10);
            assert_eq!(found.missed, 0);
            assert!(found.took.max <= bound, "{found:?}");
        }
    }
}

#[test]
fn members_that_stand_still_make_ten_times_fewer_others_fall_with_lifeguard() {
    let ms = Duration::from_millis;
    let pauses = Pauses { percent: 10, pause: ms(8_000), run: ms(1_000), duration: SECOND * 600 };
    let mut plain = WorldSettings::new(64, 1);
    plain.settings = plain.settings.without_lifeguard();
    let plain = with_pauses(plain, pauses).declarations;
    let mut without_patience = WorldSettings::new(64, 1);
    without_patience.settings.lateness_max = Duration::ZERO;
    let lifeguard = with_pauses(without_patience, pauses).declarations;
    let both = with_pauses(WorldSettings::new(64, 1), pauses).declarations;
    assert!(plain >= 10, "{plain} fell, too few to compare");
    assert!(lifeguard * 10 <= plain, "{lifeguard} fell, and {plain} without");
    assert!(both * 10 <= plain, "{both} fell, and {plain} without");
}

#[test]
fn a_way_that_is_cut_between_two_makes_nobody_suspect() {
    let mut world = World::settled(WorldSettings::new(8, 1));
    world.cut(1, 2);
    world.run_for(SECOND * 600);
    let suspected = |noted: &Noted| matches!(noted.event, Event::Suspected { .. });
    assert!(!world.noted().iter().any(suspected), "others have asked");
    let failed = |noted: &Noted| matches!(noted.event, Event::ProbeFailed { .. });
    assert!(world.noted().iter().any(failed));
}

#[test]
fn two_halves_that_were_cut_apart_find_each_other_again() {
    let mut world = World::settled(WorldSettings::new(10, 1));
    for (one, other) in (0..5).flat_map(|one| (5..10).map(move |other| (one, other))) {
        world.cut(one, other);
        world.cut(other, one);
    }
    world.run_for(SECOND * 120);
    assert_eq!(downs(&world.take_noted()), 50);
    world.mend();
    assert!(world.settle(SECOND * 300));
    assert!(world.running().all(|(_, swim)| swim.size() == 10));
}

#[test]
fn a_restarted_node_is_known_by_its_later_boot_everywhere() {
    let mut world = World::settled(WorldSettings::new(10, 1));
    world.kill(3);
    world.run_for(SECOND);
    world.start(3);
    assert!(world.settle(SECOND * 60));
    let noted = world.take_noted();
    let restarted = noted.iter().filter(
        |noted| matches!(noted.event, Event::Restarted { member, .. } if member.generation.0 == 2),
    );
    assert_eq!(restarted.count(), 9);
    assert_eq!(downs(&noted), 0);
}

#[test]
fn a_member_that_stood_still_for_too_long_is_down_and_comes_back_by_itself() {
    let mut world = World::settled(WorldSettings::new(10, 1));
    world.pause(3);
    world.run_for(SECOND * 60);
    assert_eq!(downs(&world.take_noted()), 9);
    world.resume(3);
    assert!(world.settle(SECOND * 60));
    assert!(world.member(3).unwrap().status().incarnation.0 > 0);
}

#[test]
fn a_member_that_leaves_has_left_everywhere_and_is_down_nowhere() {
    let mut world = World::settled(WorldSettings::new(20, 1));
    world.act(3, |swim, now, calls| swim.leave(now, calls).unwrap());
    world.run_for(SECOND * 60);
    let noted = world.take_noted();
    let left = noted.iter().filter(|noted| matches!(noted.event, Event::Left { .. })).count();
    assert_eq!((left, downs(&noted)), (19, 0));
    assert!(noted.iter().any(|noted| noted.observer == 3 && noted.event == Event::Gone));
}

#[test]
fn no_datagram_is_longer_than_it_may_be_when_everybody_has_much_to_say() {
    let mut settings = WorldSettings::new(24, 1);
    settings.keyring = Some(Keyring::new([3; KEY_BYTES]));
    let mut world = World::settled(settings);
    for member in 0..24 {
        world.act(member, |swim, now, calls| {
            swim.set_metadata(now, Bytes::from(vec![member as u8; 512]), calls).unwrap();
        });
    }
    assert!(world.settle(SECOND * 60));
    let (_, longest) = world.traffic();
    assert!((1_000..=1_400).contains(&longest), "{longest} bytes");
    for (_, swim) in world.running() {
        assert!(swim.status().members.iter().all(|member| member.metadata.len() == 512));
    }
}

#[test]
fn keys_are_rotated_while_members_run_and_nobody_notices() {
    let (old, new) = ([1; KEY_BYTES], [2; KEY_BYTES]);
    let mut ring = Keyring::new(old);
    let mut settings = WorldSettings::new(8, 1);
    settings.keyring = Some(ring.clone());
    let mut world = World::settled(settings);
    for step in 0..3 {
        match step {
            0 => ring.add(new).unwrap(),
            1 => ring.make_primary(&new).unwrap(),
            _ => ring.remove(&old).unwrap(),
        }
        for member in 0..8 {
            world.act(member, |swim, _, _| swim.rekey(Some(&ring)));
            world.run_for(SECOND * 2);
        }
    }
    assert!(world.noted().is_empty());
    // And the old key is worth nothing now.
    world.act(0, |swim, _, _| swim.rekey(Some(&Keyring::new(old))));
    world.run_for(SECOND * 600);
    assert_eq!(downs(world.noted()), 7 + 7);
}
