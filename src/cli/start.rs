//! The start screen of `blackout` without a command: what it needs to know is found out beside it, and
//! what is chosen becomes the command that does it.

use std::ffi::OsString;
use std::fs;
use std::io::IsTerminal;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender, channel};

use anyhow::{Context, Result};
use clap::{Command, FromArgMatches};

use super::args::ScreenArgs;
use super::exit::EXIT_OK;
use super::settings::Settings;
use crate::agent::Psk;
use crate::hypervisor::qmp::{Endpoint, HostSpec};
use crate::lab::doctor::{Part, Status, examine};
use crate::model::Product;
use crate::session::{Reader, list, place};
use crate::tui::start::{self, Asks, Choice, Closed, Form, Lab, Lack, News, Recent, Sessions, Told, Wrong};
use crate::units::parse_bytes;

/// So many recorded sessions are listed.
const RECENT: usize = 20;
/// No more of a capture is read for its line in the list, bytes: a few tenths of a second.
const READ: u64 = 64 << 20;

/// Whether there is a terminal that a screen can be shown on and keys come from.
pub(super) fn on_a_terminal() -> bool {
    let plain = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    std::io::stdout().is_terminal() && std::io::stdin().is_terminal() && !plain
}

/// Shows the start screen and does what is chosen there; `whole` is the command line without settings.
///
/// # Errors
/// When the settings, the keys or the theme are invalid, the terminal cannot be used, or what was
/// chosen cannot be begun.
pub(super) fn run(whole: &Command) -> Result<ExitCode> {
    let command = Settings::find(&[])?.as_defaults(whole.clone());
    // The settings of a lab: those of the screen are among them.
    let demo = command.clone().try_get_matches_from(["blackout", "demo"])?;
    let matches = command.try_get_matches_from(["blackout", "lab"])?;
    let lab = matches.subcommand_matches("lab").context("the command 'lab' is missing")?;
    let options = ScreenArgs::from_arg_matches(lab)?.options()?;
    let memory = lab.get_one::<String>("memory").and_then(|text| parse_bytes(text).ok()).unwrap_or(256 << 20);
    let folder = place::sessions_dir();
    let news = find_out(memory, folder.clone())?;
    match start::run(folder.display().to_string(), products(&demo), &news, &|choice| check(whole, choice), &options)? {
        Closed::Left(_) => Ok(ExitCode::from(EXIT_OK)),
        Closed::Chosen(choice) => become_command(&arguments(&choice)),
    }
}

/// The products that the demo knows, that of the settings first.
fn products(demo: &clap::ArgMatches) -> Vec<String> {
    let named = |demo: &clap::ArgMatches| Product::named(demo.try_get_raw("hypervisor").ok()??.next()?.to_str()?);
    let own = demo.subcommand_matches("demo").and_then(named);
    let others = Product::ALL.into_iter().filter(|p| Some(*p) != own);
    own.into_iter().chain(others).map(|p| p.name().to_owned()).collect()
}

/// The command line of a choice, without the program's name.
fn arguments(choice: &Choice) -> Vec<OsString> {
    match choice {
        Choice::Demo(None) => vec!["demo".into()],
        Choice::Demo(Some(product)) => vec!["demo".into(), "--hypervisor".into(), product.into()],
        Choice::Lab => vec!["lab".into()],
        Choice::Form(asks, values) => Form::arguments(*asks, values).into_iter().map(OsString::from).collect(),
        // Where a path is absolute it cannot be taken for an option.
        Choice::Recent(capture) => vec!["replay".into(), capture.parent().unwrap_or(capture).into()],
    }
}

