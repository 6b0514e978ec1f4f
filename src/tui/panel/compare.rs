//! Two migrations side by side: first what was set differently, then what came of it.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;

use super::dialog::frame;
use super::history::{alike_sign, bytes, compares, delta_words, downtime_delta, seconds, time_delta};
use crate::analysis::Method;
use crate::analysis::delta::Delta;
use crate::session::state::Migration;
use crate::tui::ctx::Ctx;
use crate::tui::outcome;
use crate::tui::pen::{shorten, width, wrap};
use crate::tui::theme::Role;
use crate::units::{show_bandwidth, show_bytes, show_count, show_duration};

/// One row: what, of the baseline, of the selected one, the difference.
#[derive(Debug, PartialEq)]
struct Line {
    what: String,
    base: String,
    of: String,
    difference: String,
}

/// Whether there is something to compare.
pub(crate) fn shows(ctx: &Ctx<'_>) -> bool {
    ctx.view.history.compare && pair(ctx).is_some()
}

fn pair<'a>(ctx: &Ctx<'a>) -> Option<(&'a Migration, &'a Migration)> {
    let base = ctx.view.history.compared_with(ctx.state)?;
    let of = ctx.view.history.chosen(ctx.state)?;
    (of.n != base.n).then_some((base, of))
}

pub(crate) fn render(ctx: &Ctx<'_>, area: Rect, buf: &mut Buffer) {
    let Some((base, of)) = pair(ctx) else { return };
    let settings = settings(base, of);
    let results = results(ctx, base, of);
    let room = area.width.saturating_sub(4);
    let widest = |pick: fn(&Line) -> &str| settings.iter().chain(&results).map(|l| width(pick(l))).max().unwrap_or(0);
    let heads = [format!("{} (baseline)", base.n), format!("{} (selected)", of.n)];
    let label = widest(|l| &l.what).max(11);
    let first = widest(|l| &l.base).max(width(&heads[0])).min(22);
    let second = widest(|l| &l.of).max(width(&heads[1])).min(22);
    let ends = [label + 2 + first, label + 4 + first + second];
    let difference = ends[1] + 2;
    let wide = (difference + widest(|l| &l.difference)).min(room);
    let note = format!("{} the bounds overlap: the data shows no difference", alike_sign(ctx));
    let note = wrap(&note, wide);
    let high = 2 + settings.len().max(1) + results.len() + 1 + note.len();
    let title = format!("MIGRATIONS {} AND {}", base.n, of.n);
    let mut pen = frame(ctx, area, buf, wide, high as u16, &title);

    for (end, (head, from)) in ends.into_iter().zip(heads.iter().zip([label, ends[0]])) {
        pen.right(from, end, 0, head, ctx.style(Role::Title));
    }
    pen.text(difference, 0, "difference", ctx.style(Role::Muted));
    let mut y = 1;
    if settings.is_empty() {
        pen.text(0, y, "all settings are the same", ctx.style(Role::Muted));
        y += 1;
    }
    for (i, line) in settings.iter().chain(&results).enumerate() {
        if i == settings.len() {
            pen.fill(0, wide, y, ctx.glyphs.rule, ctx.style(Role::Rule));
            y += 1;
        }
        pen.text(0, y, &line.what, ctx.style(Role::Muted));
        pen.right(label, ends[0], y, &shorten(&line.base, first, ctx.glyphs), ctx.style(Role::Text));
        pen.right(ends[0], ends[1], y, &shorten(&line.of, second, ctx.glyphs), ctx.style(Role::Value));
        pen.text(difference, y, &line.difference, ctx.style(Role::Text));
        y += 1;
    }
    for line in &note {
        pen.text(0, y, line, ctx.style(Role::Muted));
        y += 1;
    }
}

fn line(what: &str, base: String, of: String) -> Line {
    Line { what: what.to_owned(), base, of, difference: String::new() }
}

