//! A secret: a key or a password that stands in no argument, no file of targets, no capture and no message.

use std::fmt;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use thiserror::Error;

use crate::files;
use crate::text::visible;

/// No secret is longer, bytes.
const LIMIT: u64 = 4096;
/// How long a command may take to print one: somebody may have to unlock a store of passwords for it.
const PRINTED_WITHIN: Duration = Duration::from_secs(60);

/// Where a secret is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Secret {
    /// In this file.
    File(PathBuf),
    /// In this variable of the environment.
    Env(String),
    /// Printed by this command of the shell.
    Command(String),
}

/// Why a secret cannot be had. Never holds any of it.
#[derive(Debug, Error)]
#[error("the secret cannot be had from {from}: {why}")]
pub(crate) struct SecretError {
    from: String,
    why: String,
}

impl fmt::Display for Secret {
    /// Where it is, not what it is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "the file {}", visible(&path.to_string_lossy())),
            Self::Env(name) => write!(f, "the variable {}", visible(name)),
            Self::Command(_) => f.write_str("the command given for it"),
        }
    }
}

impl Secret {
    /// The secret itself. May block, for [`PRINTED_WITHIN`] at most.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub(crate) fn reveal(&self) -> Result<Vec<u8>, SecretError> {
        let fail = |why: String| SecretError { from: self.to_string(), why };
        let secret = match self {
            Self::File(path) => files::read(path, LIMIT).map_err(|e| fail(e.to_string()))?,
            Self::Env(name) => {
                use std::os::unix::ffi::OsStringExt;
                let value = std::env::var_os(name).ok_or_else(|| fail("it is not set".into()))?;
                value.into_vec()
            }
            Self::Command(command) => printed(command, PRINTED_WITHIN).map_err(fail)?,
        };
        let end = secret.iter().rposition(|b| !matches!(b, b'\n' | b'\r')).map_or(0, |i| i + 1);
        match secret.get(..end) {
            Some([]) | None => Err(fail("it is empty".into())),
            Some(secret) if secret.len() as u64 > LIMIT => Err(fail(format!("it is longer than {LIMIT} bytes"))),
            // The bytes of a key may end as a line does.
            Some(_) if secret.len() == 32 => Ok(secret),
            Some(text) => Ok(text.to_vec()),
        }
    }
}

/// What a command prints. What it says on standard error is not repeated: it might be the secret.
fn printed(command: &str, within: Duration) -> Result<Vec<u8>, String> {
    let mut child = Command::new("/bin/sh")
        .args(["-c", command])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|e| format!("the shell cannot be started: {e}"))?;
    let group = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let (tx, printed) = channel();
    let out = child.stdout.take();
    // Reads until the end of the output, which comes when the group is killed at the latest.
    std::thread::spawn(move || {
        let mut text = Vec::new();
        let read = out.map_or(Ok(0), |out| out.take(LIMIT + 1).read_to_end(&mut text));
        let _ = tx.send(read.map(|_| text));
    });
    let until = Instant::now() + within;
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break Some(status),
            Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(10)),
            Ok(None) | Err(_) => break None,
        }
    };
    // Whatever it has left behind ends with it.
    let _ = killpg(group, Signal::SIGKILL);
    let Some(status) = status else {
        let _ = child.wait();
        return Err(format!("it has not ended within {} s", within.as_secs_f32()));
    };
    if !status.success() {
        return Err(format!("it ended with {status}; run it by hand to see why"));
    }
    let read = printed.recv_timeout(Duration::from_secs(1)).map_err(|_| "what it prints cannot be read".to_owned())?;
    read.map_err(|e| format!("what it prints cannot be read: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_comes_from_a_file_the_environment_or_a_command() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        std::fs::write(&path, "hush\n").unwrap();
        assert_eq!(Secret::File(path).reveal().unwrap(), b"hush");
        let path = std::env::var("PATH").unwrap();
        assert_eq!(Secret::Env("PATH".into()).reveal().unwrap(), path.as_bytes());
        assert_eq!(Secret::Command("echo hush".into()).reveal().unwrap(), b"hush");
    }

    #[test]
    fn why_it_cannot_be_had_is_told_without_it() {
        let why = |s: Secret| s.reveal().unwrap_err().to_string();
        assert!(why(Secret::File("/no/such".into())).contains("/no/such"));
        assert!(why(Secret::Env("BLACKOUT_NO_SUCH".into())).ends_with("it is not set"));
        let e = why(Secret::Command("echo hush; echo hush >&2; exit 3".into()));
        assert!(e.contains("exit status: 3") && !e.contains("hush"), "{e}");
        assert!(why(Secret::Command("true".into())).ends_with("it is empty"));
        assert!(why(Secret::Command("yes".into())).contains("ended with") || cfg!(not(target_os = "linux")));
    }

    #[test]
    fn a_command_that_hangs_is_ended() {
        let began = Instant::now();
        let e = printed("sleep 100 & sleep 100", Duration::from_millis(200)).unwrap_err();
        assert!(e.contains("has not ended") && began.elapsed() < Duration::from_secs(5), "{e}");
    }
}
