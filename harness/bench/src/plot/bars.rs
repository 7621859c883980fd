//! Throughput as bars, one per target, each block's own value a dot: one workload large, or all of them small.

use super::Figure;
use super::style::{
    FAINT, GRID, INK, Words, anchored, bold, colour, drawing, font, marker, px, short,
};
use crate::rows::ALL;
use crate::stored::{Cell, Stored};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// One bar.
struct Bar {
    target: String,
    /// Mean over the blocks; `None` if the target has no result.
    mean: Option<f64>,
    /// One for each block.
    blocks: Vec<f64>,
}

fn bars_of(stored: &Stored, cell: &Cell) -> Vec<Bar> {
    let of_target = |target: String| {
        let blocks = stored.rows_of(cell, &target, ALL).map(|row| row.ops_per_s).collect();
        Bar { mean: stored.ops_per_s(cell, &target), blocks, target }
    };
    stored.targets_of(cell).into_iter().map(of_target).collect()
}

/// The bars of one workload.
pub(super) struct Bars {
    words: Words,
    bars: Vec<Bar>,
}

impl Bars {
    pub(super) fn new(stored: &Stored, cell: &Cell) -> Self {
        let bars = bars_of(stored, cell);
        let look_for = if bars.iter().any(|bar| bar.blocks.len() > 1) {
            "Taller is better; each dot is one run. Whether a gap smaller than the spread of the dots is real stands \
             in the ratios, which compare runs of the same block."
        } else {
            "Taller is better. Each target ran once, so a gap of less than about 1.5x between two bars tells \
             nothing."
        };
        let title = format!("Throughput, {}", cell.name());
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        Self { words, bars }
    }
}

impl Figure for Bars {
    fn size(&self) -> (u32, u32) {
        (960, 520)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        let unit = anchored(font(12.0, scale, FAINT), HPos::Left, VPos::Top);
        drawing(inner.draw(&Text::new("operations a second", (px(18.0, scale), 0), unit)))?;
        let inner = inner.margin(px(20.0, scale), px(8.0, scale), px(10.0, scale), px(18.0, scale));
        draw_bars(&inner, &self.bars, scale, true)
    }
}

/// The bars of every workload, small.
pub(super) struct Overview {
    words: Words,
    panels: Vec<(String, Vec<Bar>)>,
}

impl Overview {
    pub(super) fn new(stored: &Stored, cells: &[Cell]) -> Self {
        let apart = stored.note.apart.as_ref();
        let apart = apart.filter(|_| cells.iter().any(|cell| stored.is_apart(cell)));
        let (title, look_for) = match apart {
            Some(apart) => (
                format!("Operations a second, {}", apart.title),
                "Taller is better, and each panel has a scale of its own; the server and the load are the same, so what differs is \
                 the protocol's. Clients, three nodes and the disk share this machine's processors, and none of it compares with \
                 a single engine.",
            ),
            None => (
                "Operations a second".into(),
                "Taller is better, and each panel has a scale of its own. Look for a target that leads in one panel and \
                 trails in another: that is the price of its design.",
            ),
        };
        let words = Words::new(stored, title, cells, look_for);
        let panels = cells.iter().map(|cell| (cell.name(), bars_of(stored, cell))).collect();
        Self { words, panels }
    }

    fn rows(&self) -> usize {
        // One panel is kept for the legend.
        (self.panels.len() + 1).div_ceil(4)
    }
}

