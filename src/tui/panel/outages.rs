//! Every outage of a session that only watches, as they happen: when, how long at least and at most, and whose.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use crate::analysis::probing::Gap;
use crate::event::{Nanos, ProbeId};
use crate::session::wall::Wall;
use crate::tui::axis::clock;
use crate::tui::ctx::Ctx;
use crate::tui::hits::Hit;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::theme::Role;
use crate::tui::view::Page;
use crate::tui::watching::{bounds, in_brief, outages};
use crate::units::show_count;

/// Decimals of a time: to a tenth of a second.
const STEP: Nanos = 100_000_000;
/// From so many columns on the date stands before the time.
const DATED: u16 = 100;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    ctx.hit(area, Hit::Panel(Page::Result));
    let mut pen = Pen::new(buf, area);
    let wall = Wall::of(ctx.state);
    let all = outages(ctx.state);
    let mut x = ctx.title(&mut pen, "OUTAGES");
    let rows = usize::from(area.height.saturating_sub(1));
    let left_out = all.len().saturating_sub(rows);
    let mut items = vec![format!(" {} ", in_brief(ctx.state))];
    items.extend(wall.as_ref().map(|wall| format!(" {} ", wall.offset(ctx.extra.now))));
    if left_out > 0 {
        items.push(format!(" {} earlier ", show_count(left_out as u64)));
    }
    for item in items.iter().filter(|_| !all.is_empty()) {
        if x + width(item) < pen.width() {
            x = pen.text(x, 0, item, ctx.style(Role::Muted));
        }
    }
    if all.is_empty() {
        let answered = ctx.state.digests.values().any(|digest| digest.counts.answered() > 0);
        let text = if answered { "none so far" } else { "of a target that has not answered yet nothing is known" };
        pen.text(2, 1, text, ctx.style(Role::Muted));
    }
    for (y, (id, gap)) in (1..area.height).zip(&all) {
        row(ctx, &mut pen, y, wall.as_ref(), *id, gap);
    }
}

fn row(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, wall: Option<&Wall>, id: ProbeId, gap: &Gap) {
    let time = |t: Nanos| wall.map_or_else(|| clock(t, STEP), |wall| wall.clock(t, STEP));
    let date = wall.filter(|_| pen.width() >= DATED).and_then(|wall| wall.time(gap.from));
    let date = date.and_then(|time| Some(format!("{} ", time.split_once('T')?.0))).unwrap_or_default();
    let (end, role) = match gap.to {
        Some(to) => (format!("to {}", time(to)), Role::Value),
        None => ("lasts".to_owned(), Role::Error),
    };
    let x = pen.text(1, y, &format!("{date}{}", time(gap.from)), ctx.style(Role::Muted));
    pen.text(x + 1, y, &end, ctx.style(if gap.to.is_some() { Role::Muted } else { Role::Error }));
    // What ends stands where what lasts will: the lengths are read down the column.
    let x = pen.text(x + 1 + width("to 00:00:00.0") + 2, y, &bounds(gap), ctx.style(role));
    let x = pen.text(x + 2, y, &format!("{} unanswered", show_count(gap.unanswered)), ctx.style(Role::Muted));
    if ctx.state.digests.len() > 1
        && let Some(digest) = ctx.state.digests.get(&id)
    {
        let room = pen.width().saturating_sub(x + 3);
        let text = shorten(&format!("probe {id}, {}", digest.spec.name()), room, ctx.glyphs);
        pen.text(x + 2, y, &text, ctx.style(Role::Muted));
    }
}
