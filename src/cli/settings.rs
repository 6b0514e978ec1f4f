//! The file of settings: each key stands for an option of the command line and takes the place of
//! its default, so that the command line wins over the file, and the file over what is built in.

use std::error::Error as _;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, Args, Command};
use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::lab;
use crate::setting_file::{self, FileError, line};
use crate::text::meant;

/// A key of the file, and the option it stands for.
struct Setting {
    /// The table it stands in; empty for the top.
    table: &'static str,
    key: &'static str,
    /// The option's id.
    option: &'static str,
    /// A switch that is written the other way round.
    inverted: bool,
}

const fn top(key: &'static str) -> Setting {
    Setting { table: "", key, option: key, inverted: false }
}
const fn of_lab(key: &'static str) -> Setting {
    Setting { table: "lab", key, option: key, inverted: false }
}

/// Every key. Type, default and explanation are the option's own.
const SETTINGS: &[Setting] = &[
    top("theme"),
    top("markers"),
    top("clock"),
    top("fps"),
    top("slow"),
    Setting { table: "", key: "mouse", option: "no_mouse", inverted: true },
    top("keymap"),
    top("ping_interval"),
    top("ping_deadline"),
    of_lab("memory"),
    of_lab("cpus"),
    of_lab("kernel"),
    of_lab("accel"),
];
/// The command that has all these options: `blackout lab`.
fn lab_command() -> Command {
    lab::Args::augment_args(Command::new("lab"))
}

/// Why a file of settings cannot be used.
#[derive(Debug, Error)]
pub(super) enum SettingsError {
    #[error("settings {0}")]
    File(#[from] FileError),
    #[error("settings {file}, line {line}: unknown key '{key}'{hint}")]
    UnknownKey { file: String, line: usize, key: String, hint: String },
    #[error("settings {file}, line {line}: {key} = {value}: {why}")]
    BadValue { file: String, line: usize, key: String, value: String, why: String },
}

/// The settings of a file: options and the defaults they get.
#[derive(Debug, Default)]
pub(super) struct Settings {
    /// The file; None where there is none.
    pub path: Option<PathBuf>,
    values: Vec<(usize, String)>,
}

/// Where the person's settings would be.
pub(super) fn usual_path() -> Option<PathBuf> {
    setting_file::folder().map(|f| f.join("config.toml"))
}

impl Settings {
    /// The settings for a command line: of the file it names with `--config`, else of the person's own.
    pub(super) fn find(arguments: &[OsString]) -> Result<Self, SettingsError> {
        match named(arguments) {
            Some(path) => Self::load(&path),
            None => match usual_path().filter(|p| p.exists()) {
                Some(path) => Self::load(&path),
                None => Ok(Self::default()),
            },
        }
    }

