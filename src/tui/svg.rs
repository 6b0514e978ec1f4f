//! A frame as a picture: the real cells, drawn as SVG.

use std::convert::Infallible;
use std::fmt::Write as _;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

use super::draw::{Extra, draw};
use super::view::View;
use crate::session::State;

/// Width of a cell, px.
const CELL_W: u32 = 9;
/// Height of a cell, px.
const CELL_H: u32 = 19;
/// Margin around the screen, px.
const MARGIN: u32 = 12;

/// The terminal's own two colours, which `Color::Reset` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Text.
    pub ink: (u8, u8, u8),
    /// Background.
    pub ground: (u8, u8, u8),
}

impl Paper {
    /// A dark terminal.
    pub const DARK: Self = Self { ink: (0xd8, 0xde, 0xe9), ground: (0x14, 0x17, 0x1c) };
    /// A light terminal.
    pub const LIGHT: Self = Self { ink: (0x24, 0x29, 0x2f), ground: (0xfd, 0xfd, 0xfc) };
}

/// The frame that the screen would show, as a picture of so many columns and rows.
#[must_use]
pub fn picture(view: &View, state: &State, extra: &Extra, (columns, rows): (u16, u16), paper: Paper) -> String {
    let frame: Result<Buffer, Infallible> = Terminal::new(TestBackend::new(columns, rows)).and_then(|mut terminal| {
        terminal.draw(|frame| {
            draw(view, state, extra, frame);
        })?;
        Ok(terminal.backend().buffer().clone())
    });
    let Ok(frame) = frame;
    svg(&frame, paper)
}

/// Draws a frame. Each word is put in its place, so the columns stand whatever the viewer's font.
#[must_use]
pub fn svg(buffer: &Buffer, paper: Paper) -> String {
    let area = buffer.area;
    let (w, h) = (u32::from(area.width) * CELL_W + 2 * MARGIN, u32::from(area.height) * CELL_H + 2 * MARGIN);
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{w}" height="{h}" viewBox="0 0 {w} {h}" font-family="'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace" font-size="15">"#
    );
    let _ = writeln!(out, r#"<rect width="{w}" height="{h}" rx="8" fill="{}"/>"#, hex(paper.ground));
    for y in 0..area.height {
        row(&mut out, buffer, y, paper);
    }
    out.push_str("</svg>\n");
    out
}

/// What a run of cells has in common.
#[derive(Clone, Copy, PartialEq)]
struct Look {
    ink: (u8, u8, u8),
    ground: Option<(u8, u8, u8)>,
    bold: bool,
    italic: bool,
    underlined: bool,
    faint: bool,
}

fn look(cell: &Cell, paper: Paper) -> Look {
    let ink = rgb(cell.fg, paper.ink);
    let ground = (cell.bg != Color::Reset).then(|| rgb(cell.bg, paper.ground));
    let (ink, ground) = if cell.modifier.contains(Modifier::REVERSED) {
        (ground.unwrap_or(paper.ground), Some(ink))
    } else {
        (ink, ground)
    };
    Look {
        ink,
        ground,
        bold: cell.modifier.contains(Modifier::BOLD),
        italic: cell.modifier.contains(Modifier::ITALIC),
        underlined: cell.modifier.contains(Modifier::UNDERLINED),
        faint: cell.modifier.contains(Modifier::DIM),
    }
}

fn row(out: &mut String, buffer: &Buffer, y: u16, paper: Paper) {
    let area = buffer.area;
    let cell = |x: u16| &buffer[(area.x + x, area.y + y)];
    let mut x = 0;
    while x < area.width {
        let shared = look(cell(x), paper);
        let from = x;
        let mut words = Words::default();
        while x < area.width && look(cell(x), paper) == shared {
            let symbol = cell(x).symbol();
            let width = symbol.width().max(1) as u16;
            words.put(x, width, symbol);
            x += width;
        }
        write_run(out, (from, x.min(area.width), y), shared, &words);
    }
}

/// What stands in a run of cells: words, each in its place, and blocks, which are drawn and not
/// written, so that bars have no seams.
#[derive(Default)]
struct Words {
    /// First column, columns, text.
    words: Vec<(u16, u16, String)>,
    /// Column, share of the cell's height from its foot, opacity.
    blocks: Vec<(u16, f32, f32)>,
    /// The last cell continues a word.
    open: bool,
}

impl Words {
    fn put(&mut self, x: u16, width: u16, symbol: &str) {
        if let Some((height, opacity)) = block(symbol) {
            self.blocks.push((x, height, opacity));
            self.open = false;
            return;
        }
        if symbol.trim().is_empty() {
            self.open = false;
            return;
        }
        // Characters that a fallback font may draw wider than a cell stand alone.
        let plain = symbol.is_ascii();
        match self.words.last_mut() {
            Some((_, columns, text)) if self.open && plain => {
                *columns += width;
                escape(text, symbol);
            }
            _ => {
                let mut text = String::new();
                escape(&mut text, symbol);
                self.words.push((x, width, text));
            }
        }
        self.open = plain;
    }
}

