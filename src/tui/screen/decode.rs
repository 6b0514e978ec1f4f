//! Which key, or which move of the mouse, a whole sequence is.
//!
//! As terminals of the xterm family send them, and those that tell keys apart by CSI u (fixterms,
//! kitty) or `modifyOtherKeys`. What means no key is nothing.

use ratatui::crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};

/// A character by itself.
pub(super) fn typed(c: char) -> Option<Event> {
    Some(Event::Key(key(c)?))
}

/// A character with an ESC before it, as it comes with Alt held.
pub(super) fn with_alt(c: char) -> Option<Event> {
    let mut key = key(c)?;
    key.modifiers |= KeyModifiers::ALT;
    Some(Event::Key(key))
}

fn key(c: char) -> Option<KeyEvent> {
    let ctrl = |c: u8| KeyEvent::new(KeyCode::Char(char::from(c)), KeyModifiers::CONTROL);
    Some(match c {
        '\0' => ctrl(b' '),
        '\r' => KeyCode::Enter.into(),
        '\t' => KeyCode::Tab.into(),
        '\x1b' => KeyCode::Esc.into(),
        '\x7f' => KeyCode::Backspace.into(),
        '\x01'..='\x1a' => ctrl(c as u8 - 1 + b'a'),
        '\x1c'..='\x1f' => ctrl(c as u8 - 0x1c + b'4'),
        '\u{80}'..='\u{9f}' => return None,
        _ if c.is_uppercase() => KeyEvent::new(KeyCode::Char(c), KeyModifiers::SHIFT),
        _ => KeyCode::Char(c).into(),
    })
}

/// ESC O and what follows it.
pub(super) fn ss3(parameters: &str, last: char) -> Option<Event> {
    let code = match last {
        'M' => KeyCode::Enter,
        'I' => KeyCode::Tab,
        // The number pad in its application mode.
        'X' => KeyCode::Char('='),
        'j'..='o' => KeyCode::Char(char::from(last as u8 - b'j' + b'*')),
        'p'..='y' => KeyCode::Char(char::from(last as u8 - b'p' + b'0')),
        _ => lettered(last)?,
    };
    // Old terminals put the modifiers here, without a number before them.
    let modifiers = parameters.rsplit(';').next().filter(|p| !p.is_empty());
    Some(Event::Key(KeyEvent::new(code, modifiers_of(modifiers)?)))
}

/// ESC [ [ and what follows it: the first five function keys of a Linux console.
pub(super) fn console(last: char) -> Option<Event> {
    matches!(last, 'A'..='E').then(|| Event::Key(KeyCode::F(last as u8 - b'A' + 1).into()))
}

/// ESC [ and what follows it.
pub(super) fn csi(parameters: &str, last: char) -> Option<Event> {
    if let Some(told) = parameters.strip_prefix('<') {
        return mouse(told, last);
    }
    if !parameters.bytes().all(|b| matches!(b, b'0'..=b';')) {
        return None;
    }
    let mut fields = parameters.split(';');
    let first = fields.next().unwrap_or_default();
    let second = fields.next();
    let third = fields.next();
    let key = match (last, third) {
        ('u', _) => by_code(first, second)?,
        // modifyOtherKeys.
        ('~', Some(code)) if first == "27" => by_code(code, second)?,
        (_, Some(_)) => return None,
        ('~', None) => KeyEvent::new(numbered(first.parse().ok()?)?, modifiers_of(second)?),
        ('Z', None) => KeyEvent::new(KeyCode::BackTab, modifiers_of(second)? | KeyModifiers::SHIFT),
        // A report of where the cursor is looks like a key with modifiers, but for its first number.
        (_, None) if matches!(first, "" | "1") => KeyEvent::new(lettered(last)?, modifiers_of(second)?),
        _ => return None,
    };
    Some(Event::Key(key))
}

fn lettered(last: char) -> Option<KeyCode> {
    Some(match last {
        'A' => KeyCode::Up,
        'B' => KeyCode::Down,
        'C' => KeyCode::Right,
        'D' => KeyCode::Left,
        'E' => KeyCode::KeypadBegin,
        'F' => KeyCode::End,
        'H' => KeyCode::Home,
        'P'..='S' => KeyCode::F(last as u8 - b'P' + 1),
        _ => return None,
    })
}

