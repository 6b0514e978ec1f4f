//! A small terminal: phase, sentence, pings and RATE, and nothing that does not fit.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::{banner, clock, footer, header, phases, ping, readout, tracks};
use crate::tui::draw::Ctx;
use crate::tui::hits::Hit;
use crate::tui::pen::{Pen, shorten, width, wrap};
use crate::tui::sentence::sentence;
use crate::tui::series::link_pages_per_s;
use crate::tui::theme::Role;
use crate::units::show_count;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let row = |y: u16, height: u16| Rect { y: area.y + y, height, ..area };
    let mut pen = Pen::new(buf, area);
    let (phase, [word, second, elapsed]) = header::badge_lines(ctx);
    let style = ctx.phase(phase).add_modifier(Modifier::REVERSED | Modifier::BOLD);
    pen.fill(0, area.width, 0, " ", style);
    let x = pen.text(1, 0, &word, style);
    pen.text(x + 2, 0, &second, style);
    pen.right(x, area.width.saturating_sub(1), 0, &elapsed, style);
    let mut y = 1;
    if banner::text(ctx).is_some() {
        banner::render(ctx, row(y, 1), buf);
        y += 1;
    }
    if ctx.view.time.cursor.is_some() {
        let rows = readout::rows(ctx, area.width).min(area.height.saturating_sub(y + 6)).max(1);
        readout::render(ctx, row(y, rows), buf);
        y += rows;
    } else {
        y = told(ctx, area, y, buf);
    }
    let top = y;
    phases::render(ctx, row(y, 1), buf);
    y += 1;
    let bottom = area.height.saturating_sub(3);
    if let Some(probe) = ctx.state.probes.get(&0)
        && bottom > y
    {
        let mut pen = Pen::new(buf, row(y, bottom - y));
        ping::chart(ctx, &mut pen, probe, 0);
    }
    ctx.hit(row(top, bottom.saturating_sub(top)), Hit::Time);
    tracks::lines(ctx, row(top, bottom.saturating_sub(top)), buf);
    let mut pen = Pen::new(buf, area);
    let rate = ctx.view.load(ctx.state).dirty.rate_pages_per_s();
    let link = link_pages_per_s(ctx.state);
    let over = link.is_some_and(|l| rate > l);
    let mut x = pen.text(0, bottom, "RATE ", ctx.style(Role::Muted));
    let text = format!("{}/s", show_count(rate.round().max(0.0) as u64));
    x = pen.text(x, bottom, &text, ctx.style(if over { Role::Warn } else { Role::Value }));
    if let Some(link) = link {
        let word = if over { "over the link" } else { "link" };
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
    let room = usize::from(area.height.saturating_sub(y + 6).clamp(1, 4));
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
