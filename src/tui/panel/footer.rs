//! The capture's path, size and health (or the replay's position), and what the keys do.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::tui::axis::clock;
use crate::tui::draw::Ctx;
use crate::tui::feed::ReplayInfo;
use crate::tui::hits::Hit;
use crate::tui::keys::{Action, label};
use crate::tui::pen::{Pen, shorten_path, width};
use crate::tui::theme::Role;
use crate::tui::view::Page;
use crate::units::{show_bytes, show_count};

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    if area.height > 1 {
        match ctx.replay() {
            Some(info) => position(ctx, &mut pen, info),
            None => capture(ctx, &mut pen, 0),
        }
    }
    keys(ctx, &mut pen, area.height.saturating_sub(1));
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
    let text = format!(
        "{word} {}{}   {} of {}",
        info.speed,
        ctx.glyphs.times,
        clock(info.position, 100_000_000),
        clock(info.length, 100_000_000)
    );
    x = pen.text(x + 1, 0, &text, ctx.style(Role::Value)) + 2;
    let to = x + 24;
    if to + 10 < pen.width() {
        let share = info.position as f64 / info.length.max(1) as f64;
        let knob = x + (share.clamp(0.0, 1.0) * 23.0).round() as u16;
        pen.fill(x, knob, 0, ctx.glyphs.slider_full, ctx.style(Role::Slider));
        pen.fill(knob + 1, to, 0, ctx.glyphs.slider_empty, ctx.style(Role::Rule));
        pen.cell(knob, 0, ctx.glyphs.slider_knob, ctx.style(Role::Slider));
        ctx.hit(pen.rect(x, 0, to - x), Hit::Position);
        x = to + 2;
    }
    let room = pen.width().saturating_sub(x + 1);
    pen.text(x, 0, &shorten_path(&info.path.display().to_string(), room, ctx.glyphs), ctx.style(Role::Muted));
}

/// Pages, and hints from the table of keys; a notice takes the place of the hints.
fn keys(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16) {
    let mut x = 1;
    // Where everything is in view there is nothing to turn to, and where almost nothing is, no room.
    let paged = (76..110).contains(&pen.width());
    if let Some((_, text)) = &ctx.view.notice {
        pen.text(x, y, &format!("{} {text}", ctx.glyphs.pointer), ctx.style(Role::Warn));
        return;
    }
    if paged {
        for (i, page) in Page::ALL.into_iter().enumerate() {
            let style = if page == ctx.view.page { ctx.style(Role::Selected) } else { ctx.style(Role::Muted) };
            let from = x;
            x = pen.text(x, y, &format!("{} {}", i + 1, page.name()), style) + 2;
            ctx.hit(pen.rect(from, y, x - from), Hit::Page(page));
        }
        x += 1;
    }
    let running = ctx.state.migrations.last().is_some_and(|m| m.ended.is_none());
    for (binding, keys) in ctx.view.keymap.bindings().filter(|(b, _)| b.scope.holds(ctx.place())) {
        let (Some(hint), Some(key)) = (binding.hint, keys.first()) else { continue };
        let offered = match binding.action {
            Action::Migrate => !running,
            Action::Cancel | Action::StopAndCopy => running,
            Action::PostCopy => running && ctx.view.migration(ctx.state).post_copy,
            Action::NextPage => !paged,
            Action::Type => ctx.replay().is_none() && !matches!(ctx.view.page, Page::History | Page::Log),
            _ => true,
        };
        let key = hint_keys(ctx, binding.action, label(*key, ctx.view.markers));
        // The help key always keeps its place: who finds it finds all others.
        let reserve = if binding.action == Action::Help || binding.action == Action::Quit { 0 } else { 16 };
        if offered && x + width(&key) + 1 + width(hint) + reserve <= pen.width() {
            let from = x;
            x = hint_at(pen, x, y, &key, hint, ctx.style(Role::Key), ctx.style(Role::Muted));
            ctx.hit(pen.rect(from, y, x - from), Hit::Action(binding.action));
        }
    }
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