fn numbered(n: u8) -> Option<KeyCode> {
    Some(match n {
        1 | 7 => KeyCode::Home,
        2 => KeyCode::Insert,
        3 => KeyCode::Delete,
        4 | 8 => KeyCode::End,
        5 => KeyCode::PageUp,
        6 => KeyCode::PageDown,
        11..=15 => KeyCode::F(n - 10),
        17..=21 => KeyCode::F(n - 11),
        23..=26 => KeyCode::F(n - 12),
        28..=29 => KeyCode::F(n - 13),
        31..=34 => KeyCode::F(n - 14),
        _ => return None,
    })
}

/// A key by the number of its character.
fn by_code(code: &str, modifiers: Option<&str>) -> Option<KeyEvent> {
    let modifiers = modifiers_of(modifiers)?;
    let mut codes = code.split(':');
    let base = char::from_u32(codes.next()?.parse().ok()?)?;
    let shifted = codes.next().and_then(|c| char::from_u32(c.parse().ok()?));
    let code = match base {
        '\r' => KeyCode::Enter,
        '\t' if modifiers.contains(KeyModifiers::SHIFT) => KeyCode::BackTab,
        '\t' => KeyCode::Tab,
        '\x1b' => KeyCode::Esc,
        '\x08' | '\x7f' => KeyCode::Backspace,
        // Keys that are no characters, by numbers of kitty's own.
        '\u{e000}'..='\u{f8ff}' => return None,
        c if c.is_control() => return None,
        c if modifiers.contains(KeyModifiers::SHIFT) => {
            KeyCode::Char(shifted.filter(|s| !s.is_control()).unwrap_or_else(|| c.to_ascii_uppercase()))
        }
        c => KeyCode::Char(c),
    };
    Some(KeyEvent::new(code, modifiers))
}

/// Modifiers as sent: a number, and whether the key was pressed (1), held (2) or let go (3). None where
/// it was let go, or where it means nothing.
fn modifiers_of(field: Option<&str>) -> Option<KeyModifiers> {
    let Some(field) = field.filter(|f| !f.is_empty()) else { return Some(KeyModifiers::NONE) };
    let (bits, kind) = field.split_once(':').unwrap_or((field, "1"));
    if !matches!(kind, "1" | "2") {
        return None;
    }
    let bits = bits.parse::<u8>().ok()?.checked_sub(1)?;
    let mut modifiers = KeyModifiers::NONE;
    modifiers.set(KeyModifiers::SHIFT, bits & 1 != 0);
    modifiers.set(KeyModifiers::ALT, bits & 2 != 0);
    modifiers.set(KeyModifiers::CONTROL, bits & 4 != 0);
    modifiers.set(KeyModifiers::SUPER, bits & 8 != 0);
    Some(modifiers)
}

/// The mouse in numbers of any size (mode 1006).
fn mouse(told: &str, last: char) -> Option<Event> {
    let mut numbers = told.split(';').map(|n| n.parse::<u16>().ok());
    let (button, x, y) = (numbers.next()??, numbers.next()??, numbers.next()??);
    if numbers.next().is_some() || !matches!(last, 'M' | 'm') {
        return None;
    }
    let (kind, modifiers) = moved(button)?;
    let kind = match kind {
        MouseEventKind::Down(b) if last == 'm' => MouseEventKind::Up(b),
        kind => kind,
    };
    Some(Event::Mouse(MouseEvent { kind, column: x.checked_sub(1)?, row: y.checked_sub(1)?, modifiers }))
}

/// The mouse in three characters (mode 1000 alone).
pub(super) fn mouse_of_old(button: char, x: char, y: char) -> Option<Event> {
    let number = |c: char, least: u32| u16::try_from(u32::from(c).checked_sub(least)?).ok();
    let (kind, modifiers) = moved(number(button, 32)?)?;
    Some(Event::Mouse(MouseEvent { kind, column: number(x, 33)?, row: number(y, 33)?, modifiers }))
}

