//! How a migration went: what it ran under, the five downtimes side by side on one scale, and why
//! they disagree.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use super::phases::texture;
use crate::analysis::explain::explain;
use crate::analysis::prediction::words::{beside, stop_beside, time};
use crate::analysis::{Bounded, ByProbe, Downtimes, Estimate, Method};
use crate::event::{MigrationEnd, StopRule};
use crate::session::outlook::over_limit_pct;
use crate::session::product::product;
use crate::session::result::verdict;
use crate::session::state::Migration;
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::keys::Action;
use crate::tui::outcome;
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::series::nice_ceiling;
use crate::tui::theme::Role;
use crate::tui::view::Page;
use crate::units::{show_bandwidth, show_bytes, show_count, show_duration};

/// Where the values end and where the bounds end, with names of the usual length.
const VALUE_END: u16 = 22;
const BOUNDS_END: u16 = 42;
/// So long are the names of the five measures.
const NAMES: u16 = 12;
/// A chart narrower than this tells nothing.
const CHART_LEAST: u16 = 12;

/// A text and its style.
type Item = (String, Style);

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    ctx.hit(area, Hit::Panel(Page::Result));
    let mut pen = Pen::new(buf, area);
    let Some(m) = ctx.view.history.result(ctx.state) else {
        ctx.title(&mut pen, "RESULT");
        let text = "No migration has ended yet. When one has, the five measures of its downtime stand here side by \
                    side, each with its bounds.";
        for (line, y) in wrap(text, pen.width().saturating_sub(3)).iter().zip(2..) {
            pen.text(2, y, line, ctx.style(Role::Muted));
        }
        return;
    };
    let after = ctx.title(&mut pen, &title_words(ctx, m));
    let (titled, facts) = facts(ctx, m, pen.width());
    let mut x = after;
    for (text, style) in &titled {
        x = pen.text(x, 0, &format!(" {text} "), *style);
    }
    let lines = Lines { facts, why: why(ctx, m) };
    let Some(downtimes) = m.final_downtime() else {
        pending(ctx, &mut pen, m, &lines);
        return;
    };
    card(ctx, &mut pen, m, downtimes, &lines);
}

/// How many rows it takes to show every fact and every reason in so many columns.
pub(crate) fn wanted(ctx: &Ctx<'_>, columns: u16) -> u16 {
    let Some(m) = ctx.view.history.result(ctx.state).filter(|m| m.final_downtime().is_some()) else { return 0 };
    let room = columns.saturating_sub(3);
    let reasons: usize = why(ctx, m).iter().map(|(text, _)| wrap(text, room).len()).sum();
    let others = m.final_downtime().map_or(0, |d| others(d).len());
    u16::try_from(1 + 5 + others + facts(ctx, m, columns).1.len() + reasons).unwrap_or(u16::MAX)
}

/// What came of it and what it ran under: as much as the title row has room for, and the rest in lines.
fn facts(ctx: &Ctx<'_>, m: &Migration, columns: u16) -> (Vec<Item>, Vec<Vec<Item>>) {
    let (mut outcome, mut under) = (came_of_it(ctx, m), ran_under(ctx, m));
    let mut x = 3 + width(&title_words(ctx, m));
    let end = columns.saturating_sub(1);
    let fits = outcome.iter().take_while(|(text, _)| {
        x += 2 + width(text);
        x <= end
    });
    let titled = fits.count();
    under.extend(outcome.drain(titled..));
    (outcome, flow(under, columns.saturating_sub(3)))
}

/// What stands above and below the measures.
struct Lines {
    facts: Vec<Vec<Item>>,
    why: Vec<Item>,
}

impl Lines {
    /// The reasons in lines of at most `room` columns.
    fn why(&self, room: u16) -> Vec<Item> {
        self.why.iter().flat_map(|(text, style)| wrap(text, room).into_iter().map(|l| (l, *style))).collect()
    }
}

/// `RESULT 2/3`: the others are a key away.
fn title_words(ctx: &Ctx<'_>, m: &Migration) -> String {
    let all = ctx.state.migrations.len();
    let of = if all > 1 { format!("/{all}") } else { String::new() };
    format!("RESULT {}{of}", m.n)
}

