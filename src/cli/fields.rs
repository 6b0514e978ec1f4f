//! The fields of a product as flags: made of the same table as the file of targets is read with.

use std::marker::PhantomData;

use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::target::field::Shape;
use crate::target::product::Kind;
use crate::target::values::{Fault, Origin, Values};
use crate::target::{Target, fields, guest, products};

/// A product whose fields are flags.
pub(super) trait Product {
    const KIND: &'static Kind;
    /// Over the product's own flags in the help.
    const HEADING: &'static str;
}

/// `blackout migrate`.
#[derive(Debug, Clone)]
pub(super) struct Qmp;
impl Product for Qmp {
    const KIND: &'static Kind = &products::qmp::KIND;
    const HEADING: &'static str = "Hosts";
}

/// `blackout lab`.
#[derive(Debug, Clone)]
pub(super) struct Lab;
impl Product for Lab {
    const KIND: &'static Kind = &products::lab::KIND;
    const HEADING: &'static str = "Guest";
}

/// `blackout demo`.
#[derive(Debug, Clone)]
pub(super) struct Demo;
impl Product for Demo {
    const KIND: &'static Kind = &products::demo::KIND;
    const HEADING: &'static str = "Simulation";
}

/// What was said of a target by flags.
#[derive(Debug, Clone)]
pub(super) struct Flags<P> {
    given: Vec<(String, String)>,
    product: PhantomData<P>,
}

impl<P: Product> Flags<P> {
    /// The same, as they are read.
    pub(super) fn values(&self, target: &str) -> Values {
        let mut values = Values::new(target, Origin::Flags);
        for (name, value) in &self.given {
            values.give(name, value.as_str().into(), 0);
        }
        values
    }

    /// The target.
    ///
    /// # Errors
    /// What is wrong with a flag.
    pub(super) fn target(&self, name: &str) -> Result<Target, Fault> {
        Target::read(P::KIND, &self.values(name))
    }

    fn args() -> impl Iterator<Item = (String, Arg)> {
        fields(P::KIND).into_iter().filter(|field| field.shape != Shape::List).flat_map(|field| {
            let heading = if guest::FIELDS.iter().any(|f| f.name == field.name) { "Guest" } else { P::HEADING };
            field.keys().into_iter().map(move |key| {
                let check = field.check;
                let mut arg = Arg::new(key.replace('-', "_"))
                    .long(key.clone())
                    .value_name(field.value)
                    .help(field.what)
                    .help_heading(heading)
                    .required(field.required)
                    .allow_hyphen_values(true)
                    .value_parser(move |text: &str| check(text).map(|()| text.to_owned()));
                if let Some(default) = field.default {
                    arg = arg.default_value(default);
                }
                if field.shape == Shape::Secret {
                    arg = secret(arg, &key);
                }
                (key, arg)
            })
        })
    }
}

/// The flags that say where a secret is. The file of the agent's key has had another name for long.
fn secret(arg: Arg, key: &str) -> Arg {
    match key {
        "key-file" => arg.long("psk-file").alias("key-file").help("File with the key shared with the agent"),
        _ if key.ends_with("-env") => arg.value_name("NAME").help("Variable of the environment with that key"),
        _ => arg.value_name("COMMAND").help("Command that prints that key"),
    }
}

impl<P: Product> FromArgMatches for Flags<P> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = Self::args().filter_map(|(key, arg)| {
            matches.get_one::<String>(arg.get_id().as_str()).map(|value| (key, value.clone()))
        });
        Ok(Self { given: given.collect(), product: PhantomData })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<P: Product> Args for Flags<P> {
    fn augment_args(command: Command) -> Command {
        Self::args().fold(command, |command, (_, arg)| command.arg(arg))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
