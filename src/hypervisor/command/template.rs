//! Command lines with places for what is known only later: the guest, the two hosts, the settings.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::MigrationSettings;
use crate::text::nearest;
use crate::text::visible;

/// Names that stand for a value; behind `from`, `to` and `here` a key of that host may follow: `{from.uri}`.
const NAMES: [&str; 9] =
    ["guest", "from", "to", "here", "bandwidth", "bandwidth-kib", "bandwidth-mib", "bandwidth-mbit", "downtime"];

/// A host as the commands call it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Our name for it, which stands for `{from}` or `{to}`.
    pub name: String,
    /// What `ssh` takes for it: commands that concern this host are run there. None: they are run here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh: Option<String>,
    /// Further values for the commands, by name: `uri` stands for `{from.uri}`.
    #[serde(flatten)]
    pub values: BTreeMap<String, String>,
}

/// A word of a command line, or several that are left out together if a value for one of them is missing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Word {
    /// One word.
    One(String),
    /// Words that are left out unless all their values are there: `["--bandwidth", "{bandwidth-mib}"]`.
    Group(Vec<String>),
}

impl Word {
    fn parts(&self) -> &[String] {
        match self {
            Self::One(word) => std::slice::from_ref(word),
            Self::Group(words) => words,
        }
    }
}

/// How a running migration is cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum CancelBy {
    /// By what the migrating command itself is given.
    Given(Given),
    /// By another command.
    Command(Vec<Word>),
}

/// What the migrating command is given to make it cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Given {
    /// ^C at its terminal.
    CtrlC,
    /// The signal SIGINT.
    Sigint,
    /// The signal SIGTERM.
    Sigterm,
}

/// A command line that cannot be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("invalid word '{}': {why}", visible(word))]
pub struct TemplateError {
    /// The word.
    pub word: String,
    /// What is wrong and what would be right.
    pub why: String,
}

/// What the places are filled with.
#[derive(Debug, Clone, Copy)]
pub(super) struct Values<'a> {
    pub(super) guest: &'a str,
    pub(super) from: &'a Host,
    pub(super) to: &'a Host,
    /// The host that a command is about, where it is about one.
    pub(super) here: Option<&'a Host>,
    pub(super) settings: &'a MigrationSettings,
}

impl Values<'_> {
    fn get(&self, name: &str) -> Option<String> {
        let limit = self.settings.bandwidth_bytes_per_s;
        let (name, key) = name.split_once('.').map_or((name, None), |(name, key)| (name, Some(key)));
        let host = |host: &Host| match key {
            None => Some(host.name.clone()),
            Some("ssh") => host.ssh.clone(),
            Some(key) => host.values.get(key).cloned(),
        };
        match name {
            "guest" => Some(self.guest.to_owned()),
            "from" => host(self.from),
            "to" => host(self.to),
            "here" => self.here.and_then(host),
            "bandwidth" => limit.map(|n| n.to_string()),
            // Rounded down where it can be: it is a limit.
            "bandwidth-kib" => limit.map(|n| (n >> 10).max(1).to_string()),
            "bandwidth-mib" => limit.map(|n| (n >> 20).max(1).to_string()),
            "bandwidth-mbit" => limit.map(|n| (n / 125_000).max(1).to_string()),
            "downtime" => self.settings.downtime_limit_ms.map(|n| n.to_string()),
            _ => None,
        }
    }
}

