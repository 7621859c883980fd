//! The seam: a strategy decides, the engine acts.

use crate::{JobId, Plan, Refusal, TreeView};
use nori_kv::{KeyRange, Reason};

/// How far a tree is from its shape, and what that asks of writers.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Debt {
    /// An estimate of the bytes that compactions have to write until the tree has its shape.
    pub bytes: u64,
    /// 0: writers go at full speed. Between 0 and 1: they are slowed in proportion. From 1 on: they
    /// wait until a job has ended. Never above 0 unless some plan can run or is running.
    pub brake: f64,
    /// What brakes; `None` if nothing does.
    pub why: Option<Reason>,
}

/// Something that happened to the tree, told to the strategy in the order of the version edits.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum TreeEvent<'a> {
    /// A flush made the newest run of level 0.
    Flushed {
        /// Bytes of its tables.
        bytes: u64,
    },
    /// A plan was accepted and runs.
    Began {
        /// Its job.
        job: JobId,
        /// The plan.
        plan: &'a Plan,
    },
    /// The outputs of a plan were installed.
    Installed {
        /// Its job.
        job: JobId,
        /// The plan.
        plan: &'a Plan,
        /// Bytes that it wrote; 0 for moves and drops.
        bytes_out: u64,
    },
    /// A job ended without being installed.
    Abandoned {
        /// Its job.
        job: JobId,
        /// The plan.
        plan: &'a Plan,
    },
    /// A plan was refused, when it was made or when it was to be installed.
    Refused {
        /// The plan.
        plan: &'a Plan,
        /// Why.
        refusal: &'a Refusal,
    },
}

/// Decides what is compacted.
///
/// # Contract
///
/// * Pure: `plan` and `debt` depend on the view, on what was observed, and on nothing else. No files,
///   no clock, no locks, no entropy but a seed given at construction.
/// * Every plan of one answer validates against the view in which the plans before it are running:
///   the engine may start any number of them, in order. An engine that starts a few and drops the
///   rest asks again later.
/// * **It settles**: without new flushes, when every plan is run, `plan` answers with nothing after a
///   number of plans bounded by the size of the tree, and `debt().brake` is then 0.
/// * While `debt().brake > 0` and nothing is running, `plan` answers with something: no writer waits
///   for work that nobody plans.
/// * `restore(save())` in a new strategy of the same name and shape gives the same decisions;
///   `restore` ignores bytes that it does not understand.
/// * The name is chosen in settings and persisted with the state; a change of what `save` writes must
///   keep older state readable or change the name.
pub trait Strategy: Send {
    /// The name it is chosen by.
    fn name(&self) -> &str;

    /// What should run now beside what already runs, most urgent first: at most `plans_max` plans, which is what whoever asks
    /// can start. Fewer only if there are no more.
    fn plan(&mut self, view: &TreeView<'_>, plans_max: usize) -> Vec<Plan>;

    /// How far the tree is from its shape.
    fn debt(&self, view: &TreeView<'_>) -> Debt;

    /// A plan that compacts everything in `range` into as few runs as the layout allows, whatever the
    /// pressures, one step at a time: `None` when there is nothing left to do or the way is busy.
    fn plan_manual(&mut self, view: &TreeView<'_>, range: &KeyRange) -> Option<Plan>;

    /// Parts of a plan's key space that may be merged side by side, ascending and without gaps: at
    /// most `parts_max`. The default does not split.
    fn split(&self, view: &TreeView<'_>, plan: &Plan, parts_max: usize) -> Vec<KeyRange> {
        let _ = (view, plan, parts_max);
        vec![KeyRange::all()]
    }

    /// Learns what happened. The default learns nothing.
    fn observe(&mut self, event: &TreeEvent<'_>) {
        let _ = event;
    }

    /// What it wants to know again after a restart; persisted with the edit of each plan.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes up what `save` wrote.
    fn restore(&mut self, state: &[u8]) {
        let _ = state;
    }
}
