//! The list: what is offered, and the recorded sessions.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::look::Look;
use crate::analysis::Method;
use crate::session::place::utc_words;
use crate::session::probed::Outages;
use crate::tui::hits::Hit;
use crate::tui::pen::{Pen, shorten, shorten_path, width};
use crate::tui::start::{Lab, OFFERS, Offer, Offered, Recent, Row, Sessions, Told};
use crate::tui::theme::Role;
use crate::units::show_duration;

/// Where names begin.
const NAME: u16 = 4;
/// Where what there is to say of an offer begins.
const WHAT: u16 = 12;
/// From this width on a session has all its columns.
const WIDE: u16 = 76;
// The columns of a session there: where each begins, or ends if its figures stand at the right.
const BEGAN: u16 = 19;
const LASTED: u16 = 44;
const MIGRATIONS: u16 = 50;
const WORST: u16 = 69;

/// A line of the list.
enum Line {
    Row(usize),
    Heading,
    /// Instead of sessions.
    Note,
}

pub(super) fn render(look: &Look<'_>, area: Rect, buf: &mut Buffer) {
    let start = look.start;
    let mut lines: Vec<Line> = (0..OFFERS.len()).map(Line::Row).collect();
    lines.push(Line::Heading);
    if start.recent().is_empty() {
        lines.push(Line::Note);
    }
    lines.extend((OFFERS.len()..start.rows()).map(Line::Row));
    let rows = usize::from(area.height);
    let selected = lines.iter().position(|l| matches!(l, Line::Row(i) if *i == start.selected)).unwrap_or(0);
    // The selected row is always in view.
    let first = (selected + 1).saturating_sub(rows);
    let mut pen = Pen::new(buf, area);
    for (line, y) in lines.iter().skip(first).zip(0..area.height) {
        match line {
            Line::Heading => heading(look, &mut pen, y),
            Line::Note => note(look, &mut pen, y),
            Line::Row(i) => row(look, &mut pen, y, *i),
        }
    }
    // What lies beyond the edges is said at them.
    let (ascii, right) = (look.glyphs.arrow.is_ascii(), area.width.saturating_sub(1));
    if first > 0 {
        pen.text(right, 0, if ascii { "^" } else { "▲" }, look.style(Role::Key));
    }
    if first + rows < lines.len() {
        pen.text(right, area.height.saturating_sub(1), if ascii { "v" } else { "▼" }, look.style(Role::Key));
    }
}

fn row(look: &Look<'_>, pen: &mut Pen<'_>, y: u16, i: usize) {
    let Some(row) = look.start.row(i) else { return };
    let selected = i == look.start.selected;
    let end = pen.width().saturating_sub(1);
    look.hit(pen.rect(0, y, pen.width()), Hit::Row(i));
    if selected {
        pen.fill(0, end, y, " ", look.style(Role::SelectedRow));
        pen.text(0, y, look.glyphs.pointer, look.style(Role::SelectedRow));
    }
    let key = look.start.key(&row);
    pen.text_to(2, y, NAME, &key, look.style(if selected { Role::SelectedRow } else { Role::Key }));
    let as_selected = |role: Role| look.style(if selected { Role::SelectedRow } else { role });
    match row {
        Row::Offer(offered) => {
            pen.text(NAME, y, offered.name, as_selected(Role::Text));
            let (text, role) = words(look, offered);
            let room = end.saturating_sub(WHAT);
            let text = shorten(&text, room, look.glyphs);
            let mut x = WHAT;
            if offered.offer == Offer::Demo
                && let Some(rest) = text.strip_prefix("SIMULATED")
            {
                x = pen.text(x, y, "SIMULATED", look.style(Role::Simulated));
                pen.text(x, y, rest, as_selected(role));
            } else {
                pen.text(x, y, &text, as_selected(role));
            }
        }
        Row::Recent(_, recent) if end >= WIDE - 1 => wide(look, pen, y, recent, &as_selected),
        Row::Recent(_, recent) => narrow(look, pen, y, recent, &as_selected),
    }
}

/// What there is to say of an offer, in a line.
fn words(look: &Look<'_>, offered: &Offered) -> (String, Role) {
    if let (Offer::Demo, Some(product)) = (offered.offer, look.start.product()) {
        let others = look.start.product_key().map_or_else(String::new, |key| format!(" ({key}: others)"));
        return (format!("SIMULATED guest, {product} hosts; needs nothing{others}"), Role::Muted);
    }
    if offered.offer != Offer::Lab {
        return (offered.what.to_owned(), Role::Muted);
    }
    match &look.start.lab {
        Lab::Checking => (format!("checking{} {}", look.glyphs.ellipsis, offered.what), Role::Muted),
        Lab::Ready(_) => (format!("ready: {}", offered.what), Role::Good),
        Lab::Missing(lacks) => {
            let names: Vec<&str> = lacks.iter().map(|l| l.name.as_str()).collect();
            (format!("not ready: {}", names.join(", ")), Role::Warn)
        }
    }
}

fn heading(look: &Look<'_>, pen: &mut Pen<'_>, y: u16) {
    let end = look.title(pen, y, "RECENT SESSIONS");
    if look.start.recent().is_empty() {
        return;
    }
    let style = look.style(Role::Muted);
    if pen.width() < WIDE {
        pen.right(end, pen.width() - 1, y, " reply-gap", style);
        return;
    }
    pen.text(BEGAN, y, " began, UTC ", style);
    pen.right(BEGAN, LASTED, y, " lasted", style);
    pen.right(LASTED, MIGRATIONS, y, " migr.", style);
    pen.right(MIGRATIONS, WORST, y, " worst reply-gap ", style);
}

