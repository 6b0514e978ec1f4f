//! Where a QMP monitor listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;

/// The address of a QMP monitor.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP socket: host name or address, and port. QMP over TCP is neither encrypted nor
    /// authenticated: whoever reaches the port owns the guest.
    Tcp(String, u16),
}

/// Text that is no address of a QMP monitor.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("'{text}' is not the address of a QMP monitor: {why}; write unix:/path, /path or tcp:host:port")]
pub struct EndpointError {
    /// The text as given.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp(host, port) if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp(host, port) => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let fail = |why: &str| EndpointError { text: text.to_owned(), why: why.to_owned() };
        if let Some(rest) = text.strip_prefix("tcp:") {
            let (host, port) = rest.rsplit_once(':').ok_or_else(|| fail("it has no port"))?;
            let host = match host.strip_prefix('[') {
                Some(inner) => inner.strip_suffix(']').ok_or_else(|| fail("a '[' is not closed"))?,
                None if host.contains(':') => return Err(fail("an IPv6 address goes in brackets")),
                None => host,
            };
            if host.is_empty() {
                return Err(fail("it has no host"));
            }
            let port = port.parse::<u16>().ok().filter(|p| *p > 0);
            let port = port.ok_or_else(|| fail("its port is no number from 1 to 65535"))?;
            return Ok(Self::Tcp(host.to_owned(), port));
        }
        let path = text.strip_prefix("unix:").unwrap_or(text);
        if path.is_empty() {
            return Err(fail("it is empty"));
        }
        // sun_path holds 108 bytes including the final NUL.
        if path.len() > 107 {
            return Err(fail("the path of a UNIX socket has at most 107 bytes"));
        }
        if !text.starts_with("unix:") && !path.contains('/') {
            return Err(fail("it is neither a path with a '/' nor marked as unix: or tcp:"));
        }
        Ok(Self::Unix(PathBuf::from(path)))
    }
}

/// Where to find a QEMU. Each monitor serves one client at a time, so each purpose wants its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Our name for it, e.g. `a`.
    pub name: String,
    /// Monitor for commands.
    pub control: Endpoint,
    /// Monitor for events, so that no command in work holds them up. Without it they come over
    /// the one for commands.
    pub events: Option<Endpoint>,
    /// Monitor for the guardian (see [`super::guardian`]). Without it the guardian uses the one
    /// for commands, once we no longer hold it.
    pub guardian: Option<Endpoint>,
    /// Its process, if it runs on this machine.
    pub pid: Option<u32>,
}

impl HostSpec {
    /// Reads `CONTROL[,EVENTS[,GUARDIAN]]`, three monitors of one QEMU.
    ///
    /// # Errors
    /// When one of them is no address.
    pub fn parse(name: &str, text: &str) -> Result<Self, EndpointError> {
        let mut parts = text.splitn(3, ',').map(Endpoint::from_str);
        let control = parts.next().unwrap_or_else(|| Endpoint::from_str(""))?;
        let events = parts.next().transpose()?;
        let guardian = parts.next().transpose()?;
        Ok(Self { name: name.to_owned(), control, events, guardian, pid: None })
    }

    /// The monitor the guardian is to use.
    #[must_use]
    pub fn guardian_endpoint(&self) -> &Endpoint {
        self.guardian.as_ref().unwrap_or(&self.control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, shown) in [
            ("unix:/run/q.sock", "unix:/run/q.sock"),
            ("unix:q.sock", "unix:q.sock"),
            ("/run/q.sock", "unix:/run/q.sock"),
            ("./q.sock", "unix:./q.sock"),
            ("tcp:host:4444", "tcp:host:4444"),
            ("tcp:[::1]:4444", "tcp:[::1]:4444"),
        ] {
            let e: Endpoint = text.parse().unwrap();
            assert_eq!(e.to_string(), shown);
            assert_eq!(e.to_string().parse::<Endpoint>(), Ok(e));
        }
        for bad in ["", "tcp:host", "tcp::1", "tcp:h:0", "tcp:h:99999", "tcp:::1:5", "tcp:[::1:5", "localhost", "unix:"]
        {
            let e = bad.parse::<Endpoint>().unwrap_err().to_string();
            assert!(e.contains("tcp:host:port"), "{e}");
        }
    }

    #[test]
    fn one_two_or_three_monitors() {
        let one = HostSpec::parse("a", "/run/c").unwrap();
        assert_eq!((one.events.is_none(), one.guardian_endpoint()), (true, &one.control));
        let three = HostSpec::parse("a", "/run/c,unix:/run/e,tcp:h:1").unwrap();
        assert_eq!(three.guardian_endpoint().to_string(), "tcp:h:1");
        assert!(HostSpec::parse("a", "/run/c,").is_err());
        assert!(HostSpec::parse("a", "").is_err());
    }
}
