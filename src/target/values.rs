//! What was said of a target, from a file or by flags, and what is wrong with it.

use std::collections::BTreeMap;
use std::fmt::Display;

use thiserror::Error;

use super::field::{Field, SECRET_FROM, Shape};
use super::secret::Secret;
use crate::text::{meant, visible};

/// What is wrong with the description of a target, and where.
#[derive(Debug, Error)]
#[error("{at}: {why}")]
pub(crate) struct Fault {
    at: String,
    why: String,
}

impl Fault {
    /// What is wrong in a line of a file, from 1.
    pub(crate) fn at(file: &str, line: usize, why: impl Display) -> Self {
        Self { at: format!("{file}, line {line}"), why: why.to_string() }
    }
}

/// Where a target is described.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// By flags.
    Flags,
    /// In a table of a file, which begins in a line of it, from 1.
    File { file: String, line: usize },
}

/// A value, and the line it stands in.
#[derive(Debug, Clone)]
struct Given {
    value: toml::Value,
    line: usize,
}

/// The fields of one target, as they were given.
#[derive(Debug, Clone)]
pub(crate) struct Values {
    target: String,
    origin: Origin,
    given: BTreeMap<String, Given>,
}

impl Values {
    /// None yet.
    pub(crate) fn new(target: &str, origin: Origin) -> Self {
        Self { target: target.into(), origin, given: BTreeMap::new() }
    }

    /// One more, from this line of the file.
    pub(crate) fn give(&mut self, name: &str, value: toml::Value, line: usize) {
        self.given.insert(name.replace('_', "-"), Given { value, line });
    }