impl Figure for Overview {
    fn size(&self) -> (u32, u32) {
        (960, 150 + 210 * self.rows() as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?.margin(0, 0, px(12.0, scale), px(12.0, scale));
        let places = inner.split_evenly((self.rows(), 4));
        for ((name, bars), place) in self.panels.iter().zip(&places) {
            let style = anchored(bold(14.0, scale, INK), HPos::Left, VPos::Top);
            drawing(place.draw(&Text::new(
                name.clone(),
                (px(12.0, scale), px(4.0, scale)),
                style,
            )))?;
            let place =
                place.margin(px(24.0, scale), px(6.0, scale), px(6.0, scale), px(6.0, scale));
            draw_bars(&place, bars, scale, false)?;
        }
        let (Some(place), Some((_, bars))) = (places.get(self.panels.len()), self.panels.first())
        else {
            return Ok(());
        };
        for (index, bar) in bars.iter().enumerate() {
            let y = px(40.0 + 24.0 * index as f64, scale);
            marker(place, index, (px(30.0, scale), y), scale)?;
            let style = anchored(font(14.0, scale, INK), HPos::Left, VPos::Center);
            drawing(place.draw(&Text::new(bar.target.clone(), (px(44.0, scale), y), style)))?;
        }
        Ok(())
    }
}

/// Draws bars into `area`, with an axis and names under them or without.
fn draw_bars<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    bars: &[Bar],
    scale: f64,
    is_large: bool,
) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let all = bars.iter().flat_map(|bar| bar.blocks.iter().copied().chain(bar.mean));
    let top = all.fold(0.0, f64::max).max(1.0) * 1.15;
    let count = bars.len().max(1) as f64;
    let (label_area, name_area) = if is_large { (56.0, 26.0) } else { (6.0, 4.0) };
    let mut chart = drawing(
        ChartBuilder::on(area)
            .x_label_area_size(px(name_area, scale))
            .y_label_area_size(px(label_area, scale))
            .build_cartesian_2d(0.0..count, 0.0..top),
    )?;
    let mut mesh = chart.configure_mesh();
    mesh.disable_x_mesh().x_labels(0).max_light_lines(0).bold_line_style(GRID);
    mesh.axis_style(FAINT).label_style(font(12.0, scale, FAINT)).y_desc("");
    let rate = |value: &f64| short(*value);
    mesh.y_label_formatter(&rate).y_labels(if is_large { 6 } else { 0 });
    if !is_large {
        mesh.disable_y_mesh();
    }
    drawing(mesh.draw())?;
    for (index, bar) in bars.iter().enumerate() {
        let (left, right) = (index as f64 + 0.16, index as f64 + 0.84);
        let Some(mean) = bar.mean else {
            let at = chart.backend_coord(&(index as f64 + 0.5, 0.0));
            let style = anchored(font(12.0, scale, FAINT), HPos::Center, VPos::Bottom);
            drawing(chart.plotting_area().draw(&EmptyElement::at((index as f64 + 0.5, 0.0))))?;
            drawing(draw_at(area, "failed", at, style))?;
            continue;
        };
        let body = Rectangle::new([(left, 0.0), (right, mean)], colour(index).filled());
        drawing(chart.plotting_area().draw(&body))?;
        // With a single block its dot is the bar's own end, and says nothing more.
        if bar.blocks.len() > 1 {
            for block in &bar.blocks {
                let dot =
                    Circle::new((f64::midpoint(left, right), *block), px(3.0, scale), INK.filled());
                drawing(chart.plotting_area().draw(&dot))?;
            }
        }
        let highest = bar.blocks.iter().copied().fold(mean, f64::max);
        let (x, y) = chart.backend_coord(&(f64::midpoint(left, right), highest));
        let size = if is_large { 14.0 } else { 12.0 };
        let style = anchored(bold(size, scale, INK), HPos::Center, VPos::Bottom);
        drawing(draw_at(area, &short(mean), (x, y - px(3.0, scale)), style))?;
        if is_large {
            let (x, y) = chart.backend_coord(&(f64::midpoint(left, right), 0.0));
            let style = anchored(font(13.0, scale, INK), HPos::Center, VPos::Top);
            drawing(draw_at(area, &bar.target, (x, y + px(7.0, scale)), style))?;
        }
    }
    Ok(())
}

/// Draws text at a position of the whole picture.
fn draw_at<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    text: &str,
    (x, y): (i32, i32),
    style: TextStyle<'static>,
) -> Result<(), DrawingAreaErrorKind<DB::ErrorType>>
where
    DB::ErrorType: 'static,
{
    let (base_x, base_y) = area.get_base_pixel();
    area.draw(&Text::new(text.to_owned(), (x - base_x, y - base_y), style))
}
