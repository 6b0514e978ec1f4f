//! The two QEMUs of a migration, and what is owed to them.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::bounds::name;
use super::guardian::{Duty, Guardian, GuardianCommand};
use super::host::QmpHost;
use super::locate;
use crate::event::{Body, EventSink, Level, LogEvent, SettingWhy};
use crate::hypervisor::place::Condition;
use crate::hypervisor::{HvError, Place, Side};

/// Two QEMUs, from one of which a guest is to go to the other.
#[derive(Debug, Clone)]
pub(super) struct Pair {
    pub(super) source: Arc<QmpHost>,
    pub(super) destination: Arc<QmpHost>,
    pub(super) sink: EventSink,
}

/// The guest's status at a QEMU, in its own word.
pub(super) async fn status(host: &QmpHost) -> Result<String, HvError> {
    let answer = host.execute("query-status", Value::Null).await?;
    Ok(name(answer["status"].as_str().unwrap_or_default()))
}

impl Pair {
    pub(super) fn log(&self, level: Level, from: &QmpHost, text: impl Into<String>) {
        self.say(level, from.name(), text.into());
    }

    fn say(&self, level: Level, from: &str, text: String) {
        self.sink.emit(Body::Log(LogEvent { level, from: from.to_owned(), text }));
    }

    /// Where the guest is. `complete`: the source has said that everything is handed over.
    pub(super) async fn locate(&self, complete: bool) -> Place {
        let (at_source, at_destination) = tokio::join!(locate::ask(&self.source), locate::ask(&self.destination));
        let place = locate::place(&at_source, &at_destination, complete);
        match &place {
            // Asked at about the same time, it may have moved between the two answers.
            Place::Both => locate::place(&locate::ask(&self.source).await, &at_destination, complete),
            Place::Destination { is: Condition::Runs, .. } => {
                // Its own word for it may have been missed.
                self.destination.seen_running();
                place
            }
            _ => place,
        }
    }

    /// The guest is seen to: the guardian stands down, and both hosts get the settings they had before; a host of
    /// ours gets the `throttle` it had before.
    pub(super) async fn stand_down(&self, safeguard: Safeguard, throttle: Option<Map<String, Value>>) {
        // The source may be asked to migrate again; an armed throttle must not stay behind.
        if let Some(throttle) = throttle
            && !self.source.is_borrowed()
            && self.source.view().borrow().lost.is_none()
        {
            let _ = self.source.set_parameters(&throttle, SettingWhy::PutBack).await;
            let _ = self.source.tell_offers().await;
        }
        if let Some(guardian) = &safeguard.0 {
            let _ = guardian.owe(|duty| duty.armed = false).await;
        }
        // What is left to be put back is left to the guardian, which waits for the migration to end.
        let (source, destination) = tokio::join!(self.source.put_back(), self.destination.put_back());
        for host in [&self.source, &self.destination] {
            host.guard_with(None);
        }
        if let (Some(guardian), true) = (safeguard.0, source && destination) {
            guardian.stand_down().await;
        }
    }
}

/// The guardian of a migration, if there is one. Dropped without [`Pair::stand_down`], it acts as if we had died.
#[derive(Debug, Default)]
pub(super) struct Safeguard(Option<Guardian>);

impl Safeguard {
    /// Starts the guardian if there is none, which both hosts tell from now on what was changed there.
    pub(super) async fn begin(&mut self, pair: &Pair, command: &GuardianCommand) {
        if self.0.is_some() {
            return;
        }
        let told = pair.clone();
        let say = Box::new(move |level, text| told.say(level, "guardian", text));
        match Guardian::start(command, pair.source.spec(), pair.destination.spec(), say).await {
            Ok(guardian) => {
                pair.source.guard_with(Some((guardian.handle(), Side::Source)));
                pair.destination.guard_with(Some((guardian.handle(), Side::Destination)));
                self.0 = Some(guardian);
            }
            Err(e) => {
                let text = format!(
                    "no guardian ({e}): if blackout dies, resume a stopped guest and put changed settings back by hand"
                );
                pair.log(Level::Warn, &pair.source, text);
            }
        }
    }

    /// Tells the guardian what is owed from now on.
    pub(super) async fn owe(&self, pair: &Pair, f: impl FnOnce(&mut Duty) + Send + 'static) {
        if let Some(guardian) = &self.0
            && let Err(e) = guardian.owe(f).await
        {
            let text = format!("the guardian is gone ({e}): if blackout dies now, resume the guest by hand");
            pair.log(Level::Warn, &pair.source, text);
        }
    }
}
