//! Frames as pictures: the real cells, drawn as SVG or PNG; and a whole replay as a cast.

pub mod cast;
mod cell;
mod error;
mod font;
mod frame;
mod look;
pub mod png;
mod shape;
pub mod svg;

pub use error::PictureError;
pub use frame::{Format, frame, render};