/// What the mouse did, by the bits of its button number.
fn moved(bits: u16) -> Option<(MouseEventKind, KeyModifiers)> {
    const DRAGGED: u16 = 32;
    let button = match bits & 0b11 {
        0 => Some(MouseButton::Left),
        1 => Some(MouseButton::Middle),
        2 => Some(MouseButton::Right),
        _ => None,
    };
    let kind = match (bits & !0b11100, button) {
        (0..=2, Some(b)) => MouseEventKind::Down(b),
        // The oldest way does not say which button was let go.
        (3, None) => MouseEventKind::Up(MouseButton::Left),
        (b, Some(button)) if b & !0b11 == DRAGGED => MouseEventKind::Drag(button),
        (b, None) if b & !0b11 == DRAGGED => MouseEventKind::Moved,
        (64, _) => MouseEventKind::ScrollUp,
        (65, _) => MouseEventKind::ScrollDown,
        (66, _) => MouseEventKind::ScrollLeft,
        (67, _) => MouseEventKind::ScrollRight,
        _ => return None,
    };
    let mut modifiers = KeyModifiers::NONE;
    modifiers.set(KeyModifiers::SHIFT, bits & 4 != 0);
    modifiers.set(KeyModifiers::ALT, bits & 8 != 0);
    modifiers.set(KeyModifiers::CONTROL, bits & 16 != 0);
    Some((kind, modifiers))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(parameters: &str, last: char) -> Option<(KeyCode, KeyModifiers)> {
        match csi(parameters, last) {
            Some(Event::Key(key)) => Some((key.code, key.modifiers)),
            _ => None,
        }
    }

    #[test]
    fn keys_with_and_without_modifiers() {
        const NONE: KeyModifiers = KeyModifiers::NONE;
        for (parameters, last, code, modifiers) in [
            ("", 'A', KeyCode::Up, NONE),
            ("1;2", 'C', KeyCode::Right, KeyModifiers::SHIFT),
            ("1;5:2", 'D', KeyCode::Left, KeyModifiers::CONTROL),
            ("5", '~', KeyCode::PageUp, NONE),
            ("3;3", '~', KeyCode::Delete, KeyModifiers::ALT),
            ("15", '~', KeyCode::F(5), NONE),
            ("24", '~', KeyCode::F(12), NONE),
            ("", 'Z', KeyCode::BackTab, KeyModifiers::SHIFT),
            ("99;5", 'u', KeyCode::Char('c'), KeyModifiers::CONTROL),
            ("97;2", 'u', KeyCode::Char('A'), KeyModifiers::SHIFT),
            ("47:63;2", 'u', KeyCode::Char('?'), KeyModifiers::SHIFT),
            ("9;2", 'u', KeyCode::BackTab, KeyModifiers::SHIFT),
            ("27;5;109", '~', KeyCode::Char('m'), KeyModifiers::CONTROL),
            ("1;2", 'R', KeyCode::F(3), KeyModifiers::SHIFT),
        ] {
            assert_eq!(seen(parameters, last), Some((code, modifiers)), "{parameters}{last}");
        }
    }

    #[test]
    fn answers_of_a_terminal_are_no_keys() {
        // Where the cursor is, what the terminal is and can, its size, that it has the focus, a key let go.
        for (parameters, last) in [
            ("24;80", 'R'),
            ("?24;80;1", 'R'),
            ("?62;22", 'c'),
            (">41;390;0", 'c'),
            ("0", 'n'),
            ("?2026;2$", 'y'),
            ("8;24;80", 't'),
            ("", 'I'),
            ("", 'O'),
            ("?1", 'u'),
            ("109;1:3", 'u'),
            ("201", '~'),
            ("1;2;3", 'A'),
            ("57441", 'u'),
        ] {
            assert_eq!(csi(parameters, last), None, "{parameters}{last}");
        }
    }

    #[test]
    fn the_mouse_in_both_ways() {
        let at = |kind, column, row, modifiers| Some(Event::Mouse(MouseEvent { kind, column, row, modifiers }));
        let none = KeyModifiers::NONE;
        assert_eq!(csi("<0;20;10", 'M'), at(MouseEventKind::Down(MouseButton::Left), 19, 9, none));
        assert_eq!(csi("<0;20;10", 'm'), at(MouseEventKind::Up(MouseButton::Left), 19, 9, none));
        assert_eq!(csi("<34;300;1", 'M'), at(MouseEventKind::Drag(MouseButton::Right), 299, 0, none));
        assert_eq!(csi("<65;1;1", 'M'), at(MouseEventKind::ScrollDown, 0, 0, none));
        assert_eq!(csi("<68;1;1", 'M'), at(MouseEventKind::ScrollUp, 0, 0, KeyModifiers::SHIFT));
        assert_eq!(csi("<35;1;1", 'M'), at(MouseEventKind::Moved, 0, 0, none));
        for wrong in ["<0;0;1", "<0;1", "<0;1;1;1", "<0;99999;1", "<;1;1", "<128;1;1"] {
            assert_eq!(csi(wrong, 'M'), None, "{wrong}");
        }
        assert_eq!(mouse_of_old(' ', '!', '!'), at(MouseEventKind::Down(MouseButton::Left), 0, 0, none));
        assert_eq!(mouse_of_old('#', '0', '!'), at(MouseEventKind::Up(MouseButton::Left), 15, 0, none));
        assert_eq!(mouse_of_old(' ', ' ', '!'), None);
    }
}
