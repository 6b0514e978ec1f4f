//! A frame as PNG: pixels, the same on every machine.

use std::collections::BTreeMap;

use png::{BitDepth, ColorType, Compression, Encoder};
use ratatui::buffer::Buffer;
use unicode_width::UnicodeWidthStr;

use super::cell::{BASELINE, CELL_H, CELL_W, MARGIN};
use super::error::PictureError;
use super::font::{Faces, Missing};
use super::look::{FAINT, Look};
use super::shape::{self, LIGHT, Shape};
use crate::tui::theme::{Paper, Rgb};

/// A pixel at an edge is covered by so many steps, so that few colours are needed.
const STEPS: f32 = 15.0;
/// Circles are measured at so many points a pixel, squared.
const SAMPLES: u32 = 4;
/// How far italics lean: columns a row.
const LEAN: f32 = 0.2;

/// Draws a frame, each cell 9x19 px times `scale`.
///
/// # Errors
/// See [`PictureError`].
pub(crate) fn render(buffer: &Buffer, paper: Paper, scale: u32) -> Result<Vec<u8>, PictureError> {
    let scale = scale.max(1);
    let area = buffer.area;
    let mut canvas = Canvas::new(area.width, area.height, scale, paper.ground);
    let faces = Faces::at(scale)?;
    // Grounds before inks: a character may reach a little into the next cell.
    for ground in [true, false] {
        for y in 0..area.height {
            let mut x = 0;
            while x < area.width {
                let cell = &buffer[(area.x + x, area.y + y)];
                let look = Look::of(cell, paper);
                let columns = (cell.symbol().width().max(1) as u16).min(area.width - x);
                let (left, top) = canvas.origin(x, y);
                let at = Place { left, top, columns, scale };
                if ground {
                    canvas.ground(at, look);
                } else {
                    canvas.ink(at, look, cell.symbol(), &faces);
                }
                x += columns;
            }
        }
    }
    encode(&canvas)
}

/// Where a character stands, px of the canvas.
#[derive(Clone, Copy)]
struct Place {
    left: u32,
    top: u32,
    columns: u16,
    scale: u32,
}

struct Canvas {
    width: u32,
    height: u32,
    scale: u32,
    pixels: Vec<Rgb>,
}

impl Canvas {
    fn new(columns: u16, rows: u16, scale: u32, ground: Rgb) -> Self {
        let width = (u32::from(columns) * CELL_W + 2 * MARGIN) * scale;
        let height = (u32::from(rows) * CELL_H + 2 * MARGIN) * scale;
        Self { width, height, scale, pixels: vec![ground; width as usize * height as usize] }
    }

    fn origin(&self, x: u16, y: u16) -> (u32, u32) {
        ((MARGIN + u32::from(x) * CELL_W) * self.scale, (MARGIN + u32::from(y) * CELL_H) * self.scale)
    }

    /// Lays ink over a pixel that it covers by a share; outside is nowhere.
    fn blend(&mut self, x: f32, y: f32, ink: Rgb, share: f32) {
        if x < 0.0 || y < 0.0 || x >= self.width as f32 || y >= self.height as f32 {
            return;
        }
        let share = (share.clamp(0.0, 1.0) * STEPS).round() / STEPS;
        if let Some(pixel) = self.pixels.get_mut(y as usize * self.width as usize + x as usize) {
            let mix =
                |under: u8, over: u8| (f32::from(under) + (f32::from(over) - f32::from(under)) * share).round() as u8;
            *pixel = (mix(pixel.0, ink.0), mix(pixel.1, ink.1), mix(pixel.2, ink.2));
        }
    }

    /// A rectangle, its edges moved to whole pixels: neighbours share theirs, so nothing shines
    /// through between them.
    fn fill(&mut self, (x0, y0): (f32, f32), (x1, y1): (f32, f32), ink: Rgb, share: f32) {
        let whole = |from: f32, to: f32| (from.round() as u32, (to.round() as u32).max(from.round() as u32 + 1));
        let ((x0, x1), (y0, y1)) = (whole(x0, x1), whole(y0, y1));
        for y in y0..y1 {
            for x in x0..x1 {
                self.blend(x as f32, y as f32, ink, share);
            }
        }
    }

