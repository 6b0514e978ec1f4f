//! One frame: which panels stand where, at every size.

use std::cell::RefCell;

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use super::axis::Axis;
use super::feed::{RecorderInfo, ReplayInfo};
use super::hits::{Hit, Hits};
use super::keys::{Action, Place};
use super::panel;
use super::pen::{Glyphs, Pen, wrap};
use super::theme::Role;
use super::view::{Page, View};
use crate::event::{Nanos, Phase};
use crate::session::State;

/// Columns left of the time axis, the same for every track.
const GUTTER: u16 = 12;
/// Rows of a panel of controls: a title and seven rows.
const CONTROLS: u16 = 8;

/// A live session or a replay.
#[derive(Debug, Clone, PartialEq)]
pub enum Mode {
    /// Live.
    Live,
    /// A replay.
    Replay(ReplayInfo),
}

/// What a frame shows that is neither the view's nor the session's.
#[derive(Debug, Clone, PartialEq)]
pub struct Extra {
    /// Now, ns of the session clock.
    pub now: Nanos,
    /// The recorder; `None` where nothing is recorded.
    pub recorder: Option<RecorderInfo>,
    /// A live session or a replay.
    pub mode: Mode,
}

/// What every panel gets to see.
pub(crate) struct Ctx<'a> {
    pub(crate) view: &'a View,
    pub(crate) state: &'a State,
    pub(crate) extra: &'a Extra,
    pub(crate) glyphs: &'static Glyphs,
    pub(crate) axis: Axis,
    pub(crate) gutter: u16,
    hits: RefCell<Hits>,
}

impl<'a> Ctx<'a> {
    /// `columns` are those of the time axis, right of the gutter.
    pub(crate) fn new(view: &'a View, state: &'a State, extra: &'a Extra, (columns, gutter): (u16, u16)) -> Self {
        Self {
            view,
            state,
            extra,
            glyphs: Glyphs::of(view.markers),
            axis: Axis::of(state, extra.now, columns, &view.time),
            gutter,
            hits: RefCell::default(),
        }
    }
}

impl Ctx<'_> {
    /// Writes down what lies in `area`, for the mouse.
    pub(crate) fn hit(&self, area: Rect, hit: Hit) {
        self.hits.borrow_mut().add(area, hit);
    }

    /// The key of an action, for people.
    pub(crate) fn key(&self, action: Action) -> String {
        self.view.keymap.label_of(action, self.view.markers)
    }

    /// Where keys are pressed.
    pub(crate) fn place(&self) -> Place {
        Place { replay: self.replay().is_some(), page: self.view.page }
    }

    pub(crate) fn style(&self, role: Role) -> Style {
        self.view.theme.style(role)
    }

    pub(crate) fn replay(&self) -> Option<&ReplayInfo> {
        match &self.extra.mode {
            Mode::Live => None,
            Mode::Replay(info) => Some(info),
        }
    }

    /// The style of a phase.
    pub(crate) fn phase(&self, phase: Phase) -> Style {
        self.style(match phase {
            Phase::Idle => Role::PhaseIdle,
            Phase::Setup => Role::PhaseSetup,
            Phase::PreCopy => Role::PhasePreCopy,
            Phase::StopAndCopy => Role::PhaseStopAndCopy,
            Phase::PostCopy => Role::PhasePostCopy,
            Phase::Recovery => Role::PhaseRecovery,
            Phase::Done => Role::PhaseDone,
            Phase::Failed => Role::PhaseFailed,
            Phase::Cancelled => Role::PhaseCancelled,
            Phase::Unknown | Phase::Unsettled => Role::PhaseUnknown,
        })
    }

    /// The title line of a panel; returns the column after the title.
    pub(crate) fn title(&self, pen: &mut Pen<'_>, text: &str) -> u16 {
        let rule = self.style(Role::Rule);
        pen.fill(0, pen.width(), 0, self.glyphs.rule, rule);
        let x = pen.text(1, 0, &format!(" {text} "), self.style(Role::Title));
        x.max(1)
    }
}

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
    ctx.hits.into_inner()
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
    let bottom = take_bottom(&mut area, CONTROLS + extra);
    panel::tracks::render(ctx, area, buf);
    match ctx.view.page {
        Page::Controls => {
            let (left, right) = halves(bottom, bottom.width / 2);
            panel::load::render(ctx, left, buf);
            panel::migration::render(ctx, right, buf);
        }
        page => panel_of(page)(ctx, bottom, buf),
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
    let spare = area.height.saturating_sub(35);
    let mut lower = take_bottom(&mut area, 2 * CONTROLS + 1 + spare / 2);
    panel::tracks::render(ctx, area, buf);
    let (left, right) = halves(take_top(&mut lower, CONTROLS), lower.width / 2);
    panel::load::render(ctx, left, buf);
    panel::migration::render(ctx, right, buf);
    let (left, right) = halves(lower, lower.width / 2 + 4);
    // What does not fit beside the other has the whole width while its page is in front.
    match ctx.view.page {
        Page::Log => return panel::log::render(ctx, lower, buf),
        Page::Result if !panel::result::fits(ctx, left) => return panel::result::render(ctx, lower, buf),
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
    if view.help || view.entry.is_some() || view.confirm.is_some() || view.menu.is_some() {
        ctx.hits.borrow_mut().clear();
    }
    if ctx.view.help {
        panel::help::render(ctx, area, buf);
    } else if ctx.view.entry.is_some() || ctx.view.confirm.is_some() {
        panel::dialog::render(ctx, area, buf);
    } else if let Some(menu) = ctx.view.menu {
        panel::menu::render(ctx, area, buf, menu);
    } else if ctx.view.page == Page::History && panel::compare::shows(ctx) {
        panel::compare::render(ctx, area, buf);
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
