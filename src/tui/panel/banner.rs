//! The banner for a capture in trouble: loud, and there for as long as the trouble is.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, shorten};
use crate::tui::theme::Role;
use crate::units::show_count;

/// What the banner has to say, if anything.
pub(crate) fn text(ctx: &Ctx<'_>) -> Option<String> {
    let live = ctx.extra.recorder.as_ref();
    let why = live.and_then(|r| r.trouble.clone()).or_else(|| ctx.state.health.recorder_trouble.clone())?;
    let held = match live.map(|r| r.backlog) {
        Some(n) if n > 0 => format!("; {} events held back", show_count(n)),
        _ => String::new(),
    };
    Some(format!("CAPTURE IS NOT BEING WRITTEN: {why}{held}; the session goes on"))
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let style = ctx.style(Role::Banner);
    pen.fill(0, area.width, 0, " ", style);
    let line = format!("{} {}", ctx.glyphs.warn, text(ctx).unwrap_or_default());
    pen.text(1, 0, &shorten(&line, area.width.saturating_sub(2), ctx.glyphs), style);
}
