//! A terminal that is told only what changed must look as if it had been told everything.

use std::num::NonZero;

use proptest::prelude::*;
use ratatui::Terminal;
use ratatui::style::Style;

use super::*;

const SIZE: Size = Size { width: 60, height: 4 };

fn terminal(moves: bool) -> Terminal<Wire> {
    let mut t = Terminal::new(Wire::sized(|| Ok(SIZE), moves)).unwrap();
    t.clear().unwrap();
    t
}

/// Draws rows and lets the parser see what was sent.
fn show(t: &mut Terminal<Wire>, sees: &mut vt100::Parser, rows: &[(String, Style)]) -> usize {
    t.draw(|frame| {
        for (y, (text, style)) in rows.iter().enumerate() {
            frame.buffer_mut().set_string(0, y as u16, text, *style);
        }
    })
    .unwrap();
    let bytes = t.backend_mut().take();
    sees.process(bytes.as_bytes());
    bytes.len()
}

/// Symbol and attributes of every cell.
fn look(sees: &vt100::Parser) -> Vec<(String, bool, bool, vt100::Color, vt100::Color)> {
    let cells = (0..SIZE.height).flat_map(|y| (0..SIZE.width).map(move |x| (y, x)));
    cells
        .filter_map(|(y, x)| sees.screen().cell(y, x))
        .map(|c| {
            let text = if c.has_contents() { c.contents().to_owned() } else { " ".to_owned() };
            (text, c.bold(), c.inverse(), c.fgcolor(), c.bgcolor())
        })
        .collect()
}

fn parser() -> vt100::Parser {
    vt100::Parser::new(NonZero::new(SIZE.height).unwrap(), NonZero::new(SIZE.width).unwrap(), 0)
}

#[test]
fn a_row_that_moves_on_costs_little_and_nothing_costs_nothing() {
    let wave: String = (0..80).map(|i| ["▁", "▃", "▅", "▇"][i * i % 4]).collect();
    let part = |from: usize| format!("gutter  {}│end", wave.chars().skip(from).take(45).collect::<String>());
    let style = Style::new().fg(Color::Rgb(10, 200, 30));
    let (mut t, mut sees) = (terminal(true), parser());
    show(&mut t, &mut sees, &[(part(0), style)]);
    let bytes = show(&mut t, &mut sees, &[(part(1), style)]);
    assert!(bytes < 60, "{bytes}");
    assert!(sees.screen().contents().starts_with(&part(1)), "{:?}", sees.screen().contents());
    assert_eq!(show(&mut t, &mut sees, &[(part(1), style)]), 0);
    // A terminal that may not know how to move is told everything.
    let (mut t, mut sees) = (terminal(false), parser());
    show(&mut t, &mut sees, &[(part(0), style)]);
    assert!(show(&mut t, &mut sees, &[(part(1), style)]) > 60);
    assert!(sees.screen().contents().starts_with(&part(1)));
}

fn style() -> impl Strategy<Value = Style> {
    let colour = prop_oneof![
        Just(Color::Reset),
        Just(Color::Red),
        Just(Color::DarkGray),
        any::<u8>().prop_map(Color::Indexed),
        Just(Color::Rgb(1, 2, 3))
    ];
    (colour.clone(), colour, any::<bool>(), any::<bool>()).prop_map(|(fg, bg, bold, reverse)| {
        let style = Style::new().fg(fg).bg(bg);
        let style = if bold { style.add_modifier(Modifier::BOLD) } else { style };
        if reverse { style.add_modifier(Modifier::REVERSED) } else { style }
    })
}

fn frame() -> impl Strategy<Value = Vec<(String, Style)>> {
    // Rows that move on, rows that stay, and rows with characters of two columns.
    let row = prop_oneof![
        (0usize..12, 0usize..40).prop_map(|(from, n)| (from..from + 20 + n)
            .map(|i| ["▁", "x", "▅", " "][i * i % 7 % 4])
            .collect::<String>()),
        "[a日本 ]{0,30}",
        Just("the same".to_owned()),
    ];
    prop::collection::vec((row, style()), 4)
}

proptest! {
    #[test]
    fn what_is_sent_in_parts_looks_like_what_is_sent_at_once(
        frames in prop::collection::vec(frame(), 1..8),
        moves: bool,
    ) {
        let (mut t, mut sees) = (terminal(moves), parser());
        for frame in &frames {
            show(&mut t, &mut sees, frame);
            let (mut fresh, mut at_once) = (terminal(false), parser());
            show(&mut fresh, &mut at_once, frame);
            prop_assert_eq!(look(&sees), look(&at_once));
        }
    }
}
