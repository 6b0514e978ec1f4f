//! A frame as text that also holds its styles, for snapshots.

use std::fmt::Write as _;

use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};

/// Letters for styles, in the order in which they are met; '.' is a cell without any.
const LETTERS: &str = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789αβγδεζηθικλμνξοπρστυφχψω";

/// The text once, then a letter for the style of each cell, then what each letter stands for in
/// each of the themes. The themes must agree on the text.
pub(crate) fn styled(themes: &[(&str, &Buffer)]) -> String {
    let mut out = String::new();
    let Some((_, first)) = themes.first() else { return out };
    for row in rows(first, |at| first.content[at].symbol().to_owned()) {
        let _ = writeln!(out, "{row}");
    }
    for (name, buffer) in themes {
        let text = |b: &Buffer| b.content.iter().map(|c| c.symbol().to_owned()).collect::<Vec<_>>();
        assert_eq!(text(buffer), text(first), "theme {name} changes the text");
    }

    let mut legend: Vec<Vec<String>> = Vec::new();
    let mut letters = LETTERS.chars();
    let mut names: Vec<char> = Vec::new();
    let mut letter = |at: usize| {
        let styles: Vec<String> = themes.iter().map(|(_, buffer)| words(&buffer.content[at])).collect();
        if styles.iter().all(|s| s == "-") {
            return '.';
        }
        if let Some(known) = legend.iter().position(|s| *s == styles) {
            return names[known];
        }
        legend.push(styles);
        names.push(letters.next().expect("more styles than letters"));
        names[names.len() - 1]
    };
    let map: Vec<String> = rows(first, |at| letter(at).to_string());
    let _ = writeln!(out, "-- styles");
    for row in map {
        let _ = writeln!(out, "{}", row.trim_end_matches('.'));
    }
    let _ = writeln!(out, "-- {}", themes.iter().map(|t| t.0).collect::<Vec<_>>().join(" | "));
    for (name, styles) in names.iter().zip(&legend) {
        let _ = writeln!(out, "{name} {}", styles.join(" | "));
    }
    out
}

fn rows(buffer: &Buffer, mut cell: impl FnMut(usize) -> String) -> Vec<String> {
    let (width, height) = (usize::from(buffer.area.width), usize::from(buffer.area.height));
    (0..height)
        .map(|y| {
            let row: String = (0..width).map(|x| cell(y * width + x)).collect();
            row.trim_end().to_owned()
        })
        .collect()
}

/// A style in words: ink, ground, modifiers.
fn words(cell: &Cell) -> String {
    let mut words = Vec::new();
    if cell.fg != Color::Reset {
        words.push(cell.fg.to_string());
    }
    if cell.bg != Color::Reset {
        words.push(format!("on {}", cell.bg));
    }
    words.extend(cell.modifier.iter_names().map(|(name, _): (&str, Modifier)| name.to_lowercase()));
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

#[cfg(test)]
mod tests {
    use ratatui::style::Style;

    use super::*;

    #[test]
    fn each_style_has_a_letter_and_a_meaning_in_each_theme() {
        let (mut dark, mut mono) = (Buffer::with_lines(["ab cd"]), Buffer::with_lines(["ab cd"]));
        dark[(0, 0)].set_style(Style::new().red().on_blue().bold());
        dark[(1, 0)].set_style(Style::new().fg(Color::Rgb(1, 2, 3)));
        mono[(0, 0)].set_style(Style::new().add_modifier(Modifier::REVERSED));
        let text = styled(&[("dark", &dark), ("mono", &mono)]);
        assert_eq!(text, "ab cd\n-- styles\nab\n-- dark | mono\na Red on Blue bold | reversed\nb #010203 | -\n");
    }
}
