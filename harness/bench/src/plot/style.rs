//! What all plots share: fonts, colours, markers, titles, footers, and how numbers are written.

use crate::stored::{Cell, Stored};
use anyhow::{Result, anyhow};
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};

/// The family under which the built-in font is known.
pub(super) const FONT: &str = "sans-serif";
/// Ink of text and axes; lighter ink of notes; lines behind the data.
pub(super) const INK: RGBColor = RGBColor(34, 34, 34);
pub(super) const FAINT: RGBColor = RGBColor(95, 95, 95);
pub(super) const GRID: RGBColor = RGBColor(224, 224, 224);
/// Characters of a footer line at the width of all figures.
const FOOTER_CHARS: usize = 172;
const FOOTER_SIZE: f64 = 12.0;
const FOOTER_LINE: i32 = 17;

/// Okabe and Ito's colours, without the yellow, which is too faint for lines on white.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(213, 94, 0),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// The colour of target number `index`.
pub(super) fn colour(index: usize) -> RGBColor {
    COLOURS[index % COLOURS.len()]
}

/// Makes the built-in font known. Twice does no harm.
pub(super) fn register_fonts() -> Result<()> {
    let regular = include_bytes!("../../assets/Inter-Regular.otf");
    let bold = include_bytes!("../../assets/Inter-Bold.otf");
    for (style, bytes) in [(FontStyle::Normal, &regular[..]), (FontStyle::Bold, &bold[..])] {
        register_font(FONT, style, bytes).map_err(|_| anyhow!("the built-in font is damaged"))?;
    }
    Ok(())
}

/// Text of `size` units.
pub(super) fn font(size: f64, scale: f64, ink: RGBColor) -> TextStyle<'static> {
    (FONT, size * scale).into_font().color(&ink)
}

/// Bold text of `size` units.
pub(super) fn bold(size: f64, scale: f64, ink: RGBColor) -> TextStyle<'static> {
    // Not `.style(Bold)` on a font that is there: that keeps the glyphs of the regular one.
    (FONT, size * scale, FontStyle::Bold).into_font().color(&ink)
}

pub(super) fn anchored(style: TextStyle<'static>, h: HPos, v: VPos) -> TextStyle<'static> {
    style.pos(Pos::new(h, v))
}

/// A length in pixels.
pub(super) fn px(units: f64, scale: f64) -> i32 {
    (units * scale).round() as i32
}

/// Turns a backend's error, which need not be `Send`, into ours.
pub(super) fn drawing<T, E: std::error::Error>(result: Result<T, E>) -> Result<T> {
    result.map_err(|error| anyhow!("drawing: {error}"))
}

/// The words around a plot.
pub(super) struct Words {
    pub(super) title: String,
    /// What was run, how durably, how often.
    pub(super) what: String,
    pub(super) machine: String,
    /// Two sentences.
    pub(super) look_for: &'static str,
}

impl Words {
    pub(super) fn new(
        stored: &Stored,
        title: String,
        cells: &[Cell],
        look_for: &'static str,
    ) -> Self {
        let of_cells = |row: &&crate::rows::Row| {
            cells.iter().any(|cell| cell.workload == row.workload && cell.phase == row.phase)
        };
        let rows: Vec<_> = stored.rows().filter(of_cells).collect();
        let first = stored.runs.first();
        let n = rows.iter().map(|row| row.block).max().unwrap_or(0);
        let what = rows.first().map_or(String::new(), |row| {
            let records = rows.iter().map(|row| row.records).min().unwrap_or(row.records);
            let names: Vec<String> = cells.iter().map(Cell::name).collect();
            let size = row.value_bytes.map_or("values of many sizes".into(), |bytes| {
                format!("{}-byte values", thousands(bytes))
            });
            format!(
                "{}{}; durability {}; n = {n} run{} per target; {} records, {size}; {} client thread{}; memory budget {}",
                names.join(", "),
                offered(&rows),
                row.durability,
                if n == 1 { "" } else { "s" },
                thousands(records),
                row.threads,
                if row.threads == 1 { "" } else { "s" },
                bytes(row.memory_bytes),
            )
        });
        let machine = first.map_or(String::new(), |run| run.manifest.machine.line());
        Self { title, what, machine, look_for }
    }

    /// Draws title and footer; what is left between them.
    pub(super) fn draw<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: f64,
    ) -> Result<DrawingArea<DB, Shift>>
    where
        DB::ErrorType: 'static,
    {
        drawing(area.fill(&WHITE))?;
        let left = px(18.0, scale);
        let top = anchored(bold(19.0, scale, INK), HPos::Left, VPos::Top);
        drawing(area.draw(&Text::new(self.title.clone(), (left, px(14.0, scale)), top)))?;
        let hint = wrap(&format!("What to look for: {}", self.look_for));
        let hint_lines = hint.len();
        let lines: Vec<String> =
            [hint, wrap(&self.what), wrap(&self.machine)].into_iter().flatten().collect();
        let height = area.dim_in_pixel().1 as i32;
        let footer = px(f64::from(FOOTER_LINE) * lines.len() as f64 + 12.0, scale);
        for (index, line) in lines.iter().enumerate() {
            let ink = if index < hint_lines { INK } else { FAINT };
            let style = anchored(font(FOOTER_SIZE, scale, ink), HPos::Left, VPos::Top);
            let y = height - footer + px(f64::from(FOOTER_LINE) * index as f64 + 4.0, scale);
            drawing(area.draw(&Text::new(line.clone(), (left, y), style)))?;
        }
        Ok(area.margin(px(44.0, scale), footer, 0, 0))
    }
}

