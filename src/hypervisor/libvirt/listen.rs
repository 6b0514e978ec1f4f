//! A `virsh` that tells events, line by line, and is started again when it ends.

use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until};

use super::shell::virsh;
use crate::hypervisor::exec::{Spec, Step};
use crate::text::capped;

/// One that has not ended so soon has found its host.
const SETTLED: Duration = Duration::from_millis(300);
/// Between two attempts: the first, and the longest.
const AGAIN: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);
/// Lines a second that are taken, and at once; what comes beyond is passed over. A guest that migrates makes ten.
const RATE: f64 = 200.0;
const BURST: f64 = 2000.0;
/// What libvirt says of what it will never do here.
const NEVER: [&str; 4] = ["not supported", "unknown command", "forbidden", "access denied"];

/// Whose events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Of {
    /// libvirt's.
    Libvirt,
    /// QEMU's own.
    Qemu,
}

impl Of {
    fn command(self) -> &'static [&'static str] {
        match self {
            // Of all guests: virsh refuses one that is not there yet.
            Self::Libvirt => &["event", "--all", "--loop", "--timestamp"],
            // Filtered by the daemon, so that a busy host sends no more than this.
            Self::Qemu => &[
                "qemu-monitor-event",
                "--loop",
                "--regex",
                "--event",
                "^(STOP|RESUME|MIGRATION|MIGRATION_PASS|GUEST_PANICKED|BLOCK_IO_ERROR)$",
            ],
        }
    }
}

/// What became known.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Heard {
    /// It listens.
    Up,
    /// It said this, then.
    Line(std::time::Instant, String),
    /// More came than is taken: something was missed.
    Flood,
    /// It has ended, and why. It is started again unless `for_good`.
    Down {
        /// Why.
        why: String,
        /// It will never listen here.
        for_good: bool,
    },
}

/// Listens until nobody wants to hear any more.
pub(super) async fn listen(uri: String, of: Of, to: Sender<(Of, Heard)>) {
    let mut failures = 0_u32;
    loop {
        let begun = Instant::now();
        let Some((why, was_up)) = once(&uri, of, &to).await else { return };
        failures = if was_up { 0 } else { failures.saturating_add(1) };
        let for_good = NEVER.iter().any(|words| why.contains(words)) && of == Of::Qemu;
        if to.send((of, Heard::Down { why, for_good })).await.is_err() || for_good {
            return;
        }
        let pause = AGAIN.saturating_mul(1 << failures.min(4)).min(AGAIN_AT_MOST);
        sleep_until(begun + pause).await;
    }
}

/// One of them, to its end: why, and whether it had listened. None if nobody wants to hear.
async fn once(uri: &str, of: Of, to: &Sender<(Of, Heard)>) -> Option<(String, bool)> {
    let spec = Spec { argv: virsh(uri, of.command()), ssh: None, pty: true };
    let mut process = match spec.spawn() {
        Ok(process) => process,
        Err(e) => return Some((e.to_string(), false)),
    };
    let (mut settled, mut errors) = (Some(Instant::now() + SETTLED), Vec::<String>::new());
    let (mut left, mut counted, mut flood) = (BURST, Instant::now(), false);
    loop {
        let step = tokio::select! {
            step = process.next() => step,
            () = sleep_until(settled.unwrap_or(counted)), if settled.is_some() => {
                settled = None;
                to.send((of, Heard::Up)).await.ok()?;
                continue;
            }
            () = to.closed() => return None,
        };
        match step {
            Step::Said(piece) if !piece.whole => {}
            Step::Said(piece) if piece.text.starts_with("error: ") => {
                errors.truncate(3);
                errors.push(capped(piece.text.trim_start_matches("error: "), 300).into_owned());
            }
            Step::Said(piece) => {
                let now = Instant::now();
                left = (left + (now - counted).as_secs_f64() * RATE).min(BURST);
                counted = now;
                process.forgive();
                if left >= 1.0 {
                    left -= 1.0;
                    flood = false;
                    to.send((of, Heard::Line(now.into_std(), piece.text))).await.ok()?;
                } else {
                    if !std::mem::replace(&mut flood, true) {
                        to.send((of, Heard::Flood)).await.ok()?;
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Step::Ended(_) if errors.is_empty() => return Some(("virsh ended".into(), settled.is_none())),
            Step::Ended(_) => return Some((errors.join(": "), settled.is_none())),
        }
    }
}
