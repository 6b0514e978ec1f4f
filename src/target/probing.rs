//! The probes of a session: the ping of its guest, and those that were asked for beside it.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail};

use super::field::{Field, Shape};
use super::opened::EndProbing;
use super::resolve;
use crate::agent::client::EchoTarget;
use crate::agent::heartbeat::encode_echo;
use crate::event::{Body, EventSink, Level, LogEvent, ProbeId, Role};
use crate::probe::asked::{Asked, Host};
use crate::probe::{self, ProbeHandle, ProbeOptions};

/// What is probed beside the ping of the guest, in a file of targets.
pub(crate) const PROBES: Field = Field::new(
    "probes",
    "LIST",
    "What is probed beside the ping of the guest, as --probe has it",
    "[\"tcp:guest:443\", \"http://guest/health=200,interval=100ms\"]",
)
.shaped(Shape::List)
.checked(|text| text.parse::<Asked>().map(drop).map_err(|e| e.to_string()));

/// Probes of one session, at most.
pub(crate) const MOST: usize = 32;

/// A probe that was asked for beside the ping of the guest.
#[derive(Debug, Clone)]
struct Wanted {
    asked: Asked,
    /// Where it goes, once that is known; None for the guest and its agent.
    at: Option<SocketAddr>,
}

/// How the guest is probed, before it has an address.
#[derive(Debug, Clone)]
pub(crate) struct Probing {
    /// Its ping; the target is put in when it is known.
    ping: ProbeOptions,
    wanted: Vec<Wanted>,
}

impl Probing {
    /// These probes beside a ping like that.
    pub(crate) fn new(ping: ProbeOptions, asked: impl IntoIterator<Item = Asked>) -> Self {
        let wanted = asked.into_iter().map(|asked| Wanted { asked, at: None }).collect();
        Self { ping, wanted }
    }

    /// The ping of a guest, as it is before there is an address.
    pub(crate) fn ping(&self) -> &ProbeOptions {
        &self.ping
    }

    /// How many are asked for beside the ping.
    pub(crate) fn further(&self) -> usize {
        self.wanted.len()
    }

    /// The first that asks the guest itself, as it was written.
    pub(crate) fn asks_guest(&self) -> Option<&str> {
        self.first(&Host::Guest)
    }

    /// The first that asks the agent, as it was written.
    pub(crate) fn asks_agent(&self) -> Option<&str> {
        self.first(&Host::Agent)
    }

    fn first(&self, host: &Host) -> Option<&str> {
        self.wanted.iter().find(|w| w.asked.host == *host).map(|w| w.asked.written.as_str())
    }

    /// Says what cannot be, before anything is begun.
    ///
    /// # Errors
    /// When there are too many, or more than one is to be the primary one.
    pub(crate) fn check(&self) -> Result<()> {
        if self.wanted.len() >= MOST {
            bail!(
                "{} probes are asked for: a session has at most {}, and the ping of its guest",
                self.further(),
                MOST - 1
            );
        }
        let mut primary = self.wanted.iter().filter(|w| w.asked.primary).map(|w| &w.asked.written);
        if let (Some(one), Some(other)) = (primary.next(), primary.next()) {
            bail!("both {one} and {other} are called primary: downtime is measured with one of them");
        }
        Ok(())
    }

    /// Looks up every name, once. May block, for as long as the name service may take.
    ///
    /// # Errors
    /// A name that has no address.
    pub(crate) fn resolve(&mut self) -> Result<()> {
        for Wanted { asked, at } in &mut self.wanted {
            if let (Host::Named(name), None) = (&asked.host, &at) {
                *at = Some(resolve::target(name, None).with_context(|| format!("the probe {}", asked.written))?);
            }
        }
        Ok(())
    }

    /// The longest time an unanswered probe of the session stays open.
    pub(crate) fn longest_deadline(&self) -> std::time::Duration {
        let stand_in = self.ping.target;
        let of = |w: &Wanted| w.asked.options(ProbeId(0), Role::Further, stand_in, &self.ping).deadline;
        self.wanted.iter().map(of).fold(self.ping.deadline, std::time::Duration::max)
    }
}

