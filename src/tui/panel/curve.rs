//! The area under a curve, in the finest steps the characters allow: eighths of a cell with block
//! elements, four rows of two dots with braille.

use crate::session::State;
use crate::tui::axis::Axis;
use crate::tui::ctx::Ctx;
use crate::tui::glyphs::{Glyphs, Markers};
use crate::tui::pen::Pen;
use crate::tui::theme::Role;

/// How finely curves are drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grain {
    /// One value a column, eight steps a row.
    Eighths,
    /// Two values a column, four steps a row.
    Dots,
}

impl Grain {
    /// The grain of these markers.
    pub(crate) fn of(markers: Markers) -> Self {
        match markers {
            Markers::Braille => Self::Dots,
            Markers::Block | Markers::Ascii => Self::Eighths,
        }
    }

    /// Values a column.
    fn across(self) -> usize {
        match self {
            Self::Eighths => 1,
            Self::Dots => 2,
        }
    }

    /// Steps a row.
    fn down(self) -> u32 {
        match self {
            Self::Eighths => 8,
            Self::Dots => 4,
        }
    }
}

/// The area under a curve.
#[derive(Debug)]
pub(crate) struct Curve {
    grain: Grain,
    /// Steps of height of each value.
    steps: Vec<u32>,
    rows: u16,
}

impl Curve {
    /// A curve over `rows` rows whose upper edge is `top`. `values` gives the values for an axis, which
    /// may have two columns for each one on the screen.
    pub(crate) fn new(ctx: &Ctx<'_>, rows: u16, top: f64, values: impl Fn(&State, &Axis) -> Vec<Option<f64>>) -> Self {
        let grain = Grain::of(ctx.view.markers);
        let axis = if grain == Grain::Dots { ctx.axis.halved() } else { ctx.axis };
        Self::of(grain, rows, top, &values(ctx.state, &axis))
    }

    fn of(grain: Grain, rows: u16, top: f64, values: &[Option<f64>]) -> Self {
        let all = u32::from(rows) * grain.down();
        let steps = |value: &Option<f64>| match value {
            // Something is visible of everything that is more than nothing.
            Some(v) if v.is_finite() && *v > 0.0 && top > 0.0 => {
                ((v / top * f64::from(all)).round() as u32).clamp(1, all.max(1))
            }
            _ => 0,
        };
        Self { grain, steps: values.iter().map(steps).collect(), rows }
    }

    fn heights(&self, column: u16) -> &[u32] {
        let from = usize::from(column) * self.grain.across();
        self.steps.get(from..from + self.grain.across()).unwrap_or(&[])
    }

    /// The highest row, counted from below, that the curve reaches in a column.
    pub(crate) fn top_row(&self, column: u16) -> Option<u16> {
        let most = self.heights(column).iter().copied().max().filter(|h| *h > 0)?;
        Some((((most - 1) / self.grain.down()) as u16).min(self.rows.saturating_sub(1)))
    }

    /// Whether a cell is filled to the last dot.
    pub(crate) fn full(&self, column: u16, row: u16) -> bool {
        let heights = self.heights(column);
        !heights.is_empty() && heights.iter().all(|h| *h >= (u32::from(row) + 1) * self.grain.down())
    }

    /// Draws the area; `bottom` is the row of the pen it stands on. Its top and its body have styles of
    /// their own.
    pub(crate) fn draw(&self, ctx: &Ctx<'_>, pen: &mut Pen<'_>, from: u16, bottom: u16, roles: [Role; 2]) {
        for column in 0..ctx.axis.columns {
            let Some(top) = self.top_row(column) else { continue };
            for row in 0..=top {
                if let Some(symbol) = self.symbol(ctx.glyphs, column, row) {
                    let style = ctx.style(roles[usize::from(row < top)]);
                    pen.cell(from + column, bottom.saturating_sub(row), symbol.encode_utf8(&mut [0; 4]), style);
                }
            }
        }
    }

    /// What stands in a cell, rows counted from below; `None` where nothing does.
    pub(crate) fn symbol(&self, glyphs: &Glyphs, column: u16, row: u16) -> Option<char> {
        /// Dots from below, left and right (Unicode chart U+2800).
        const DOTS: [[u32; 4]; 2] = [[0x40, 0x04, 0x02, 0x01], [0x80, 0x20, 0x10, 0x08]];
        let down = self.grain.down();
        let part = |h: &u32| h.saturating_sub(u32::from(row) * down).min(down);
        let heights = self.heights(column);
        if heights.iter().all(|h| part(h) == 0) {
            return None;
        }
        match self.grain {
            Grain::Eighths => heights.first().and_then(|h| glyphs.bars[part(h) as usize].chars().next()),
            Grain::Dots => {
                let bits = heights.iter().zip(DOTS).flat_map(|(h, dots)| dots.into_iter().take(part(h) as usize));
                char::from_u32(0x2800 + bits.sum::<u32>())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(grain: Grain, rows: u16, values: &[Option<f64>]) -> Vec<String> {
        let (curve, glyphs) = (Curve::of(grain, rows, 8.0, values), Glyphs::of(Markers::Block));
        let columns = (values.len() / grain.across()) as u16;
        (0..rows).rev().map(|r| (0..columns).map(|c| curve.symbol(glyphs, c, r).unwrap_or(' ')).collect()).collect()
    }

    #[test]
    fn blocks_have_eight_steps_a_row() {
        let values = [Some(0.01), Some(4.0), Some(6.0), Some(8.0), Some(99.0), None, Some(0.0), Some(f64::NAN)];
        assert_eq!(picture(Grain::Eighths, 2, &values), ["  ▄██   ", "▁████   "]);
    }

    #[test]
    fn braille_has_two_values_a_column_and_four_steps_a_row() {
        let values = [Some(1.0), Some(2.0), Some(4.0), Some(8.0), None, Some(6.0), None, None];
        assert_eq!(picture(Grain::Dots, 1, &values), ["⣀⣼⢰ "]);
    }

    #[test]
    fn tops_and_full_cells_are_known() {
        let curve = Curve::of(Grain::Eighths, 2, 8.0, &[Some(4.0), Some(6.0), None]);
        assert_eq!((curve.top_row(0), curve.top_row(1), curve.top_row(2)), (Some(0), Some(1), None));
        assert!(curve.full(1, 0) && !curve.full(1, 1) && !curve.full(9, 0));
    }
}
