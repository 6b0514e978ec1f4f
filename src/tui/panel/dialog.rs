//! What is asked of the operator: a value, or whether something is meant.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::analysis::prediction::words;
use crate::event::Nanos;
use crate::session::state::Migration;
use crate::session::stopping::stop_forecast;
use crate::tui::ctx::Ctx;
use crate::tui::edit;
use crate::tui::estimate::{dirty_to_link, newest, ramp_at, ramp_left_s};
use crate::tui::hits::Hit;
use crate::tui::pen::{Glyphs, Pen, width, wrap};
use crate::tui::theme::Role;
use crate::tui::view::{Asked, Confirm, Entry};
use crate::units::{show_bandwidth, show_bytes, show_count};

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    if let Some(entry) = &ctx.view.entry {
        typing(ctx, area, buf, entry);
    } else if let Some(confirm) = ctx.view.confirm {
        question(ctx, area, buf, confirm);
    }
}

fn outer(area: Rect, wide: u16, high: u16) -> Rect {
    let w = (wide + 4).min(area.width);
    let h = (high + 2).min(area.height);
    Rect { x: area.x + (area.width - w) / 2, y: area.y + (area.height - h) / 2, width: w, height: h }
}

/// The inside of the frame that [`frame`] draws.
pub(crate) fn inner(area: Rect, wide: u16, high: u16) -> Rect {
    let o = outer(area, wide, high);
    Rect { x: o.x + 2, y: o.y + 1, width: o.width.saturating_sub(4), height: o.height.saturating_sub(2) }
}

/// A frame in the middle of `area` with room for `wide` x `high` inside; returns a pen for it.
pub(crate) fn frame<'a>(ctx: &Ctx<'_>, area: Rect, buf: &'a mut Buffer, wide: u16, high: u16, title: &str) -> Pen<'a> {
    framed(ctx.glyphs, ctx.style(Role::Title), area, buf, (wide, high), title)
}

/// The same, drawn with these characters in this style.
pub(crate) fn framed<'a>(
    glyphs: &Glyphs,
    style: Style,
    area: Rect,
    buf: &'a mut Buffer,
    (wide, high): (u16, u16),
    title: &str,
) -> Pen<'a> {
    let outer = outer(area, wide, high);
    let (w, h) = (outer.width, outer.height);
    let [tl, tr, bl, br, across, down] = glyphs.corners;
    {
        let mut pen = Pen::new(buf, outer);
        pen.clear();
        for (y, left, right) in [(0, tl, tr), (h.saturating_sub(1), bl, br)] {
            pen.fill(1, w.saturating_sub(1), y, across, style);
            pen.cell(0, y, left, style);
            pen.cell(w.saturating_sub(1), y, right, style);
        }
        for y in 1..h.saturating_sub(1) {
            pen.cell(0, y, down, style);
            pen.cell(w.saturating_sub(1), y, down, style);
        }
        pen.text_to(2, 0, w.saturating_sub(2), &format!(" {title} "), style);
    }
    let inner = Rect { x: outer.x + 2, y: outer.y + 1, width: w.saturating_sub(4), height: h.saturating_sub(2) };
    Pen::new(buf, inner)
}

/// Columns of a line that is typed on, at most.
const LINE: u16 = 62;

fn typing(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, entry: &Entry) {
    let wide = LINE.min(area.width.saturating_sub(4));
    let prompt = wrap(&prompt(ctx, &entry.asked), wide);
    let error = entry.error.as_ref().map(|e| wrap(e, wide)).unwrap_or_default();
    let high = prompt.len() + 1 + error.len().max(1);
    let mut pen = frame(ctx, area, buf, wide, high as u16, title(&entry.asked));
    let mut y = 0;
    for line in &prompt {
        pen.text(0, y, line, ctx.style(Role::Muted));
        y += 1;
    }
    pen.text(0, y, "> ", ctx.style(Role::Key));
    line(&|role| ctx.style(role), &mut pen, 2, y, entry);
    y += 1;
    for line in &error {
        pen.text(0, y, line, ctx.style(Role::Error));
        y += 1;
    }
    if error.is_empty() {
        let text = if entry.is_untouched() {
            "this is what it is; typing replaces it, Esc leaves it"
        } else {
            "Enter takes it, Esc leaves it"
        };
        pen.text(0, y, text, ctx.style(Role::Muted));
    }
}

/// The text with its cursor; where it is longer than the line, the part around the cursor.
pub(crate) fn line<A>(look: &dyn Fn(Role) -> Style, pen: &mut Pen<'_>, from: u16, y: u16, entry: &Entry<A>) {
    let room = pen.width().saturating_sub(from);
    let (before, after) = entry.halves();
    // The cursor stands on a character, or on a blank after the last; both must be in view.
    let mut under = after.chars().next().unwrap_or(' ');
    let mut tail = String::from_iter(after.chars().skip(1));
    // Joined characters stay with the one they belong to: drawn together, not apart.
    while let Some(c) = tail.chars().next().filter(|c| width(c.encode_utf8(&mut [0; 4])) == 0) {
        tail.drain(..c.len_utf8());
    }
    if under.is_control() {
        under = ' ';
    }
    let cursor = under.to_string();
    let mut head = before.to_string();
    while width(&head) + width(&cursor).max(1) > room && !head.is_empty() {
        head.remove(0);
    }
    let style = look(Role::Value);
    let x = pen.text(from, y, &head, if entry.is_untouched() { look(Role::Muted) } else { style });
    let x = pen.text(x, y, &cursor, look(Role::Selected));
    pen.text(x, y, &tail, style);
}

