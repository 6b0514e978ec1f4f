//! What a target of libvirt is told about itself.

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// A guest between two libvirt hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The guest: its name, or its UUID.
    pub guest: String,
    /// One host: where the guest is as a rule. A migration goes from where it is to the other.
    pub from: HostConfig,
    /// The other host.
    pub to: HostConfig,
    /// The source sends to the destination by itself. Without it the two libvirts are brought together by `virsh`, which then has
    /// to reach the destination under its peer URI, and whose death ends the migration.
    #[serde(default = "yes")]
    pub peer_to_peer: bool,
    /// The guest's memory goes through libvirt's own connection.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tunnelled: bool,
    /// The guest's memory goes through so many connections; None takes one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parallel: Option<u8>,
}

/// A libvirt host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HostConfig {
    /// Our name for it.
    pub name: String,
    /// libvirt's URI of it, as seen from here.
    pub uri: String,
    /// The same as seen from the other host; None takes `uri`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_uri: Option<String>,
    /// Where the other host sends the guest's memory: `tcp://10.0.0.2`; None lets libvirt choose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

fn yes() -> bool {
    true
}

/// A setting that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{setting}: {why}")]
pub struct ConfigError {
    /// Which.
    pub setting: &'static str,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

impl Config {
    /// Finds what cannot be used before anything is run.
    ///
    /// # Errors
    /// The first setting that cannot.
    pub fn check(&self) -> Result<(), ConfigError> {
        let wrong = |setting, why: &str| Err(ConfigError { setting, why: why.to_owned() });
        let texts = [("guest", &self.guest)].into_iter().chain(
            [("from", &self.from), ("to", &self.to)].into_iter().flat_map(|(s, host)| {
                let more = host.peer_uri.iter().chain(&host.address).map(move |text| (s, text));
                [(s, &host.name), (s, &host.uri)].into_iter().chain(more)
            }),
        );
        for (setting, text) in texts {
            match text.chars().next() {
                None => return wrong(setting, "it is empty"),
                Some('-') => return wrong(setting, &format!("'{text}': virsh would take it for an option")),
                Some(_) if text.chars().any(char::is_control) => return wrong(setting, "it has control characters"),
                Some(_) => {}
            }
        }
        if self.from.name == self.to.name || self.from.uri == self.to.uri {
            return wrong("to", "it is the same host as 'from'");
        }
        if self.tunnelled && !self.peer_to_peer {
            return wrong("tunnelled", "libvirt tunnels only from peer to peer: leave out peer-to-peer = false");
        }
        if self.tunnelled && self.parallel.is_some() {
            return wrong("parallel", "a tunnelled migration has one connection");
        }
        if self.parallel == Some(0) {
            return wrong("parallel", "0 connections carry nothing; leave it out for one");
        }
        Ok(())
    }
}

/// The URI as it is given to virsh. Over ssh nothing is asked for: a question would wait for an answer where nobody
/// sees it (libvirt: `no_tty`).
pub(super) fn asking_nothing(uri: &str) -> String {
    let over_ssh = uri.split_once("://").is_some_and(|(scheme, _)| scheme.ends_with("+ssh"));
    if !over_ssh || uri.contains("no_tty=") {
        return uri.to_owned();
    }
    format!("{uri}{}no_tty=1", if uri.contains('?') { '&' } else { '?' })
}

/// A word as a virsh shell takes it unchanged.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        toml::from_str(text).unwrap()
    }

    const WELL: &str = "guest = 'g1'
        from = { name = 'a', uri = 'qemu+ssh://root@a/system' }
        to = { name = 'b', uri = 'qemu+ssh://root@b/system', peer-uri = 'qemu+tcp://b/system', address = 'tcp://10.0.0.2' }";

    #[test]
    fn what_cannot_be_used_is_told() {
        assert_eq!(config(WELL).check(), Ok(()));
        for (from, to, setting) in [
            ("'g1'", "'--all'", "guest"),
            ("'g1'", "''", "guest"),
            ("'g1'", "\"g\\n1\"", "guest"),
            ("name = 'b'", "name = 'a'", "to"),
            ("'tcp://10.0.0.2'", "'-x'", "to"),
            ("'g1'", "'g1'\nparallel = 0", "parallel"),
            ("'g1'", "'g1'\nparallel = 2\ntunnelled = true", "parallel"),
            ("'g1'", "'g1'\npeer-to-peer = false\ntunnelled = true", "tunnelled"),
        ] {
            let e = config(&WELL.replacen(from, to, 1)).check().unwrap_err();
            assert_eq!(e.setting, setting, "{to}: {e}");
        }
    }

    #[test]
    fn over_ssh_nothing_is_asked() {
        assert_eq!(asking_nothing("qemu+ssh://root@a/system"), "qemu+ssh://root@a/system?no_tty=1");
        assert_eq!(asking_nothing("qemu+ssh://a/system?socket=/s"), "qemu+ssh://a/system?socket=/s&no_tty=1");
        assert_eq!(asking_nothing("qemu+ssh://a/system?no_tty=0"), "qemu+ssh://a/system?no_tty=0");
        assert_eq!(asking_nothing("qemu:///system"), "qemu:///system");
        assert_eq!((quoted("g1").as_str(), quoted("it's; x").as_str()), ("g1", r"'it'\''s; x'"));
    }
}
