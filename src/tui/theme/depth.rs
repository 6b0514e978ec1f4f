//! How many colours the terminal has, and the nearest of them.

use palette::color_difference::EuclideanDistance;
use palette::{IntoColor, Oklab, Srgb};
use ratatui::style::Color;

use super::looks::{Look, Theme};

/// How many colours the terminal can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// No colour (`NO_COLOR`).
    Mono,
    /// The 16 of ANSI, whose looks are the terminal's own affair.
    Sixteen,
    /// The palette of 256.
    Indexed,
    /// 24 bits.
    True,
}

impl Depth {
    /// What is asked for with `--colors`; `auto` is `None`.
    pub const NAMES: &[(&str, Option<Self>)] = &[
        ("auto", None),
        ("true", Some(Self::True)),
        ("256", Some(Self::Indexed)),
        ("16", Some(Self::Sixteen)),
        ("none", Some(Self::Mono)),
    ];

    /// From this process's environment.
    #[must_use]
    pub fn from_env() -> Self {
        Self::detect(|name| std::env::var(name).ok())
    }

    /// From an environment: `NO_COLOR` (set and not empty), then `COLORTERM`, then `TERM`.
    pub fn detect(var: impl Fn(&str) -> Option<String>) -> Self {
        let term = var("TERM").unwrap_or_default();
        if var("NO_COLOR").is_some_and(|v| !v.is_empty()) || term == "dumb" || term.starts_with("vt") {
            return Self::Mono;
        }
        // GNU screen hands COLORTERM through from outside, but no 24-bit colours.
        let screen = var("STY").is_some();
        match (var("COLORTERM").as_deref(), term.as_str()) {
            (Some("truecolor" | "24bit"), _) if !screen => Self::True,
            (_, "alacritty" | "foot" | "wezterm" | "xterm-ghostty" | "xterm-kitty") => Self::True,
            (_, t) if t.ends_with("-direct") => Self::True,
            (_, t) if t.contains("256color") => Self::Indexed,
            _ => Self::Sixteen,
        }
    }

    /// The colour as it can be shown; `sixteen` is what the theme says for 16 colours.
    pub(super) fn colour(self, colour: Color, sixteen: Option<Color>) -> Color {
        match (self, colour, sixteen) {
            (Self::Sixteen, _, Some(given)) => given,
            (Self::Sixteen, Color::Rgb(..), None) => nearest(colour, (0..16).map(|i| (ANSI[i].0, ANSI[i].1))),
            // The first 16 of the 256 are as their owner likes them.
            (Self::Indexed, Color::Rgb(..), _) => nearest(colour, (16..=255).map(|i| (Color::Indexed(i), cube(i)))),
            (Self::Mono, ..) => Color::Reset,
            _ => colour,
        }
    }
}

/// The colour of a palette nearest to `colour`, by distance in Oklab (Ottosson 2020).
fn nearest(colour: Color, palette: impl Iterator<Item = (Color, (u8, u8, u8))>) -> Color {
    let Color::Rgb(r, g, b) = colour else { return colour };
    let wanted = oklab((r, g, b));
    palette
        .map(|(c, rgb)| (c, wanted.distance_squared(oklab(rgb))))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map_or(colour, |(c, _)| c)
}

fn oklab((r, g, b): (u8, u8, u8)) -> Oklab<f32> {
    Srgb::new(r, g, b).into_format::<f32>().into_color()
}

/// A colour of the 6 x 6 x 6 cube (16 to 231) or the ramp of greys (232 to 255), as xterm has them.
pub(super) fn cube(i: u8) -> (u8, u8, u8) {
    match i.checked_sub(232) {
        Some(step) => (8 + 10 * step, 8 + 10 * step, 8 + 10 * step),
        None => {
            let n = i.saturating_sub(16);
            let level = |v: u8| if v == 0 { 0 } else { 55 + 40 * v };
            (level(n / 36), level(n / 6 % 6), level(n % 6))
        }
    }
}

