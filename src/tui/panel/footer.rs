//! The capture's path, size and health (or the replay's position), and what the keys do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::axis::clock;
use crate::tui::ctx::Ctx;
use crate::tui::feed::ReplayInfo;
use crate::tui::hits::Hit;
use crate::tui::keys::{Action, label};
use crate::tui::pen::{Pen, shorten_path, width};
use crate::tui::theme::Role;
use crate::tui::view::Page;
use crate::units::{show_bytes, show_count};

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    if area.height > 1 {
        let tabs = if paged(area.width) { TABS } else { 0 };
        let left = area.width - tabs;
        match ctx.replay() {
            Some(info) => position(ctx, &mut Pen::new(buf, Rect { width: left, ..area }), info),
            None => capture(ctx, &mut Pen::new(buf, Rect { width: left, ..area }), 0),
        }
        if tabs > 0 {
            pages(ctx, &mut Pen::new(buf, Rect { x: area.x + left, width: tabs, ..area }));
        }
    }
    keys(ctx, &mut Pen::new(buf, area), area.height.saturating_sub(1));
}

/// Whether the pages have their names here: where everything is in view there is nothing to turn to, and
/// where almost nothing is, no room.
fn paged(width: u16) -> bool {
    (76..110).contains(&width)
}

/// Columns of the pages' names.
const TABS: u16 = 39;

/// The pages, the one in front marked.
fn pages(ctx: &Ctx<'_>, pen: &mut Pen<'_>) {
    let mut x = 1;
    let (watches, agent) = (ctx.state.only_watches(), ctx.state.agent.since > 0);
    for page in Page::ALL {
        // What only watches has its outages, its log, and the load of a guest with an agent.
        let (name, front) = match page {
            Page::Controls if watches && !agent => continue,
            Page::History if watches => continue,
            Page::Controls if watches => ("load", ctx.view.page == page),
            Page::Result if watches => {
                let elsewhere = ctx.view.page == Page::Log || agent && ctx.view.page == Page::Controls;
                ("outages", !elsewhere)
            }
            page => (page.name(), ctx.view.page == page),
        };
        let style = ctx.style(if front { Role::Selected } else { Role::Muted });
        let action = match page {
            Page::Controls => Action::PageControls,
            Page::Result => Action::PageResult,
            Page::History => Action::PageHistory,
            Page::Log => Action::PageLog,
        };
        let from = x;
        x = pen.text(x, 0, format!("{} {name}", ctx.key(action)).trim_start(), style) + 2;
        ctx.hit(pen.rect(from, 0, x - from), Hit::Page(page));
    }
}

/// Path, size and health of the capture.
pub(crate) fn capture(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16) {
    let Some(recorder) = &ctx.extra.recorder else {
        pen.text(1, y, "no capture is being written", ctx.style(Role::Warn));
        return;
    };
    let health = &ctx.state.health;
    let (mark, word, role) = if recorder.trouble.is_some() || health.recorder_trouble.is_some() {
        (ctx.glyphs.warn, "NOT RECORDING", Role::Error)
    } else if health.recorder_ever_troubled {
        (ctx.glyphs.dot, "recording (was in trouble)", Role::Warn)
    } else {
        (ctx.glyphs.dot, "recording", Role::Good)
    };
    let mut x = pen.text(1, y, mark, ctx.style(role));
    x = pen.text(x + 1, y, word, ctx.style(role));
    x = pen.text(x + 2, y, &show_bytes(recorder.bytes), ctx.style(Role::Value));
    if health.lost_events > 0 {
        let text = format!("{} {} events lost to full queues", ctx.glyphs.warn, show_count(health.lost_events));
        x = pen.text(x + 2, y, &text, ctx.style(Role::Error));
    }
    if recorder.backlog > 1000 {
        x = pen.text(x + 2, y, &format!("{} waiting", show_count(recorder.backlog)), ctx.style(Role::Warn));
    }
    let path = recorder.path.display().to_string();
    let room = pen.width().saturating_sub(x + 3);
    pen.text(x + 2, y, &shorten_path(&path, room, ctx.glyphs), ctx.style(Role::Muted));
}

fn position(ctx: &Ctx<'_>, pen: &mut Pen<'_>, info: &ReplayInfo) {
    let (mark, word) = if info.playing { (ctx.glyphs.play, "playing") } else { (ctx.glyphs.pause, "paused") };
    let mut x = pen.text(1, 0, mark, ctx.style(Role::Key));
    // Where there is little room the bar is worth more than words.
    let (apart, of) = if pen.width() < 60 { (" ", "/") } else { ("   ", " of ") };
    let text = format!(
        "{word} {}{}{apart}{}{of}{}",
        info.speed,
        ctx.glyphs.times,
        clock(info.position, 100_000_000),
        clock(info.length, 100_000_000)
    );
    x = pen.text(x + 1, 0, &text, ctx.style(Role::Value)) + 2;
    let to = (x + 24).min(pen.width().saturating_sub(2));
    if to >= x + 6 {
        let share = info.position as f64 / info.length.max(1) as f64;
        let knob = x + (share.clamp(0.0, 1.0) * f64::from(to - x - 1)).round() as u16;
        pen.fill(x, knob, 0, ctx.glyphs.slider_full, ctx.style(Role::Slider));
        pen.fill(knob + 1, to, 0, ctx.glyphs.slider_empty, ctx.style(Role::Rule));
        pen.cell(knob, 0, ctx.glyphs.slider_knob, ctx.style(Role::Slider));
        ctx.hit(pen.rect(x, 0, to - x), Hit::Position);
        x = to + 2;
    }
    let room = pen.width().saturating_sub(x + 1);
    if room < 10 {
        return;
    }
    pen.text(x, 0, &shorten_path(&info.path.display().to_string(), room, ctx.glyphs), ctx.style(Role::Muted));
}

