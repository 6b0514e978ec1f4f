//! `blackout targets`: what can be looked at.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Args as ClapArgs;
use serde_json::{Value, json};

use super::exit::{EXIT_NOT_AS_ASKED, EXIT_OK};
use super::say;
use crate::event::ProbeId;
use crate::probe::ProbeOptions;
use crate::target::field::Field;
use crate::target::fields;
use crate::target::file::{self, Described};
use crate::target::kinds::{KINDS, kind};
use crate::target::look::look;
use crate::target::probing::Probing;
use crate::target::product::{Finding, Kind};
use crate::text::{meant, visible};

/// Lists the targets there are; looks at them with --check.
///
/// A target is a table [target.NAME] in blackout.toml beside the file of settings (blackout config --path), or in
/// the file of --config. Exit code 1 where one is wrong, or not there with --check.
#[derive(Debug, Clone, ClapArgs)]
#[command(after_help = "EXAMPLES:
  blackout targets                     what there is
  blackout targets --check rack1       is it there, what does it offer, where is the guest? Changes nothing;
                                       takes 15 s at most
  blackout targets --fields            what can be written for each product
  blackout attach rack1                a session with it")]
pub struct Args {
    /// Only this target
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// Look whether each is there, what it offers and where its guest is; within 15 s
    #[arg(long)]
    check: bool,
    /// List the fields of a product's table instead, or of every product's
    #[arg(long, value_name = "PRODUCT", num_args = 0..=1, default_missing_value = "", conflicts_with_all = ["check", "name"])]
    fields: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// File of targets or settings [default: blackout.toml and config.toml in $XDG_CONFIG_HOME/blackout]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When a file of targets cannot be read, or there is no such target or product.
pub fn run(args: &Args) -> Result<ExitCode> {
    if let Some(product) = &args.fields {
        return tell_fields(product, args.json);
    }
    let mut all: Vec<Described> = file::find(args.config.as_deref())?.into_values().collect();
    if let Some(name) = &args.name {
        let hint = meant(name, all.iter().map(Described::name));
        all.retain(|d| d.name() == name);
        if all.is_empty() {
            bail!("there is no target '{}'{hint}", visible(name));
        }
    }
    let seen = see(&all, args.check)?;
    let well = seen.iter().all(Seen::is_well);
    if args.json {
        say::print_json(&seen.iter().map(Seen::json).collect::<Vec<_>>())?;
    } else {
        say::print(&seen.iter().map(Seen::text).collect::<String>())?;
    }
    Ok(ExitCode::from(if well { EXIT_OK } else { EXIT_NOT_AS_ASKED }))
}

/// A target, and what was found.
struct Seen<'a> {
    described: &'a Described,
    /// What is written of it, or what is wrong with that.
    written: Result<Value, String>,
    found: Vec<Finding>,
}

/// All of them, looked at side by side: one that does not answer keeps no other waiting.
fn see(all: &[Described], check: bool) -> Result<Vec<Seen<'_>>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let begun = all.iter().map(|described| {
        let target = described.target();
        let written = target.as_ref().map(|target| target.header()).map_err(ToString::to_string);
        let probe = ProbeOptions::icmp(ProbeId(0), SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let look = target.ok().filter(|_| check).map(|target| runtime.spawn(look(target, Probing::new(probe, []))));
        (described, written, look)
    });
    let begun: Vec<_> = begun.collect();
    let seen = begun.into_iter().map(|(described, written, look)| {
        let found = look.map(|look| runtime.block_on(look)).transpose()?.unwrap_or_default();
        Ok(Seen { described, written, found })
    });
    let seen = seen.collect();
    runtime.shutdown_background();
    seen
}

