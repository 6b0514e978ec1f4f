//! Themes: styles by what they mean, read from TOML.
//!
//! Nothing on the screen relies on hue: every distinction a theme makes is also made by a letter,
//! a texture or a word, so [`Theme::mono`] loses nothing.
//!
//! A theme comes from the folder of the configuration ([`folder`]) or is [built in](BUILT_IN); it
//! holds 24-bit colours, and [`Theme::at_depth`] brings them down to what the terminal has.

mod builtin;
pub mod check;
mod choice;
mod depth;
mod looks;
mod paper;
mod parse;
mod roles;
mod texts;

pub use builtin::{Listed, Source, folder, list, load, names, next, source};
pub use choice::ThemeChoice;
pub use depth::Depth;
pub use looks::Theme;
pub use paper::{Paper, Rgb};
pub use parse::ThemeError;
pub use roles::Role;
pub use texts::{BUILT_IN, DARK, LIGHT, MONOCHROME};
