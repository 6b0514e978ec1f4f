//! What a terminal sends, cut into keys, pastes and everything else.
//!
//! Not all that comes from a terminal has been typed: it answers questions (of this program or of
//! another one that ran before), and what is pasted or dropped comes the same way. Answers are control
//! strings (ECMA-48, 5.6: DCS, SOS, OSC, PM, APC). They are recognised whole and are never keys, nor
//! is any part of them. Whatever has begun and does not end is given up after a silence, so no
//! garbage keeps a key from being heard for longer than [`STRING`].

use std::time::{Duration, Instant};

use ratatui::crossterm::event::Event;

use super::decode;

/// How long after an ESC it is known to be a key and not the beginning of a sequence.
const ESCAPE: Duration = Duration::from_millis(50);
/// How long after its last byte a control sequence that has only begun is given up.
const SEQUENCE: Duration = Duration::from_millis(250);
/// How long after its last byte a control string or a paste without an end is given up: longer than a
/// slow line stalls, shorter than a second.
const STRING: Duration = Duration::from_millis(700);
/// The same for one that has gone on for [`LONG`]: what comes byte by byte is typed by then, and a
/// person pauses that long between two keys.
const STRING_LATE: Duration = Duration::from_millis(150);
/// From here on a control string or a paste is a long one.
const LONG: Duration = Duration::from_secs(5);
/// A Ctrl-C inside a string or a paste with such a silence after it has been typed.
const TYPED: Duration = Duration::from_millis(50);
/// Bytes of a paste that are kept; what it is pasted into takes far less.
const PASTE: usize = 64 << 10;
/// Parameter bytes of a control sequence; none that means a key has as many.
const PARAMETERS: usize = 64;

const CTRL_C: char = '\x03';
const BELL: char = '\x07';
const CAN: char = '\x18';
const SUB: char = '\x1a';
const ESC: char = '\x1b';
/// The 8-bit forms of ESC O, ESC [ and ESC \.
const SS3: char = '\u{8f}';
const CSI: char = '\u{9b}';
const ST: char = '\u{9c}';
/// Stands for bytes that are no character.
const BAD: char = char::REPLACEMENT_CHARACTER;

/// Where in a sequence the next character falls.
#[derive(Debug, Clone, PartialEq, Eq)]
enum At {
    /// In none.
    Ground,
    /// After an ESC.
    Escape,
    /// In a control sequence, after these parameters.
    Csi(String),
    /// After ESC [ [, as Linux consoles begin function keys.
    Console,
    /// After ESC O.
    Ss3(String),
    /// In the three characters after ESC [ M, the oldest way to tell of the mouse.
    Mouse(Vec<char>),
    /// In a control string, and whether its newest character is an ESC.
    String { escape: bool },
    /// In a paste, and how much of its end mark has come.
    Paste { text: String, mark: String },
}

/// The bytes of a terminal as events.
#[derive(Debug)]
pub(super) struct Sequences {
    at: At,
    /// The beginning of a character of several bytes.
    partial: Vec<u8>,
    /// When what we are in began, and when the newest byte came.
    began: Instant,
    last: Instant,
    /// Whether that byte was a Ctrl-C.
    interrupted: bool,
    events: Vec<Event>,
}

impl Sequences {
    pub(super) fn new(now: Instant) -> Self {
        Self { at: At::Ground, partial: Vec::new(), began: now, last: now, interrupted: false, events: Vec::new() }
    }

    /// Takes bytes that came at `now`, after [`Self::pass`] has let the time until then pass.
    pub(super) fn take(&mut self, bytes: &[u8], now: Instant) {
        self.last = now;
        for byte in bytes {
            self.partial.push(*byte);
            self.interrupted = false;
            while let Some(c) = self.character() {
                self.interrupted = c == CTRL_C;
                let ground = self.at == At::Ground;
                self.step(c);
                if ground {
                    self.began = now;
                }
            }
        }
    }

    /// When [`Self::pass`] has something to do, if nothing comes until then.
    pub(super) fn due(&self) -> Option<Instant> {
        let patience = match &self.at {
            At::Ground if self.partial.is_empty() => return None,
            At::Ground | At::Escape => ESCAPE,
            At::Csi(_) | At::Console | At::Ss3(_) | At::Mouse(_) => SEQUENCE,
            At::String { .. } | At::Paste { .. } if self.interrupted => TYPED,
            At::String { .. } | At::Paste { .. } if self.last.duration_since(self.began) >= LONG => STRING_LATE,
            At::String { .. } | At::Paste { .. } => STRING,
        };
        Some(self.last + patience)
    }

