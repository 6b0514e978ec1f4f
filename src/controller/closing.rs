//! The end of a session: says what it waits for, and ends sooner for somebody who is in a hurry.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::anyhow;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How long the end of a session may take: cancelling a migration, ending a lab.
const CLOSE_WITHIN: Duration = Duration::from_secs(40);
/// An end that takes longer says what it waits for.
const QUIET: Duration = Duration::from_secs(1);
/// How long what was started may take to be gone when it is not waited for.
const DROPPED_WITHIN: Duration = Duration::from_millis(700);

/// What the end of the session waits for, as whoever waits says it.
#[derive(Debug, Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<Option<&'static str>>>);

impl Waiting {
    pub(super) fn on(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    pub(super) fn now(&self) -> &'static str {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or("the hypervisor to answer")
    }
}

/// How a session was closed.
pub(crate) enum Closed<T> {
    /// In good order, with this result.
    InOrder(T),
    /// Before everything had come to its end, and why.
    CutShort(anyhow::Error),
}

/// Waits for what was started to end: in its own time, or hardly at all once somebody is impatient. Where it
/// takes long, `tell` is told what it waits for.
pub(super) async fn close<T>(
    work: &mut JoinHandle<T>,
    waiting: &Waiting,
    impatient: Option<watch::Receiver<bool>>,
    tell: impl Fn(&str),
) -> Closed<T> {
    let hurried = async {
        if let Some(mut impatient) = impatient
            && impatient.wait_for(|now| *now).await.is_ok()
        {
            return;
        }
        std::future::pending().await
    };
    let why = tokio::select! {
        ended = &mut *work => return match ended {
            Ok(result) => Closed::InOrder(result),
            Err(e) => Closed::CutShort(anyhow!("the controller is gone: {e}")),
        },
        () = hurried => anyhow!("ended at once, without waiting for {}", waiting.now()),
        () = tokio::time::sleep(CLOSE_WITHIN) => {
            anyhow!("gave up after {} s of waiting for {}", CLOSE_WITHIN.as_secs(), waiting.now())
        }
        () = say(waiting, tell) => anyhow!("nothing waits"),
    };
    // Dropping it ends its children, wherever it was.
    work.abort();
    let _ = tokio::time::timeout(DROPPED_WITHIN, work).await;
    Closed::CutShort(why)
}

/// Says what is waited for, for ever.
async fn say(waiting: &Waiting, tell: impl Fn(&str)) {
    let mut said = None;
    tokio::time::sleep(QUIET).await;
    loop {
        let what = waiting.now();
        if said.replace(what) != Some(what) {
            tell(what);
        }
        tokio::time::sleep(QUIET / 4).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn impatience_cuts_it_short_and_drops_what_was_started() {
        let (alive, mut dropped) = tokio::sync::oneshot::channel::<()>();
        let mut work = tokio::spawn(async move {
            let _alive = alive;
            std::future::pending::<()>().await;
        });
        let (tx, rx) = watch::channel(false);
        let waiting = Waiting::default();
        waiting.on("the last host to end");
        tx.send_replace(true);
        let Closed::CutShort(why) = close(&mut work, &waiting, Some(rx), |_| ()).await else { panic!("it never ends") };
        assert!(why.to_string().contains("the last host to end"), "{why}");
        assert_eq!(dropped.try_recv(), Err(tokio::sync::oneshot::error::TryRecvError::Closed));
    }

    #[tokio::test]
    async fn without_impatience_the_result_is_waited_for() {
        let mut work = tokio::spawn(async { 7 });
        let Closed::InOrder(result) = close(&mut work, &Waiting::default(), None, |_| ()).await else {
            panic!("cut short")
        };
        assert_eq!(result, 7);
    }
}
