//! What a frame costs on the way to the terminal: only what changed is sent, and where a row has
//! moved by a column, as every track does when time goes on, the terminal moves it itself.

use std::fmt::Write as _;
use std::io;

use ratatui::backend::{Backend, ClearType, WindowSize};
use ratatui::buffer::Cell;
use ratatui::layout::{Position, Size};
use ratatui::style::{Color, Modifier};
use unicode_width::UnicodeWidthStr;

/// Columns a row may have moved by since the last frame.
const MOST_MOVED: usize = 3;
/// Stands for a cell whose look nobody knows; no frame has it.
const UNKNOWN: &str = "\u{10ffff}";
/// Cells that moving a row must save to be worth its two commands.
const WORTH: i32 = 8;

/// A terminal as it was last told to look, and the bytes that make it look otherwise.
#[derive(Debug)]
pub(crate) struct Wire {
    size: fn() -> io::Result<Size>,
    width: usize,
    shown: Vec<Cell>,
    bytes: String,
    /// Where the next character goes, if that is known.
    cursor: Option<(usize, usize)>,
    pen: Pen,
    /// Whether the terminal moves the rest of a row by itself (DCH and ICH).
    moves: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Pen {
    fg: Color,
    bg: Color,
    modifier: Modifier,
}

const PLAIN: Pen = Pen { fg: Color::Reset, bg: Color::Reset, modifier: Modifier::empty() };

impl Pen {
    fn of(cell: &Cell) -> Self {
        Self { fg: cell.fg, bg: cell.bg, modifier: cell.modifier }
    }
}

impl Wire {
    /// For the terminal on standard output.
    pub(crate) fn new() -> Self {
        Self::sized(super::size, knows_moves(std::env::var("TERM").as_deref()))
    }

    fn sized(size: fn() -> io::Result<Size>, moves: bool) -> Self {
        Self { size, width: 0, shown: Vec::new(), bytes: String::new(), cursor: None, pen: PLAIN, moves }
    }

    /// What has to be sent since the last call; empty where nothing changed.
    pub(crate) fn take(&mut self) -> String {
        if !self.bytes.is_empty() {
            // Whoever writes next, if not we, begins with a plain pen.
            self.style(PLAIN);
        }
        std::mem::take(&mut self.bytes)
    }

    fn row(&mut self, y: usize, new: &[Cell]) {
        let from = y * self.width;
        if self.moves
            && let Some((l, r, k)) = moved(&self.shown[from..from + self.width], new)
        {
            self.style(PLAIN);
            self.go(l, y);
            let _ = write!(self.bytes, "\x1b[{}P", Count(k));
            self.go(r - k, y);
            let _ = write!(self.bytes, "\x1b[{}@", Count(k));
            self.shown[from + l..from + r].rotate_left(k);
            self.shown[from + r - k..from + r].fill(Cell::EMPTY);
        }
        let mut x = 0;
        while x < self.width {
            let wide = columns(&new[x]).max(1);
            let end = (x + wide).min(self.width);
            if self.shown[from + x] != new[x] {
                self.put(x, y, &new[x], wide);
                // What stood there may have reached further: the terminal blanks its other half.
                if end < self.width && columns(&self.shown[from + end - 1]) > 1 {
                    self.shown[from + end].set_symbol(UNKNOWN);
                }
                self.shown[from + x..from + end].clone_from_slice(&new[x..end]);
            }
            x = end;
        }
    }

    fn put(&mut self, x: usize, y: usize, cell: &Cell, wide: usize) {
        self.go(x, y);
        self.style(Pen::of(cell));
        self.bytes.push_str(cell.symbol());
        // At the right edge terminals disagree on where the cursor is.
        self.cursor = (x + wide < self.width).then_some((x + wide, y));
    }

    fn go(&mut self, x: usize, y: usize) {
        match self.cursor {
            Some((cx, cy)) if (cx, cy) == (x, y) => return,
            Some((cx, cy)) if cy == y && cx < x => {
                let between = &self.shown[y * self.width + cx..y * self.width + x];
                let same = |c: &Cell| Pen::of(c) == self.pen && c.symbol().len() == 1;
                if between.len() <= 4 && between.iter().all(same) {
                    self.bytes.extend(between.iter().map(Cell::symbol));
                } else {
                    let _ = write!(self.bytes, "\x1b[{}C", Count(x - cx));
                }
            }
            _ => {
                let _ = write!(self.bytes, "\x1b[{};{}H", y + 1, x + 1);
            }
        }
        self.cursor = Some((x, y));
    }

    fn style(&mut self, to: Pen) {
        let from = self.pen;
        if from == to {
            return;
        }
        self.pen = to;
        if to == PLAIN {
            self.bytes.push_str("\x1b[m");
            return;
        }
        let mut codes: Vec<String> = Vec::new();
        let gone = !(from.modifier - to.modifier).is_empty();
        let from = if gone { PLAIN } else { from };
        if gone {
            codes.push("0".into());
        }
        for (modifier, code) in MODIFIERS {
            if (to.modifier - from.modifier).contains(*modifier) {
                codes.push((*code).into());
            }
        }
        if to.fg != from.fg {
            codes.push(colour(to.fg, 30));
        }
        if to.bg != from.bg {
            codes.push(colour(to.bg, 40));
        }
        let _ = write!(self.bytes, "\x1b[{}m", codes.join(";"));
    }
}

/// A count of 1 is left out.
struct Count(usize);

impl std::fmt::Display for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 1 { Ok(()) } else { self.0.fmt(f) }
    }
}

