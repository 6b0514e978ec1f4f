//! Output in pieces: split at `\r` and `\n`, bounded, and with nothing in it a terminal would act on.

use std::collections::VecDeque;

use crate::text::visible;

/// How much of one piece is kept, bytes.
const PIECE_LIMIT: usize = 4096;

/// One line of a command's output, or as much of it as there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Its text, filtered.
    pub text: String,
    /// Its end has been seen. Else it may come again, longer.
    pub whole: bool,
}

/// What has come of the piece that has not ended.
#[derive(Debug, Default)]
pub(super) struct Lines {
    kept: Vec<u8>,
    /// Bytes of it that were not kept.
    over: usize,
    /// How much of it has been shown, bytes.
    shown: usize,
}

impl Lines {
    /// Takes `bytes` and puts each piece that ends in them into `to`; empty ones are left out.
    pub(super) fn push(&mut self, bytes: &[u8], to: &mut VecDeque<Piece>) {
        for part in bytes.split_inclusive(|b| matches!(b, b'\r' | b'\n')) {
            let (text, ends) = match part.split_last() {
                Some((b'\r' | b'\n', text)) => (text, true),
                _ => (part, false),
            };
            let room = (PIECE_LIMIT - self.kept.len()).min(text.len());
            self.kept.extend_from_slice(&text[..room]);
            self.over += text.len() - room;
            if ends {
                to.extend(self.finish());
            }
        }
    }

    /// Whether there is something that was not shown.
    pub(super) fn has_unshown(&self) -> bool {
        self.kept.len() > self.shown
    }

    /// As much as there is of the piece that has not ended.
    pub(super) fn partial(&mut self) -> Option<Piece> {
        self.shown = self.kept.len();
        self.piece(false)
    }

    /// The piece has ended.
    pub(super) fn finish(&mut self) -> Option<Piece> {
        let piece = self.piece(true);
        *self = Self::default();
        piece
    }

    fn piece(&self, whole: bool) -> Option<Piece> {
        let plain = without_sequences(&self.kept);
        let text = String::from_utf8_lossy(&plain);
        let mut text = visible(text.trim()).into_owned();
        if self.over > 0 {
            text.push_str(&format!("… ({} more bytes)", self.over));
        }
        (!text.is_empty()).then_some(Piece { text, whole })
    }
}

/// Without the sequences that clear a line or give it a colour (CSI): tools write them whatever TERM says.
fn without_sequences(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        if let Some(parameters) = rest.strip_prefix(b"\x1b[") {
            let end = parameters.iter().position(|b| (0x40..=0x7e).contains(b));
            rest = end.map_or(&[][..], |end| &parameters[end + 1..]);
        } else {
            plain.push(*first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(parts: &[&[u8]]) -> Vec<String> {
        let (mut lines, mut ready) = (Lines::default(), VecDeque::new());
        parts.iter().for_each(|part| lines.push(part, &mut ready));
        ready.extend(lines.finish());
        ready.into_iter().map(|piece| piece.text).collect()
    }

    #[test]
    fn a_piece_ends_at_either_sign_wherever_the_bytes_are_cut() {
        let whole = b"\rMigration: [ 63 %]\rMigration: [ 64 %]error: no\r\n\nlast";
        let wanted = ["Migration: [ 63 %]", "Migration: [ 64 %]error: no", "last"];
        assert_eq!(pieces(&[whole]), wanted);
        for at in 0..whole.len() {
            let (a, b) = whole.split_at(at);
            assert_eq!(pieces(&[a, b]), wanted);
        }
    }

    #[test]
    fn what_has_not_ended_is_shown_once_and_again_when_it_has_grown() {
        let (mut lines, mut ready) = (Lines::default(), VecDeque::new());
        lines.push(b"\rMigration: [ 6", &mut ready);
        assert!(ready.is_empty() && lines.has_unshown());
        assert_eq!(lines.partial(), Some(Piece { text: "Migration: [ 6".into(), whole: false }));
        assert!(!lines.has_unshown());
        lines.push(b"3 %]", &mut ready);
        assert!(lines.has_unshown());
        lines.push(b"\r", &mut ready);
        assert_eq!(ready, [Piece { text: "Migration: [ 63 %]".into(), whole: true }]);
        assert_eq!(lines.finish(), None);
    }

    #[test]
    fn a_line_without_end_is_cut_and_counted_and_what_a_terminal_acts_on_is_written_out() {
        let long = vec![b'x'; 1 << 20];
        let pieces_ = pieces(&[&long, b"\nnext"]);
        assert!(pieces_[0].len() < PIECE_LIMIT + 40 && pieces_[0].ends_with("more bytes)"), "{}", pieces_[0].len());
        assert_eq!(pieces_[1], "next");
        assert_eq!(pieces(&[b"\x1b[K[26-11-26 20:40:01] (37%)\x07\x1b[1;31"]), ["[26-11-26 20:40:01] (37%)\\x07"]);
        assert_eq!(pieces(&[b"\xff\xfe\x1b]0;t\n"]), ["\u{fffd}\u{fffd}\\x1b]0;t"]);
    }
}
