//! `http://HOST[:PORT][/PATH][=STATUS]`, without what stands before HOST.

use super::host::{bracketed, host, port};
use crate::probe::page::{Expected, Page};
use crate::text::visible;

/// The port where none is written.
const PORT: u16 = 80;
/// The longest path, bytes.
const PATH: usize = 1_024;

/// Reads what follows `http://`: the host, the port, and what is asked.
pub(super) fn read(text: &str) -> Result<(String, u16, Page), String> {
    let ends = text.find(['/', '?', '#', '=']).unwrap_or(text.len());
    let (authority, rest) = text.split_at(ends);
    if authority.contains('@') {
        return Err("a name and a password are not sent: write http://HOST without what stands before '@'".into());
    }
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, number)) if !authority.ends_with(']') => (name, port(number)?),
        _ => (authority, PORT),
    };
    let inner = host(&bracketed(name)?)?;
    let (path, expected) = path_and_status(rest)?;
    // Which of our devices leads there is nothing to the server.
    let name = match name.split_once('%') {
        Some((address, _)) => format!("{address}]"),
        None => name.to_owned(),
    };
    let host = if port == PORT { name } else { format!("{name}:{port}") };
    Ok((inner, port, Page { host, path, expected }))
}

/// The path, and the status behind the last `=`. A query may end in something that looks like one, and then has
/// the status behind it.
fn path_and_status(text: &str) -> Result<(String, Expected), String> {
    let (path, expected) = match text.rsplit_once('=') {
        Some((path, tail)) => match Expected::read(tail) {
            Some(expected) => (path, expected),
            None if path.contains('?') => (text, Expected::default()),
            None => {
                return Err(format!(
                    "'{}' is no HTTP status: write three digits or a range, as in =200 or =200..299 (a '=' of the path \
                     itself is written %3D)",
                    visible(tail)
                ));
            }
        },
        None => (text, Expected::default()),
    };
    if let Some(bad) = path.chars().find(|c| !c.is_ascii_graphic() || "#\"<>\\^`{|}".contains(*c)) {
        let written: String = bad.to_string().bytes().map(|b| format!("%{b:02X}")).collect();
        return Err(format!("'{}' does not stand in a path: it is written {written}", visible(&bad.to_string())));
    }
    if path.len() > PATH {
        return Err(format!("the path has {} bytes: give at most {PATH}", path.len()));
    }
    Ok((if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }, expected))
}