/// Where everything has its row: as much of facts and reasons as there is room for, the measures
/// in any case.
fn card(ctx: &Ctx<'_>, pen: &mut Pen<'_>, m: &Migration, downtimes: &Downtimes, lines: &Lines) {
    let why = lines.why(pen.width().saturating_sub(3));
    let mut spare = pen.height().saturating_sub(1 + 5);
    let mut give = |wanted: usize| {
        let rows = spare.min(wanted.min(usize::from(u16::MAX)) as u16);
        spare -= rows;
        rows
    };
    let first_why = give(1);
    let others = others(downtimes);
    let other_rows = give(others.len());
    let facts = give(lines.facts.len());
    let why_rows = first_why + give(why.len().saturating_sub(1));
    let bar = give(1);
    let head_row = give(1);

    let mut y = 1;
    for line in lines.facts.iter().take(usize::from(facts)) {
        spread(pen, y, line);
        y += 1;
    }
    let left_out = usize::from(usize::from(other_rows) < others.len());
    let shown = others.iter().take(usize::from(other_rows).saturating_sub(left_out));
    let names = shown.map(|(name, _)| width(name)).max().unwrap_or(0);
    let names = names.clamp(NAMES, NAMES + pen.width() / 4);
    let chart = Chart::of(pen, downtimes, names - NAMES, head_row == 0);
    if head_row > 0 {
        head(ctx, pen, y, names - NAMES, chart.as_ref());
        y += 1;
    }
    for (i, estimate) in downtimes.estimates.iter().take(5).enumerate() {
        row(ctx, pen, y, (estimate.method.name(), names), estimate, chart.as_ref());
        if i == 0
            && head_row == 0
            && let Some(chart) = &chart
        {
            pen.text(chart.to + 1, y, &scale(chart.top), ctx.style(Role::Muted));
        }
        y += 1;
    }
    for (i, (name, estimate)) in others.iter().take(usize::from(other_rows)).enumerate() {
        let left = others.len() - i;
        if left > 1 && i + 1 == usize::from(other_rows) {
            pen.text(2, y, &format!("and {left} more probes"), ctx.style(Role::Muted));
        } else {
            row(ctx, pen, y, (name, names), estimate, chart.as_ref());
        }
        y += 1;
    }
    reasons(ctx, pen, y, why_rows, &why);
    y += why_rows;
    if bar > 0 {
        phases(ctx, pen, y, m);
    }
}

/// Rows for what the further probes say.
pub(crate) fn further(ctx: &Ctx<'_>) -> u16 {
    let shown = ctx.view.history.result(ctx.state).and_then(|m| m.final_downtime());
    shown.map_or(0, |d| u16::try_from(others(d).len()).unwrap_or(u16::MAX))
}

/// What the further probes say, by their names.
fn others(downtimes: &Downtimes) -> Vec<(String, &Estimate)> {
    let further = downtimes.probes.iter().filter(|probe| !probe.is_primary);
    further.map(|probe| (format!("{}, {}", Method::ReplyGap.name(), probe.name), probe.reply_gap())).collect()
}

/// As many of the lines of reasons as there are rows for, from the one that was scrolled to.
fn reasons(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, rows: u16, lines: &[Item]) {
    let last = u16::try_from(lines.len()).unwrap_or(u16::MAX).saturating_sub(rows);
    let first = usize::from(ctx.view.history.reason.min(last));
    ctx.hit(Rect { height: rows, ..pen.rect(0, y, pen.width()) }, Hit::Reasons(last));
    let room = pen.width().saturating_sub(3);
    for (line, i) in lines.iter().skip(first).take(usize::from(rows)).zip(0..rows) {
        let (text, style) = line;
        // The last line says that there is more, and how to get at it.
        let next = lines.get(first + usize::from(rows)).filter(|_| i + 1 == rows);
        let Some((next, _)) = next else {
            pen.text(2, y + i, text, *style);
            continue;
        };
        let key = if ctx.view.page == Page::Result { ctx.key(Action::ScrollDown) } else { String::new() };
        let hint = if width(text) + 3 + width(&key) <= room { width(&key) + 1 } else { 0 };
        let both = format!("{text} {next}{}", ctx.glyphs.ellipsis);
        pen.text(2, y + i, &shorten(&both, room.saturating_sub(hint), ctx.glyphs), *style);
        if hint > 0 {
            pen.right(2, 2 + room, y + i, &key, ctx.style(Role::Key));
        }
    }
}