    fn ground(&mut self, at: Place, look: Look) {
        let Some(ground) = look.ground else { return };
        let (left, top) = (at.left as f32, at.top as f32);
        let (w, h) = (u32::from(at.columns) * CELL_W * at.scale, CELL_H * at.scale);
        self.fill((left, top), (left + w as f32, top + h as f32), ground, 1.0);
    }

    fn ink(&mut self, at: Place, look: Look, symbol: &str, faces: &Faces) {
        let strength = if look.faint { FAINT } else { 1.0 };
        if let Some(shapes) = shape::of(symbol) {
            for shape in shapes {
                self.shape(at, shape, look.ink, strength);
            }
        } else {
            for c in symbol.chars().filter(|c| !c.is_whitespace()) {
                self.letter(at, c, look, strength, faces);
            }
        }
        if look.underlined {
            let y = (at.top + (BASELINE + 2) * at.scale) as f32;
            let (left, w) = (at.left as f32, u32::from(at.columns) * CELL_W * at.scale);
            self.fill((left, y), (left + w as f32, y + at.scale as f32), look.ink, strength);
        }
    }

    fn letter(&mut self, at: Place, c: char, look: Look, strength: f32, faces: &Faces) {
        let glyph = match faces.outline(c, look.bold) {
            Ok(Some(glyph)) => glyph,
            Ok(None) => return,
            Err(Missing) => return self.missing(at, c, look, strength),
        };
        let bounds = glyph.px_bounds();
        let (left, top) = (at.left as f32 + bounds.min.x, at.top as f32 + bounds.min.y);
        let foot = (at.top + BASELINE * at.scale) as f32;
        glyph.draw(|x, y, share| {
            let (x, y) = (left + x as f32, top + y as f32);
            if !look.italic {
                return self.blend(x, y, look.ink, share * strength);
            }
            let lean = x + (foot - y) * LEAN;
            let over = lean.fract();
            self.blend(lean.floor(), y, look.ink, share * strength * (1.0 - over));
            self.blend(lean.floor() + 1.0, y, look.ink, share * strength * over);
        });
    }

    /// A frame in the place of a character that the font does not have. What has no width (a
    /// selector of variants) leaves no trace.
    fn missing(&mut self, at: Place, c: char, look: Look, strength: f32) {
        if c.encode_utf8(&mut [0; 4]).width() == 0 {
            return;
        }
        let s = at.scale as f32;
        let w = f32::from(at.columns) * CELL_W as f32;
        let (x0, y0, x1, y1) = (1.0, 4.0, w - 1.0, BASELINE as f32 + 1.0);
        let (left, top) = (at.left as f32, at.top as f32);
        for (ax, ay, bx, by) in [
            (x0, y0, x1, y0 + 1.0),
            (x0, y1 - 1.0, x1, y1),
            (x0, y0 + 1.0, x0 + 1.0, y1 - 1.0),
            (x1 - 1.0, y0 + 1.0, x1, y1 - 1.0),
        ] {
            self.fill((left + ax * s, top + ay * s), (left + bx * s, top + by * s), look.ink, strength);
        }
    }

