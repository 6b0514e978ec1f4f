//! The migration's controls, what the hypervisor offers beyond them, and how the running one fares.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::load::row_label;
use crate::event::{MigrationSettings, Parameter, Phase};
use crate::session::state::Migration;
use crate::tui::axis::phase_now;
use crate::tui::ctx::Ctx;
use crate::tui::edit::{Control, behind, changed, offers, parameters, show_parameter, show_policy};
use crate::tui::estimate::{dirty_to_link, newest, running};
use crate::tui::hits::Hit;
use crate::tui::keys::Action;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::theme::Role;
use crate::units::{link_pages_per_s, show_bandwidth, show_bytes, show_count};

/// Where the values of our own controls begin.
const VALUES: u16 = 18;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let run = running(ctx.state);
    let settings = ctx.view.migration(ctx.state);
    let items = run.map_or_else(Vec::new, |m| figures(ctx, m));
    let lines = flow(&items, pen.width().saturating_sub(2));
    // From the foot: what can be done, then how it fares (or the policy's rules), then the controls.
    let foot = pen.height().saturating_sub(1);
    let live = lines.len().min(if pen.height() > 9 { 3 } else { 2 }) as u16;
    let beside = pen.width().saturating_sub(VALUES + width(&settings.policy.name) + 2);
    let rules = u16::from(run.is_none() && width(&policy_words(ctx, &settings)) > beside);
    let rows = foot.saturating_sub(1 + live + rules);
    let first = list(ctx, &mut pen, rows, &settings, run.is_some());
    title(ctx, &mut pen, run, rows, first);
    if rules > 0 {
        let room = pen.width().saturating_sub(2);
        let mut text = format!("policy: {}", policy_words(ctx, &settings));
        if width(&text) > room {
            text = format!("policy: {}", show_policy(&settings.policy));
        }
        pen.text(2, rows + 1, &shorten(&text, room, ctx.glyphs), ctx.style(Role::Muted));
    }
    for (i, line) in lines.iter().take(usize::from(live)).enumerate() {
        let mut x = 2;
        for (word, value, role) in line {
            x = pen.text(x, rows + 1 + i as u16, word, ctx.style(Role::Muted)) + 1;
            x = pen.text(x, rows + 1 + i as u16, value, ctx.style(*role)) + 2;
        }
    }
    buttons(ctx, &mut pen, foot, run.is_some());
}

/// What it is and where it goes; what ended it; which part of the list is in view.
fn title(ctx: &Ctx<'_>, pen: &mut Pen<'_>, run: Option<&Migration>, rows: u16, first: usize) {
    let name = if run.is_some() { "MIGRATION" } else { "NEXT MIGRATION" };
    let mut x = ctx.title(pen, name);
    let end = pen.width();
    let all = Control::MIGRATION.len() + parameters(ctx.state).len();
    let below = all.saturating_sub(first + usize::from(rows));
    let more = match (first, below) {
        (0, 0) => String::new(),
        (_, 0) => format!(" {} {first} above ", ctx.glyphs.ellipsis),
        (0, below) => format!(" {} {below} more ", ctx.glyphs.ellipsis),
        (above, below) => format!(" {} {above} above, {below} more ", ctx.glyphs.ellipsis),
    };
    let room = end.saturating_sub(x);
    let route = super::header::route(ctx).map(|(from, to)| format!("{from} {} {to} ", ctx.glyphs.arrow));
    let route = route.unwrap_or_default();
    let rule = run.and_then(|m| m.ended_by()).map(|(_, rule, _)| super::result::rule_words(rule));
    let mut ended = rule.as_ref().map_or_else(String::new, |rule| format!("ended by {rule} "));
    // What ended it is said in full before anything that is also said elsewhere.
    if width(&ended) > room {
        ended = rule.map_or_else(String::new, |rule| format!("by {rule} "));
    }
    if width(&route) + width(&ended) + width(&more) <= room || (ended.is_empty() && width(&route) <= room) {
        x = pen.text(x, 0, &route, ctx.style(Role::Value));
    }
    let ended = shorten(&ended, end.saturating_sub(x), ctx.glyphs);
    x = pen.text(x, 0, &ended, ctx.style(Role::Warn));
    if width(&more) < end.saturating_sub(x) {
        pen.right(x, end, 0, &more, ctx.style(Role::Muted));
    }
}