/// A card without downtimes: it runs, it settles, or none was measured.
fn pending(ctx: &Ctx<'_>, pen: &mut Pen<'_>, m: &Migration, lines: &Lines) {
    let mut y = 1;
    for line in &lines.facts {
        spread(pen, y, line);
        y += 1;
    }
    let text = match (&m.ended, m.settled) {
        (None, _) => "it runs: its downtimes are known when it has ended",
        (Some(_), Some(_)) => "no downtime is known",
        (Some(_), None) => "settling: the last probes are still out",
    };
    pen.text(2, y, text, ctx.style(Role::Warn));
    let why = lines.why(pen.width().saturating_sub(3));
    let rows = pen.height().saturating_sub(y + 1).min(u16::try_from(why.len()).unwrap_or(u16::MAX));
    reasons(ctx, pen, y + 1, rows, &why);
    phases(ctx, pen, y + 1 + rows, m);
}

/// What it was and what came of it, the weightiest first.
fn came_of_it(ctx: &Ctx<'_>, m: &Migration) -> Vec<Item> {
    let (value, text) = (ctx.style(Role::Value), ctx.style(Role::Text));
    let items = [
        Some((format!("{} {} {}", m.from, ctx.glyphs.arrow, m.to), value)),
        Some((outcome::end_word(m).to_owned(), end_style(ctx, m))),
        outcome::took(m).map(|t| (format!("took {}", show_duration(t)), value)),
        outcome::rounds(m).map(|n| (format!("{n} round{}", if n == 1 { "" } else { "s" }), text)),
        outcome::sent(m).map(|b| (format!("{} sent", show_bytes(b)), text)),
    ];
    items.into_iter().flatten().collect()
}

/// What it ran under, and what ended it.
fn ran_under(ctx: &Ctx<'_>, m: &Migration) -> Vec<Item> {
    let (text, muted) = (ctx.style(Role::Text), ctx.style(Role::Muted));
    let rate = outcome::rate(m);
    let asked = outcome::requested(ctx.state, m).filter(|asked| rate.is_some_and(|r| (asked - r).abs() >= 0.5));
    let pages = |rate: f64| show_count(rate.round().max(0.0) as u64);
    let link = m.settings.limit_bytes_per_s().map(|b| show_bandwidth(b as f64));
    let is_qemu = ctx.state.hosts.get(&m.from).is_some_and(|h| h.version.starts_with("QEMU"));
    let items = [
        rate.map(|r| {
            let asked = asked.map_or(String::new(), |a| format!(" ({} requested)", pages(a)));
            (format!("RATE {}/s{asked}", pages(r)), text)
        }),
        Some(match (outcome::ratio(rate, m), link) {
            (Some(ratio), Some(link)) => {
                let style = if ratio > 1.0 { ctx.style(Role::Warn) } else { text };
                (format!("{ratio:.2} x limit {link}"), style)
            }
            (None, Some(link)) => (format!("limit {link}"), text),
            (_, None) => ("no bandwidth limit of ours".to_owned(), muted),
        }),
        // QEMU does so by itself: not an error of what is measured here.
        over_limit_pct(m).filter(|_| is_qemu).map(|pct| (format!("sent {pct:.0} % over it, as QEMU does"), muted)),
        m.load.map(|l| (format!("WSET {}", show_bytes(l.wset_bytes)), text)),
        // In short, for where there is no room for the line that has it beside what was measured.
        m.predicted.as_ref().and_then(|(_, f)| f.migration_s).map(|t| (format!("model: {}", time(&t)), muted)),
        Some(match m.ended_by() {
            Some((_, rule, _)) => (format!("ended by {}", rule_words(rule)), muted),
            None if m.ended.is_some() => ("no rule ended it".to_owned(), muted),
            None => ("no rule yet".to_owned(), muted),
        }),
    ];
    items.into_iter().flatten().collect()
}

