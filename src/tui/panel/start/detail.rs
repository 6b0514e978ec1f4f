//! More about the selected row: what it does, what is missing for it, the command that does the same.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::list;
use super::look::Look;
use crate::session::place::utc_words;
use crate::session::probed::Outages;
use crate::tui::pen::{Pen, shorten, wrap};
use crate::tui::start::{Lab, Lack, Offer, Recent, Row, Told};
use crate::tui::theme::Role;
use crate::units::{show_bytes, show_duration};

/// Paragraphs, each in a style of its own.
type Text = Vec<(String, Role)>;

/// Rows it should have at least: a command that mends something is worth more than the list.
pub(super) fn rows(look: &Look<'_>) -> u16 {
    let lab = matches!(look.start.row(look.start.selected), Some(Row::Offer(offered)) if offered.offer == Offer::Lab);
    if lab && matches!(look.start.lab, Lab::Missing(_)) { 6 } else { 0 }
}

pub(super) fn render(look: &Look<'_>, area: Rect, buf: &mut Buffer) {
    let Some(row) = look.start.row(look.start.selected) else { return };
    let mut pen = Pen::new(buf, area);
    let (title, text) = match row {
        Row::Offer(offered) => {
            let mut text = if offered.offer == Offer::Lab { lab(&look.start.lab) } else { Text::new() };
            text.push((offered.about.into(), Role::Text));
            let product = look.start.product().filter(|_| offered.offer == Offer::Demo && look.start.product > 0);
            let product = product.map_or_else(String::new, |name| format!(" --hypervisor {name}"));
            if !offered.command.is_empty() {
                text.push((format!("$ {}{product}", offered.command), Role::Value));
            }
            (offered.name.to_uppercase(), text)
        }
        Row::Recent(_, recent) => (recent.name.clone(), session(recent)),
    };
    let room = pen.width().saturating_sub(2);
    let titled = look.title(&mut pen, 0, &shorten(&title, room.saturating_sub(2), look.glyphs));
    let lines: Text =
        text.iter().flat_map(|(text, role)| wrap(text, room).into_iter().map(|line| (line, *role))).collect();
    let rows = usize::from(pen.height().saturating_sub(1));
    for ((line, role), y) in lines.iter().take(rows).zip(1..) {
        pen.text(1, y, line, look.style(*role));
    }
    if lines.len() > rows && rows > 0 {
        // What does not fit is not passed over in silence.
        let more = match row {
            Row::Offer(offered) if offered.offer == Offer::Lab => " more: blackout doctor",
            _ => " more",
        };
        let text = format!(" {}{more} ", look.glyphs.ellipsis);
        pen.right(titled, pen.width(), 0, &text, look.style(Role::Key));
    }
}

/// What is missing for the lab, and what mends it.
fn lab(lab: &Lab) -> Text {
    let told = |lacks: &[Lack], word: &str, role: Role| -> Text {
        lacks
            .iter()
            .flat_map(|lack| {
                let found = (format!("{word} {}: {}", lack.name, lack.found), role);
                [found, (format!("fix: {}", lack.mend), Role::Value)]
            })
            .collect()
    };
    match lab {
        Lab::Checking => vec![("What it needs is being looked for.".into(), Role::Muted)],
        Lab::Missing(lacks) => told(lacks, "MISS", Role::Error),
        Lab::Ready(lacks) => told(lacks, "warn", Role::Warn),
    }
}

fn session(recent: &Recent) -> Text {
    let mut text = Text::new();
    if recent.simulated {
        text.push(("SIMULATED: its hypervisor was a model.".into(), Role::Warn));
    }
    let began = utc_words(recent.began_unix_ns / 1_000_000_000);
    text.push((format!("Began {began}, lasted {}; {}.", list::lasted(recent), show_bytes(recent.bytes)), Role::Text));
    text.push(match &recent.told {
        Told::Reading => ("Being read.".into(), Role::Muted),
        Told::Unread(why) => (format!("Its result is unknown here: {why}."), Role::Warn),
        Told::Known { migrations: 0, outages: None, .. } => {
            ("No migration; nothing is known of its target.".into(), Role::Text)
        }
        Told::Known { migrations: 0, outages: Some(o @ Outages { longest: None, .. }), .. } => {
            (format!("No migration, and no outage{}.", by_probes(o)), Role::Text)
        }
        Told::Known { migrations: 0, outages: Some(o @ Outages { count, longest: Some((lo, hi)), .. }), .. } => {
            let hi = hi.map_or_else(|| "and not ended".into(), |hi| format!("at most {}", show_duration(hi)));
            let s = if *count == 1 { "" } else { "s" };
            let of = by_probes(o);
            let text =
                format!("No migration; {count} outage{s}{of}, the longest at least {}, {hi}.", show_duration(*lo));
            (text, Role::Text)
        }
        Told::Known { migrations, worst, .. } => {
            let migrations = if *migrations == 1 { "1 migration".into() } else { format!("{migrations} migrations") };
            let worst = worst.map_or_else(
                || "how long the guest was gone is unknown".into(),
                |(method, worst)| format!("worst downtime {} by {method}", show_duration(worst)),
            );
            (format!("{migrations}, {worst}."), Role::Text)
        }
    });
    let folder = recent.capture.parent().unwrap_or(&recent.capture);
    text.push((format!("$ blackout replay {}", folder.display()), Role::Value));
    text
}

/// By how many probes outages were seen, where there were several, and of how many nothing is known.
fn by_probes(outages: &Outages) -> String {
    match (outages.probes, outages.unknown) {
        (1, 0) => String::new(),
        (n, 0) => format!(" by {n} probes"),
        (n, unknown) => format!(" by {n} of {} probes (the others were never answered)", n + unknown),
    }
}
