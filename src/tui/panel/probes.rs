//! Several probes on the one time axis: a row each. Where there is room each has its head, its bars and its
//! fates; where there is less a head and one line; where there is little, one line with its name beside it.

use std::cmp::Reverse;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::ping::{bar, chart, decades, entries, symbol};
use crate::event::{Class, ProbeId};
use crate::session::State;
use crate::session::state::ProbeState;
use crate::tui::ctx::Ctx;
use crate::tui::looked::{Looked, Pings};
use crate::tui::pen::{Pen, shorten, shorten_path, width};
use crate::tui::series::{Worst, ping_columns};
use crate::tui::theme::Role;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let probes = ordered(ctx.state);
    let (heights, left_out) = heights(probes.len(), area.height);
    let mut y = area.y;
    for ((id, probe), height) in probes.iter().zip(&heights) {
        let mut pen = Pen::new(buf, Rect { y, height: *height, ..area });
        match height {
            1 => folded(ctx, &mut pen, probe),
            2 => {
                head(ctx, &mut pen, *id, probe);
                strip(ctx, &mut pen, probe, 1);
            }
            _ => {
                head(ctx, &mut pen, *id, probe);
                chart(ctx, &mut pen, probe, 1);
            }
        }
        y += height;
    }
    if left_out && area.height > 0 {
        let mut pen = Pen::new(buf, Rect { y, height: 1, ..area });
        rest(ctx, &mut pen, &probes[heights.len()..]);
    }
}

/// The probes, the primary one first.
fn ordered(state: &State) -> Vec<(ProbeId, &ProbeState)> {
    let primary = state.primary_id();
    let mut probes: Vec<(ProbeId, &ProbeState)> = state.probes.iter().map(|(id, probe)| (*id, probe)).collect();
    probes.sort_by_key(|(id, _)| (Reverse(primary == Some(*id)), *id));
    probes
}

/// The rows of each of `n` probes out of `total`, as alike as can be; and whether the last row is for those
/// that have none.
fn heights(n: usize, total: u16) -> (Vec<u16>, bool) {
    let rows = usize::from(total);
    if rows < n {
        return (vec![1; rows.saturating_sub(1)], true);
    }
    let more = rows % n.max(1);
    let each = total / u16::try_from(n.max(1)).unwrap_or(u16::MAX);
    ((0..n).map(|i| each + u16::from(i < more)).collect(), false)
}

/// What is asked, and what came of it.
fn head(ctx: &Ctx<'_>, pen: &mut Pen<'_>, id: ProbeId, probe: &ProbeState) {
    let muted = ctx.style(Role::Muted);
    let room = (pen.width() / 3).max(ctx.gutter);
    let x = pen.text(1, 0, &shorten(&probe.spec.name(), room, ctx.glyphs), ctx.style(Role::Title));
    let x = ctx.gutter.max(x + 2);
    if probe.unheard().is_some() {
        pen.text(x, 0, "no answer yet", ctx.style(Role::Error));
        return;
    }
    let pings = Pings::of(ctx, probe);
    let mut at = x;
    if let Some(rtt) = quantiles(ctx, id).or_else(|| pings.rtt.as_ref().map(|rtt| format!("rtt {rtt}"))) {
        at = pen.text(at, 0, &rtt, muted) + 3;
    }
    if let Some(pct) = loss_pct(&pings) {
        let style = ctx.style(if pct > 0.0 { Role::Error } else { Role::Value });
        at = pen.text(at, 0, "loss ", muted);
        at = pen.text(at, 0, &loss_words(pct), style) + 3;
    }
    entries(ctx, pen, at, &pings);
}

/// Shortest, usual and longest round trips of all so far; only of the present.
fn quantiles(ctx: &Ctx<'_>, id: ProbeId) -> Option<String> {
    if Looked::of(ctx) != Looked::Now {
        return None;
    }
    let rtt = &ctx.state.digests.get(&id)?.rtt;
    let (min, p50, p99) = (rtt.min()?, rtt.quantile(0.5)?, rtt.quantile(0.99)?);
    let ms = [min, p50, p99].map(|ns| match ns as f64 / 1e6 {
        ms if ms < 10.0 => format!("{ms:.2}"),
        ms if ms < 100.0 => format!("{ms:.1}"),
        ms => format!("{ms:.0}"),
    });
    Some(format!("min/p50/p99 {} ms", ms.join("/")))
}