    fn shape(&mut self, at: Place, shape: Shape, ink: Rgb, strength: f32) {
        let s = at.scale as f32;
        let (left, top) = (at.left as f32, at.top as f32);
        match shape {
            Shape::Rect { x, y, w, h, opacity } => {
                let (from, to) = ((left + x * s, top + y * s), (left + (x + w) * s, top + (y + h) * s));
                self.fill(from, to, ink, opacity * strength);
            }
            Shape::Dot { x, y, r } => {
                let (cx, cy, r) = (left + x * s, top + y * s, r * s);
                self.cover((cx - r, cy - r, cx + r, cy + r), ink, strength, |px, py| (px - cx).hypot(py - cy) <= r);
            }
            Shape::Arc { x, y, r, right, down } => {
                let (cx, cy, r, half) = (left + x * s, top + y * s, r * s, LIGHT * s / 2.0);
                let reach = r + half;
                let (x0, x1) = if right { (cx - reach, cx) } else { (cx, cx + reach) };
                let (y0, y1) = if down { (cy - reach, cy) } else { (cy, cy + reach) };
                self.cover((x0, y0, x1, y1), ink, strength, |px, py| {
                    ((px - cx).hypot(py - cy) - r).abs() <= half && px >= x0 && px <= x1 && py >= y0 && py <= y1
                });
            }
        }
    }

    /// Inks what `inside` says, as far as it covers each pixel.
    fn cover(
        &mut self,
        (x0, y0, x1, y1): (f32, f32, f32, f32),
        ink: Rgb,
        strength: f32,
        inside: impl Fn(f32, f32) -> bool,
    ) {
        let middle = |i: u32| (i as f32 + 0.5) / SAMPLES as f32;
        for y in y0.floor() as u32..y1.ceil() as u32 {
            for x in x0.floor() as u32..x1.ceil() as u32 {
                let hits = (0..SAMPLES * SAMPLES)
                    .filter(|i| inside(x as f32 + middle(i % SAMPLES), y as f32 + middle(i / SAMPLES)))
                    .count();
                self.blend(x as f32, y as f32, ink, strength * hits as f32 / (SAMPLES * SAMPLES) as f32);
            }
        }
    }
}

/// With a palette where the colours fit into one: such files are a third of the size.
fn encode(canvas: &Canvas) -> Result<Vec<u8>, PictureError> {
    let mut colours: BTreeMap<Rgb, u8> = canvas.pixels.iter().map(|p| (*p, 0)).collect();
    let mut out = Vec::new();
    let mut encoder = Encoder::new(&mut out, canvas.width, canvas.height);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_compression(Compression::High);
    let data: Vec<u8> = if colours.len() <= 256 {
        for (number, (_, index)) in (0..=u8::MAX).zip(colours.iter_mut()) {
            *index = number;
        }
        encoder.set_color(ColorType::Indexed);
        encoder.set_palette(colours.keys().flat_map(|c| [c.0, c.1, c.2]).collect::<Vec<_>>());
        encoder.set_filter(png::Filter::NoFilter);
        canvas.pixels.iter().filter_map(|p| colours.get(p).copied()).collect()
    } else {
        encoder.set_color(ColorType::Rgb);
        canvas.pixels.iter().flat_map(|p| [p.0, p.1, p.2]).collect()
    };
    let mut writer = encoder.write_header()?;
    writer.write_image_data(&data)?;
    writer.finish()?;
    Ok(out)
}

#[cfg(test)]
mod tests {
    use ratatui::layout::Rect;
    use ratatui::style::{Color, Modifier, Style};

    use super::*;

