//! Latency over time, with what the engine did meanwhile in lanes below: flushes, and compactions by the level they write.
//!
//! Red bands across everything are times in which writers waited; fainter ones, in which they were slowed down. The work
//! that a stall waited for is drawn in the stall's colour, so that band and cause lie above each other. An open loop shows
//! response times, and the p99 of its service times beside them.

use super::Figure;
use super::axis::LogAxis;
use super::style::{
    FAINT, GRID, INK, Words, anchored, bytes, colour, drawing, font, marker, micros, plain, px,
    thousands,
};
use crate::course::{Course, What, Work};
use crate::series::IntervalRow;
use crate::stored::{Cell, Stored};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::coord::ranged1d::Ranged;
use plotters::coord::types::RangedCoordf64;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// The colour of stalls and of what they wait for: vermilion.
const STALL: RGBColor = RGBColor(213, 94, 0);
/// The number of the line of service times beside response times: a colour that no stall has.
const SERVICE: usize = 4;
/// Heights in units of the SVG.
const LEGEND: u32 = 26;
const PANEL: u32 = 300;
const LANE: u32 = 22;
const AXIS: u32 = 40;
/// Room for title and footer.
const WORDS: u32 = 156;
/// Left of both charts: labels; right: what each lane did in sum.
const LEFT: f64 = 74.0;
const RIGHT: f64 = 116.0;
/// More seconds than this have no markers.
const MARKED_MAX: usize = 60;

/// One line over time, in microseconds.
struct Line {
    name: &'static str,
    /// Of colour and marker.
    index: usize,
    points: Vec<(f64, f64)>,
    is_dashed: bool,
}

/// One kind of work.
struct Lane {
    name: String,
    works: Vec<Work>,
}

/// A phase of one run.
pub(super) struct OverTime {
    words: Words,
    course: Course,
    lines: Vec<Line>,
    lanes: Vec<Lane>,
}

impl OverTime {
    /// Of one target's first run.
    pub(super) fn new(stored: &Stored, cell: &Cell, target: &str, course: Course) -> Self {
        let is_open = course.is_open();
        let (kind, model) = if is_open { ("Response", "open") } else { ("Service", "closed") };
        let title = format!("{kind} time over time, {}: {target} ({model} loop)", cell.name());
        let (lines, lanes) = (lines_of(&course.seconds, is_open), lanes_of(&course));
        let look_for = look_for(is_open, !lanes.is_empty());
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        Self { words, course, lines, lanes }
    }

    fn lanes_height(&self) -> u32 {
        LANE * self.lanes.len() as u32
    }
}

/// What to look for. Only where there are lanes can anybody look down at them.
fn look_for(is_open: bool, has_lanes: bool) -> &'static str {
    match (is_open, has_lanes) {
        (true, true) => {
            "A flat p99 keeps its promise in every second; where it rises, look straight down for the flush or \
             compaction that was running, and for a red band, in which writers waited. Response time counts from when \
             an operation was to be sent, so a stall of a second shows as a slope of waiting operations and not as one slow one."
        }
        (false, true) => {
            "A flat p99 keeps its promise in every second; where it rises, look straight down for the flush or \
             compaction that was running, and for a red band, in which writers waited. In a closed loop a stall is one slow \
             operation for each client: run the workload with --of-max to see those that would have come in meanwhile."
        }
        (true, false) => {
            "A flat p99 keeps its promise in every second. What the engine did where it rises is not shown: it told of no flush \
             and no compaction in this time. Response time counts from when an operation was to be sent, so a stall of a second \
             shows as a slope of waiting operations and not as one slow one."
        }
        (false, false) => {
            "A flat p99 keeps its promise in every second. What the engine did where it rises is not shown: it told of no flush \
             and no compaction in this time. In a closed loop a stall is one slow operation for each client: run the workload \
             with --of-max to see those that would have come in meanwhile."
        }
    }
}

fn lines_of(seconds: &[IntervalRow], is_open: bool) -> Vec<Line> {
    let line = |name, index, of: fn(&IntervalRow) -> Option<f64>| {
        let point = |row: &IntervalRow| Some((row.t_s + row.seconds / 2.0, of(row)?));
        // A second in which nothing ended has no latency, not one of 0.
        let points = seconds.iter().filter(|row| row.ops > 0).filter_map(point).collect();
        Line { name, index, points, is_dashed: index == SERVICE }
    };
    let mut lines = if is_open {
        vec![
            line("p50", 0, |row| row.rsp_p50_us),
            line("p99", 1, |row| row.rsp_p99_us),
            line("max", 2, |row| row.rsp_max_us),
            line("p99 of service time", SERVICE, |row| row.svc_p99_us),
        ]
    } else {
        vec![
            line("p50", 0, |row| row.svc_p50_us),
            line("p99", 1, |row| row.svc_p99_us),
            line("max", 2, |row| Some(row.svc_max_us)),
        ]
    };
    lines.retain(|line| !line.points.is_empty());
    lines
}

