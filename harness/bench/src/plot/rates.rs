//! Throughput over time: a line for each target, and the rate that an open loop offered.

use super::Figure;
use super::over_time::label;
use super::style::{
    FAINT, GRID, INK, Words, anchored, colour, drawing, font, marker, plain, px, short,
};
use crate::course::Course;
use crate::stored::{Cell, Stored};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::element::DashedPathElement;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// More seconds than this have no markers.
const MARKED_MAX: usize = 60;

/// One target.
struct Line {
    /// Its number among the targets.
    index: usize,
    target: String,
    /// Second, operations a second.
    points: Vec<(f64, f64)>,
    offered: Option<f64>,
    length_s: f64,
}

/// A phase of the first run of each target.
pub(super) struct Rates {
    words: Words,
    lines: Vec<Line>,
}

impl Rates {
    pub(super) fn new(stored: &Stored, cell: &Cell, courses: &[(usize, String, Course)]) -> Self {
        let is_open = courses.iter().any(|(.., course)| course.is_open());
        let look_for = if is_open {
            "A line that stays on its dashed one keeps up with what it is offered. A dip, then a hump above the dashed \
             line, is a pause and the queue being worked off; a line that stays below never catches up."
        } else {
            "Higher is better, and steadier: a mean hides a store that alternates between fast and stopped. A line that \
             falls from left to right is paying later for what it put off, so a longer phase would show a lower mean."
        };
        let title = format!("Throughput over time, {}", cell.name());
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        let line = |(index, target, course): &(usize, String, Course)| Line {
            index: *index,
            target: target.clone(),
            points: course
                .seconds
                .iter()
                // The last interval may be a few milliseconds, whose rate is an accident.
                .filter(|row| row.seconds >= 0.5)
                .map(|row| (row.t_s + row.seconds / 2.0, row.ops as f64 / row.seconds))
                .collect(),
            offered: course.seconds.iter().find_map(|row| row.offered),
            length_s: course.length_s,
        };
        Self { words, lines: courses.iter().map(line).collect() }
    }
}

impl Figure for Rates {
    fn size(&self) -> (u32, u32) {
        (960, 480)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        let (mut x, y) = (px(22.0, scale), px(10.0, scale));
        for line in &self.lines {
            let swatch = [(x, y), (x + px(28.0, scale), y)];
            let stroke = colour(line.index).stroke_width(px(2.0, scale) as u32);
            drawing(inner.draw(&PathElement::new(swatch.to_vec(), stroke)))?;
            marker(&inner, line.index, (x + px(14.0, scale), y), scale)?;
            let name = match line.offered {
                Some(rate) => format!("{} ({} offered, dashed)", line.target, short(rate)),
                None => line.target.clone(),
            };
            let style = anchored(font(13.0, scale, INK), HPos::Left, VPos::Center);
            x = label(&inner, &name, (x + px(28.0, scale), y), style, scale)?;
        }
        let inner = inner.margin(px(26.0, scale), px(4.0, scale), px(10.0, scale), px(24.0, scale));
        self.chart(&inner, scale)
    }
}

impl Rates {
    fn chart<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let rates = self.lines.iter().flat_map(|line| line.points.iter().map(|(_, rate)| *rate));
        let top =
            rates.chain(self.lines.iter().filter_map(|line| line.offered)).fold(1.0, f64::max);
        let right = self.lines.iter().map(|line| line.length_s).fold(1.0, f64::max);
        let mut chart = drawing(
            ChartBuilder::on(area)
                .x_label_area_size(px(40.0, scale))
                .y_label_area_size(px(64.0, scale))
                .build_cartesian_2d(0.0..right, 0.0..top * 1.1),
        )?;
        let rate = |y: &f64| short(*y);
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(0).bold_line_style(GRID).axis_style(FAINT);
        mesh.label_style(font(12.0, scale, FAINT)).axis_desc_style(font(12.0, scale, FAINT));
        mesh.x_label_formatter(&plain)
            .x_desc("seconds since the phase began")
            .y_desc("operations a second");
        drawing(mesh.y_label_formatter(&rate).y_labels(8).draw())?;
        let (base_x, base_y) = area.get_base_pixel();
        for line in &self.lines {
            let stroke = colour(line.index).stroke_width(px(2.0, scale) as u32);
            if let Some(offered) = line.offered {
                let ends = [(0.0, offered), (line.length_s, offered)];
                let ends: Vec<(i32, i32)> = ends
                    .iter()
                    .map(|point| chart.backend_coord(point))
                    .map(|(x, y)| (x - base_x, y - base_y))
                    .collect();
                let (dash, gap) = (px(5.0, scale), px(4.0, scale));
                drawing(area.draw(&DashedPathElement::new(ends, dash, gap, stroke)))?;
            }
            drawing(chart.draw_series(LineSeries::new(line.points.iter().copied(), stroke)))?;
            for point in line.points.iter().filter(|_| line.points.len() <= MARKED_MAX) {
                let (x, y) = chart.backend_coord(point);
                marker(area, line.index, (x - base_x, y - base_y), scale * 0.8)?;
            }
        }
        Ok(())
    }
}
