//! What blackout changes at a QEMU that is not its own: told before it is done, remembered with the
//! value there was before, and put back.
//!
//! Every setting of a host goes through [`QmpHost::set_parameters`] and
//! [`QmpHost::set_capabilities`]. At a host that is ours (the lab's) they only set; at any other they
//! leave out what is so already, write a [`HvEvent::Setting`] for each of the rest, remember its
//! former value, hand that to the guardian, and only then give the command. [`QmpHost::put_back`]
//! goes the other way.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::{Instant, sleep, timeout};

use super::former::Former;
use super::guardian::Handle;
use super::host::QmpHost;
use super::negotiate::Offer;
use crate::event::{Body, HvEvent, Level, LogEvent, SettingWhy};
use crate::hypervisor::{HvError, Side};

/// How long a QEMU may refuse a former value because its migration is just ending.
const ENDING: Duration = Duration::from_secs(3);
/// Between two tries.
const AGAIN: Duration = Duration::from_millis(50);
/// The longest it may take to put back what one host had.
const PUT_BACK_WITHIN: Duration = Duration::from_secs(6);

impl QmpHost {
    /// The host was started by this session and ends with it: its settings are ours to keep.
    pub fn claim(&self) {
        self.ledger().ours = true;
    }

    /// Whether it is not ours: what is changed there is told, and put back.
    #[must_use]
    pub fn is_borrowed(&self) -> bool {
        !self.ledger().ours
    }

    /// The former values of everything that was changed and not yet put back.
    #[must_use]
    pub fn former(&self) -> Former {
        self.ledger().former.clone()
    }

    /// From now on this guardian is told what would have to be put back.
    pub(super) fn guard_with(&self, guardian: Option<(Handle, Side)>) {
        self.ledger().guardian = guardian;
    }

    /// Sets migration parameters.
    ///
    /// # Errors
    /// When it refuses, is gone or does not answer.
    pub(super) async fn set_parameters(&self, set: &Map<String, Value>, why: SettingWhy) -> Result<(), HvError> {
        let wanted = Former { parameters: set.clone(), ..Former::default() };
        self.set(wanted, why).await
    }

    /// Sets migration capabilities.
    ///
    /// # Errors
    /// When it refuses, is gone or does not answer.
    pub(super) async fn set_capabilities(&self, set: &BTreeMap<String, bool>, why: SettingWhy) -> Result<(), HvError> {
        let wanted = Former { capabilities: set.clone(), ..Former::default() };
        self.set(wanted, why).await
    }

    async fn set(&self, wanted: Former, why: SettingWhy) -> Result<(), HvError> {
        let mut wanted = wanted;
        if self.is_borrowed() && !wanted.is_empty() {
            let now = self.offer().await?;
            wanted = wanted.differing(&now);
            self.remember(&wanted, &now, why).await;
        }
        for (command, arguments) in wanted.commands() {
            self.execute(command, arguments).await?;
        }
        Ok(())
    }

    /// Tells what is about to be set, and remembers what was there before blackout first touched it.
    async fn remember(&self, wanted: &Former, now: &Offer, why: SettingWhy) {
        for (name, to) in wanted.settings() {
            let from = now.value(name).unwrap_or(Value::Null);
            self.tell_setting(name, from, to, why);
        }
        let tell = {
            let mut ledger = self.ledger();
            for name in wanted.parameters.keys() {
                if let Some(before) = now.parameters.get(name) {
                    ledger.former.parameters.entry(name.clone()).or_insert_with(|| before.clone());
                }
            }
            for name in wanted.capabilities.keys() {
                if let Some(before) = now.capabilities.get(name) {
                    ledger.former.capabilities.entry(name.clone()).or_insert(*before);
                }
            }
            ledger.guardian.clone().map(|(guardian, side)| (guardian, side, ledger.former.clone()))
        };
        // Before the command: should we die in between, the guardian puts back what was not changed,
        // which changes nothing.
        if let Some((guardian, side, former)) = tell
            && let Err(e) = guardian.remember(side, former.clone()).await
        {
            let text = format!(
                "the guardian is gone ({e}): if blackout dies now, put the former values back by hand, on {}: {}",
                self.spec().control,
                former.by_hand()
            );
            self.say(Level::Warn, text);
        }
    }

    fn tell_setting(&self, name: &str, from: Value, to: Value, why: SettingWhy) {
        let ev = HvEvent::Setting { host: self.name().to_owned(), name: name.to_owned(), from, to, why };
        self.sink().emit(Body::Hypervisor(ev));
    }

    fn say(&self, level: Level, text: String) {
        self.sink().emit(Body::Log(LogEvent { level, from: self.name().to_owned(), text }));
    }

    /// Puts back whatever was changed at a host that is not ours, as far as it lets us: a QEMU refuses
    /// some while a migration runs. Says so where something is left, with the command that puts it
    /// back. Returns whether nothing is left to be put back. Never waits longer than 6 s.
    pub async fn put_back(&self) -> bool {
        if self.former().is_empty() {
            return true;
        }
        let why = match timeout(PUT_BACK_WITHIN, self.try_to_put_back()).await {
            Ok(Ok(())) => {
                self.ledger().former = Former::default();
                let _ = timeout(PUT_BACK_WITHIN, self.tell_offers()).await;
                return true;
            }
            // A QEMU that has ended has nothing left to be put back.
            Ok(Err(HvError::Lost { .. })) if self.has_ended() => {
                self.ledger().former = Former::default();
                return true;
            }
            Ok(Err(e)) => e.to_string(),
            Err(_) => format!("it did not answer within {} s", PUT_BACK_WITHIN.as_secs()),
        };
        let former = self.former();
        let text = format!(
            "not all of its former settings are put back: {why}. To put them back by hand, give on {}: {}",
            self.spec().control,
            former.by_hand()
        );
        self.say(Level::Error, text);
        false
    }

    async fn try_to_put_back(&self) -> Result<(), HvError> {
        let begun = Instant::now();
        let mut told = Former::default();
        loop {
            let now = self.offer().await?;
            let left = self.former().differing(&now);
            self.ledger().former = left.clone();
            if left.is_empty() {
                return Ok(());
            }
            for (name, to) in left.settings() {
                if !told.settings().any(|(known, _)| known == name) {
                    self.tell_setting(name, now.value(name).unwrap_or(Value::Null), to, SettingWhy::PutBack);
                }
            }
            told = left.clone();
            match self.give_back(&left).await {
                Ok(()) => {}
                Err(e @ HvError::Refused { .. }) if begun.elapsed() > ENDING => return Err(e),
                Err(HvError::Refused { .. }) => sleep(AGAIN).await,
                Err(e) => return Err(e),
            }
        }
    }
}
