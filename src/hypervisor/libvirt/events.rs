//! Lines of `virsh event --all --loop` and of `virsh qemu-monitor-event --loop`.

use serde_json::Value;

use super::jobinfo::{Job, Kind};
use crate::event::{ForeignTime, Incident};
use crate::text::capped;

/// Longest text of one event that is kept, bytes.
const TEXT_LIMIT: usize = 1024;
/// The last figure of a `job-completed` event that libvirt 9.0 has always.
const LAST_FIGURE: &str = "disk_remaining";

/// What happened to the guest, in libvirt's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum LibvirtEvent {
    /// Its life took a turn: what, and in which way (`Suspended`, `Post-copy`).
    Life {
        /// What.
        what: String,
        /// In which way.
        how: String,
    },
    /// A pre-copy round begins.
    Round(u64),
    /// A job is over, with its figures.
    Completed(Job),
    /// Something else: its name, and the rest of its line.
    Other {
        /// Its name.
        name: String,
        /// The rest.
        text: String,
    },
}

impl LibvirtEvent {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Life { .. } => "lifecycle",
            Self::Round(_) => "migration-iteration",
            Self::Completed(_) => "job-completed",
            Self::Other { name, .. } => name,
        }
    }

    /// What it says, for the stream.
    pub(super) fn data(&self) -> Value {
        match self {
            Self::Life { what, how } => Value::from(format!("{what} {how}")),
            Self::Round(n) => Value::from(*n),
            Self::Completed(job) => job.raw(),
            Self::Other { text, .. } => Value::from(text.as_str()),
        }
    }

    /// What befell the guest, where that is no part of a migration.
    pub(super) fn incident(&self) -> Option<Incident> {
        match self {
            Self::Life { what, how } => match (what.as_str(), how.as_str()) {
                // After the host's request it is a destination that gives up.
                ("Shutdown", "Finished after guest request") => Some(Incident::ShutDown),
                ("Crashed", _) | ("Stopped", "Crashed") => Some(Incident::Panicked),
                _ => None,
            },
            Self::Other { name, .. } => match name.as_str() {
                "reboot" => Some(Incident::Reset),
                "watchdog" => Some(Incident::Watchdog),
                "io-error" | "io-error-reason" => Some(Incident::IoError),
                _ => None,
            },
            Self::Round(_) | Self::Completed(_) => None,
        }
    }
}

/// Puts the lines of `virsh event` together: `job-completed` has its figures in lines of their own.
#[derive(Debug)]
pub(super) struct Reader {
    guest: String,
    open: Option<Job>,
}

impl Reader {
    /// Of the events of that guest; others' are passed over.
    pub(super) fn new(guest: &str) -> Self {
        Self { guest: guest.to_owned(), open: None }
    }

    /// The events that end or are whole with this line.
    pub(super) fn push(&mut self, line: &str) -> Vec<LibvirtEvent> {
        if let Some(job) = &mut self.open
            && job.take(line)
        {
            let last = line.starts_with(LAST_FIGURE);
            return if last { self.finish().into_iter().collect() } else { Vec::new() };
        }
        let mut events: Vec<LibvirtEvent> = self.finish().into_iter().collect();
        match self.event(line) {
            Some(("job-completed", _)) => self.open = Some(Job::new(Kind::Completed)),
            Some((name, text)) => events.push(event(name, text)),
            None => {}
        }
        events
    }

    /// Whether an event waits for lines that may not come.
    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// No more lines come for now: the event that waits for some is whole.
    pub(super) fn finish(&mut self) -> Option<LibvirtEvent> {
        self.open.take().map(LibvirtEvent::Completed)
    }

    /// Name and text of an event of our guest. `2026-11-26 20:42:18.578+0000: event 'lifecycle' for domain 'g1':
    /// Resumed Migrated`; the time is virsh's own at receipt, and says no more than ours.
    fn event<'a>(&self, line: &'a str) -> Option<(&'a str, &'a str)> {
        let (_, rest) = line.split_once("event '")?;
        let (name, rest) = rest.split_once("' for domain '")?;
        let text = rest.strip_prefix(self.guest.as_str())?.strip_prefix("':")?;
        name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-').then_some((name, text.trim()))
    }
}

fn event(name: &str, text: &str) -> LibvirtEvent {
    let text = capped(text, TEXT_LIMIT);
    match name {
        "lifecycle" => {
            let (what, how) = text.split_once(' ').unwrap_or((&text, ""));
            LibvirtEvent::Life { what: what.to_owned(), how: how.to_owned() }
        }
        "migration-iteration" => {
            let digits = text.trim_start_matches("iteration: ").trim_matches('\'');
            digits.parse().map_or_else(|_| other(name, &text), LibvirtEvent::Round)
        }
        _ => other(name, &text),
    }
}

fn other(name: &str, text: &str) -> LibvirtEvent {
    LibvirtEvent::Other { name: capped(name, 64).into_owned(), text: text.to_owned() }
}