/// The probes of a session that is being opened. Dropping it stops them.
#[derive(Debug)]
pub(crate) struct Probes {
    running: Vec<ProbeHandle>,
    /// Those that ask the agent: what they are to be, without where it is.
    waiting: Vec<(ProbeId, Role, Asked)>,
}

impl Probes {
    /// Starts those that need no agent, in the network namespace of the calling thread: the ping of the guest
    /// where it has an address, and those asked for. The primary one has the lowest number: the one that was
    /// asked to be, else the first.
    ///
    /// # Errors
    /// When one cannot be started.
    pub(crate) fn start(probing: &Probing, guest: Option<SocketAddr>, sink: &EventSink) -> Result<Self> {
        let mut probes = Self { running: Vec::new(), waiting: Vec::new() };
        // None is the ping of the guest.
        let mut all: Vec<Option<&Wanted>> = guest.iter().map(|_| None).collect();
        all.extend(probing.wanted.iter().map(Some));
        if let Some(first) = all.iter().position(|w| w.is_some_and(|w| w.asked.primary)) {
            all[..=first].rotate_right(1);
        }
        for (n, wanted) in (0..).zip(all) {
            let id = ProbeId(n);
            let role = if n == 0 { Role::Primary } else { Role::Further };
            let options = match (wanted, guest) {
                (None, Some(at)) => ProbeOptions { id, target: at, role: Some(role), ..probing.ping.clone() },
                (None, None) => continue,
                (Some(Wanted { asked, .. }), _) if asked.host == Host::Agent => {
                    probes.waiting.push((id, role, asked.clone()));
                    continue;
                }
                (Some(Wanted { asked, at }), _) => {
                    let at = at.or(guest).with_context(|| {
                        format!("the probe {} asks the guest, and no address of it is named", asked.written)
                    })?;
                    asked.options(id, role, at, &probing.ping)
                }
            };
            probes.run(&options, sink)?;
        }
        Ok(probes)
    }

    /// Starts those that ask the agent, now that it is connected.
    ///
    /// # Errors
    /// When it answers no echoes, or one cannot be started.
    pub(crate) fn start_with_agent(
        &mut self,
        probing: &Probing,
        echo: Option<EchoTarget>,
        sink: &EventSink,
    ) -> Result<()> {
        for (id, role, asked) in std::mem::take(&mut self.waiting) {
            let echo = echo.with_context(|| {
                format!(
                    "the probe {} needs an agent that is reached at HOST:PORT: over ssh it names no port for echoes",
                    asked.written
                )
            })?;
            let options = asked.options(id, role, echo.addr, &probing.ping);
            let prefix = encode_echo(echo.token, &[]);
            self.run(&ProbeOptions { target: echo.addr, prefix, ..options }, sink)?;
        }
        Ok(())
    }

    fn run(&mut self, options: &ProbeOptions, sink: &EventSink) -> Result<()> {
        let named = || options.asked.clone().unwrap_or_else(|| format!("ping of {}", options.target.ip()));
        let running = probe::start(options, sink).with_context(|| format!("the probe {} cannot start", named()))?;
        let spec = running.spec();
        // A name is looked up once: which of its addresses is asked from now on is told.
        let address = spec.target.to_string();
        if let Some(asked) = spec.asked.as_ref().filter(|asked| !asked.contains(&address)) {
            let text = format!("probe {}: {asked} is asked at {address}", options.id);
            sink.emit(Body::Log(LogEvent { level: Level::Info, from: "probe".into(), text }));
        }
        self.running.push(running);
        Ok(())
    }

