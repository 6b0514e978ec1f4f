//! Characters that must join their neighbours: drawn by their geometry, not by a font's.
//!
//! Block elements, box lines and braille fill their cell to its very edges, whatever the font, so
//! bars and lines have no seams. All measures are px of a cell of [`CELL_W`] by [`CELL_H`].

use super::cell::{CELL_H, CELL_W};

const W: f32 = CELL_W as f32;
const H: f32 = CELL_H as f32;

/// Width of a light line.
pub(super) const LIGHT: f32 = 1.0;
/// Width of a heavy line.
const HEAVY: f32 = 3.0;
/// Share of a dash that is ink.
const DASH: f32 = 0.67;
/// Radius of a braille dot.
const DOT: f32 = 1.5;

/// Radius of a full circle.
const KNOB: f32 = 3.75;

/// A piece of a character.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Shape {
    /// A filled rectangle, and how much of the ink it takes.
    Rect { x: f32, y: f32, w: f32, h: f32, opacity: f32 },
    /// A filled circle.
    Dot { x: f32, y: f32, r: f32 },
    /// A light line along a quarter of a circle around (x, y); from its ends the line goes on to
    /// the right or left and down or up.
    Arc { x: f32, y: f32, r: f32, right: bool, down: bool },
}

impl Shape {
    /// Moved by so much.
    pub(super) fn at(mut self, dx: f32, dy: f32) -> Self {
        match &mut self {
            Self::Rect { x, y, .. } | Self::Dot { x, y, .. } | Self::Arc { x, y, .. } => {
                *x += dx;
                *y += dy;
            }
        }
        self
    }
}

/// The pieces of a character, in the order to draw them; `None` leaves it to the font.
pub(super) fn of(symbol: &str) -> Option<Vec<Shape>> {
    let mut chars = symbol.chars();
    let c = chars.next().filter(|_| chars.next().is_none())?;
    match c {
        '\u{2580}'..='\u{259f}' => Some(block(c)),
        '\u{256d}'..='\u{2570}' => Some(rounded(c)),
        '\u{2500}'..='\u{257f}' => dashed(c).or_else(|| lines(c)),
        '\u{2800}'..='\u{28ff}' => Some(braille(c)),
        // The knob of a slider sits on its line.
        '●' => Some(vec![Shape::Dot { x: W / 2.0, y: H / 2.0, r: KNOB }]),
        _ => None,
    }
}

fn rect(x: f32, y: f32, w: f32, h: f32) -> Shape {
    Shape::Rect { x, y, w, h, opacity: 1.0 }
}

fn block(c: char) -> Vec<Shape> {
    let n = c as u32;
    let eighths = |n: u32| n as f32 / 8.0;
    let shade = |opacity| vec![Shape::Rect { x: 0.0, y: 0.0, w: W, h: H, opacity }];
    match n {
        0x2580 => vec![rect(0.0, 0.0, W, H / 2.0)],
        0x2581..=0x2588 => {
            let h = H * eighths(n - 0x2580);
            vec![rect(0.0, H - h, W, h)]
        }
        0x2589..=0x258f => vec![rect(0.0, 0.0, W * eighths(0x2590 - n), H)],
        0x2590 => vec![rect(W / 2.0, 0.0, W / 2.0, H)],
        0x2591 => shade(0.25),
        0x2592 => shade(0.5),
        0x2593 => shade(0.75),
        0x2594 => vec![rect(0.0, 0.0, W, H / 8.0)],
        0x2595 => vec![rect(W * 7.0 / 8.0, 0.0, W / 8.0, H)],
        _ => quadrants(n),
    }
}

fn quadrants(n: u32) -> Vec<Shape> {
    // Upper left 1, upper right 2, lower left 4, lower right 8; in the order of the code points.
    const OF: [u8; 10] = [4, 8, 1, 1 | 4 | 8, 1 | 8, 1 | 2 | 4, 1 | 2 | 8, 2, 2 | 4, 2 | 4 | 8];
    let set = OF[(n as usize - 0x2596).min(9)];
    (0..4u8)
        .filter(|bit| set & (1 << bit) != 0)
        .map(|bit| rect(f32::from(bit & 1) * W / 2.0, f32::from(bit >> 1) * H / 2.0, W / 2.0, H / 2.0))
        .collect()
}