/// The controls, ours first, as many as there are rows for, the selected one always in view; returns
/// how many lie above.
fn list(ctx: &Ctx<'_>, pen: &mut Pen<'_>, rows: u16, settings: &MigrationSettings, running: bool) -> usize {
    let parameters = parameters(ctx.state);
    let rows_all = Control::MIGRATION.len() + parameters.len();
    let rows = usize::from(rows);
    let selected = ctx.view.selected.migration_row().filter(|_| ctx.replay().is_none()).unwrap_or(0);
    let first = (selected + 1).saturating_sub(rows).min(rows_all.saturating_sub(rows));
    // Names are aligned on the longest one, as far as the values leave them room.
    let longest = parameters.iter().map(|p| width(&p.name)).max().unwrap_or(0);
    let values = (longest + 4).max(VALUES).min(pen.width().saturating_sub(14).max(VALUES));
    for (i, at) in (first..rows_all).take(rows).enumerate() {
        let y = i as u16 + 1;
        let (control, parameter) = match Control::MIGRATION.get(at) {
            Some(own) => (*own, None),
            None => {
                let i = at - Control::MIGRATION.len();
                (Control::Parameter(i as u16), parameters.get(i).copied())
            }
        };
        let selected = ctx.view.selected == control && ctx.replay().is_none();
        if ctx.replay().is_none() {
            ctx.hit(pen.rect(0, y, pen.width()), Hit::Control(control));
        }
        match parameter {
            Some(p) => {
                let label = shorten(&p.name, values.saturating_sub(4), ctx.glyphs);
                row_label(ctx, pen, y, &label, selected);
                parameter_value(ctx, pen, values, y, p, settings, running);
            }
            None => {
                row_label(ctx, pen, y, control.label(), selected);
                own_value(ctx, pen, y, control, settings);
            }
        }
    }
    first
}

/// The value of one of our own controls, and what there is to say of it.
fn own_value(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, control: Control, m: &MigrationSettings) {
    let behind = behind(ctx.state, control);
    // What was asked for in the hypervisor's own words counts above ours.
    if let Some((p, asked)) = behind.and_then(|p| Some((p, changed(m, p)?))) {
        let text = format!("{} as {}", show_parameter(asked, &p.unit), p.name);
        pen.text(VALUES, y, &text, ctx.style(Role::Warn));
        return;
    }
    let own = || match behind {
        Some(p) => format!("hypervisor's own, {}", show_parameter(&p.value, &p.unit)),
        None => "hypervisor's own".to_string(),
    };
    let offered = offers(ctx.state);
    let (value, remark) = match control {
        Control::Bandwidth => (
            m.bandwidth_bytes_per_s.map_or_else(own, |b| show_bandwidth(b as f64)),
            m.bandwidth_bytes_per_s
                .map_or(String::new(), |b| format!("= {} pages/s", show_count(link_pages_per_s(b) as u64))),
        ),
        Control::DowntimeLimit => {
            (m.downtime_limit_ms.map_or_else(own, |ms| format!("{} ms", show_count(ms))), String::new())
        }
        Control::Policy => (m.policy.name.clone(), policy_words(ctx, m)),
        Control::PostCopy => (on_off(m.post_copy), not_offered(offered.is_some_and(|o| !o.post_copy))),
        Control::AutoConverge => {
            (on_off(m.auto_converge), not_offered(offered.is_some_and(|o| !o.auto_converge && !o.throttle_from_start)))
        }
        _ => return,
    };
    let x = pen.text(VALUES, y, &value, ctx.style(Role::Value)) + 2;
    let room = pen.width().saturating_sub(x);
    if width(&remark) <= room {
        pen.text(x, y, &remark, ctx.style(Role::Muted));
    }
}

fn not_offered(so: bool) -> String {
    if so { "not offered".into() } else { String::new() }
}

fn policy_words(ctx: &Ctx<'_>, m: &MigrationSettings) -> String {
    let rules = show_policy(&m.policy);
    if m.policy.has_rules() { format!("{rules} {} {}", ctx.glyphs.arrow, m.policy.then.word()) } else { rules }
}

/// The live value of an offered parameter; ours beside it where we ask for another one.
fn parameter_value(
    ctx: &Ctx<'_>,
    pen: &mut Pen<'_>,
    x: u16,
    y: u16,
    p: &Parameter,
    settings: &MigrationSettings,
    running: bool,
) {
    let live = show_parameter(&p.value, &p.unit);
    let end = pen.width();
    let mut x = x;
    match changed(settings, p) {
        Some(ours) if *ours == p.value => {
            x = pen.text(x, y, &live, ctx.style(Role::Value)) + 1;
            x = pen.text(x, y, "set", ctx.style(Role::Good)) + 2;
        }
        Some(ours) => {
            let text = format!("{} {}", ctx.glyphs.arrow, show_parameter(ours, &p.unit));
            if x + width(&live) + 1 + width(&text) <= end {
                x = pen.text(x, y, &live, ctx.style(Role::Muted)) + 1;
            }
            x = pen.text(x, y, &shorten(&text, end.saturating_sub(x), ctx.glyphs), ctx.style(Role::Warn)) + 2;
        }
        None => {
            x = pen.text(x, y, &shorten(&live, end.saturating_sub(x), ctx.glyphs), ctx.style(Role::Text)) + 2;
        }
    }
    let remark = if running { "fixed while it runs" } else { "before it begins" };
    if !p.live && x + width(remark) <= end {
        pen.text(x, y, remark, ctx.style(Role::Muted));
    }
}

