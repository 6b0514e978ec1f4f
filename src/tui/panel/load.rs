//! The load's controls: requested, set, achieved.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;

use crate::event::{LoadSettings, Pattern};
use crate::tui::draw::Ctx;
use crate::tui::edit::Control;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::series::link_pages_per_s;
use crate::tui::theme::Role;
use crate::units::{show_bytes, show_count, show_duration};

/// Columns of one value.
const VALUE: u16 = 10;
/// Columns of the label.
const LABEL: u16 = 9;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let after = ctx.title(&mut pen, "LOAD");
    let values_at = pen.width().saturating_sub(3 * VALUE);
    remark(ctx, &mut pen, after, values_at);
    let requested = ctx.view.load(ctx.state);
    let set = ctx.state.load.set.as_ref().map(|(_, l, _)| *l);
    let pending = ctx.view.load_pending(ctx.state);
    for (i, control) in Control::LOAD.into_iter().enumerate() {
        let y = i as u16 + 1;
        let selected = ctx.view.selected == control && ctx.replay().is_none();
        row_label(ctx, &mut pen, y, control.label(), selected);
        let slider_end = values_at.saturating_sub(1);
        if slider_end >= LABEL + 12 {
            slider(ctx, &mut pen, y, LABEL + 2, slider_end, share(ctx, control, &requested));
        }
        let wanted = show(control, &requested);
        let mut style = ctx.style(Role::Value);
        if control == Control::Rate && over_the_link(ctx, &requested) {
            style = ctx.style(Role::Warn);
        }
        pen.right(LABEL, values_at + VALUE, y, &wanted, style);
        let (text, style) = match set.map(|s| show(control, &s)) {
            Some(text) if text == wanted => (text, ctx.style(Role::Muted)),
            _ if pending => (ctx.glyphs.ellipsis.to_string(), ctx.style(Role::Warn)),
            Some(text) => (text, ctx.style(Role::Warn)),
            None => ("-".into(), ctx.style(Role::Muted)),
        };
        pen.right(values_at + VALUE, values_at + 2 * VALUE, y, &text, style);
        let (text, style) = achieved(ctx, control, set.as_ref());
        pen.right(values_at + 2 * VALUE, values_at + 3 * VALUE, y, &text, style);
    }
}

/// The label of a control's row, with the pointer where it is selected.
pub(crate) fn row_label(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, label: &str, selected: bool) {
    if selected {
        pen.text(0, y, ctx.glyphs.pointer, ctx.style(Role::Key));
        pen.text(1, y, &format!(" {label} "), ctx.style(Role::Selected));
    } else {
        pen.text(2, y, label, ctx.style(Role::Muted));
    }
}

/// The column heads, or, where there is something to say, a remark in their place.
fn remark(ctx: &Ctx<'_>, pen: &mut Pen<'_>, after: u16, values_at: u16) {
    let state = ctx.state;
    let requested = ctx.view.load(state);
    let link = link_pages_per_s(state).map_or(String::new(), |l| show_count(l as u64));
    let saturated = state.load.achieved.as_ref().is_some_and(|(_, r)| r.saturated);
    let refused = state.load.refused.as_ref().filter(|r| state.load.requested.as_ref().is_some_and(|q| q.0 == r.0));
    let warn = ctx.glyphs.warn;
    let (text, role) = if let Some((_, why, _)) = refused {
        (format!("{warn} refused: {why}"), Role::Error)
    } else if saturated {
        (format!("{warn} saturated: the guest cannot keep up"), Role::Error)
    } else if over_the_link(ctx, &requested) {
        (format!("{warn} over the link ({link})"), Role::Warn)
    } else {
        (String::new(), Role::Muted)
    };
    let mut heads = ["requested".to_string(), "set".into(), "achieved".into()];
    let mut beside = None;
    if after + width(&text) + 2 <= values_at {
        beside = Some(text).filter(|t| !t.is_empty());
    } else if refused.is_none() {
        // With little room a short word stands where the first head would.
        heads[0] = if saturated { format!("{warn} saturated") } else { format!("{warn} over link") };
    } else {
        let room = pen.width().saturating_sub(after);
        pen.text(after, 0, &shorten(&text, room, ctx.glyphs), ctx.style(role));
        return;
    }
    pen.fill(values_at.max(after), pen.width(), 0, " ", Style::new());
    for (i, head) in heads.iter().enumerate() {
        let end = values_at + (i as u16 + 1) * VALUE;
        let plain = !head.starts_with(warn);
        pen.right(after, end, 0, head, if plain { ctx.style(Role::Muted) } else { ctx.style(role) });
    }
    if let Some(text) = beside {
        pen.text(after, 0, &format!(" {text} "), ctx.style(role));
    }
}

