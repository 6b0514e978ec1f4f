//! The figures of a fit one by one: each says whether it was fitted, or why it is the default's.

use super::fit::Fit;
use crate::units::{show_bandwidth, show_bytes, show_count};

/// A figure of a calibration.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// Its name in the file.
    pub key: &'static str,
    /// Its name for people.
    pub name: &'static str,
    /// Its value with the unit.
    pub value: String,
    /// Why it is the default's; None of one that was fitted.
    pub default: Option<String>,
}

impl Figure {
    /// `fitted`, or `default` and why.
    #[must_use]
    pub fn mark(&self) -> String {
        self.default.as_ref().map_or_else(|| "fitted".to_owned(), |why| format!("default ({why})"))
    }
}

/// All figures of a fit.
#[must_use]
pub fn figures(fit: &Fit) -> Vec<Figure> {
    let c = &fit.calibration;
    let resume = c.resume_ms;
    let unseen = fit.missing.iter().any(|m| m.keys.iter().any(|key| key.starts_with("content_")));
    let spread = if unseen { "  how far off that is, at least" } else { "  how far off that was" };
    let figure = |key, name, value| {
        let default = fit.missing.iter().find(|m| m.keys.contains(&key)).map(|m| m.why.clone());
        Figure { key, name, value, default }
    };
    vec![
        figure("ram_bytes", "memory as it is migrated", show_bytes(c.ram_bytes)),
        figure("content_least_bytes", "content with no or a small WSET", show_bytes(c.content_least_bytes)),
        figure("content_besides_wset_bytes", "content besides a large WSET", show_bytes(c.content_besides_wset_bytes)),
        figure("content_spread", spread, format!("{:.1} %", c.content_spread * 100.0)),
        figure("top_bytes", "of it above the WSET", show_bytes(c.top_bytes)),
        figure("background_hot_pages", "written all the time", format!("{} pages", show_count(c.background_hot_pages))),
        figure("background_pages", "written besides", format!("{} pages", show_count(c.background_pages))),
        figure("background_pages_per_s", "  how fast", format!("{:.0} pages/s", c.background_pages_per_s)),
        figure("link_bytes_per_s", "what the link itself carries", show_bandwidth(c.link_bytes_per_s)),
        figure("of_limit", "bandwidth, share of what is let by", format!("{:.3}", c.of_limit)),
        figure("setup_ms", "set-up", format!("{:.1} ms", c.setup_ms)),
        figure(
            "resume_ms",
            "from the last byte to the resume",
            format!("{:.0} ms ({:.0} to {:.0})", resume.mid, resume.lo, resume.hi),
        ),
        figure("finish_ms", "from then to the end", format!("{:.1} ms", c.finish_ms)),
    ]
}

/// The calibration as its file has it, each figure with its mark as a comment.
///
/// # Errors
/// Those of the TOML library.
pub fn toml(fit: &Fit) -> Result<String, toml::ser::Error> {
    let figures = figures(fit);
    let mut out = String::from("# Made by 'blackout calibrate'; 'lab' and 'migrate' take it with --calibration.\n");
    for line in ::toml::to_string_pretty(&fit.calibration)?.lines() {
        let of = |f: &&Figure| {
            line.strip_prefix(f.key).is_some_and(|rest| rest.starts_with(" =")) || line == format!("[{}]", f.key)
        };
        if let Some(figure) = figures.iter().find(of) {
            out += &format!("# {}\n", figure.mark());
        }
        out += line;
        out.push('\n');
    }
    Ok(out)
}
