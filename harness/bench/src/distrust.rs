//! Which figures of an open loop to distrust though its run is valid.
//!
//! A run is invalid if the harness was too slow (`worker::offered`). Below that a pause of the machine still shows in response
//! times, the more the fewer operations there are and the quicker the engine is. One sentence for each phase and target, of the first
//! of these that holds:
//!
//! * the engine did not keep up: less than [`REACHED_MIN`] of the rate was reached, more is missing than chance explains, and half of the
//!   operations waited longer than they were served. Their response times tell how long the phase was, whatever else may be wrong, or
//! * the phase is shorter than [`SECONDS_MIN`] or has fewer operations than [`OPS_MIN`]: one pause is its p99, or
//! * the lag of idle clients exceeds [`OWN_SHARE_MAX`] of the response p99: that time is the scheduler's, or
//! * operations waited longer than they were served, and more than [`OWN_SHARE_MAX`] of the time in which they were overdue was
//!   not spent in the engine.

use crate::plot::{micros, short, thousands};
use crate::rows::{ALL, Row};
use crate::stored::{Cell, Stored};

/// So much of what was offered is done by an engine that keeps up.
const REACHED_MIN: f64 = 0.99;
/// Standard deviations by which the number of operations of a Poisson process differs from its mean in one phase of thirty thousand.
const CHANCE_SIGMAS: f64 = 4.0;
/// Flushes, compactions and the machine's own pauses come about once a second.
const SECONDS_MIN: f64 = 2.0;
/// Of fewer the p99 rests on less than ten.
const OPS_MIN: u64 = 1_000;
/// The share of the harness in a figure of the engine.
const OWN_SHARE_MAX: f64 = 0.1;
/// Response times so many times the service times are made of waiting.
const WAITING_MIN: f64 = 2.0;

/// A sentence without its full stop for each phase and target with a figure to distrust.
pub(crate) fn warnings(stored: &Stored) -> Vec<String> {
    let cells = stored.cells();
    let open = cells.iter().filter(|cell| stored.is_open(cell));
    let targets = stored.targets();
    let pairs = open.flat_map(|cell| targets.iter().map(move |target| (cell, target)));
    pairs.filter_map(|(cell, target)| of_target(stored, cell, target)).collect()
}

fn of_target(stored: &Stored, cell: &Cell, target: &str) -> Option<String> {
    let rows: Vec<&Row> = stored.rows_of(cell, target, ALL).collect();
    let reasons: Vec<String> = rows.iter().filter_map(|row| reason(row)).collect();
    let first = reasons.first()?;
    let blocks = match rows.len() {
        1 => String::new(),
        blocks => format!(" ({} of {blocks} blocks; the first:)", reasons.len()),
    };
    Some(format!("{} of {target}{blocks}: {first}", cell.name()))
}

/// Why the response p99 of a row is to be distrusted.
fn reason(row: &Row) -> Option<String> {
    saturation(row).or_else(|| disturbance(row))
}

/// What the engine reached of the rate, if it did not keep up with it.
fn saturation(row: &Row) -> Option<String> {
    let offered = row.offered_rate?;
    let due = offered * row.seconds;
    let missing = due - row.ops as f64;
    let is_behind = missing > (1.0 - REACHED_MIN) * due && missing > CHANCE_SIGMAS * due.sqrt();
    // Of too few operations no median is known: what is missing is then all there is.
    let medians = row.rsp_p50_us.zip(row.svc_p50_us);
    let is_queue = medians.is_none_or(|(response, service)| response > WAITING_MIN * service);
    (is_behind && is_queue).then(|| {
        format!(
            "saturated: it reached {} of {} operations a second offered ({:.0} %), so response times measure the queue and not \
             the engine",
            short(row.ops_per_s),
            short(offered),
            row.ops_per_s / offered * 100.0
        )
    })
}

