//! Cutting a byte stream into JSON objects. QMP writes one object a line, or spread over several
//! lines where the monitor is set to `pretty=on`; counting braces reads both.

use thiserror::Error;

/// What cannot be QMP.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FrameError {
    /// Bytes outside any object.
    #[error("it said '{0}'")]
    Garbage(String),
    /// An object longer than the limit.
    #[error("it sent a message longer than {0} bytes")]
    TooLong(usize),
}

/// Cuts a byte stream into JSON objects.
#[derive(Debug)]
pub struct Framer {
    buf: Vec<u8>,
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    limit: usize,
}

impl Framer {
    /// A framer that refuses messages longer than `limit` bytes.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { buf: Vec::new(), scanned: 0, depth: 0, in_string: false, escaped: false, limit }
    }

    /// Takes in what has been read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buf.extend_from_slice(bytes);
    }

    /// What has been read of a message not yet complete, for people.
    #[must_use]
    pub fn pending(&self) -> String {
        preview(&self.buf)
    }

    /// The next whole object, if there is one.
    ///
    /// # Errors
    /// When the stream is not a sequence of objects of bearable size. Nothing can be read after.
    pub fn next_object(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        while let Some(&byte) = self.buf.get(self.scanned) {
            if self.depth == 0 {
                if byte.is_ascii_whitespace() {
                    self.scanned += 1;
                    continue;
                }
                self.buf.drain(..self.scanned);
                self.scanned = 0;
                if byte != b'{' {
                    return Err(FrameError::Garbage(preview(&self.buf)));
                }
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
                    let rest = self.buf.split_off(self.scanned);
                    let object = std::mem::replace(&mut self.buf, rest);
                    self.scanned = 0;
                    return Ok(Some(object));
                }
            }
            if self.scanned > self.limit {
                return Err(FrameError::TooLong(self.limit));
            }
        }
        if self.depth == 0 {
            self.buf.clear();
            self.scanned = 0;
        }
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
        let mut f = Framer::new(64);
        f.push(&[b'{'; 65]);
        assert_eq!(f.next_object(), Err(FrameError::TooLong(64)));
        let mut f = Framer::new(64);
        f.push(b"\x01\x02\x1b[2J");
        assert_eq!(f.next_object(), Err(FrameError::Garbage("···[2J".into())));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let mut f = Framer::new(100);
            for c in &chunks {
                f.push(c);
                if all(&mut f).is_err() {
                    break;
                }
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
