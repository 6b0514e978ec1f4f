//! Who and what, what goes on in one sentence, and the phase as a badge.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::event::{Location, Phase};
use crate::session::State;
use crate::tui::axis::{clock, phase_now};
use crate::tui::ctx::Ctx;
use crate::tui::looked::Looked;
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::sentence::{Tone, sentence};
use crate::tui::theme::Role;
use crate::tui::watching;
use crate::units::show_duration;

/// Columns of the badge: the longest phase and a margin.
const BADGE: u16 = 17;

/// Rows of the header at least: who and what, and two of the sentence.
const ROWS: u16 = 3;

/// What is said of the present, in lines. Where there is little room the badge is two rows high and the
/// sentence runs on below it.
fn lines(ctx: &Ctx<'_>, columns: u16) -> (Tone, Vec<String>) {
    let (tone, mut text) = sentence(ctx.state, ctx.extra.now);
    if Looked::of(ctx) != Looked::Now {
        // Everything else in sight may be of another time.
        text.insert_str(0, "now: ");
    }
    let badge = badge_width(columns);
    let beside = columns.saturating_sub(badge + 3);
    if columns >= WIDE {
        return (tone, wrap(&text, beside));
    }
    let mut lines = wrap(&text, beside);
    if lines.len() > 1 {
        let rest = lines.split_off(1).join(" ");
        lines.extend(wrap(&rest, columns.saturating_sub(2)));
    }
    (tone, lines)
}

/// From here on the badge has three rows.
const WIDE: u16 = 110;

fn badge_width(columns: u16) -> u16 {
    if columns >= WIDE { BADGE + 7 } else { BADGE }
}

/// Rows the header wants: one more for each line of a sentence that two do not hold.
pub(crate) fn rows(ctx: &Ctx<'_>, columns: u16) -> u16 {
    let wanted = lines(ctx, columns).1.len() as u16 + 1;
    wanted.clamp(ROWS, ROWS + 2)
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let badge = badge_width(area.width);
    let left = area.width.saturating_sub(badge);
    identity(ctx, &mut pen, left);
    let (tone, lines) = lines(ctx, area.width);
    let style = tone_style(ctx, tone);
    let rows = if area.width >= WIDE { 3 } else { 2 };
    let last = area.height.saturating_sub(1);
    for (y, line) in (1..area.height).zip(&lines) {
        let room = if y < rows { left } else { area.width }.saturating_sub(2);
        let rest = if y == last { lines[usize::from(y) - 1..].join(" ") } else { line.clone() };
        pen.text(1, y, &shorten(&rest, room, ctx.glyphs), style);
    }
    draw_badge(ctx, &mut pen, left, badge, rows);
}

/// The style of a sentence.
pub(crate) fn tone_style(ctx: &Ctx<'_>, tone: Tone) -> Style {
    ctx.style(match tone {
        Tone::Calm => Role::Text,
        Tone::Good => Role::Good,
        Tone::Warn => Role::Warn,
        Tone::Bad => Role::Error,
    })
}

/// The phase in words, the round, and how long: the badge's three lines.
pub(crate) fn badge_lines(ctx: &Ctx<'_>) -> (Phase, [String; 3]) {
    if ctx.state.only_watches() {
        return watching::badge(ctx.state, ctx.extra.now, |t| ctx.clock(t, 1_000_000_000));
    }
    let phase = phase_now(ctx.state);
    let migration = ctx.state.migrations.last();
    let now = ctx.extra.now;
    let round = migration
        .filter(|m| m.ended.is_none() && phase == Phase::PreCopy)
        .and_then(|m| m.rounds.last())
        .map_or(String::new(), |(_, n)| format!("round {n}"));
    let elapsed = match migration {
        Some(m) => {
            let end = m.ended.as_ref().map_or(now, |(t, _)| *t);
            let s = Duration::from_nanos(end.saturating_sub(m.began));
            if s.as_secs() < 120 { format!("{:.1} s", s.as_secs_f64()) } else { show_duration(s) }
        }
        None => clock(now, 1_000_000_000),
    };
    let second = match (migration, round.is_empty()) {
        (Some(m), true) if m.ended.is_some() => format!("migration {}", m.n),
        (Some(_), true) if phase == Phase::StopAndCopy => "guest stopped".into(),
        _ => round,
    };
    (phase, [phase.word().to_uppercase(), second, elapsed])
}

fn draw_badge(ctx: &Ctx<'_>, pen: &mut Pen<'_>, from: u16, wide: u16, rows: u16) {
    let (phase, [word, second, elapsed]) = badge_lines(ctx);
    let lines = match rows {
        3 => vec![word, second, elapsed],
        _ if second.starts_with("round") => vec![word, format!("{second}  {elapsed}")],
        _ => vec![word, elapsed],
    };
    let plain = ctx.phase(phase);
    let style = plain.add_modifier(Modifier::REVERSED | Modifier::BOLD);
    for (y, line) in lines.iter().enumerate() {
        pen.fill(from, from + wide, y as u16, " ", style);
        let x = from + wide.saturating_sub(width(line)) / 2;
        pen.text(x, y as u16, line, style);
    }
}