/// The settings that differ.
fn settings(base: &Migration, of: &Migration) -> Vec<Line> {
    let unknown = || "-".to_owned();
    let load =
        |m: &Migration, show: fn(&crate::event::LoadSettings) -> String| m.load.as_ref().map_or_else(unknown, show);
    let both = |what: &str, show: &dyn Fn(&Migration) -> String| line(what, show(base), show(of));
    let yes = |is: bool| if is { "yes" } else { "no" }.to_owned();
    let mut lines = vec![
        both("way", &|m| format!("{} to {}", m.from, m.to)),
        both("RATE", &|m| load(m, |l| format!("{}/s", show_count(l.dirty.rate_pages_per_s().round().max(0.0) as u64)))),
        both("PERIOD", &|m| load(m, |l| show_duration(std::time::Duration::from_nanos(l.dirty.period_ns)))),
        both("WSET", &|m| load(m, |l| show_bytes(l.wset_bytes))),
        both("LOAD", &|m| load(m, |l| format!("{:.0} %", l.cpu_load_pct))),
        both("FILL", &|m| load(m, |l| format!("{:.0} %", l.fill_pct))),
        both("pattern", &|m| load(m, |l| format!("{:?}", l.pattern).to_lowercase())),
        both("limit", &|m| m.settings.limit_bytes_per_s().map_or_else(unknown, |b| show_bandwidth(b as f64))),
        both("downtime-limit", &|m| m.settings.downtime_limit_ms.map_or_else(unknown, |ms| format!("{ms} ms"))),
        both("policy", &|m| m.settings.policy.name.clone()),
        both("post-copy", &|m| yes(m.settings.post_copy)),
        both("auto-converge", &|m| yes(m.settings.auto_converge)),
    ];
    let mut names: Vec<&String> = base.settings.extra.keys().chain(of.settings.extra.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        lines.push(both(name, &|m| m.settings.extra.get(name).map_or_else(unknown, ToString::to_string)));
    }
    lines.retain(|l| l.base != l.of);
    lines
}

fn results(ctx: &Ctx<'_>, base: &Migration, of: &Migration) -> Vec<Line> {
    let unknown = || "-".to_owned();
    let both = |what: &str, show: &dyn Fn(&Migration) -> String, difference: Option<String>| Line {
        difference: difference.unwrap_or_default(),
        ..line(what, show(base), show(of))
    };
    let count = |pick: fn(&Migration) -> Option<u64>| {
        compares(of, base).then(|| Some(Delta::exact(pick(of)? as f64, pick(base)? as f64))).flatten()
    };
    let mut lines = vec![
        both("end", &|m| outcome::end_word(m).to_owned(), None),
        both(
            "time",
            &|m| outcome::took(m).map_or_else(unknown, show_duration),
            time_delta(of, base).map(|d| delta_words(ctx, d, &seconds(d.by))),
        ),
        both(
            "rounds",
            &|m| outcome::rounds(m).map_or_else(unknown, |n| n.to_string()),
            count(outcome::rounds).map(|d| delta_words(ctx, d, &format!("{:+.0}", d.by))),
        ),
        both(
            "sent",
            &|m| outcome::sent(m).map_or_else(unknown, show_bytes),
            count(outcome::sent).map(|d| delta_words(ctx, d, &bytes(d.by))),
        ),
    ];
    for method in Method::ALL {
        lines.push(both(
            method.name(),
            &|m| outcome::downtime(m, method).map_or_else(unknown, |d| show_duration(d.value)),
            downtime_delta(of, base, method).map(|d| delta_words(ctx, d, &seconds(d.by))),
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::fixture;

    #[test]
    fn only_settings_that_differ_are_listed() {
        let state = fixture::result();
        let (one, three) = (&state.migrations[0], &state.migrations[2]);
        assert_eq!(settings(one, one), []);
        let different: Vec<_> = settings(one, three).into_iter().map(|l| (l.what, l.base, l.of)).collect();
        assert_eq!(different, [("RATE".to_owned(), "2,000/s".to_owned(), "9,000/s".to_owned())]);
        let mut other = three.clone();
        other.settings.extra.insert("multifd-channels".into(), 4.into());
        assert!(settings(three, &other).iter().any(|l| l.what == "multifd-channels" && l.base == "-" && l.of == "4"));
    }
}
