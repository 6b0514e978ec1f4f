//! The tracks above one another, on one time axis.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::{clock, dirty, phases, ping, remaining};
use crate::tui::draw::Ctx;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let heights = heights(area.height);
    let mut y = area.y;
    let renders = [phases::render, ping::render, dirty::render, remaining::render, clock::render];
    for (height, render) in heights.into_iter().zip(renders) {
        if height > 0 {
            render(ctx, Rect { y, height, ..area }, buf);
        }
        y += height;
    }
}

/// Rows for phases, pings, dirty rate, remaining and the clock.
fn heights(total: u16) -> [u16; 5] {
    let phases = if total >= 14 { 2 } else { 1 };
    let clock = 1;
    let rest = total.saturating_sub(phases + clock);
    if rest < 9 {
        let ping = rest.min(4);
        return [phases.min(total), ping, rest - ping, 0, clock.min(total.saturating_sub(phases))];
    }
    let spare = rest - 9;
    // The dirty rate against the link is the picture of the jump: it gets the most.
    let remaining = 1 + ((spare + 1) / 4).min(8);
    let ping = 4 + spare * 3 / 9;
    [phases, ping, rest - ping - remaining, remaining, clock]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_used_and_none_twice() {
        for total in 0..80 {
            assert_eq!(heights(total).iter().sum::<u16>(), total, "{total} rows");
        }
        assert_eq!(heights(11), [1, 4, 4, 1, 1]);
    }
}
