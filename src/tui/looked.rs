//! The instant that is looked at, and what held then: the words beside the tracks tell of no other time
//! than the tracks do.

use std::time::Duration;

use super::ctx::Ctx;
use super::series::{RateColumn, link_at, rate_columns, seen_by_hypervisor};
use crate::event::{Class, Fate, Nanos, Sample};
use crate::session::state::ProbeState;
use crate::units::show_duration;

/// The instant looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Looked {
    /// The present.
    Now,
    /// The cursor's, or the right edge of a picture that stands still, ns of the session clock.
    At(Nanos),
}

impl Looked {
    pub(crate) fn of(ctx: &Ctx<'_>) -> Self {
        let time = &ctx.view.time;
        let edge = (!time.follows()).then(|| ctx.axis.end().saturating_sub(1));
        match time.cursor.or(edge) {
            Some(t) if t < ctx.axis.now => Self::At(t),
            _ => Self::Now,
        }
    }
}

/// The rates at that instant, pages/s.
pub(crate) fn rates(ctx: &Ctx<'_>) -> RateColumn {
    let (state, t) = (ctx.state, Looked::of(ctx));
    let Looked::At(t) = t else {
        let running = state.migrations.last().is_some_and(|m| m.ended.is_none());
        let hypervisor = if running { seen_by_hypervisor(state, ctx.axis.now) } else { None };
        return RateColumn {
            achieved: state.load.achieved.as_ref().map(|(_, r)| r.rate_pages_per_s),
            set: state.load.set.as_ref().map(|(_, l, _)| l.dirty.rate_pages_per_s()),
            requested: Some(ctx.view.load(state).dirty.rate_pages_per_s()),
            hypervisor,
            link: link_at(state, ctx.axis.now),
        };
    };
    let column = rate_columns(state, &ctx.axis.only(t)).first().copied().unwrap_or_default();
    let requested = state.requests.partition_point(|(at, _)| *at <= t).checked_sub(1);
    let requested = requested.and_then(|i| state.requests.get(i)).map(|(_, l)| l.dirty.rate_pages_per_s());
    RateColumn {
        requested: requested.or(column.requested),
        hypervisor: seen_by_hypervisor(state, t),
        link: link_at(state, t),
        ..column
    }
}

/// The link's capacity at that instant, pages/s.
pub(crate) fn link(ctx: &Ctx<'_>) -> Option<f64> {
    link_at(
        ctx.state,
        match Looked::of(ctx) {
            Looked::At(t) => t,
            Looked::Now => ctx.axis.now,
        },
    )
}

/// The newest sample of the migration that ran at that instant.
pub(crate) fn sample<'a>(ctx: &Ctx<'a>) -> Option<&'a Sample> {
    let t = match Looked::of(ctx) {
        Looked::At(t) => t,
        Looked::Now => {
            return ctx.state.migrations.last().filter(|m| m.ended.is_none())?.samples.last().map(|(_, s)| s);
        }
    };
    let m = ctx.state.migrations.iter().rev().find(|m| m.began <= t)?;
    if m.ended.as_ref().is_some_and(|(end, _)| *end < t) {
        return None;
    }
    let newest = m.samples.partition_point(|(at, _)| *at <= t).checked_sub(1)?;
    m.samples.get(newest).map(|(_, s)| s)
}

/// What became of the probes until that instant, and the last round trip by then.
pub(crate) struct Pings {
    counts: Box<dyn Fn(Class) -> u64>,
    pub(crate) rtt: Option<String>,
}

impl Pings {
    pub(crate) fn of(ctx: &Ctx<'_>, probe: &ProbeState) -> Self {
        let shown = |rtt: u64| show_duration(Duration::from_nanos(rtt));
        let well = |fate: Fate| match fate {
            Fate::Ok { rtt } => Some(rtt),
            _ => None,
        };
        match Looked::of(ctx) {
            Looked::At(t) if probe.spec.interval_ns > 0 => {
                let last = t.saturating_sub(probe.spec.t0) / probe.spec.interval_ns;
                let sum = if t < probe.spec.t0 { None } else { Some(probe.outcomes.summary(0, last)) };
                let until = probe.outcomes.partition_point(|o| o.k <= last).min(probe.outcomes.len());
                let newest = probe.outcomes.range(..until).rev().take(64).find_map(|o| well(o.fate));
                let rtt = newest.filter(|_| sum.is_some()).map(shown);
                Self { counts: Box::new(move |class| sum.as_ref().map_or(0, |s| s.count(class))), rtt }
            }
            _ => {
                let counts = probe.counts.clone();
                let newest = probe.outcomes.iter().rev().take(64).find_map(|o| well(o.fate));
                let rtt = newest.map(shown);
                Self { counts: Box::new(move |class| counts.get(&class).copied().unwrap_or(0)), rtt }
            }
        }
    }

