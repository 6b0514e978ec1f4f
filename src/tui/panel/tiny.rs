//! A small terminal: phase, sentence, pings and RATE, and nothing that does not fit.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::{banner, caption, clock, footer, header, phases, ping, readout, tracks};
use crate::analysis::Method;
use crate::event::Nanos;
use crate::session::State;
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::looked;
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::sentence::sentence;
use crate::tui::theme::Role;
use crate::tui::watching;
use crate::units::{show_count, show_duration};

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let row = |y: u16, height: u16| Rect { y: area.y + y, height, ..area };
    let mut pen = Pen::new(buf, area);
    let (phase, [word, second, elapsed]) = header::badge_lines(ctx);
    let style = ctx.phase(phase).add_modifier(Modifier::REVERSED | Modifier::BOLD);
    pen.fill(0, area.width, 0, " ", style);
    let mut x = pen.text(1, 0, &word, style);
    if header::is_simulated(ctx) {
        let badge = if area.width >= 36 { " SIMULATED " } else { " SIM " };
        x = pen.text(x + 1, 0, badge, ctx.style(Role::Simulated));
    }
    if x + 3 + width(&second) + width(&elapsed) < area.width {
        pen.text(x + 2, 0, &second, style);
    }
    pen.right(x, area.width.saturating_sub(1), 0, &elapsed, style);
    let mut y = 1;
    if banner::text(ctx).is_some() {
        banner::render(ctx, row(y, 1), buf);
        y += 1;
    }
    let caption = caption::rows(ctx, area.width).min(area.height.saturating_sub(y + 7));
    if caption > 0 {
        caption::render(ctx, row(y, caption), buf);
        y += caption;
    }
    if ctx.view.time.cursor.is_some() {
        let rows = readout::rows(ctx, area.width).min(area.height.saturating_sub(y + 6)).max(1);
        readout::render(ctx, row(y, rows), buf);
        y += rows;
    } else {
        y = told(ctx, area, y, buf);
    }
    let top = y;
    let watches = ctx.state.only_watches();
    if !watches {
        phases::render(ctx, row(y, 1), buf);
        y += 1;
    }
    let bottom = area.height.saturating_sub(3);
    let chart_end = bottom.saturating_sub(1).max(y);
    if let Some(probe) = ctx.state.primary()
        && chart_end > y
    {
        let mut pen = Pen::new(buf, row(y, chart_end - y));
        ping::chart(ctx, &mut pen, probe, 0);
    }
    ctx.hit(row(top, chart_end.saturating_sub(top)), Hit::Time);
    tracks::lines(ctx, row(top, chart_end.saturating_sub(top)), buf);
    let mut pen = Pen::new(buf, area);
    if chart_end < bottom {
        blackout(ctx, &mut pen, chart_end);
    }
    let looked = looked::rates(ctx);
    let (rate, link) = (looked.requested.unwrap_or(0.0), looked.link.filter(|_| !watches));
    let over = link.is_some_and(|l| rate > l);
    let mut x = if watches {
        pen.text(0, bottom, &watching::in_brief(ctx.state), ctx.style(Role::Value))
    } else {
        let x = pen.text(0, bottom, "RATE ", ctx.style(Role::Muted));
        let text = format!("{}/s", show_count(rate.round().max(0.0) as u64));
        pen.text(x, bottom, &text, ctx.style(if over { Role::Warn } else { Role::Value }))
    };
    if let Some(link) = link {
        let word = if over { "over the limit" } else { "limit" };
        x = pen.text(x + 2, bottom, &format!("{word} {}", show_count(link as u64)), ctx.style(Role::Muted));
    }
    if let Some(text) = clock::frozen(ctx, area.width.saturating_sub(x + 1)) {
        let from = area.width.saturating_sub(width(&text));
        pen.text(from, bottom, &text, ctx.style(Role::Frozen).add_modifier(Modifier::BOLD));
    }
    footer::render(ctx, row(bottom + 1, area.height.saturating_sub(bottom + 1)), buf);
}

/// The sentence, as far as there is room for it; returns the row after it.
fn told(ctx: &Ctx<'_>, area: Rect, mut y: u16, buf: &mut Buffer) -> u16 {
    let mut pen = Pen::new(buf, area);
    let (tone, text) = sentence(ctx.state, ctx.extra.now);
    let lines = wrap(&text, area.width);
    let room = usize::from(area.height.saturating_sub(y + 7).clamp(1, 3));
    for (i, line) in lines.iter().take(room).enumerate() {
        let line = if i + 1 == room && lines.len() > room {
            shorten(&lines[i..].join(" "), area.width, ctx.glyphs)
        } else {
            line.clone()
        };
        pen.text(0, y, &line, header::tone_style(ctx, tone));
        y += 1;
    }
    y
}

/// How long the guest has not answered, if it does not now; else the newest downtime.
fn blackout(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16) {
    if let Some(silent) = silent_for(ctx.state, ctx.extra.now) {
        let text = format!(" BLACKOUT {:.1} s ", Duration::from_nanos(silent).as_secs_f64());
        let x = pen.text(0, y, &text, ctx.style(Role::Banner));
        pen.text(x + 1, y, "no reply since", ctx.style(Role::Error));
        return;
    }
    let x = pen.text(0, y, "DOWNTIME ", ctx.style(Role::Muted));
    let newest = ctx.state.migrations.iter().rev().find_map(|m| Some((m.n, m.final_downtime()?)));
    let Some((n, downtimes)) = newest else {
        pen.text(x, y, "none measured yet", ctx.style(Role::Muted));
        return;
    };
    let gap = downtimes.estimates.iter().find(|e| e.method == Method::ReplyGap);
    let (text, role) = match gap.and_then(|e| e.value) {
        Some(v) => (show_duration(v.value), Role::Value),
        None => ("unknown".into(), Role::Warn),
    };
    let x = pen.text(x, y, &text, ctx.style(role));
    pen.text(x + 1, y, &format!("{}, migration {n}", Method::ReplyGap.name()), ctx.style(Role::Muted));
}

/// How long the newest reply has been in, ns, where that is longer than pauses between replies are.
fn silent_for(state: &State, now: Nanos) -> Option<Nanos> {
    const LEAST: Nanos = 200_000_000;
    let probe = state.primary().filter(|p| p.stopped.is_none())?;
    let answered = probe.outcomes.iter().rev().find_map(|o| o.answered())?;
    let silent = now.saturating_sub(answered);
    (silent > probe.spec.interval_ns.saturating_mul(3).max(LEAST)).then_some(silent)
}