impl Seen<'_> {
    fn is_well(&self) -> bool {
        self.written.is_ok() && self.found.iter().all(|(_, found)| found.is_ok())
    }

    fn text(&self) -> String {
        let (name, kind) = (self.described.name(), self.described.kind);
        let place =
            self.described.place.as_ref().map_or_else(|| "always there".into(), |(f, l)| format!("{f}, line {l}"));
        let mut text = format!("{name:<16} {:<8} {} ({place})\n", kind.name, kind.what);
        match &self.written {
            Err(why) => text += &format!("  wrong: {why}\n"),
            Ok(Value::Object(fields)) if self.described.place.is_some() => {
                let shown = fields.iter().filter(|(_, v)| !v.is_null());
                let shown: Vec<String> = shown.map(|(key, v)| format!("{key} {}", plain(v))).collect();
                text += &format!("  {}\n", shown.join(", "));
            }
            Ok(_) => {}
        }
        for (what, found) in &self.found {
            let (mark, found) = match found {
                Ok(found) => ("ok", found),
                Err(why) => ("NOT", why),
            };
            text += &format!("  {mark:<4} {what}: {}\n", visible(found));
        }
        text
    }

    fn json(&self) -> Value {
        let found = |(what, found): &Finding| match found {
            Ok(found) => json!({ "what": what, "found": found }),
            Err(why) => json!({ "what": what, "wrong": why }),
        };
        let (file, line) = self.described.place.clone().unzip();
        json!({
            "name": self.described.name(),
            "product": self.described.kind.name,
            "what": self.described.kind.what,
            "file": file,
            "line": line,
            "fields": self.written.as_ref().ok(),
            "wrong": self.written.as_ref().err(),
            "defaults": self.described.defaults.iter().map(|p| (p.option.clone(), p.value.clone().into())).collect::<serde_json::Map<_, _>>(),
            "found": self.found.iter().map(found).collect::<Vec<_>>(),
        })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What can be written into the table of a product, or of each.
fn tell_fields(product: &str, as_json: bool) -> Result<ExitCode> {
    let names = || KINDS.iter().map(|kind| kind.name);
    let kinds: Vec<&Kind> = match (product, kind(product)) {
        ("", _) => KINDS.iter().collect(),
        (_, Some(kind)) => vec![kind],
        _ => {
            bail!("unknown product '{}'{}", visible(product), meant(product, names()));
        }
    };
    if as_json {
        say::print_json(&kinds.iter().map(|kind| fields_json(kind)).collect::<Vec<_>>())?;
    } else {
        say::print(&kinds.iter().map(|kind| fields_text(kind)).collect::<Vec<_>>().join("\n"))?;
    }
    Ok(ExitCode::from(EXIT_OK))
}

/// A table as it might be written, with what each field is.
fn fields_text(kind: &Kind) -> String {
    let mut text = format!("# {}\n[target.NAME]\nproduct = \"{}\"\n", kind.what, kind.name);
    for field in fields(kind) {
        let default = field.default.map(|d| format!(" [default: {d}]")).unwrap_or_default();
        let also = field.keys().into_iter().skip(1).map(|key| format!(", or {key}")).collect::<String>();
        let written = field.written();
        text += &format!(
            "# {}{default}{also}\n{}{written}\n",
            field.what,
            if field.required || field.usual { "" } else { "# " }
        );
    }
    text + "# [target.NAME.defaults]    # options of 'blackout attach' by name, for instance bandwidth = \"32M\"\n"
}

fn fields_json(kind: &Kind) -> Value {
    let of = |field: &Field| {
        json!({
            "keys": field.keys(),
            "what": field.what,
            "example": field.example,
            "default": field.default,
            "required": field.required,
        })
    };
    json!({
        "product": kind.name,
        "what": kind.what,
        "fields": fields(kind).into_iter().map(of).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_listed_can_be_written() {
        for kind in KINDS {
            let text = fields_text(kind).replace("NAME", "x");
            let found = file::read("b.toml", &text, false).unwrap();
            assert!(found[0].target().is_ok(), "{text}");
            // With everything that need not be, too: the last of the ways to name a secret aside.
            let all = text.replace("# [target.x.defaults]    # ", "# #").replace("\n# ", "\n#\u{a0}");
            let all = all.lines().map(|l| l.strip_prefix("#\u{a0}").filter(|l| l.contains(" = ")).unwrap_or(l));
            let all = all.collect::<Vec<_>>().join("\n");
            let found = file::read("b.toml", &all, false).unwrap_or_else(|e| panic!("{e}\n{all}"));
            found[0].target().map(drop).unwrap_or_else(|e| panic!("{e}\n{all}"));
        }
    }
}
