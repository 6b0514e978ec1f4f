//! Files of targets: `[target.NAME]` tables in `blackout.toml` or `config.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::description::Target;
use super::kinds::{KINDS, kind};
use super::product::Kind;
use super::values::{Fault, Origin, Values};
use crate::setting_file::{self, line};
use crate::text::{nearest, visible};

/// The table that targets stand in.
pub(crate) const TABLE: &str = "target";
/// The file of targets, beside the file of settings.
pub(crate) const FILE: &str = "blackout.toml";
/// The table of what a session with a target is asked to be where the command line does not say.
const DEFAULTS: &str = "defaults";

/// A target that is described somewhere.
pub(crate) struct Described {
    /// Its product.
    pub(crate) kind: &'static Kind,
    /// Its fields.
    pub(crate) values: Values,
    /// What a session with it is asked to be where the command line does not say.
    pub(crate) defaults: Vec<Preset>,
    /// The file and the line it begins in; None for one that is always there.
    pub(crate) place: Option<(String, usize)>,
}

/// A default of a target: an option of `blackout attach`, and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Preset {
    /// The option, as its flag is named, without dashes in front.
    pub(crate) option: String,
    /// Its value, as on a command line.
    pub(crate) value: String,
    /// Where it stands.
    pub(crate) file: String,
    /// The line, from 1.
    pub(crate) line: usize,
}

impl Described {
    /// Its name.
    pub(crate) fn name(&self) -> &str {
        self.values.target()
    }

    /// The target.
    ///
    /// # Errors
    /// The first field that is unknown, missing or wrong.
    pub(crate) fn target(&self) -> Result<Target, Fault> {
        Target::read(self.kind, &self.values)
    }
}

/// Every target there is: those that are always there, and those of the file that is named, else of the person's
/// own files, by name.
///
/// # Errors
/// What is wrong in a file.
pub(crate) fn find(named: Option<&Path>) -> anyhow::Result<BTreeMap<String, Described>> {
    let mut all = BTreeMap::new();
    for name in ["lab", "demo"] {
        if let Some(kind) = kind(name) {
            let values = Values::new(name, Origin::Flags);
            all.insert(name.to_owned(), Described { kind, values, defaults: Vec::new(), place: None });
        }
    }
    let mine = || {
        let folder = setting_file::folder();
        let files = ["config.toml", FILE].map(|name| folder.as_ref().map(|f| f.join(name)));
        files.into_iter().flatten().filter(|p| p.exists()).collect()
    };
    let paths = named.map_or_else(mine, |path| vec![path.to_owned()]);
    for path in paths {
        let file = path.display().to_string();
        // What else stands in a file that is named is checked as settings.
        let settings_too = named.is_some() || path.file_name().is_none_or(|name| name != FILE);
        for described in read(&file, &setting_file::read(&path)?, settings_too)? {
            let name = described.name().to_owned();
            let place = described.place.clone();
            if let Some(former) = all.insert(name.clone(), described) {
                let (file, line) = place.unwrap_or((file, 1));
                let why = match former.place {
                    Some((other, at)) => {
                        format!("target '{name}' stands in {other}, line {at}, too: rename one of them")
                    }
                    None => format!("target '{name}' is always there: give this one another name"),
                };
                return Err(Fault::at(&file, line, why).into());
            }
        }
    }
    Ok(all)
}

/// The targets of a file's text; `file` is named in errors. Other tables are left to others if there may be
/// settings, too.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn read(file: &str, text: &str, settings_too: bool) -> anyhow::Result<Vec<Described>> {
    let spans = setting_file::table(file, text)?;
    let plain: toml::Table = toml::from_str(text).map_err(|e| Fault::at(file, 1, e.message()))?;
    let mut found = Vec::new();
    for (key, value) in &spans {
        let (at, name) = (line(text, key.span().start), key.get_ref().as_ref());
        if name != TABLE {
            if settings_too {
                continue;
            }
            let why = format!("unknown table '{}': targets stand in [{TABLE}.NAME]", visible(name));
            return Err(Fault::at(file, at, why).into());
        }
        let (DeValue::Table(targets), Some(toml::Value::Table(values))) = (value.get_ref(), plain.get(TABLE)) else {
            return Err(Fault::at(file, at, format!("'{TABLE}' is no table: write [{TABLE}.NAME]")).into());
        };
        for (key, value) in targets {
            let (at, name) = (line(text, key.span().start), key.get_ref().as_ref());
            let (DeValue::Table(fields), Some(toml::Value::Table(values))) = (value.get_ref(), values.get(name)) else {
                let why = format!("'{TABLE}.{}' is no table: write [{TABLE}.NAME] and its fields below", visible(name));
                return Err(Fault::at(file, at, why).into());
            };
            found.push(read_target(file, text, (name, at), fields, values)?);
        }
    }
    Ok(found)
}

fn read_target(
    file: &str,
    text: &str,
    (name, at): (&str, usize),
    fields: &DeTable<'_>,
    plain: &toml::Table,
) -> Result<Described, Fault> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if name.is_empty() || name.len() > 64 || name.starts_with('-') || !name.chars().all(fits) {
        let why = format!("invalid name '{}' of a target: expected up to 64 letters, digits and - _ .", visible(name));
        return Err(Fault::at(file, at, why));
    }
    let line_of = |key: &str, table: &DeTable<'_>| {
        table.iter().find(|(k, _)| k.get_ref() == key).map_or(at, |(k, _)| line(text, k.span().start))
    };
    let names = || KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>();
    let fault = |line: usize, why: String| Fault::at(file, line, format!("target '{name}': {why}"));
    let kind = match plain.get("product") {
        None => {
            let why = format!("'product' is missing: one of {}; for instance product = \"qmp\"", names().join(", "));
            return Err(fault(at, why));
        }
        Some(value) => value.as_str().and_then(kind).ok_or_else(|| {
            let given = value.as_str().unwrap_or_default();
            let near = nearest(given, names()).map(|near| format!("; did you mean '{near}'?")).unwrap_or_default();
            let why = format!(
                "product = {}: unknown product{near}; there are {}",
                visible(&value.to_string()),
                names().join(", ")
            );
            fault(line_of("product", fields), why)
        })?,
    };
    let mut values = Values::new(name, Origin::File { file: file.into(), line: at });
    let mut defaults = Vec::new();
    for (key, value) in plain {
        let at = line_of(key, fields);
        match (key.as_str(), value) {
            ("product", _) => {}
            (DEFAULTS, toml::Value::Table(table)) => {
                let spans = fields.iter().find(|(k, _)| k.get_ref() == DEFAULTS);
                let spans = spans.and_then(|(_, v)| if let DeValue::Table(t) = v.get_ref() { Some(t) } else { None });
                for (key, value) in table {
                    let line = spans.map_or(at, |spans| line_of(key, spans));
                    let value = match value {
                        toml::Value::String(text) => text.clone(),
                        toml::Value::Integer(_) | toml::Value::Float(_) | toml::Value::Boolean(_) => value.to_string(),
                        _ => {
                            return Err(fault(
                                line,
                                format!("{key}: expected a text in quotes, a number, true or false"),
                            ));
                        }
                    };
                    defaults.push(Preset { option: key.replace('_', "-"), value, file: file.into(), line });
                }
            }
            (DEFAULTS, _) => {
                return Err(fault(at, format!("'{DEFAULTS}' is no table: write [target.{name}.{DEFAULTS}]")));
            }
            _ => values.give(key, value.clone(), at),
        }
    }
    Ok(Described { kind, values, defaults, place: Some((file.into(), at)) })
}

#[cfg(test)]
mod tests;
