//! A command that is spoken to: what it reads comes from us.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;

use super::{ExecError, Process, Spec};

/// Wide enough that a program which echoes what it reads does not break the line.
const COLUMNS: &str = "1000";

/// What writes to a command.
#[derive(Debug)]
pub struct Pen(Sender);

impl Pen {
    /// Writes all of it. Dropped before it is done, a part may have been written.
    ///
    /// # Errors
    /// If the command has ended, or reads no more.
    pub async fn write(&mut self, text: &str) -> io::Result<()> {
        self.0.write_all(text.as_bytes()).await
    }
}

impl Spec {
    /// Starts it with a pipe to what it reads, in a session of its own that has no terminal: neither it nor what it
    /// starts can ask the operator for anything. It sees the end of its input when the pen is dropped, also by our
    /// death. Needs a runtime of tokio's.
    ///
    /// # Errors
    /// If there is no such program, or no process to be had.
    pub fn converse(&self) -> Result<(Process, Pen), ExecError> {
        let fail = |e: io::Error| ExecError::NotRun {
            program: self.argv.first().cloned().unwrap_or_default(),
            why: e.to_string(),
        };
        let (theirs, ours) = io::pipe().map_err(fail)?;
        let pen = Sender::from_owned_fd(OwnedFd::from(ours)).map_err(fail)?;
        let process = self.launch(|command| connect(command, theirs))?;
        Ok((process, Pen(pen)))
    }
}

/// stdout and stderr on one pipe, so that their order is kept, and `input` to read. Gives our end of the output.
#[allow(unsafe_code)]
fn connect(command: &mut Command, input: io::PipeReader) -> io::Result<OwnedFd> {
    let (output, theirs) = io::pipe()?;
    command.stdin(Stdio::from(input)).stderr(theirs.try_clone()?).stdout(theirs).env("COLUMNS", COLUMNS);
    let begin = || nix::unistd::setsid().map(drop).map_err(io::Error::from);
    // SAFETY: between fork and exec the closure makes one system call, allocates nothing and takes no lock.
    unsafe { command.pre_exec(begin) };
    Ok(output.into())
}
