//! Keys that play a capture.

use super::situation::{Effect, Situation};
use crate::event::Nanos;
use crate::tui::keys::Action;
use crate::tui::view::View;

/// Speeds of a replay, times real time.
const SPEEDS: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0];

pub(super) fn act(view: &mut View, action: Action, at: Situation<'_>) -> Option<Effect> {
    const SECOND: Nanos = 1_000_000_000;
    let info = at.replay?;
    let effect = match action {
        Action::PlayPause => Effect::Play(!info.playing),
        Action::Slower => Effect::Speed(slower(info.speed)),
        Action::Faster => Effect::Speed(faster(info.speed)),
        Action::StepBack => Effect::Step(-1),
        Action::StepForward => Effect::Step(1),
        Action::SeekBack => Effect::Seek(info.position.saturating_sub(SECOND)),
        Action::SeekForward => Effect::Seek(info.position.saturating_add(SECOND).min(info.length)),
        Action::SeekFarBack => Effect::Seek(info.position.saturating_sub(10 * SECOND)),
        Action::SeekFarForward => Effect::Seek(info.position.saturating_add(10 * SECOND).min(info.length)),
        _ => return None,
    };
    if matches!(effect, Effect::Step(_) | Effect::Seek(_)) {
        // Who moves the position wants to see where it is.
        view.time.follow();
    }
    Some(effect)
}

fn slower(speed: f64) -> f64 {
    SPEEDS.iter().rev().copied().find(|s| *s < speed * 0.999).unwrap_or(SPEEDS[0])
}

fn faster(speed: f64) -> f64 {
    SPEEDS.iter().copied().find(|s| *s > speed * 1.001).unwrap_or(SPEEDS[SPEEDS.len() - 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn speeds_reach_from_a_tenth_to_a_hundred_from_anywhere() {
        assert_eq!((slower(0.1), faster(100.0)), (0.1, 100.0));
        assert_eq!((slower(3.0), faster(3.0)), (2.0, 5.0));
        assert_eq!((slower(0.5), faster(0.5)), (0.25, 1.0));
    }
}