    /// The pixels of a picture, as they are read back.
    fn pixels(buffer: &Buffer, scale: u32) -> (u32, Vec<Rgb>) {
        let bytes = render(buffer, Paper::DARK, scale).unwrap();
        let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes));
        decoder.set_transformations(png::Transformations::EXPAND);
        let mut reader = decoder.read_info().unwrap();
        let mut data = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut data).unwrap();
        assert_eq!(info.color_type, ColorType::Rgb);
        (info.width, data[..info.buffer_size()].chunks(3).map(|p| (p[0], p[1], p[2])).collect())
    }

    /// Which colours are in a cell.
    fn cell(width: u32, pixels: &[Rgb], (x, y): (u32, u32), scale: u32) -> Vec<Rgb> {
        let (left, top) = ((MARGIN + x * CELL_W) * scale, (MARGIN + y * CELL_H) * scale);
        (top..top + CELL_H * scale)
            .flat_map(|y| (left..left + CELL_W * scale).map(move |x| (x, y)))
            .map(|(x, y)| pixels[(y * width + x) as usize])
            .collect()
    }

    #[test]
    fn it_has_the_size_of_its_cells() {
        for scale in 1..4 {
            let (width, all) = pixels(&Buffer::empty(Rect::new(0, 0, 10, 2)), scale);
            assert_eq!((width, all.len() as u32 / width), ((90 + 24) * scale, (38 + 24) * scale));
            assert!(all.iter().all(|p| *p == Paper::DARK.ground));
        }
    }

    #[test]
    fn bars_have_no_seams() {
        let mut buffer = Buffer::with_lines(["██", "██"]);
        buffer.set_style(buffer.area, Style::new().fg(Color::Rgb(1, 2, 3)));
        for scale in 1..4 {
            let (_, all) = pixels(&buffer, scale);
            let inked = all.iter().filter(|p| **p == (1, 2, 3)).count() as u32;
            assert_eq!(inked, 2 * CELL_W * 2 * CELL_H * scale * scale, "scale {scale}");
        }
    }

    #[test]
    fn lines_join_across_cells() {
        let buffer = Buffer::with_lines(["┌─┐", "│ │", "╰─╯"]);
        for scale in 1..4 {
            let (width, all) = pixels(&buffer, scale);
            let ink = |x: u32, y: u32| all[(y * width + x) as usize] == Paper::DARK.ink;
            // Along the upper line, from corner to corner; down the left side, from its middle.
            let (y, x) = ((MARGIN + 9) * scale, (MARGIN + 4) * scale);
            assert!((x..x + 2 * CELL_W * scale).all(|x| ink(x, y)), "scale {scale}: across");
            assert!((y..y + CELL_H * 3 / 2 * scale).all(|y| ink(x, y)), "scale {scale}: down");
        }
    }

    #[test]
    fn text_is_inked_bold_is_bolder_and_reversed_is_filled() {
        let mut buffer = Buffer::with_lines(["mmm "]);
        buffer.set_style(Rect::new(1, 0, 1, 1), Style::new().bold());
        buffer.set_style(Rect::new(2, 0, 1, 1), Style::new().add_modifier(Modifier::REVERSED));
        buffer.set_style(Rect::new(3, 0, 1, 1), Style::new().underlined());
        let (width, all) = pixels(&buffer, 2);
        let inked = |x| cell(width, &all, (x, 0), 2).iter().filter(|p| **p == Paper::DARK.ink).count();
        let (plain, bold, reversed, underline) = (inked(0), inked(1), inked(2), inked(3));
        assert!(plain > 50 && bold > plain && reversed > 2 * bold, "{plain} {bold} {reversed}");
        assert_eq!(underline as u32, 2 * CELL_W * 2);
    }

    #[test]
    fn what_the_font_has_not_is_a_frame_of_its_width() {
        let (width, all) = pixels(&Buffer::with_lines(["漢a"]), 1);
        for x in 0..2 {
            assert!(cell(width, &all, (x, 0), 1).contains(&Paper::DARK.ink), "column {x}");
        }
        // The letter after it stands in its own column.
        let alone = pixels(&Buffer::with_lines(["  a"]), 1);
        assert_eq!(cell(width, &all, (2, 0), 1), cell(alone.0, &alone.1, (2, 0), 1));
    }

    #[test]
    fn more_colours_than_a_palette_holds_are_all_kept() {
        let mut buffer = Buffer::empty(Rect::new(0, 0, 300, 1));
        for x in 0..300u16 {
            let colour = Color::Rgb((x / 256) as u8, (x % 256) as u8, 7);
            buffer[(x, 0)].set_style(Style::new().bg(colour));
        }
        let (width, all) = pixels(&buffer, 1);
        for x in 0..300u32 {
            assert!(cell(width, &all, (x, 0), 1).iter().all(|p| *p == ((x / 256) as u8, (x % 256) as u8, 7)));
        }
    }
}
