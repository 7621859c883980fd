//! What is measured in a world: how fast a crash is noticed, how far news have spread, and who is wrongly declared down.

use super::{Noted, World, WorldSettings, member_of};
use crate::{Event, Instant};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// Some figures of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// How many.
    pub count: usize,
    /// Their mean.
    pub mean: f64,
    /// The standard error of the mean.
    pub error: f64,
    /// The greatest.
    pub max: f64,
}

impl Sample {
    fn of(figures: &[f64]) -> Self {
        let count = figures.len();
        if count == 0 {
            return Self::default();
        }
        let mean = figures.iter().sum::<f64>() / count as f64;
        let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
        let error = (squares / (count.max(2) - 1) as f64 / count as f64).sqrt();
        let max = figures.iter().copied().fold(f64::MIN, f64::max);
        Self { count, mean, error, max }
    }
}

/// How fast crashes are noticed, in protocol periods since the crash.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detection {
    /// Until the first direct probe of the crashed member has had no answer in time.
    pub failed_probe: Sample,
    /// Until the first member suspects it.
    pub suspicion: Sample,
    /// Until the first member declares it down.
    pub down: Sample,
    /// Until the last member has declared it down.
    pub down_everywhere: Sample,
    /// Crashes that somebody had not declared at the end. 0 is right.
    pub missed: usize,
}

fn periods(world: &World, since: Instant, at: Instant) -> f64 {
    at.since(since).as_secs_f64() / world.settings.settings.period.as_secs_f64()
}

fn first(noted: &[Noted], is: impl Fn(&Event) -> bool) -> Option<Instant> {
    noted.iter().find(|noted| is(&noted.event)).map(|noted| noted.at)
}

/// Kills a member at a time that chance chooses, and sees who notices; `crashes` times, each in a settled cluster.
pub fn detection(settings: WorldSettings, crashes: usize) -> Detection {
    let mut world = World::settled(settings);
    let (mut failed, mut suspected) = (Vec::new(), Vec::new());
    let (mut down, mut everywhere, mut missed) = (Vec::new(), Vec::new(), 0);
    let period = world.settings.settings.period;
    for _ in 0..crashes {
        let wait = world.chance.below(period.as_nanos() as u64 * 4);
        world.run_for(Duration::from_nanos(wait));
        let victim = world.chance.below(world.nodes.len() as u64) as usize;
        let crash = world.now();
        world.take_noted();
        world.kill(victim);
        let is_down = |noted: &&Noted| matches!(noted.event, Event::Down { member } if member_of(member) == victim);
        for _ in 0..200 {
            world.run_for(period);
            if world.noted().iter().filter(is_down).count() + 1 == world.nodes.len() {
                break;
            }
        }
        let noted = world.take_noted();
        let since = |at: Option<Instant>| at.map(|at| periods(&world, crash, at));
        let at = first(
            &noted,
            |of| matches!(of, Event::ProbeFailed { member } if member_of(*member) == victim),
        );
        failed.extend(since(at));
        let at = first(
            &noted,
            |of| matches!(of, Event::Suspected { member, .. } if member_of(*member) == victim),
        );
        suspected.extend(since(at));
        let downs: Vec<_> = noted.iter().filter(is_down).collect();
        missed += usize::from(downs.len() + 1 < world.nodes.len());
        down.extend(downs.first().and_then(|noted| since(Some(noted.at))));
        everywhere.extend(downs.last().and_then(|noted| since(Some(noted.at))));
        world.start(victim);
        world.settle(Duration::from_secs(3_600));
    }
    Detection {
        failed_probe: Sample::of(&failed),
        suspicion: Sample::of(&suspected),
        down: Sample::of(&down),
        down_everywhere: Sample::of(&everywhere),
        missed,
    }
}

/// Who was suspected and declared down though it ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FalsePositives {
    /// Suspicions, each counted at every member that had it.
    pub suspicions: usize,
    /// Declarations, each counted at every member that made or believed it.
    pub declarations: usize,
    /// Of these, those at members that had not been paused themselves.
    pub declarations_at_healthy: usize,
    /// Different times a member was declared down by anyone: what is within a period of another is one.
    pub falls: usize,
    /// Members that had been paused and were declared down by anyone: right, or at least not wrong.
    pub paused_declared: usize,
}

impl FalsePositives {
    /// Those of two runs.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            suspicions: self.suspicions + other.suspicions,
            declarations: self.declarations + other.declarations,
            declarations_at_healthy: self.declarations_at_healthy + other.declarations_at_healthy,
            falls: self.falls + other.falls,
            paused_declared: self.paused_declared + other.paused_declared,
        }
    }
}

