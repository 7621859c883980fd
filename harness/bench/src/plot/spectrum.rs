//! Latency by percentile: for each target, how long the slowest share of operations took.
//!
//! The horizontal axis is `1 / (1 - q)` on a logarithmic scale, so that each further nine gets the same room. A
//! line ends where fewer than ten operations lie beyond. Each kind of operation has a panel of its own.

use super::Figure;
use super::axis::LogAxis;
use super::style::{
    FAINT, GRID, INK, Words, anchored, bold, colour, drawing, font, marker, micros, px,
};
use crate::latency::{Latencies, quantile_us};
use crate::stored::{Cell, Stored};
use anyhow::Result;
use nori_workloads::OpKind;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Points of a line in each decade of `1 / (1 - q)`.
const POINTS_PER_DECADE: i32 = 16;
/// The last decade: 99.999 %.
const DECADES_MAX: i32 = 5;

/// One line: `1 / (1 - q)`, microseconds.
struct Line {
    target: usize,
    points: Vec<(f64, f64)>,
    is_dashed: bool,
}

/// The spectrum of one workload.
pub(super) struct Spectrum {
    words: Words,
    targets: Vec<String>,
    panels: Vec<(OpKind, Vec<Line>)>,
}

impl Spectrum {
    pub(super) fn new(stored: &Stored, cell: &Cell) -> Self {
        let is_open = stored.is_open(cell);
        let look_for = if is_open {
            "Lower is better; solid is response time, from when an operation was to be sent, dashed is service time, from \
             when it was. Where they part, operations waited for others: that is what a user of a busy store sees."
        } else {
            "Lower is better, and a line that stays flat to the right keeps its promise to nearly every request. A steep \
             rise at one percentile is a pause (a flush, a compaction, a sync) that hit that share."
        };
        let title = if is_open {
            format!("Response and service time by percentile, {} (open loop)", cell.name())
        } else {
            format!("Service time by percentile, {} (closed loop)", cell.name())
        };
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        let targets = stored.targets_of(cell);
        // What the lines of an open loop are dashed for, and of a closed loop are.
        let services = targets.iter().map(|target| (is_open, stored.latencies(cell, target)));
        let responses = targets.iter().map(|target| (false, stored.responses(cell, target)));
        let latencies: Vec<_> = services.enumerate().chain(responses.enumerate()).collect();
        let lines = |kind: OpKind| -> Vec<Line> {
            let of_target = |(target, (is_dashed, all)): &(usize, (bool, Latencies))| {
                let points = points_of(all.of(kind));
                let line = Line { target: *target, points, is_dashed: *is_dashed };
                (!line.points.is_empty()).then_some(line)
            };
            latencies.iter().filter_map(of_target).collect()
        };
        let panels = OpKind::ALL.into_iter().map(|kind| (kind, lines(kind)));
        Self { words, targets, panels: panels.filter(|(_, lines)| !lines.is_empty()).collect() }
    }
}

fn points_of(histogram: &hdrhistogram::Histogram<u64>) -> Vec<(f64, f64)> {
    (0..=DECADES_MAX * POINTS_PER_DECADE)
        .map(|step| 10_f64.powf(f64::from(step) / f64::from(POINTS_PER_DECADE)))
        .map_while(|x| Some((x, quantile_us(histogram, 1.0 - 1.0 / x)?)))
        .collect()
}

impl Figure for Spectrum {
    fn size(&self) -> (u32, u32) {
        (960, 560)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        self.legend(&inner, scale)?;
        let inner = inner.margin(px(26.0, scale), px(6.0, scale), px(10.0, scale), px(14.0, scale));
        let points = || self.panels.iter().flat_map(|(_, l)| l).flat_map(|line| &line.points);
        // All panels share their axes: kinds of operation are compared with each other, too.
        let low = points().map(|(_, y)| *y).fold(f64::INFINITY, f64::min);
        let high = points().map(|(_, y)| *y).fold(0.0, f64::max);
        let right = points().map(|(x, _)| *x).fold(10.0, f64::max);
        for ((kind, lines), place) in
            self.panels.iter().zip(inner.split_evenly((1, self.panels.len().max(1))))
        {
            let style = anchored(bold(14.0, scale, INK), HPos::Left, VPos::Top);
            drawing(place.draw(&Text::new(kind.name(), (px(70.0, scale), px(2.0, scale)), style)))?;
            let place = place.margin(px(22.0, scale), 0, 0, px(12.0, scale));
            draw_panel(&place, lines, LogAxis::around(low, high, 10), right, scale)?;
        }
        Ok(())
    }
}