    pub(super) fn load(path: &Path) -> Result<Self, SettingsError> {
        let values = parse(&path.display().to_string(), &setting_file::read(path)?)?;
        Ok(Self { path: Some(path.into()), values })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// The command, and its commands, with these defaults for the options they have.
    pub(super) fn as_defaults(&self, mut command: Command) -> Command {
        let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
        for name in names {
            command = command.mut_subcommand(name, |c| self.as_defaults_of(c));
        }
        command
    }

    /// The same for one command alone.
    pub(super) fn as_defaults_of(&self, mut command: Command) -> Command {
        for (i, value) in &self.values {
            let setting = &SETTINGS[*i];
            let wanted = setting.table.is_empty() || command.get_name() == setting.table;
            if wanted && command.get_arguments().any(|a| a.get_id() == setting.option) {
                command = command.mut_arg(setting.option, |a| a.default_value(value.clone()));
            }
        }
        command
    }
}

/// The file named with `--config`; what else the command line says is read later.
fn named(arguments: &[OsString]) -> Option<PathBuf> {
    let mut rest = arguments.iter().take_while(|a| *a != "--");
    while let Some(argument) = rest.next() {
        match argument.to_str() {
            Some("--config") => return rest.next().map(PathBuf::from),
            Some(text) if text.starts_with("--config=") => return Some(PathBuf::from(&text["--config=".len()..])),
            _ => {}
        }
    }
    None
}

fn parse(file: &str, text: &str) -> Result<Vec<(usize, String)>, SettingsError> {
    let table = setting_file::table(file, text)?;
    let mut values = Vec::new();
    read_table(file, text, "", &table, &mut values)?;
    Ok(values)
}

fn read_table(
    file: &str,
    text: &str,
    of: &str,
    table: &DeTable<'_>,
    values: &mut Vec<(usize, String)>,
) -> Result<(), SettingsError> {
    for (key, value) in table {
        let (at, name) = (line(text, key.span().start), key.get_ref().as_ref());
        if let DeValue::Table(inner) = value.get_ref()
            && of.is_empty()
            && SETTINGS.iter().any(|s| s.table == name)
        {
            read_table(file, text, name, inner, values)?;
            continue;
        }
        // Targets may stand in the same file; they are read when one is asked for.
        if of.is_empty() && name == crate::target::file::TABLE {
            continue;
        }
        let Some(i) = SETTINGS.iter().position(|s| s.table == of && s.key == name) else {
            let full =
                |table: &str, key: &str| if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") };
            let names: Vec<String> = SETTINGS.iter().map(|s| full(s.table, s.key)).collect();
            let key = full(of, name);
            let hint = meant(&key, names.iter().map(String::as_str));
            return Err(SettingsError::UnknownKey { file: file.into(), line: at, key, hint });
        };
        let written = text.get(value.span()).unwrap_or_default().to_owned();
        let value = check(&SETTINGS[i], value.get_ref()).map_err(|why| SettingsError::BadValue {
            file: file.into(),
            line: at,
            key: name.into(),
            value: written,
            why,
        })?;
        values.push((i, value));
    }
    Ok(())
}

/// The value as the option takes it; what the option would say against it.
fn check(setting: &Setting, value: &DeValue<'_>) -> Result<String, String> {
    let option = option_of(setting);
    let value = match value {
        DeValue::Boolean(on) if is_switch(&option) => return Ok((*on != setting.inverted).to_string()),
        _ if is_switch(&option) => return Err("write true or false".into()),
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        _ => return Err("write a text in quotes, or a whole number".into()),
    };
    let long = option.get_long().unwrap_or(setting.option);
    match lab_command().try_get_matches_from(["lab", &format!("--{long}={value}")]) {
        Ok(_) => Ok(value),
        Err(e) => Err(match e.source() {
            Some(why) => why.to_string(),
            None => e.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
        }),
    }
}

fn option_of(setting: &Setting) -> Arg {
    let lab = lab_command();
    let option = lab.get_arguments().find(|a| a.get_id() == setting.option);
    option.cloned().unwrap_or_else(|| Arg::new(setting.option).long(setting.option))
}

fn is_switch(option: &Arg) -> bool {
    matches!(option.get_action(), ArgAction::SetTrue)
}

/// A file with every key, its default and what it is for; reading it changes nothing.
pub(super) fn template() -> String {
    let mut out = String::from(
        "# Settings of blackout. The command line wins over this file, and this file over what is built in.\n\
         # The names of the options of 'blackout lab --help', with _ for -.\n",
    );
    let mut table = "";
    for setting in SETTINGS {
        let option = option_of(setting);
        if setting.table != table {
            table = setting.table;
            out.push_str(&format!("\n# Only for 'blackout {table}'.\n[{table}]\n"));
        }
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        let help = if setting.inverted { "Listen to the mouse".into() } else { help };
        let default = option.get_default_values().first().map(|v| v.to_string_lossy().into_owned());
        let value = match default {
            _ if is_switch(&option) => setting.inverted.to_string(),
            Some(number) if number.parse::<u64>().is_ok() => number,
            Some(text) => toml::Value::from(text).to_string(),
            None => {
                out.push_str(&format!("\n# {help}\n# {} = \"\"\n", setting.key));
                continue;
            }
        };
        out.push_str(&format!("\n# {help}\n{} = {value}\n", setting.key));
    }
    out
}

/// Reads what somebody might have written into a file of settings.
#[cfg(test)]
pub(crate) fn fuzz(text: &str) {
    if let Ok(values) = parse("fuzz", text) {
        let _ = Settings { path: None, values }.as_defaults_of(lab_command());
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, FromArgMatches};

    use super::super::Cli;
    use super::*;

    fn fault(text: &str) -> String {
        parse("c.toml", text).unwrap_err().to_string()
    }

    fn lab_matches(text: &str, arguments: &[&str]) -> clap::ArgMatches {
        let settings = Settings { path: None, values: parse("c.toml", text).unwrap() };
        let command = settings.as_defaults(Cli::command());
        let matches = command.try_get_matches_from(["blackout", "lab"].iter().chain(arguments)).unwrap();
        matches.subcommand_matches("lab").unwrap().clone()
    }

    #[test]
    fn the_command_line_wins_over_the_file_and_the_file_over_the_default() {
        let text = "fps = 12\nping_interval = \"20ms\"\n[lab]\ncpus = 3\n";
        assert_eq!(lab_matches("", &[]).get_one::<u32>("fps"), Some(&30));
        assert_eq!(lab_matches(text, &[]).get_one::<u32>("fps"), Some(&12));
        assert_eq!(lab_matches(text, &["--fps", "5"]).get_one::<u32>("fps"), Some(&5));
        assert_eq!(lab_matches(text, &[]).get_one::<String>("cpus").unwrap(), "3");
        let interval = std::time::Duration::from_millis(20);
        assert_eq!(lab_matches(text, &[]).get_one("ping_interval"), Some(&interval));
    }

    #[test]
    fn a_switch_of_the_file_can_be_switched_back() {
        let mouse = |text: &str, arguments: &[&str]| {
            let screen = super::super::args::ScreenArgs::from_arg_matches(&lab_matches(text, arguments)).unwrap();
            screen.mouse || !screen.no_mouse
        };
        assert!(mouse("", &[]) && !mouse("", &["--no-mouse"]));
        assert!(!mouse("mouse = false", &[]) && mouse("mouse = false", &["--mouse"]));
        assert!(mouse("mouse = true", &[]) && !mouse("mouse = true", &["--no-mouse"]));
    }

    #[test]
    fn faults_are_told_with_line_and_remedy() {
        assert_eq!(fault("\ntheem = \"dark\""), "settings c.toml, line 2: unknown key 'theem'; did you mean 'theme'?");
        assert_eq!(
            fault("[lab]\nmemry = 3"),
            "settings c.toml, line 2: unknown key 'lab.memry'; did you mean 'lab.memory'?"
        );
        assert_eq!(
            fault("memory = \"1G\""),
            "settings c.toml, line 1: unknown key 'memory'; did you mean 'lab.memory'?"
        );
        assert!(fault("mouse = \"yes\"").ends_with("line 1: mouse = \"yes\": write true or false"));
        assert!(fault("fps = 300").contains("line 1: fps = 300: 300 is not in 1..=60"), "{}", fault("fps = 300"));
        let text = fault("ping_interval = \"50\"");
        assert!(
            text.contains("line 1: ping_interval = \"50\": invalid duration '50'") && text.contains("no unit"),
            "{text}"
        );
        assert!(fault("fps = [1]").contains("a text in quotes, or a whole number"));
        assert!(fault("fps = ").contains("line 1: not TOML"));
    }

    #[test]
    fn the_template_changes_nothing_and_has_everything() {
        let text = template();
        let values = parse("template", &text).unwrap();
        for setting in SETTINGS {
            assert!(
                text.contains(&format!("\n{} = ", setting.key)) || text.contains(&format!("\n# {} = ", setting.key))
            );
        }
        for (i, value) in values {
            let option = option_of(&SETTINGS[i]);
            let default = option.get_default_values().first().map(|v| v.to_string_lossy().into_owned());
            assert_eq!(default.unwrap_or_else(|| "false".into()), value, "{}", SETTINGS[i].key);
        }
    }

    #[test]
    fn every_setting_is_an_option() {
        for setting in SETTINGS {
            assert!(option_of(setting).get_help().is_some(), "{}", setting.key);
        }
    }

    #[test]
    fn the_file_is_named_on_the_command_line_in_either_way() {
        let named = |args: &[&str]| named(&args.iter().map(OsString::from).collect::<Vec<_>>());
        assert_eq!(named(&["blackout", "lab", "--config", "a"]), Some("a".into()));
        assert_eq!(named(&["blackout", "lab", "--config=b"]), Some("b".into()));
        assert_eq!(named(&["blackout", "load", "--", "--config=b"]), None);
    }
}
