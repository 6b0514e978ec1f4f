//! What a cell looks like: its style resolved to colours.

use ratatui::buffer::Cell;
use ratatui::style::{Color, Modifier};

use crate::tui::theme::{Paper, Rgb};

/// What a run of cells has in common.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Look {
    pub(super) ink: Rgb,
    /// None is the paper's own.
    pub(super) ground: Option<Rgb>,
    pub(super) bold: bool,
    pub(super) italic: bool,
    pub(super) underlined: bool,
    pub(super) faint: bool,
}

/// How much of its ink faint text keeps.
pub(super) const FAINT: f32 = 0.65;

impl Look {
    pub(super) fn of(cell: &Cell, paper: Paper) -> Self {
        let has = |modifier| cell.modifier.contains(modifier);
        let ink = rgb(cell.fg, paper.ink);
        let ground = (cell.bg != Color::Reset).then(|| rgb(cell.bg, paper.ground));
        let (ink, ground) =
            if has(Modifier::REVERSED) { (ground.unwrap_or(paper.ground), Some(ink)) } else { (ink, ground) };
        Self {
            ink,
            ground,
            bold: has(Modifier::BOLD),
            italic: has(Modifier::ITALIC),
            underlined: has(Modifier::UNDERLINED),
            faint: has(Modifier::DIM),
        }
    }
}

/// A terminal colour in the usual xterm palette.
pub(super) fn rgb(color: Color, reset: Rgb) -> Rgb {
    match color {
        Color::Reset => reset,
        Color::Rgb(r, g, b) => (r, g, b),
        Color::Black => indexed(0),
        Color::Red => indexed(1),
        Color::Green => indexed(2),
        Color::Yellow => indexed(3),
        Color::Blue => indexed(4),
        Color::Magenta => indexed(5),
        Color::Cyan => indexed(6),
        Color::Gray => indexed(7),
        Color::DarkGray => indexed(8),
        Color::LightRed => indexed(9),
        Color::LightGreen => indexed(10),
        Color::LightYellow => indexed(11),
        Color::LightBlue => indexed(12),
        Color::LightMagenta => indexed(13),
        Color::LightCyan => indexed(14),
        Color::White => indexed(15),
        Color::Indexed(i) => indexed(i),
    }
}

fn indexed(i: u8) -> Rgb {
    const BASE: [Rgb; 16] = [
        (0, 0, 0),
        (205, 49, 49),
        (13, 188, 121),
        (229, 229, 16),
        (36, 114, 200),
        (188, 63, 188),
        (17, 168, 205),
        (229, 229, 229),
        (102, 102, 102),
        (241, 76, 76),
        (35, 209, 139),
        (245, 245, 67),
        (59, 142, 234),
        (214, 112, 214),
        (41, 184, 219),
        (255, 255, 255),
    ];
    match i {
        0..16 => BASE[usize::from(i)],
        16..232 => {
            let n = i - 16;
            let level = |v: u8| if v == 0 { 0 } else { 55 + 40 * v };
            (level(n / 36), level(n / 6 % 6), level(n % 6))
        }
        232.. => {
            let v = 8 + 10 * (i - 232);
            (v, v, v)
        }
    }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn the_palette_is_xterms() {
        assert_eq!(indexed(16), (0, 0, 0));
        assert_eq!(indexed(231), (255, 255, 255));
        assert_eq!(indexed(196), (255, 0, 0));
        assert_eq!(indexed(244), (128, 128, 128));
    }

    #[test]
    fn reversed_cells_change_ink_and_ground() {
        let mut cell = Cell::new("a");
        cell.set_style(Style::new().add_modifier(Modifier::REVERSED));
        let plain = Look::of(&cell, Paper::DARK);
        assert_eq!((plain.ink, plain.ground), (Paper::DARK.ground, Some(Paper::DARK.ink)));
        cell.set_style(Style::new().fg(Color::Red).bg(Color::White));
        let coloured = Look::of(&cell, Paper::DARK);
        assert_eq!((coloured.ink, coloured.ground), ((255, 255, 255), Some((205, 49, 49))));
    }
}