/// Becomes this program with that command line: a lab has to begin in a process with one thread, and a
/// session from here is to be the same in everything as one from the shell.
fn become_command(arguments: &[OsString]) -> Result<ExitCode> {
    let shown: Vec<String> = arguments.iter().map(|a| quoted(&a.to_string_lossy())).collect();
    tell!("$ blackout {}", shown.join(" "));
    // Where the program has been replaced on disk meanwhile, the one that runs is still to be had.
    let program = std::env::current_exe().ok().filter(|p| p.exists()).unwrap_or_else(|| "/proc/self/exe".into());
    let name = std::env::args_os().next().unwrap_or_else(|| "blackout".into());
    let failed = std::process::Command::new(&program).arg0(name).args(arguments).exec();
    Err(failed).with_context(|| format!("{} cannot be started", program.display()))
}

/// A word as a shell takes it for one.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,@%+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Finds out beside the screen what it shows; nobody waits for the end of it.
fn find_out(memory: u64, folder: PathBuf) -> Result<Receiver<News>> {
    let (tx, news) = channel();
    let spawn = |name: &str, work: Box<dyn FnOnce() + Send>| {
        std::thread::Builder::new().name(name.into()).spawn(work).context("a thread cannot be started")
    };
    let lab = tx.clone();
    spawn(
        "start-lab",
        Box::new(move || {
            let _ = lab.send(News::Lab(lab_here(memory)));
        }),
    )?;
    spawn("start-sessions", Box::new(move || tell_sessions(&folder, &tx)))?;
    Ok(news)
}

fn lab_here(memory: u64) -> Lab {
    let checks = examine(memory);
    let of = |status: Status| -> Vec<Lack> {
        let lacks = checks.iter().filter(|c| c.part == Part::Lab && c.status == status);
        lacks
            .map(|c| Lack {
                name: c.name.into(),
                found: c.found.replace('\n', " "),
                mend: c.mend.clone().unwrap_or_default(),
            })
            .collect()
    };
    match of(Status::Miss) {
        missing if missing.is_empty() => Lab::Ready(of(Status::Warn)),
        missing => Lab::Missing(missing),
    }
}

/// The newest sessions at once, then what came of each, until nobody listens any more.
fn tell_sessions(folder: &Path, tx: &Sender<News>) {
    let found = match list::newest(folder, RECENT) {
        Ok(found) => found,
        Err(e) => {
            let why = format!("{} cannot be read: {e}", folder.display());
            let _ = tx.send(News::Sessions(Sessions::Unreadable(why)));
            return;
        }
    };
    let recent = found.iter().map(|r| Recent {
        capture: r.path.clone(),
        name: r.name.clone(),
        began_unix_ns: r.began_unix_ns,
        duration_ns: r.duration_ns,
        bytes: r.bytes,
        simulated: r.simulated,
        told: Told::Reading,
    });
    let mut heard = tx.send(News::Sessions(Sessions::Found(recent.collect())));
    for (i, one) in found.iter().enumerate() {
        if heard.is_err() {
            return;
        }
        let told = match list::outline(&one.path, READ) {
            Ok(outline) => Told::Known {
                duration_ns: outline.duration_ns,
                migrations: outline.migrations,
                worst: outline.worst.map(|(method, worst)| (method.name(), worst)),
                outages: outline.outages,
            },
            Err(e) => Told::Unread(e.to_string()),
        };
        heard = tx.send(News::Told(i, told));
    }
}

/// Says what is wrong with what a form asked for, as far as that can be seen at once.
fn check(whole: &Command, choice: &Choice) -> Result<(), Wrong> {
    let Choice::Form(asks, values) = choice else { return Ok(()) };
    let text = |field: usize| values.get(field).map_or("", String::as_str);
    let wrong = |field: usize| move |why: String| Wrong { field, why };
    match asks {
        Asks::Watch => address(text(0)).map_err(wrong(0)),
        Asks::Replay => Reader::open(text(0)).map(drop).map_err(|e| Wrong { field: 0, why: e.to_string() }),
        Asks::Attach => {
            monitors("source", text(0)).map_err(wrong(0))?;
            monitors("dest", text(1)).map_err(wrong(1))?;
            uri(text(2)).map_err(wrong(2))?;
            if !text(3).is_empty() {
                address(text(3)).map_err(wrong(3))?;
            }
            agent(text(4), text(5)).map_err(|(field, why)| Wrong { field, why })
        }
    }?;
    // Whatever the command line itself would say against it.
    let line = [OsString::from("blackout")].into_iter().chain(arguments(choice));
    let last = values.len().saturating_sub(1);
    whole.clone().try_get_matches_from(line).map(drop).map_err(|e| {
        let text = e.to_string();
        Wrong { field: last, why: text.lines().next().unwrap_or_default().trim_start_matches("error: ").into() }
    })
}

