//! From what was typed to the address that is probed.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use thiserror::Error;

use crate::text::visible;

/// How long a name may take to be found: longer than a resolver with three servers that do not answer
/// takes to say so is of no use to anyone who waits.
const WITHIN: Duration = Duration::from_secs(15);

/// Which kind of address is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IpFamily {
    V4,
    V6,
}

/// Why there is no address to probe.
#[derive(Debug, Error)]
pub(crate) enum NoTarget {
    #[error("cannot find '{}': {source}", visible(.name))]
    Unknown { name: String, source: io::Error },
    #[error("cannot find '{}': no answer from the name service within {} s; give an address", visible(.0), WITHIN.as_secs())]
    NoAnswer(String),
    #[error("'{}' has no IPv{} address", visible(.0), .1)]
    NoSuchFamily(String, u8),
    #[error("cannot start the thread that asks for '{}': {source}", visible(.name))]
    Thread { name: String, source: io::Error },
}

/// The address of `name`, looked up for a bounded time.
pub(crate) fn target(name: &str, family: Option<IpFamily>) -> Result<SocketAddr, NoTarget> {
    target_by(name, family, WITHIN, |name| (name, 0).to_socket_addrs().map(Iterator::collect))
}

fn target_by(
    name: &str,
    family: Option<IpFamily>,
    within: Duration,
    look_up: impl FnOnce(&str) -> io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<SocketAddr, NoTarget> {
    let found = match name.parse::<IpAddr>() {
        Ok(ip) => vec![SocketAddr::new(ip, 0)],
        Err(_) => {
            let (tell, told) = channel();
            let asked = name.to_owned();
            // The library's look-up cannot be given up; the thread is left to it.
            std::thread::Builder::new()
                .name("resolve".into())
                .spawn(move || tell.send(look_up(&asked)))
                .map_err(|source| NoTarget::Thread { name: name.to_owned(), source })?;
            match told.recv_timeout(within) {
                Ok(found) => found.map_err(|source| NoTarget::Unknown { name: name.to_owned(), source })?,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    return Err(NoTarget::NoAnswer(name.to_owned()));
                }
            }
        }
    };
    let wanted = |a: &SocketAddr| match family {
        Some(IpFamily::V4) => a.is_ipv4(),
        Some(IpFamily::V6) => a.is_ipv6(),
        None => true,
    };
    let number = if family == Some(IpFamily::V4) { 4 } else { 6 };
    found.into_iter().find(wanted).ok_or_else(|| NoTarget::NoSuchFamily(name.to_owned(), number))
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn an_address_needs_no_name_service() {
        let never = |_: &str| -> io::Result<Vec<SocketAddr>> { panic!("asked") };
        let at = |name| target_by(name, None, WITHIN, never).unwrap().ip();
        assert_eq!(at("192.0.2.7"), IpAddr::from([192, 0, 2, 7]));
        assert_eq!(at("::1"), IpAddr::V6(Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn a_name_service_that_does_not_answer_is_given_up() {
        let (_keep, wait) = channel::<()>();
        let hangs = move |_: &str| {
            let _ = wait.recv();
            Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))])
        };
        let e = target_by("vm\x1b.example", None, Duration::from_millis(30), hangs).unwrap_err().to_string();
        assert!(e.contains("'vm\\x1b.example'") && e.contains("no answer from the name service"), "{e}");
    }

    #[test]
    fn the_family_asked_for_is_chosen() {
        let both = |_: &str| Ok(vec![SocketAddr::from((Ipv6Addr::LOCALHOST, 0)), ([127, 0, 0, 1], 0).into()]);
        assert!(target_by("x", Some(IpFamily::V4), WITHIN, both).unwrap().is_ipv4());
        let one = |_: &str| Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))]);
        let e = target_by("x", Some(IpFamily::V6), WITHIN, one).unwrap_err().to_string();
        assert_eq!(e, "'x' has no IPv6 address");
    }
}