/// A piece of a word: text as it is, or a place with the names whose first value it takes.
enum Part<'a> {
    Text(&'a str),
    Place(Vec<&'a str>),
}

fn parts(word: &str) -> Result<Vec<Part<'_>>, TemplateError> {
    let fail = |why: String| TemplateError { word: word.to_owned(), why };
    let mut parts = Vec::new();
    let mut rest = word;
    while let Some(at) = rest.find(['{', '}']) {
        let (text, sign) = rest.split_at(at);
        parts.push(Part::Text(text));
        if sign.starts_with("{{") || sign.starts_with("}}") {
            parts.push(Part::Text(&sign[..1]));
            rest = &sign[2..];
            continue;
        }
        let close = sign.find('}').filter(|_| sign.starts_with('{'));
        let close = close.ok_or_else(|| fail("a brace has no partner; write {{ or }} for the sign itself".into()))?;
        let names: Vec<&str> = sign[1..close].split('|').map(str::trim).collect();
        for name in &names {
            let (first, key) = name.split_once('.').map_or((*name, None), |(first, key)| (first, Some(key)));
            let host = matches!(first, "from" | "to" | "here");
            if !NAMES.contains(&first) || (key.is_some() && !host) {
                let hint = nearest(first, NAMES).filter(|near| *near != first);
                let hint = hint.map(|near| format!(" (did you mean '{{{near}}}'?)")).unwrap_or_default();
                return Err(fail(format!(
                    "there is no '{{{name}}}'{hint}; there are {}, and keys of a host such as {{from.uri}}",
                    NAMES.map(|n| format!("{{{n}}}")).join(", ")
                )));
            }
        }
        parts.push(Part::Place(names));
        rest = &sign[close + 1..];
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

/// Whether a place for that name is in the command line.
pub(super) fn has_place(words: &[Word], name: &str) -> bool {
    let is = |n: &&str| *n == name || n.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'));
    let in_word = |word: &String| {
        let parts = parts(word).unwrap_or_default();
        parts.iter().any(|part| matches!(part, Part::Place(names) if names.iter().any(is)))
    };
    words.iter().flat_map(Word::parts).any(in_word)
}

/// The command line with its places filled in.
///
/// # Errors
/// If a word cannot be read, or a value is missing that is in no group.
pub(super) fn fill(words: &[Word], values: Values<'_>) -> Result<Vec<String>, TemplateError> {
    let mut filled = Vec::new();
    for word in words {
        let some: Result<Vec<String>, Unfilled> = word.parts().iter().map(|word| fill_word(word, values)).collect();
        match (some, word) {
            (Ok(some), _) => filled.extend(some),
            (Err(Unfilled::Missing(_)), Word::Group(_)) => {}
            (Err(Unfilled::Missing(e) | Unfilled::Wrong(e)), _) => return Err(e),
        }
    }
    Ok(filled)
}

enum Unfilled {
    Missing(TemplateError),
    Wrong(TemplateError),
}

fn fill_word(word: &str, values: Values<'_>) -> Result<String, Unfilled> {
    let mut filled = String::new();
    for part in parts(word).map_err(Unfilled::Wrong)? {
        match part {
            Part::Text(text) => filled.push_str(text),
            Part::Place(names) => match names.iter().find_map(|name| values.get(name)) {
                Some(value) => filled.push_str(&value),
                None => {
                    let why = missing(&names, values);
                    return Err(Unfilled::Missing(TemplateError { word: word.to_owned(), why }));
                }
            },
        }
    }
    Ok(filled)
}

fn missing(names: &[&str], values: Values<'_>) -> String {
    match names.first().and_then(|name| name.split_once('.')) {
        Some((which, key)) => {
            let host = match which {
                "from" => values.from,
                "to" => values.to,
                _ => values.here.unwrap_or(values.from),
            };
            format!("host '{}' has no '{key}': add {key} = \"…\" to it", visible(&host.name))
        }
        None => format!("there is no value for {{{}}}", names.join("|")),
    }
}

/// A pattern with the names of guest and hosts put in, as text that stands for itself. Other braces are the
/// pattern's own.
pub(super) fn fill_pattern(pattern: &str, values: Values<'_>) -> String {
    let mut filled = String::new();
    let mut rest = pattern;
    while let Some(at) = rest.find('{') {
        let (before, brace) = rest.split_at(at);
        filled.push_str(before);
        let value = brace.find('}').and_then(|close| {
            let names = &brace[1..close];
            let ours = ["guest", "from", "to", "here"].iter().any(|n| names.split('.').next() == Some(n));
            let value = names.split('|').find_map(|name| values.get(name));
            // A key that the host has not: what can never match, not what always does.
            ours.then(|| (value.map_or_else(|| "[^\\s\\S]".to_owned(), |v| regex_lite::escape(&v)), close + 1))
        });
        match value {
            Some((value, end)) => {
                filled.push_str(&value);
                rest = &brace[end..];
            }
            None => {
                filled.push('{');
                rest = &brace[1..];
            }
        }
    }
    filled + rest
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.parts().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, values: &[(&str, &str)]) -> Host {
        let values = values.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Host { name: name.into(), ssh: None, values }
    }

    fn one(word: &str) -> Word {
        Word::One(word.into())
    }

    fn filled(words: &[Word], limit: Option<u64>) -> Result<Vec<String>, String> {
        let (a, b) = (host("a", &[("uri", "qemu:///a")]), host("b", &[("uri", "u"), ("peer", "p")]));
        let settings = MigrationSettings { bandwidth_bytes_per_s: limit, ..MigrationSettings::default() };
        fill(words, Values { guest: "g 1", from: &a, to: &b, here: Some(&b), settings: &settings })
            .map_err(|e| e.to_string())
    }

    #[test]
    fn places_are_filled_and_groups_left_out_where_a_value_is_missing() {
        let group = Word::Group(vec!["--bandwidth".into(), "{bandwidth-mib}".into()]);
        let words = [one("{from.uri}"), group, one("{guest}"), one("x={to.peer|to.uri}"), one("{from.peer|from}")];
        assert_eq!(filled(&words, None).unwrap(), ["qemu:///a", "g 1", "x=p", "a"]);
        assert_eq!(filled(&words, Some(33 << 20)).unwrap()[1..3], ["--bandwidth", "33"]);
        assert_eq!(filled(&[one("{{a}} {here.uri}"), one("{bandwidth-mbit}")], Some(1000)).unwrap(), ["{a} u", "1"]);
        assert!(has_place(&words, "bandwidth") && !has_place(&words, "downtime"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let e = filled(&[one("{gest}")], None).unwrap_err();
        assert!(e.starts_with("invalid word '{gest}': there is no '{gest}' (did you mean '{guest}'?)"), "{e}");
        let e = filled(&[one("{from.peer}")], None).unwrap_err();
        assert_eq!(e, "invalid word '{from.peer}': host 'a' has no 'peer': add peer = \"…\" to it");
        assert!(filled(&[one("{guest.x}")], None).is_err() && filled(&[one("a}b")], None).is_err());
        assert!(filled(&[one("{from")], None).unwrap_err().contains("no partner"));
        // Also within a group, where only a missing value is no error.
        assert!(filled(&[Word::Group(vec!["{gest}".into()])], None).is_err());
    }

    #[test]
    fn names_in_a_pattern_stand_for_themselves() {
        let (a, b) = (host("a.b", &[]), host("b", &[]));
        let settings = MigrationSettings::default();
        let values = Values { guest: "g+1", from: &a, to: &b, here: None, settings: &settings };
        assert_eq!(fill_pattern("^{guest} [0-9]{2} {from} {x", values), r"^g\+1 [0-9]{2} a\.b {x");
        assert!(!regex_lite::Regex::new(&fill_pattern("{to.uuid}", values)).unwrap().is_match("b\n"));
    }
}
