//! The rate of an open loop, and whether the harness kept to it.
//!
//! A rate that is a share of the maximum (`of_max`) needs the maximum: the same phase as a closed loop, with the same
//! clients on the same store, for [`CALIBRATION_MAX`], or half the phase's own length if that is shorter. It has no rows;
//! its seconds are in the series and its events are kept, under the phase `calibrate`, and what came of it is
//! an event of its own. Where the maximum of another target is meant, a process before all runs has measured it.
//!
//! A run is invalid if its numbers are those of the harness and not of the engine:
//!
//! * an idle client sent later than [`LAG_P99_MAX_US`] one time in a hundred, or
//! * at its end the phase was more than [`LATE_SHARE_MAX`] of its length behind, and of the time in which operations
//!   were overdue more than [`OWN_SHARE_MAX`] was not the engine's: the harness is too slow for the rate, or had no
//!   processor. (Not the number sent: that of a Poisson process differs from its mean by chance.)
//!
//! An engine that is too slow for the rate is a finding, and valid.

use super::{Message, Run};
use crate::drive::PhaseOutcome;
use crate::events::Calibrated;
use crate::latency::quantile_us;
use crate::plan::Step;
use crate::plot::{micros, short};
use anyhow::{Result, ensure};
use nori_workloads::{Load, Span};
use std::time::Duration;

/// How long a closed loop that is to tell the maximum runs. Long enough for flushes and first compactions to be part
/// of it.
const CALIBRATION_MAX: Duration = Duration::from_secs(10);
/// The phase in events and series of a closed loop that is to tell the maximum.
pub(crate) const CALIBRATE: &str = "calibrate";
/// Added to the number of a step whose operations are not recorded. Numbers are below 2^16.
pub(super) const UNRECORDED: u32 = 1 << 15;
/// The lag that one wait in a hundred may exceed. The field's bound; docs/decisions/0007 has what was measured.
const LAG_P99_MAX_US: f64 = 1_000.0;
/// Share of its length that a phase may be behind at its end, so that 99 % of what was offered was sent.
const LATE_SHARE_MAX: f64 = 0.01;
/// Share of the clients in the time in which operations were overdue.
const OWN_SHARE_MAX: f64 = 0.5;

impl Run<'_> {
    /// Operations a second that the phase's clients are to send; `None` for a closed loop. A share of the maximum is
    /// measured here.
    pub(super) fn offered_rate(
        &mut self,
        number: usize,
        step: &Step,
        tell: &mut dyn FnMut(&Message),
    ) -> Result<Option<f64>> {
        let load = &step.workload.phases[step.phase].load;
        let known = self.plan.offered.get(&number).copied().or(load.rate);
        let Some(share) = load.of_max.filter(|_| known.is_none()) else { return Ok(known) };
        let closed = closed_loop(step);
        let (outcome, _) = self.run(number, &closed, CALIBRATE, None, tell)?;
        let ops = outcome.counts.ops_total();
        if let Some(error) = &outcome.first_error {
            anyhow::bail!("while measuring the maximum: {error}");
        }
        ensure!(
            ops > 0 && outcome.seconds > 0.0,
            "the closed loop did nothing: no maximum is known"
        );
        let closed_ops_per_s = ops as f64 / outcome.seconds;
        let calibrated = Calibrated {
            closed_ops_per_s,
            seconds: outcome.seconds,
            rate: share * closed_ops_per_s,
        };
        self.events.calibrated(self.now(), &calibrated)?;
        tell(&Message::Calibrated { step: number, calibrated });
        Ok(Some(calibrated.rate))
    }
}

/// The step as the closed loop that tells its maximum.
fn closed_loop(step: &Step) -> Step {
    let mut closed = step.clone();
    let phase = &mut closed.workload.phases[step.phase];
    phase.load = Load::closed(phase.load.threads);
    let half = phase.duration.map_or(CALIBRATION_MAX, |span| span.0 / 2);
    phase.duration = Some(Span(half.min(CALIBRATION_MAX)));
    closed
}

/// Why the phase's numbers are not to be believed, if they are not.
pub(crate) fn fault(step: &Step, outcome: &PhaseOutcome, rate: f64) -> Option<String> {
    let open = outcome.open.as_ref()?;
    let name = &step.label;
    if let Some(lag) = quantile_us(open.lag(), 0.99).filter(|lag| *lag > LAG_P99_MAX_US) {
        return Some(format!(
            "{name}: idle clients sent late: the scheduler lag has a p99 of {}, at most {} is allowed",
            micros(lag),
            micros(LAG_P99_MAX_US)
        ));
    }
    let sent = outcome.counts.ops_total() as f64 / outcome.seconds;
    let is_late = outcome.late.as_secs_f64() > LATE_SHARE_MAX * outcome.seconds;
    (is_late && open.own_share() > OWN_SHARE_MAX).then(|| {
        format!(
            "{name}: {} of {} operations a second were sent, and {:.0} % of the time in which they were overdue was the \
             clients' own: they are too slow for this rate, or other work had their processor",
            short(sent),
            short(rate),
            open.own_share() * 100.0
        )
    })
}
