//! Keys that play a capture.

use super::{Effect, Situation};
use crate::event::Nanos;
use crate::tui::keys::Action;
use crate::tui::view::View;

/// Speeds of a replay, times real time.
const SPEEDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 100.0];

pub(super) fn act(_view: &mut View, action: Action, at: Situation<'_>) -> Option<Effect> {
    const SECOND: Nanos = 1_000_000_000;
    let info = at.replay?;
    let speed = SPEEDS.iter().position(|s| *s >= info.speed).unwrap_or(SPEEDS.len() - 1);
    Some(match action {
        Action::PlayPause => Effect::Play(!info.playing),
        Action::Slower => Effect::Speed(SPEEDS[speed.saturating_sub(1)]),
        Action::Faster => Effect::Speed(SPEEDS[(speed + 1).min(SPEEDS.len() - 1)]),
        Action::StepBack => Effect::Step(-1),
        Action::StepForward => Effect::Step(1),
        Action::SeekBack => Effect::Seek(info.position.saturating_sub(SECOND)),
        Action::SeekForward => Effect::Seek(info.position.saturating_add(SECOND).min(info.length)),
        Action::SeekFarBack => Effect::Seek(info.position.saturating_sub(10 * SECOND)),
        Action::SeekFarForward => Effect::Seek(info.position.saturating_add(10 * SECOND).min(info.length)),
        _ => return None,
    })
}
