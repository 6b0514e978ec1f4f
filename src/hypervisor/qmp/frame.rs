//! Cutting a byte stream into JSON objects. QMP writes one object a line, or spread over several
//! lines where the monitor is set to `pretty=on`; counting braces reads both.

use thiserror::Error;

/// What cannot be read. The framer goes on with the next message.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Bytes outside any object; the rest of their line is skipped.
    #[error("it said '{0}'")]
    Garbage(String),
    /// An object longer than the limit.
    #[error("it sent a message longer than {0} bytes")]
    TooLong(usize),
    /// A new message began before this one was complete.
    #[error("it sent half a message: '{0}'")]
    Unfinished(String),
}

/// How much of either end of a message that cannot be read is kept, to tell what it was, bytes.
const EVIDENCE: usize = 256;

/// Cuts a byte stream into JSON objects. Holds at most one message of the limit, and what was pushed
/// last.
#[derive(Debug)]
pub struct Framer {
    buf: Vec<u8>,
    /// Where the present object begins.
    start: usize,
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The last byte scanned.
    before: u8,
    /// Bytes up to the next line break belong to nothing.
    skipping: bool,
    /// Of an object longer than the limit, bytes seen so far; they are not kept.
    dropped: usize,
    limit: usize,
    /// Both ends of the last message that could not be read.
    evidence: Vec<u8>,
}

impl Framer {
    /// A framer that skips messages longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self {
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            depth: 0,
            in_string: false,
            escaped: false,
            before: b'\n',
            skipping: false,
            dropped: 0,
            limit,
            evidence: Vec::new(),
        }
    }

    /// Takes in what has been read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// What has been read of a message not yet complete, for people.
    #[must_use]
    pub fn pending(&self) -> String {
        preview(self.buf.get(self.start..).unwrap_or_default())
    }

    /// Both ends of the last message that could not be read.
    #[must_use]
    pub fn evidence(&self) -> &[u8] {
        &self.evidence
    }

    fn reset(&mut self, start: usize) {
        (self.start, self.depth, self.in_string, self.escaped, self.dropped) = (start, 0, false, false, 0);
    }

    /// Keeps the ends of the object that lies between `start` and `scanned`, and lets go of it.
    fn give_up(&mut self) {
        let rest = self.buf.get(self.start..self.scanned).unwrap_or_default();
        if self.dropped == 0 {
            self.evidence = rest[..rest.len().min(EVIDENCE)].to_vec();
        }
        self.evidence.extend_from_slice(&rest[rest.len().saturating_sub(EVIDENCE)..]);
        self.reset(self.scanned);
    }

    /// Drops what has been scanned and is not part of the present object.
    fn compact(&mut self) {
        if self.skipping || self.depth == 0 {
            self.start = self.scanned;
        }
        self.buf.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        // One long message leaves no large buffer behind.
        self.buf.shrink_to(self.buf.len() + (64 << 10));
    }

    /// The next whole object, if there is one.
    ///
    /// # Errors
    /// When a message cannot be read. It is skipped: the next call goes on behind it.
    pub fn next_object(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        while let Some(&byte) = self.buf.get(self.scanned) {
            let line_begins = std::mem::replace(&mut self.before, byte) == b'\n';
            if self.skipping {
                self.scanned += 1;
                self.skipping = byte != b'\n';
                self.start = self.scanned;
                continue;
            }
            if self.depth == 0 {
                self.start = self.scanned;
                self.scanned += 1;
                match byte {
                    b'{' => self.depth = 1,
                    byte if byte.is_ascii_whitespace() => {}
                    _ => {
                        let said = preview(&self.buf[self.start..]);
                        let line = self.buf[self.start..].split(|b| *b == b'\n').next().unwrap_or_default();
                        self.evidence = line[..line.len().min(2 * EVIDENCE)].to_vec();
                        self.skipping = true;
                        return Err(FrameError::Garbage(said));
                    }
                }
                continue;
            }
            // QMP has no line breaks inside a message, or indents what follows them: a brace at the
            // beginning of a line is a new message, and this one was never finished.
            if byte == b'{' && line_begins {
                self.before = b'\n';
                let said = preview(&self.buf[self.start..self.scanned]);
                let long = self.dropped > 0;
                self.give_up();
                return Err(if long { FrameError::TooLong(self.limit) } else { FrameError::Unfinished(said) });
            }
            self.scanned += 1;
            if self.in_string {
                match byte {
                    _ if self.escaped => self.escaped = false,
                    b'\\' => self.escaped = true,
                    b'"' => self.in_string = false,
                    _ => {}
                }
            } else {
                match byte {
                    b'"' => self.in_string = true,
                    b'{' => self.depth += 1,
                    b'}' => self.depth -= 1,
                    _ => {}
                }
                if self.depth == 0 {
                    if self.dropped > 0 {
                        self.give_up();
                        return Err(FrameError::TooLong(self.limit));
                    }
                    let object = self.buf[self.start..self.scanned].to_vec();
                    self.reset(self.scanned);
                    return Ok(Some(object));
                }
            }
            if self.scanned - self.start > self.limit {
                if self.dropped == 0 {
                    self.evidence = self.buf[self.start..self.start + EVIDENCE.min(self.limit)].to_vec();
                }
                // What follows may be its end, of which a little is kept.
                let drop_to = self.scanned - EVIDENCE.min(self.limit);
                self.dropped += drop_to - self.start;
                self.start = drop_to;
            }
        }
        self.compact();
        Ok(None)
    }
}

