//! Plots of an experiment, each as SVG and as PNG, from stored results alone. Where the data of a plot do not exist it
//! is not drawn.
//!
//! Text is drawn with a font that is built in; colours are Okabe and Ito's, which people who see fewer
//! colours can tell apart, and no line is told by its colour alone. Every plot says what was run, how durably,
//! how often and on which machine, and what to look for.

mod amplification;
mod axis;
mod bars;
mod commits;
mod levels;
mod over_time;
mod rates;
mod spectrum;
mod style;

pub(crate) use style::{bytes, micros, short, thousands};

use crate::course::{Course, SECONDS_MIN};
use crate::plan::file_name;
use crate::stored::{Cell, Stored};
use anyhow::{Context, Result, anyhow};
use nori_workloads::nearest;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::{Path, PathBuf};
use std::str::FromStr;

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

/// What a plot can show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Overview,
    Throughput,
    Latency,
    LatencyOverTime,
    ThroughputOverTime,
    LevelsOverTime,
    Amplification,
    CommitLatency,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        Self::ALL.into_iter().find(|kind| kind.name() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::name);
            let hint = nearest(text, known);
            let hint = hint.map_or_else(
                || format!(", only {}", known.join(", ")),
                |name| format!("; did you mean `{name}`?"),
            );
            format!("no plot is called `{text}`{hint}")
        })
    }
}

impl Kind {
    /// Every kind, in the order of the report.
    pub(crate) const ALL: [Self; 8] = [
        Self::Overview,
        Self::Throughput,
        Self::Latency,
        Self::LatencyOverTime,
        Self::ThroughputOverTime,
        Self::LevelsOverTime,
        Self::Amplification,
        Self::CommitLatency,
    ];

    /// Its name on the command line and at the end of file names.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Overview => "overview",
            Self::Throughput => "throughput",
            Self::Latency => "latency",
            Self::LatencyOverTime => "latency-over-time",
            Self::ThroughputOverTime => "throughput-over-time",
            Self::LevelsOverTime => "levels-over-time",
            Self::Amplification => "amplification",
            Self::CommitLatency => "commit-latency",
        }
    }

    /// One line for people.
    pub(crate) fn about(self) -> &'static str {
        match self {
            Self::Overview => "throughput of every workload, as bars",
            Self::Throughput => "throughput of a workload, as bars with the blocks as dots",
            Self::Latency => "latency by percentile",
            Self::LatencyOverTime => {
                "p50, p99 and maximum of each second, with flushes, compactions and stalls (phases of 5 s and more)"
            }
            Self::ThroughputOverTime => {
                "operations of each second, beside what was offered (5 s and more)"
            }
            Self::LevelsOverTime => "bytes of each level (5 s and more)",
            Self::Amplification => "bytes written against blocks read, the bubble is space",
            Self::CommitLatency => "where the time of a cluster's writes goes, stage by stage",
        }
    }

    /// Whether it is of a phase's seconds, of which there must be some.
    pub(crate) fn is_over_time(self) -> bool {
        matches!(self, Self::LatencyOverTime | Self::ThroughputOverTime | Self::LevelsOverTime)
    }

    /// What draws it lacks, where it cannot be drawn.
    pub(crate) fn needs(self) -> &'static str {
        match self {
            Self::Overview => "more than one workload that ran",
            Self::Throughput | Self::Latency => "a phase that ended",
            Self::LatencyOverTime | Self::ThroughputOverTime => "a phase of at least five seconds",
            Self::LevelsOverTime => {
                "a phase of at least five seconds on an engine that tells its levels"
            }
            Self::Amplification => {
                "a target that counts bytes written and blocks read, in one phase"
            }
            Self::CommitLatency => "a cluster of ours that wrote something",
        }
    }
}

/// Why there is no plot over time, where phases were too short for one; empty where they were not.
pub(crate) fn too_short(stored: &Stored) -> String {
    let longest_s = stored.longest_s();
    if longest_s >= SECONDS_MIN as f64 {
        return String::new();
    }
    // Rounded down: what is too short must not look long enough.
    let longest_s = (longest_s * 10.0).floor() / 10.0;
    format!(
        "the longest took {longest_s:.1} s; `--duration {SECONDS_MIN}s` makes run phases long enough"
    )
}

/// Draws every plot of an experiment into `<dir>/plots`.
pub(crate) fn draw_all(stored: &Stored, dir: &Path) -> Result<Vec<Drawn>> {
    let plots = Plots::new(stored, dir)?;
    let cells = stored.cells();
    let mut drawn = Vec::new();
    drawn.extend(plots.overviews()?);
    for cell in &cells {
        for kind in Kind::ALL {
            drawn.extend(plots.of_cell(kind, cell, SCATTERED_MIN)?);
        }
    }
    Ok(drawn)
}

