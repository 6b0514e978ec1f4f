//! All migrations of the session: sorted, selected, and set against a baseline.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::analysis::Method;
use crate::analysis::delta::Delta;
use crate::event::MigrationEnd;
use crate::session::state::Migration;
use crate::tui::ctx::Ctx;
use crate::tui::glyphs::Markers;
use crate::tui::history::Column;
use crate::tui::hits::Hit;
use crate::tui::keys::Action;
use crate::tui::outcome;
use crate::tui::pen::{Pen, shorten, width};
use crate::tui::theme::Role;
use crate::tui::view::Page;
use crate::units::{show_bandwidth, show_bytes, show_count, show_duration};

/// A column of the table: one of the history's own, or a difference from the baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Of(Column),
    TimeDelta,
    GapDelta,
}

impl Shown {
    /// Columns of the screen, with the gap before.
    fn width(self) -> u16 {
        match self {
            Self::Of(column) => match column {
                Column::Number => 5,
                Column::Route | Column::Ratio => 6,
                Column::Rounds => 7,
                Column::Time => 8,
                Column::Rate | Column::Policy | Column::Downtime(Method::Reported) => 9,
                Column::Wset | Column::Link | Column::Downtime(Method::ReplyGap) | Column::End => 10,
                Column::Sent | Column::Downtime(Method::LostPings) => 11,
                Column::Downtime(_) => 12,
            },
            Self::TimeDelta => 10,
            Self::GapDelta => 11,
        }
    }

    fn head(self) -> &'static str {
        match self {
            Self::Of(column) => column.head(),
            Self::TimeDelta => "time vs b",
            Self::GapDelta => "gap vs b",
        }
    }
}

/// Which columns go first when there is no room for all. What the hypervisor says stands beside
/// what the probe saw: their disagreement is the finding.
const WEIGHT: [Column; 16] = [
    Column::Number,
    Column::Route,
    Column::Rate,
    Column::Time,
    Column::Downtime(Method::ReplyGap),
    Column::Downtime(Method::Reported),
    Column::End,
    Column::Ratio,
    Column::Rounds,
    Column::Wset,
    Column::Sent,
    Column::Downtime(Method::LostPings),
    Column::Downtime(Method::StopResume),
    Column::Downtime(Method::GuestClock),
    Column::Policy,
    Column::Link,
];

/// Rows the history would like to have: a title, heads, the migrations and a line of differences.
pub(crate) fn wanted(ctx: &Ctx<'_>) -> u16 {
    let differences = u16::from(ctx.view.history.compared_with(ctx.state).is_some());
    ctx.state.migrations.len().clamp(1, 6) as u16 + 2 + differences
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    ctx.hit(area, Hit::Panel(Page::History));
    let mut pen = Pen::new(buf, area);
    let hints_from = title(ctx, &mut pen);
    let state = ctx.state;
    if state.migrations.is_empty() {
        pen.text(2, 1, "no migration yet", ctx.style(Role::Muted));
        return;
    }
    let history = &ctx.view.history;
    let baseline = history.compared_with(state);
    let chosen = history.chosen(state);
    let columns = fitting(ctx, pen.width(), baseline.is_some());
    heads(ctx, &mut pen, &columns);

    let mut rows = area.height.saturating_sub(2);
    if let (Some(base), Some(m)) = (baseline, chosen)
        && rows > 2
    {
        rows -= 1;
        difference(ctx, &mut pen, area.height - 1, m, base);
    }
    let order = history.order(state);
    let at = chosen.and_then(|m| order.iter().position(|i| state.migrations[*i].n == m.n)).unwrap_or(0);
    let rows = usize::from(rows);
    let skip = at.saturating_sub(rows / 2).min(order.len().saturating_sub(rows));
    for (y, i) in order.iter().skip(skip).take(rows).enumerate() {
        let m = &state.migrations[*i];
        let y = y as u16 + 2;
        let selected = chosen.is_some_and(|c| c.n == m.n);
        row(ctx, &mut pen, y, m, &columns, selected, baseline);
        ctx.hit(pen.rect(0, y, pen.width()), Hit::Migration(m.n));
    }
    let below = order.len().saturating_sub(skip + rows);
    let counter = if skip + below > 0 { format!(" {skip} above, {below} below ") } else { String::new() };
    let end = pen.width().saturating_sub(1);
    pen.right(hints_from, end, 0, &counter, ctx.style(Role::Muted));
    if ctx.view.page == Page::History {
        hints(ctx, &mut pen, hints_from, end.saturating_sub(width(&counter)));
    }
}