/// Lines from the middle to the left, right, upper and lower edge, in the order of the code points
/// from U+2500: 0 none, 1 light, 2 heavy. Those that are dashed, doubled, rounded or slanted are 0.
#[rustfmt::skip]
const ARMS: [&str; 128] = [
    "1100", "2200", "0011", "0022", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000",
    "0101", "0201", "0102", "0202", "1001", "2001", "1002", "2002",
    "0110", "0210", "0120", "0220", "1010", "2010", "1020", "2020",
    "0111", "0211", "0121", "0112", "0122", "0221", "0212", "0222",
    "1011", "2011", "1021", "1012", "1022", "2021", "2012", "2022",
    "1101", "2101", "1201", "2201", "1102", "2102", "1202", "2202",
    "1110", "2110", "1210", "2210", "1120", "2120", "1220", "2220",
    "1111", "2111", "1211", "2211", "1121", "1112", "1122", "2121", "1221", "2112", "1212", "2221", "2212",
    "2122", "1222", "2222",
    "0000", "0000", "0000", "0000",
    "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000",
    "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000",
    "0000", "0000", "0000", "0000", "0000", "0000", "0000", "0000",
    "1000", "0010", "0100", "0001", "2000", "0020", "0200", "0002", "1200", "0012", "2100", "0021",
];
const _: () = assert!(ARMS.len() == 128);

fn lines(c: char) -> Option<Vec<Shape>> {
    let arms = ARMS.get(c as usize - 0x2500)?.as_bytes();
    let [left, right, up, down] = [0, 1, 2, 3].map(|i| thickness(arms[i]));
    let mut shapes = Vec::new();
    // Opposite arms of one thickness are one piece. Other arms reach over the middle as far as the
    // crossing line is thick, so that corners are whole.
    if left == right && left > 0.0 {
        shapes.push(rect(0.0, (H - left) / 2.0, W, left));
    } else {
        let past = up.max(down) / 2.0;
        if left > 0.0 {
            shapes.push(rect(0.0, (H - left) / 2.0, W / 2.0 + past, left));
        }
        if right > 0.0 {
            shapes.push(rect(W / 2.0 - past, (H - right) / 2.0, W / 2.0 + past, right));
        }
    }
    if up == down && up > 0.0 {
        shapes.push(rect((W - up) / 2.0, 0.0, up, H));
    } else {
        let past = left.max(right) / 2.0;
        if up > 0.0 {
            shapes.push(rect((W - up) / 2.0, 0.0, up, H / 2.0 + past));
        }
        if down > 0.0 {
            shapes.push(rect((W - down) / 2.0, H / 2.0 - past, down, H / 2.0 + past));
        }
    }
    (!shapes.is_empty()).then_some(shapes)
}

fn thickness(arm: u8) -> f32 {
    match arm {
        b'1' => LIGHT,
        b'2' => HEAVY,
        _ => 0.0,
    }
}

fn dashed(c: char) -> Option<Vec<Shape>> {
    let (dashes, first) = match c {
        '\u{2504}'..='\u{2507}' => (3, 0x2504),
        '\u{2508}'..='\u{250b}' => (4, 0x2508),
        '\u{254c}'..='\u{254f}' => (2, 0x254c),
        _ => return None,
    };
    let kind = c as u32 - first;
    let (upright, thick) = (kind >= 2, if kind % 2 == 1 { HEAVY } else { LIGHT });
    let piece = |i: u8, length: f32| {
        let pitch = length / f32::from(dashes);
        (pitch * (f32::from(i) + (1.0 - DASH) / 2.0), pitch * DASH)
    };
    let shapes = (0..dashes).map(|i| {
        if upright {
            let (y, h) = piece(i, H);
            rect((W - thick) / 2.0, y, thick, h)
        } else {
            let (x, w) = piece(i, W);
            rect(x, (H - thick) / 2.0, w, thick)
        }
    });
    Some(shapes.collect())
}

/// A corner: a quarter of a circle as wide as half the cell, and a straight line to its edge.
fn rounded(c: char) -> Vec<Shape> {
    let (down, right) = match c {
        '╭' => (true, true),
        '╮' => (true, false),
        '╯' => (false, false),
        _ => (false, true),
    };
    let r = W / 2.0;
    let x = if right { W } else { 0.0 };
    let straight = H / 2.0 - r;
    let (y, from) = if down { (H / 2.0 + r, H - straight) } else { (H / 2.0 - r, 0.0) };
    vec![Shape::Arc { x, y, r, right, down }, rect((W - LIGHT) / 2.0, from, LIGHT, straight)]
}

