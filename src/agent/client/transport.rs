//! How a controller reaches an agent.

use std::io::Read;
use std::net::{IpAddr, Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::super::link::{Hurried, Receiver, Sender, halves, tune};
use super::super::{Psk, noise, protocol};
use super::failure::Failure;

/// How the agent is reached.
#[derive(Debug, Clone)]
pub enum Transport {
    /// TCP, encrypted and authenticated.
    Tcp {
        /// Host and port of the agent.
        addr: String,
        /// The pre-shared key.
        psk: Psk,
    },
    /// A command whose stdin and stdout lead to `blackout agent --stdio`, for instance
    /// `ssh guest blackout agent --stdio`.
    Stdio {
        /// The command and its arguments.
        command: Vec<String>,
    },
}

impl std::fmt::Display for Transport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp { addr, .. } => write!(f, "tcp {addr}"),
            Self::Stdio { .. } => f.write_str("stdio"),
        }
    }
}

/// An open connection, before the first word.
pub(super) struct Opened {
    pub(super) receiver: Receiver,
    pub(super) sender: Sender,
    pub(super) line: Line,
    pub(super) peer_ip: Option<IpAddr>,
}

/// The thing that can be hung up. Dropping it does so, and reaps the child.
pub(super) enum Line {
    Tcp(TcpStream),
    Child { child: Mutex<Child>, stderr: Arc<Mutex<String>> },
}

impl Line {
    /// Breaks the connection; whoever reads from it sees its end.
    pub(super) fn hang_up(&self) {
        match self {
            Self::Tcp(stream) => {
                let _ = stream.shutdown(Shutdown::Both);
            }
            Self::Child { child, .. } => {
                let _ = child.lock().unwrap_or_else(PoisonError::into_inner).kill();
            }
        }
    }

    /// Ends the connection after all that was sent has left.
    pub(super) fn finish(&self) {
        match self {
            // The agent reads to the end and hangs up; should it not, the watch does.
            Self::Tcp(stream) => {
                let _ = stream.shutdown(Shutdown::Write);
            }
            // Its stdin is closed by now, which ends it.
            Self::Child { .. } => {}
        }
    }

    /// The last thing the command said on its stderr, as a remark on its end.
    pub(super) fn remark(&self) -> String {
        let Self::Child { child, stderr } = self else { return String::new() };
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        // It has closed its stdout: give it a moment to end and to say why.
        let until = Instant::now() + Duration::from_millis(200);
        let mut ended = None;
        while ended.is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(5));
            ended = child.try_wait().ok().flatten();
        }
        let said = stderr.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ended = ended.map(|status| format!("the command ended with {status}"));
        ended.into_iter().chain((!said.is_empty()).then_some(said)).map(|s| format!("; {s}")).collect()
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.hang_up();
        if let Self::Child { child, .. } = self {
            let _ = child.get_mut().unwrap_or_else(PoisonError::into_inner).wait();
        }
    }
}

impl Transport {
    /// Opens a connection.
    pub(super) fn open(&self, timeout: Duration, dead_after: Duration) -> Result<Opened, Failure> {
        match self {
            Self::Tcp { addr, psk } => open_tcp(addr, psk, timeout, dead_after),
            Self::Stdio { command } => open_command(command),
        }
    }
}