/// The first line of what was said, printable and short.
fn preview(bytes: &[u8]) -> String {
    let line = bytes.split(|b| *b == b'\n' || *b == b'\r').find(|l| !l.is_empty()).unwrap_or_default();
    let text = String::from_utf8_lossy(&line[..line.len().min(120)]);
    text.chars().map(|c| if c.is_control() { '·' } else { c }).take(80).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(framer: &mut Framer) -> Result<Vec<Vec<u8>>, FrameError> {
        let mut out = Vec::new();
        while let Some(o) = framer.next_object()? {
            out.push(o);
        }
        Ok(out)
    }

    #[test]
    fn lines_and_pretty_objects() {
        let mut f = Framer::new(1000);
        f.push(b"\r\n{\"a\": \"}\\\"{\"}\r\n{\n  \"b\": {\n }\n}\n{\"c\"");
        let got = all(&mut f).unwrap();
        assert_eq!(got, vec![b"{\"a\": \"}\\\"{\"}".to_vec(), b"{\n  \"b\": {\n }\n}".to_vec()]);
        f.push(b":1}");
        assert_eq!(all(&mut f).unwrap(), vec![b"{\"c\":1}".to_vec()]);
    }

    #[test]
    fn strangers_and_endless_lines_are_refused() {
        let mut f = Framer::new(64);
        f.push(b"SSH-2.0-OpenSSH_9.2\r\n");
        assert_eq!(f.next_object(), Err(FrameError::Garbage("SSH-2.0-OpenSSH_9.2".into())));
        assert_eq!(f.next_object(), Ok(None), "the rest of the line is skipped");
        let mut f = Framer::new(64);
        f.push(b"\x01\x02\x1b[2J");
        assert_eq!(f.next_object(), Err(FrameError::Garbage("···[2J".into())));
    }

    #[test]
    fn after_what_cannot_be_read_the_next_message_is() {
        let good = b"{\"event\": \"STOP\"}".to_vec();
        for (bad, error) in [
            (&b"\x01\x02 hello"[..], "it said"),
            (b"{\"return\": {}}}", "it said '}'"),
            (b"{\"event\": \"RESU", "half a message"),
            (b"{\"a\": {\"b\": [1, 2}", "half a message"),
        ] {
            for cut in [1, 3, 1000] {
                let mut f = Framer::new(1000);
                let stream = [bad, b"\r\n", &good, b"\r\n"].concat();
                let (mut got, mut errors) = (Vec::new(), Vec::new());
                for piece in stream.chunks(cut) {
                    f.push(piece);
                    loop {
                        match f.next_object() {
                            Ok(Some(o)) => got.push(o),
                            Ok(None) => break,
                            Err(e) => errors.push(e.to_string()),
                        }
                    }
                }
                assert_eq!(got.last(), Some(&good), "{bad:?} {cut}");
                assert!(errors.len() == 1 && errors[0].contains(error), "{errors:?}");
            }
        }
    }

    #[test]
    fn a_long_message_is_skipped_without_being_kept() {
        for cut in [7, 64, 100_000] {
            let mut f = Framer::new(600);
            let long = format!("{{\"error\": \"{}\", \"id\": 77}}\r\n{{\"return\": 1}}\r\n", "x".repeat(50_000));
            let (mut got, mut errors) = (Vec::new(), 0);
            for piece in long.as_bytes().chunks(cut) {
                f.push(piece);
                loop {
                    match f.next_object() {
                        Ok(Some(o)) => got.push(o),
                        Ok(None) => break,
                        Err(e) => {
                            assert_eq!(e, FrameError::TooLong(600));
                            let evidence = String::from_utf8_lossy(f.evidence()).into_owned();
                            assert!(
                                evidence.starts_with("{\"error\"") && evidence.ends_with("\"id\": 77}"),
                                "{evidence}"
                            );
                            errors += 1;
                        }
                    }
                }
                assert!(f.buf.len() <= 700 + cut, "{} bytes are kept", f.buf.len());
            }
            assert_eq!((got, errors), (vec![b"{\"return\": 1}".to_vec()], 1));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut f = Framer::new(100);
            for c in &chunks {
                f.push(c);
                while all(&mut f).is_err() {}
                prop_assert!(f.buf.len() <= 200);
            }
        }

        #[test]
        fn objects_come_through_whole_however_they_are_cut(
            texts in prop::collection::vec("\\PC{0,20}", 1..6),
            cut in 1usize..17,
        ) {
            let objects: Vec<_> = texts.iter().map(|t| serde_json::json!({"k": t, "n": {"x": [t]}})).collect();
            let stream: Vec<u8> = objects.iter().flat_map(|o| format!("{o}\r\n").into_bytes()).collect();
            let mut f = Framer::new(10_000);
            let mut got = Vec::new();
            for piece in stream.chunks(cut) {
                f.push(piece);
                got.extend(all(&mut f).unwrap());
            }
            let got: Vec<serde_json::Value> = got.iter().map(|g| serde_json::from_slice(g).unwrap()).collect();
            prop_assert_eq!(got, objects);
        }
    }
}
