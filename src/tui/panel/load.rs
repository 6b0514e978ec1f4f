//! The load's controls: requested, set, achieved.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::event::LoadSettings;
use crate::tui::ctx::Ctx;
use crate::tui::edit::{Control, Hold, jump_at, share_of};
use crate::tui::estimate::{NEAR, crosses_in_s, ramp_left_s, rough_seconds};
use crate::tui::hits::Hit;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::series::link_pages_per_s;
use crate::tui::theme::Role;
use crate::units::{show_bytes, show_count, show_duration};

/// Columns of one value.
const VALUE: u16 = 10;
/// Columns of the label.
const LABEL: u16 = 9;
/// Columns of a slider, at most.
const SLIDER: u16 = 30;
/// Columns of a slider, at least.
const SHORTEST: u16 = 10;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let after = ctx.title(&mut pen, "LOAD");
    let values_at = pen.width().saturating_sub(3 * VALUE);
    head(ctx, &mut pen, after, values_at);
    let requested = ctx.view.load(ctx.state);
    let set = ctx.state.load.set.as_ref().map(|(_, l, _)| *l);
    for (i, control) in Control::LOAD.into_iter().enumerate() {
        let y = i as u16 + 1;
        let selected = ctx.view.selected == control && ctx.replay().is_none();
        if ctx.replay().is_none() {
            ctx.hit(pen.rect(0, y, pen.width()), Hit::Control(control));
        }
        let label_end = row_label(ctx, &mut pen, y, control.label(), selected);
        let from = LABEL + 2;
        let mut to = values_at.saturating_sub(1).min(from + SLIDER);
        if to >= from + SHORTEST {
            if control == Control::Load {
                to = to.min(guest_cpu(ctx, &mut pen, y, (to, values_at), label_end));
            }
            slider(ctx, &mut pen, y, from, to, control, &requested);
        } else if control == Control::Load {
            guest_cpu(ctx, &mut pen, y, (0, values_at), label_end);
        }
        values(ctx, &mut pen, y, values_at, control, &requested, set.as_ref());
    }
}

/// Requested, set, achieved. What differs carries a sign, not only a colour.
fn values(
    ctx: &Ctx<'_>,
    pen: &mut Pen<'_>,
    y: u16,
    x: u16,
    control: Control,
    requested: &LoadSettings,
    set: Option<&LoadSettings>,
) {
    let wanted = show(control, requested);
    let over = control == Control::Rate && times_the_link(ctx).is_some_and(|t| t > 1.0);
    pen.right(x, x + VALUE, y, &wanted, ctx.style(if over { Role::Warn } else { Role::Value }));
    let (text, role) = match set.map(|s| show(control, s)) {
        Some(text) if text == wanted => (text, Role::Muted),
        _ if ctx.view.load_pending(ctx.state) => (ctx.glyphs.ellipsis.to_string(), Role::Warn),
        Some(text) => (marked(ctx, &text), Role::Warn),
        None => ("-".into(), Role::Muted),
    };
    pen.right(x + VALUE, x + 2 * VALUE, y, &text, ctx.style(role));
    let (text, role) = match control {
        Control::Bpc | Control::Period => linked(ctx, control),
        _ => achieved(ctx, control, set),
    };
    pen.right(x + 2 * VALUE, x + 3 * VALUE, y, &text, ctx.style(role));
}

/// The label of a control's row, with the pointer where it is selected; returns the column after it.
pub(crate) fn row_label(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, label: &str, selected: bool) -> u16 {
    if selected {
        pen.text(0, y, ctx.glyphs.pointer, ctx.style(Role::Key));
        pen.text(1, y, &format!(" {label} "), ctx.style(Role::Selected))
    } else {
        pen.text(2, y, label, ctx.style(Role::Muted)) + 1
    }
}

