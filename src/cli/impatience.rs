//! Somebody who does not want to wait for the end of a session.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Somebody who does not want to wait: SIGINT and SIGTERM from now on. The second of them ends the
/// process on the spot. SIGHUP is not meant so: a terminal that goes away may send several.
pub(super) fn impatience() -> Result<watch::Receiver<bool>> {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_io().build().context("signals cannot be listened to")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let (tx, rx) = watch::channel(false);
    let listen = async move {
        loop {
            let code = tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
                _ = hangup.recv() => continue,
            };
            if tx.send_replace(true) {
                // Children die with the process; the capture is whole up to its last line.
                std::process::exit(code);
            }
        }
    };
    std::thread::Builder::new()
        .name("impatience".into())
        .spawn(move || runtime.block_on(listen))
        .context("cannot start a thread")?;
    Ok(rx)
}
