//! Bytes of each level over time, one upon the other.

use super::Figure;
use super::over_time::label;
use super::style::{FAINT, GRID, INK, Words, anchored, bytes, colour, drawing, font, plain, px};
use crate::course::Course;
use crate::stored::{Cell, Stored};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// A phase of one run.
pub(super) struct Levels {
    words: Words,
    /// Levels that hold something at one moment at least.
    levels: Vec<usize>,
    /// For each moment the bytes of each of these levels.
    moments: Vec<(f64, Vec<f64>)>,
    length_s: f64,
}

impl Levels {
    /// `None` for an engine without levels.
    pub(super) fn new(stored: &Stored, cell: &Cell, target: &str, course: &Course) -> Option<Self> {
        let look_for = "The deepest level is at the bottom and holds nearly all of a store in shape. A band above it \
                        that swells and collapses is compaction working in bursts; a sum that only grows is a store \
                        that falls behind, or keeps what is dead.";
        let mut levels: Vec<usize> =
            course.levels.iter().filter(|row| row.bytes > 0).map(|row| row.level).collect();
        levels.sort_unstable();
        levels.dedup();
        let mut moments: Vec<(f64, Vec<f64>)> = Vec::new();
        for row in &course.levels {
            let Some(place) = levels.iter().position(|level| *level == row.level) else { continue };
            if moments.last().is_none_or(|(at, _)| *at != row.t_s) {
                moments.push((row.t_s, vec![0.0; levels.len()]));
            }
            if let Some((_, bytes)) = moments.last_mut() {
                bytes[place] = row.bytes as f64;
            }
        }
        let title = format!("Bytes of each level over time, {}: {target}", cell.name());
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        let is_there = !levels.is_empty() && moments.len() > 1;
        is_there.then_some(Self { words, levels, moments, length_s: course.length_s })
    }
}

impl Figure for Levels {
    fn size(&self) -> (u32, u32) {
        (960, 480)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        let (mut x, y) = (px(22.0, scale), px(10.0, scale));
        for (place, level) in self.levels.iter().enumerate() {
            let (half, width) = (px(6.0, scale), px(28.0, scale));
            let fill = colour(place).mix(0.8).filled();
            drawing(inner.draw(&Rectangle::new([(x, y - half), (x + width, y + half)], fill)))?;
            let last = self.moments.last().map_or(0.0, |(_, levels)| levels[place]);
            let name = format!("L{level} ({} at the end)", bytes(last as u64));
            let style = anchored(font(13.0, scale, INK), HPos::Left, VPos::Center);
            x = label(&inner, &name, (x + width, y), style, scale)?;
        }
        let inner = inner.margin(px(26.0, scale), px(4.0, scale), px(10.0, scale), px(24.0, scale));
        self.chart(&inner, scale)
    }
}

impl Levels {
    fn chart<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let top = self.moments.iter().map(|(_, levels)| levels.iter().sum()).fold(1.0, f64::max);
        let (unit, name) = unit_of(top);
        let mut chart = drawing(
            ChartBuilder::on(area)
                .x_label_area_size(px(40.0, scale))
                .y_label_area_size(px(74.0, scale))
                .build_cartesian_2d(0.0..self.length_s, 0.0..top * 1.08 / unit),
        )?;
        let size = |y: &f64| format!("{} {name}", plain(y));
        let mut mesh = chart.configure_mesh();
        mesh.max_light_lines(0).bold_line_style(GRID).axis_style(FAINT);
        mesh.label_style(font(12.0, scale, FAINT)).axis_desc_style(font(12.0, scale, FAINT));
        mesh.x_label_formatter(&plain).x_desc("seconds since the phase began");
        drawing(mesh.y_label_formatter(&size).y_labels(8).draw())?;
        // From the whole down to the deepest alone: each area hides the lower part of the one before.
        for place in 0..self.levels.len() {
            let upper =
                |(at, bytes): &(f64, Vec<f64>)| (*at, bytes[place..].iter().sum::<f64>() / unit);
            let points: Vec<(f64, f64)> = self.moments.iter().map(upper).collect();
            let outline = colour(place).stroke_width(px(1.5, scale) as u32);
            drawing(chart.draw_series(AreaSeries::new(
                points.iter().copied(),
                0.0,
                WHITE.filled(),
            )))?;
            let area = AreaSeries::new(points, 0.0, colour(place).mix(0.8));
            drawing(chart.draw_series(area.border_style(outline)))?;
        }
        Ok(())
    }
}

/// The binary unit in which an axis up to `bytes` has round numbers.
fn unit_of(bytes: f64) -> (f64, &'static str) {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let power = ((bytes.max(1.0).log2() / 10.0) as usize).min(UNITS.len() - 1);
    (1024_f64.powi(power as i32), UNITS[power])
}