const MODIFIERS: &[(Modifier, &str)] = &[
    (Modifier::BOLD, "1"),
    (Modifier::DIM, "2"),
    (Modifier::ITALIC, "3"),
    (Modifier::UNDERLINED, "4"),
    (Modifier::SLOW_BLINK, "5"),
    (Modifier::RAPID_BLINK, "6"),
    (Modifier::REVERSED, "7"),
    (Modifier::HIDDEN, "8"),
    (Modifier::CROSSED_OUT, "9"),
];

/// The code of a colour; `base` is 30 for the characters and 40 for what is behind them.
fn colour(colour: Color, base: u8) -> String {
    const NAMED: [Color; 16] = [
        Color::Black,
        Color::Red,
        Color::Green,
        Color::Yellow,
        Color::Blue,
        Color::Magenta,
        Color::Cyan,
        Color::Gray,
        Color::DarkGray,
        Color::LightRed,
        Color::LightGreen,
        Color::LightYellow,
        Color::LightBlue,
        Color::LightMagenta,
        Color::LightCyan,
        Color::White,
    ];
    match colour {
        Color::Rgb(r, g, b) => format!("{};2;{r};{g};{b}", base + 8),
        Color::Indexed(i) => format!("{};5;{i}", base + 8),
        named => match NAMED.iter().position(|c| *c == named) {
            Some(i) if i < 8 => format!("{}", base + i as u8),
            Some(i) => format!("{}", base + 52 + i as u8),
            None => format!("{}", base + 9),
        },
    }
}

fn columns(cell: &Cell) -> usize {
    if cell.symbol().len() == 1 { 1 } else { cell.symbol().width() }
}

/// The stretch `l..r` of a row that has moved left by `k` columns, where it pays to move it.
fn moved(old: &[Cell], new: &[Cell]) -> Option<(usize, usize, usize)> {
    let changed: Vec<bool> = old.iter().zip(new).map(|(a, b)| a != b).collect();
    if changed.iter().filter(|c| **c).count() <= WORTH as usize {
        return None;
    }
    // A cell cut in half by a move is not ours to mend.
    if old.iter().chain(new).any(|c| columns(c) != 1) {
        return None;
    }
    let mut best = (WORTH, None);
    for k in 1..=MOST_MOVED.min(new.len().saturating_sub(1)) {
        let (mut gain, mut from) = (0, 0);
        for x in 0..new.len() - k {
            let fits = new[x] == old[x + k];
            gain += match (fits, changed[x]) {
                (true, true) => 1,
                (false, false) => -1,
                _ => 0,
            };
            if gain <= 0 {
                (gain, from) = (0, x + 1);
            } else if fits && gain > best.0 + k as i32 {
                best = (gain - k as i32, Some((from, x + k + 1, k)));
            }
        }
    }
    best.1
}

/// Whether a terminal of this kind has the commands that move the rest of a row: VT220 and
/// everything after it has; who knows of others.
fn knows_moves(term: Result<&str, &std::env::VarError>) -> bool {
    const KNOWN: &[&str] = &[
        "xterm",
        "screen",
        "tmux",
        "linux",
        "rxvt",
        "alacritty",
        "foot",
        "kitty",
        "wezterm",
        "ghostty",
        "st",
        "vte",
        "konsole",
        "putty",
        "contour",
        "vt220",
        "gnome",
        "iterm",
        "mintty",
    ];
    term.is_ok_and(|t| KNOWN.iter().any(|k| t.starts_with(k)))
}

impl Backend for Wire {
    type Error = io::Error;

    fn draw<'a, I>(&mut self, content: I) -> io::Result<()>
    where
        I: Iterator<Item = (u16, u16, &'a Cell)>,
    {
        let mut rows: Vec<(usize, Vec<Cell>)> = Vec::new();
        for (x, y, cell) in content {
            let (x, y) = (usize::from(x), usize::from(y));
            let Some(old) = self.shown.get(y * self.width..(y + 1) * self.width) else { continue };
            if rows.last().is_none_or(|(at, _)| *at != y) {
                rows.push((y, old.to_vec()));
            }
            let Some((_, row)) = rows.last_mut() else { continue };
            // The rest of a wide character is in no diff.
            let end = (x + columns(cell)).clamp(x + 1, self.width.max(x + 1));
            if let Some(covered) = row.get_mut(x..end) {
                covered.fill(Cell::EMPTY);
                covered[0] = cell.clone();
            }
        }
        for (y, row) in rows {
            self.row(y, &row);
        }
        Ok(())
    }

    fn hide_cursor(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn show_cursor(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn get_cursor_position(&mut self) -> io::Result<Position> {
        Ok(Position::ORIGIN)
    }

    fn set_cursor_position<P: Into<Position>>(&mut self, _position: P) -> io::Result<()> {
        Ok(())
    }

    fn clear(&mut self) -> io::Result<()> {
        let size = (self.size)()?;
        self.width = usize::from(size.width);
        self.shown = vec![Cell::EMPTY; self.width * usize::from(size.height)];
        self.pen = PLAIN;
        self.cursor = Some((0, 0));
        self.bytes.push_str("\x1b[m\x1b[2J\x1b[H");
        Ok(())
    }

    fn clear_region(&mut self, _clear_type: ClearType) -> io::Result<()> {
        // Only the whole screen is ever cleared: this is a screen of its own.
        self.clear()
    }

    fn size(&self) -> io::Result<Size> {
        (self.size)()
    }

    fn window_size(&mut self) -> io::Result<WindowSize> {
        Ok(WindowSize { columns_rows: (self.size)()?, pixels: Size::default() })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
