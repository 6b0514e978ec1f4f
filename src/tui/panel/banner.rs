//! The banner: a capture in trouble, for as long as the trouble is; errors, until they are read.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::keys::Action;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::theme::Role;
use crate::units::show_count;

/// What the banner has to say, if anything.
pub(crate) fn text(ctx: &Ctx<'_>) -> Option<String> {
    trouble(ctx).or_else(|| unread(ctx))
}

fn trouble(ctx: &Ctx<'_>) -> Option<String> {
    let live = ctx.extra.recorder.as_ref();
    let why = live.and_then(|r| r.trouble.clone()).or_else(|| ctx.state.health.recorder_trouble.clone())?;
    let held = match live.map(|r| r.backlog) {
        Some(n) if n > 0 => format!("; {} events held back", show_count(n)),
        _ => String::new(),
    };
    Some(format!("CAPTURE IS NOT BEING WRITTEN: {why}{held}; the session goes on"))
}

fn unread(ctx: &Ctx<'_>) -> Option<String> {
    let (count, _, first) = ctx.view.log.unread.as_ref()?;
    Some(format!("{count} error{} not read: {first}", if *count == 1 { "" } else { "s" }))
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let loud = trouble(ctx).is_some();
    let style = if loud { ctx.style(Role::Banner) } else { ctx.style(Role::Error).add_modifier(Modifier::REVERSED) };
    pen.fill(0, area.width, 0, " ", style);
    let key = ctx.key(Action::Errors);
    let hint = match (unread(ctx), loud) {
        (None, _) => String::new(),
        (Some(_), _) if key.is_empty() => String::new(),
        (Some(_), false) => format!("  {key} reads {} ", if area.width < 60 { "it" } else { "the errors" }),
        (Some(_), true) => format!("  {key} errors "),
    };
    let line = format!("{} {}", ctx.glyphs.warn, text(ctx).unwrap_or_default());
    let room = area.width.saturating_sub(1 + width(&hint).max(1));
    let x = pen.text(1, 0, &shorten(&line, room, ctx.glyphs), style);
    if !hint.is_empty() {
        pen.text(x, 0, &hint, style);
        ctx.hit(area, Hit::Action(Action::Errors));
    }
}
