//! What a peer says is recorded in bounds: so many bytes a second of each source, each record of a bounded
//! length, and a remark that repeats itself counted. What is left out is told.
//!
//! The capture of a session that is never flooded is not changed by any of this.

use serde_json::Value;

use crate::event::{AgentEvent, Body, Event, HvEvent, Level, LogEvent, Nanos, ProbeEvent, SessionEvent};
use crate::text::{TEXT_LIMIT, capped};

/// What each source may say, bytes a second of session time. Five sources at this rate make less than 1 MB/s. The
/// agent's usual is 10 kB/s, the hypervisor's 20; outcomes of probes are ours and not counted.
pub(super) const BYTES_PER_S: u64 = 192 << 10;
/// What it may say at once, bytes.
pub(super) const BURST: u64 = 4 << 20;
/// The longest record, bytes; a quarter of what a reader takes.
pub(super) const RECORD: usize = 256 << 10;
/// A remark may be made this often within that time before it is counted.
const SAID: u64 = 20;
/// How long a remark that repeats itself is counted before the count is told.
const COUNTED: Nanos = 1_000_000_000;
/// How often what was left out is told.
const TOLD: Nanos = 1_000_000_000;
/// Different remarks that are counted at a time.
const REMARKS: usize = 16;

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Agent,
    Hypervisor,
    Course,
    Network,
    Remarks,
}

const SOURCES: [(Source, &str); 5] = [
    (Source::Agent, "what the agent says"),
    (Source::Hypervisor, "what the hypervisor says"),
    (Source::Course, "phases and turns of the hypervisor"),
    (Source::Network, "duplicates and errors of probes"),
    (Source::Remarks, "remarks"),
];

