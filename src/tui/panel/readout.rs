//! What every track tells at the cursor, and what lies between the two ends of a measure.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::step::step_columns;
use crate::event::{Class, Nanos, Phase};
use crate::session::State;
use crate::session::state::Migration;
use crate::tui::axis::{Axis, clock};
use crate::tui::ctx::Ctx;
use crate::tui::pen::{Pen, width};
use crate::tui::series::{
    Worst, cpu_columns, ping_columns, rate_columns, remaining_columns, seen_by_hypervisor, throughput_columns,
};
use crate::tui::theme::Role;
use crate::units::{show_bandwidth, show_bytes, show_count, show_duration};

/// With fewer columns the words are short and the rows three.
const WIDE: u16 = 100;

/// Rows that are needed now; none without a cursor.
pub(crate) fn rows(ctx: &Ctx<'_>, width: u16) -> u16 {
    match (ctx.view.time.cursor, ctx.view.time.anchor) {
        (None, _) => 0,
        (Some(_), None) if width >= WIDE => 2,
        (Some(_), _) => 3,
    }
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let Some(t) = ctx.view.time.cursor else { return };
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    let step = ctx.axis.column_ns.min(100_000_000);
    let style = ctx.style(Role::Cursor).remove_modifier(Modifier::REVERSED);
    let time = match &ctx.wall {
        // The pointer would leave it too little room beside the axis.
        Some(wall) => wall.clock(t, step.max(100_000_000)),
        None => format!("{} {}", ctx.glyphs.pointer, clock(t, step)),
    };
    let mut start = pen.text(0, 0, &time, style) + 1;
    if g > 0 {
        start = g;
        pen.cell(g - 1, 0, ctx.glyphs.axis, ctx.style(Role::Rule));
    }
    let measured = u16::from(ctx.view.time.anchor.is_some() && area.height > 1);
    let last = area.height.saturating_sub(measured);
    flow(&mut pen, ctx, start, last, &at(ctx, t, area.width < WIDE));
    if let Some(anchor) = ctx.view.time.anchor.filter(|_| measured > 0) {
        let (from, to) = (anchor.min(t), anchor.max(t));
        let style = ctx.style(Role::Measure).remove_modifier(Modifier::REVERSED);
        let x = pen.text(0, last, &format!("A-B {}", length(to - from)), style) + 1;
        let x = if g > 0 { x.max(g) } else { x };
        let mut pen = Pen::new(buf, Rect { y: area.y + last, height: 1, ..area });
        flow(&mut pen, ctx, x, 1, &between(ctx.state, from, to));
    }
}

/// A word, a value, and what the value is.
struct Item {
    word: &'static str,
    value: String,
    role: Role,
}

fn item(word: &'static str, value: Option<String>) -> Item {
    let role = if value.is_some() { Role::Value } else { Role::Muted };
    Item { word, value: value.unwrap_or_else(|| "-".into()), role }
}

/// Items one after another, whole ones only, over as many rows as there are.
fn flow(pen: &mut Pen<'_>, ctx: &Ctx<'_>, start: u16, rows: u16, items: &[Item]) {
    let indent = u16::from(ctx.gutter > 0);
    let (mut x, mut y) = (start, 0);
    for Item { word, value, role } in items {
        let wide = width(word) + u16::from(!word.is_empty()) + width(value);
        if x + wide > pen.width() {
            (x, y) = (indent, y + 1);
        }
        if y >= rows {
            return;
        }
        let mut at = x;
        if !word.is_empty() {
            at = pen.text(at, y, word, ctx.style(Role::Muted)) + 1;
        }
        x = pen.text(at, y, value, ctx.style(*role)) + 2;
    }
}

/// A length of time with as many digits as a measurement is good for.
pub(crate) fn length(ns: Nanos) -> String {
    match ns {
        ns if ns < 1_000_000_000 => format!("{:.1} ms", ns as f64 / 1e6),
        ns if ns < 100_000_000_000 => format!("{:.3} s", ns as f64 / 1e9),
        ns => show_duration(Duration::from_nanos(ns)),
    }
}

