//! The distributions against tables: YCSB's own frequencies, and the exact ones.

use super::*;
use crate::{built_in, fnv64, zeta};

/// Whether `count` of `draws` is within 4 sigma of probability `p`.
fn fits(count: u64, draws: u64, p: f64) -> bool {
    let expected = draws as f64 * p;
    let sigma = (draws as f64 * p * (1.0 - p)).sqrt();
    (count as f64 - expected).abs() <= 4.0 * sigma
}

fn ycsb_counts(records: u64, draws: u64) -> (Vec<u64>, u64) {
    let modulus = records + 1;
    let ranks = GrayZipf::ycsb();
    let mut rng = Rng::new(1, 0);
    let mut counts = vec![0; modulus as usize];
    for _ in 0..draws {
        counts[(fnv64(ranks.sample(&mut rng)) % modulus) as usize] += 1;
    }
    let refused = counts[records as usize];
    (counts, refused)
}

#[test]
fn ycsb_zipfian_has_the_frequencies_of_ycsb_at_a_thousand_records() {
    let draws = 2_000_000;
    let (counts, refused) = ycsb_counts(1_000, draws);
    let accepted = draws - refused;
    for (key, p) in [
        (144, 0.03861),
        (610, 0.01995),
        (213, 0.01603),
        (679, 0.01166),
        (10, 0.00934),
        (545, 0.00779),
    ] {
        assert!(fits(counts[key], accepted, p), "key {key}: {} of {accepted}", counts[key]);
    }
    assert!(fits(refused, draws, 0.00074), "{refused} of {draws} refused");
}

#[test]
fn ycsb_zipfian_has_the_frequencies_of_ycsb_at_a_million_records() {
    let draws = 1_000_000;
    let (counts, refused) = ycsb_counts(1_000_000, draws);
    for (key, p) in [(801_320, 0.03778), (216_074, 0.01902), (971_811, 0.01531), (386_565, 0.01090)]
    {
        assert!(fits(counts[key], draws - refused, p), "key {key}: {}", counts[key]);
    }
}

#[test]
fn a_picker_of_a_workload_without_inserts_refuses_the_one_key_too_many() {
    let mut workload = built_in("ycsb-c").unwrap().workload().unwrap();
    workload.keys.records = 1_000;
    let ledger = Ledger::new(1_000, 1);
    let pick = workload.phases[1].pick.unwrap();
    let mut picker = Picker::new(pick, &workload.keys, &ledger, 0, 1);
    let mut rng = Rng::new(1, 0);
    let draws = 300_000;
    let mut hottest = 0;
    for _ in 0..draws {
        let key = picker.pick(&mut rng, &ledger, Reach::All).unwrap();
        assert!(key < 1_000);
        hottest += u64::from(key == 144);
    }
    assert!(fits(hottest, draws, 0.03861), "{hottest} of {draws}");
}

#[test]
fn the_exact_sampler_has_the_exact_frequencies_at_any_theta() {
    for (theta, n) in [(0.0, 7), (0.5, 1_000), (0.99, 1_000), (1.0, 1_000), (1.5, 1_000), (3.0, 50)]
    {
        let sampler = ExactZipf::new(n, theta);
        let mut rng = Rng::new(3, 1);
        let draws = 1_000_000;
        let mut counts = vec![0; n as usize + 1];
        for _ in 0..draws {
            counts[sampler.sample(&mut rng) as usize] += 1;
        }
        assert_eq!(counts[0], 0);
        let total = zeta(n, theta);
        for rank in (1..=n.min(6)).chain([n / 2]) {
            let p = (rank as f64).powf(-theta) / total;
            let count = counts[rank as usize];
            assert!(fits(count, draws, p), "theta {theta}, rank {rank}: {count}, p {p}");
        }
        let tail = counts[n as usize / 2 + 1..].iter().sum();
        let p = (total - zeta(n / 2, theta)) / total;
        assert!(fits(tail, draws, p), "theta {theta}, tail: {tail}, p {p}");
    }
}

#[test]
fn the_hottest_of_a_thousand_gets_an_eighth_under_the_true_zipfian() {
    let p = 1.0 / zeta(1_000, 0.99);
    assert!((p - 0.129).abs() < 0.001, "{p}");
}

