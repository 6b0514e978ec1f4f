//! What is to be probed, as an operator writes it: the grammar of `--probe` and of `probes = […]`.
//!
//! ```text
//! icmp:HOST    tcp:HOST:PORT    udp:HOST:PORT    udp:agent    http://HOST[:PORT][/PATH][=STATUS]
//! ```
//! and behind it, each after a comma and in any order: `interval=TIME`, `deadline=TIME`, `from=ADDRESS` or
//! `from=DEVICE`, `refused-is-ok`, `primary`. HOST is a name, an address (one of IPv6 in brackets), or `guest`
//! for the guest that the session is about. Pure: names are looked up elsewhere.

mod host;
mod http;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::Duration;

use self::host::{bracketed, host, is_ipv6};
use super::error::ProbeError;
use super::options::{ProbeOptions, Source};
use super::page::Page;
use crate::event::{ProbeId, ProbeKind, Role};
use crate::text::{nearest, visible};
use crate::units::parse_duration;

/// The longest text that is read, bytes.
const LONGEST: usize = 2_048;
/// What can be written, in a line.
const FORMS: &str = "icmp:HOST, tcp:HOST:PORT, udp:HOST:PORT, udp:agent or http://HOST[:PORT][/PATH][=STATUS]";
/// The options by name.
const OPTIONS: [&str; 5] = ["interval", "deadline", "from", "refused-is-ok", "primary"];

/// Whom a probe asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// The guest of the session.
    Guest,
    /// The UDP echo of the agent in the guest.
    Agent,
    /// A name or an address.
    Named(String),
}

/// A probe that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Kind and place as written, without the options: `tcp:web:443`.
    pub written: String,
    /// What is sent.
    pub kind: ProbeKind,
    /// Whom it asks.
    pub host: Host,
    /// The port; 0 where there is none.
    pub port: u16,
    /// What is asked by HTTP; None for other kinds.
    pub http: Option<Page>,
    /// Where it is sent from, if that is not left to the kernel.
    pub from: Option<Source>,
    /// Distance of the slots, if it was said.
    pub interval: Option<Duration>,
    /// After so long it is lost, if it was said.
    pub deadline: Option<Duration>,
    /// A refused connection is as good as an answer.
    pub refused_is_ok: bool,
    /// Downtime is to be measured with this one.
    pub primary: bool,
}

impl Asked {
    /// An ICMP probe of a host, which is named by nothing but its name or address.
    #[must_use]
    pub fn ping(host: &str) -> Self {
        Self::of(host, ProbeKind::Icmp, Host::Named(host.into()), 0)
    }

    fn of(written: &str, kind: ProbeKind, host: Host, port: u16) -> Self {
        Self {
            written: written.into(),
            kind,
            host,
            port,
            http: None,
            from: None,
            interval: None,
            deadline: None,
            refused_is_ok: false,
            primary: false,
        }
    }

    /// The options of this probe with that number, of a target at `at`, whose port is of no account; `ping` has the interval and the
    /// deadline of ICMP and UDP where none is said.
    #[must_use]
    pub fn options(&self, id: ProbeId, role: Role, at: SocketAddr, ping: &ProbeOptions) -> ProbeOptions {
        let mut target = at;
        target.set_port(self.port);
        let base = match self.kind {
            ProbeKind::Icmp | ProbeKind::Udp => ProbeOptions { kind: self.kind, ..ping.clone() },
            ProbeKind::Tcp | ProbeKind::Http => ProbeOptions::tcp(id, target),
        };
        ProbeOptions {
            id,
            target,
            kind: self.kind,
            http: self.http.clone(),
            from: self.from.clone(),
            interval: self.interval.unwrap_or(base.interval),
            deadline: self.deadline.unwrap_or(base.deadline),
            refused_is_ok: self.refused_is_ok,
            asked: Some(self.written.clone()),
            role: Some(role),
            ..base
        }
    }

    fn option(&mut self, text: &str) -> Result<(), String> {
        let (name, value) = text.split_once('=').map_or((text, None), |(name, value)| (name, Some(value)));
        let needed = |example: &str| {
            value.filter(|v| !v.is_empty()).ok_or_else(|| format!("'{name}' needs a value, for instance {example}"))
        };
        let time = |example: &str| parse_duration(needed(example)?).map_err(|e| format!("{name}: {e}"));
        let bare = || value.map_or(Ok(true), |_| Err(format!("'{name}' takes no value: write {name} alone")));
        match name {
            "interval" => self.interval = Some(time("interval=100ms")?),
            "deadline" => self.deadline = Some(time("deadline=500ms")?),
            "from" => self.from = Some(Source::parse(needed("from=eth0 or from=192.0.2.1")?)?),
            "refused-is-ok" if self.kind != ProbeKind::Tcp => {
                return Err("'refused-is-ok' is for tcp only: there a refusal is an answer of the host's kernel".into());
            }
            "refused-is-ok" => self.refused_is_ok = bare()?,
            "primary" => self.primary = bare()?,
            _ => {
                let meant = nearest(name, OPTIONS).map_or(".".into(), |near| format!("; did you mean '{near}'?"));
                return Err(format!("unknown option '{}'{meant} There are {}", visible(name), OPTIONS.join(", ")));
            }
        }
        Ok(())
    }