fn lanes_of(course: &Course) -> Vec<Lane> {
    let of = |name: String, what: What| {
        let works = course.works.iter().filter(|work| work.what == what).cloned().collect();
        Lane { name, works }
    };
    let mut lanes = vec![of("flushes".into(), What::Flush)];
    lanes.extend((0..=u8::MAX).map(|level| of(format!("into L{level}"), What::Compaction(level))));
    lanes.retain(|lane| !lane.works.is_empty());
    lanes
}

impl Figure for OverTime {
    fn size(&self) -> (u32, u32) {
        (960, WORDS + LEGEND + PANEL + self.lanes_height() + AXIS)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        self.legend(&inner, scale)?;
        let inner = inner.margin(px(f64::from(LEGEND), scale), 0, 0, 0);
        let lanes = f64::from(self.lanes_height() + AXIS);
        let (_, height) = inner.dim_in_pixel();
        let (above, below) = inner.split_vertically(height as i32 - px(lanes, scale));
        self.panel(&above, scale)?;
        self.lanes(&below, scale)
    }
}

impl OverTime {
    fn legend<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let (mut x, y) = (px(22.0, scale), px(10.0, scale));
        let style = || anchored(font(13.0, scale, INK), HPos::Left, VPos::Center);
        let swatch = px(28.0, scale);
        for line in &self.lines {
            let index = line.index;
            draw_line(area, index, line.is_dashed, &[(x, y), (x + swatch, y)], scale)?;
            if !line.is_dashed {
                marker(area, index, (x + swatch / 2, y), scale)?;
            }
            x = label(area, line.name, (x + swatch, y), style(), scale)?;
        }
        let mut box_of = |name: &str, fill: ShapeStyle, is_there: bool| -> Result<()> {
            if is_there {
                let h = px(6.0, scale);
                drawing(area.draw(&Rectangle::new([(x, y - h), (x + swatch, y + h)], fill)))?;
                x = label(area, name, (x + swatch, y), style(), scale)?;
            }
            Ok(())
        };
        let has = |stop: bool| self.course.stalls().any(|stall| is_stop(stall) == stop);
        box_of("writers wait", band(true), has(true))?;
        box_of("writers slowed down", band(false), has(false))?;
        let is_held =
            self.lanes.iter().flat_map(|lane| &lane.works).any(|work| self.holds_up(work));
        box_of("what they wait for", STALL.filled(), is_held)
    }

    fn holds_up(&self, work: &Work) -> bool {
        self.course.stalls().any(|stall| is_stop(stall) && work.holds_up(stall))
    }

    /// The latencies.
    fn panel<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let points = || self.lines.iter().flat_map(|line| &line.points).map(|(_, y)| *y);
        let y_axis = LogAxis::around(
            points().fold(f64::INFINITY, f64::min),
            points().fold(0.0, f64::max),
            10,
        );
        let range = Ranged::range(&y_axis);
        let mut chart = drawing(
            ChartBuilder::on(area)
                .margin_right(px(RIGHT, scale))
                .margin_top(px(4.0, scale))
                .y_label_area_size(px(LEFT, scale))
                .x_label_area_size(px(6.0, scale))
                .build_cartesian_2d(0.0..self.course.length_s, y_axis),
        )?;
        for stall in self.course.stalls() {
            let (left, right) = self.span(stall);
            let corners = [(left, range.start), (right, range.end)];
            drawing(chart.draw_series([Rectangle::new(corners, band(is_stop(stall)))]))?;
        }
        let time = |y: &f64| micros(*y);
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(0).bold_line_style(GRID).axis_style(FAINT);
        mesh.label_style(font(12.0, scale, FAINT)).y_label_formatter(&time).x_labels(0);
        drawing(mesh.draw())?;
        let (base_x, base_y) = area.get_base_pixel();
        for line in &self.lines {
            let index = line.index;
            let pixels: Vec<(i32, i32)> = line
                .points
                .iter()
                .map(|point| chart.backend_coord(point))
                .map(|(x, y)| (x - base_x, y - base_y))
                .collect();
            draw_line(area, index, line.is_dashed, &pixels, scale)?;
            if pixels.len() <= MARKED_MAX && !line.is_dashed {
                for at in pixels {
                    marker(area, index, at, scale * 0.7)?;
                }
            }
        }
        Ok(())
    }

    /// From when to when, and never thinner than can be seen.
    fn span(&self, work: &Work) -> (f64, f64) {
        let least = self.course.length_s / 700.0;
        (work.begin_s, work.end_s.max(work.begin_s + least).min(self.course.length_s))
    }

    /// What the engine did, and the axis of time.
    fn lanes<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let count = self.lanes.len().max(1) as f64;
        let mut chart = drawing(
            ChartBuilder::on(area)
                .margin_right(px(RIGHT, scale))
                .y_label_area_size(px(LEFT, scale))
                .x_label_area_size(px(f64::from(AXIS), scale))
                .build_cartesian_2d(0.0..self.course.length_s, 0.0..count),
        )?;
        for stall in self.course.stalls() {
            let (left, right) = self.span(stall);
            let body = Rectangle::new([(left, 0.0), (right, count)], band(is_stop(stall)));
            drawing(chart.draw_series([body]))?;
        }
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(0).bold_line_style(GRID).axis_style(FAINT).disable_y_mesh();
        mesh.label_style(font(12.0, scale, FAINT)).axis_desc_style(font(12.0, scale, FAINT));
        mesh.x_label_formatter(&plain).x_desc("seconds since the phase began").y_labels(0);
        drawing(mesh.draw())?;
        for (index, lane) in self.lanes.iter().enumerate() {
            self.lane(area, &mut chart, (index, lane), scale)?;
        }
        Ok(())
    }

    fn lane<'a, DB: DrawingBackend + 'a>(
        &self,
        area: &DrawingArea<DB, Shift>,
        chart: &mut ChartContext<'a, DB, Cartesian2d<RangedCoordf64, RangedCoordf64>>,
        (index, lane): (usize, &Lane),
        scale: f64,
    ) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let top = self.lanes.len() as f64 - index as f64;
        for work in &lane.works {
            let (left, right) = self.span(work);
            let ink = if self.holds_up(work) { STALL } else { colour(5) };
            let corners = [(left, top - 0.15), (right, top - 0.85)];
            let body = Rectangle::new(corners, ink.mix(0.75).filled());
            // A white edge tells one job from the next that begins at once.
            let edge = PathElement::new([(left, top - 0.1), (left, top - 0.9)], WHITE);
            drawing(chart.draw_series([body.into_dyn(), edge.into_dyn()]))?;
        }
        let (base_x, base_y) = area.get_base_pixel();
        let left = chart.backend_coord(&(0.0, top - 0.5));
        let right = chart.backend_coord(&(self.course.length_s, top - 0.5));
        let style = |h| anchored(font(12.0, scale, FAINT), h, VPos::Center);
        let at = (left.0 - base_x - px(6.0, scale), left.1 - base_y);
        drawing(area.draw(&Text::new(lane.name.clone(), at, style(HPos::Right))))?;
        let sum = lane.works.iter().map(|work| work.bytes_out).sum();
        let what = format!("{} x, {}", thousands(lane.works.len() as u64), bytes(sum));
        let at = (right.0 - base_x + px(6.0, scale), right.1 - base_y);
        drawing(area.draw(&Text::new(what, at, style(HPos::Left))))
    }
}

