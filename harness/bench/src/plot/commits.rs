//! Where the time of a cluster's writes goes: a bar for each target, made of its stages in their order, with the percentiles of the whole behind it.

use super::Figure;
use super::style::{
    FAINT, GRID, INK, Words, anchored, bold, colour, drawing, font, micros, px, thousands,
};
use crate::commits::{self, STAGES, Times, WHOLE};
use crate::stored::{Cell, Stored};
use anyhow::Result;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};

/// Room for the names of targets, and for the percentiles behind the bars.
const NAMES: f64 = 150.0;
const WORDS: f64 = 190.0;
const BAR: f64 = 38.0;
const ROW: f64 = 62.0;
/// A part that is narrower has no word in it.
const PART_MIN: f64 = 62.0;
/// Space above the bars, for the legend.
const LEGEND: f64 = 34.0;
const AXIS: f64 = 34.0;

/// One bar.
struct Bar {
    target: String,
    /// Mean of each stage, in microseconds.
    stages: [f64; STAGES.len()],
    whole: Times,
}

/// The bars of one phase.
pub(super) struct Stages {
    words: Words,
    bars: Vec<Bar>,
}

impl Stages {
    /// `None` where no target has stages.
    pub(super) fn new(stored: &Stored, cell: &Cell) -> Result<Option<Self>> {
        let look_for = "The widest part is what a write of this cluster waits for: the processor (queue, append, apply, reply), \
                        its leader's disk (sync), or the others (replicate). Where the p99 is many times the mean, \
                        that part is only the usual reason, and pauses are another.";
        let mut bars = Vec::new();
        for target in stored.targets_of(cell) {
            let mut times = commits::stages(stored, cell, &target)?;
            let Some(whole) = times.remove(WHOLE) else { continue };
            let mean = |stage| times.get(stage).and_then(Times::mean_us).unwrap_or(0.0);
            bars.push(Bar { target, stages: STAGES.map(mean), whole });
        }
        let title = format!("Where the time of a write goes, {}", cell.name());
        let words = Words::new(stored, title, std::slice::from_ref(cell), look_for);
        Ok((!bars.is_empty()).then_some(Self { words, bars }))
    }
}

impl Bar {
    fn mean_us(&self) -> f64 {
        self.stages.iter().sum()
    }

    /// What stands behind the bar.
    fn told(&self) -> [String; 2] {
        let quantile = |q| self.whole.quantile_us(q).map_or("-".to_owned(), micros);
        [
            format!("mean {}, p50 {}", micros(self.mean_us()), quantile(0.5)),
            format!("p99 {}, n = {}", quantile(0.99), thousands(self.whole.count())),
        ]
    }
}

/// A round step that cuts a range into at most seven parts.
fn step(top: f64) -> f64 {
    let rough = top / 7.0;
    let decade = 10_f64.powf(rough.log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * decade);
    steps.into_iter().find(|step| *step >= rough).unwrap_or(rough)
}

/// Black or white, whichever can be read on a colour.
fn ink_on(RGBColor(r, g, b): RGBColor) -> RGBColor {
    let light = 0.299 * f64::from(r) + 0.587 * f64::from(g) + 0.114 * f64::from(b);
    if light > 140.0 { INK } else { WHITE }
}

impl Figure for Stages {
    fn size(&self) -> (u32, u32) {
        (960, (144.0 + LEGEND + AXIS + ROW * self.bars.len() as f64) as u32)
    }