    /// Whether it can be measured like that, as far as that is known without its address.
    fn check(&self) -> Result<(), ProbeError> {
        let stand_in = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
        let at = match (&self.host, &self.from) {
            (Host::Named(name), _) if name.parse::<IpAddr>().is_ok() => name.parse().unwrap_or(stand_in),
            (_, Some(Source::Address(from))) => *from,
            _ => stand_in,
        };
        let mut options = self.options(
            ProbeId(0),
            Role::Further,
            (at, 0).into(),
            &ProbeOptions::icmp(ProbeId(0), (stand_in, 0).into()),
        );
        if self.host == Host::Agent {
            // Its port is the agent's to say.
            options.target.set_port(1);
        }
        options.check()
    }
}

impl FromStr for Asked {
    type Err = ProbeError;

    fn from_str(text: &str) -> Result<Self, ProbeError> {
        if text.len() > LONGEST {
            return Err(ProbeError::Options(format!("more than {LONGEST} bytes for one probe")));
        }
        let mut parts = text.split(',');
        let mut asked = place(parts.next().unwrap_or_default()).map_err(ProbeError::Options)?;
        for part in parts {
            asked.option(part).map_err(ProbeError::Options)?;
        }
        asked.check()?;
        Ok(asked)
    }
}

/// Reads kind and place.
fn place(text: &str) -> Result<Asked, String> {
    if let Some(rest) = text.strip_prefix("http://") {
        let (host, port, http) = http::read(rest)?;
        return Ok(Asked { http: Some(http), ..Asked::of(text, ProbeKind::Http, named(&host), port) });
    }
    if text.starts_with("https://") {
        return Err(
            "https is not probed, since the handshake of TLS would be measured as well: ask for the port with \
                    tcp:HOST:443, or for a page over http://"
                .into(),
        );
    }
    let unknown = || format!("'{}' is no probe: write {FORMS}", visible(text));
    let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
    match kind {
        "icmp" => {
            let host = bare_host(rest)?;
            match named(&host) {
                Host::Named(_) | Host::Guest => Ok(Asked::of(text, ProbeKind::Icmp, named(&host), 0)),
                Host::Agent => Ok(Asked::of(text, ProbeKind::Icmp, Host::Named(host), 0)),
            }
        }
        "udp" if rest == "agent" => Ok(Asked::of(text, ProbeKind::Udp, Host::Agent, 0)),
        "tcp" | "udp" => {
            let (host, port) = host_and_port(kind, rest)?;
            let kind = if kind == "tcp" { ProbeKind::Tcp } else { ProbeKind::Udp };
            Ok(Asked::of(text, kind, named(&host), port))
        }
        "http" => Err(format!("'{}' is no address of HTTP: write http://HOST[:PORT][/PATH][=STATUS]", visible(text))),
        _ => Err(unknown()),
    }
}

fn named(host: &str) -> Host {
    if host == "guest" { Host::Guest } else { Host::Named(host.into()) }
}

/// A host without a port: an address of IPv6 may stand in brackets or not.
fn bare_host(text: &str) -> Result<String, String> {
    let inner = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text);
    if inner.contains(':') && !is_ipv6(inner) {
        return Err(format!("'{}' is no host, and ICMP has no ports: write icmp:HOST", visible(text)));
    }
    host(inner)
}

/// HOST:PORT.
fn host_and_port(kind: &str, text: &str) -> Result<(String, u16), String> {
    let example = format!("for instance {kind}:192.0.2.10:443 or {kind}:[2001:db8::1]:443");
    if is_ipv6(text) && !text.starts_with('[') {
        return Err(format!("'{}': put an address of IPv6 in brackets, {example}", visible(text)));
    }
    let Some((name, port)) = text.rsplit_once(':').filter(|(name, _)| !name.starts_with('[') || name.ends_with(']'))
    else {
        return Err(format!("'{}' has no port: write {kind}:HOST:PORT, {example}", visible(text)));
    };
    let name = bracketed(name)?;
    Ok((host(&name)?, host::port(port)?))
}

#[cfg(test)]
mod tests;