/// Every track at an instant.
fn at(ctx: &Ctx<'_>, t: Nanos, short: bool) -> Vec<Item> {
    let (state, one) = (ctx.state, ctx.axis.only(t));
    if state.only_watches() && state.agent.since == 0 {
        // Nothing migrates and nothing makes a load: what could be said of both is not said to be unknown.
        let cpu = cpu_columns(state, &one).first().copied().unwrap_or_default();
        return vec![ping(ctx, t), item("CPU host", cpu.host.map(|v| format!("{v:.0} %")))];
    }
    let mut items = vec![phase(state, t), ping(ctx, t)];
    let word = |long: &'static str, brief: &'static str| if short { brief } else { long };
    let rate = rate_columns(state, &one).first().copied().unwrap_or_default();
    let pages = |v: Option<f64>| v.filter(|v| v.is_finite()).map(|v| show_count(v.max(0.0).round() as u64));
    let requested = state.requests.partition_point(|(at, _)| *at <= t).checked_sub(1);
    let requested = requested.and_then(|i| state.requests.get(i)).map(|(_, l)| l.dirty.rate_pages_per_s());
    items.push(item(word("RATE requested", "RATE"), pages(requested.or(rate.requested))));
    items.push(item("set", pages(rate.set)));
    let over = matches!((rate.achieved, rate.link), (Some(a), Some(l)) if a > l);
    let mut achieved = item(word("achieved", "got"), pages(rate.achieved));
    if over {
        achieved.role = Role::RateOver;
    }
    items.push(achieved);
    items.push(item(word("hypervisor", "hv"), pages(seen_by_hypervisor(state, t))));
    items.push(item(if over { "over limit" } else { "limit" }, pages(rate.link)));
    items.push(item("left", remaining_columns(state, &one).first().copied().flatten().map(show_bytes)));
    items.push(item(
        word("sent at", "at"),
        throughput_columns(state, &one).first().copied().flatten().map(show_bandwidth),
    ));
    let cpu = cpu_columns(state, &one).first().copied().unwrap_or_default();
    let percent = |v: Option<f64>| v.map(|v| format!("{v:.0} %"));
    if short {
        let all = [cpu.guest, cpu.host, cpu.hypervisors].map(|v| v.map_or("-".to_owned(), |v| format!("{v:.0}")));
        items.push(item("CPU guest/host/hv", Some(format!("{} %", all.join("/")))));
    } else {
        items.push(item("CPU guest", percent(cpu.guest)));
        items.push(item("host", percent(cpu.host)));
        items.push(item("hypervisors", percent(cpu.hypervisors)));
    }
    let step = step_columns(state, &one).first().copied().flatten();
    items.push(item("step", step.map(|s| show_duration(Duration::from_nanos(s)))));
    items
}

fn phase(state: &State, t: Nanos) -> Item {
    let open = |to: Option<Nanos>, over: bool| to.is_some_and(|to| to > t) || (to.is_none() && !over);
    let found = state.migrations.iter().rev().filter(|m| m.began <= t).find_map(|m| {
        let span = m.phases.iter().rev().find(|p| p.from <= t)?;
        open(span.to, span.phase.is_over()).then_some((m, span.phase))
    });
    let Some((m, phase)) = found else {
        return Item { word: "", value: Phase::Idle.word().into(), role: Role::PhaseIdle };
    };
    let round = m.rounds.iter().rev().find(|(at, _)| *at <= t).filter(|_| phase == Phase::PreCopy);
    let value = round.map_or(phase.word().to_owned(), |(_, n)| format!("{} round {n}", phase.word()));
    Item { word: "", value, role: Role::Value }
}

/// The pings of the cursor's column; where none is due in it, the one before.
fn ping(ctx: &Ctx<'_>, t: Nanos) -> Item {
    let Some(probe) = ctx.state.primary().filter(|p| p.spec.interval_ns > 0) else { return item("ping", None) };
    let (t0, interval) = (probe.spec.t0, probe.spec.interval_ns);
    let mut one = ctx.axis.only(t);
    let mut column = ping_columns(probe, &one).first().copied().unwrap_or_default();
    let due = |k: u64| t0.saturating_add(k.saturating_mul(interval));
    let mut first = one.start(0).saturating_sub(t0).div_ceil(interval);
    let mut end = one.end().min(one.now.saturating_add(1)).saturating_sub(t0).div_ceil(interval);
    if end <= first {
        let Some(k) = first.checked_sub(1) else { return item("ping", None) };
        let length = one.column_ns.min(interval).max(1);
        one = Axis { column_ns: length, first: due(k) / length, columns: 1, ..one };
        column = ping_columns(probe, &one).first().copied().unwrap_or_default();
        (first, end) = (k, k + 1);
    }
    let Some(worst) = column.worst else { return item("ping", None) };
    let (word, role) = match worst {
        Worst::Pending => ("pending", Role::PingPending),
        Worst::Of(class) => match class {
            Class::Ok => ("", Role::Value),
            Class::Duplicate => ("twice", Role::PingDuplicate),
            Class::NotSent => ("not sent", Role::PingNotSent),
            Class::Late => ("late", Role::PingLate),
            Class::Error => ("error", Role::PingError),
            Class::Refused => ("refused", Role::Error),
            Class::Lost => ("lost", Role::Error),
        },
    };
    let count = match worst {
        Worst::Of(class) if class.is_down() => column.sum.count(class),
        _ => 0,
    };
    let many = end - first;
    let mut parts = Vec::new();
    if count > 0 && many > 1 {
        parts.push(format!("{} of {} {word}", show_count(count), show_count(many)));
    } else if !word.is_empty() {
        parts.push(word.to_owned());
    }
    if let Some(rtt) = column.rtt_max {
        parts.push(show_duration(Duration::from_nanos(rtt)));
    }
    parts.push(if many > 1 { format!("#{first}-{}", end - 1) } else { format!("#{first}") });
    Item { word: "ping", value: parts.join(" "), role }
}

