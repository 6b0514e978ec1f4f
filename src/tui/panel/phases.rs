//! The phase band, and the pre-copy rounds as numbered ticks.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use crate::event::Phase;
use crate::tui::ctx::Ctx;
use crate::tui::pen::{Glyphs, Pen, width};
use crate::tui::series::visible;
use crate::tui::theme::Role;

/// The texture of a phase: the denser, the worse.
pub(crate) fn texture(glyphs: &Glyphs, phase: Phase) -> &'static str {
    match phase {
        Phase::Setup => glyphs.setup,
        Phase::PreCopy => glyphs.pre_copy,
        Phase::StopAndCopy => glyphs.stop_and_copy,
        Phase::PostCopy => glyphs.post_copy,
        Phase::Recovery => glyphs.recovery,
        Phase::Moving | Phase::Unknown | Phase::Unsettled => glyphs.unknown,
        Phase::Idle | Phase::Done | Phase::Failed | Phase::Cancelled => glyphs.idle,
    }
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let g = ctx.gutter;
    let two_rows = area.height > 1;
    if g > 0 {
        pen.text(1, 0, "PHASE", ctx.style(Role::Title));
        pen.cell(g - 1, 0, ctx.glyphs.axis, ctx.style(Role::Rule));
        if two_rows {
            pen.right(0, g - 2, 1, "rounds", ctx.style(Role::Muted));
            pen.cell(g - 1, 1, ctx.glyphs.axis, ctx.style(Role::Rule));
        }
    }
    let idle = ctx.axis.columns_of(ctx.axis.start(0), ctx.axis.now);
    pen.fill(g + idle.start, g + idle.end, 0, ctx.glyphs.idle, ctx.style(Role::PhaseIdle));
    let mut words = Vec::new();
    for migration in visible(ctx.state, &ctx.axis) {
        for span in &migration.phases {
            let open = if span.phase.is_over() { span.from } else { ctx.axis.now };
            let last = span.to.map_or(open, |to| to.saturating_sub(1).max(span.from));
            let columns = ctx.axis.columns_of(span.from, last);
            let mut style = ctx.phase(span.phase);
            style = style.remove_modifier(Modifier::REVERSED);
            if matches!(span.phase, Phase::Idle | Phase::Done | Phase::Cancelled) {
                continue;
            }
            pen.fill(g + columns.start, g + columns.end, 0, texture(ctx.glyphs, span.phase), style);
            words.push((columns, span.phase, style));
        }
    }
    rounds(ctx, &mut pen, if two_rows { 1 } else { 0 });
    if two_rows || ctx.state.migrations.last().is_none_or(|m| m.rounds.is_empty()) {
        for (columns, phase, style) in words {
            let word = format!(" {} ", phase.word());
            if columns.len() >= usize::from(width(&word)) + 2 {
                let x = g + columns.start + (columns.len() as u16 - width(&word)) / 2;
                pen.text(x, 0, &word, style.add_modifier(Modifier::BOLD));
            }
        }
    }
}

fn rounds(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16) {
    let g = ctx.gutter;
    let style = ctx.phase(Phase::PreCopy).add_modifier(Modifier::BOLD);
    let mut free = 0;
    for migration in visible(ctx.state, &ctx.axis) {
        let seen: Vec<_> = migration.rounds.iter().filter_map(|(t, n)| Some((ctx.axis.column(*t)?, n))).collect();
        for (x, _) in seen.iter().filter(|_| y > 0) {
            pen.cell(g + x, y, ctx.glyphs.tick, style);
        }
        for (x, n) in seen {
            let number = n.to_string();
            let at = if y > 0 { x + 1 } else { x };
            if at >= free && at + width(&number) <= ctx.axis.columns {
                free = pen.text(g + at, y, &number, style) - g + 1;
            }
        }
    }
}