/// What but the engine is in the response p99 of a row.
fn disturbance(row: &Row) -> Option<String> {
    if row.seconds < SECONDS_MIN || row.ops < OPS_MIN {
        return Some(format!(
            "distrust the response p99 and above: {} operations in {:.1} s are few enough for one pause of the machine to be \
             all of it",
            thousands(row.ops),
            row.seconds
        ));
    }
    let response = row.rsp_p99_us.filter(|response| *response > 0.0)?;
    if let Some(lag) = row.sched_lag_p99_us.filter(|lag| *lag > OWN_SHARE_MAX * response) {
        return Some(format!(
            "distrust the response p99 of {}: idle clients were woken late by a p99 of {}, {:.0} % as long, which is the \
             machine's scheduling and not the engine",
            micros(response),
            micros(lag),
            lag / response * 100.0
        ));
    }
    let waited = row.svc_p99_us.is_some_and(|service| response > WAITING_MIN * service);
    let own = row.late_own_share.filter(|own| waited && *own > OWN_SHARE_MAX)?;
    Some(format!(
        "distrust the response p99 of {}: of the time in which operations were overdue {:.0} % was the clients' own and not \
         the engine's",
        micros(response),
        own * 100.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row() -> Row {
        Row {
            seconds: 10.0,
            ops: 100_000,
            ops_per_s: 10_000.0,
            offered_rate: Some(10_000.0),
            svc_p50_us: Some(50.0),
            rsp_p50_us: Some(60.0),
            svc_p99_us: Some(400.0),
            rsp_p99_us: Some(1_000.0),
            sched_lag_p99_us: Some(50.0),
            late_own_share: Some(0.02),
            ..Row::default()
        }
    }

    #[test]
    fn each_figure_that_is_the_harness_own_is_named_with_its_cause() {
        assert_eq!(reason(&row()), None);
        let told = |change: fn(&mut Row)| {
            let mut row = row();
            change(&mut row);
            reason(&row).unwrap()
        };
        assert!(told(|row| row.seconds = 0.3).contains("100,000 operations in 0.3 s"));
        assert!(told(|row| row.ops = 999).contains("999 operations"));
        let lag = told(|row| row.sched_lag_p99_us = Some(600.0));
        assert!(lag.contains("p99 of 1 ms") && lag.contains("60 %"), "{lag}");
        let own = told(|row| row.late_own_share = Some(0.4));
        assert!(own.contains("40 % was the clients' own"), "{own}");
    }

    #[test]
    fn a_rate_that_was_not_reached_is_called_saturation_before_any_other_cause() {
        let full = Row { offered_rate: Some(166_000.0), rsp_p50_us: Some(4e6), ..row() };
        // Whatever else is wrong with it: a phase that is short, idle clients that were late.
        for full in [
            Row { sched_lag_p99_us: Some(900.0), late_own_share: Some(0.4), ..full.clone() },
            Row { seconds: 0.5, ops: 5_000, ..full.clone() },
            Row { seconds: 0.001, ops: 10, rsp_p50_us: None, svc_p50_us: None, ..full.clone() },
            full,
        ] {
            let told = reason(&full).unwrap();
            assert!(told.starts_with("saturated: it reached 10.0k of 166k operations"), "{told}");
            assert!(told.contains("(6 %)") && told.contains("the queue"), "{told}");
        }
    }

    #[test]
    fn what_chance_or_a_stall_at_the_end_leaves_undone_is_no_saturation() {
        // 50 due, 40 came: a Poisson process does that.
        let few = Row { seconds: 10.0, ops: 40, ops_per_s: 4.0, offered_rate: Some(5.0), ..row() };
        assert_eq!(saturation(&Row { rsp_p50_us: None, svc_p50_us: None, ..few }), None);
        let stalled = Row { ops: 96_000, ops_per_s: 9_600.0, ..row() };
        assert_eq!(saturation(&stalled), None, "half of them did not wait");
        assert!(saturation(&Row { rsp_p50_us: Some(5e3), ..stalled }).is_some());
        let closed = Row { offered_rate: None, ..row() };
        assert_eq!(saturation(&closed), None);
    }

    #[test]
    fn wakes_that_delay_nothing_are_no_reason() {
        // Nothing waited: whatever was overdue was so for a moment.
        let calm = Row { svc_p99_us: Some(900.0), late_own_share: Some(1.0), ..row() };
        assert_eq!(reason(&calm), None);
    }
}