/// What lies between two instants.
fn between(state: &State, from: Nanos, to: Nanos) -> Vec<Item> {
    let mut items = vec![item("lost", lost(state, from, to).map(show_count))];
    let sent: Vec<u64> = state.migrations.iter().filter_map(|m| sent(m, from, to)).collect();
    items.push(item("sent", (!sent.is_empty()).then(|| show_bytes(sent.iter().fold(0, |a, b| a.saturating_add(*b))))));
    let rounds = state.migrations.iter().flat_map(|m| &m.rounds).filter(|(t, _)| (from..to).contains(t)).count();
    items.push(item("rounds", Some(show_count(rounds as u64))));
    let rate = mean_rate(state, from, to).map(|r| format!("{}/s", show_count(r.round() as u64)));
    items.push(item("mean RATE", rate));
    items
}

/// Probes lost of those due in between; `None` without a probe.
fn lost(state: &State, from: Nanos, to: Nanos) -> Option<u64> {
    let probe = state.primary()?;
    let slot = |t: Nanos| t.saturating_sub(probe.spec.t0).div_ceil(probe.spec.interval_ns.max(1));
    let (first, end) = (slot(from), slot(to));
    let begin = probe.outcomes.partition_point(|o| o.k < first).min(probe.outcomes.len());
    Some(probe.outcomes.range(begin..).take_while(|o| o.k < end).filter(|o| o.fate.class().is_down()).count() as u64)
}

/// Bytes a migration sent in between; `None` where it was not seen in between.
fn sent(m: &Migration, from: Nanos, to: Nanos) -> Option<u64> {
    let by = |t: Nanos| {
        let until = m.samples.partition_point(|(at, _)| *at <= t).min(m.samples.len());
        m.samples.range(..until).rev().find_map(|(_, s)| s.transferred_bytes)
    };
    let last = by(to)?;
    let ended = m.ended.as_ref().is_some_and(|(end, _)| *end <= from);
    (!ended && m.began < to).then(|| last.saturating_sub(by(from).unwrap_or(0)))
}

/// The mean RATE achieved in between, weighted by the windows it was measured over, pages/s.
fn mean_rate(state: &State, from: Nanos, to: Nanos) -> Option<f64> {
    let begin = state.reports.partition_point(|(t, _)| *t <= from).min(state.reports.len());
    let (mut pages, mut seconds) = (0.0, 0.0);
    for (t, report) in state.reports.range(begin..) {
        let start = t.saturating_sub(report.window_ns);
        let inside = (*t).min(to).saturating_sub(start.max(from)) as f64;
        if inside > 0.0 && report.rate_pages_per_s.is_finite() {
            pages += report.rate_pages_per_s * inside;
            seconds += inside;
        }
        if start >= to && *t > to.saturating_add(2_000_000_000) {
            break;
        }
    }
    (seconds > 0.0).then(|| pages / seconds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture::{self, ANSWERS, BEGAN, MS, RESUMED, S, STOPPED};

    #[test]
    fn a_measure_over_the_blackout_tells_what_lies_in_it() {
        let state = fixture::migrating(RESUMED + 2 * S);
        assert_eq!(lost(&state, STOPPED, ANSWERS), Some((ANSWERS - STOPPED).div_ceil(50 * MS)));
        assert_eq!(lost(&state, ANSWERS, ANSWERS + S), Some(0));
        // Nothing was achieved while the guest stood still, and nothing is what is told.
        assert_eq!(mean_rate(&state, STOPPED + 200 * MS, RESUMED - 200 * MS), None);
        let rate = mean_rate(&state, BEGAN, BEGAN + 4 * S).unwrap();
        assert!((rate - 9000.0).abs() < 10.0, "{rate}");
    }

    #[test]
    fn bytes_are_those_between_the_two_ends() {
        let state = fixture::migrating(RESUMED);
        let m = &state.migrations[0];
        let bytes = sent(m, BEGAN + S, BEGAN + 3 * S).unwrap() as f64;
        assert!((bytes - 64e6).abs() < 4e6, "{bytes}");
        assert_eq!(sent(m, 0, BEGAN), None);
    }

    #[test]
    fn lengths_have_the_digits_a_measurement_is_good_for() {
        assert_eq!(
            [length(2_896_000_000), length(812_400_000), length(123_000_000_000)].map(|l| l.len() > 4),
            [true; 3]
        );
        assert_eq!((length(2_896_000_000), length(812_440_000)), ("2.896 s".into(), "812.4 ms".into()));
    }
}