    fn draw<DB: DrawingBackend>(&self, area: &DrawingArea<DB, Shift>, scale: f64) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let inner = self.words.draw(area, scale)?;
        let (width, _) = inner.dim_in_pixel();
        let (left, right) = (px(NAMES, scale), width as i32 - px(WORDS, scale));
        let top_us = self.bars.iter().map(Bar::mean_us).fold(0.0, f64::max).max(1.0);
        let x = |us: f64| left + (f64::from(right - left) * us / top_us).round() as i32;
        self.legend(&inner, left, scale)?;
        let bottom = px(LEGEND + ROW * self.bars.len() as f64, scale);
        let every = step(top_us);
        for tick in (0..).map(|n| f64::from(n) * every).take_while(|tick| *tick <= top_us) {
            let line =
                PathElement::new(vec![(x(tick), px(LEGEND, scale)), (x(tick), bottom)], GRID);
            drawing(inner.draw(&line))?;
            let style = anchored(font(12.0, scale, FAINT), HPos::Center, VPos::Top);
            let text = if tick > 0.0 { micros(tick) } else { "0".to_owned() };
            drawing(inner.draw(&Text::new(text, (x(tick), bottom + px(5.0, scale)), style)))?;
        }
        for (n, bar) in self.bars.iter().enumerate() {
            let y = px(LEGEND + ROW * n as f64 + (ROW - BAR) / 2.0, scale);
            draw_bar(&inner, bar, (y, y + px(BAR, scale)), &x, scale)?;
        }
        Ok(())
    }
}

impl Stages {
    fn legend<DB: DrawingBackend>(
        &self,
        inner: &DrawingArea<DB, Shift>,
        left: i32,
        scale: f64,
    ) -> Result<()>
    where
        DB::ErrorType: 'static,
    {
        let mut x = left;
        for (n, stage) in STAGES.iter().enumerate() {
            let (y, side) = (px(6.0, scale), px(12.0, scale));
            let square = Rectangle::new([(x, y), (x + side, y + side)], colour(n).filled());
            drawing(inner.draw(&square))?;
            let style = anchored(font(13.0, scale, INK), HPos::Left, VPos::Center);
            let at = (x + side + px(6.0, scale), y + side / 2);
            drawing(inner.draw(&Text::new((*stage).to_owned(), at, style)))?;
            x += px(98.0, scale);
        }
        Ok(())
    }
}

fn draw_bar<DB: DrawingBackend>(
    inner: &DrawingArea<DB, Shift>,
    bar: &Bar,
    (top, bottom): (i32, i32),
    x: &impl Fn(f64) -> i32,
    scale: f64,
) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let middle = i32::midpoint(top, bottom);
    let style = anchored(font(14.0, scale, INK), HPos::Right, VPos::Center);
    drawing(inner.draw(&Text::new(bar.target.clone(), (x(0.0) - px(10.0, scale), middle), style)))?;
    let mut from_us = 0.0;
    for (n, (stage, us)) in STAGES.iter().zip(bar.stages).enumerate() {
        let (left, right) = (x(from_us), x(from_us + us));
        from_us += us;
        let ink = colour(n);
        drawing(inner.draw(&Rectangle::new([(left, top), (right, bottom)], ink.filled())))?;
        // No part is told by its colour alone where there is room for a word.
        if right - left >= px(PART_MIN, scale) {
            let at = i32::midpoint(left, right);
            for (word, y, size) in [((*stage).to_owned(), -8.0, 12.0), (micros(us), 8.0, 12.0)] {
                let style = anchored(font(size, scale, ink_on(ink)), HPos::Center, VPos::Center);
                drawing(inner.draw(&Text::new(word, (at, middle + px(y, scale)), style)))?;
            }
        }
    }
    let [first, second] = bar.told();
    let at = x(from_us) + px(10.0, scale);
    let style = anchored(bold(12.0, scale, INK), HPos::Left, VPos::Center);
    drawing(inner.draw(&Text::new(first, (at, middle - px(8.0, scale)), style)))?;
    let style = anchored(font(12.0, scale, INK), HPos::Left, VPos::Center);
    drawing(inner.draw(&Text::new(second, (at, middle + px(8.0, scale)), style)))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_has_a_few_round_ticks() {
        for top in [1.0, 3.0, 17.0, 640.0, 999.0, 12_345.0] {
            let ticks = (top / step(top)).floor() as u32;
            assert!((2..=7).contains(&ticks), "{top}: {ticks} ticks of {}", step(top));
        }
        assert_eq!((step(7.0), step(640.0)), (1.0, 100.0));
    }
}
