//! A look at a target: is it there, what does it offer, where is the guest? Changes nothing.

use std::time::Duration;

use super::description::Target;
use super::probing::Probing;
use super::product::Finding;
use crate::event::{Body, Capabilities, EventSink, Hub, HvEvent, SessionClock, Then};
use crate::hypervisor::Place;
use crate::text::{foreign, in_full};

/// How long a look at one target may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(15);
/// Events that a look may make.
const EVENTS: usize = 1 << 12;

/// What is to be seen of a target. Comes back within [`WITHIN`] and a little.
pub(crate) async fn look(target: Target, probing: Probing) -> Vec<Finding> {
    let mut findings = target.product.look();
    let guest = target.guest.clone();
    if guest.is_described() {
        let reached = crate::allowed::blocking("look", move || guest.reach()).await;
        let text = match reached {
            Ok(Ok(reached)) => {
                let agent = reached.agent.map(|agent| format!("agent at {agent}, its key is there"));
                let ping = reached.ping.map(|ping| format!("pinged at {}", ping.ip()));
                Ok([agent, ping, reached.warning].into_iter().flatten().collect::<Vec<_>>().join("; "))
            }
            Ok(Err(e)) => Err(in_full(&e)),
            Err(e) => Err(e.to_string()),
        };
        findings.push(("guest".into(), text));
    }
    if target.product.may_be_opened() {
        let (sink, hub) = Hub::new(SessionClock::start(), EVENTS);
        let opened = tokio::time::timeout(WITHIN, hosts(target, probing, sink)).await;
        let mut told = told(&hub);
        match opened {
            Ok(found) => told.extend(found),
            Err(_) => told.push(("hosts".into(), Err(format!("no answer within {} s", WITHIN.as_secs())))),
        }
        findings.extend(told);
    }
    findings
}

/// Opens the hosts, asks where the guest is, and closes them.
async fn hosts(target: Target, probing: Probing, sink: EventSink) -> Vec<Finding> {
    let opened = match target.product.open(&probing, &sink).await {
        Ok(opened) => opened,
        Err(e) => return vec![("hosts".into(), Err(in_full(&e)))],
    };
    let Some(hypervisor) = opened.hypervisor else { return Vec::new() };
    let offers = hypervisor.capabilities().await;
    let prospect = hypervisor.prospect().await;
    hypervisor.close().await;
    let offers = offers.map(|offers| offered(&offers)).map_err(|e| e.to_string());
    let place = foreign(&prospect.location().words());
    let place = match prospect.place {
        Place::Unknown { .. } => Err(format!("the guest {place}")),
        _ => Ok(format!("the guest {place}")),
    };
    let next = match prospect.obstacle {
        Some(why) => Err(why),
        None => Ok(format!("from {} to {}", prospect.from, prospect.to)),
    };
    [("offers", offers), ("where", place), ("next", next)].map(|(what, found)| (what.to_owned(), found)).into()
}

/// What the hosts said of themselves meanwhile.
fn told(hub: &Hub) -> Vec<Finding> {
    let mut found = Vec::new();
    for event in hub.rx.try_iter() {
        if let Body::Hypervisor(HvEvent::HostUp { host, version, .. }) = event.ev {
            found.push((host, Ok(format!("reached: {}", foreign(&version)))));
        }
    }
    found
}

/// What can be asked for, and what can be seen.
fn offered(offers: &Capabilities) -> String {
    let all = [Then::Cancel, Then::StopAndCopy, Then::PostCopy, Then::AutoConverge];
    let taken: Vec<&str> = all.into_iter().filter(|then| offers.takes(*then)).map(Then::word).collect();
    let taken = if taken.is_empty() { "nothing while a migration runs".to_owned() } else { taken.join(", ") };
    let seen = offers.sees.as_ref().map_or_else(String::new, |sees| {
        let all = [
            (sees.progress, "progress"),
            (sees.rounds, "rounds"),
            (sees.remaining, "what is left"),
            (sees.dirty_rate, "the dirty rate"),
            (sees.stop_resume.is_some(), "stop and resume"),
            (sees.downtime.is_some(), "its own downtime"),
            (sees.location, "where the guest is"),
        ];
        let words: Vec<&str> = all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect();
        format!("; to be seen: {}", if words.is_empty() { "nothing".to_owned() } else { words.join(", ") })
    });
    let rule = offers.own_rule.as_ref().map(|rule| format!("; its own rule: {}", foreign(rule))).unwrap_or_default();
    format!("{taken}; {} parameters{seen}{rule}", offers.parameters.len())
}
