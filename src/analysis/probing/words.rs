//! A probe's summary in words.

use super::{Gap, Summary};
use crate::event::Class;
use crate::text::foreign;
use crate::units::show_duration;

/// Nanoseconds as milliseconds, to the microsecond.
#[must_use]
pub fn ms(ns: u64) -> String {
    format!("{:.3}", ns as f64 / 1e6)
}

fn slots(n: u64) -> String {
    if n == 1 { "1 slot".to_owned() } else { format!("{n} slots") }
}

/// A silence: its bounds and its slots.
#[must_use]
pub fn gap_words(gap: &Gap) -> String {
    let slots =
        gap.to_k.map_or_else(|| format!("since slot {}", gap.from_k), |to| format!("slots {} to {to}", gap.from_k));
    let lo = show_duration(gap.lo);
    match gap.hi {
        Some(hi) => format!("[{lo}, {}] ({slots})", show_duration(hi)),
        None => format!("gone for at least {lo} ({slots})"),
    }
}

impl Summary {
    /// What there is to say, a line each; `pending` slots have no fate yet, where that is known.
    #[must_use]
    pub fn lines(&self, pending: Option<u64>) -> Vec<String> {
        let c = &self.counts;
        let cannot = |class: Class, n: u64| {
            if self.spec.cannot_see.contains(&class) { "not seen".to_owned() } else { n.to_string() }
        };
        let mut lines = vec![format!(
            "ok {}  late {}  lost {}  errors {}{}  duplicates {}  not-sent {}{}",
            c.ok,
            c.late,
            c.lost,
            c.error,
            if c.refused > 0 { format!("  refused {}", c.refused) } else { String::new() },
            cannot(Class::Duplicate, c.duplicate),
            c.not_sent,
            pending.map(|n| format!("  pending {n}")).unwrap_or_default(),
        )];
        lines.push(match c.loss_pct() {
            Some(pct) => format!(
                "loss {pct:.2} % ({} of {} whose fate is known)",
                if c.refused > 0 { "lost, errors and refused," } else { "lost and errors," },
                c.decided()
            ),
            None => "loss unknown: no probe's fate is known".into(),
        });
        if self.never_answered() {
            lines.push(format!(
                "no answer since the start: nothing is known of {}; it may be down, or answer no probes of this kind",
                self.spec.target
            ));
        }
        if let (Some(min), Some(p50), Some(mean), Some(p99), Some(max)) =
            (self.rtt.min(), self.rtt.quantile(0.5), self.rtt.mean(), self.rtt.quantile(0.99), self.rtt.max())
        {
            let [min, p50, mean, p99, max] = [min, p50, mean, p99, max].map(ms);
            lines.push(format!("rtt min/p50/mean/p99/max {min}/{p50}/{mean}/{p99}/{max} ms (ok and late)"));
        }
        lines.extend(self.gaps.longest().map(|g| format!("longest reply gap {}", gap_words(&g))));
        lines.extend(self.gaps.unfinished().map(|g| format!("no answer at the end: {}", gap_words(&g))));
        let all = self.gaps.interruptions();
        if all.count > 0 {
            let (lo, hi) = (show_duration(all.lo), show_duration(all.hi));
            lines.push(format!("interruptions {}, together {lo} to {hi}", all.count));
        }
        if let (Some(p50), Some(p99), Some(max)) =
            (self.spacing.quantile(0.5), self.spacing.quantile(0.99), self.spacing.max())
        {
            let [p50, p99, max] = [p50, p99, max].map(ms);
            lines.push(format!("spacing error p50/p99/max {p50}/{p99}/{max} ms against the schedule"));
        }
        lines.extend(self.errors.iter().map(|(text, n)| format!("error {n} x {}", foreign(text))));
        let refused = self.unsent.values().fold(0_u64, |sum, n| sum.saturating_add(*n));
        lines.extend(self.unsent.iter().map(|(why, n)| {
            format!("{n} slots could not be sent from this machine, no loss of the target's: {}", foreign(why))
        }));
        if c.not_sent > refused {
            let passed = slots(c.not_sent - refused);
            lines.push(format!("{passed} passed unsent: this machine was busy; no loss of the target's"));
        }
        // Duplicates stand among the counts.
        let asides = self.asides.iter().filter(|((what, _), _)| *what != crate::event::Aside::Duplicate);
        lines.extend(asides.map(|((what, from), n)| what.words(*n, *from, self.spec.target)));
        lines
    }
}
