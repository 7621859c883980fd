//! A strategy from parts.
//!
//! 1. The layout says what each level should be.
//! 2. The triggers say what is out of shape, and how much. The most urgent is served first: a pressure loses urgency by
//!    as much as the level that it leads to is over its target, for what goes down there is merged with all that
//!    waits to leave it. Of equals the earlier rule is served first.
//! 3. For each such pressure, the movement ranks seeds, and the granularity makes an extent of the first
//!    seed that it can.
//! 4. If the seed's tables alone fit into the next level as they are, they are moved; otherwise they
//!    are merged with what they meet there, cut by the partitioner.
//! 5. A plan that the validator would refuse is not made: the next seed is tried.

use crate::apply::located_of;
use crate::granularity::is_in;
use crate::validate::validate;
use crate::view::hull_of;
use crate::{
    Busy, CutRule, Debt, Extent, Granularity, JobId, Layout, Movement, Partitioner, Plan, PlanKind,
    Pressure, Seed, Strategy, TableId, Target, TreeEvent, TreeView, Trigger,
};
use nori_kv::{KeyRange, Reason};

/// Seeds tried for one pressure: where none of the best fifty can move, jobs are in the way.
const SEEDS_MAX: usize = 50;
/// A move is made only if what the moved tables will meet one level further is at most this many
/// output tables for each of them: otherwise the move is paid for many times later (RocksDB limits the
/// same to 25 output files).
const GRANDPARENT_TABLES_MAX: u64 = 25;
/// Where the numbers of plans begin that are made but not yet run: far from those of real jobs.
const PLANNED_JOBS: u64 = 1 << 60;

/// When, how much and which: one rule of a strategy.
pub struct Rule {
    /// When.
    pub trigger: Box<dyn Trigger>,
    /// How much.
    pub granularity: Box<dyn Granularity>,
    /// Which first.
    pub movement: Box<dyn Movement>,
}

/// A strategy from a layout, rules by priority, and a partitioner.
pub struct Composed {
    /// The name it is chosen by.
    pub name: &'static str,
    /// The shape.
    pub layout: Box<dyn Layout>,
    /// The rules, of equally urgent ones the most important first; at least one. The first also serves manual compactions.
    pub rules: Vec<Rule>,
    /// Where outputs are cut.
    pub partitioner: Box<dyn Partitioner>,
    /// The size of an output table, by which moves are judged.
    pub table_bytes_target: u64,
}

impl std::fmt::Debug for Composed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Composed").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Strategy for Composed {
    fn name(&self) -> &str {
        self.name
    }

    fn plan(&mut self, view: &TreeView<'_>, plans_max: usize) -> Vec<Plan> {
        let targets = self.layout.targets(view);
        let mut busy = view.busy.clone();
        let mut plans = Vec::new();
        let mut unserved = Vec::new();
        while plans.len() < plans_max {
            let now = TreeView { busy: &busy, ..*view };
            let Some((rule, pressure)) = self.most_urgent(&now, &targets, &unserved) else { break };
            match self.serve(rule, &now, &pressure, &targets) {
                Some(plan) => {
                    begin(&mut busy, &plan, view, plans.len());
                    plans.push(plan);
                }
                None => unserved.push((rule, pressure.level)),
            }
        }
        plans
    }

    fn debt(&self, view: &TreeView<'_>) -> Debt {
        self.layout.debt(view)
    }

    fn plan_manual(&mut self, view: &TreeView<'_>, range: &KeyRange) -> Option<Plan> {
        let targets = self.layout.targets(view);
        let holds = |level: usize| view.levels[level].tables().any(|table| is_in(table, range));
        let deepest = (0..view.levels.len()).rev().find(|level| holds(*level))?;
        for level in (0..=deepest).filter(|level| holds(*level)) {
            let is_last = level == deepest && level > 0;
            if is_last && view.levels[level].runs.len() == 1 {
                break; // everything in the range is in one run
            }
            let next = if is_last { level } else { targets[level].next };
            let pressure = Pressure { level, next, range: None, score: 1.0, why: Reason::Manual };
            let seed = Seed::Range { level, range: range.clone() };
            let extent = self.rules[0].granularity.extent(view, &pressure, &seed, &targets);
            if let Some(plan) = extent.and_then(|e| self.plan_of(view, &pressure, e, &targets)) {
                return Some(plan);
            }
        }
        None
    }

    fn split(&self, view: &TreeView<'_>, plan: &Plan, parts_max: usize) -> Vec<KeyRange> {
        self.partitioner.split(view, plan, parts_max)
    }

    fn observe(&mut self, event: &TreeEvent<'_>) {
        if let TreeEvent::Began { plan, .. } = event {
            self.rules.iter_mut().for_each(|rule| rule.movement.began(plan));
        }
    }

    /// The states of the movements, each after its length (u32, little-endian).
    fn save(&self) -> Vec<u8> {
        let mut state = Vec::new();
        for rule in &self.rules {
            let own = rule.movement.save();
            let length = u32::try_from(own.len()).expect("a movement keeps a few keys");
            state.extend_from_slice(&length.to_le_bytes());
            state.extend_from_slice(&own);
        }
        state
    }

    fn restore(&mut self, mut state: &[u8]) {
        for rule in &mut self.rules {
            let Some((length, rest)) = state.split_first_chunk::<4>() else { return };
            let Some((own, rest)) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)
            else {
                return;
            };
            rule.movement.restore(own);
            state = rest;
        }
    }
}