/// Draws the plots of one kind into `<dir>/plots`; none where the data do not exist.
pub(crate) fn draw_kind(stored: &Stored, dir: &Path, kind: Kind) -> Result<Vec<Drawn>> {
    let plots = Plots::new(stored, dir)?;
    let cells = stored.cells();
    if kind == Kind::Overview {
        return plots.overviews();
    }
    let mut drawn = Vec::new();
    for cell in &cells {
        drawn.extend(plots.of_cell(kind, cell, 1)?);
    }
    Ok(drawn)
}

/// A report compares amplifications where there are so many targets to compare.
const SCATTERED_MIN: usize = 2;

/// The plots of one experiment.
struct Plots<'a> {
    stored: &'a Stored,
    dir: PathBuf,
}

impl<'a> Plots<'a> {
    fn new(stored: &'a Stored, dir: &Path) -> Result<Self> {
        style::register_fonts()?;
        let dir = dir.join("plots");
        std::fs::create_dir_all(&dir).with_context(|| format!("creating {}", dir.display()))?;
        Ok(Self { stored, dir })
    }

    /// One of all workloads, and one of the targets that stand apart; none of a single workload.
    fn overviews(&self) -> Result<Vec<Drawn>> {
        let mut drawn = Vec::new();
        for (is_apart, stem) in [(false, "overview-throughput"), (true, "overview-clusters")] {
            let cells = self.stored.cells_apart(is_apart);
            if cells.len() > 1 {
                let overview = bars::Overview::new(self.stored, &cells);
                drawn.push(draw(&overview, &self.dir, stem.into(), None)?);
            }
        }
        Ok(drawn)
    }

    /// The plots of one kind and cell. A scatter takes `points_min` targets.
    fn of_cell(&self, kind: Kind, cell: &Cell, points_min: usize) -> Result<Vec<Drawn>> {
        let stem = format!("{}-{}", cell.stem(), kind.name());
        let one = |figure: Result<Drawn>| Ok(vec![figure?]);
        match kind {
            Kind::Overview => Ok(Vec::new()),
            Kind::Throughput => {
                one(draw(&bars::Bars::new(self.stored, cell), &self.dir, stem, Some(cell)))
            }
            Kind::Latency => {
                one(draw(&spectrum::Spectrum::new(self.stored, cell), &self.dir, stem, Some(cell)))
            }
            Kind::Amplification => {
                let points = amplification::Amplification::new(self.stored, cell, points_min);
                let drawn = points.map(|points| draw(&points, &self.dir, stem, Some(cell)));
                Ok(drawn.transpose()?.into_iter().collect())
            }
            Kind::CommitLatency => {
                let stages = commits::Stages::new(self.stored, cell)?;
                let drawn = stages.map(|stages| draw(&stages, &self.dir, stem, Some(cell)));
                Ok(drawn.transpose()?.into_iter().collect())
            }
            Kind::ThroughputOverTime => {
                let courses = self.courses(cell)?;
                if courses.is_empty() {
                    return Ok(Vec::new());
                }
                one(draw(
                    &rates::Rates::new(self.stored, cell, &courses),
                    &self.dir,
                    stem,
                    Some(cell),
                ))
            }
            Kind::LatencyOverTime | Kind::LevelsOverTime => self.of_targets(kind, cell, &stem),
        }
    }

    /// One plot for each target.
    fn of_targets(&self, kind: Kind, cell: &Cell, stem: &str) -> Result<Vec<Drawn>> {
        let mut drawn = Vec::new();
        for (_, target, course) in self.courses(cell)? {
            let stem = format!("{stem}-{}", file_name(&target));
            if kind == Kind::LatencyOverTime {
                let figure = over_time::OverTime::new(self.stored, cell, &target, course);
                drawn.push(draw(&figure, &self.dir, stem, Some(cell))?);
            } else if let Some(figure) = levels::Levels::new(self.stored, cell, &target, &course) {
                drawn.push(draw(&figure, &self.dir, stem, Some(cell))?);
            }
        }
        Ok(drawn)
    }

    /// The course of each target that has one, with its number.
    fn courses(&self, cell: &Cell) -> Result<Vec<(usize, String, Course)>> {
        let mut courses = Vec::new();
        for (index, target) in self.stored.targets_of(cell).into_iter().enumerate() {
            let Some(run) = self.stored.first_run(cell, &target) else { continue };
            if let Some(course) = Course::read(run, cell)? {
                courses.push((index, target, course));
            }
        }
        Ok(courses)
    }
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
