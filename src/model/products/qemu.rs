//! QEMU (migration/migration.c, migration/ram.c, migration/cpu-throttle.c).
//!
//! Every 100 ms: what is left to send is compared with bandwidth x `downtime-limit`. Below that the
//! log is read (a new round, into which the unsent tail of the old one is taken over); if what is
//! left then is still below, the guest is stopped and the rest sent without limit. There is no cap on
//! rounds, bytes or time. Pages dirtied again within a round are sent once a round.
//!
//! The limit holds for each 100 ms by itself (`BUFFER_DELAY`) and counts only what has left the
//! buffer (migration-stats.c), which is emptied every 64 pieces (`MAX_IOV_SIZE`, qemu-file.c), and a
//! page is two: its header and itself. So the link carries somewhat more than the limit says: in
//! each 100 ms as many times 32 pages as begin within it; and it carries them in one burst at the
//! beginning, then nothing. That the guest's hottest pages are dirty again after each burst is what
//! keeps a migration with a small `downtime-limit` from converging well below the link's speed.
//!
//! With auto-converge a log that has not been read for 5 s is read in the middle of a round (since 9.2).

use std::time::Duration;

use crate::event::{MigrationSettings, Then};
use crate::model::about::{self, Constant, CostsKnown, Known, Meaning, Own, Sourced};
use crate::model::costs::Costs;
use crate::model::rule::{Cut, Facts, Next, Rule, Throttle, Untouched};

/// `downtime-limit` where it is not set, ms (`DEFAULT_MIGRATE_SET_DOWNTIME`).
const DOWNTIME_LIMIT_MS: u64 = 300;
/// `BUFFER_DELAY`: how often the limit and the bandwidth are looked at, ms.
const LOOK_EVERY_MS: u64 = 100;
/// `max-bandwidth` where it is not set, bytes/s (`MAX_THROTTLE`).
const MAX_BANDWIDTH: u64 = 128 << 20;
/// `CPU_THROTTLE_DIRTY_SYNC_TIMESLICE_MS`: with auto-converge the log is read at least so often after the
/// first round, s.
const SYNC_EVERY_S: u64 = 5;
/// The throttle a guest has from the first period on when a rule is to throttle it later, %: the
/// capability cannot be switched on in the middle (blackout's driver over QMP arms it so).
const ARMED_PCT: f64 = 1.0;
/// Pages that leave the buffer together: half of `MAX_IOV_SIZE`.
const FLUSHED_PAGES: u64 = 32;
/// What is sent for a page of zeroes, bytes (`save_zero_page`: header and one byte).
const ZERO_PAGE_BYTES: u64 = 9;
/// `throttle-trigger-threshold`, %: dirtied to sent in a period.
const THROTTLE_TRIGGER_PCT: f64 = 50.0;
/// `cpu-throttle-initial`, %.
const THROTTLE_INITIAL_PCT: f64 = 20.0;
/// `cpu-throttle-increment`, %.
const THROTTLE_INCREMENT_PCT: f64 = 10.0;
/// `max-cpu-throttle`, %.
const THROTTLE_MAX_PCT: f64 = 99.0;
/// `CPU_THROTTLE_TIMESLICE_NS`: a throttled CPU runs so long between two sleeps, ms.
const THROTTLE_SLICE_MS: f64 = 10.0;
/// How far apart the periods are at least, s (`migration_trigger_throttle` looks once a second).
const THROTTLE_PERIOD_S: f64 = 1.0;

pub(super) struct About;