fn note(look: &Look<'_>, pen: &mut Pen<'_>, y: u16) {
    let room = pen.width().saturating_sub(NAME);
    let muted = look.style(Role::Muted);
    match &look.start.sessions {
        Sessions::Looking => {
            pen.text(NAME, y, &format!("looking{}", look.glyphs.ellipsis), muted);
        }
        Sessions::Unreadable(why) => {
            let text = shorten(&format!("{} {why}", look.glyphs.warn), room, look.glyphs);
            pen.text(NAME, y, &text, look.style(Role::Warn));
        }
        Sessions::Found(_) => {
            let x = pen.text(NAME, y, "none yet in ", muted);
            pen.text(x, y, &shorten_path(&look.start.folder, pen.width().saturating_sub(x), look.glyphs), muted);
        }
    }
}

type Styles<'a> = dyn Fn(Role) -> ratatui::style::Style + 'a;

fn wide(look: &Look<'_>, pen: &mut Pen<'_>, y: u16, recent: &Recent, style: &Styles<'_>) {
    pen.text(NAME, y, &shorten(&recent.name, BEGAN - NAME - 1, look.glyphs), style(Role::Text));
    // To the minute.
    let began = utc_words(recent.began_unix_ns / 1_000_000_000);
    pen.text_to(BEGAN, y, BEGAN + 16, began.get(..16).unwrap_or(&began), style(Role::Muted));
    pen.right(BEGAN + 17, LASTED, y, &lasted(recent), style(Role::Text));
    let (migrations, worst) = figures(look, recent);
    pen.right(LASTED + 1, MIGRATIONS, y, &migrations, style(Role::Text));
    let role = if matches!(recent.told, Told::Known { worst: Some(_), .. }) { Role::Value } else { Role::Muted };
    let worst = match worst {
        Worst::By(method, text) if method != Method::ReplyGap.name() => format!("{method} {text}"),
        Worst::By(_, text) | Worst::None(text) => text,
    };
    pen.right(MIGRATIONS + 1, WORST, y, &worst, style(role));
    if recent.simulated {
        let full = "SIMULATED";
        let text = if WORST + 1 + width(full) < pen.width() { full } else { "SIM" };
        pen.text(WORST + 1, y, text, look.style(Role::Simulated));
    }
}

/// Name, day and hour, and the one figure that matters most.
fn narrow(look: &Look<'_>, pen: &mut Pen<'_>, y: u16, recent: &Recent, style: &Styles<'_>) {
    let right = pen.width().saturating_sub(1);
    let mut end = right.saturating_sub(10);
    let (_, worst) = figures(look, recent);
    let text = match worst {
        // The column is of one estimator; another one's figure is told beside the list.
        Worst::By(method, _) if method != Method::ReplyGap.name() => "unknown".to_owned(),
        Worst::By(_, text) | Worst::None(text) => text,
    };
    pen.right(end, right, y, &text, style(Role::Value));
    if pen.width() >= 40 {
        let began = utc_words(recent.began_unix_ns / 1_000_000_000);
        end = end.saturating_sub(12);
        pen.text_to(end + 1, y, end + 12, began.get(5..16).unwrap_or_default(), style(Role::Muted));
    }
    if recent.simulated {
        end = end.saturating_sub(3);
        pen.text(end, y, "SIM", look.style(Role::Simulated));
    }
    let room = end.saturating_sub(NAME + 1);
    pen.text(NAME, y, &shorten(&recent.name, room, look.glyphs), style(Role::Text));
}

/// How long it lasted.
pub(super) fn lasted(recent: &Recent) -> String {
    recent.duration_ns.map_or_else(|| "unknown".into(), |ns| show_duration(Duration::from_nanos(ns)))
}

/// The worst downtime of a session.
enum Worst {
    /// By this estimator.
    By(&'static str, String),
    /// There is none, for this reason.
    None(String),
}

/// What a session without migrations has to show: its longest outage, at the most so long.
fn watched(outages: Option<&Outages>) -> Worst {
    match outages.map(|o| o.longest) {
        None => Worst::None("unknown".into()),
        Some(None) => Worst::None("none".into()),
        Some(Some((_, Some(hi)))) => Worst::By("outage", show_duration(hi)),
        Some(Some((lo, None))) => Worst::By("outage", format!("{}+", show_duration(lo))),
    }
}

/// How many migrations, and the worst downtime.
fn figures(look: &Look<'_>, recent: &Recent) -> (String, Worst) {
    match &recent.told {
        Told::Reading => (look.glyphs.ellipsis.into(), Worst::None(look.glyphs.ellipsis.into())),
        Told::Unread(_) => ("?".into(), Worst::None("not read".into())),
        Told::Known { migrations: 0, outages, .. } => ("0".into(), watched(outages.as_ref())),
        Told::Known { migrations, worst: None, .. } => (migrations.to_string(), Worst::None("unknown".into())),
        Told::Known { migrations, worst: Some((method, worst)), .. } => {
            (migrations.to_string(), Worst::By(method, show_duration(*worst)))
        }
    }
}
