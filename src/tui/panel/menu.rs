//! The lists that come in front: loads, tracks, kinds of events.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::chooser::list;
use crate::session::notable::Kind;
use crate::tui::ctx::Ctx;
use crate::tui::keys::Action;
use crate::tui::view::Menu;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, menu: Menu) {
    match menu {
        Menu::Presets(row) => super::presets::render(ctx, area, buf, row),
        Menu::Tracks(i) => tracks(ctx, area, buf, i),
        Menu::Events(i) => events(ctx, area, buf, i),
    }
}

/// A box that is ticked or not.
fn tick(on: bool) -> &'static str {
    if on { "[x]" } else { "[ ]" }
}

fn tracks(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, selected: usize) {
    let full = ctx.glyphs.slider_full;
    let rows: Vec<String> = ctx
        .view
        .tracks
        .entries()
        .iter()
        .map(|e| {
            let bar = full.repeat(usize::from(e.weight));
            let bar = match (e.track.has_data(ctx.state), e.track.untold(ctx.state)) {
                (true, _) => bar,
                (false, Some(_)) => "(not told)".into(),
                (false, None) => "(no data)".into(),
            };
            format!("{} {:<18} height {} {bar:<9}", tick(!e.hidden), e.track.name(), e.weight)
        })
        .collect();
    let keys = "Space hide/show  J K move  + - 0 height  Esc";
    list(ctx, area, buf, "Tracks", &rows, selected, keys);
}

fn events(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, selected: usize) {
    let [back, on] = [Action::EventBack, Action::EventOn].map(|a| ctx.key(a));
    let row = |kind: Kind| {
        let name = match kind {
            Kind::Loss => "lost probes",
            Kind::Phase => "phases",
            Kind::Round => "rounds of pre-copy",
            Kind::Mark => "marks",
            Kind::LoadChange => "changes of the load",
        };
        format!("{} {name}", tick(ctx.view.time.kinds.has(kind)))
    };
    let rows = Kind::ALL.map(row);
    let keys = "Space choose  a all or none  Esc";
    list(ctx, area, buf, &format!("Events {back} and {on} go to"), &rows, selected, keys);
}