fn false_positives(noted: &[Noted], paused: &BTreeSet<usize>, period: Duration) -> FalsePositives {
    let mut found = FalsePositives::default();
    let mut falls: Vec<(usize, Instant)> = Vec::new();
    let mut paused_declared = BTreeSet::new();
    for Noted { at, observer, event } in noted {
        match event {
            Event::Suspected { member, .. } if !paused.contains(&member_of(*member)) => {
                found.suspicions += 1;
            }
            Event::Down { member } if paused.contains(&member_of(*member)) => {
                paused_declared.insert(member_of(*member));
            }
            Event::Down { member } => {
                found.declarations += 1;
                found.declarations_at_healthy += usize::from(!paused.contains(observer));
                let member = member_of(*member);
                let is_known =
                    falls.iter().any(|(of, then)| *of == member && at.since(*then) < period);
                if !is_known {
                    found.falls += 1;
                }
                falls.push((member, *at));
            }
            _ => {}
        }
    }
    found.paused_declared = paused_declared.len();
    found
}

/// Who is wrongly suspected or declared down in `duration` in which nothing fails.
pub fn without_faults(settings: WorldSettings, duration: Duration) -> FalsePositives {
    let mut world = World::settled(settings);
    world.run_for(duration);
    let period = world.settings.settings.period;
    false_positives(world.noted(), &BTreeSet::new(), period)
}

/// How some of the members stand still, again and again (as in the Lifeguard paper's interval experiments).
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// How many of a hundred members do.
    pub percent: usize,
    /// For how long each time.
    pub pause: Duration,
    /// How long they run in between.
    pub run: Duration,
    /// For how long all of it lasts.
    pub duration: Duration,
}

/// Who is wrongly declared down, of the members that never stand still, while others do. The first pause of each is at a time within the
/// first pause and run that chance chooses.
pub fn with_pauses(settings: WorldSettings, pauses: Pauses) -> FalsePositives {
    let mut world = World::settled(settings);
    let members: Vec<usize> = (0..world.nodes.len()).collect();
    let count = (world.nodes.len() * pauses.percent).div_ceil(100);
    let chosen = world.chance.choose(members, count);
    let start = world.now();
    let end = start.after(pauses.duration);
    let cycle = (pauses.pause + pauses.run).as_nanos() as u64;
    // When each changes next, and whether it then stands still.
    let mut changes: BTreeSet<(Instant, usize, bool)> = BTreeSet::new();
    for member in &chosen {
        let wait = Duration::from_nanos(world.chance.below(cycle.max(1)));
        changes.insert((start.after(wait), *member, true));
    }
    while let Some((at, member, pauses_now)) = changes.pop_first() {
        if at > end {
            break;
        }
        world.run_until(at);
        if pauses_now {
            world.pause(member);
        } else {
            world.resume(member);
        }
        let lasts = if pauses_now { pauses.pause } else { pauses.run };
        changes.insert((at.after(lasts), member, !pauses_now));
    }
    world.run_until(end);
    let period = world.settings.settings.period;
    false_positives(world.noted(), &chosen.into_iter().collect(), period)
}

/// How long news take to reach the last member.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Dissemination {
    /// In protocol periods, from a member's saying something new of itself to the last member that knows.
    pub took: Sample,
    /// News that somebody had not heard of in ten minutes. 0 is right.
    pub missed: usize,
}

/// Has a member say something new, and sees when the last one knows; `times` times.
pub fn dissemination(settings: WorldSettings, times: usize) -> Dissemination {
    let mut world = World::settled(settings);
    let (mut took, mut missed) = (Vec::new(), 0);
    for time in 0..times {
        let wait = world.chance.below(4_000_000_000);
        world.run_for(Duration::from_nanos(wait));
        let speaker = world.chance.below(world.nodes.len() as u64) as usize;
        world.take_noted();
        let said = world.now();
        let metadata = Bytes::from(format!("news {time}"));
        world.act(speaker, |swim, now, calls| {
            let _ = swim.set_metadata(now, metadata, calls);
        });
        let has_heard = |noted: &&Noted| matches!(noted.event, Event::Changed { member, .. } if member_of(member) == speaker);
        for _ in 0..600 {
            world.run_for(Duration::from_secs(1));
            if world.noted().iter().filter(has_heard).count() + 1 >= world.nodes.len() {
                break;
            }
        }
        let noted = world.take_noted();
        let heard: Vec<_> = noted.iter().filter(has_heard).map(|noted| noted.at).collect();
        missed += usize::from(heard.len() + 1 < world.nodes.len());
        took.extend(heard.last().map(|last| periods(&world, said, *last)));
        world.settle(Duration::from_secs(600));
    }
    Dissemination { took: Sample::of(&took), missed }
}
