//! Opening a tap device, to be handed to a QEMU that could not do so itself.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

use nix::libc;

// nix knows the number's parts from linux/if_tun.h: _IOW('T', 202, int).
nix::ioctl_write_ptr_bad!(tun_set_iff, nix::request_code_write!(b'T', 202, 4), libc::ifreq);

/// Makes a tap device of this name; it is gone when the file is closed, everywhere it was handed to.
#[allow(unsafe_code)]
pub(crate) fn open(name: &str) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    // SAFETY: ifreq is plain data for which all zeroes is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    // SAFETY: the descriptor is open and the request outlives the call, which only reads it and
    // writes back the name.
    unsafe { tun_set_iff(file.as_raw_fd(), &raw const request) }?;
    Ok(file)
}