fn is_stop(stall: &Work) -> bool {
    stall.what == What::Stall { is_stop: true }
}

/// The fill of a band.
fn band(is_stop: bool) -> ShapeStyle {
    STALL.mix(if is_stop { 0.4 } else { 0.13 }).filled()
}

/// Draws a line through pixels.
fn draw_line<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    index: usize,
    is_dashed: bool,
    pixels: &[(i32, i32)],
    scale: f64,
) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let stroke = colour(index).stroke_width(px(if is_dashed { 1.5 } else { 2.0 }, scale) as u32);
    if is_dashed {
        let (dash, gap) = (px(5.0, scale), px(4.0, scale));
        return drawing(area.draw(&DashedPathElement::new(
            pixels.iter().copied(),
            dash,
            gap,
            stroke,
        )));
    }
    drawing(area.draw(&PathElement::new(pixels.to_vec(), stroke)))
}

/// Draws the words of a legend after `x`; where the next entry begins.
pub(super) fn label<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    text: &str,
    (x, y): (i32, i32),
    style: TextStyle<'static>,
    scale: f64,
) -> Result<i32>
where
    DB::ErrorType: 'static,
{
    let x = x + px(8.0, scale);
    let (width, _) = drawing(area.estimate_text_size(text, &style))?;
    drawing(area.draw(&Text::new(text.to_owned(), (x, y), style)))?;
    Ok(x + width as i32 + px(22.0, scale))
}