/// Hints from the table of keys, those first that matter as things are; a notice takes their place.
fn keys(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16) {
    if let Some((_, text)) = &ctx.view.notice {
        pen.text(1, y, &format!("{} {text}", ctx.glyphs.pointer), ctx.style(Role::Warn));
        return;
    }
    let hint = |action: Action| {
        let (binding, keys) = ctx.view.keymap.bindings().find(|(b, _)| b.action == action)?;
        let key = label(*keys.first().filter(|_| binding.scope.holds(ctx.place()))?, ctx.view.markers);
        Some((hint_keys(ctx, action, key), binding.hint?))
    };
    let wide = |(key, word): &(String, &str)| width(key) + 1 + width(word) + 2;
    // Who finds the help finds all others, so it always has its place, and the way out.
    let last = [Action::Help, Action::Quit];
    let mut room = (pen.width() + 2).saturating_sub(last.into_iter().filter_map(hint).map(|h| wide(&h)).sum());
    let mut x = 1;
    for action in matter_most(ctx, paged(pen.width())).into_iter().chain(last) {
        let Some((key, word)) = hint(action) else { continue };
        let columns = wide(&(key.clone(), word));
        if last.contains(&action) {
            room = pen.width() + 2;
        }
        if x + columns > room {
            continue;
        }
        let from = x;
        x = hint_at(pen, x, y, &key, word, ctx.style(Role::Key), ctx.style(Role::Muted));
        ctx.hit(pen.rect(from, y, x - from), Hit::Action(action));
    }
}

/// The actions to offer as things are, those first that matter most; then all others that have a word.
fn matter_most(ctx: &Ctx<'_>, paged: bool) -> Vec<Action> {
    use Action as A;
    // Nothing to migrate, and no agent that could make a load.
    let bare = ctx.state.only_watches() && ctx.state.agent.since == 0;
    let running = ctx.state.migrations.last().is_some_and(|m| m.ended.is_none());
    let mut first: Vec<A> = Vec::new();
    if ctx.view.time.cursor.is_some() {
        first.extend([A::CursorOn, A::EventOn, A::Measure, A::Mark, A::Back]);
    }
    if ctx.replay().is_some() {
        first.extend([A::PlayPause, A::SeekForward, A::StepForward, A::Faster]);
    }
    match ctx.view.page {
        Page::History => first.extend([A::Sort, A::Baseline, A::Compare]),
        Page::Log => first.extend([A::Search, A::Filter]),
        Page::Controls | Page::Result => {}
    }
    if running {
        first.extend([A::StopAndCopy, A::Cancel]);
        if ctx.view.migration(ctx.state).post_copy {
            first.push(A::PostCopy);
        }
        first.extend([A::More, A::Freeze]);
    } else if !bare {
        first.extend([A::More, A::Migrate, A::Type]);
    } else {
        first.extend([A::WorstOutage, A::WallClock]);
    }
    first.extend([A::CursorOn, A::EventOn, A::ZoomIn, A::Freeze, A::Mark]);
    if !paged {
        first.push(A::NextPage);
    }
    let not_now = [A::Migrate, A::StopAndCopy, A::Cancel, A::PostCopy, A::NextPage, A::Back, A::Help, A::Quit];
    let of_load = [A::Less, A::More, A::MuchLess, A::MuchMore, A::Type, A::Ramp, A::Presets, A::Hold];
    let off = |a: &A| not_now.contains(a) || bare && of_load.contains(a);
    let rest = ctx.view.keymap.bindings().map(|(b, _)| b.action).filter(|a| !off(a));
    let mut order: Vec<A> = Vec::new();
    for action in first.into_iter().chain(rest) {
        if !order.contains(&action) {
            order.push(action);
        }
    }
    order
}

/// Actions that come in pairs show both keys.
fn hint_keys(ctx: &Ctx<'_>, action: Action, own: String) -> String {
    let other = match action {
        Action::More => {
            let all = [Action::Up, Action::Down, Action::Less, Action::More];
            return all.map(|a| ctx.key(a)).concat();
        }
        Action::StepForward => Action::StepBack,
        Action::SeekForward => Action::SeekBack,
        Action::Faster => Action::Slower,
        Action::ZoomIn => Action::ZoomOut,
        Action::CursorOn => Action::CursorBack,
        Action::PanOn => Action::PanBack,
        Action::EventOn => Action::EventBack,
        _ => return own,
    };
    format!("{}{own}", ctx.key(other))
}

fn hint_at(pen: &mut Pen<'_>, x: u16, y: u16, key: &str, hint: &str, a: Style, b: Style) -> u16 {
    let x = pen.text(x, y, key, a);
    pen.text(x + 1, y, hint, b) + 2
}
