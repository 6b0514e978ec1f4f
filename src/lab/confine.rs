//! A QEMU of the lab may do as little as it needs: it runs what a guest tells it to.
//!
//! Whoever starts the lab may be root, and inside the lab's namespaces always is. Its QEMUs get no
//! capabilities (their tap devices are opened here and handed over), can gain none, and filter their
//! own system calls where they were built to.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::libc;
use nix::sys::prctl;

/// QEMU's own filter of system calls: none that are obsolete, none that start programs, gain
/// privileges, or change priorities and affinities.
pub(crate) const SANDBOX: &str = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

/// The highest capability there could be: the kernel keeps them in 64 bits.
const LAST_CAPABILITY: libc::c_ulong = 63;

/// `_LINUX_CAPABILITY_VERSION_3`, of linux/capability.h.
const CAPABILITY_VERSION: u32 = 0x2008_0522;

/// The command runs without capabilities, can gain none, and inherits `tap`.
#[allow(unsafe_code)]
pub(crate) fn confine(command: &mut Command, tap: File) {
    let tap = OwnedFd::from(tap);
    let confined = move || {
        fcntl(&tap, FcntlArg::F_SETFD(FdFlag::empty()))?;
        drop_capabilities()?;
        prctl::set_no_new_privs()?;
        Ok(())
    };
    // SAFETY: between fork and exec the closure makes system calls only, allocates nothing and takes
    // no lock.
    unsafe { command.pre_exec(confined) };
}

/// The number under which a confined command finds its tap.
pub(crate) fn number(tap: &File) -> i32 {
    tap.as_raw_fd()
}

/// Gives up every capability of this thread, for itself and for what it will run, root or not.
#[allow(unsafe_code)]
fn drop_capabilities() -> io::Result<()> {
    for capability in 0..=LAST_CAPABILITY {
        // Refused where there is no such capability, and where we have none to give up: then there is
        // nothing that could be inherited either.
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) };
    }
    // Version and thread (0: this one); then effective, permitted and inheritable, twice 32 bits each.
    let header = [CAPABILITY_VERSION, 0];
    let none = [0u32; 6];
    // SAFETY: both arrays have the layout of linux/capability.h for this version and outlive the call,
    // which only reads them.
    let done = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_confined_has_nothing_and_its_tap() {
        let file = File::open("/dev/null").unwrap();
        let fd = number(&file);
        let mut command = Command::new("cat");
        command.arg("/proc/self/status").arg(format!("/proc/self/fdinfo/{fd}"));
        confine(&mut command, file);
        let out = command.output().unwrap();
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(out.status.success(), "its file was not handed over: {}", String::from_utf8_lossy(&out.stderr));
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert!(text.contains(&format!("{set}:\t0000000000000000")), "{set} in {text}");
        }
        assert!(text.contains("NoNewPrivs:\t1"), "{text}");
    }
}
