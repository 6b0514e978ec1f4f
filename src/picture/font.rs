//! The font that is built in: DejaVu Sans Mono, see `assets/fonts`.

use std::io::Read;

use ab_glyph::{Font, FontVec, GlyphId, OutlinedGlyph, PxScale, point};
use flate2::read::GzDecoder;

use super::cell::{BASELINE, CELL_W};
use super::error::PictureError;

static BOOK: &[u8] = include_bytes!("../../assets/fonts/DejaVuSansMono.ttf.gz");
static BOLD: &[u8] = include_bytes!("../../assets/fonts/DejaVuSansMono-Bold.ttf.gz");

/// The two faces, at one size.
pub(super) struct Faces {
    book: Face,
    bold: Face,
    baseline: f32,
}

struct Face {
    font: FontVec,
    size: PxScale,
}

impl Faces {
    /// At so many times the size of a cell.
    pub(super) fn at(scale: u32) -> Result<Self, PictureError> {
        let baseline = (BASELINE * scale) as f32;
        let width = (CELL_W * scale) as f32;
        Ok(Self { book: Face::unpack(BOOK, width)?, bold: Face::unpack(BOLD, width)?, baseline })
    }

    /// The outline of a character in a cell at (0, 0); `None` where it has none (a blank).
    ///
    /// # Errors
    /// [`Missing`] when the font does not know it.
    pub(super) fn outline(&self, c: char, bold: bool) -> Result<Option<OutlinedGlyph>, Missing> {
        let face = if bold { &self.bold } else { &self.book };
        let id = face.font.glyph_id(c);
        if id == GlyphId(0) {
            return Err(Missing);
        }
        let glyph = id.with_scale_and_position(face.size, point(0.0, self.baseline));
        Ok(face.font.outline_glyph(glyph))
    }
}

/// The font has no such character.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing;

impl Face {
    /// Its size is such that its characters are as wide as a cell.
    fn unpack(packed: &[u8], cell_width: f32) -> Result<Self, PictureError> {
        let mut bytes = Vec::new();
        GzDecoder::new(packed).read_to_end(&mut bytes).map_err(|e| PictureError::Font(e.to_string()))?;
        let font = FontVec::try_from_vec(bytes).map_err(|e| PictureError::Font(e.to_string()))?;
        let advance = font.h_advance_unscaled(font.glyph_id('m'));
        let size = PxScale::from(cell_width * font.height_unscaled() / advance);
        Ok(Self { font, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_faces_know_what_the_screen_is_made_of() {
        let faces = Faces::at(1).unwrap();
        let ours = "Az09 µ×→←↑↓●○◆◇▲▼▸▶◀‖…·±≤≥≈√∞Δσ✓✗⚠€äñЖ─═╱";
        for c in ours.chars().filter(|c| super::super::shape::of(&c.to_string()).is_none()) {
            for bold in [false, true] {
                assert!(faces.outline(c, bold).is_ok(), "{c:?} (bold: {bold}) is not in the font");
            }
        }
        assert_eq!(faces.outline('漢', false).map(|_| ()), Err(Missing));
    }

    #[test]
    fn letters_fit_their_cell() {
        let faces = Faces::at(2).unwrap();
        for c in "AWMmgjpq|".chars() {
            let bounds = faces.outline(c, true).unwrap().unwrap().px_bounds();
            assert!(bounds.min.y >= 0.0 && bounds.max.y <= 38.0, "{c}: {bounds:?}");
            assert!(bounds.min.x >= -1.0 && bounds.max.x <= 19.0, "{c}: {bounds:?}");
        }
    }
}
