//! Frames as pictures: the real cells, drawn as SVG or PNG; and a whole replay as a cast.

pub(crate) mod cast;
mod cell;
mod error;
mod font;
mod frame;
mod look;
pub(crate) mod png;
mod shape;
pub(crate) mod svg;

pub(crate) use frame::{Format, frame, render};