/// The verdict on the course, and on the measures.
pub(in crate::tui) fn why(ctx: &Ctx<'_>, m: &Migration) -> Vec<Item> {
    let mut lines = Vec::new();
    let course = verdict(m);
    let moved = matches!(m.ended, Some((_, MigrationEnd::Done)));
    let well = moved && (m.unanswered.is_none() || m.settled.is_none());
    let reasons = m.final_downtime().map(|d| explain(d, &outcome::circumstances(ctx.state, m)));
    if !well {
        // What failed and where the guest is matters more than any figure.
        let line = if moved { course.clone() } else { format!("{course}; {}", outcome::whereabouts(m)) };
        lines.push((line, end_style(ctx, m)));
    }
    // One text: where there is little room the course gives way to the reasons.
    let mut words = reasons.unwrap_or_default();
    if well {
        words.push(course);
    }
    if !words.is_empty() {
        lines.push((words.join("; "), ctx.style(Role::Text)));
    }
    let ms = |d: Duration| d.as_secs_f64() * 1e3;
    let stopped = outcome::downtime(m, Method::StopResume).map(|v| ms(v.value));
    if let Some((_, forecast)) = &m.predicted {
        let line = beside(forecast, outcome::end_word(m), outcome::took(m).map(ms), stopped);
        lines.push((format!("predicted by the model: {line}"), ctx.style(Role::Muted)));
    }
    if let Err(none) = product(ctx.state) {
        lines.push((none.to_string(), ctx.style(Role::Muted)));
    }
    if let Some((_, said)) = &m.stop_predicted {
        let line = stop_beside(&said.whole_s(), stopped.filter(|_| moved).map(|ms| ms / 1e3));
        lines.push((format!("said at the stop: stop-resume {line}"), ctx.style(Role::Muted)));
    }
    lines
}

/// Items in lines of at most `room` columns.
fn flow(items: Vec<Item>, room: u16) -> Vec<Vec<Item>> {
    let mut lines: Vec<Vec<Item>> = Vec::new();
    let mut used = room;
    for item in items {
        let wide = width(&item.0);
        match lines.last_mut() {
            Some(line) if used + 2 + wide <= room => {
                used += 2 + wide;
                line.push(item);
            }
            _ => {
                used = wide;
                lines.push(vec![item]);
            }
        }
    }
    lines
}

fn spread(pen: &mut Pen<'_>, y: u16, line: &[Item]) {
    let mut x = 2;
    for (text, style) in line {
        x = pen.text(x, y, text, *style) + 2;
    }
}

/// One scale for all measures.
struct Chart {
    from: u16,
    to: u16,
    /// What its right edge stands for, s.
    top: f64,
}

impl Chart {
    /// `shift` is by how many columns the names are longer than usual.
    fn of(pen: &Pen<'_>, downtimes: &Downtimes, shift: u16, labelled: bool) -> Option<Self> {
        let others = downtimes.probes.iter().map(ByProbe::reply_gap);
        let values = downtimes.estimates.iter().chain(others).filter_map(|e| e.value);
        let highest = values.map(|v| v.hi).max().unwrap_or_default();
        let top = nice_ceiling(highest.as_secs_f64().max(1e-6));
        let label = if labelled { width(&scale(top)) + 1 } else { 0 };
        let (from, to) = (BOUNDS_END + shift + 2, pen.width().saturating_sub(1 + label));
        (to >= from + CHART_LEAST).then_some(Self { from, to, top })
    }

    fn column(&self, d: Duration) -> u16 {
        let share = (d.as_secs_f64() / self.top).clamp(0.0, 1.0);
        self.from + (share * f64::from(self.to - self.from - 1)).round() as u16
    }
}

/// The end of the scale without needless zeros.
fn scale(seconds: f64) -> String {
    show_duration(Duration::try_from_secs_f64(seconds).unwrap_or_default()).replace(".00 ", " ").replace(".0 ", " ")
}

fn head(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, shift: u16, chart: Option<&Chart>) {
    let muted = ctx.style(Role::Muted);
    pen.text(2, y, "measure", muted);
    pen.right(0, VALUE_END + shift, y, "downtime", muted);
    pen.right(VALUE_END + shift, BOUNDS_END + shift, y, "bounds", muted);
    let Some(chart) = chart else { return };
    pen.text(chart.from, y, "0", muted);
    pen.right(chart.from + 2, chart.to, y, &scale(chart.top), muted);
    let half = scale(chart.top / 2.0);
    let middle = chart.from + (chart.to - chart.from) / 2;
    if chart.to - chart.from >= 24 {
        pen.text(middle.saturating_sub(width(&half) / 2), y, &half, muted);
    }
}

