//! Plots of an experiment, each as SVG and as PNG, from stored results alone.
//!
//! Text is drawn with a font that is built in; colours are Okabe and Ito's, which people who see fewer
//! colours can tell apart, and no line is told by its colour alone. Every plot says what was run, how durably,
//! how often and on which machine, and what to look for.

mod axis;
mod bars;
mod spectrum;
mod style;

pub(crate) use style::{bytes, micros, short, thousands};

use crate::stored::{Cell, Stored};
use anyhow::{Context, Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::Path;

/// A PNG has so many pixels for each unit of the SVG.
const PNG_SCALE: f64 = 2.0;

/// Something that can be drawn on either backend.
pub(crate) trait Figure {
    /// Width and height in units of the SVG.
    fn size(&self) -> (u32, u32);
    /// Draws everything; every length is to be multiplied by `scale`.
    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static;
}

/// A plot as it was written.
pub(crate) struct Drawn {
    /// The stem of its files.
    pub(crate) stem: String,
    /// The name people read, `None` for the overview.
    pub(crate) cell: Option<String>,
    pub(crate) svg: String,
}

/// Draws every plot of an experiment into `<dir>/plots`.
pub(crate) fn draw_all(stored: &Stored, dir: &Path) -> Result<Vec<Drawn>> {
    style::register_fonts()?;
    let dir = dir.join("plots");
    std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
    let mut drawn = Vec::new();
    let cells = stored.cells();
    if cells.len() > 1 {
        let overview = bars::Overview::new(stored, &cells);
        drawn.push(draw(&overview, &dir, "overview-throughput".into(), None)?);
    }
    for cell in &cells {
        let bars = bars::Bars::new(stored, cell);
        drawn.push(draw(&bars, &dir, format!("{}-throughput", cell.stem()), Some(cell))?);
        let spectrum = spectrum::Spectrum::new(stored, cell);
        drawn.push(draw(&spectrum, &dir, format!("{}-latency", cell.stem()), Some(cell))?);
    }
    Ok(drawn)
}

fn draw(figure: &impl Figure, dir: &Path, stem: String, cell: Option<&Cell>) -> Result<Drawn> {
    let (width, height) = figure.size();
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        figure.draw(&area, 1.0)?;
        present(&area)?;
    }
    let path = dir.join(format!("{stem}.svg"));
    std::fs::write(&path, &svg).with_context(|| format!("writing {}", path.display()))?;
    let path = dir.join(format!("{stem}.png"));
    let pixels = |units: u32| (f64::from(units) * PNG_SCALE) as u32;
    let area = BitMapBackend::new(&path, (pixels(width), pixels(height))).into_drawing_area();
    figure.draw(&area, PNG_SCALE)?;
    present(&area).with_context(|| format!("writing {}", path.display()))?;
    Ok(Drawn { stem, cell: cell.map(Cell::name), svg })
}

fn present<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>) -> Result<()> {
    area.present().map_err(|error| anyhow!("{error}"))
}

#[cfg(test)]
mod tests;
