//! The list of loads to choose from, with their values.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::chooser::list;
use super::load::show;
use crate::tui::ctx::Ctx;
use crate::tui::edit::{Control, Preset};
use crate::tui::input;
use crate::tui::pen::width;
use crate::tui::series::link_pages_per_s;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, selected: usize) {
    let link = link_pages_per_s(ctx.state).filter(|l| *l > 0.0);
    let presets = input::control::presets(ctx.view, ctx.state);
    let room = area.width.saturating_sub(4);
    let rows: Vec<String> = presets.iter().enumerate().map(|(i, p)| row(i, p, link, room)).collect();
    let title =
        if link.is_some() { "A load to choose" } else { "A load to choose (no bandwidth limit set: no jump known)" };
    let keys = format!("{} or 1-{} choose, Enter takes it, Esc leaves", arrows(ctx), rows.len());
    list(ctx, area, buf, title, &rows, selected.min(rows.len().saturating_sub(1)), &keys);
}

fn arrows(ctx: &Ctx<'_>) -> String {
    use crate::tui::keys::Action;
    format!("{}{}", ctx.key(Action::Up), ctx.key(Action::Down))
}

/// Number, name, values; then, where there is room, what it shows.
fn row(i: usize, preset: &Preset, link: Option<f64>, room: u16) -> String {
    let load = &preset.load;
    let rate = load.dirty.rate_pages_per_s();
    let share = match link {
        Some(link) if rate > 0.0 => format!("{:3.0} % of limit", 100.0 * rate / link),
        _ => String::new(),
    };
    let mut row = format!(
        "{} {:<15} RATE {:>8} {share:<13} WSET {:>9}",
        i + 1,
        preset.name,
        show(Control::Rate, load),
        show(Control::Wset, load)
    );
    if load.cpu_load_pct > 0.0 {
        row += &format!("  LOAD {}", show(Control::Load, load));
    }
    if width(&row) + 2 + width(preset.shows) <= room && room > 90 {
        row = format!("{row:<68}  {}", preset.shows);
    }
    row
}
