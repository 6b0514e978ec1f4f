//! Frames as pictures: the real cells, drawn as SVG or PNG; and a whole replay as a cast.

pub mod cast;
mod font;
mod look;
pub mod png;
mod shape;
pub mod svg;

use std::convert::Infallible;
use std::path::{Path, PathBuf};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use thiserror::Error;

use super::draw::{Extra, draw};
use super::view::View;
use crate::session::State;

/// Width of a cell, px.
pub(crate) const CELL_W: u32 = 9;
/// Height of a cell, px.
pub(crate) const CELL_H: u32 = 19;
/// From the top of a cell to the baseline of its text, px.
pub(crate) const BASELINE: u32 = 15;
/// Margin around the screen, px.
pub(crate) const MARGIN: u32 = 12;

/// Red, green, blue.
pub type Rgb = (u8, u8, u8);

/// Why a picture cannot be drawn.
#[derive(Debug, Error)]
pub enum PictureError {
    /// The file's name does not tell what to draw.
    #[error("{}: the name of a picture ends in .svg or .png, which tells what to draw", .0.display())]
    Extension(PathBuf),
    /// The font that is built in cannot be used.
    #[error("the font for PNG pictures cannot be used: {0}")]
    Font(String),
    /// The pixels cannot be encoded.
    #[error("the picture cannot be encoded as PNG: {0}")]
    Encode(#[from] ::png::EncodingError),
}

/// What kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Scalable; text stays text and is drawn with a font of the viewer's machine.
    Svg,
    /// Pixels; drawn with the font that is built in, the same everywhere.
    Png,
}

impl Format {
    /// By the file's name.
    ///
    /// # Errors
    /// When it ends in neither `.svg` nor `.png`.
    pub fn of(path: &Path) -> Result<Self, PictureError> {
        let extension = path.extension().map(|e| e.to_ascii_lowercase());
        match extension.as_ref().and_then(|e| e.to_str()) {
            Some("svg") => Ok(Self::Svg),
            Some("png") => Ok(Self::Png),
            _ => Err(PictureError::Extension(path.to_owned())),
        }
    }

    /// How many times the size of a cell of 9x19 px, unless asked otherwise. Pixels are doubled:
    /// most screens that show pictures are dense.
    #[must_use]
    pub fn scale(self) -> u32 {
        match self {
            Self::Svg => 1,
            Self::Png => 2,
        }
    }
}

/// The terminal's own two colours, which `Color::Reset` stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paper {
    /// Text.
    pub ink: Rgb,
    /// Background.
    pub ground: Rgb,
}

impl Paper {
    /// A dark terminal.
    pub const DARK: Self = Self { ink: (0xd8, 0xde, 0xe9), ground: (0x14, 0x17, 0x1c) };
    /// A light terminal.
    pub const LIGHT: Self = Self { ink: (0x24, 0x29, 0x2f), ground: (0xfd, 0xfd, 0xfc) };
}

/// The frame that a screen of so many columns and rows shows.
#[must_use]
pub fn frame(view: &View, state: &State, extra: &Extra, size: (u16, u16)) -> Buffer {
    Stage::new(size).frame(view, state, extra)
}

/// Draws a frame as a file of that format.
///
/// # Errors
/// See [`PictureError`].
pub fn render(buffer: &Buffer, format: Format, paper: Paper, scale: u32) -> Result<Vec<u8>, PictureError> {
    match format {
        Format::Svg => Ok(svg::render(buffer, paper, scale).into_bytes()),
        Format::Png => png::render(buffer, paper, scale),
    }
}

/// A screen nobody sees.
pub(crate) struct Stage(Terminal<TestBackend>);

impl Stage {
    pub(crate) fn new((columns, rows): (u16, u16)) -> Self {
        let made: Result<_, Infallible> = Terminal::new(TestBackend::new(columns, rows));
        let Ok(terminal) = made;
        Self(terminal)
    }

    pub(crate) fn frame(&mut self, view: &View, state: &State, extra: &Extra) -> Buffer {
        let drawn: Result<_, Infallible> = self.0.draw(|frame| {
            draw(view, state, extra, frame);
        });
        let Ok(drawn) = drawn;
        drawn.buffer.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_tells_the_format() {
        assert_eq!(Format::of(Path::new("a/b.SVG")).unwrap(), Format::Svg);
        assert_eq!(Format::of(Path::new("b.png")).unwrap(), Format::Png);
        for bad in ["b.jpg", "png", "b", ""] {
            let error = Format::of(Path::new(bad)).unwrap_err().to_string();
            assert!(error.contains(".svg or .png"), "{error}");
        }
    }
}