/// The share of settled slots that were down, %; None before any.
fn loss_pct(pings: &Pings) -> Option<f64> {
    let count = |class| pings.count(class);
    let down: u64 = [Class::Lost, Class::Refused, Class::Error].map(count).iter().sum();
    let decided = down + count(Class::Ok) + count(Class::Late);
    (decided > 0).then(|| 100.0 * down as f64 / decided as f64)
}

/// Neither a loss nor an answer is rounded away.
fn loss_words(pct: f64) -> String {
    match pct {
        0.0 => "0 %".to_owned(),
        pct if pct < 0.1 => "<0.1 %".to_owned(),
        pct if pct < 10.0 => format!("{pct:.1} %"),
        100.0 => "100 %".to_owned(),
        pct => format!("{:.0} %", pct.min(99.0)),
    }
}

/// One line: its name and its loss beside the axis.
fn folded(ctx: &Ctx<'_>, pen: &mut Pen<'_>, probe: &ProbeState) {
    let end = ctx.gutter.saturating_sub(1);
    let name = probe.spec.name();
    // The end of a name tells it from its neighbours.
    let short = name.trim_start_matches(probe.spec.kind.name()).trim_start_matches([':', '/']);
    let short = shorten_path(short, end.saturating_sub(1), ctx.glyphs);
    let loss = loss_pct(&Pings::of(ctx, probe)).filter(|pct| *pct > 0.0).map(loss_words);
    let x = pen.text_to(1, 0, end, &short, ctx.style(Role::Title));
    if let Some(loss) = loss.filter(|loss| x + 1 + width(loss) <= end) {
        pen.right(x, end, 0, &loss, ctx.style(Role::Error));
    }
    strip(ctx, pen, probe, 0);
}

/// A line of bars, and of the mark of each column that is not all well.
fn strip(ctx: &Ctx<'_>, pen: &mut Pen<'_>, probe: &ProbeState, y: u16) {
    let g = ctx.gutter;
    let columns = ping_columns(probe, &ctx.axis);
    let (low, high) = decades(columns.iter().filter_map(|c| c.rtt_max));
    if g > 0 {
        pen.cell(g - 1, y, ctx.glyphs.axis, ctx.style(Role::Rule));
    }
    for (i, column) in columns.iter().enumerate() {
        let x = g + i as u16;
        // An answer given twice is well enough to be left to the head.
        let mark = column.worst.filter(|worst| *worst != Worst::Of(Class::Duplicate));
        match (mark.and_then(|worst| symbol(ctx, worst)), column.rtt_max) {
            (Some((symbol, role)), _) => pen.cell(x, y, symbol, ctx.style(role)),
            (None, Some(rtt)) => {
                let share = ((rtt.max(1) as f64).log10() - low) / (high - low);
                bar(ctx, pen, x, y, 1, share, [Role::PingOk, Role::PingBody]);
            }
            (None, None) => {}
        }
    }
}

/// Those for which there is no row: how many, and the worst of them.
fn rest(ctx: &Ctx<'_>, pen: &mut Pen<'_>, left_out: &[(ProbeId, &ProbeState)]) {
    let loss = |probe: &ProbeState| loss_pct(&Pings::of(ctx, probe));
    let worst = left_out.iter().filter_map(|(_, probe)| Some((loss(probe)?, probe)));
    let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0));
    let s = if left_out.len() == 1 { "" } else { "s" };
    let text = format!("and {} more probe{s}", left_out.len());
    let x = pen.text(1, 0, &text, ctx.style(Role::Muted));
    let words = match worst {
        Some((pct, probe)) if pct > 0.0 => format!("; the most loss {} at {}", loss_words(pct), probe.spec.name()),
        Some(_) => ", without a loss".to_owned(),
        None => String::new(),
    };
    pen.text(x, 0, &shorten(&words, pen.width().saturating_sub(x), ctx.glyphs), ctx.style(Role::Muted));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_used_and_none_twice() {
        for n in 1..70 {
            for total in 0..90 {
                let (heights, left_out) = heights(n, total);
                let used = heights.iter().sum::<u16>() + u16::from(left_out && total > 0);
                assert_eq!(used, total, "{n} probes in {total} rows");
                assert_eq!(left_out, heights.len() < n);
            }
        }
    }

    #[test]
    fn no_loss_is_rounded_away() {
        let words = [0.0, 0.001, 0.14, 9.94, 50.2, 99.9, 100.0].map(loss_words);
        assert_eq!(words, ["0 %", "<0.1 %", "0.1 %", "9.9 %", "50 %", "99 %", "100 %"]);
    }
}