#[test]
fn the_approximate_sampler_keeps_the_flaw_of_its_paper() {
    let sampler = GrayZipf::new(1_000, 0.99);
    let mut rng = Rng::new(5, 0);
    let draws = 2_000_000;
    let mut counts = [0_u64; 1_000];
    for _ in 0..draws {
        counts[sampler.sample(&mut rng) as usize] += 1;
    }
    let total = zeta(1_000, 0.99);
    let exact = |rank: u64| (rank as f64 + 1.0).powf(-0.99) / total;
    assert!(fits(counts[0], draws, exact(0)) && fits(counts[1], draws, exact(1)));
    assert!(fits(counts[2], draws, 0.0510), "rank 2: {}", counts[2]);
    let excess = |rank: u64| counts[rank as usize] as f64 / draws as f64 / exact(rank);
    assert!((excess(2) - 1.17).abs() < 0.02, "rank 2: {}", excess(2));
    assert!((excess(3) - 1.11).abs() < 0.02, "rank 3: {}", excess(3));
    assert!((excess(4) - 1.07).abs() < 0.02, "rank 4: {}", excess(4));
}

#[test]
fn a_grown_sampler_knows_the_zeta_of_its_new_size() {
    let mut sampler = GrayZipf::new(1_000, 0.99);
    sampler.grow(10_000);
    let mut rng = Rng::new(6, 0);
    let draws = 1_000_000;
    let first = (0..draws).filter(|_| sampler.sample(&mut rng) == 0).count() as u64;
    assert!(fits(first, draws, 1.0 / zeta(10_000, 0.99)), "{first}");
}

#[test]
fn latest_follows_the_newest_acknowledged_insert() {
    let keys = built_in("ycsb-d").unwrap().workload().unwrap().keys;
    let ledger = Ledger::new(1_000, 1);
    let mut picker = Picker::new(Pick::of(Distribution::Latest), &keys, &ledger, 0, 1);
    let mut rng = Rng::new(7, 0);
    for newest in [999, 1_000, 1_001] {
        let draws = 200_000;
        let hits = (0..draws)
            .filter(|_| picker.pick(&mut rng, &ledger, Reach::All).unwrap() == newest)
            .count() as u64;
        let p = 1.0 / zeta(newest + 1, 0.99);
        assert!(fits(hits, draws, p), "newest {newest}: {hits} of {draws}, p {p}");
        ledger.acknowledge(0);
    }
}

#[test]
fn every_distribution_works_with_a_single_key() {
    let keys = Keys {
        records: 1,
        max_new: 0,
        order: crate::KeyOrder::Hashed,
        format: crate::KeyFormat::Be64 {},
        hash: KeyHash::Ycsb,
    };
    let ledger = Ledger::new(1, 1);
    for dist in [
        Distribution::Uniform,
        Distribution::Zipfian,
        Distribution::YcsbZipfian,
        Distribution::Latest,
        Distribution::Exponential,
        Distribution::Sequential,
        Distribution::Oldest,
    ] {
        let mut picker = Picker::new(Pick::of(dist), &keys, &ledger, 0, 1);
        let mut rng = Rng::new(8, 0);
        for _ in 0..100 {
            assert_eq!(picker.pick(&mut rng, &ledger, Reach::All).unwrap(), 0, "{dist:?}");
        }
    }
}

fn thousand(dist: Distribution) -> (Picker, Ledger) {
    let workload = built_in("ycsb-c").unwrap().workload().unwrap();
    let keys = Keys { records: 1_000, ..workload.keys };
    let ledger = Ledger::new(1_000, 1);
    (Picker::new(Pick::of(dist), &keys, &ledger, 0, 1), ledger)
}

/// How often each number is picked in so many draws.
fn counts(picker: &mut Picker, ledger: &Ledger, draws: u64) -> Vec<u64> {
    let mut rng = Rng::new(12, 0);
    let mut counts = vec![0; 1_000];
    for _ in 0..draws {
        counts[picker.pick(&mut rng, ledger, Reach::All).unwrap() as usize] += 1;
    }
    counts
}