    /// Lets time pass until `now` without a byte.
    pub(super) fn pass(&mut self, now: Instant) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        self.partial.clear();
        match std::mem::replace(&mut self.at, At::Ground) {
            At::Escape => self.events.extend(decode::typed(ESC)),
            At::String { .. } | At::Paste { .. } if self.interrupted => self.events.extend(decode::typed(CTRL_C)),
            At::Paste { text, .. } => self.events.push(Event::Paste(text)),
            At::Ground | At::Csi(_) | At::Console | At::Ss3(_) | At::Mouse(_) | At::String { .. } => {}
        }
    }

    /// What has been made out since the last call.
    pub(super) fn events(&mut self) -> std::vec::Drain<'_, Event> {
        self.events.drain(..)
    }

    /// Whether more of the same is to come: a string or a paste.
    pub(super) fn is_within(&self) -> bool {
        matches!(self.at, At::String { .. } | At::Paste { .. })
    }

    /// The next whole character of the bytes so far. A byte of 0x80 to 0x9f that is part of none is a
    /// control character of 8 bits.
    fn character(&mut self) -> Option<char> {
        let first = *self.partial.first()?;
        let bad = match std::str::from_utf8(&self.partial) {
            Ok(text) => {
                let c = text.chars().next()?;
                self.partial.drain(..c.len_utf8());
                return Some(c);
            }
            // Bytes come one by one: whatever is before the wrong one is the beginning of a character.
            Err(e) => e.error_len()?,
        };
        self.partial.drain(..bad.clamp(1, self.partial.len()));
        Some(if (0x80..0xa0).contains(&first) { char::from(first) } else { BAD })
    }

    fn step(&mut self, c: char) {
        self.at = match std::mem::replace(&mut self.at, At::Ground) {
            At::Ground => self.ground(c),
            At::Escape => self.escape(c),
            At::Csi(parameters) => self.csi(parameters, c),
            At::Console => match c {
                ' '..='\x7e' => {
                    self.events.extend(decode::console(c));
                    At::Ground
                }
                _ => self.abort(c),
            },
            At::Ss3(parameters) => match c {
                '0'..=';' => At::Ss3(longer(parameters, c)),
                ' '..='\x7e' => {
                    self.events.extend(decode::ss3(&parameters, c));
                    At::Ground
                }
                _ => self.abort(c),
            },
            At::Mouse(mut told) => match c {
                '\0'..='\x1f' => self.abort(c),
                _ => {
                    told.push(c);
                    if let [button, x, y] = told[..] {
                        self.events.extend(decode::mouse_of_old(button, x, y));
                        At::Ground
                    } else {
                        At::Mouse(told)
                    }
                }
            },
            At::String { escape } => match c {
                BELL | CAN | SUB | ST => At::Ground,
                '\\' if escape => At::Ground,
                _ => At::String { escape: c == ESC },
            },
            At::Paste { text, mark } => self.paste(text, mark, c),
        };
    }

    fn ground(&mut self, c: char) -> At {
        match c {
            ESC => At::Escape,
            CSI => At::Csi(String::new()),
            SS3 => At::Ss3(String::new()),
            // DCS, SOS, OSC, PM and APC.
            '\u{90}' | '\u{98}' | '\u{9d}'..='\u{9f}' => At::String { escape: false },
            BAD | '\u{80}'..='\u{9f}' => At::Ground,
            _ => {
                self.events.extend(decode::typed(c));
                At::Ground
            }
        }
    }

    fn escape(&mut self, c: char) -> At {
        match c {
            '[' => At::Csi(String::new()),
            'O' => At::Ss3(String::new()),
            'P' | 'X' | ']' | '^' | '_' => At::String { escape: false },
            // The end of a string that was given up.
            '\\' | CAN | SUB => At::Ground,
            ESC | CTRL_C => {
                self.events.extend(decode::typed(ESC));
                self.ground(c)
            }
            BAD | '\u{80}'..='\u{9f}' => self.ground(c),
            _ => {
                self.events.extend(decode::with_alt(c));
                At::Ground
            }
        }
    }

    fn csi(&mut self, parameters: String, c: char) -> At {
        match c {
            ' '..='?' => At::Csi(longer(parameters, c)),
            '[' if parameters.is_empty() => At::Console,
            'M' if parameters.is_empty() => At::Mouse(Vec::new()),
            '~' if parameters == "200" => At::Paste { text: String::new(), mark: String::new() },
            '@'..='~' => {
                if parameters.len() <= PARAMETERS {
                    self.events.extend(decode::csi(&parameters, c));
                }
                At::Ground
            }
            _ => self.abort(c),
        }
    }

    /// A character that cannot be in a sequence ends it. What is a control character by itself holds.
    fn abort(&mut self, c: char) -> At {
        if c == CAN || c == SUB || (c > '\x7f' && !('\u{80}'..='\u{9f}').contains(&c)) {
            return At::Ground;
        }
        self.ground(c)
    }

    fn paste(&mut self, mut text: String, mut mark: String, c: char) -> At {
        const ENDS: [&str; 2] = ["\x1b[201~", "\u{9b}201~"];
        mark.push(c);
        if ENDS.contains(&mark.as_str()) {
            self.events.push(Event::Paste(text));
            return At::Ground;
        }
        if !ENDS.iter().any(|end| end.starts_with(&mark)) {
            // Only its first character begins the mark, so no other beginning is lost.
            let begins = matches!(c, ESC | CSI);
            let kept = mark.len() - if begins { c.len_utf8() } else { 0 };
            if text.len() + kept <= PASTE {
                text.push_str(&mark[..kept]);
            }
            mark.drain(..kept);
        }
        At::Paste { text, mark }
    }
}

/// One parameter byte more; of a sequence that is too long to be any, only that it is.
fn longer(mut parameters: String, c: char) -> String {
    if parameters.len() <= PARAMETERS {
        parameters.push(c);
    }
    parameters
}

#[cfg(test)]
mod tests;