/// The title and how it is sorted; returns the column after it.
fn title(ctx: &Ctx<'_>, pen: &mut Pen<'_>) -> u16 {
    let mut x = ctx.title(pen, "HISTORY");
    let history = &ctx.view.history;
    if history.sort != Column::Number || history.falling {
        let way = if history.falling { "falling" } else { "rising" };
        let what = history.sort.head();
        x = pen.text(x, 0, &format!(" by {what}, {way} "), ctx.style(Role::Value));
    }
    x
}

/// What the keys do here.
fn hints(ctx: &Ctx<'_>, pen: &mut Pen<'_>, mut x: u16, end: u16) {
    let hints = [
        (Action::Sort, "sort"),
        (Action::Baseline, "baseline"),
        (Action::Compare, "compare"),
        (Action::Type, "show in time"),
    ];
    for (action, word) in hints {
        let key = ctx.key(action);
        if x + width(&key) + width(word) + 3 <= end && !key.is_empty() {
            let from = x;
            x = pen.text(x, 0, &format!(" {key}"), ctx.style(Role::Key));
            x = pen.text(x, 0, &format!(" {word} "), ctx.style(Role::Muted));
            ctx.hit(pen.rect(from, 0, x - from), Hit::Action(action));
        }
    }
}

/// The columns there is room for, in their order. The one it is sorted by is always among them.
fn fitting(ctx: &Ctx<'_>, room: u16, compared: bool) -> Vec<Shown> {
    let mut left = room;
    let mut kept = Vec::new();
    let mut weighed: Vec<Shown> = vec![Shown::Of(Column::Number), Shown::Of(ctx.view.history.sort)];
    weighed.extend(WEIGHT[1..4].iter().map(|c| Shown::Of(*c)));
    if compared {
        weighed.extend([Shown::TimeDelta]);
    }
    weighed.push(Shown::Of(WEIGHT[4]));
    if compared {
        weighed.extend([Shown::GapDelta]);
    }
    weighed.extend(WEIGHT[5..].iter().map(|c| Shown::Of(*c)));
    for shown in weighed {
        if !kept.contains(&shown) && shown.width() <= left {
            left -= shown.width();
            kept.push(shown);
        }
    }
    let mut columns = Vec::new();
    for column in Column::ALL {
        let after = match column {
            Column::Time => Some(Shown::TimeDelta),
            Column::Downtime(Method::ReplyGap) => Some(Shown::GapDelta),
            _ => None,
        };
        columns.extend([Some(Shown::Of(column)), after].into_iter().flatten().filter(|s| kept.contains(s)));
    }
    columns
}

/// Words stand to the left, numbers to the right.
fn is_word(shown: Shown) -> bool {
    matches!(shown, Shown::Of(Column::Route | Column::Policy | Column::End))
}

fn put(pen: &mut Pen<'_>, x: u16, y: u16, shown: Shown, text: &str, style: Style) {
    let end = x + shown.width();
    if is_word(shown) {
        pen.text_to(x + 1, y, end, text, style);
    } else {
        pen.right(x, end, y, text, style);
    }
}

fn heads(ctx: &Ctx<'_>, pen: &mut Pen<'_>, columns: &[Shown]) {
    let mut x = 0;
    for shown in columns {
        let sorted = *shown == Shown::Of(ctx.view.history.sort);
        let mut style = ctx.style(Role::Muted);
        if sorted {
            style = style.add_modifier(Modifier::UNDERLINED);
        }
        put(pen, x, 1, *shown, shown.head(), style);
        if let Shown::Of(column) = shown
            && let Some(i) = Column::ALL.iter().position(|c| c == column)
        {
            ctx.hit(pen.rect(x, 1, shown.width()), Hit::HistoryHead(i));
        }
        x += shown.width();
    }
}