/// How busy the guest is by its own word, beside LOAD: after the slider that ends at `room.0`, or,
/// where there is none, after the label. Returns where the slider has to end.
fn guest_cpu(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, room: (u16, u16), label_end: u16) -> u16 {
    let (slider_end, values_at) = room;
    let cpu = ctx.state.load.achieved.as_ref().and_then(|(_, r)| r.guest_cpu_pct).filter(|c| c.is_finite());
    let Some(cpu) = cpu else { return slider_end };
    if slider_end > 0 {
        let text = format!("cpu {cpu:.0} %");
        let x = (slider_end + 1).min(values_at.saturating_sub(width(&text) + 1));
        pen.text(x, y, &text, ctx.style(Role::Muted));
        return x.saturating_sub(1);
    }
    let wanted = width(&show(Control::Load, &ctx.view.load(ctx.state)));
    let text = format!("cpu {cpu:.0}%");
    if label_end + width(&text) < (values_at + VALUE).saturating_sub(wanted) {
        pen.text(label_end, y, &text, ctx.style(Role::Muted));
    }
    slider_end
}

/// How many times the link's capacity RATE is.
fn times_the_link(ctx: &Ctx<'_>) -> Option<f64> {
    let link = link_pages_per_s(ctx.state).filter(|l| *l > 0.0)?;
    Some(ctx.view.load(ctx.state).dirty.rate_pages_per_s() / link).filter(|t| t.is_finite())
}

/// What the title row has to say, long and short, the most urgent alone.
fn remark(ctx: &Ctx<'_>) -> Option<(String, String, Role)> {
    let state = ctx.state;
    let warn = ctx.glyphs.warn;
    let refused = state.load.refused.as_ref().filter(|r| state.load.requested.as_ref().is_some_and(|q| q.0 == r.0));
    if let Some((_, why, _)) = refused {
        // A reason is worth the whole row.
        return Some((format!("{warn} refused: {why}"), String::new(), Role::Error));
    }
    if state.load.achieved.as_ref().is_some_and(|(_, r)| r.saturated) {
        return Some((format!("{warn} saturated"), format!("{warn} saturated"), Role::Error));
    }
    if let Some(ramp) = &state.load.ramp {
        let now = ctx.extra.now;
        let count = |rate: f64| show_count(rate.round().max(0.0) as u64);
        let (from, to) = (count(ramp.from_pages_per_s), count(ramp.to_pages_per_s));
        let left = ramp_left_s(ramp, now);
        let crosses = link_pages_per_s(state).and_then(|link| crosses_in_s(ramp, link, now));
        let crosses = crosses.map_or(String::new(), |s| format!(", crosses the limit in about {}", rough_seconds(s)));
        let arrow = ctx.glyphs.arrow;
        let long = format!("ramp {from} {arrow} {to}, {left:.1} s left{crosses}");
        return Some((long, format!("ramp {from}{arrow}{to} {left:.1} s left"), Role::Warn));
    }
    match times_the_link(ctx) {
        Some(t) if t > 1.0 => {
            Some((format!("{warn} OVER THE LIMIT {t:.2}x"), format!("{warn} {t:.2}x limit"), Role::Warn))
        }
        Some(t) if t >= NEAR => {
            let pct = 100.0 * t;
            Some((format!("near the limit, {pct:.0} %"), format!("limit {pct:.0} %"), Role::Value))
        }
        _ => None,
    }
}

/// The column heads, and what there is to say, beside them or in their place.
fn head(ctx: &Ctx<'_>, pen: &mut Pen<'_>, after: u16, values_at: u16) {
    const HEADS: [&str; 3] = ["requested", "set", "achieved"];
    let end = pen.width();
    let heads = |pen: &mut Pen<'_>, first: usize| {
        let from = (values_at + first as u16 * VALUE).max(after);
        pen.fill(from, end, 0, " ", Style::new());
        for (i, head) in HEADS.iter().enumerate().skip(first) {
            pen.right(from, values_at + (i as u16 + 1) * VALUE, 0, head, ctx.style(Role::Muted));
        }
    };
    let Some((long, short, role)) = remark(ctx) else { return heads(pen, 0) };
    let style = ctx.style(role);
    if after + width(&long) + 2 <= values_at + 1 {
        heads(pen, 0);
        pen.text(after, 0, &format!(" {long} "), style);
    } else if !short.is_empty() && after + width(&short) <= values_at + VALUE {
        // With little room a short word stands where the first head would.
        heads(pen, 0);
        pen.fill(values_at.max(after), values_at + VALUE, 0, " ", Style::new());
        pen.right(after, values_at + VALUE, 0, &short, style);
    } else {
        let room = end.saturating_sub(after);
        let text = if width(&long) <= room || short.is_empty() { &long } else { &short };
        pen.text(after, 0, &format!("{} ", shorten(text, room.saturating_sub(1), ctx.glyphs)), style);
    }
}