impl about::About for About {
    fn name(&self) -> &'static str {
        "qemu"
    }

    fn title(&self) -> &'static str {
        "QEMU"
    }

    fn words(&self) -> &'static str {
        "All of memory (pages of zeroes as marks), then what is dirty, for ever, until what is left can\n\
             be sent within downtime-limit at the bandwidth measured. Above the jump it never ends by\n\
             itself: a stop policy, auto-converge or post-copy must."
    }

    fn constants(&self) -> Vec<Constant> {
        use Known::{Assumed, Source};
        let (m, r) = ("migration/migration.c", "migration/ram.c");
        vec![
            Constant::new(
                "downtime-limit",
                format!("{} ms unless set", DOWNTIME_LIMIT_MS),
                Source,
                "migration/options.c",
            ),
            Constant::new(
                "max-bandwidth",
                format!("{} unless set", crate::units::show_bytes(MAX_BANDWIDTH) + "/s"),
                Source,
                "migration/options.c, MAX_THROTTLE",
            ),
            Constant::new("looks at the threshold every", format!("{} ms", LOOK_EVERY_MS), Source, m),
            Constant::new("a page of zeroes", format!("{} bytes", ZERO_PAGE_BYTES), Source, r),
            Constant::new(
                "finding pages of zeroes",
                "takes no time",
                Assumed,
                "so a large empty guest is too quick over a fast link",
            ),
            Constant::new(
                "the limit holds for",
                format!("{} ms, in steps of {} pages, in one burst", LOOK_EVERY_MS, FLUSHED_PAGES),
                Source,
                "migration/migration-stats.c, qemu-file.c; measured",
            ),
            Constant::new(
                "page fault in post-copy",
                format!("{} ms", self.costs().fault_latency.as_secs_f64() * 1e3),
                Assumed,
                "-",
            ),
            Constant::new("rounds, bytes, time", "no cap", Source, m),
            Constant::new("the limit at the end", "lifted", Source, m),
            Constant::new(
                "auto-converge",
                format!(
                    "when {} % of what is sent is dirtied in 2 periods of {} s: {} %, then {} % more, at most {} %",
                    THROTTLE_TRIGGER_PCT,
                    THROTTLE_PERIOD_S,
                    THROTTLE_INITIAL_PCT,
                    THROTTLE_INCREMENT_PCT,
                    THROTTLE_MAX_PCT
                ),
                Source,
                "migration/ram.c, migration/options.c",
            ),
            Constant::new(
                "a throttled CPU runs",
                format!("{} ms between sleeps", THROTTLE_SLICE_MS),
                Source,
                "migration/cpu-throttle.c",
            ),
            Constant::new(
                "with auto-converge the log is read",
                format!("every {} s at least", SYNC_EVERY_S),
                Source,
                "migration/cpu-throttle.c, since 9.2",
            ),
            Constant::new(
                "lateness the generator makes up for",
                "20 ms or one PERIOD",
                Source,
                "blackout's own agent; so short sleeps do not slow it down",
            ),
        ]
    }

    /// Two processes on one machine under emulation, medians of 20 migrations. What happens between STOP and
    /// RESUME takes 7 to 70 ms there, whatever the load.
    fn costs(&self) -> Costs {
        let ms = Duration::from_millis;
        Costs {
            setup: ms(5),
            per_round: Duration::from_micros(300),
            stop: Duration::from_micros(300),
            device_state_bytes: 300_000,
            resume: ms(45),
            announce: ms(5),
            finish: ms(5),
            ..Costs::ASSUMED
        }
    }

    fn costs_known(&self) -> CostsKnown {
        const MEASURED: Sourced = (Known::Measured, "QEMU 10.0.2, two processes on one machine");
        let header = (Known::Source, "migration/ram.c, save_page_header");
        CostsKnown { times: MEASURED, small: MEASURED, header }
    }

    fn rule(&self, settings: &MigrationSettings) -> Box<dyn Rule> {
        Box::new(Qemu::new(settings))
    }

    fn parameters(&self) -> &'static [Own] {
        const ALL: &[Own] = &[
            Own::new("max-bandwidth", "bytes/s", true, Meaning::Bandwidth),
            Own::new("downtime-limit", "ms", true, Meaning::DowntimeLimit),
        ];
        ALL
    }

    fn lets_through(&self, limit_bytes_per_s: f64, page_bytes: u64) -> f64 {
        let flushed = (FLUSHED_PAGES * page_bytes) as f64;
        let looks_per_s = 1e3 / LOOK_EVERY_MS as f64;
        // One more goes as long as no more than the limit has gone.
        ((limit_bytes_per_s / looks_per_s / flushed).floor() + 1.0) * flushed * looks_per_s
    }

    fn limit_unless_set(&self) -> Option<u64> {
        Some(MAX_BANDWIDTH)
    }

    fn finishes_in_rounds(&self) -> bool {
        true
    }

    fn has_post_copy(&self) -> bool {
        true
    }

    fn has_auto_converge(&self) -> bool {
        true
    }

    /// `QEMU 10.0.2`, or `QEMU, version unknown`.
    fn is(&self, told: &str) -> bool {
        told.strip_prefix("QEMU").is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', ',']))
    }
}