fn row(
    ctx: &Ctx<'_>,
    pen: &mut Pen<'_>,
    y: u16,
    m: &Migration,
    columns: &[Shown],
    selected: bool,
    baseline: Option<&Migration>,
) {
    if selected {
        pen.text(0, y, ctx.glyphs.pointer, ctx.style(Role::Key));
    }
    if baseline.is_some_and(|b| b.n == m.n) {
        pen.text(1, y, "b", ctx.style(Role::Key));
    }
    let mut x = 0;
    for shown in columns {
        let style = match shown {
            Shown::Of(Column::Number | Column::Downtime(_)) if selected => ctx.style(Role::Value),
            Shown::Of(Column::End) => end_style(ctx, m),
            Shown::TimeDelta | Shown::GapDelta => ctx.style(Role::Muted),
            _ => ctx.style(Role::Text),
        };
        let text = match shown {
            Shown::Of(column) => cell(ctx, m, *column),
            _ if baseline.is_none_or(|b| b.n == m.n) => String::new(),
            Shown::TimeDelta => delta_cell(ctx, baseline.and_then(|b| time_delta(m, b))),
            Shown::GapDelta => delta_cell(ctx, baseline.and_then(|b| downtime_delta(m, b, Method::ReplyGap))),
        };
        let text = if is_word(*shown) { shorten(&text, shown.width() - 1, ctx.glyphs) } else { text };
        // The number leaves the first two columns to the marks.
        if *shown == Shown::Of(Column::Number) {
            pen.right(x + 2, x + shown.width(), y, &text, style);
        } else {
            put(pen, x, y, *shown, &text, style);
        }
        x += shown.width();
    }
}

fn end_style(ctx: &Ctx<'_>, m: &Migration) -> Style {
    ctx.style(match m.ended.as_ref().map(|(_, e)| e) {
        Some(MigrationEnd::Done) => Role::Good,
        Some(MigrationEnd::Failed { .. } | MigrationEnd::Unsettled { .. }) => Role::Error,
        Some(MigrationEnd::Cancelled { .. }) | None => Role::Warn,
    })
}

/// A host's name in a column that has room for one or two letters of it.
fn brief(name: &str) -> &str {
    let end = if name.chars().count() > 2 { 1 } else { 2 };
    name.char_indices().nth(end).map_or(name, |(i, _)| &name[..i])
}

fn cell(ctx: &Ctx<'_>, m: &Migration, column: Column) -> String {
    let unknown = || "-".to_string();
    let time = |d: Option<Duration>| d.map_or_else(unknown, show_duration);
    let requested = outcome::requested(ctx.state, m);
    match column {
        Column::Number => m.n.to_string(),
        Column::Route => format!("{}{}{}", brief(&m.from), ctx.glyphs.arrow, brief(&m.to)),
        Column::Rate => requested.map_or_else(unknown, |r| format!("{}/s", show_count(r.round().max(0.0) as u64))),
        Column::Ratio => outcome::ratio(requested, m).map_or_else(unknown, |r| format!("{r:.2}")),
        Column::Wset => m.load.map_or_else(unknown, |l| show_bytes(l.wset_bytes)),
        Column::Link => m.settings.limit_bytes_per_s().map_or_else(unknown, |b| show_bandwidth(b as f64)),
        Column::Policy => m.settings.policy.name.clone(),
        Column::Time => time(outcome::took(m)),
        Column::Rounds => outcome::rounds(m).map_or_else(unknown, |n| n.to_string()),
        Column::Sent => outcome::sent(m).map_or_else(unknown, show_bytes),
        Column::Downtime(method) => time(outcome::downtime(m, method).map(|d| d.value)),
        Column::End => outcome::end_word(m).to_owned(),
    }
}

/// Whether there is something to compare: what was cancelled or failed has neither a migration time nor a
/// downtime that could be held against another's.
pub(crate) fn compares(m: &Migration, base: &Migration) -> bool {
    m.is_done() && base.is_done()
}

/// Migration time against the baseline's.
pub(crate) fn time_delta(m: &Migration, base: &Migration) -> Option<Delta> {
    if !compares(m, base) {
        return None;
    }
    Some(Delta::exact(outcome::took(m)?.as_secs_f64(), outcome::took(base)?.as_secs_f64()))
}