#[test]
fn a_hotspot_sends_four_in_five_operations_to_the_lowest_fifth_and_is_even_within_each_part() {
    let (mut picker, ledger) = thousand(Distribution::Hotspot);
    let draws = 1_000_000;
    let counts = counts(&mut picker, &ledger, draws);
    assert!(fits(counts[..200].iter().sum(), draws, 0.8), "{:?}", &counts[..200]);
    for (part, share) in [(&counts[..200], 0.8), (&counts[200..], 0.2)] {
        // The sum of squared deviations, each in units of its variance, is near the number of keys.
        let expected = draws as f64 * share / part.len() as f64;
        let chi: f64 = part.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
        let freedom = part.len() as f64 - 1.0;
        assert!((chi - freedom).abs() < 4.5 * (2.0 * freedom).sqrt(), "{chi} for {freedom}");
    }
}

#[test]
fn an_exponential_pick_keeps_its_percentage_within_six_sevenths_of_the_keys() {
    let (mut picker, ledger) = thousand(Distribution::Exponential);
    let draws = 1_000_000;
    let counts = counts(&mut picker, &ledger, draws);
    // Distances beyond the oldest key are drawn again, so shares are of those that are not.
    let gamma = -(0.05_f64.ln()) / 857.142_857_1;
    let within = |keys: f64| (1.0 - (-gamma * keys).exp()) / (1.0 - (-gamma * 1_000.0).exp());
    assert!((within(857.142_857_1) * (1.0 - (-gamma * 1_000.0).exp()) - 0.95).abs() < 1e-12);
    for newest in [1, 10, 100, 500, 857, 999] {
        let count = counts[1_000 - newest..].iter().sum();
        assert!(fits(count, draws, within(newest as f64)), "the newest {newest}: {count}");
    }
}

#[test]
fn a_sequential_pick_deals_the_loaded_keys_out_to_its_clients_and_begins_again() {
    let keys = Keys { records: 10, ..built_in("ycsb-c").unwrap().workload().unwrap().keys };
    let ledger = Ledger::new(10, 3);
    let mut rng = Rng::new(1, 0);
    let mut dealt = Vec::new();
    let pick = Pick::of(Distribution::Sequential);
    let mut pickers: Vec<Picker> =
        (0..3).map(|client| Picker::new(pick, &keys, &ledger, client, 3)).collect();
    for _ in 0..10 {
        for picker in &mut pickers {
            dealt.push(picker.pick(&mut rng, &ledger, Reach::All).unwrap());
        }
    }
    assert_eq!(dealt, (0..30).map(|number| number % 10).collect::<Vec<u64>>());
}

#[test]
fn the_oldest_key_is_picked_until_it_is_gone() {
    let (mut picker, ledger) = thousand(Distribution::Oldest);
    let mut rng = Rng::new(1, 0);
    let mut next = |ledger: &Ledger| picker.pick(&mut rng, ledger, Reach::All);
    for number in 0..1_000 {
        assert_eq!((next(&ledger), next(&ledger)), (Some(number), Some(number)));
        ledger.delete(number);
    }
    assert_eq!(next(&ledger), None);
    ledger.acknowledge(0);
    assert_eq!(next(&ledger), Some(1_000));
}

#[test]
fn a_pick_among_few_keys_that_are_left_ends_whatever_the_distribution() {
    for dist in [
        Distribution::Uniform,
        Distribution::Zipfian,
        Distribution::YcsbZipfian,
        Distribution::Latest,
        Distribution::Hotspot,
        Distribution::Exponential,
        Distribution::Sequential,
        Distribution::Oldest,
    ] {
        let (mut picker, ledger) = thousand(dist);
        (0..1_000).filter(|number| ![3, 701].contains(number)).for_each(|number| {
            ledger.delete(number);
        });
        let mut rng = Rng::new(1, 0);
        for _ in 0..200 {
            let picked = picker.pick(&mut rng, &ledger, Reach::All);
            assert!(matches!(picked, Some(3 | 701)), "{dist:?}: {picked:?}");
        }
        ledger.delete(3);
        ledger.delete(701);
        assert_eq!(picker.pick(&mut rng, &ledger, Reach::All), None, "{dist:?}");
        assert!(picker.pick_blindly(&mut rng, &ledger, Reach::All) < 1_000, "{dist:?}");
    }
}