/// What an open loop offered, where there is one.
fn offered(rows: &[&crate::rows::Row]) -> String {
    let rates = || rows.iter().filter_map(|row| row.offered_rate);
    let (low, high) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    match (short(low), short(high)) {
        _ if low > high => String::new(),
        (low, high) if low == high => format!(" as an open loop at {high} operations a second"),
        (low, high) => format!(" as an open loop at {low} to {high} operations a second"),
    }
}

/// Breaks a text into lines of a footer.
fn wrap(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is a line from the start");
        if !line.is_empty() && line.len() + word.len() + 1 > FOOTER_CHARS {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// `1234567` as `1,234,567`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A rate in few characters: `987`, `12.3k`, `1.23M`.
pub(crate) fn short(rate: f64) -> String {
    match rate {
        r if r >= 999_500.0 => format!("{:.2}M", r / 1e6),
        r if r >= 99_950.0 => format!("{:.0}k", r / 1e3),
        r if r >= 1_000.0 => format!("{:.1}k", r / 1e3),
        r => format!("{r:.0}"),
    }
}

/// Bytes with a binary unit.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1_024.0 && unit + 1 < UNITS.len() {
        value /= 1_024.0;
        unit += 1;
    }
    let text = if value.fract() < 0.05 { format!("{value:.0}") } else { format!("{value:.1}") };
    format!("{text} {}", UNITS[unit])
}

/// A number of an axis as it is, without the noise of binary fractions.
pub(super) fn plain(number: &f64) -> String {
    format!("{}", (number * 1e6).round() / 1e6)
}

/// Microseconds with the unit that suits them.
pub(crate) fn micros(micros: f64) -> String {
    let (value, unit) = match micros {
        m if m >= 1e6 => (m / 1e6, "s"),
        m if m >= 1e3 => (m / 1e3, "ms"),
        m if m >= 1.0 => (m, "µs"),
        m => (m * 1e3, "ns"),
    };
    if value >= 9.95 || value.fract() < 0.005 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// Marker shapes, so that lines differ in more than colour.
pub(super) fn marker<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    index: usize,
    (x, y): (i32, i32),
    scale: f64,
) -> Result<()>
where
    DB::ErrorType: 'static,
{
    let ink = colour(index);
    let r = px(4.5, scale);
    let fill = ink.filled();
    match index % 5 {
        0 => drawing(area.draw(&Circle::new((x, y), r, fill))),
        1 => drawing(area.draw(&Rectangle::new([(x - r, y - r), (x + r, y + r)], fill))),
        2 => {
            let points = vec![(x, y - r - 1), (x + r + 1, y + r), (x - r - 1, y + r)];
            drawing(area.draw(&Polygon::new(points, fill)))
        }
        3 => {
            let d = r + 1;
            let points = vec![(x, y - d), (x + d, y), (x, y + d), (x - d, y)];
            drawing(area.draw(&Polygon::new(points, fill)))
        }
        _ => drawing(area.draw(&Cross::new((x, y), r, ink.stroke_width(px(2.0, scale) as u32)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_short() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!(
            (short(987.0), short(12_345.0), short(123_456.0)),
            ("987".into(), "12.3k".into(), "123k".into())
        );
        assert_eq!(short(1_234_567.0), "1.23M");
        assert_eq!((bytes(16 << 20), bytes(1_536)), ("16 MiB".into(), "1.5 KiB".into()));
        assert_eq!(
            (micros(0.25), micros(5.0), micros(1_500.0)),
            ("250 ns".into(), "5 µs".into(), "1.5 ms".into())
        );
    }

    #[test]
    fn long_texts_are_broken_between_words() {
        let text = "word ".repeat(100);
        let lines = wrap(&text);
        assert!(lines.len() > 1 && lines.iter().all(|line| line.len() <= FOOTER_CHARS));
        assert_eq!(lines.join(" "), text.trim());
    }
}
