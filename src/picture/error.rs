//! Why a picture cannot be drawn.

use std::path::PathBuf;

use thiserror::Error;

/// Why a picture cannot be drawn.
#[derive(Debug, Error)]
pub(crate) enum PictureError {
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
