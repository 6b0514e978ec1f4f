//! HTTP as far as a probe needs it: one request, and the status in the first line of its answer (RFC 9112). Pure.

use crate::probe::page::Page;
use crate::text::visible;

/// The longest first line, bytes.
const LINE: usize = 1_024;
/// So much of what is no HTTP is told, characters.
const TOLD: usize = 40;

/// The request for a page. Nothing of it can break out of its line: that is seen to where a page is read.
pub(super) fn request(page: &Page) -> Vec<u8> {
    let Page { host, path, .. } = page;
    let agent = concat!("blackout/", env!("CARGO_PKG_VERSION"));
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// What the first bytes of an answer say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// Nothing yet.
    More,
    /// The status.
    Status(u16),
    /// It is no HTTP: what it is.
    Other(String),
}

/// Reads the status of an answer; an interim one (1xx) says nothing, and is left out.
pub(super) fn read(mut bytes: &[u8]) -> Answer {
    loop {
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
            let fits = bytes.len() <= LINE && b"HTTP/1.".iter().zip(bytes).all(|(a, b)| a == b);
            return if fits { Answer::More } else { Answer::Other(other(bytes)) };
        };
        match status(bytes.get(..end.min(LINE)).unwrap_or_default()) {
            None => return Answer::Other(other(bytes)),
            Some(100..=199) => {
                let header = |end: &[u8]| bytes.windows(end.len()).position(|w| w == end).map(|i| i + end.len());
                match header(b"\r\n\r\n").or_else(|| header(b"\n\n")) {
                    Some(next) => bytes = &bytes[next..],
                    None => return Answer::More,
                }
            }
            Some(status) => return Answer::Status(status),
        }
    }
}

/// Why an answer that has ended, or is too long, says nothing.
pub(super) fn unfinished(got: &[u8], most: usize) -> String {
    match got {
        [] => "closed without an answer".into(),
        got if got.len() >= most => format!("no status in the first {most} bytes"),
        _ => "closed in the middle of an answer".into(),
    }
}

/// The status of a status line.
fn status(line: &[u8]) -> Option<u16> {
    let rest = line.strip_prefix(b"HTTP/1.")?;
    let (minor, rest) = rest.split_first()?;
    let (code, rest) = rest.strip_prefix(b" ")?.split_at_checked(3)?;
    let ends = matches!(rest.first(), None | Some(b' ' | b'\r'));
    let digits = minor.is_ascii_digit() && code.iter().all(u8::is_ascii_digit);
    let status = std::str::from_utf8(code).ok()?.parse().ok()?;
    (ends && digits && status >= 100).then_some(status)
}

fn other(bytes: &[u8]) -> String {
    let line = bytes.split(|b| matches!(b, b'\r' | b'\n')).next().unwrap_or_default();
    let text = String::from_utf8_lossy(line.get(..line.len().min(4 * TOLD)).unwrap_or_default());
    format!("not HTTP: '{}'", visible(&text.chars().take(TOLD).collect::<String>()))
}

/// Judges what a server might answer.
#[cfg(test)]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = read(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::page::Expected;

    #[test]
    fn the_request_names_the_host_the_page_and_us() {
        let page = Page { host: "web:81".into(), path: "/a?b".into(), expected: Expected::default() };
        let text = String::from_utf8(request(&page)).unwrap();
        assert!(text.starts_with("GET /a?b HTTP/1.1\r\nHost: web:81\r\nUser-Agent: blackout/"), "{text}");
        assert!(text.contains("\r\nConnection: close\r\n") && text.ends_with("\r\n\r\n"), "{text}");
    }

    #[test]
    fn a_status_is_read_as_soon_as_its_line_is_there() {
        let whole = b"HTTP/1.1 204 No Content\r\nServer: x\r\n\r\n";
        for n in 0..whole.len() {
            let expected = if whole[..n].contains(&b'\n') { Answer::Status(204) } else { Answer::More };
            assert_eq!(read(&whole[..n]), expected, "{n}");
        }
        assert_eq!(read(b"HTTP/1.0 503\n"), Answer::Status(503));
        assert_eq!(read(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), Answer::More);
        assert_eq!(read(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n"), Answer::Status(200));
    }

    #[test]
    fn what_is_no_http_is_told_and_cut() {
        let of = |bytes: &[u8]| match read(bytes) {
            Answer::Other(what) => what,
            other => panic!("{other:?}"),
        };
        assert_eq!(of(b"SSH-2.0-OpenSSH_10.0\r\n"), "not HTTP: 'SSH-2.0-OpenSSH_10.0'");
        assert_eq!(of(b"SS"), "not HTTP: 'SS'", "at the first byte that does not fit");
        assert_eq!(of(b"\x1b[31mred\n"), "not HTTP: '\\x1b[31mred'");
        for line in
            ["HTTP/1.1 20 OK", "HTTP/1.1 2000 OK", "HTTP/1.1 abc", "HTTP/1.x 200 OK", "HTTP/1.1  200", "HTTP/1.1 099"]
        {
            assert!(of(format!("{line}\r\n").as_bytes()).contains(line), "{line}");
        }
        assert!(of(&[b"HTTP/1.1 ".as_slice(), &[b'9'; 2_000]].concat()).len() < 60);
        assert!(of(&[0xff; 5_000]).chars().count() < 200);
    }

    #[test]
    fn an_answer_that_ends_too_soon_is_told() {
        assert_eq!(unfinished(b"", 4096), "closed without an answer");
        assert_eq!(unfinished(b"HTTP/1.1 2", 4096), "closed in the middle of an answer");
        assert_eq!(unfinished(&[0; 4096], 4096), "no status in the first 4096 bytes");
    }

    proptest::proptest! {
        #[test]
        fn nothing_is_too_strange(bytes in proptest::collection::vec(0u8..=255, 0..300)) {
            fuzz(&bytes);
        }
    }
}