/// An event of QEMU's own, with its own time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct QemuEvent {
    pub(super) name: String,
    pub(super) at: Option<ForeignTime>,
    pub(super) data: Value,
}

/// Reads `event STOP at 1795727353.816851 for domain 'g1': <null>`; None for a line that is no event of this guest.
pub(super) fn qemu(line: &str, guest: &str) -> Option<QemuEvent> {
    let (name, rest) = line.strip_prefix("event ")?.split_once(" at ")?;
    let (at, rest) = rest.split_once(" for domain '")?;
    let text = rest.strip_prefix(guest)?.strip_prefix("':")?.trim();
    if name.is_empty()
        || name.len() > 64
        || !name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
    {
        return None;
    }
    let time = |at: &str| {
        let (secs, micros) = at.split_once('.')?;
        let micros = (micros.len() == 6).then(|| micros.parse::<u32>().ok()).flatten()?;
        Some(ForeignTime { secs: secs.parse().ok()?, micros: i64::from(micros) })
    };
    let data = if text.len() > TEXT_LIMIT { Value::Null } else { serde_json::from_str(text).unwrap_or(Value::Null) };
    Some(QemuEvent { name: name.to_owned(), at: time(at), data })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn life(what: &str, how: &str) -> LibvirtEvent {
        LibvirtEvent::Life { what: what.into(), how: how.into() }
    }

    #[test]
    fn the_events_of_a_migration() {
        let text = "2026-11-26 20:45:30.981+0000: event 'lifecycle' for domain 'g1': Suspended Migrated
2026-11-26 20:45:30.983+0000: event 'migration-iteration' for domain 'g1': iteration: '2'
2026-11-26 20:45:30.986+0000: event 'lifecycle' for domain 'g1': Suspended Post-copy
2026-11-26 20:45:30.990+0000: event 'lifecycle' for domain 'g10': Stopped Failed
2026-11-26 20:45:38.923+0000: event 'lifecycle' for domain 'g1': Stopped Migrated
2026-11-26 20:45:38.924+0000: event 'job-completed' for domain 'g1':
operation: 5
time_elapsed: 12341
downtime: 4
memory_total: 268967936
disk_remaining: 0";
        let mut reader = Reader::new("g1");
        let events: Vec<_> = text.lines().flat_map(|line| reader.push(line)).collect();
        let (LibvirtEvent::Completed(job), before) = events.split_last().unwrap() else { panic!("{events:?}") };
        assert_eq!((job.kind, job.get("time_elapsed")), (Kind::Completed, Some(12341)));
        let wanted = [
            life("Suspended", "Migrated"),
            LibvirtEvent::Round(2),
            life("Suspended", "Post-copy"),
            life("Stopped", "Migrated"),
        ];
        assert_eq!(before, wanted);
        assert!(!reader.is_open());
    }

    #[test]
    fn an_event_whose_last_line_does_not_come_is_told_all_the_same() {
        let mut reader = Reader::new("g1");
        assert!(reader.push("x: event 'job-completed' for domain 'g1':").is_empty());
        assert!(reader.push("downtime: 4").is_empty() && reader.is_open());
        let next = reader.push("x: event 'lifecycle' for domain 'g1': Stopped Migrated");
        assert!(
            matches!(&next[..], [LibvirtEvent::Completed(job), LibvirtEvent::Life { .. }] if job.get("downtime") == Some(4))
        );
    }

    #[test]
    fn what_befell_the_guest() {
        let shut = |how| life("Shutdown", how).incident();
        assert_eq!(shut("Finished after guest request"), Some(Incident::ShutDown));
        assert_eq!(shut("Finished after host request"), None, "a destination that gives up");
        let mut reader = Reader::new("it's");
        let events = reader.push("x: event 'io-error' for domain 'it's': /d (vda) report due to No space");
        assert_eq!(events[0].incident(), Some(Incident::IoError));
    }

    #[test]
    fn qemus_own_events_keep_qemus_time() {
        let stop = qemu("event STOP at 1795727353.816851 for domain 'g1': <null>", "g1").unwrap();
        assert_eq!(
            stop,
            QemuEvent {
                name: "STOP".into(),
                at: Some(ForeignTime { secs: 1_795_727_353, micros: 816_851 }),
                data: Value::Null
            }
        );
        let pass = qemu("event MIGRATION_PASS at 1795727353.715883 for domain 'g1': {\"pass\":3}", "g1").unwrap();
        assert_eq!(pass.data, json!({"pass": 3}));
        assert_eq!(qemu("event STOP at 1.000001 for domain 'g10': <null>", "g1"), None);
        assert_eq!(qemu("events received: 1", "g1"), None);
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(lines in proptest::collection::vec("\\PC{0,120}", 0..20), guest in "\\PC{0,8}") {
            let mut reader = Reader::new(&guest);
            for line in &lines {
                reader.push(line);
                reader.push(&format!("event '{line}' for domain '{guest}': {line}"));
                qemu(line, &guest);
                qemu(&format!("event STOP at {line} for domain '{guest}': {line}"), &guest);
            }
            reader.finish();
        }
    }
}
