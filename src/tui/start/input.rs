//! Keys and mouse of the start screen.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::actions::action;
use super::{Asks, Choice, Form, OFFERS, Offer, Row, Start};
use crate::tui::hits::Hit;
use crate::tui::input::edit_line;
use crate::tui::keys::Action;

/// What a key press or a click asks for beyond the screen itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Begin this.
    Choose(Choice),
    /// Leave.
    Quit,
    /// To the shell for a while.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// The next theme.
    NextTheme,
}

/// Rows that a page up or down goes.
const PAGE: isize = 5;

/// Takes a key press.
pub fn press(start: &mut Start, key: &KeyEvent) -> Option<Effect> {
    start.touched = true;
    let asked = action(&start.keymap, key);
    // These hold while a text is typed as well: their keys type nothing.
    match asked {
        Some(Action::QuitNow) => return Some(Effect::Quit),
        Some(Action::Suspend) => return Some(Effect::Suspend),
        Some(Action::Redraw) => return Some(Effect::Redraw),
        _ => {}
    }
    if start.help {
        start.help = false;
        return None;
    }
    if start.form.is_some() {
        return fill(start, key);
    }
    if let Some(action) = asked {
        return act(start, action);
    }
    let KeyCode::Char(c) = key.code else { return None };
    if key.modifiers.intersects(KeyModifiers::CONTROL | KeyModifiers::ALT) {
        return None;
    }
    if Some(c) == start.product_key() {
        start.product = (start.product + 1) % start.products.len();
        start.selected = OFFERS.iter().position(|o| o.offer == Offer::Demo).unwrap_or(start.selected);
        return None;
    }
    let row = match c {
        '1'..='9' => OFFERS.len() + c as usize - '1' as usize,
        _ => OFFERS.iter().position(|o| o.key == Some(c))?,
    };
    open(start, row)
}

/// Does what an action asks for.
pub(super) fn act(start: &mut Start, action: Action) -> Option<Effect> {
    match action {
        Action::Up => step(start, -1),
        Action::Down => step(start, 1),
        Action::ScrollUp => step(start, -PAGE),
        Action::ScrollDown => step(start, PAGE),
        Action::TimeStart => start.selected = 0,
        Action::TimeEnd => start.selected = start.rows() - 1,
        Action::Type => return open(start, start.selected),
        Action::Help => start.help = true,
        Action::NextTheme => return Some(Effect::NextTheme),
        Action::Quit | Action::QuitNow => return Some(Effect::Quit),
        _ => {}
    }
    None
}

/// Moves the selection, and not past the ends.
fn step(start: &mut Start, by: isize) {
    start.selected = start.selected.saturating_add_signed(by).min(start.rows() - 1);
}

/// Opens a row of the list.
fn open(start: &mut Start, row: usize) -> Option<Effect> {
    let choice = match start.row(row)? {
        Row::Recent(_, recent) => Choice::Recent(recent.capture.clone()),
        Row::Offer(offered) => match offered.offer {
            Offer::Demo => Choice::Demo(start.product().filter(|_| start.product > 0).map(str::to_owned)),
            Offer::Lab => Choice::Lab,
            Offer::Quit => return Some(Effect::Quit),
            Offer::Help => {
                start.help = true;
                return None;
            }
            Offer::Attach => return ask(start, row, Asks::Attach),
            Offer::Watch => return ask(start, row, Asks::Watch),
            Offer::Replay => return ask(start, row, Asks::Replay),
        },
    };
    start.selected = row;
    Some(Effect::Choose(choice))
}

fn ask(start: &mut Start, row: usize, asks: Asks) -> Option<Effect> {
    start.selected = row;
    start.form = Some(Form::new(asks));
    None
}

/// Takes a key while a form is filled in.
fn fill(start: &mut Start, key: &KeyEvent) -> Option<Effect> {
    let form = start.form.as_mut()?;
    match key.code {
        KeyCode::Esc => start.form = None,
        KeyCode::Tab | KeyCode::Down => form.step(true),
        KeyCode::BackTab | KeyCode::Up => form.step(false),
        KeyCode::Enter if !form.is_at_end() => form.step(true),
        KeyCode::Enter => match form.lacking() {
            Some(wrong) => form.refuse(wrong),
            None => return Some(Effect::Choose(Choice::Form(form.asks, form.values()))),
        },
        _ => {
            if let Some(line) = form.line() {
                edit_line(line, key);
            }
        }
    }
    None
}

/// Takes pasted text: into the line that is typed on, or nowhere.
pub fn paste(start: &mut Start, text: &str) {
    if let Some(line) = start.form.as_mut().and_then(Form::line) {
        line.insert(text);
    }
}

/// Takes a click on what lies there: a row is selected by the first and opened by a second.
pub fn click(start: &mut Start, hit: Option<Hit>) -> Option<Effect> {
    start.touched = true;
    if start.help {
        start.help = false;
        return None;
    }
    match hit? {
        // In a form these are the ways on and back.
        Hit::Action(Action::Type) if start.form.is_some() => fill(start, &KeyEvent::from(KeyCode::Enter)),
        Hit::Action(Action::Back) => fill(start, &KeyEvent::from(KeyCode::Esc)),
        Hit::Action(action) => act(start, action),
        Hit::Row(row) => match &mut start.form {
            Some(form) => {
                form.at = row.min(form.lines.len().saturating_sub(1));
                None
            }
            None if row == start.selected => open(start, row),
            None => {
                start.selected = row.min(start.rows() - 1);
                None
            }
        },
        _ => None,
    }
}

/// Takes a turn of the wheel.
pub fn wheel(start: &mut Start, down: bool) {
    start.touched = true;
    if start.form.is_none() && !start.help {
        step(start, if down { 1 } else { -1 });
    }
}