fn identity(ctx: &Ctx<'_>, pen: &mut Pen<'_>, end: u16) {
    let muted = ctx.style(Role::Muted);
    let state = ctx.state;
    let end = end.saturating_sub(1);
    let mut x = pen.text_to(1, 0, end, "blackout", ctx.style(Role::Title));
    if is_simulated(ctx) {
        let speed = clock_speed(ctx).map(|speed| format!("x{speed} ")).unwrap_or_default();
        x = pen.text_to(x + 1, 0, end, &format!(" SIMULATED {speed}"), ctx.style(Role::Simulated));
    }
    if ctx.replay().is_some() {
        x = pen.text_to(x + 1, 0, end, " REPLAY ", ctx.style(Role::Simulated));
    }
    let mut item = |text: &str, style: Style| {
        // Whole items or none: half a word tells nothing.
        let fits = x + 2 + width(text) <= end;
        if fits {
            x = pen.text_to(x + 2, 0, end, text, style);
        }
        fits
    };
    if let Some(wall) = &ctx.wall {
        item(&format!("times {}", wall.offset(ctx.extra.now)), muted);
    }
    if let Some((from, to)) = route(ctx) {
        item(&format!("{from} {} {to}", ctx.glyphs.arrow), ctx.style(Role::Value));
    }
    if let Some((place, role)) = guest_place(state) {
        item(&place, ctx.style(role));
    }
    agent(ctx, &mut item);
    if let Some((accel, why)) = &state.lab.accel {
        let long = format!("{accel}: {why}");
        if !item(&long, muted) {
            item(accel, muted);
        }
    } else if let Some(accel) = state.header.as_ref().and_then(|h| h.versions.accelerator.as_ref()) {
        item(accel, muted);
    }
    if let Some(header) = &state.header {
        item(&header.name, muted);
        if let Some(hypervisor) = &header.versions.hypervisor {
            item(hypervisor, muted);
        }
    }
}

/// Whether the hypervisor is simulated: then every screen says so.
pub(crate) fn is_simulated(ctx: &Ctx<'_>) -> bool {
    ctx.state.header.as_ref().is_some_and(|h| h.simulated)
}

/// How many times as fast as real time a simulated session goes, if not just as fast.
fn clock_speed(ctx: &Ctx<'_>) -> Option<f64> {
    let settings = &ctx.state.header.as_ref()?.settings;
    settings.speed.filter(|speed| *speed != 1.0)
}

/// Where a migration goes, or would go.
pub(crate) fn route(ctx: &Ctx<'_>) -> Option<(String, String)> {
    let state = ctx.state;
    if let Some(m) = state.migrations.last().filter(|m| m.ended.is_none()) {
        return Some((m.from.clone(), m.to.clone()));
    }
    match &state.route {
        Some(Ok(ends)) => return Some(ends.clone()),
        Some(Err(_)) => return None,
        None => {}
    }
    let from = state.hosts.iter().find(|(_, h)| h.running == Some(true) && h.lost.is_none())?.0;
    let to = state.hosts.iter().find(|(name, h)| *name != from && h.lost.is_none()).map_or("?", |(n, _)| n);
    Some((from.clone(), to.to_string()))
}

/// Where the guest is, in a word; None in captures that do not tell.
fn guest_place(state: &State) -> Option<(String, Role)> {
    state.route.as_ref()?;
    Some(match &state.guest()?.1 {
        Location::At { host, running: true } => (format!("guest on {host}"), Role::Value),
        Location::At { host, running: false } => (format!("guest stopped on {host}"), Role::Warn),
        Location::Moving => ("guest moving".into(), Role::Value),
        Location::Both => ("guest on BOTH hosts".into(), Role::Error),
        Location::Nowhere => ("guest on NO host".into(), Role::Error),
        Location::Unknown { .. } => ("guest: place unknown".into(), Role::Warn),
    })
}

fn agent(ctx: &Ctx<'_>, item: &mut dyn FnMut(&str, Style) -> bool) {
    let agent = &ctx.state.agent;
    let _ = if agent.connected {
        item(&format!("{} agent connected", ctx.glyphs.dot), ctx.style(Role::Good))
    } else if agent.since > 0 {
        let since = ctx.extra.now.saturating_sub(agent.since) / 1_000_000_000;
        item(&format!("{} agent gone {since} s", ctx.glyphs.ring), ctx.style(Role::Warn))
    } else if ctx.state.only_watches() {
        false
    } else {
        item(&format!("{} no agent yet", ctx.glyphs.ring), ctx.style(Role::Muted))
    };
}