impl Composed {
    /// The pressure to serve next, and its rule; not one of `unserved`, which are rules and levels.
    fn most_urgent(
        &self,
        view: &TreeView<'_>,
        targets: &[Target],
        unserved: &[(usize, usize)],
    ) -> Option<(usize, Pressure)> {
        let mut best: Option<(f64, usize, Pressure)> = None;
        for (rule, content) in self.rules.iter().enumerate() {
            for pressure in content.trigger.pressures(view, targets) {
                let urgency = urgency(view, targets, &pressure);
                let is_better = best.as_ref().is_none_or(|(most, ..)| urgency > *most);
                if is_better && !unserved.contains(&(rule, pressure.level)) {
                    best = Some((urgency, rule, pressure));
                }
            }
        }
        best.map(|(_, rule, pressure)| (rule, pressure))
    }

    fn serve(
        &mut self,
        rule: usize,
        view: &TreeView<'_>,
        pressure: &Pressure,
        targets: &[Target],
    ) -> Option<Plan> {
        let candidates = self.rules[rule].movement.rank(view, pressure);
        for candidate in candidates.into_iter().take(SEEDS_MAX) {
            let granularity = &self.rules[rule].granularity;
            let extent = granularity.extent(view, pressure, &candidate.seed, targets);
            if let Some(plan) = extent.and_then(|e| self.plan_of(view, pressure, e, targets)) {
                return Some(plan);
            }
        }
        None
    }

    /// A plan for the extent, if the validator accepts it: a move if that is possible and wise.
    fn plan_of(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        extent: Extent,
        targets: &[Target],
    ) -> Option<Plan> {
        let mut plan = Plan {
            inputs: extent.inputs,
            range: pressure.range.clone(),
            out: extent.out,
            kind: PlanKind::Merge,
            cuts: CutRule::default(),
            why: pressure.why,
        };
        if let Some(moved) = self.as_move(view, pressure, &plan, targets) {
            return Some(moved);
        }
        plan.cuts = self.partitioner.cuts(view, &plan);
        validate(view, &plan).is_ok().then_some(plan)
    }

    fn as_move(
        &self,
        view: &TreeView<'_>,
        pressure: &Pressure,
        plan: &Plan,
        targets: &[Target],
    ) -> Option<Plan> {
        if plan.out.level == pressure.level {
            return None;
        }
        let inputs = located_of(view.levels, &plan.inputs);
        let from_here = inputs.iter().filter(|found| found.level == pressure.level);
        let ids: Vec<TableId> = from_here.map(|found| found.table.id).collect();
        let moved = Plan { inputs: ids, kind: PlanKind::Move, ..plan.clone() };
        validate(view, &moved).ok()?;
        let grandparent = targets.get(plan.out.level)?.next;
        if grandparent > plan.out.level {
            let hull = hull_of(inputs.iter().map(|found| &found.table.keys))?;
            let runs = &view.levels[grandparent].runs;
            let met: u64 =
                runs.iter().flat_map(|run| run.overlapping(&hull)).map(|table| table.bytes).sum();
            let tables = GRANDPARENT_TABLES_MAX * moved.inputs.len() as u64;
            if met > tables.saturating_mul(self.table_bytes_target) {
                return None;
            }
        }
        Some(moved)
    }
}

/// The pressure's score, divided by how much the level it leads to is over its own target; nothing where that level is to be
/// one run and is not yet, for what is merged into one of them would be merged again.
fn urgency(view: &TreeView<'_>, targets: &[Target], pressure: &Pressure) -> f64 {
    let (Some(next), Some(target)) = (view.levels.get(pressure.next), targets.get(pressure.next))
    else {
        return pressure.score;
    };
    if pressure.next != pressure.level && target.runs_max == 1 && next.runs.len() > 1 {
        return 0.0;
    }
    let staying = next.tables().filter(|table| !view.busy.has(table.id));
    let bytes: u64 = staying.map(|table| table.bytes).sum();
    pressure.score / (bytes as f64 / target.bytes.max(1) as f64).max(1.0)
}

fn begin(busy: &mut Busy, plan: &Plan, view: &TreeView<'_>, planned: usize) {
    busy.begin(JobId(PLANNED_JOBS + planned as u64), plan, view.levels);
}
