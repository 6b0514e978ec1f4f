//! How busy the CPUs are: the guest by its own kernel, this machine, and the hypervisors on it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::curve::Curve;
use crate::tui::ctx::Ctx;
use crate::tui::looked::Looked;
use crate::tui::pen::Pen;
use crate::tui::series::{CpuColumn, cpu_columns};
use crate::tui::theme::Role;

/// One row of the track: its name, its style and its values.
type Row = (&'static str, Role, fn(&CpuColumn) -> Option<f64>);

const ROWS: [Row; 3] = [
    ("guest", Role::CpuGuest, |c| c.guest),
    ("host", Role::CpuHost, |c| c.host),
    ("hyperv", Role::CpuHypervisor, |c| c.hypervisors),
];

/// The rows there can be something in: who only watches has no guest's kernel to ask and no hypervisor.
fn rows(ctx: &Ctx<'_>) -> &'static [Row] {
    let bare = ctx.state.only_watches() && ctx.state.agent.since == 0;
    if bare { &ROWS[1..2] } else { &ROWS }
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let columns = cpu_columns(ctx.state, &ctx.axis);
    let mut y = area.y;
    let rows = rows(ctx);
    let n = rows.len() as u16;
    for (i, &(name, role, value)) in rows.iter().enumerate() {
        let height = (area.height + n - 1 - i as u16) / n;
        let mut pen = Pen::new(buf, Rect { y, height, ..area });
        y += height;
        if height == 0 {
            continue;
        }
        // The hypervisors are told in shares of one CPU: two busy ones are 200 %.
        let most = columns.iter().filter_map(value).fold(0.0, f64::max);
        let top = if most > 100.0 { (most / 100.0).ceil() * 100.0 } else { 100.0 };
        gutter(ctx, &mut pen, height, name, || last(ctx, value));
        let curve = Curve::new(ctx, height, top, |state, axis| cpu_columns(state, axis).iter().map(value).collect());
        curve.draw(ctx, &mut pen, ctx.gutter, height - 1, [role, role]);
        if columns.iter().all(|c| value(c).is_none()) {
            pen.text(ctx.gutter + 1, 0, "not known in this stretch", ctx.style(Role::Muted));
        }
    }
}

/// The newest value there is at the instant looked at.
fn last(ctx: &Ctx<'_>, value: fn(&CpuColumn) -> Option<f64>) -> Option<f64> {
    let recent = |t| value(cpu_columns(ctx.state, &ctx.axis.only(t)).first()?);
    let column = ctx.axis.column_ns.clamp(100_000_000, 1_000_000_000);
    let from = match Looked::of(ctx) {
        Looked::At(t) => return recent(t),
        Looked::Now => ctx.axis.now,
    };
    (0..3).find_map(|back| recent(from.saturating_sub(back * column)))
}

fn gutter(ctx: &Ctx<'_>, pen: &mut Pen<'_>, height: u16, name: &str, now: impl Fn() -> Option<f64>) {
    let g = ctx.gutter;
    if g == 0 {
        return;
    }
    for y in 0..height {
        pen.cell(g - 1, y, ctx.glyphs.axis, ctx.style(Role::Rule));
    }
    let x = pen.text(1, 0, "CPU", ctx.style(Role::Title));
    pen.text(x + 1, 0, name, ctx.style(Role::Muted));
    if let Some(now) = now().filter(|_| height > 1) {
        pen.right(0, g - 2, 1, &format!("{now:.0} %"), ctx.style(Role::Value));
    }
}
