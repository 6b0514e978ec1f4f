//! Keys that choose, sort and compare migrations.

use super::Situation;
use crate::tui::keys::Action;
use crate::tui::view::View;

pub(super) fn act(_view: &mut View, _action: Action, _at: Situation<'_>) {}
