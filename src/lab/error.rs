//! What can go wrong in a lab, each with what would mend it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a lab could not be started or went wrong.
#[derive(Debug, Error)]
pub enum LabError {
    /// The kernel refuses a network namespace.
    #[error("cannot make a network namespace: {step}: {source}; {remedy}")]
    Namespace {
        /// The step that failed.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
        /// What would mend it.
        remedy: String,
    },
    /// The namespace stands, but its network could not be set up.
    #[error("cannot set up the lab's network: {step}: {why}")]
    Network {
        /// The step that failed.
        step: String,
        /// What the kernel said, and what would mend it.
        why: String,
    },
    /// No kernel for the guest.
    #[error("no kernel for the guest: {why}; {remedy}")]
    Kernel {
        /// What was looked at and why it would not do.
        why: String,
        /// What would mend it.
        remedy: String,
    },
    /// The guest's file system could not be built.
    #[error("cannot build the guest's initramfs: {what}: {why}")]
    Initramfs {
        /// The part that failed.
        what: String,
        /// What the operating system or the archive said.
        why: String,
    },
    /// The guest cannot be as small as asked.
    #[error("a guest with {asked} of memory is too small for its kernel and initramfs; give it at least {least}")]
    TooSmall {
        /// What was asked for.
        asked: String,
        /// The least that works.
        least: String,
    },
    /// QEMU is missing or cannot be started.
    #[error("cannot run {program}: {why}; {remedy}")]
    NoQemu {
        /// The QEMU that was to be run.
        program: String,
        /// What the operating system or QEMU said.
        why: String,
        /// What would mend it.
        remedy: String,
    },
    /// A QEMU ended while it was needed.
    #[error("the QEMU of host {host} ended early ({how}){tail}")]
    Died {
        /// The host.
        host: String,
        /// How it ended.
        how: String,
        /// The end of its standard error and of the guest's serial line.
        tail: String,
    },
    /// The guest does not come up.
    #[error("the guest on host {host} did not report in within {waited} ({accel}): {why}{tail}")]
    Silent {
        /// The host.
        host: String,
        /// The accelerator.
        accel: &'static str,
        /// How long we waited.
        waited: String,
        /// What it was waiting for.
        why: String,
        /// The end of its standard error and of the guest's serial line.
        tail: String,
    },
    /// A file or folder of the lab's.
    #[error("{what} {path}: {source}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Something that should not happen, told all the same.
    #[error("{0}")]
    Other(String),
}

impl LabError {
    pub(crate) fn file(what: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self::File { what, path: path.into(), source }
    }

    /// The error in one line: what went wrong, and the first thing a QEMU said about it.
    pub(crate) fn gist(&self) -> String {
        let text = self.to_string();
        let mut lines = text.lines();
        let first = lines.next().unwrap_or_default();
        match lines.nth(1) {
            Some(said) => format!("{first}: {}", said.trim()),
            None => first.to_owned(),
        }
    }

    pub(crate) fn initramfs(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Initramfs { what: what.into(), why: why.to_string() }
    }
}
