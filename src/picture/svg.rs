//! A frame as SVG: text stays text, everything that must join is drawn.

use std::fmt::Write as _;

use ratatui::buffer::Buffer;
use unicode_width::UnicodeWidthStr;

use super::cell::{BASELINE, CELL_H, CELL_W, MARGIN};
use super::look::{FAINT, Look};
use super::shape::{self, Shape};
use crate::tui::theme::{Paper, Rgb};

/// Draws a frame. Each word is put in its place, so the columns stand whatever the viewer's font.
#[must_use]
pub(crate) fn render(buffer: &Buffer, paper: Paper, scale: u32) -> String {
    let area = buffer.area;
    let (w, h) = (u32::from(area.width) * CELL_W + 2 * MARGIN, u32::from(area.height) * CELL_H + 2 * MARGIN);
    let (wide, high) = (w * scale, h * scale);
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{wide}" height="{high}" viewBox="0 0 {w} {h}" font-family="'DejaVu Sans Mono','Liberation Mono',Menlo,Consolas,monospace" font-size="15">"#
    );
    let _ = writeln!(out, r#"<rect width="{w}" height="{h}" rx="8" fill="{}"/>"#, hex(paper.ground));
    for y in 0..area.height {
        row(&mut out, buffer, y, paper);
    }
    out.push_str("</svg>\n");
    out
}

fn row(out: &mut String, buffer: &Buffer, y: u16, paper: Paper) {
    let area = buffer.area;
    let cell = |x: u16| &buffer[(area.x + x, area.y + y)];
    let mut x = 0;
    while x < area.width {
        let shared = Look::of(cell(x), paper);
        let from = x;
        let mut run = Run::default();
        while x < area.width && Look::of(cell(x), paper) == shared {
            let symbol = cell(x).symbol();
            let width = symbol.width().max(1) as u16;
            run.put(x, width, symbol);
            x += width;
        }
        write_run(out, (from, x.min(area.width), y), shared, &run);
    }
}

/// What stands in a run of cells: words, each in its place, and shapes, which are drawn and not
/// written.
#[derive(Default)]
struct Run {
    /// First column, columns, text.
    words: Vec<(u16, u16, String)>,
    /// Pieces, from the run's row's left end.
    shapes: Vec<Shape>,
    /// The last cell continues a word.
    open: bool,
}

