//! One direction between the two hosts: the words that migrate, where the guest is, and what is changed there.

use std::sync::Arc;

use serde_json::Value;

use super::changes::{Knob, speed};
use super::config::{Config, asking_nothing};
use super::domstate;
use super::host::{Guest, Host, lock};
use super::jobinfo::Said;
use super::shell::virsh;
use crate::event::{HvEvent, MigrationSettings, SettingWhy, Then};
use crate::hypervisor::exec::Spec;
use crate::hypervisor::{HvError, Place, Side};

/// One direction between the two hosts.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    pub(super) config: Arc<Config>,
    pub(super) guest: Arc<Guest>,
    pub(super) source: Arc<Host>,
    pub(super) destination: Arc<Host>,
}

/// Whether post-copy has to be prepared for.
pub(super) fn wants_post_copy(settings: &MigrationSettings) -> bool {
    settings.post_copy || (settings.policy.has_rules() && settings.policy.then == Then::PostCopy)
}

impl Lane {
    pub(super) fn host(&self, side: Side) -> &Arc<Host> {
        match side {
            Side::Source => &self.source,
            Side::Destination => &self.destination,
        }
    }

    /// The command that migrates.
    pub(super) fn command(&self, settings: &MigrationSettings) -> Spec {
        let to = &self.destination.config;
        let mut words = vec!["migrate", "--live"];
        let parallel = self.config.parallel.map(|n| n.to_string());
        let limit =
            settings.bandwidth_bytes_per_s.filter(|limit| *limit > 0).map(|limit| speed(Some(limit)).to_string());
        for (is, flag) in [
            (self.config.peer_to_peer, "--p2p"),
            (self.config.tunnelled, "--tunnelled"),
            (wants_post_copy(settings), "--postcopy"),
            (settings.auto_converge, "--auto-converge"),
        ] {
            if is {
                words.push(flag);
            }
        }
        if let Some(n) = &parallel {
            words.extend(["--parallel", "--parallel-connections", n]);
        }
        if let Some(limit) = &limit {
            words.extend(["--bandwidth", limit]);
        }
        let uri = asking_nothing(to.peer_uri.as_ref().unwrap_or(&to.uri));
        words.extend([self.guest.word.as_str(), &uri]);
        words.extend(to.address.as_deref().filter(|_| !self.config.tunnelled));
        // A terminal of its own: at our death it is hung up, and the migration goes on.
        Spec { argv: virsh(&self.source.config.uri, &words), ssh: None, pty: true }
    }

    /// Where the guest is. Returns within seconds.
    pub(super) async fn place(&self) -> Place {
        let (here, there) = tokio::join!(self.source.state(&self.guest), self.destination.state(&self.guest));
        let of = |here| domstate::place(here, &there, self.source.name(), self.destination.name());
        match of(&here) {
            // Asked at about the same time, it may have moved between the two answers.
            Place::Both => of(&self.source.state(&self.guest).await),
            place => place,
        }
    }

    /// Whether a migration of the guest away from the source is under way there; None where that is not known.
    pub(super) async fn is_leaving(&self) -> Option<bool> {
        match self.source.job(&self.guest).await {
            Said::Job(job) => Some(job.is_leaving()),
            Said::Gone | Said::Destination => Some(false),
            Said::Blind(_) => None,
        }
    }

    /// Changes a setting at the source, which is told before, and keeps what it had.
    ///
    /// # Errors
    /// If it is refused, or what it has cannot be learnt: then it could not be put back.
    pub(super) async fn change(&self, knob: Knob, to: u64) -> Result<(), HvError> {
        let (host, guest) = (&self.source, &self.guest.word);
        let known = lock(&host.former).get(&knob).copied();
        let what = format!("'{}'", knob.name());
        let from = match known {
            Some(from) => from,
            None => {
                let answer = host.order(&knob.get(guest), &what).await?;
                let from = answer.line().and_then(|line| line.parse().ok());
                from.ok_or_else(|| HvError::Unread {
                    host: host.name().into(),
                    what: what.clone(),
                    why: answer.said(),
                })?
            }
        };
        if known.is_none() && from == to {
            return Ok(());
        }
        lock(&host.former).insert(knob, from);
        self.tell(knob, Value::from(from), to, SettingWhy::Asked);
        host.order(&knob.set(guest, to), &what).await.map(drop)
    }

    /// Gives a setting the value it had before it was changed, if it was.
    pub(super) async fn restore(&self, knob: Knob) -> Result<(), HvError> {
        let former = lock(&self.source.former).get(&knob).copied();
        let Some(former) = former else { return Ok(()) };
        self.tell(knob, Value::Null, former, SettingWhy::PutBack);
        let what = format!("'{}'", knob.name());
        let done = self.source.order(&knob.set(&self.guest.word, former), &what).await;
        if !done.as_ref().is_err_and(HvError::is_unanswered) {
            lock(&self.source.former).remove(&knob);
        }
        done.map(drop)
    }

    /// Puts everything back. What is gone with the guest is no fault.
    pub(super) async fn put_back(&self) {
        let changed: Vec<Knob> = lock(&self.source.former).keys().copied().collect();
        if changed.is_empty() {
            return;
        }
        // The settings are of the guest at that host: where it is not any more, they are gone, too.
        if matches!(self.source.state(&self.guest).await, Ok(domstate::At::Absent)) {
            lock(&self.source.former).clear();
            return;
        }
        for knob in changed {
            if let Err(e) = self.restore(knob).await {
                let text = format!("'{}' could not be put back: {e}", knob.name());
                self.source.log(crate::event::Level::Warn, text);
            }
        }
    }

    fn tell(&self, knob: Knob, from: Value, to: u64, why: SettingWhy) {
        let (host, name) = (self.source.name().to_owned(), knob.name().to_owned());
        self.source.tell(HvEvent::Setting { host, name, from, to: Value::from(to), why });
    }
}
