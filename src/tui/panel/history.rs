//! All migrations of the session, newest last.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::analysis::Method;
use crate::event::MigrationEnd;
use crate::session::state::Migration;
use crate::tui::draw::Ctx;
use crate::tui::pen::Pen;
use crate::tui::theme::Role;
use crate::units::{show_bytes, show_count, show_duration};

/// Heads and where their columns end.
const COLUMNS: [(&str, u16); 8] =
    [("n", 4), ("", 11), ("RATE", 20), ("WSET", 31), ("took", 40), ("rounds", 48), ("downtime", 58), ("reported", 68)];

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    ctx.title(&mut pen, "HISTORY");
    if ctx.state.migrations.is_empty() {
        pen.text(2, 1, "no migration yet", ctx.style(Role::Muted));
        return;
    }
    let muted = ctx.style(Role::Muted);
    for (head, end) in COLUMNS {
        if end <= pen.width() {
            pen.right(0, end, 1, head, muted);
        }
    }
    let rows = usize::from(area.height.saturating_sub(2));
    let skip = ctx.state.migrations.len().saturating_sub(rows);
    for (y, m) in ctx.state.migrations.iter().skip(skip).enumerate() {
        let y = y as u16 + 2;
        for ((_, end), text) in COLUMNS.iter().zip(cells(ctx, m)) {
            if *end <= pen.width() {
                pen.right(0, *end, y, &text, ctx.style(Role::Text));
            }
        }
        let (word, role) = match m.ended.as_ref().map(|(_, e)| e) {
            Some(MigrationEnd::Done) => ("done", Role::Good),
            Some(MigrationEnd::Failed { .. }) => ("failed", Role::Error),
            Some(MigrationEnd::Cancelled { .. }) => ("cancelled", Role::Warn),
            None => ("running", Role::Warn),
        };
        pen.text(70, y, word, ctx.style(role));
    }
}

/// A host's name in a column that has room for one or two letters of it.
fn brief(name: &str) -> &str {
    let end = if name.chars().count() > 2 { 1 } else { 2 };
    name.char_indices().nth(end).map_or(name, |(i, _)| &name[..i])
}

fn cells(ctx: &Ctx<'_>, m: &Migration) -> [String; 8] {
    let unknown = || "-".to_string();
    let time = |d: Option<Duration>| d.map_or_else(unknown, show_duration);
    let downtime = |method| {
        let estimates = &m.final_downtime()?.estimates;
        Some(estimates.iter().find(|e| e.method == method)?.value?.value)
    };
    [
        m.n.to_string(),
        format!("{} {} {}", brief(&m.from), ctx.glyphs.arrow, brief(&m.to)),
        m.load
            .map_or_else(unknown, |l| format!("{}/s", show_count(l.dirty.rate_pages_per_s().round().max(0.0) as u64))),
        m.load.map_or_else(unknown, |l| show_bytes(l.wset_bytes)),
        time(m.ended.as_ref().map(|(t, _)| Duration::from_nanos(t.saturating_sub(m.began)))),
        m.rounds.last().map_or_else(unknown, |(_, n)| n.to_string()),
        time(downtime(Method::ReplyGap)),
        time(downtime(Method::Reported)),
    ]
}