fn open_tcp(addr: &str, psk: &Psk, timeout: Duration, dead_after: Duration) -> Result<Opened, Failure> {
    let addrs = addr.to_socket_addrs().map_err(|e| Failure::passing(format!("invalid address '{addr}': {e}")))?;
    let mut failure = Failure::passing(format!("'{addr}' has no address"));
    let mut connected = None;
    // A name server may name any number.
    for one in addrs.take(8) {
        match TcpStream::connect_timeout(&one, timeout) {
            Ok(stream) => {
                connected = Some(stream);
                break;
            }
            Err(e) => failure = Failure::passing(e.to_string()),
        }
    }
    let stream = connected.ok_or(failure)?;
    // An agent on a loaded guest may need a while for its part.
    let until = Instant::now() + timeout.max(Duration::from_secs(5));
    let channel = noise::initiate(&mut Hurried { stream: &stream, until }, psk)
        // Until the handshake is done, anyone who answers at that address may have said it.
        .map_err(|e| Failure { lasting: e.is_ours(), why: e.to_string() })?;
    tune(&stream, dead_after);
    let clone = || stream.try_clone().map_err(|e| Failure::passing(e.to_string()));
    let (receiver, sender) = halves(Box::new(clone()?), Box::new(clone()?), Some(channel));
    let peer_ip = stream.peer_addr().ok().map(|a| a.ip());
    Ok(Opened { receiver, sender, line: Line::Tcp(stream), peer_ip })
}

/// How much of a line of the command's stderr is kept, bytes.
const STDERR_LINE: usize = 300;

/// Reads to the end, so that the writer never has to wait, and hands on the beginning of each line
/// that says something. Keeps a fixed number of bytes, however long a line is.
fn keep_last_line(mut from: impl Read, mut line: impl FnMut(String)) {
    let mut buffer = [0; 4096];
    let (mut kept, mut longer) = (Vec::with_capacity(STDERR_LINE), false);
    let mut hand_on = |kept: &mut Vec<u8>, longer: &mut bool| {
        let text = protocol::foreign(String::from_utf8_lossy(kept).trim(), STDERR_LINE);
        if !text.is_empty() {
            line(if std::mem::take(longer) { text + "…" } else { text });
        }
        kept.clear();
    };
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => break,
        };
        for piece in buffer[..n].split_inclusive(|b| *b == b'\n') {
            let (text, ends) = piece.strip_suffix(b"\n").map_or((piece, false), |text| (text, true));
            let room = STDERR_LINE - kept.len();
            longer |= text.len() > room;
            kept.extend_from_slice(&text[..text.len().min(room)]);
            if ends {
                hand_on(&mut kept, &mut longer);
            }
        }
    }
    hand_on(&mut kept, &mut longer);
}

fn open_command(command: &[String]) -> Result<Opened, Failure> {
    let (program, arguments) = command.split_first().ok_or_else(|| Failure::lasting("the command is empty".into()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // What stops our job at a terminal (Ctrl-Z) is not meant for it.
        .process_group(0)
        .spawn()
        .map_err(|e| Failure::lasting(format!("cannot run '{program}': {e}")))?;
    let (stdin, stdout, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let stderr = Arc::new(Mutex::new(String::new()));
    let line = Line::Child { child: Mutex::new(child), stderr: Arc::clone(&stderr) };
    let (Some(stdin), Some(stdout), Some(err)) = (stdin, stdout, err) else {
        return Err(Failure::passing(format!("no pipe to '{program}'")));
    };
    let keep_last = move || keep_last_line(err, |line| *stderr.lock().unwrap_or_else(PoisonError::into_inner) = line);
    thread::Builder::new().name("agent-stderr".into()).spawn(keep_last).map_err(|e| Failure::passing(e.to_string()))?;
    let (receiver, sender) = halves(Box::new(stdout), Box::new(stdin), None);
    Ok(Opened { receiver, sender, line, peer_ip: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(from: impl Read) -> Vec<String> {
        let mut lines = Vec::new();
        keep_last_line(from, |line| lines.push(line));
        lines
    }

    #[test]
    fn stderr_is_kept_in_lines_of_a_bounded_length() {
        assert_eq!(lines(&b"one\n\n  two\r\nthree"[..]), ["one", "two", "three"]);
        assert_eq!(lines(&b"\x1b[2Jred\x07\n"[..]), ["\\x1b[2Jred\\x07"]);
        let long = lines(std::io::repeat(b'x').take(100 << 20));
        assert_eq!((long.len(), long[0].len()), (1, STDERR_LINE + "…".len()));
        assert_eq!(lines([&[b'y'; 9000][..], b"\nlast\n"].concat().as_slice())[1], "last");
    }
}
