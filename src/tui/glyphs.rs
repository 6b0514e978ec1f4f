//! The characters the screen is made of.

use ratatui::buffer::Buffer;

/// Which characters draw bars and marks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Markers {
    /// Dots of braille: four steps of height in a cell.
    Braille,
    /// Block elements: eight steps of height in a cell.
    #[default]
    Block,
    /// Plain ASCII, for fonts and lines that know no better.
    Ascii,
}

impl Markers {
    /// Block elements.
    #[allow(non_upper_case_globals, reason = "it reads as the variant it stands for")]
    pub const Unicode: Self = Self::Block;

    /// By the names that `--markers` takes.
    pub const NAMES: &[(&str, Self)] = &[("braille", Self::Braille), ("block", Self::Block), ("ascii", Self::Ascii)];

    /// What this process's terminal can be trusted to show.
    #[must_use]
    pub fn from_env() -> Self {
        Self::detect(|name| std::env::var(name).ok())
    }

    /// What a terminal can be trusted to show: blocks, which have twice the steps of braille, or
    /// ASCII where the locale is not UTF-8 or the terminal is one that has no eighths of blocks
    /// (Linux's own console, dumb ones, old ones).
    pub fn detect(var: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| var(name).filter(|v| !v.is_empty());
        let locale = set("LC_ALL").or_else(|| set("LC_CTYPE")).or_else(|| set("LANG")).unwrap_or_default();
        let locale = locale.to_ascii_lowercase();
        let term = var("TERM").unwrap_or_default();
        let plain = matches!(term.as_str(), "linux" | "dumb") || term.starts_with("vt");
        if plain || !(locale.contains("utf-8") || locale.contains("utf8")) { Self::Ascii } else { Self::Block }
    }

    /// Makes a whole frame fit for the terminal: with ASCII markers also units, names and messages
    /// are ASCII.
    pub(crate) fn purge(self, buf: &mut Buffer) {
        if self != Self::Ascii {
            return;
        }
        for cell in &mut buf.content {
            if !cell.symbol().is_ascii() {
                let stand_in = match cell.symbol() {
                    "µ" => "u",
                    "…" => "~",
                    _ => "?",
                };
                cell.set_symbol(stand_in);
            }
        }
    }
}

/// The characters the screen is made of.
#[derive(Debug)]
pub(crate) struct Glyphs {
    /// Bars of 0 to 8 eighths.
    pub(crate) bars: [&'static str; 9],
    pub(crate) over: &'static str,
    pub(crate) rule: &'static str,
    pub(crate) axis: &'static str,
    pub(crate) axis_label: &'static str,
    pub(crate) tick: &'static str,
    pub(crate) link: &'static str,
    pub(crate) requested: &'static str,
    pub(crate) set: &'static str,
    pub(crate) hypervisor: &'static str,
    pub(crate) pointer: &'static str,
    pub(crate) slider_full: &'static str,
    pub(crate) slider_knob: &'static str,
    pub(crate) slider_empty: &'static str,
    pub(crate) range_left: &'static str,
    pub(crate) range_line: &'static str,
    pub(crate) range_right: &'static str,
    pub(crate) range_point: &'static str,
    pub(crate) arrow: &'static str,
    pub(crate) dot: &'static str,
    pub(crate) ring: &'static str,
    pub(crate) warn: &'static str,
    pub(crate) lost: &'static str,
    pub(crate) late: &'static str,
    pub(crate) error: &'static str,
    /// Something answered that the service is not there.
    pub(crate) refused: &'static str,
    pub(crate) not_sent: &'static str,
    pub(crate) pending: &'static str,
    pub(crate) duplicate: &'static str,
    pub(crate) mark: &'static str,
    pub(crate) setup: &'static str,
    pub(crate) pre_copy: &'static str,
    pub(crate) stop_and_copy: &'static str,
    pub(crate) post_copy: &'static str,
    pub(crate) recovery: &'static str,
    pub(crate) idle: &'static str,
    pub(crate) unknown: &'static str,
    pub(crate) times: &'static str,
    pub(crate) ellipsis: &'static str,
    pub(crate) play: &'static str,
    pub(crate) pause: &'static str,
    pub(crate) middot: &'static str,
    pub(crate) corners: [&'static str; 6],
}

const BLOCK: Glyphs = Glyphs {
    bars: [" ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"],
    over: "▓",
    rule: "─",
    axis: "│",
    axis_label: "┤",
    tick: "╷",
    link: "╌",
    requested: "─",
    set: "╴",
    hypervisor: "◆",
    pointer: "▸",
    slider_full: "━",
    slider_knob: "●",
    slider_empty: "─",
    range_left: "├",
    range_line: "─",
    range_right: "┤",
    range_point: "●",
    arrow: "→",
    dot: "●",
    ring: "○",
    warn: "▲",
    lost: "×",
    late: "~",
    error: "!",
    refused: "r",
    not_sent: "-",
    pending: "·",
    duplicate: "=",
    mark: "▼",
    setup: "░",
    pre_copy: "▒",
    stop_and_copy: "█",
    post_copy: "▓",
    recovery: "▚",
    idle: "─",
    unknown: "?",
    times: "×",
    ellipsis: "…",
    play: "►",
    pause: "‖",
    middot: "·",
    corners: ["┌", "┐", "└", "┘", "─", "│"],
};

const BRAILLE: Glyphs = Glyphs {
    bars: [" ", "⣀", "⣀", "⣤", "⣤", "⣶", "⣶", "⣿", "⣿"],
    over: "⢕",
    link: "⠒",
    setup: "⠂",
    pre_copy: "⢌",
    stop_and_copy: "⣿",
    post_copy: "⢵",
    recovery: "⠶",
    ..BLOCK
};

const ASCII: Glyphs = Glyphs {
    bars: [" ", ".", ".", ":", ":", "|", "|", "#", "#"],
    over: "%",
    rule: "-",
    axis: "|",
    axis_label: "+",
    tick: "'",
    link: "=",
    requested: "-",
    set: "-",
    hypervisor: "o",
    pointer: ">",
    slider_full: "=",
    slider_knob: "O",
    slider_empty: "-",
    range_left: "[",
    range_line: "-",
    range_right: "]",
    range_point: "O",
    arrow: "->",
    dot: "*",
    ring: "o",
    warn: "!",
    lost: "X",
    late: "~",
    error: "!",
    refused: "r",
    not_sent: "-",
    pending: ".",
    duplicate: "=",
    mark: "v",
    setup: "s",
    pre_copy: "p",
    stop_and_copy: "B",
    post_copy: "P",
    recovery: "r",
    idle: "-",
    unknown: "?",
    times: "x",
    ellipsis: "~",
    play: ">",
    pause: "=",
    middot: "|",
    corners: ["+", "+", "+", "+", "-", "|"],
};

impl Glyphs {
    pub(crate) fn of(markers: Markers) -> &'static Self {
        match markers {
            Markers::Braille => &BRAILLE,
            Markers::Block => &BLOCK,
            Markers::Ascii => &ASCII,
        }
    }
}

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;

