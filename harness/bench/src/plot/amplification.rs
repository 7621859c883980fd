//! Write, read and space amplification of all targets: what each design pays, and for what.
//!
//! Across: bytes written for a byte of the user. Up: blocks looked at for a point read. The size of a bubble: bytes on the
//! disk for a byte that lives. The line joins the targets that no other beats in both of the first two.

use super::Figure;
use super::axis::LogAxis;
use super::style::{FAINT, GRID, INK, Words, anchored, colour, drawing, font, marker, plain, px};
use crate::rows::{ALL, Row};
use crate::stored::{Cell, Stored};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Area of a bubble, in square units of the SVG, for each byte on the disk of a byte that lives.
const AREA: f64 = 420.0;

/// One target; means over its blocks.
#[derive(Clone, Debug, PartialEq)]
struct Point {
    index: usize,
    target: String,
    write: f64,
    read: f64,
    space: Option<f64>,
}

/// All targets that count what they do, in one phase.
pub(super) struct Amplification {
    words: Words,
    points: Vec<Point>,
}

impl Amplification {
    /// `None` where fewer than `points_min` targets have both numbers.
    pub(super) fn new(stored: &Stored, cell: &Cell, points_min: usize) -> Option<Self> {
        let look_for = "Left is cheap to write, low is cheap to read, a small bubble is cheap to keep; no store has all \
                        three. Targets on the line are each the best at some price, and one above and to the right of it \
                        is beaten in both.";
        let targets = stored.targets_of(cell);
        let points: Vec<Point> = targets
            .into_iter()
            .enumerate()
            .filter_map(|(index, target)| point(stored, cell, index, target))
            .collect();
        let title = format!("Write, read and space amplification, {}", cell.name());
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        (points.len() >= points_min.max(1)).then_some(Self { words, points })
    }
}

fn point(stored: &Stored, cell: &Cell, index: usize, target: String) -> Option<Point> {
    let rows: Vec<&Row> = stored.rows_of(cell, &target, ALL).collect();
    let mean = |of: fn(&Row) -> Option<f64>| {
        let values: Vec<f64> = rows.iter().filter_map(|row| of(row)).collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    let write = mean(|row| row.wa_settled.or(row.wa_stop)).filter(|write| *write > 0.0)?;
    let read = mean(|row| row.ra_point_blocks).filter(|read| *read > 0.0)?;
    let space = mean(|row| row.sa_settled.or(row.sa_stop));
    Some(Point { index, target, write, read, space })
}

/// Those that none beats in both, from left to right.
fn front(points: &[Point]) -> Vec<(f64, f64)> {
    let beats = |a: &Point, b: &Point| {
        a.write <= b.write && a.read <= b.read && (a.write < b.write || a.read < b.read)
    };
    let best = points.iter().filter(|point| !points.iter().any(|other| beats(other, point)));
    let mut front: Vec<(f64, f64)> = best.map(|point| (point.write, point.read)).collect();
    front.sort_by(|a, b| a.0.total_cmp(&b.0));
    front
}

impl Figure for Amplification {
    fn size(&self) -> (u32, u32) {
        (960, 560)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        let inner = inner.margin(px(6.0, scale), px(4.0, scale), px(14.0, scale), px(24.0, scale));
        let axis = |of: fn(&Point) -> f64| {
            let all = || self.points.iter().map(of);
            LogAxis::around(
                all().fold(f64::INFINITY, f64::min) / 1.3,
                all().fold(0.0, f64::max) * 1.3,
                10,
            )
        };
        let mut chart = drawing(
            ChartBuilder::on(&inner)
                .x_label_area_size(px(40.0, scale))
                .y_label_area_size(px(64.0, scale))
                .build_cartesian_2d(axis(|point| point.write), axis(|point| point.read)),
        )?;
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(0).bold_line_style(GRID).axis_style(FAINT);
        mesh.label_style(font(12.0, scale, FAINT)).axis_desc_style(font(12.0, scale, FAINT));
        mesh.x_label_formatter(&plain).y_label_formatter(&plain);
        mesh.x_desc("bytes written to tables / bytes written by the user");
        drawing(mesh.y_desc("blocks looked at / point read").draw())?;
        drawing(chart.draw_series(LineSeries::new(
            front(&self.points),
            FAINT.stroke_width(px(1.0, scale) as u32),
        )))?;
        let (base_x, base_y) = inner.get_base_pixel();
        for point in &self.points {
            let (x, y) = chart.backend_coord(&(point.write, point.read));
            let (x, y) = (x - base_x, y - base_y);
            let radius = (point.space.unwrap_or(0.0) * AREA / std::f64::consts::PI).sqrt();
            let bubble =
                Circle::new((x, y), px(radius, scale), colour(point.index).mix(0.3).filled());
            drawing(inner.draw(&bubble))?;
            marker(&inner, point.index, (x, y), scale)?;
            let space = point.space.map_or(String::new(), |space| format!(", space {space:.2}"));
            let text = format!("{} ({:.2}, {:.2}{space})", point.target, point.write, point.read);
            let style = anchored(font(13.0, scale, INK), HPos::Left, VPos::Center);
            let at = (x + px(radius.max(4.0) + 6.0, scale), y);
            drawing(inner.draw(&Text::new(text, at, style)))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_front_holds_what_nothing_beats_in_both() {
        let point =
            |write, read| Point { index: 0, target: String::new(), write, read, space: None };
        let points =
            [point(9.0, 1.0), point(3.0, 3.0), point(4.0, 4.0), point(2.0, 8.0), point(9.0, 2.0)];
        assert_eq!(front(&points), [(2.0, 8.0), (3.0, 3.0), (9.0, 1.0)]);
    }
}