/// A measure by its name, for which there are so many columns.
fn row(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, (name, names): (&str, u16), e: &Estimate, chart: Option<&Chart>) {
    let shift = names - NAMES;
    pen.text(2, y, &shorten(name, names, ctx.glyphs), ctx.style(Role::Text));
    let Some(v) = e.value else {
        let note = e.note.as_deref().unwrap_or("no reason given");
        let text = format!("unknown: {note}");
        let room = pen.width().saturating_sub(15 + shift);
        pen.text(15 + shift, y, &shorten(&text, room, ctx.glyphs), ctx.style(Role::Muted));
        return;
    };
    pen.right(0, VALUE_END + shift, y, &show_duration(v.value), ctx.style(Role::Value));
    let bounds = format!("{} to {}", show_duration(v.lo), show_duration(v.hi));
    pen.right(VALUE_END + shift, BOUNDS_END + shift, y, &bounds, ctx.style(Role::Muted));
    if let Some(chart) = chart {
        range(ctx, pen, y, chart, v);
    }
}

/// `├──●──┤` from lower to upper bound.
fn range(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, chart: &Chart, v: Bounded) {
    let (lo, hi, value) = (chart.column(v.lo), chart.column(v.hi), chart.column(v.value));
    let line = ctx.style(Role::Muted);
    pen.fill(chart.from, chart.to, y, ctx.glyphs.middot, ctx.style(Role::Rule));
    pen.fill(lo, hi, y, ctx.glyphs.range_line, line);
    if hi > lo {
        pen.cell(lo, y, ctx.glyphs.range_left, line);
        pen.cell(hi, y, ctx.glyphs.range_right, line);
    }
    pen.cell(value, y, ctx.glyphs.range_point, ctx.style(Role::Value));
}

/// The phases' shares of the time, each in its texture; a phase that took any time takes a column.
/// Beside it the times of the longest, as many as there is room for.
fn phases(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, m: &Migration) {
    let shares = outcome::shares(m, ctx.extra.now);
    let total: f64 = shares.iter().map(|(_, d)| d.as_secs_f64()).sum();
    let least = CHART_LEAST + shares.len() as u16;
    let Some(mut room) = pen.width().checked_sub(5 + least).filter(|_| total > 0.0) else { return };
    let words: Vec<String> = shares.iter().map(|(p, d)| format!("{} {}", p.word(), show_duration(*d))).collect();
    let mut longest: Vec<usize> = (0..shares.len()).collect();
    longest.sort_by_key(|i| std::cmp::Reverse(shares[*i].1));
    // A word, its texture and the spaces between them.
    longest.retain(|i| {
        let rest = room.checked_sub(width(&words[*i]) + 4);
        room = rest.unwrap_or(room);
        rest.is_some()
    });
    let wide = (least + room).min(40).saturating_sub(shares.len() as u16);
    let mut x = 2;
    for (phase, took) in &shares {
        let cells = 1 + (f64::from(wide) * took.as_secs_f64() / total).floor() as u16;
        pen.fill(x, x + cells, y, texture(ctx.glyphs, *phase), ctx.phase(*phase));
        x += cells;
    }
    x += 2;
    for (i, (phase, _)) in shares.iter().enumerate().filter(|(i, _)| longest.contains(i)) {
        pen.cell(x, y, texture(ctx.glyphs, *phase), ctx.phase(*phase));
        x = pen.text(x + 2, y, &words[i], ctx.style(Role::Muted)) + 2;
    }
}

fn end_style(ctx: &Ctx<'_>, m: &Migration) -> Style {
    ctx.style(match m.ended.as_ref().map(|(_, e)| e) {
        Some(MigrationEnd::Done) if m.unanswered.is_some() && m.settled.is_some() => Role::Error,
        Some(MigrationEnd::Done) => Role::Good,
        Some(MigrationEnd::Failed { .. } | MigrationEnd::Unsettled { .. }) => Role::Error,
        Some(MigrationEnd::Cancelled { .. }) | None => Role::Warn,
    })
}

/// A rule that ended pre-copy, in words.
pub(crate) fn rule_words(rule: &StopRule) -> String {
    match rule {
        StopRule::RemainingPages { limit, .. } => format!("<{} pages left", show_count(*limit)),
        StopRule::Rounds { limit } => format!("{limit} rounds"),
        StopRule::RamFactor { limit, .. } => format!("{limit} x RAM sent"),
        StopRule::Time { limit_ns } => show_duration(Duration::from_nanos(*limit_ns)),
        StopRule::Operator => "the operator".into(),
        StopRule::Own { words } => words.clone(),
    }
}