/// An address or a name; whether the name is known is asked when it is used.
fn address(text: &str) -> Result<(), String> {
    let fits = |c: char| c.is_alphanumeric() || "-._:%".contains(c);
    if text.starts_with('-') || !text.chars().all(fits) {
        return Err(format!(
            "invalid address '{text}': expected an IP address or a name, for instance 192.0.2.10 or vm.example.org"
        ));
    }
    Ok(())
}

/// The QMP sockets of one QEMU; sockets of this machine must be there.
fn monitors(name: &str, text: &str) -> Result<(), String> {
    let spec = HostSpec::parse(name, text).map_err(|e| e.to_string())?;
    for endpoint in [Some(spec.control), spec.events, spec.guardian].into_iter().flatten() {
        let Endpoint::Unix(path) = endpoint else { continue };
        let shown = path.display();
        match fs::metadata(&path) {
            Ok(found) if found.file_type().is_socket() => {}
            Ok(_) => return Err(format!("{shown} is not a socket; name the one given to QEMU with -qmp")),
            Err(e) => {
                return Err(format!("{shown}: {e}; QEMU makes it with -qmp unix:{shown},server=on,wait=off"));
            }
        }
    }
    Ok(())
}

fn uri(text: &str) -> Result<(), String> {
    const SCHEMES: [&str; 7] = ["tcp:", "unix:", "vsock:", "rdma:", "exec:", "fd:", "file:"];
    if SCHEMES.iter().any(|scheme| text.starts_with(scheme) && text.len() > scheme.len()) {
        return Ok(());
    }
    Err(format!("invalid migration URI '{text}': expected for instance tcp:127.0.0.1:4444 or unix:/run/move.sock"))
}

