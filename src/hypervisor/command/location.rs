//! Where the guest is by the answers of a command that was asked at both hosts.

use regex_lite::Regex;
use serde::{Deserialize, Serialize};

use super::error::ConfigError;
use super::pattern::compiled;
use super::template::{Values, Word, fill_pattern};
use crate::hypervisor::blocking::Look;
use crate::hypervisor::exec::{Answer, ending};
use crate::hypervisor::place::{Condition, Place};

/// How much of an answer that no rule knows is quoted, bytes.
const QUOTE: usize = 200;

/// A command that says where the guest is. It is asked of each host; where its words come to the same for both
/// (one manager), once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Where {
    /// The command; `{here}` is the host that is asked about.
    pub run: Vec<Word>,
    /// What its answers mean. The first rule that is true counts; without one nothing is known.
    pub rules: Vec<Rule>,
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// A regular expression that is looked for in the whole answer; `^` and `$` are a line's. `{guest}`,
    /// `{here}` and keys of the host (`{here.uuid}`) may stand in it. Without one every answer will do.
    #[serde(rename = "match", default, skip_serializing_if = "Option::is_none")]
    pub matches: Option<String>,
    /// The exit status it needs; without one any will do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// How the guest is at this host then.
    pub is: State,
}

/// How the guest is at one host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It runs here.
    Running,
    /// It stands still here, and can be made to run.
    Paused,
    /// It stands still here for a reason of its own; making it run is not for us.
    Halted,
    /// It runs here, and a migration of it is under way.
    Leaving,
    /// A migration has it: at the source it stands still and is being handed over, at the destination it is
    /// being taken in.
    Migrating,
    /// It runs here and lacks memory that is still at the source.
    Partial,
    /// It is not here.
    Absent,
}

/// What one host says of the guest; an error is why nothing is known.
pub(super) type Says = Result<State, String>;

/// Compiled rules for one host.
#[derive(Debug, Clone)]
pub(super) struct Rules(Vec<(Option<Regex>, Option<i32>, State)>);

impl Rules {
    pub(super) fn new(rules: &[Rule], values: Values<'_>) -> Result<Self, ConfigError> {
        let one = |rule: &Rule| {
            let regex = rule.matches.as_ref().map(|m| compiled(&fill_pattern(m, values), "where")).transpose()?;
            Ok((regex, rule.exit, rule.is))
        };
        rules.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    /// What an answer means.
    pub(super) fn read(&self, answer: &Answer) -> Says {
        let text = answer.lines.join("\n");
        let code = answer.status.code();
        let is_true = |(regex, exit, _): &&(Option<Regex>, Option<i32>, State)| {
            regex.as_ref().is_none_or(|r| r.is_match(&text)) && exit.is_none_or(|exit| code == Some(exit))
        };
        self.0.iter().find(is_true).map(|(_, _, is)| *is).ok_or_else(|| {
            let quote = crate::text::capped(&text, QUOTE);
            let quote = quote.replace('\n', " / ");
            format!("no rule of 'where' knows its answer '{quote}' ({})", ending(answer.status))
        })
    }
}

/// What both answers come to.
pub(super) fn look(source: &Says, destination: &Says, from: &str, to: &str) -> Look {
    use State::{Absent, Halted, Leaving, Migrating, Partial, Paused, Running};
    let halted = || Condition::Halted("for a reason of its own".into());
    let arrived = |is, whole| Place::Destination { is, whole: Some(whole) };
    let unknown = |host: &str, why: &str| Place::Unknown(format!("'{host}': {why}"));
    let (here, there) = match (source, destination) {
        (Ok(here), Ok(there)) => (*here, *there),
        // Whether it also runs at the other is not known; that it runs here is.
        (Ok(here @ (Running | Leaving)), Err(_)) => {
            return Look { place: Place::Source(Condition::Runs), under_way: *here == Leaving };
        }
        (Err(why), _) => return Look { place: unknown(from, why), under_way: false },
        (_, Err(why)) => return Look { place: unknown(to, why), under_way: false },
    };
    let place = match (here, there) {
        (Running | Leaving, Running | Partial) => Place::Both,
        (_, Leaving) => Place::Unknown(format!("a migration away from '{to}' is under way")),
        (Partial, _) => Place::Unknown(format!("'{from}' is itself still pulling the guest's memory from elsewhere")),
        (Running | Leaving, _) => Place::Source(Condition::Runs),
        (_, Running) => arrived(Condition::Runs, true),
        (_, Partial) => arrived(Condition::Runs, false),
        (Migrating, Migrating) | (Paused, Migrating) | (Absent, Migrating) | (Halted, Migrating) => Place::Moving,
        (Migrating | Absent, Paused) => arrived(Condition::Stands, true),
        (Migrating | Absent, Halted) => arrived(halted(), true),
        (Paused | Migrating, Absent) => Place::Source(Condition::Stands),
        (Halted, Absent) => Place::Source(halted()),
        (Paused | Halted, Paused | Halted) => Place::Unknown("it stands still at both hosts".into()),
        (Absent, Absent) => Place::Nowhere,
    };
    let under_way = match here {
        Leaving => there != Running,
        Migrating => there != Running,
        _ => matches!(there, Migrating | Partial),
    };
    Look { place, under_way }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(source: State, destination: State) -> Look {
        look(&Ok(source), &Ok(destination), "a", "b")
    }

    #[test]
    fn the_places_of_a_libvirt_migration() {
        use State::*;
        let runs = Place::Source(Condition::Runs);
        let is = |source, destination| (of(source, destination).place, of(source, destination).under_way);
        assert_eq!(is(Running, Absent), (runs.clone(), false));
        assert_eq!(is(Running, Migrating), (runs, true));
        assert_eq!(is(Migrating, Migrating), (Place::Moving, true));
        // One manager, which says of which host it is and that it is on its way.
        assert_eq!(is(Leaving, Absent), (Place::Source(Condition::Runs), true));
        // Handed over, and the source not yet taken down.
        assert_eq!(is(Migrating, Running), (Place::Destination { is: Condition::Runs, whole: Some(true) }, false));
        assert_eq!(is(Absent, Running), (Place::Destination { is: Condition::Runs, whole: Some(true) }, false));
        // Post-copy, and post-copy with its link cut.
        assert_eq!(is(Migrating, Partial), (Place::Destination { is: Condition::Runs, whole: Some(false) }, true));
        assert_eq!(is(Running, Running).0, Place::Both);
        assert_eq!(is(Absent, Absent).0, Place::Nowhere);
        // It was stopped and the migration failed; who will resume it is another question.
        assert_eq!(is(Migrating, Absent), (Place::Source(Condition::Stands), true));
    }

    #[test]
    fn what_is_not_known_is_not_absent() {
        let silent: Says = Err("no answer".into());
        for (source, destination) in [
            (silent.clone(), Ok(State::Absent)),
            (silent.clone(), Ok(State::Running)),
            (Ok(State::Absent), silent.clone()),
            (Ok(State::Paused), silent.clone()),
            (silent.clone(), silent.clone()),
        ] {
            let place = look(&source, &destination, "a", "b").place;
            assert!(matches!(place, Place::Unknown(_)), "{source:?} {destination:?} {place:?}");
        }
        assert_eq!(look(&Ok(State::Running), &silent, "a", "b").place, Place::Source(Condition::Runs));
    }
}