impl Run {
    fn put(&mut self, x: u16, width: u16, symbol: &str) {
        if let Some(shapes) = shape::of(symbol) {
            let left = f32::from(x) * CELL_W as f32;
            for shape in shapes {
                self.draw(shape.at(left, 0.0));
            }
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

    /// Takes a piece; one that continues the last makes it longer.
    fn draw(&mut self, shape: Shape) {
        if let (Some(Shape::Rect { x: x0, y: y0, w: w0, h: h0, opacity: o0 }), Shape::Rect { x, y, w, h, opacity }) =
            (self.shapes.last_mut(), shape)
            && (*y0, *h0, *o0) == (y, h, opacity)
            && (*x0 + *w0 - x).abs() < 1e-3
        {
            *w0 += w;
        } else {
            self.shapes.push(shape);
        }
    }
}

fn write_run(out: &mut String, (from, to, y): (u16, u16, u16), look: Look, run: &Run) {
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
    let faint = if look.faint { FAINT } else { 1.0 };
    for shape in &run.shapes {
        write_shape(out, shape.at(MARGIN as f32, top as f32), &ink, faint);
    }
    let mut style = String::new();
    for (on, attribute) in [
        (look.bold, r#" font-weight="bold""#.to_owned()),
        (look.italic, r#" font-style="italic""#.to_owned()),
        (look.underlined, r#" text-decoration="underline""#.to_owned()),
        (look.faint, opacity_attribute("fill", FAINT)),
    ] {
        if on {
            style.push_str(&attribute);
        }
    }
    for (x, columns, text) in &run.words {
        let length = u32::from(*columns) * CELL_W;
        let _ = writeln!(
            out,
            r#"<text x="{}" y="{}" textLength="{length}" fill="{ink}"{style}>{text}</text>"#,
            left(*x),
            top + BASELINE
        );
    }
}

fn write_shape(out: &mut String, shape: Shape, ink: &str, faint: f32) {
    let _ = match shape {
        Shape::Rect { x, y, w, h, opacity } => writeln!(
            out,
            r#"<rect x="{}" y="{}" width="{}" height="{}" fill="{ink}"{}/>"#,
            px(x),
            px(y),
            px(w),
            px(h),
            opacity_attribute("fill", opacity * faint)
        ),
        Shape::Dot { x, y, r } => writeln!(
            out,
            r#"<circle cx="{}" cy="{}" r="{}" fill="{ink}"{}/>"#,
            px(x),
            px(y),
            px(r),
            opacity_attribute("fill", faint)
        ),
        Shape::Arc { x, y, r, right, down } => {
            let (across, along) = (if right { x - r } else { x + r }, if down { y - r } else { y + r });
            // Which way round depends on the corner it is.
            let sweep = u8::from(right != down);
            writeln!(
                out,
                r#"<path d="M{} {}A{} {} 0 0 {sweep} {} {}" fill="none" stroke="{ink}"{}/>"#,
                px(x),
                px(along),
                px(r),
                px(r),
                px(across),
                px(y),
                opacity_attribute("stroke", faint)
            )
        }
    };
}

fn opacity_attribute(what: &str, opacity: f32) -> String {
    if opacity < 1.0 { format!(r#" {what}-opacity="{}""#, px(opacity)) } else { String::new() }
}

/// A measure to a hundredth, without idle zeros.
fn px(v: f32) -> String {
    let text = format!("{v:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn escape(out: &mut String, text: &str) {
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            // XML has no way to write some of them, and a viewer none to show the others.
            c if crate::text::is_hidden(c) || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
}

fn hex((r, g, b): Rgb) -> String {
    format!("#{r:02x}{g:02x}{b:02x}")
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn draws_every_visible_cell_in_its_place() {
        let mut buffer = Buffer::with_lines(["a<b  ", " 漢x "]);
        buffer.set_style(ratatui::layout::Rect::new(0, 0, 1, 1), Style::new().red().on_blue().bold());
        let picture = render(&buffer, Paper::DARK, 1);
        assert!(picture.contains(r##"x="12" y="27" textLength="9" fill="#cd3131" font-weight="bold">a</text>"##));
        assert!(picture.contains(r##"width="9" height="19" fill="#2472c8""##), "{picture}");
        assert!(picture.contains(r#"x="21" y="27" textLength="18""#) && picture.contains(">&lt;b<"), "{picture}");
        // The wide character takes two columns.
        assert!(picture.contains(r#"x="21" y="46" textLength="18""#), "{picture}");
        assert!(picture.contains(r#"x="39" y="46" textLength="9""#), "{picture}");
    }

    #[test]
    fn bars_are_drawn_without_seams() {
        let picture = render(&Buffer::with_lines(["▄▄█ "]), Paper::DARK, 1);
        assert!(picture.contains(r#"<rect x="12" y="21.5" width="18" height="9.5""#), "{picture}");
        assert!(picture.contains(r#"<rect x="30" y="12" width="9" height="19""#), "{picture}");
        assert!(!picture.contains("<text"), "{picture}");
    }

    #[test]
    fn lines_corners_and_braille_are_drawn_too() {
        let picture = render(&Buffer::with_lines(["╭──╮⠁"]), Paper::DARK, 1);
        assert!(picture.contains(r#"<rect x="21" y="21" width="18" height="1""#), "{picture}");
        assert!(picture.contains(r#"d="M21 21.5A4.5 4.5 0 0 0 16.5 26""#), "{picture}");
        assert!(picture.contains("<circle") && !picture.contains("<text"), "{picture}");
    }

    #[test]
    fn a_scale_changes_the_size_and_nothing_else() {
        let buffer = Buffer::with_lines(["a"]);
        let (once, twice) = (render(&buffer, Paper::DARK, 1), render(&buffer, Paper::DARK, 2));
        assert!(twice.contains(r#"width="66" height="86" viewBox="0 0 33 43""#), "{twice}");
        assert_eq!(once.lines().skip(1).collect::<Vec<_>>(), twice.lines().skip(1).collect::<Vec<_>>());
    }
}
