//! How far an experiment is: a bar on a terminal, a plain line for each phase that ended elsewhere.

use crate::experiment::Experiment;
use crate::out;
use crate::plan::{RunPlan, Step};
use crate::plot::short;
use crate::worker::Message;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// Units of the bar for each phase.
const UNITS_PER_STEP: u64 = 1_000;

/// Where progress goes.
pub(crate) struct Progress {
    bar: ProgressBar,
    is_terminal: bool,
    /// Nothing is shown: the caller reads the result by machine.
    is_quiet: bool,
    /// Width of the columns of names.
    target_width: usize,
    label_width: usize,
    /// Of runs that have ended.
    steps_done: u64,
    blocks: u32,
}

impl Progress {
    pub(crate) fn new(experiment: &Experiment, is_quiet: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && std::io::stdout().is_terminal();
        let phases: usize = experiment.races().map(|(_, steps)| steps.len()).sum();
        let all = phases as u64 * u64::from(experiment.blocks);
        let target = ProgressDrawTarget::stderr_with_hz(10);
        let hidden = ProgressDrawTarget::hidden();
        let draw = if is_terminal && !is_quiet { target } else { hidden };
        let bar = ProgressBar::with_draw_target(Some(all * UNITS_PER_STEP), draw);
        let style =
            ProgressStyle::with_template("{bar:32.cyan/blue} {percent:>3}% {elapsed} {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let names = experiment.races().map(|(target, _)| target.name().len());
        let labels = experiment.races().flat_map(|(_, steps)| steps).map(|step| label(step).len());
        Self {
            bar,
            is_terminal,
            is_quiet,
            target_width: names.max().unwrap_or(0),
            label_width: labels.max().unwrap_or(0),
            steps_done: 0,
            blocks: experiment.blocks,
        }
    }

    /// Takes note of what a run's process says.
    pub(crate) fn note(&mut self, plan: &RunPlan, message: &Message) {
        let base = self.steps_done;
        match message {
            Message::Begin { step } => {
                self.bar.set_position((base + *step as u64) * UNITS_PER_STEP);
                let what = plan.steps.get(*step).map_or(String::new(), label);
                self.bar.set_message(format!("{} {what}", plan.target));
            }
            Message::Tick { step, elapsed_s, ops } => {
                let Some(of) = plan.steps.get(*step) else { return };
                let share = share_done(of, *elapsed_s, *ops);
                let inside = (share * UNITS_PER_STEP as f64) as u64;
                self.bar.set_position((base + *step as u64) * UNITS_PER_STEP + inside);
                let rate = short(*ops as f64 / elapsed_s.max(1e-9));
                self.bar.set_message(format!("{} {} {rate} ops/s", plan.target, label(of)));
            }
            Message::End { step, seconds, ops, errors } => {
                let Some(of) = plan.steps.get(*step) else { return };
                let rate = short(*ops as f64 / seconds.max(1e-9));
                let mut line = format!(
                    "{}{:tw$}  {:lw$}  {rate:>6} ops/s  {seconds:6.1} s",
                    self.block(plan),
                    plan.target,
                    label(of),
                    tw = self.target_width,
                    lw = self.label_width,
                );
                if *errors > 0 {
                    line.push_str(&format!("  {errors} ERRORS"));
                }
                self.line(&line);
            }
            Message::Calibrated { step, calibrated } => {
                let what = plan.steps.get(*step).map_or(String::new(), label);
                self.line(&format!(
                    "{}{} {what}: {} ops/s in a closed loop of {:.1} s, {} ops/s offered",
                    self.block(plan),
                    plan.target,
                    short(calibrated.closed_ops_per_s),
                    calibrated.seconds,
                    short(calibrated.rate),
                ));
            }
            Message::Invalid { why } => {
                self.line(&format!("{}{} INVALID: {why}", self.block(plan), plan.target));
            }
            Message::Failed { why } => {
                self.line(&format!("{}{} FAILED: {why}", self.block(plan), plan.target));
            }
        }
    }

    /// Which of how many blocks a run is of; nothing where there is one.
    fn block(&self, plan: &RunPlan) -> String {
        if self.blocks < 2 {
            return String::new();
        }
        let width = self.blocks.to_string().len();
        format!("block {:>width$}/{}  ", plan.block, self.blocks)
    }

    /// A run has ended, now or before.
    pub(crate) fn run_ended(&mut self, plan: &RunPlan) {
        self.steps_done += plan.steps.len() as u64;
    }

    /// Prints a line that stays.
    pub(crate) fn line(&self, text: &str) {
        if self.is_quiet {
            return;
        }
        if self.is_terminal { self.bar.suspend(|| out::line(text)) } else { out::line(text) }
    }

    /// Keeps the bar alive while something without progress goes on.
    pub(crate) fn say(&self, what: &'static str) {
        self.bar.set_message(what);
        self.bar.enable_steady_tick(Duration::from_millis(200));
    }

    /// Removes the bar.
    pub(crate) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

fn label(step: &Step) -> String {
    match step.phase_name() {
        "run" => step.label.clone(),
        phase => format!("{} {phase}", step.label),
    }
}

/// How much of a phase is done, from 0 to 1.
fn share_done(step: &Step, elapsed_s: f64, ops: u64) -> f64 {
    let phase = &step.workload.phases[step.phase];
    let share = match (phase.kind, phase.ops, phase.duration) {
        (nori_workloads::PhaseKind::Load, ..) => ops as f64 / step.workload.keys.records as f64,
        (_, Some(total), _) => ops as f64 / total as f64,
        (_, _, Some(span)) => elapsed_s / span.0.as_secs_f64(),
        _ => 0.0,
    };
    share.clamp(0.0, 1.0)
}