/// Whose words an event is; None of what is ours, which is never left out.
fn source(event: &Event) -> Option<Source> {
    match &event.ev {
        Body::Agent(_) => Some(Source::Agent),
        // What a migration's course is made of has room of its own.
        Body::Hypervisor(
            HvEvent::Raw { .. } | HvEvent::Sample { .. } | HvEvent::Offers { .. } | HvEvent::Befell { .. },
        ) => Some(Source::Hypervisor),
        Body::Hypervisor(_) => Some(Source::Course),
        Body::Probe(ProbeEvent::Duplicate { .. } | ProbeEvent::Error { .. } | ProbeEvent::Heard { .. }) => {
            Some(Source::Network)
        }
        Body::Log(_) => Some(Source::Remarks),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Bucket {
    /// What may be said, bytes, at `t`.
    left: u64,
    t: Option<Nanos>,
    out: u64,
}

/// Bounds what is recorded.
#[derive(Debug, Default)]
pub(super) struct Flood {
    buckets: [Bucket; 5],
    repeated: Vec<Repeated>,
    /// When it was last looked whether there is something to tell, ns.
    looked: Nanos,
}

#[derive(Debug)]
struct Repeated {
    remark: LogEvent,
    since: Nanos,
    last: Nanos,
    said: u64,
    more: u64,
}

impl Flood {
    /// Whether the event, whose record is `bytes` long, is to be recorded. One that is not is counted.
    pub(super) fn passes(&mut self, event: &Event, bytes: usize) -> bool {
        let Some(i) = source(event).and_then(|s| SOURCES.iter().position(|(of, _)| *of == s)) else { return true };
        let bucket = &mut self.buckets[i];
        let passed = event.t.saturating_sub(bucket.t.unwrap_or(event.t));
        let gained = u128::from(passed) * u128::from(BYTES_PER_S) / 1_000_000_000;
        let left = bucket.t.map_or(BURST, |_| bucket.left);
        bucket.left = BURST.min(left.saturating_add(u64::try_from(gained).unwrap_or(u64::MAX)));
        bucket.t = Some(bucket.t.unwrap_or(0).max(event.t));
        match bucket.left.checked_sub(bytes as u64) {
            Some(left) => {
                bucket.left = left;
                true
            }
            None => {
                bucket.out += 1;
                false
            }
        }
    }

    /// Whether a remark is one of those that were made again and again a moment ago: it is counted then.
    pub(super) fn repeats(&mut self, event: &Event) -> bool {
        let Body::Log(remark) = &event.ev else { return false };
        if remark.from == crate::session::state::CAPTIONS {
            return false;
        }
        if let Some(known) = self.repeated.iter_mut().find(|r| r.remark == *remark) {
            known.last = event.t;
            if known.said < SAID {
                known.said += 1;
                return false;
            }
            known.more += 1;
            return true;
        }
        if self.repeated.len() < REMARKS {
            let remark = remark.clone();
            self.repeated.push(Repeated { remark, since: event.t, last: event.t, said: 1, more: 0 });
        }
        false
    }

    /// What there is to tell at `now`: how often remarks were repeated, and what was left out; `all` of it at
    /// the end.
    pub(super) fn told(&mut self, now: Nanos, all: bool) -> Vec<Event> {
        if !all && now < self.looked.saturating_add(TOLD / 4) {
            return Vec::new();
        }
        let mut told = Vec::new();
        self.repeated.retain_mut(|r| {
            if !all && now < r.since.saturating_add(COUNTED) {
                return true;
            }
            if r.more > 0 {
                let text = match r.more {
                    1 => r.remark.text.clone(),
                    n => format!("{} ({n} times)", r.remark.text),
                };
                told.push(Event::new(r.last, Body::Log(LogEvent { text, ..r.remark.clone() })));
            }
            // What goes on repeating itself is counted on.
            (r.since, r.more) = (now, if r.more > 0 { 0 } else { return false });
            true
        });
        if all || now >= self.looked.saturating_add(TOLD) {
            for ((_, name), bucket) in SOURCES.iter().zip(&mut self.buckets) {
                let lost = std::mem::take(&mut bucket.out);
                if lost > 0 {
                    let queue = format!("{name}, beyond {} KiB/s", BYTES_PER_S >> 10);
                    told.push(Event::new(now, Body::Session(SessionEvent::Overflow { queue, lost })));
                }
            }
            self.looked = now;
        }
        told
    }
}

/// The event with a record of a bounded length: a product's own words and long texts are cut, and that is said.
pub(super) fn shortened(mut event: Event, bytes: usize) -> Event {
    let cut = |value: &mut Value| *value = Value::String(format!("left out: the record would be of {bytes} bytes"));
    match &mut event.ev {
        Body::Hypervisor(HvEvent::Raw { data, host, name, .. }) => {
            cut(data);
            short(host);
            short(name);
        }
        Body::Hypervisor(HvEvent::Sample { raw, .. }) => cut(raw),
        Body::Hypervisor(HvEvent::Offers { offers, .. }) => offers.parameters.clear(),
        Body::Hypervisor(HvEvent::HostLost { why, .. } | HvEvent::Befell { detail: why, .. })
        | Body::Hypervisor(HvEvent::Phase { raw: why, .. })
        | Body::Agent(AgentEvent::Refused { why, .. } | AgentEvent::Disconnected { why })
        | Body::Probe(ProbeEvent::Error { what: why, .. } | ProbeEvent::NotSent { why: Some(why), .. }) => short(why),
        Body::Log(LogEvent { from, text, .. }) => {
            short(from);
            short(text);
        }
        _ => {}
    }
    event
}

/// What stands for an event whose record cannot be shortened.
pub(super) fn too_long(event: &Event, bytes: usize) -> Event {
    let text = format!("a record of {bytes} bytes, longer than {} KiB, is left out", RECORD >> 10);
    Event::new(event.t, Body::Log(LogEvent { level: Level::Error, from: "session".to_owned(), text }))
}

fn short(text: &mut String) {
    *text = capped(text, TEXT_LIMIT).into_owned();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ProbeId;

    fn remark(t: Nanos, text: &str) -> Event {
        Event::new(t, Body::Log(LogEvent { level: Level::Warn, from: "x".into(), text: text.into() }))
    }

    #[test]
    fn a_source_gets_a_burst_and_then_its_rate_and_what_is_ours_always_passes() {
        let mut flood = Flood::default();
        let second = 1_000_000_000;
        let said =
            |flood: &mut Flood, t: Nanos| (0..1_000).filter(|_| flood.passes(&remark(t, "x"), 8_192)).count() as u64;
        assert_eq!(said(&mut flood, 0), BURST / 8_192);
        assert_eq!(said(&mut flood, 10 * second), 10 * BYTES_PER_S / 8_192);
        let refused = Event::new(0, Body::Agent(AgentEvent::Refused { id: 1, why: "x".into() }));
        assert!(flood.passes(&refused, 8_192), "another source has its own");
        let ours = Event::new(0, Body::Probe(ProbeEvent::Lost { id: ProbeId(0), k: 1, sent: 0 }));
        assert!((0..100_000).all(|_| flood.passes(&ours, 8_192)));
        let told = flood.told(20 * second, false);
        let [Event { ev: Body::Session(SessionEvent::Overflow { queue, lost }), .. }] = &told[..] else {
            panic!("{told:?}")
        };
        assert_eq!(*lost, 2_000 - BURST / 8_192 - 10 * BYTES_PER_S / 8_192);
        assert!(queue.contains("remarks, beyond 192 KiB/s"), "{queue}");
        assert!(flood.told(40 * second, true).is_empty());
    }

    #[test]
    fn remarks_that_repeat_themselves_are_counted_and_told_once_a_second() {
        let mut flood = Flood::default();
        let ms = 1_000_000;
        let mut recorded = Vec::new();
        for t in 0..3_000 {
            for text in ["one", "two"] {
                let event = remark(t * ms, text);
                if !flood.repeats(&event) {
                    recorded.push(event);
                }
            }
            recorded.extend(flood.told(t * ms, false));
        }
        recorded.extend(flood.told(3_000 * ms, true));
        let texts: Vec<String> = recorded
            .iter()
            .map(|e| match &e.ev {
                Body::Log(l) => l.text.clone(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert!(texts.len() <= 2 * (SAID as usize + 5), "{texts:?}");
        let times =
            |t: &String| t.rsplit_once(" (").map_or(1, |(_, n)| n.trim_end_matches(" times)").parse().unwrap_or(0));
        assert_eq!(texts.iter().map(times).sum::<u64>(), 6_000, "{texts:?}");
    }
}