    /// What ends them all; None where there are none.
    pub(crate) fn ending(self) -> Option<EndProbing> {
        let running = self.running;
        if running.is_empty() {
            return None;
        }
        Some(Box::new(move || {
            running.iter().for_each(ProbeHandle::ask_to_stop);
            for probe in running {
                probe.stop();
            }
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Hub, ProbeEvent, ProbeSpec, SessionClock};

    fn probing(asked: &[&str]) -> Probing {
        let ping = ProbeOptions::icmp(ProbeId(0), ([0, 0, 0, 0], 0).into());
        Probing::new(ping, asked.iter().map(|text| text.parse().unwrap()))
    }

    /// What is started on loopback: number, kind and role of each.
    fn started(asked: &[&str], guest: Option<SocketAddr>) -> Vec<ProbeSpec> {
        let (sink, hub) = Hub::new(SessionClock::start(), 1_000);
        let mut probing = probing(asked);
        probing.resolve().unwrap();
        let probes = Probes::start(&probing, guest, &sink).unwrap();
        if let Some(end) = probes.ending() {
            end();
        }
        let (mut specs, mut stopped) = (Vec::new(), 0);
        for event in hub.rx.try_iter() {
            match event.ev {
                Body::Probe(ProbeEvent::Started { id, spec }) => {
                    assert_eq!(usize::from(id.0), specs.len());
                    specs.push(spec);
                }
                Body::Probe(ProbeEvent::Stopped { .. }) => stopped += 1,
                _ => {}
            }
        }
        assert_eq!(stopped, specs.len(), "all have ended");
        specs
    }

    fn asked(specs: &[ProbeSpec]) -> Vec<(Option<&str>, Option<Role>)> {
        specs.iter().map(|spec| (spec.asked.as_deref(), spec.role)).collect()
    }

    #[test]
    fn the_first_is_primary_unless_another_is_called_that() {
        let (one, two) = ("udp:127.0.0.1:9", "udp:127.0.0.1:10");
        let (primary, further) = (Some(Role::Primary), Some(Role::Further));
        assert_eq!(asked(&started(&[one, two], None)), [(Some(one), primary), (Some(two), further)]);
        let called = format!("{two},primary");
        assert_eq!(asked(&started(&[one, &called], None)), [(Some(two), primary), (Some(one), further)]);
        assert!(started(&[], None).is_empty());
    }

    #[test]
    fn the_guest_is_asked_at_its_address() {
        let guest = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
        let probing = probing(&["udp:guest:9"]);
        assert_eq!(probing.asks_guest(), Some("udp:guest:9"));
        let (sink, hub) = Hub::new(SessionClock::start(), 1_000);
        match Probes::start(&probing, guest, &sink) {
            Ok(probes) => drop(probes),
            Err(e) if e.to_string().contains("ping of") => return crate::testing::skipped("ICMP is not allowed here"),
            Err(e) => panic!("{e:#}"),
        }
        let events: Vec<Body> = hub.rx.try_iter().map(|e| e.ev).collect();
        let specs = events.iter().filter_map(|ev| match ev {
            Body::Probe(ProbeEvent::Started { spec, .. }) => Some((spec.target.to_string(), spec.port)),
            _ => None,
        });
        assert_eq!(specs.collect::<Vec<_>>(), [("127.0.0.1".to_owned(), None), ("127.0.0.1".to_owned(), Some(9))]);
        let log = events.iter().find_map(|ev| if let Body::Log(log) = ev { Some(log.text.as_str()) } else { None });
        assert_eq!(log, Some("probe 1: udp:guest:9 is asked at 127.0.0.1"));
        let e = Probes::start(&probing, None, &sink).unwrap_err().to_string();
        assert!(e.contains("udp:guest:9 asks the guest, and no address"), "{e}");
    }

    #[test]
    fn too_many_and_two_that_are_primary_are_refused() {
        let many: Vec<String> = (1..=MOST).map(|port| format!("udp:127.0.0.1:{port}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(probing(&many).check().unwrap_err().to_string().contains("at most 31"));
        assert!(probing(&many[1..]).check().is_ok());
        let e = probing(&["icmp:a,primary", "icmp:b,primary"]).check().unwrap_err().to_string();
        assert!(e.contains("both icmp:a and icmp:b"), "{e}");
    }

    #[test]
    fn the_longest_deadline_is_that_of_all() {
        let of = |asked: &[&str]| probing(asked).longest_deadline().as_millis();
        assert_eq!((of(&[]), of(&["tcp:web:443"]), of(&["icmp:web,deadline=2s"])), (1000, 1000, 2000));
    }
}