fn over_the_link(ctx: &Ctx<'_>, load: &LoadSettings) -> bool {
    link_pages_per_s(ctx.state).is_some_and(|l| load.dirty.rate_pages_per_s() > l)
}

/// A setting for people.
fn show(control: Control, l: &LoadSettings) -> String {
    match control {
        Control::Load => format!("{:.0} %", l.cpu_load_pct),
        Control::Wset => show_bytes(l.wset_bytes),
        Control::Rate => format!("{}/s", show_count(l.dirty.rate_pages_per_s().round().max(0.0) as u64)),
        Control::Bpc => format!("{} pg", show_count(l.dirty.bpc_pages)),
        Control::Period => show_duration(Duration::from_nanos(l.dirty.period_ns)),
        Control::Fill => format!("{:.0} %", l.fill_pct),
        Control::Pattern => match l.pattern {
            Pattern::Cyclic => "cyclic".into(),
            Pattern::Random => "random".into(),
            Pattern::Hotspot => "hotspot".into(),
        },
        _ => String::new(),
    }
}

fn achieved(ctx: &Ctx<'_>, control: Control, set: Option<&LoadSettings>) -> (String, Style) {
    let Some((_, r)) = &ctx.state.load.achieved else { return (String::new(), Style::new()) };
    let (text, wanted, got) = match control {
        Control::Load => (format!("{:.1} %", r.cpu_load_pct), set.map(|s| s.cpu_load_pct), r.cpu_load_pct),
        Control::Wset => (show_bytes(r.wset_bytes), set.map(|s| s.wset_bytes as f64), r.wset_bytes as f64),
        Control::Rate => (
            format!("{}/s", show_count(r.rate_pages_per_s.round().max(0.0) as u64)),
            set.map(|s| s.dirty.rate_pages_per_s()),
            r.rate_pages_per_s,
        ),
        _ => return (String::new(), Style::new()),
    };
    let off = wanted.is_some_and(|w| (w - got).abs() > 0.02 * w.abs().max(1.0) && (w - got).abs() > 1.0);
    (text, ctx.style(if off { Role::Warn } else { Role::Good }))
}

/// How far a control is along its range; `None` where it has none.
fn share(ctx: &Ctx<'_>, control: Control, l: &LoadSettings) -> Option<f64> {
    let agent = &ctx.state.agent;
    match control {
        Control::Load => Some(l.cpu_load_pct / 100.0),
        Control::Fill => Some(l.fill_pct / 100.0),
        Control::Wset => {
            let limit = [agent.wset_limit_bytes, agent.ram_bytes].into_iter().find(|b| *b > 0)?;
            Some(l.wset_bytes as f64 / limit as f64)
        }
        // Twice the link is the whole slider: its middle is the jump.
        Control::Rate => link_pages_per_s(ctx.state).map(|link| l.dirty.rate_pages_per_s() / (2.0 * link).max(1.0)),
        _ => None,
    }
}

fn slider(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, from: u16, to: u16, share: Option<f64>) {
    let Some(share) = share.filter(|s| s.is_finite()) else { return };
    let to = to.min(from + 24);
    let knob = from + ((f64::from(to - from - 1)) * share.clamp(0.0, 1.0)).round() as u16;
    pen.fill(from, knob, y, ctx.glyphs.slider_full, ctx.style(Role::Slider));
    pen.fill(knob + 1, to, y, ctx.glyphs.slider_empty, ctx.style(Role::Rule));
    pen.cell(knob, y, ctx.glyphs.slider_knob, ctx.style(Role::Slider));
}
