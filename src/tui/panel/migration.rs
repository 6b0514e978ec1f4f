//! The migration's controls, and how the running one fares.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::load::row_label;
use crate::event::Phase;
use crate::tui::axis::phase_now;
use crate::tui::draw::Ctx;
use crate::tui::edit::{Control, show_policy};
use crate::tui::keys::Action;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::sentence::dirty_pages_per_s;
use crate::tui::theme::Role;
use crate::units::{PAGE_BYTES, link_pages_per_s, show_bandwidth, show_bytes, show_count};

/// Where the values begin.
const VALUES: u16 = 18;

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let mut pen = Pen::new(buf, area);
    let running = ctx.state.migrations.last().is_some_and(|m| m.ended.is_none());
    let after = ctx.title(&mut pen, if running { "MIGRATION" } else { "NEXT MIGRATION" });
    let m = ctx.view.migration(ctx.state);
    let own = || "hypervisor's own".to_string();
    for (i, control) in Control::MIGRATION.into_iter().enumerate() {
        let y = i as u16 + 1;
        let selected = ctx.view.selected == control && ctx.replay().is_none();
        row_label(ctx, &mut pen, y, control.label(), selected);
        let (value, remark) = match control {
            Control::Bandwidth => (
                m.bandwidth_bytes_per_s.map_or_else(own, |b| show_bandwidth(b as f64)),
                m.bandwidth_bytes_per_s
                    .map_or(String::new(), |b| format!("= {} pg/s", show_count(link_pages_per_s(b) as u64))),
            ),
            Control::DowntimeLimit => {
                (m.downtime_limit_ms.map_or_else(own, |ms| format!("{} ms", show_count(ms))), String::new())
            }
            Control::Policy => {
                let then = if show_policy(&m.policy).starts_with("left") {
                    String::new()
                } else {
                    format!(" {} {}", ctx.glyphs.arrow, m.policy.then.word())
                };
                (m.policy.name.clone(), format!("{}{then}", show_policy(&m.policy)))
            }
            Control::PostCopy => (on_off(m.post_copy), String::new()),
            Control::AutoConverge => (on_off(m.auto_converge), String::new()),
            _ => continue,
        };
        let x = pen.text(VALUES, y, &value, ctx.style(Role::Value)) + 1;
        let room = pen.width().saturating_sub(x);
        if width(&remark) <= room {
            pen.text(x, y, &remark, ctx.style(Role::Muted));
        } else if control == Control::Policy && !running {
            // The row of a running migration's figures is free.
            let room = pen.width().saturating_sub(2);
            pen.text(2, 6, &shorten(&remark, room, ctx.glyphs), ctx.style(Role::Muted));
        }
    }
    live(ctx, &mut pen, 6);
    keys(ctx, &mut pen, area.height.saturating_sub(1).max(7), running);
    if let Some(reason) = ctx.state.migrations.last().filter(|_| running).and_then(|m| m.ruled.last()) {
        let text = format!(" ended by {} ", super::result::rule_words(&reason.1));
        let room = pen.width().saturating_sub(after);
        pen.text(after, 0, &shorten(&text, room, ctx.glyphs), ctx.style(Role::Warn));
    }
}

fn on_off(on: bool) -> String {
    if on { "on".into() } else { "off".into() }
}

/// Round, sent, left, and the ratio that decides.
fn live(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16) {
    let Some(m) = ctx.state.migrations.last().filter(|m| m.ended.is_none()) else { return };
    let sample = m.samples.last().map(|(_, s)| s.clone()).unwrap_or_default();
    let link = m.settings.bandwidth_bytes_per_s.map(|b| b as f64).or(sample.throughput_bytes_per_s);
    let ratio = match (dirty_pages_per_s(ctx.state, &sample), link) {
        (Some(dirty), Some(link)) if link > 0.0 => Some(dirty * PAGE_BYTES as f64 / link),
        _ => None,
    };
    let round = sample.round.or(m.rounds.last().map(|(_, n)| *n));
    let items = [
        ratio.map(|r| ("dirty:link", format!("{r:.2}"), if r > 1.0 { Role::Warn } else { Role::Good })),
        sample.remaining_bytes.map(|b| ("left", show_bytes(b), Role::Value)),
        sample.transferred_bytes.map(|b| ("sent", show_bytes(b), Role::Value)),
        round.map(|n| ("round", n.to_string(), Role::Value)),
        sample.throughput_bytes_per_s.map(|b| ("at", show_bandwidth(b), Role::Value)),
        sample.throttle_pct.filter(|t| *t > 0.0).map(|t| ("throttled", format!("{t:.0} %"), Role::Warn)),
    ];
    let mut x = 2;
    for (word, value, role) in items.into_iter().flatten() {
        if x + 1 + width(word) + width(&value) <= pen.width() {
            x = pen.text(x, y, word, ctx.style(Role::Muted)) + 1;
            x = pen.text(x, y, &value, ctx.style(role)) + 2;
        }
    }
}

/// What can be done now.
fn keys(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, running: bool) {
    if ctx.replay().is_some() {
        return;
    }
    let post_copy = running && ctx.view.migration(ctx.state).post_copy;
    let stopped = phase_now(ctx.state) == Phase::StopAndCopy;
    let actions: &[(Action, &str, bool)] = &[
        (Action::Migrate, "migrate", !running),
        (Action::Cancel, "cancel", running),
        (Action::StopAndCopy, "stop-and-copy", running && !stopped),
        (Action::PostCopy, "post-copy", post_copy),
    ];
    let mut x = 2;
    for (action, word, offered) in actions {
        let key = ctx.key(*action);
        if *offered && x + 2 + width(&key) + width(word) <= pen.width() {
            x = pen.text(x, y, &key, ctx.style(Role::Key)) + 1;
            x = pen.text(x, y, word, ctx.style(Role::Text)) + 3;
        }
    }
}