/// The 16 colours as xterm has them where nobody has changed them.
const ANSI: [(Color, (u8, u8, u8)); 16] = [
    (Color::Black, (0, 0, 0)),
    (Color::Red, (205, 0, 0)),
    (Color::Green, (0, 205, 0)),
    (Color::Yellow, (205, 205, 0)),
    (Color::Blue, (0, 0, 238)),
    (Color::Magenta, (205, 0, 205)),
    (Color::Cyan, (0, 205, 205)),
    (Color::Gray, (229, 229, 229)),
    (Color::DarkGray, (127, 127, 127)),
    (Color::LightRed, (255, 0, 0)),
    (Color::LightGreen, (0, 255, 0)),
    (Color::LightYellow, (255, 255, 0)),
    (Color::LightBlue, (92, 92, 255)),
    (Color::LightMagenta, (255, 0, 255)),
    (Color::LightCyan, (0, 255, 255)),
    (Color::White, (255, 255, 255)),
];

impl Theme {
    /// The same theme with colours the terminal can show. Without any colour it is the monochrome
    /// theme by its own name: what it said with colours alone has to be said otherwise.
    #[must_use]
    pub fn at_depth(mut self, depth: Depth) -> Self {
        if depth == Depth::Mono {
            return Self { name: self.name, about: self.about, ..Self::mono() };
        }
        for Look { style, fg16, bg16 } in &mut self.looks {
            style.fg = style.fg.map(|c| depth.colour(c, *fg16));
            style.bg = style.bg.map(|c| depth.colour(c, *bg16));
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn depth(vars: &[(&str, &str)]) -> Depth {
        Depth::detect(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn the_environment_tells_the_depth() {
        assert_eq!(depth(&[("TERM", "xterm-256color")]), Depth::Indexed);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("COLORTERM", "truecolor")]), Depth::True);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("COLORTERM", "24bit"), ("NO_COLOR", "1")]), Depth::Mono);
        assert_eq!(depth(&[("TERM", "xterm-256color"), ("NO_COLOR", "")]), Depth::Indexed);
        assert_eq!(depth(&[("TERM", "xterm-direct")]), Depth::True);
        assert_eq!(depth(&[("TERM", "xterm-kitty")]), Depth::True);
        for sixteen in ["xterm", "linux", "screen", "rxvt", ""] {
            assert_eq!(depth(&[("TERM", sixteen)]), Depth::Sixteen, "{sixteen}");
        }
        for mono in ["dumb", "vt100", "vt220"] {
            assert_eq!(depth(&[("TERM", mono), ("COLORTERM", "truecolor")]), Depth::Mono, "{mono}");
        }
        let screen = [("TERM", "screen.xterm-256color"), ("COLORTERM", "truecolor"), ("STY", "1.pts-0")];
        assert_eq!(depth(&screen), Depth::Indexed);
    }

    #[test]
    fn colours_of_the_palettes_are_found_again() {
        for i in 16..=255u8 {
            let (r, g, b) = cube(i);
            let Color::Indexed(found) = Depth::Indexed.colour(Color::Rgb(r, g, b), None) else { panic!() };
            assert_eq!(cube(found), (r, g, b), "{i}");
        }
        for (colour, (r, g, b)) in ANSI {
            assert_eq!(Depth::Sixteen.colour(Color::Rgb(r, g, b), None), colour);
        }
        assert_eq!(Depth::Indexed.colour(Color::Rgb(255, 0, 0), None), Color::Indexed(196));
    }

    #[test]
    fn what_the_theme_says_for_16_colours_is_taken() {
        let red = Color::Rgb(255, 0, 0);
        assert_eq!(Depth::Sixteen.colour(red, Some(Color::Blue)), Color::Blue);
        assert_eq!(Depth::Indexed.colour(red, Some(Color::Blue)), Color::Indexed(196));
        assert_eq!(Depth::True.colour(red, Some(Color::Blue)), red);
        assert_eq!(Depth::Sixteen.colour(Color::Reset, None), Color::Reset);
    }
}
