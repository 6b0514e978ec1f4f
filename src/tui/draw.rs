//! One frame: which panels stand where, at every size.

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Modifier;

use super::ctx::{Ctx, Extra};
use super::hits::Hits;
use super::panel;
use super::pen::{Pen, wrap};
use super::theme::Role;
use super::view::{Front, Page, View};
use crate::session::State;

/// Columns left of the time axis, the same for every track.
const GUTTER: u16 = 12;
/// Rows of a panel of controls: a title and seven rows.
const CONTROLS: u16 = 8;
/// Rows that the further probes of a result get of the tracks where there is little room.
const FURTHER: u16 = 3;
/// Rows that the tracks keep where others want more.
const TRACKS_LEAST: u16 = 14;

/// A panel: draws itself into an area.
type Render = fn(&Ctx<'_>, Rect, &mut Buffer);

/// Draws one frame: a pure function of what it is given. Returns what lies where.
pub fn draw(view: &View, state: &State, extra: &Extra, frame: &mut Frame<'_>) -> Hits {
    let area = frame.area();
    let buf = frame.buffer_mut();
    let layout = Layout::of(area);
    let chart = match layout {
        Layout::TooSmall | Layout::Tiny => (area.width, 0),
        Layout::Compact | Layout::Stacked => (area.width.saturating_sub(GUTTER), GUTTER),
        Layout::Side => (area.width.saturating_sub(side_width(area.width) + 1 + GUTTER), GUTTER),
    };
    let ctx = Ctx::new(view, state, extra, chart);
    match layout {
        Layout::TooSmall => too_small(&ctx, area, buf),
        Layout::Tiny => panel::tiny::render(&ctx, area, buf),
        Layout::Compact | Layout::Stacked | Layout::Side => full(&ctx, layout, area, buf),
    }
    if layout != Layout::TooSmall {
        overlays(&ctx, area, buf);
    }
    view.markers.purge(buf);
    ctx.into_hits()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    TooSmall,
    Tiny,
    Compact,
    Stacked,
    Side,
}

impl Layout {
    fn of(area: Rect) -> Self {
        match (area.width, area.height) {
            (w, h) if w < 30 || h < 8 => Self::TooSmall,
            (w, h) if w < 76 || h < 22 => Self::Tiny,
            (w, h) if w >= 160 && h >= 40 => Self::Side,
            (w, h) if w >= 110 && h >= 34 => Self::Stacked,
            _ => Self::Compact,
        }
    }
}

/// Whether a terminal of this size has pages to turn to.
pub(crate) fn has_pages(width: u16, height: u16) -> bool {
    !matches!(Layout::of(Rect::new(0, 0, width, height)), Layout::TooSmall | Layout::Tiny)
}

fn side_width(width: u16) -> u16 {
    (width * 2 / 5).clamp(64, 84)
}

/// Cuts `rows` rows off the top.
fn take_top(area: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    let top = Rect { height: rows, ..*area };
    (area.y, area.height) = (area.y + rows, area.height - rows);
    top
}

/// Cuts `rows` rows off the bottom.
fn take_bottom(area: &mut Rect, rows: u16) -> Rect {
    let rows = rows.min(area.height);
    area.height -= rows;
    Rect { y: area.y + area.height, height: rows, ..*area }
}

/// Cuts in two side by side, with a column between.
fn halves(area: Rect, left: u16) -> (Rect, Rect) {
    let left = left.min(area.width);
    let rest = area.width.saturating_sub(left + 1);
    (Rect { width: left, ..area }, Rect { x: area.x + area.width - rest, width: rest, ..area })
}

fn full(ctx: &Ctx<'_>, layout: Layout, mut area: Rect, buf: &mut Buffer) {
    let rows = panel::header::rows(ctx, area.width);
    panel::header::render(ctx, take_top(&mut area, rows), buf);
    if panel::banner::text(ctx).is_some() {
        panel::banner::render(ctx, take_top(&mut area, 1), buf);
    }
    let caption = panel::caption::rows(ctx, area.width);
    if caption > 0 {
        panel::caption::render(ctx, take_top(&mut area, caption), buf);
    }
    panel::footer::render(ctx, take_bottom(&mut area, 2), buf);
    match layout {
        Layout::Side => side(ctx, area, buf),
        Layout::Stacked => stacked(ctx, area, buf),
        _ => compact(ctx, area, buf),
    }
}

fn compact(ctx: &Ctx<'_>, mut area: Rect, buf: &mut Buffer) {
    let extra = area.height.saturating_sub(24 - 5) / 3;
    // Each further probe of a result is worth a row of the tracks, up to a few.
    let further = if ctx.view.page == Page::Result { panel::result::further(ctx).min(FURTHER) } else { 0 };
    let bottom = take_bottom(&mut area, CONTROLS + extra + further);
    panel::tracks::render(ctx, area, buf);
    if ctx.state.only_watches() {
        return watched(ctx, bottom, buf);
    }
    match ctx.view.page {
        Page::Controls => {
            let (left, right) = halves(bottom, bottom.width / 2);
            panel::load::render(ctx, left, buf);
            panel::migration::render(ctx, right, buf);
        }
        page => panel_of(page)(ctx, bottom, buf),
    }
}

/// What stands below the tracks where nothing can be migrated: the outages, and the load of a guest that has an agent.
fn watched(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    match ctx.view.page {
        Page::Log => panel::log::render(ctx, area, buf),
        Page::Controls if ctx.state.agent.since > 0 => {
            let (left, right) = halves(area, area.width / 2);
            panel::load::render(ctx, left, buf);
            panel::outages::render(ctx, right, buf);
        }
        _ => panel::outages::render(ctx, area, buf),
    }
}

fn panel_of(page: Page) -> Render {
    match page {
        Page::History => panel::history::render,
        Page::Log => panel::log::render,
        Page::Controls | Page::Result => panel::result::render,
    }
}

fn stacked(ctx: &Ctx<'_>, mut area: Rect, buf: &mut Buffer) {
    if ctx.state.only_watches() {
        let mut lower = take_bottom(&mut area, 2 * CONTROLS);
        panel::tracks::render(ctx, area, buf);
        watched(ctx, take_top(&mut lower, CONTROLS), buf);
        return panel::log::render(ctx, lower, buf);
    }
    let spare = area.height.saturating_sub(35);
    let mut rows = 2 * CONTROLS + 1 + spare / 2;
    if ctx.view.page == Page::Result {
        // All of a result is worth some rows of the tracks.
        let most = area.height.saturating_sub(TRACKS_LEAST);
        rows = rows.max((CONTROLS + panel::result::wanted(ctx, area.width)).min(most));
    }
    let mut lower = take_bottom(&mut area, rows);
    panel::tracks::render(ctx, area, buf);
    let (left, right) = halves(take_top(&mut lower, CONTROLS), lower.width / 2);
    panel::load::render(ctx, left, buf);
    panel::migration::render(ctx, right, buf);
    let (left, right) = halves(lower, lower.width / 2 + 4);
    // What does not fit beside the other has the whole width while its page is in front.
    match ctx.view.page {
        Page::Log => return panel::log::render(ctx, lower, buf),
        Page::Result if panel::result::wanted(ctx, left.width) > left.height => {
            return panel::result::render(ctx, lower, buf);
        }
        _ => {}
    }
    let page = if ctx.view.page == Page::History { Page::History } else { Page::Result };
    panel_of(page)(ctx, left, buf);
    panel::log::render(ctx, right, buf);
}

fn side(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let right_width = side_width(area.width);
    let (left, mut right) = halves(area, area.width.saturating_sub(right_width + 1));
    panel::tracks::render(ctx, left, buf);
    if ctx.state.only_watches() {
        if ctx.state.agent.since > 0 {
            panel::load::render(ctx, take_top(&mut right, CONTROLS), buf);
        }
        let half = right.height / 2;
        panel::outages::render(ctx, take_top(&mut right, half), buf);
        return panel::log::render(ctx, right, buf);
    }
    panel::load::render(ctx, take_top(&mut right, CONTROLS), buf);
    panel::migration::render(ctx, take_top(&mut right, CONTROLS), buf);
    panel::result::render(ctx, take_top(&mut right, CONTROLS + 4), buf);
    panel::history::render(ctx, take_top(&mut right, panel::history::wanted(ctx)), buf);
    panel::log::render(ctx, right, buf);
}

fn overlays(ctx: &Ctx<'_>, mut area: Rect, buf: &mut Buffer) {
    let view = ctx.view;
    if panel::header::is_simulated(ctx) {
        // The row that says so stays in sight, whatever is in front of the rest.
        take_top(&mut area, 1);
    }
    let front = view.front();
    if front.is_some() {
        ctx.clear_hits();
    }
    match front {
        Some(Front::Entry | Front::Confirm(_)) => panel::dialog::render(ctx, area, buf),
        Some(Front::Help) => panel::help::render(ctx, area, buf),
        Some(Front::Menu(menu)) => panel::menu::render(ctx, area, buf, menu),
        None if view.page == Page::History && panel::compare::shows(ctx) => panel::compare::render(ctx, area, buf),
        None => {}
    }
}

fn too_small(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let phase = super::axis::phase_now(ctx.state);
    let mut x = 0;
    if panel::header::is_simulated(ctx) {
        // Before the phase: the first row may be all there is, and be cut.
        let badge = if area.width >= 28 { " SIMULATED " } else { " SIM " };
        x = pen.text(0, 0, badge, ctx.style(Role::Simulated)) + 1;
    }
    pen.text(x, 0, &phase.word().to_uppercase(), ctx.phase(phase).add_modifier(Modifier::BOLD));
    let text = format!("too small: {}x{}; blackout needs 30x8", area.width, area.height);
    for (y, line) in wrap(&text, area.width).iter().enumerate() {
        pen.text(0, y as u16 + 1, line, ctx.style(Role::Text));
    }
}