struct Qemu {
    auto_converge: bool,
    /// The throttle waits to be let go by a rule.
    armed: bool,
    throttle_pct: f64,
    /// Periods in which too much was dirtied.
    high: u32,
    /// The period that runs: its begin, what it sent and dirtied, bytes.
    period: (u64, u64, u64),
}

impl Qemu {
    fn new(settings: &MigrationSettings) -> Self {
        let armed = !settings.auto_converge && settings.policy.then == Then::AutoConverge;
        Self { auto_converge: settings.auto_converge, armed, throttle_pct: 0.0, high: 0, period: (0, 0, 0) }
    }

    fn throttle_guest(&mut self, f: &Facts) {
        self.period.1 += f.sent_bytes;
        self.period.2 += f.dirtied_pages * crate::units::PAGE_BYTES;
        if ((f.now_ns - self.period.0) as f64) < THROTTLE_PERIOD_S * 1e9 {
            return;
        }
        let (_, sent, dirtied) = std::mem::replace(&mut self.period, (f.now_ns, 0, 0));
        if dirtied as f64 <= sent as f64 * THROTTLE_TRIGGER_PCT / 100.0 {
            return;
        }
        self.high += 1;
        if self.high >= 2 {
            self.high = 0;
            self.throttle_pct = if !self.auto_converge {
                // Armed: 1 %, which is also the most for now.
                ARMED_PCT
            } else if self.throttle_pct == 0.0 {
                THROTTLE_INITIAL_PCT
            } else {
                (self.throttle_pct + THROTTLE_INCREMENT_PCT).min(THROTTLE_MAX_PCT)
            };
        }
    }
}

/// What may be left for the guest to be stopped, bytes.
fn threshold_bytes(bytes_per_s: f64, settings: &MigrationSettings) -> u64 {
    let limit_ms = settings.downtime_limit_ms.unwrap_or(DOWNTIME_LIMIT_MS);
    (bytes_per_s * limit_ms as f64 / 1e3) as u64
}

impl Rule for Qemu {
    fn untouched(&self) -> Untouched {
        Untouched::Mark(ZERO_PAGE_BYTES)
    }

    /// `migration_dirty_pages * TARGET_PAGE_SIZE`.
    fn counts_whole_pages(&self) -> bool {
        true
    }

    fn cut(&self, bytes_per_s: f64, settings: &MigrationSettings) -> Option<Cut> {
        let below_bytes = threshold_bytes(bytes_per_s, settings);
        Some(Cut { below_bytes, every: Duration::from_millis(LOOK_EVERY_MS) })
    }

    /// `dirty-sync-count`.
    fn reading_the_log_is_a_round(&self) -> bool {
        true
    }

    fn bursts_every(&self) -> Option<Duration> {
        Some(Duration::from_millis(LOOK_EVERY_MS))
    }

    fn reads_the_log_every(&self) -> Option<Duration> {
        (self.auto_converge || self.armed).then_some(Duration::from_secs(SYNC_EVERY_S))
    }

    fn lifts_the_limit_at_the_end(&self) -> bool {
        true
    }

    fn throttle_from_now(&mut self) {
        self.auto_converge = true;
    }

    fn throttle(&self) -> Throttle {
        if self.throttle_pct > 0.0 {
            Throttle::Sleeps { pct: self.throttle_pct, slice_ms: THROTTLE_SLICE_MS }
        } else {
            Throttle::None
        }
    }

    fn after_round(&mut self, f: &Facts) -> Next {
        if f.pending_pages == 0 || f.pending_bytes < threshold_bytes(f.bytes_per_s, f.settings) {
            return f.converged();
        }
        if self.auto_converge || self.armed {
            self.throttle_guest(f);
        }
        Next::Round
    }
}