    /// The name of the target.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Whether this field is given.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.given.contains_key(name)
    }

    /// What is wrong with a field.
    pub(crate) fn fault(&self, name: &str, why: impl Display) -> Fault {
        let given = self.given.get(name);
        let why = why.to_string();
        match &self.origin {
            Origin::Flags => Fault { at: format!("--{name}"), why },
            Origin::File { file, line } => {
                let written = given.map(|g| format!("{name} = {}: ", visible(&g.value.to_string())));
                let line = given.map_or(*line, |g| g.line);
                let at = format!("{file}, line {line}: target '{}'", self.target);
                Fault { at, why: format!("{}{why}", written.unwrap_or_default()) }
            }
        }
    }

    /// What is wrong without any of its values being shown.
    fn hidden_fault(&self, name: &str, why: impl Display) -> Fault {
        let line = self.given.get(name).map(|g| g.line);
        match &self.origin {
            Origin::Flags => Fault { at: format!("--{name}"), why: why.to_string() },
            Origin::File { file, line: of_table } => {
                let at = format!("{file}, line {}: target '{}'", line.unwrap_or(*of_table), self.target);
                Fault { at, why: why.to_string() }
            }
        }
    }

    /// Checks what is given against the fields there are.
    ///
    /// # Errors
    /// The first that is unknown, of a wrong type or missing, or a secret that stands there itself.
    pub(crate) fn check(&self, product: &str, fields: &[&Field]) -> Result<(), Fault> {
        let keys: Vec<(String, &Field)> =
            fields.iter().flat_map(|f| f.keys().into_iter().map(move |key| (key, *f))).collect();
        let mut given: Vec<(&String, &Given)> = self.given.iter().collect();
        given.sort_by_key(|(_, g)| g.line);
        for (name, Given { value, .. }) in given {
            if fields.iter().any(|f| f.shape == Shape::Secret && f.name == name) {
                let instead = SECRET_FROM.map(|(from, what)| format!("{name}-{from} ({what})")).join(", ");
                let why = format!("'{name}' is a secret, which is not written here: say where it is with {instead}");
                return Err(self.hidden_fault(name, why));
            }
            let Some((_, field)) = keys.iter().find(|(key, _)| key == name) else {
                let meant = meant(name, keys.iter().map(|(key, _)| key.as_str()));
                // What stands there may be a secret under a name that is misspelt.
                let why = format!("unknown field '{}' of product '{product}'{meant}", visible(name));
                return Err(self.hidden_fault(name, why));
            };
            if field.shape == Shape::List {
                for item in list(value).map_err(|why| self.fault(name, why))? {
                    (field.check)(&item).map_err(|why| {
                        let item = format!("'{}': {why}", visible(&item));
                        self.hidden_fault(name, format!("{name}: {item}"))
                    })?;
                }
            } else if field.shape != Shape::Any {
                let text = text(value).map_err(|why| self.fault(name, why))?;
                if field.shape == Shape::Text {
                    (field.check)(&text).map_err(|why| self.fault(name, why))?;
                }
            }
        }
        for field in fields.iter().filter(|f| f.required) {
            if !field.keys().iter().any(|key| self.has(key)) {
                let why = format!("'{}' is missing: {}; for instance {}", field.name, field.what, field.written());
                return Err(self.hidden_fault(field.name, why));
            }
        }
        for field in fields.iter().filter(|f| f.shape == Shape::Secret) {
            let from: Vec<String> = field.keys().into_iter().filter(|key| self.has(key)).collect();
            if let [_, second, ..] = from.as_slice() {
                return Err(self.hidden_fault(second, format!("give one of {}, not several", from.join(", "))));
            }
        }
        Ok(())
    }

    /// The value of a field as text: as given, else its default.
    pub(crate) fn text(&self, field: &Field) -> Option<String> {
        let given = self.given.get(field.name).and_then(|g| text(&g.value).ok());
        given.or_else(|| field.default.map(Into::into))
    }

    /// The items of a field that is a list; none where it is not given.
    ///
    /// # Errors
    /// What `parse` says against one.
    pub(crate) fn items<T, E: Display>(
        &self,
        field: &Field,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, Fault> {
        let Some(given) = self.given.get(field.name) else { return Ok(Vec::new()) };
        let items = list(&given.value).map_err(|why| self.fault(field.name, why))?;
        items.iter().map(|item| parse(item).map_err(|e| self.fault(field.name, e))).collect()
    }

    /// The value of a field that has to be given.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn need(&self, field: &Field) -> Result<String, Fault> {
        self.text(field).ok_or_else(|| self.fault(field.name, format!("it is missing: {}", field.what)))
    }

    /// The value of a field, read; None where there is none.
    ///
    /// # Errors
    /// What `parse` says against it.
    pub(crate) fn read<T, E: Display>(
        &self,
        field: &Field,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Fault> {
        self.text(field).map(|text| parse(&text).map_err(|e| self.fault(field.name, e))).transpose()
    }

    /// What is given of these fields, as it stands in the file.
    pub(crate) fn table(&self, fields: &[Field]) -> toml::Table {
        let own = self.given.iter().filter(|(name, _)| fields.iter().any(|f| f.name == name.as_str()));
        own.map(|(name, given)| (name.clone(), given.value.clone())).collect()
    }

    /// What is wrong with the target as a whole, or with a part of a field.
    pub(crate) fn wrong(&self, why: impl Display) -> Fault {
        self.hidden_fault("", why)
    }

    /// Where a secret is.
    pub(crate) fn secret(&self, field: &Field) -> Option<Secret> {
        let of = |from: &str| text(&self.given.get(&format!("{}-{from}", field.name))?.value).ok();
        let file = of("file").map(|path| Secret::File(path.into()));
        file.or_else(|| of("env").map(Secret::Env)).or_else(|| of("command").map(Secret::Command))
    }
}

/// The items of a list of texts.
fn list(value: &toml::Value) -> Result<Vec<String>, &'static str> {
    const WHY: &str = "expected a list of texts in quotes, for instance [\"one\", \"two\"]";
    let items = value.as_array().ok_or(WHY)?;
    items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(WHY)).collect()
}

/// A value of TOML as it would be written on a command line.
fn text(value: &toml::Value) -> Result<String, &'static str> {
    match value {
        toml::Value::String(text) => Ok(text.clone()),
        toml::Value::Integer(n) => Ok(n.to_string()),
        toml::Value::Float(n) => Ok(n.to_string()),
        toml::Value::Boolean(on) => Ok(on.to_string()),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => {
            Err("expected a text in quotes or a number")
        }
    }
}