impl Spectrum {
    fn legend<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let mut x = px(22.0, scale);
        let y = px(8.0, scale);
        for (index, target) in self.targets.iter().enumerate() {
            let line = vec![(x, y), (x + px(28.0, scale), y)];
            let stroke = colour(index).stroke_width(px(2.0, scale) as u32);
            drawing(area.draw(&PathElement::new(line, stroke)))?;
            marker(area, index, (x + px(14.0, scale), y), scale)?;
            x += px(36.0, scale);
            let style = anchored(font(13.0, scale, INK), HPos::Left, VPos::Center);
            let (width, _) = drawing(area.estimate_text_size(target, &style))?;
            drawing(area.draw(&Text::new(target.clone(), (x, y), style)))?;
            x += width as i32 + px(26.0, scale);
        }
        Ok(())
    }
}

/// The ticks of the horizontal axis up to `right`: 50 %, 90 %, 99 %, ...
fn percentile_ticks(right: f64) -> Vec<f64> {
    let decades = (1..=DECADES_MAX).map(|decade| 10_f64.powi(decade));
    std::iter::once(2.0).chain(decades).filter(|tick| *tick <= right * 1.001).collect()
}

fn percentile_label(x: f64) -> String {
    let percent = 100.0 * (1.0 - 1.0 / x);
    // As many decimals as there are nines after the second.
    let decimals = (x.log10().round() as usize).saturating_sub(2);
    format!("{percent:.decimals$} %")
}

fn draw_panel<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    lines: &[Line],
    y_axis: LogAxis,
    right: f64,
    scale: f64,
) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let x_axis = LogAxis::with_ticks(1.0, right * 1.25, percentile_ticks(right));
    let mut chart = drawing(
        ChartBuilder::on(area)
            .x_label_area_size(px(40.0, scale))
            .y_label_area_size(px(64.0, scale))
            .build_cartesian_2d(x_axis, y_axis),
    )?;
    let percentile = |x: &f64| percentile_label(*x);
    let time = |y: &f64| micros(*y);
    drawing(
        chart
            .configure_mesh()
            .max_light_lines(0)
            .bold_line_style(GRID)
            .axis_style(FAINT)
            .label_style(font(12.0, scale, FAINT))
            .axis_desc_style(font(12.0, scale, FAINT))
            .x_desc("share of operations that were at least as quick")
            .x_label_formatter(&percentile)
            .y_label_formatter(&time)
            .draw(),
    )?;
    let (base_x, base_y) = area.get_base_pixel();
    for line in lines {
        let stroke = colour(line.target).stroke_width(px(2.0, scale) as u32);
        let points = line.points.iter().copied();
        if line.is_dashed {
            let (dash, gap) = (px(5.0, scale), px(4.0, scale));
            drawing(chart.draw_series(DashedLineSeries::new(
                points,
                dash as u32,
                gap as u32,
                stroke,
            )))?;
            continue;
        }
        drawing(chart.draw_series(LineSeries::new(points, stroke)))?;
        for tick in percentile_ticks(right) {
            let near = |point: &&(f64, f64)| (point.0 / tick).ln().abs() < 0.08;
            let Some(point) = line.points.iter().find(near) else { continue };
            let (x, y) = chart.backend_coord(point);
            marker(area, line.target, (x - base_x, y - base_y), scale)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_labelled_with_their_nines() {
        let labels: Vec<String> =
            percentile_ticks(100_000.0).into_iter().map(percentile_label).collect();
        assert_eq!(labels, ["50 %", "90 %", "99 %", "99.9 %", "99.99 %", "99.999 %"]);
    }

    #[test]
    fn a_line_ends_where_ten_operations_lie_beyond() {
        let mut histogram = crate::latency::histogram();
        for i in 1..=10_000 {
            histogram.record(i).unwrap();
        }
        let (x, _) = *points_of(&histogram).last().unwrap();
        assert!((900.0..=1_100.0).contains(&x), "{x}");
    }
}