/// A setting for people.
pub(crate) fn show(control: Control, l: &LoadSettings) -> String {
    match control {
        Control::Load => format!("{:.0} %", l.cpu_load_pct),
        Control::Wset => show_bytes(l.wset_bytes),
        Control::Rate => format!("{}/s", show_count(l.dirty.rate_pages_per_s().round().max(0.0) as u64)),
        Control::Bpc => format!("{} pg", show_count(l.dirty.bpc_pages)),
        Control::Period => show_duration(Duration::from_nanos(l.dirty.period_ns)),
        Control::Fill => format!("{:.0} %", l.fill_pct),
        Control::Pattern => l.pattern.name().into(),
        _ => String::new(),
    }
}

/// A value that is not what was asked for.
fn marked(ctx: &Ctx<'_>, text: &str) -> String {
    if width(text) < VALUE { format!("{}{text}", ctx.glyphs.warn) } else { text.to_string() }
}

/// Which of BPC and PERIOD stays and which gives way, as things are: when one of them is selected,
/// the other stays and RATE gives way.
fn linked(ctx: &Ctx<'_>, control: Control) -> (String, Role) {
    let live = ctx.replay().is_none();
    let held = match (ctx.view.selected, ctx.view.hold) {
        (Control::Bpc, _) if live => Control::Period,
        (Control::Period, _) if live => Control::Bpc,
        (_, Hold::Period) => Control::Period,
        (_, Hold::Bpc) => Control::Bpc,
    };
    if !live {
        (String::new(), Role::Muted)
    } else if control == held {
        ("held".into(), Role::Value)
    } else if ctx.view.selected == control {
        ("sets RATE".into(), Role::Muted)
    } else {
        ("follows".into(), Role::Muted)
    }
}

fn achieved(ctx: &Ctx<'_>, control: Control, set: Option<&LoadSettings>) -> (String, Role) {
    let Some((_, r)) = &ctx.state.load.achieved else { return (String::new(), Role::Muted) };
    let (text, wanted, got) = match control {
        Control::Load => (format!("{:.1} %", r.cpu_load_pct), set.map(|s| s.cpu_load_pct), r.cpu_load_pct),
        Control::Wset => (show_bytes(r.wset_bytes), set.map(|s| s.wset_bytes as f64), r.wset_bytes as f64),
        Control::Rate => (
            format!("{}/s", show_count(r.rate_pages_per_s.round().max(0.0) as u64)),
            set.map(|s| s.dirty.rate_pages_per_s()),
            r.rate_pages_per_s,
        ),
        _ => return (String::new(), Role::Muted),
    };
    let off = wanted.is_some_and(|w| (w - got).abs() > 0.02 * w.abs().max(1.0) && (w - got).abs() > 1.0);
    if off { (marked(ctx, &text), Role::Warn) } else { (text, Role::Good) }
}

/// A slider, with a tick where the link's capacity is.
fn slider(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, from: u16, to: u16, control: Control, load: &LoadSettings) {
    let limit = Some(ctx.state.agent.wset_limit_bytes).filter(|l| *l > 0);
    let link = link_pages_per_s(ctx.state);
    let Some(share) = share_of(load, control, limit, link) else { return };
    let at = |share: f64| from + (f64::from(to - from - 1) * share.clamp(0.0, 1.0)).round() as u16;
    let knob = at(share);
    pen.fill(from, knob, y, ctx.glyphs.slider_full, ctx.style(Role::Slider));
    pen.fill(knob + 1, to, y, ctx.glyphs.slider_empty, ctx.style(Role::Rule));
    if let Some(jump) = jump_at(load, control, link) {
        pen.cell(at(jump), y, ctx.glyphs.axis, ctx.style(Role::Link));
    }
    pen.cell(knob, y, ctx.glyphs.slider_knob, ctx.style(Role::Slider));
    if ctx.replay().is_none() {
        ctx.hit(pen.rect(from, y, to - from), Hit::Slider(control));
    }
}