    /// Every symbol of a set, each a cell of the screen.
    fn symbols(g: &Glyphs) -> Vec<&'static str> {
        let Glyphs { bars, corners, arrow: _, .. } = g;
        let mut all: Vec<&str> = bars.iter().chain(corners).copied().collect();
        all.extend([
            g.over,
            g.rule,
            g.axis,
            g.axis_label,
            g.tick,
            g.link,
            g.requested,
            g.set,
            g.hypervisor,
            g.pointer,
            g.slider_full,
            g.slider_knob,
            g.slider_empty,
            g.range_left,
            g.range_line,
            g.range_right,
            g.range_point,
            g.dot,
            g.ring,
            g.warn,
            g.lost,
            g.late,
            g.error,
            g.refused,
            g.not_sent,
            g.pending,
            g.duplicate,
            g.mark,
            g.setup,
            g.pre_copy,
            g.stop_and_copy,
            g.post_copy,
            g.recovery,
            g.idle,
            g.unknown,
            g.times,
            g.ellipsis,
            g.play,
            g.pause,
            g.middot,
        ]);
        all
    }

    #[test]
    fn every_symbol_is_one_column() {
        for (name, markers) in Markers::NAMES {
            for symbol in symbols(Glyphs::of(*markers)) {
                assert_eq!((symbol.width(), symbol.chars().count()), (1, 1), "{name}: {symbol:?}");
                assert!(*markers != Markers::Ascii || symbol.is_ascii(), "{symbol:?}");
            }
        }
    }

    #[test]
    fn symbols_are_of_blocks_that_fonts_for_terminals_have() {
        // Two of these are emoji as well, which some terminals draw two columns wide.
        const EMOJI: [&str; 4] = ["▶", "◀", "▪", "▫"];
        for markers in [Markers::Block, Markers::Braille] {
            for symbol in symbols(Glyphs::of(markers)) {
                let c = u32::from(symbol.chars().next().unwrap());
                let common = matches!(c,
                    0x20..=0x7e | 0xb7 | 0xd7 | 0x2016 | 0x2026   // text and punctuation
                    | 0x2500..=0x257f | 0x2580..=0x259f           // lines, blocks
                    | 0x25a0..=0x25cf                             // shapes
                );
                let braille = markers == Markers::Braille && (0x2800..=0x28ff).contains(&c);
                assert!((common || braille) && !EMOJI.contains(&symbol), "{symbol} U+{c:04X}");
            }
        }
    }

    #[test]
    fn textures_differ_where_colours_may_not() {
        for (name, markers) in Markers::NAMES {
            let g = Glyphs::of(*markers);
            let phases = [g.setup, g.pre_copy, g.stop_and_copy, g.post_copy, g.recovery, g.idle, g.unknown];
            let fates = [g.lost, g.late, g.error, g.refused, g.not_sent, g.pending, g.duplicate];
            for family in [&phases[..], &fates[..]] {
                for (i, a) in family.iter().enumerate() {
                    assert!(!family[..i].contains(a), "{name}: {a}");
                }
            }
            assert_ne!(g.over, g.bars[8], "{name}");
        }
    }

    #[test]
    fn a_terminal_that_knows_no_better_gets_ascii() {
        let of = |vars: &[(&str, &str)]| {
            Markers::detect(|name| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
        };
        assert_eq!(of(&[("LANG", "en_GB.UTF-8"), ("TERM", "xterm")]), Markers::Block);
        assert_eq!(of(&[("LANG", "C.utf8"), ("LC_ALL", ""), ("TERM", "tmux-256color")]), Markers::Block);
        assert_eq!(of(&[("LANG", "en_GB.UTF-8"), ("LC_ALL", "C"), ("TERM", "xterm")]), Markers::Ascii);
        assert_eq!(of(&[("LANG", "C"), ("LC_CTYPE", "C.UTF-8"), ("TERM", "xterm")]), Markers::Block);
        assert_eq!(of(&[("LANG", "C.UTF-8"), ("TERM", "linux")]), Markers::Ascii);
        assert_eq!(of(&[("TERM", "xterm")]), Markers::Ascii);
    }
}
