//! The characters the screen is made of.

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

static BLOCK: Glyphs = Glyphs {
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
    play: "▶",
    pause: "‖",
    middot: "·",
    corners: ["┌", "┐", "└", "┘", "─", "│"],
};

static ASCII: Glyphs = Glyphs {
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
            Markers::Block | Markers::Braille => &BLOCK,
            Markers::Ascii => &ASCII,
        }
    }
}
