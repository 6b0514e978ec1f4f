//! A frame of the screen, and the file it becomes.

use std::convert::Infallible;
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use super::error::PictureError;
use super::{png, svg};
use crate::session::State;
use crate::tui::theme::Paper;
use crate::tui::{Extra, View, draw};

/// What kind of picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
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
    pub(crate) fn of(path: &Path) -> Result<Self, PictureError> {
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
    pub(crate) fn scale(self) -> u32 {
        match self {
            Self::Svg => 1,
            Self::Png => 2,
        }
    }
}

/// The frame that a screen of so many columns and rows shows.
#[must_use]
pub(crate) fn frame(view: &View, state: &State, extra: &Extra, size: (u16, u16)) -> Buffer {
    Stage::new(size).frame(view, state, extra)
}

/// Draws a frame as a file of that format.
///
/// # Errors
/// See [`PictureError`].
pub(crate) fn render(buffer: &Buffer, format: Format, paper: Paper, scale: u32) -> Result<Vec<u8>, PictureError> {
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