fn title(asked: &Asked) -> &str {
    match asked {
        Asked::Control(control) => control.label(),
        Asked::Ramp => "ramp RATE",
        Asked::Mark(_) => "mark",
        Asked::Search => "search the log",
        Asked::Parameter(name) => name,
    }
}

fn prompt(ctx: &Ctx<'_>, asked: &Asked) -> String {
    use edit::{Control, Hold};
    match asked {
        Asked::Control(Control::Rate) => {
            let held = match ctx.view.hold {
                Hold::Period => "PERIOD is held, BPC follows",
                Hold::Bpc => "BPC is held, PERIOD follows",
            };
            format!("{}; {held}", Control::Rate.prompt())
        }
        Asked::Control(control) => control.prompt().into(),
        Asked::Ramp => {
            "from, to, and how long: 2000 to 12000 in 20s; or, from the RATE there is, to 12000 in 20s".into()
        }
        Asked::Mark(_) => "a note, or nothing".into(),
        Asked::Search => "a part of the text, of any case".into(),
        Asked::Parameter(name) => {
            let offered = edit::offers(ctx.state).and_then(|o| o.parameter(name));
            let Some(p) = offered else { return "the hypervisor no longer offers it".into() };
            let now = edit::show_parameter(&p.value, &p.unit);
            let when = if p.live { "" } else { "; not while a migration runs" };
            format!("the hypervisor has {now}{when}; none leaves it so")
        }
    }
}

fn question(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer, confirm: Confirm) {
    let (title, text) = words(ctx, confirm);
    let wide = 58.min(area.width.saturating_sub(4));
    let lines = wrap(&text, wide);
    let (wide, high) = (wide.max(width(title)), lines.len() as u16 + 2);
    let inner = inner(area, wide, high);
    let mut pen = frame(ctx, area, buf, wide, high, title);
    let mut y = 0;
    for line in &lines {
        pen.text(0, y, line, ctx.style(Role::Text));
        y += 1;
    }
    y += 1;
    let mut x = 0;
    for (yes, key, word) in [(true, "y", "yes"), (false, "n", "no")] {
        let from = x;
        x = pen.text(x, y, "[", ctx.style(Role::Muted));
        x = pen.text(x, y, key, ctx.style(Role::Key)) + 1;
        x = pen.text(x, y, word, ctx.style(Role::Text));
        x = pen.text(x, y, "]", ctx.style(Role::Muted));
        let button = Rect { x: inner.x + from, y: inner.y + y, width: x - from, height: 1 };
        ctx.hit(button.intersection(inner), Hit::Answer(yes));
        x += 2;
    }
}

/// What is asked, and what the answer will do, with the numbers at hand.
fn words(ctx: &Ctx<'_>, confirm: Confirm) -> (&'static str, String) {
    let state = ctx.state;
    let now = ctx.extra.now;
    let m = state.migrations.last();
    let (from, to) = m.map_or(("the source", "the destination"), |m| (m.from.as_str(), m.to.as_str()));
    let sample = m.map(newest).unwrap_or_default();
    let bytes = |b: Option<u64>, what: &str| b.map_or(String::new(), |b| format!(" ({} {what})", show_bytes(b)));
    match confirm {
        Confirm::Cancel => (
            "Cancel the migration?",
            format!(
                "It is given up. The guest goes on running at {from}; what was sent{} is lost.",
                bytes(sample.transferred_bytes, "by now")
            ),
        ),
        Confirm::StopAndCopy => (
            "Stop the guest now?",
            format!(
                "The guest stands still at {from} until what is left has been copied; then it runs at {to}. {}",
                m.map_or_else(|| "Nobody can reach it meanwhile.".into(), |m| silence(ctx, m, now))
            ),
        ),
        Confirm::PostCopy => (
            "Switch to post-copy?",
            format!(
                "The guest runs at {to} at once and pulls what it lacks{}. There is no way back: if the link \
                 breaks now, the guest is lost.",
                bytes(sample.remaining_bytes, "by now")
            ),
        ),
        Confirm::RampEnd => {
            let text = state.load.ramp.as_ref().map_or_else(
                || "It has ended meanwhile.".into(),
                |r| {
                    format!(
                        "RATE stays where it is by then, about {} pages/s now; it would go on to {} for {:.1} s more.",
                        show_count(ramp_at(r, now).round().max(0.0) as u64),
                        show_count(r.to_pages_per_s.round().max(0.0) as u64),
                        ramp_left_s(r, now)
                    )
                },
            );
            ("End the ramp here?", text)
        }
        Confirm::Quit => (
            "Quit while a migration runs?",
            format!("The session ends and with it our hold on the migration {from} to {to}."),
        ),
    }
}

/// How long nobody will reach the guest.
fn silence(ctx: &Ctx<'_>, m: &Migration, now: Nanos) -> String {
    let sample = newest(m);
    let Some(stop) = stop_forecast(ctx.state, m, now) else {
        return "Nobody can reach it meanwhile; for how long is not known.".into();
    };
    let ends = match dirty_to_link(ctx.state, m, &sample) {
        Some(ratio) if ratio < 1.0 => " It converges: left alone, it would end by itself.",
        _ => "",
    };
    format!(
        "stop-resume: {}, to copy {} at {}, with what was dirtied since the log was read.{ends}",
        words::stop(&stop.whole_s()),
        show_bytes(stop.bytes.mid as u64),
        show_bandwidth(stop.bytes_per_s.mid)
    )
}