/// The agent and its key: the field that is wrong, and why.
fn agent(agent: &str, key: &str) -> Result<(), (usize, String)> {
    if let Some(destination) = agent.strip_prefix("ssh:") {
        let names_one = !destination.is_empty() && !destination.starts_with('-');
        return if names_one { Ok(()) } else { Err((4, "write for instance ssh:root@192.0.2.10".into())) };
    }
    if agent.is_empty() {
        return if key.is_empty() { Ok(()) } else { Err((4, "a key is named, but no agent that has it".into())) };
    }
    let port = agent.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    if port.is_none() {
        return Err((4, format!("'{agent}' has no port: write for instance 192.0.2.10:7070 or ssh:root@192.0.2.10")));
    }
    if key.is_empty() {
        return Err((5, "an agent at HOST:PORT listens authenticated only: name the file with its key".into()));
    }
    Psk::load(Path::new(key)).map(drop).map_err(|e| (5, e.to_string()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::super::Cli;
    use super::*;

    fn check(choice: &Choice) -> Result<(), Wrong> {
        super::check(&Cli::command(), choice)
    }

    fn form(asks: Asks, values: &[&str]) -> Choice {
        Choice::Form(asks, values.iter().map(ToString::to_string).collect())
    }

    fn line(choice: &Choice) -> String {
        arguments(choice).iter().map(|a| quoted(&a.to_string_lossy())).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn a_choice_is_a_command_line() {
        assert_eq!(line(&Choice::Lab), "lab");
        assert_eq!(line(&Choice::Recent("/s/one/capture.jsonl".into())), "replay /s/one");
        assert_eq!(line(&form(Asks::Watch, &["192.0.2.1"])), "watch 192.0.2.1");
        assert_eq!(line(&form(Asks::Replay, &["-x y"])), "replay -- '-x y'");
        let attach = form(Asks::Attach, &["/run/a", "/run/b", "tcp:h:1", "", "ssh:root@g", ""]);
        assert_eq!(line(&attach), "migrate --source=/run/a --dest=/run/b --uri=tcp:h:1 --agent=ssh:root@g");
        assert_eq!(quoted("it's"), "'it'\\''s'");
    }

    #[test]
    fn every_choice_is_a_command_that_is_understood() {
        let attach = form(Asks::Attach, &["tcp:h:1", "tcp:h:2", "tcp:h:3", "g", "g:1", "/k"]);
        let recent = Choice::Recent("/s/one/capture.jsonl".into());
        for choice in [
            Choice::Demo(None),
            Choice::Demo(Some("xen-3.4".into())),
            Choice::Lab,
            recent,
            form(Asks::Watch, &["x"]),
            form(Asks::Replay, &["x"]),
            attach,
        ] {
            let line = [OsString::from("blackout")].into_iter().chain(arguments(&choice));
            Cli::command().try_get_matches_from(line).unwrap_or_else(|e| panic!("{choice:?}: {e}"));
        }
    }

    fn fault(asks: Asks, values: &[&str]) -> (usize, String) {
        let wrong = check(&form(asks, values)).unwrap_err();
        (wrong.field, wrong.why)
    }

    #[test]
    fn what_will_not_do_is_told_at_its_field() {
        assert_eq!(check(&form(Asks::Watch, &["vm.example.org"])), Ok(()));
        assert_eq!(check(&form(Asks::Watch, &["::1"])), Ok(()));
        assert!(fault(Asks::Watch, &["-f"]).1.contains("invalid address '-f'"));
        assert!(fault(Asks::Watch, &["a b"]).1.contains("for instance"));
        assert!(fault(Asks::Replay, &["/no/such"]).1.contains("/no/such: cannot be read"));

        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        let _a = std::os::unix::net::UnixListener::bind(path("a")).unwrap();
        fs::write(path("file"), "x").unwrap();
        let (a, none, file) = (path("a"), path("none"), path("file"));
        let good = [a.as_str(), "tcp:h:2", "tcp:h:3", "", "", ""];
        let with = |field: usize, text: &str| {
            let mut values = good;
            values[field] = text;
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            check(&Choice::Form(Asks::Attach, values))
        };
        assert_eq!(with(0, &a), Ok(()));
        let cases = [
            (0, "nonsense", "neither a path"),
            (0, &none, "QEMU makes it with -qmp"),
            (1, &file, "is not a socket"),
            (2, "127.0.0.1:4444", "invalid migration URI"),
            (3, "a;b", "invalid address"),
            (4, "192.0.2.10", "has no port"),
            (4, "ssh:-oProxyCommand=x", "ssh:root@"),
            (5, "/some/key", "no agent that has it"),
        ];
        for (field, text, why) in cases {
            let wrong = with(field, text).unwrap_err();
            assert!(wrong.why.contains(why), "{text}: {wrong:?}");
            assert_eq!(wrong.field, if field == 5 { 4 } else { field }, "{text}");
        }
        let wrong = with(4, "192.0.2.10:7070").unwrap_err();
        assert!(wrong.field == 5 && wrong.why.contains("name the file"), "{wrong:?}");
        assert_eq!(with(4, "ssh:root@192.0.2.10"), Ok(()));
    }

    #[test]
    fn the_lab_is_missing_only_what_a_lab_needs() {
        match lab_here(1 << 60) {
            Lab::Missing(lacks) => {
                assert!(lacks.iter().any(|l| l.name == "memory") && lacks.iter().all(|l| !l.mend.is_empty()));
            }
            other => panic!("{other:?}"),
        }
    }
}