/// A block element: its height as a share of the cell, and its opacity.
fn block(symbol: &str) -> Option<(f32, f32)> {
    let mut chars = symbol.chars();
    let c = chars.next().filter(|_| chars.next().is_none())?;
    match c {
        '\u{2581}'..='\u{2588}' => Some((f32::from((c as u32 - 0x2580) as u8) / 8.0, 1.0)),
        '\u{2591}' => Some((1.0, 0.25)),
        '\u{2592}' => Some((1.0, 0.5)),
        '\u{2593}' => Some((1.0, 0.75)),
        _ => None,
    }
}

fn write_run(out: &mut String, (from, to, y): (u16, u16, u16), look: Look, words: &Words) {
    let top = MARGIN + u32::from(y) * CELL_H;
    let left = |x: u16| MARGIN + u32::from(x) * CELL_W;
    if let Some(ground) = look.ground {
        let w = u32::from(to - from) * CELL_W;
        let _ = writeln!(
            out,
            r#"<rect x="{}" y="{top}" width="{w}" height="{CELL_H}" fill="{}"/>"#,
            left(from),
            hex(ground)
        );
    }
    let ink = hex(look.ink);
    // Equal neighbours are one bar.
    for bar in words.blocks.chunk_by(|a, b| b.0 == a.0 + 1 && a.1 == b.1 && a.2 == b.2) {
        let (x, share, opacity) = bar[0];
        let height = share * CELL_H as f32;
        let y = top as f32 + CELL_H as f32 - height;
        let faint = if opacity < 1.0 { format!(r#" fill-opacity="{opacity}""#) } else { String::new() };
        let w = bar.len() as u32 * CELL_W;
        let _ =
            writeln!(out, r#"<rect x="{}" y="{y:.2}" width="{w}" height="{height:.2}" fill="{ink}"{faint}/>"#, left(x));
    }
    let mut style = String::new();
    for (on, attribute) in [
        (look.bold, r#" font-weight="bold""#),
        (look.italic, r#" font-style="italic""#),
        (look.underlined, r#" text-decoration="underline""#),
        (look.faint, r#" fill-opacity="0.65""#),
    ] {
        if on {
            style.push_str(attribute);
        }
    }
    for (x, columns, text) in &words.words {
        let length = u32::from(*columns) * CELL_W;
        let _ = writeln!(
            out,
            r#"<text x="{}" y="{}" textLength="{length}" fill="{ink}"{style}>{text}</text>"#,
            left(*x),
            top + 15
        );
    }
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            c => out.push(c),
        }
    }
}

fn hex((r, g, b): (u8, u8, u8)) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

/// A terminal colour in the usual xterm palette.
fn rgb(color: Color, reset: (u8, u8, u8)) -> (u8, u8, u8) {
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

fn indexed(i: u8) -> (u8, u8, u8) {
    const BASE: [(u8, u8, u8); 16] = [
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
    fn draws_every_visible_cell_in_its_place() {
        let mut buffer = Buffer::with_lines(["a<b  ", " 漢x "]);
        buffer.set_style(ratatui::layout::Rect::new(0, 0, 1, 1), Style::new().red().on_blue().bold());
        let picture = svg(&buffer, Paper::DARK);
        assert!(picture.contains(r##"x="12" y="27" textLength="9" fill="#cd3131" font-weight="bold">a</text>"##));
        assert!(picture.contains(r##"width="9" height="19" fill="#2472c8""##), "{picture}");
        assert!(picture.contains(r#"x="21" y="27" textLength="18""#) && picture.contains(">&lt;b<"), "{picture}");
        // The wide character takes two columns.
        assert!(picture.contains(r#"x="21" y="46" textLength="18""#), "{picture}");
        assert!(picture.contains(r#"x="39" y="46" textLength="9""#), "{picture}");
    }

    #[test]
    fn bars_are_drawn_without_seams() {
        let picture = svg(&Buffer::with_lines(["▄▄█ "]), Paper::DARK);
        assert!(picture.contains(r#"<rect x="12" y="21.50" width="18" height="9.50""#), "{picture}");
        assert!(picture.contains(r#"<rect x="30" y="12.00" width="9" height="19.00""#), "{picture}");
        assert!(!picture.contains("<text"), "{picture}");
    }

    #[test]
    fn the_palette_is_xterms() {
        assert_eq!(indexed(16), (0, 0, 0));
        assert_eq!(indexed(231), (255, 255, 255));
        assert_eq!(indexed(196), (255, 0, 0));
        assert_eq!(indexed(244), (128, 128, 128));
    }
}