    pub(crate) fn count(&self, class: Class) -> u64 {
        (self.counts)(class)
    }
}

#[cfg(test)]
mod tests {
    use crate::tui::capture_tests::at_the_end_of;
    use crate::tui::fixture::{BEGAN, S, SETTLED, result};
    use crate::tui::time::{Edge, Scale};
    use crate::tui::view::View;

    /// The rows of a frame at 120x40, drawn at the end of everything.
    fn rows(view: &View) -> Vec<String> {
        let extra = crate::tui::Extra { now: SETTLED, recorder: None, mode: crate::tui::Mode::Live };
        let frame = crate::picture::frame(view, &result(), &extra, (120, 40));
        let row = |y: u16| (0..120).map(|x| frame[(x, y)].symbol()).collect();
        (0..40).map(row).collect()
    }

    fn row<'a>(rows: &'a [String], title: &str) -> &'a str {
        rows.iter().find(|r| r.trim_start().starts_with(title)).unwrap_or_else(|| panic!("no {title} in {rows:#?}"))
    }

    #[test]
    fn legends_tell_of_the_instant_looked_at() {
        let mut view = View::default();
        let now = rows(&view);
        assert!(row(&now, "DIRTY").contains("achieved 8,9") && !row(&now, "DIRTY").contains("hypervisor"));
        let left: String = row(&now, "LEFT").chars().take(11).collect();
        assert_eq!(left.trim(), "LEFT", "nothing is left to send now");

        // Before RATE was raised, and before any migration.
        view.time.scale = Scale::Column(20_000_000);
        for (edge, cursor) in [(Edge::At(4 * S), None), (Edge::At(5 * S), Some(4 * S)), (Edge::Now, Some(4 * S))] {
            (view.time.edge, view.time.cursor) = (edge, cursor);
            let then = rows(&view);
            let dirty = row(&then, "DIRTY");
            assert!(dirty.contains("achieved 2,0") || dirty.contains("achieved 1,99"), "{edge:?} {cursor:?}: {dirty}");
            assert!(!dirty.contains("9,0") && !dirty.contains("8,9"), "{dirty}");
            assert!(then[1].contains("now: "), "{}", then[1]);
            let ping = row(&then, "PING");
            assert!(ping.contains("lost 0 ") || ping.contains("lost 1 "), "{ping}");
            assert!(row(&now, "PING").contains("lost 59 "), "{now:?}");
        }
        // In the middle of the migration.
        view.time.scale = Scale::Column(200_000_000);
        view.time.cursor = Some(BEGAN + 10 * S);
        view.time.edge = Edge::At(BEGAN + 12 * S);
        let then = rows(&view);
        assert!(row(&then, "DIRTY").contains("seen by hypervisor"), "{}", row(&then, "DIRTY"));
        let left: String = row(&then, "LEFT").chars().take(11).collect();
        assert!(left.trim_end().ends_with('M'), "{left}");
    }

    #[test]
    fn the_past_of_a_capture_reads_as_it_did_when_it_was_the_present() {
        let t = 28 * S;
        let (then, last) = at_the_end_of("over-the-jump", t);
        let legend = |frame: &[String], title| row(frame, title).to_owned();
        // What was left, what was sent, and how many pings were lost by then.
        for title in ["LEFT", "SENT"] {
            let words = |frame: &[String]| {
                legend(frame, title).chars().take(if title == "LEFT" { 11 } else { 60 }).collect::<String>()
            };
            assert_eq!(words(&then), words(&last), "{title}");
        }
        let lost = |text: String| text[text.find("lost ").unwrap()..].chars().take(10).collect::<String>();
        assert_eq!(lost(legend(&then, "PING")), lost(legend(&last, "PING")));
    }
}
