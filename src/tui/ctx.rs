//! What every panel gets to see of a frame, and what it leaves for the mouse.

use std::cell::RefCell;

use ratatui::layout::Rect;
use ratatui::style::Style;

use super::axis::{Axis, clock};
use super::feed::{RecorderInfo, ReplayInfo};
use super::hits::{Hit, Hits};
use super::keys::{Action, Place};
use super::pen::{Glyphs, Pen};
use super::theme::Role;
use super::view::View;
use crate::event::{Nanos, Phase};
use crate::session::State;
use crate::session::wall::Wall;

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
    /// The wall clock, where times are shown by it.
    pub(crate) wall: Option<Wall>,
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
            axis: Axis::of(state, extra.now, columns, view.time.window()),
            gutter,
            wall: view.wall(state),
            hits: RefCell::default(),
        }
    }
}

impl Ctx<'_> {
    /// What has been written down, once all is drawn.
    pub(crate) fn into_hits(self) -> Hits {
        self.hits.into_inner()
    }

    /// Forgets what lies where, because something now lies in front of all of it.
    pub(crate) fn clear_hits(&self) {
        self.hits.borrow_mut().clear();
    }

    /// Writes down what lies in `area`, for the mouse.
    pub(crate) fn hit(&self, area: Rect, hit: Hit) {
        self.hits.borrow_mut().add(area, hit);
    }

    /// A time as it is shown, with as many decimals as tell neighbours `step` ns apart.
    pub(crate) fn clock(&self, t: Nanos, step: Nanos) -> String {
        self.wall.as_ref().map_or_else(|| clock(t, step), |wall| wall.clock(t, step))
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
            Phase::Moving | Phase::Unknown | Phase::Unsettled => Role::PhaseUnknown,
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
