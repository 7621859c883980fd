//! Measures the protocol in simulated worlds and prints what came out, as `docs/swim.md` quotes it.
//!
//! `cargo run --release -p nori-swim --example measure -- detection|spread|quiet|pauses [seed]`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]

use nori_swim::Settings;
use nori_swim::world::WorldSettings;
use nori_swim::world::measure::{
    FalsePositives, Pauses, Sample, detection, dissemination, with_pauses, without_faults,
};
use std::time::Duration;

const SIZES: [usize; 3] = [32, 64, 128];
const CRASHES: usize = 400;
const NEWS: usize = 1_000;
const QUIET: Duration = Duration::from_secs(10 * 3_600);
const PAUSED_MEMBERS: usize = 64;
const PAUSES_MILLIS: [u64; 5] = [1_000, 4_000, 8_000, 16_000, 32_000];
const RUNS_MILLIS: [u64; 5] = [1, 16, 256, 1_000, 4_000];

fn main() {
    let mut args = std::env::args().skip(1);
    let what = args.next().unwrap_or_default();
    let seed = args.next().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    match what.as_str() {
        "detection" => print_detection(seed),
        "spread" => print_spread(seed),
        "quiet" => {
            for n in SIZES {
                let found = without_faults(WorldSettings::new(n, seed), QUIET);
                println!("{n} members, 10 hours: {found:?}");
            }
        }
        "pauses" => print_pauses(seed),
        _ => println!("detection, spread, quiet or pauses?"),
    }
}

fn row(name: &str, sample: Sample) {
    let Sample { count, mean, error, max } = sample;
    println!("  {name:<24} {mean:6.2} +- {error:.2} periods, at most {max:.2} ({count})");
}

fn print_detection(seed: u64) {
    for n in SIZES {
        let found = detection(WorldSettings::new(n, seed), CRASHES);
        println!("{n} members, {CRASHES} crashes, {} missed", found.missed);
        row("first failed probe", found.failed_probe);
        row("first suspicion", found.suspicion);
        row("first declared down", found.down);
        row("declared down everywhere", found.down_everywhere);
    }
}

fn print_spread(seed: u64) {
    for n in SIZES {
        println!("{n} members, 3 log2 n = {:.1}", 3.0 * (n as f64).log2());
        for (name, gossip_interval) in
            [("on probes only", Duration::ZERO), ("with gossip", Duration::from_millis(200))]
        {
            let mut settings = WorldSettings::new(n, seed);
            settings.settings.gossip_interval = gossip_interval;
            let found = dissemination(settings, NEWS);
            row(name, found.took);
            println!("  {} of them missed somebody", found.missed);
        }
    }
}

fn print_pauses(seed: u64) {
    let plain = Settings::default().without_lifeguard();
    let lifeguard = Settings { lateness_max: Duration::ZERO, ..Settings::default() };
    let kinds = [("plain", plain), ("lifeguard", lifeguard), ("default", Settings::default())];
    let mut totals = [FalsePositives::default(); 3];
    for pause in PAUSES_MILLIS.map(Duration::from_millis) {
        for run in RUNS_MILLIS.map(Duration::from_millis) {
            let pauses = Pauses { percent: 10, pause, run, duration: Duration::from_secs(600) };
            print!("pause {pause:?}, run {run:?}:");
            for ((name, settings), total) in kinds.iter().zip(&mut totals) {
                let mut world = WorldSettings::new(PAUSED_MEMBERS, seed);
                world.settings = settings.clone();
                let found = with_pauses(world, pauses);
                print!(" {name} {}", found.declarations);
                *total = total.plus(found);
            }
            println!();
        }
    }
    for ((name, _), total) in kinds.iter().zip(totals) {
        println!("{name}: {total:?}");
    }
}
