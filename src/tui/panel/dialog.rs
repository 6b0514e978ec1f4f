//! What is asked of the operator: a value, or whether something is meant.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::tui::draw::Ctx;
use crate::tui::pen::{Pen, width, wrap};
use crate::tui::theme::Role;
use crate::tui::view::{Asked, Confirm, Entry};
use crate::units::show_bytes;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    if let Some(entry) = &ctx.view.entry {
        typing(ctx, area, buf, entry);
    } else if let Some(confirm) = ctx.view.confirm {
        question(ctx, area, buf, confirm);
    }
}

fn outer(area: Rect, wide: u16, high: u16) -> Rect {
    let w = (wide + 4).min(area.width);
    let h = (high + 2).min(area.height);
    Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - h) / 2, width: w, height: h }
}

/// The inside of the frame that [`frame`] draws.
pub(crate) fn inner(area: Rect, wide: u16, high: u16) -> Rect {
    let o = outer(area, wide, high);
    Rect { x: o.x + 2, y: o.y + 1, width: o.width.saturating_sub(4), height: o.height.saturating_sub(2) }
}

/// A frame in the middle of `area` with room for `wide` x `high` inside; returns a pen for it.
pub(crate) fn frame<'a>(ctx: &Ctx<'_>, area: Rect, buf: &'a mut Buffer, wide: u16, high: u16, title: &str) -> Pen<'a> {
    let outer = outer(area, wide, high);
    let (w, h) = (outer.width, outer.height);
    let style = ctx.style(Role::Title);
    let [tl, tr, bl, br, across, down] = ctx.glyphs.corners;
    {
        let mut pen = Pen::new(buf, outer);
        pen.clear();
        for (y, left, right) in [(0, tl, tr), (h.saturating_sub(1), bl, br)] {
            pen.fill(1, w.saturating_sub(1), y, across, style);
            pen.cell(0, y, left, style);
            pen.cell(w.saturating_sub(1), y, right, style);
        }
        for y in 1..h.saturating_sub(1) {
            pen.cell(0, y, down, style);
            pen.cell(w.saturating_sub(1), y, down, style);
        }
        pen.text_to(2, 0, w.saturating_sub(2), &format!(" {title} "), style);
    }
    let inner = Rect { x: outer.x + 2, y: outer.y + 1, width: w.saturating_sub(4), height: h.saturating_sub(2) };
    Pen::new(buf, inner)
}

fn typing(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, entry: &Entry) {
    let wide = 62.min(area.width.saturating_sub(4));
    let prompt = wrap(prompt(&entry.asked), wide);
    let error = entry.error.as_ref().map(|e| wrap(e, wide)).unwrap_or_default();
    let high = prompt.len() + 1 + error.len().max(1);
    let mut pen = frame(ctx, area, buf, wide, high as u16, title(&entry.asked));
    let mut y = 0;
    for line in &prompt {
        pen.text(0, y, line, ctx.style(Role::Muted));
        y += 1;
    }
    let shown = format!("> {}", entry.text);
    let x = pen.text(0, y, &shown, ctx.style(Role::Value));
    pen.text(x, y, " ", ctx.style(Role::Selected));
    y += 1;
    for line in &error {
        pen.text(0, y, line, ctx.style(Role::Error));
        y += 1;
    }
    if error.is_empty() {
        pen.text(0, y, "Enter takes it, Esc leaves it", ctx.style(Role::Muted));
    }
}

fn title(asked: &Asked) -> &str {
    match asked {
        Asked::Control(control) => control.label(),
        Asked::Ramp => "ramp RATE",
        Asked::Mark(_) => "mark",
        Asked::Search => "search the log",
        Asked::Parameter(name) => name,
    }
}

fn prompt(asked: &Asked) -> &'static str {
    match asked {
        Asked::Control(control) => control.prompt(),
        Asked::Ramp => "from, to, and how long: for instance 2000 to 12000 in 20s",
        Asked::Mark(_) => "a note, or nothing",
        Asked::Search => "a part of the text, of any case",
        Asked::Parameter(_) => "a value as the hypervisor writes it",
    }
}

fn question(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, confirm: Confirm) {
    let m = ctx.state.migrations.last();
    let (from, to) = m.map_or(("the source", "the destination"), |m| (m.from.as_str(), m.to.as_str()));
    let left = m
        .and_then(|m| m.samples.last())
        .and_then(|(_, s)| s.remaining_bytes)
        .map_or(String::new(), |b| format!(" ({} by now)", show_bytes(b)));
    let (title, text) = match confirm {
        Confirm::Cancel => (
            "Cancel the migration?",
            format!("It is given up. The guest goes on running at {from}; what was sent is lost."),
        ),
        Confirm::StopAndCopy => (
            "Stop the guest now?",
            format!(
                "The guest stands still at {from} until what is left{left} has been copied; then it runs at {to}. \
                 Nobody can reach it meanwhile."
            ),
        ),
        Confirm::PostCopy => (
            "Switch to post-copy?",
            format!(
                "The guest runs at {to} at once and pulls what it lacks. There is no way back: if the link \
                 breaks now, the guest is lost."
            ),
        ),
        Confirm::Quit => (
            "Quit while a migration runs?",
            format!("The session ends and with it our hold on the migration {from} to {to}."),
        ),
    };
    let wide = 58.min(area.width.saturating_sub(4));
    let lines = wrap(&text, wide);
    let mut pen = frame(ctx, area, buf, wide.max(width(title)), lines.len() as u16 + 2, title);
    let mut y = 0;
    for line in &lines {
        pen.text(0, y, line, ctx.style(Role::Text));
        y += 1;
    }
    y += 1;
    let x = pen.text(0, y, "y", ctx.style(Role::Key));
    let x = pen.text(x + 1, y, "yes", ctx.style(Role::Text));
    let x = pen.text(x + 3, y, "n", ctx.style(Role::Key));
    pen.text(x + 1, y, "no", ctx.style(Role::Text));
}