fn on_off(on: bool) -> String {
    if on { "on".into() } else { "off".into() }
}

/// A word and its value.
type Figure = (&'static str, String, Role);

/// How the running migration fares: the ratio that decides first.
fn figures(ctx: &Ctx<'_>, m: &Migration) -> Vec<Figure> {
    let sample = newest(m);
    let ratio = dirty_to_link(ctx.state, m, &sample);
    let round = crate::session::result::rounds(m);
    let against = if m.settings.limit_bytes_per_s().is_some() { "limit" } else { "throughput" };
    let items = [
        round.map(|n| ("round", n.to_string(), Role::Value)),
        ratio.map(|r| ("dirty", format!("{r:.2} x {against}"), if r > 1.0 { Role::Warn } else { Role::Good })),
        sample.remaining_bytes.map(|b| ("left", show_bytes(b), Role::Value)),
        sample.transferred_bytes.map(|b| ("sent", show_bytes(b), Role::Value)),
        sample.throughput_bytes_per_s.map(|b| ("at", show_bandwidth(b), Role::Value)),
        sample.throttle_pct.filter(|t| *t > 0.0).map(|t| ("throttled", format!("{t:.0} %"), Role::Warn)),
        sample.expected_downtime_ms.map(|ms| ("its guess", format!("{ms:.0} ms"), Role::Muted)),
    ];
    items.into_iter().flatten().filter(|(_, value, _)| !value.is_empty()).collect()
}

/// Figures laid out in lines of at most `room` columns.
fn flow(items: &[Figure], room: u16) -> Vec<Vec<Figure>> {
    let mut lines: Vec<Vec<Figure>> = Vec::new();
    let mut used = u16::MAX;
    for item in items {
        let wide = width(item.0) + 1 + width(&item.1);
        if used.saturating_add(2 + wide) <= room {
            used += 2 + wide;
            if let Some(line) = lines.last_mut() {
                line.push(item.clone());
            }
        } else {
            used = wide;
            lines.push(vec![item.clone()]);
        }
    }
    lines
}

/// What can be done now, as buttons; in full words where they fit.
fn buttons(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, running: bool) {
    if ctx.replay().is_some() {
        return;
    }
    let phase = phase_now(ctx.state);
    let copying = running && !matches!(phase, Phase::StopAndCopy | Phase::PostCopy | Phase::Recovery);
    let offered = offers(ctx.state);
    let prepared = ctx.view.migration(ctx.state).post_copy;
    let all = [
        (Action::Migrate, "migrate", "migrate", !running && !matches!(ctx.state.route, Some(Err(_)))),
        (Action::Cancel, "cancel", "cancel", running && phase != Phase::PostCopy && offered.is_none_or(|o| o.cancel)),
        (Action::StopAndCopy, "stop-and-copy", "stop", copying && offered.is_none_or(|o| o.stop_and_copy)),
        (Action::PostCopy, "post-copy", "post-copy", copying && prepared),
        (Action::Ramp, "ramp", "ramp", !running),
        (Action::Presets, "loads", "loads", !running),
    ];
    let shown: Vec<_> = all.into_iter().filter(|b| b.3).collect();
    let wide = |long: bool| -> u16 {
        shown.iter().map(|b| width(&ctx.key(b.0)) + width(if long { b.1 } else { b.2 }) + 4).sum()
    };
    let long = wide(true) <= pen.width();
    let mut x = 2;
    for (action, full, brief, _) in shown {
        let (key, word) = (ctx.key(action), if long { full } else { brief });
        if x + width(&key) + width(word) + 3 > pen.width() {
            continue;
        }
        let from = x;
        x = pen.text(x, y, "[", ctx.style(Role::Muted));
        x = pen.text(x, y, &key, ctx.style(Role::Key)) + 1;
        x = pen.text(x, y, word, ctx.style(Role::Text));
        x = pen.text(x, y, "]", ctx.style(Role::Muted));
        ctx.hit(pen.rect(from, y, x - from), Hit::Action(action));
        x += 1;
    }
}