fn braille(c: char) -> Vec<Shape> {
    // The bits count down the left column, then the right; the fourth row came later.
    const PLACES: [(u8, u8); 8] = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2), (0, 3), (1, 3)];
    let bits = c as u32 - 0x2800;
    PLACES
        .iter()
        .enumerate()
        .filter(|(bit, _)| bits & (1 << bit) != 0)
        .map(|(_, (column, row))| Shape::Dot {
            x: W * (f32::from(*column) + 0.5) / 2.0,
            y: H * (f32::from(*row) + 0.5) / 4.0,
            r: DOT,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_reach_the_edges() {
        assert_eq!(of("█").unwrap(), [rect(0.0, 0.0, W, H)]);
        assert_eq!(of("▄").unwrap(), [rect(0.0, H / 2.0, W, H / 2.0)]);
        assert_eq!(of("▌").unwrap(), [rect(0.0, 0.0, W / 2.0, H)]);
        assert_eq!(of("▚").unwrap(), [rect(0.0, 0.0, W / 2.0, H / 2.0), rect(W / 2.0, H / 2.0, W / 2.0, H / 2.0)]);
    }

    #[test]
    fn lines_meet_in_the_middle_and_at_the_edges() {
        assert_eq!(of("─").unwrap(), [rect(0.0, 9.0, W, 1.0)]);
        assert_eq!(of("┌").unwrap(), [rect(4.0, 9.0, 5.0, 1.0), rect(4.0, 9.0, 1.0, 10.0)]);
        assert_eq!(of("┤").unwrap(), [rect(0.0, 9.0, 5.0, 1.0), rect(4.0, 0.0, 1.0, H)]);
        assert_eq!(of("╷").unwrap(), [rect(4.0, 9.5, 1.0, 9.5)]);
        assert_eq!(of("╌").unwrap().len(), 2);
    }

    /// What each box line touches must be what its name in Unicode says.
    #[test]
    fn the_table_of_lines_is_unicodes() {
        for (symbol, arms) in [
            ("┏", "0202"),
            ("┞", "0121"),
            ("┡", "0221"),
            ("┪", "2012"),
            ("┮", "1201"),
            ("┲", "1202"),
            ("┶", "1210"),
            ("┺", "1220"),
            ("┿", "2211"),
            ("╂", "1122"),
            ("╅", "2112"),
            ("╈", "2212"),
            ("╋", "2222"),
            ("╼", "1200"),
            ("╿", "0021"),
            ("┘", "1010"),
            ("├", "0111"),
            ("┬", "1101"),
            ("┴", "1110"),
            ("┼", "1111"),
            ("╴", "1000"),
        ] {
            let c = symbol.chars().next().unwrap();
            assert_eq!(ARMS[c as usize - 0x2500], arms, "{symbol}");
        }
    }

    #[test]
    fn braille_dots_stand_in_an_even_grid() {
        assert_eq!(of("\u{2800}").unwrap(), []);
        let all = of("⣿").unwrap();
        assert_eq!(all.len(), 8);
        assert!(all.contains(&Shape::Dot { x: W * 0.75, y: H * 0.875, r: DOT }));
        assert_eq!(of("⠂").unwrap(), [Shape::Dot { x: W * 0.25, y: H * 0.375, r: DOT }]);
    }

    #[test]
    fn a_knob_sits_on_its_line() {
        let ([Shape::Rect { y, h, .. }], [Shape::Dot { y: middle, .. }]) =
            (&of("━").unwrap()[..], &of("●").unwrap()[..])
        else {
            panic!("a line and a circle");
        };
        assert_eq!(*middle, y + h / 2.0);
    }

    #[test]
    fn everything_stays_within_its_cell() {
        for c in ('\u{2500}'..='\u{259f}').chain('\u{2800}'..='\u{28ff}') {
            for shape in of(&c.to_string()).unwrap_or_default() {
                let (x0, y0, x1, y1) = match shape {
                    Shape::Rect { x, y, w, h, .. } => (x, y, x + w, y + h),
                    Shape::Dot { x, y, r } => (x - r, y - r, x + r, y + r),
                    Shape::Arc { x, y, .. } => (x, y, x, y),
                };
                assert!(x0 >= 0.0 && y0 >= 0.0 && x1 <= W + 1e-4 && y1 <= H + 1e-4, "{c}: {shape:?}");
            }
        }
    }

    #[test]
    fn letters_and_long_graphemes_are_the_fonts() {
        assert_eq!(of("a"), None);
        assert_eq!(of("═"), None);
        assert_eq!(of("█\u{301}"), None);
    }
}