/// A downtime against the baseline's.
pub(crate) fn downtime_delta(m: &Migration, base: &Migration, method: Method) -> Option<Delta> {
    if !compares(m, base) {
        return None;
    }
    Some(Delta::bounded(&outcome::downtime(m, method)?, &outcome::downtime(base, method)?))
}

/// The sign of a difference that lies within the bounds: none that the data shows.
pub(crate) fn alike_sign(ctx: &Ctx<'_>) -> &'static str {
    if ctx.view.markers == Markers::Ascii { "~" } else { "≈" }
}

/// A difference in %: `+12 %`, `≈ +2.0 %`.
pub(crate) fn percent(percent: f64) -> String {
    match percent.abs() {
        // Too small a share to be read as one, and of either sign.
        p if p < 0.05 => "<0.1 %".to_owned(),
        p if p >= 99.5 => format!("{percent:+.0} %"),
        _ => format!("{percent:+.1} %"),
    }
}

fn delta_cell(ctx: &Ctx<'_>, delta: Option<Delta>) -> String {
    let Some(delta) = delta else { return "-".to_owned() };
    if delta.by == 0.0 {
        return "same".to_owned();
    }
    let share = delta.percent.map_or_else(|| seconds(delta.by), percent);
    if delta.alike { format!("{} {share}", alike_sign(ctx)) } else { share }
}

/// A difference of times with its sign.
pub(crate) fn seconds(by: f64) -> String {
    let size = show_duration(Duration::try_from_secs_f64(by.abs()).unwrap_or_default());
    format!("{}{size}", if by < 0.0 { "-" } else { "+" })
}

/// A difference of sizes with its sign.
pub(crate) fn bytes(by: f64) -> String {
    format!("{}{}", if by < 0.0 { "-" } else { "+" }, show_bytes(by.abs() as u64))
}

/// A difference in absolute terms and in %, with a sign before it where it is none.
pub(crate) fn delta_words(ctx: &Ctx<'_>, delta: Delta, absolute: &str) -> String {
    if delta.by == 0.0 {
        return "the same".to_owned();
    }
    let share = delta.percent.map_or(String::new(), |p| format!(" ({})", percent(p)));
    let sign = if delta.alike { format!("{} ", alike_sign(ctx)) } else { String::new() };
    format!("{sign}{absolute}{share}")
}

/// The selected migration against the baseline, in one line.
fn difference(ctx: &Ctx<'_>, pen: &mut Pen<'_>, y: u16, m: &Migration, base: &Migration) {
    if m.n == base.n {
        let text = format!("{} is the baseline: select another to see the difference", m.n);
        pen.text(2, y, &text, ctx.style(Role::Muted));
        return;
    }
    let mut x = pen.text(2, y, &format!("{} vs {}:", m.n, base.n), ctx.style(Role::Key)) + 1;
    if !compares(m, base) {
        let (which, word) = if m.is_done() { (base, outcome::end_word(base)) } else { (m, outcome::end_word(m)) };
        let text = format!("nothing to compare: {} is {word}", which.n);
        pen.text(x, y, &text, ctx.style(Role::Muted));
        return;
    }
    let count = |of: Option<u64>, base: Option<u64>| Some(Delta::exact(of? as f64, base? as f64));
    let downtime = |method: Method| {
        downtime_delta(m, base, method).map(|d| format!("{} {}", method.name(), delta_words(ctx, d, &seconds(d.by))))
    };
    let items = [
        time_delta(m, base).map(|d| format!("time {}", delta_words(ctx, d, &seconds(d.by)))),
        downtime(Method::ReplyGap),
        downtime(Method::Reported),
        count(outcome::rounds(m), outcome::rounds(base)).map(|d| format!("rounds {:+}", d.by)),
        count(outcome::sent(m), outcome::sent(base)).map(|d| format!("sent {}", delta_words(ctx, d, &bytes(d.by)))),
        downtime(Method::StopResume),
        downtime(Method::GuestClock),
        downtime(Method::LostPings),
    ];
    for text in items.into_iter().flatten() {
        if x + width(&text) < pen.width() {
            x = pen.text(x, y, &text, ctx.style(Role::Text)) + 2;
        }
    }
}
