//! The agent goes into a guest over ssh, and out of it again.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::agent::Psk;
use crate::lab::elf;
use crate::text::{TEXT_LIMIT, capped, visible, visible_lines};

/// How long a command in the guest may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long the program may take on its way there.
const COPY_WITHIN: Duration = Duration::from_secs(600);
/// A program that is larger is none of ours, bytes.
const PROGRAM_LIMIT: u64 = 256 << 20;

/// Takes a program from standard input. The old one may be running, so it is replaced and not written into.
const COPY: &str = r#"set -e; umask 077; d="$HOME/.blackout-agent"; mkdir -p "$d"; chmod 700 "$d"
cat > "$d/blackout.new"; chmod 700 "$d/blackout.new"; mv -f "$d/blackout.new" "$d/blackout""#;
/// Says what it needs there, and shows that it runs.
const CHECK: &str = r#"exec "$HOME/.blackout-agent/blackout" agent --check"#;
/// Ends a running one, if it is ours. One that does not end in time is killed: it holds no state.
const END: &str = r#"d="$HOME/.blackout-agent"; d=$(cd "$d" 2>/dev/null && pwd -P) || d="$HOME/.blackout-agent"
p=$(cat "$d/pid" 2>/dev/null) || p=
if [ -n "$p" ]; then case $(readlink "/proc/$p/exe" 2>/dev/null) in "$d"/*)
kill "$p"; n=0; while kill -0 "$p" 2>/dev/null && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.1 2>/dev/null || sleep 1; done
kill -9 "$p" 2>/dev/null;; esac; fi
rm -f "$d/pid""#;
/// Takes the key from standard input and starts it, to go on when ssh has gone. `$1`: where it listens.
const START: &str = r#"umask 077; cat > "$d/psk"; cd "$d" || exit 1
( trap '' HUP; exec ./blackout agent --listen "$1" --psk-file psk < /dev/null > log 2>&1 ) & echo $! > pid
sleep 1; kill -0 "$(cat pid)" 2>/dev/null || { cat log; rm -f pid; exit 1; }"#;
/// Leaves nothing.
const REMOVE: &str = r#"rm -f "$d/blackout" "$d/blackout.new" "$d/psk" "$d/log"
if [ -d "$d" ]; then rmdir "$d"; else echo "there was none"; fi"#;

/// What ssh takes for a guest, as `ssh:DESTINATION`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn destination(text: &str) -> Result<String, String> {
    match text.strip_prefix("ssh:") {
        Some(to) if !to.is_empty() && !to.starts_with('-') => Ok(to.to_owned()),
        _ => Err(format!("'{text}' names no ssh destination: expected for instance ssh:root@192.0.2.10")),
    }
}

/// What is to be installed.
pub(super) struct Install<'a> {
    /// What ssh takes.
    pub(super) to: &'a str,
    /// The program, if not this one.
    pub(super) program: Option<&'a Path>,
    /// It listens there at once, with this key; otherwise each session starts it over ssh.
    pub(super) listen: Option<(SocketAddr, &'a Psk)>,
}

/// Copies a program into the guest, shows that it runs, and starts it where it is to listen. Comes to what it says
/// there of its needs.
///
/// # Errors
/// If the program does not run in every guest, the guest is of another kind or cannot be reached, or it does not
/// start there.
pub(super) fn install(of: &Install<'_>) -> Result<String> {
    let program = program(of.program)?;
    let machine = run(of.to, "uname -sm", &[], b"", ANSWER_WITHIN)?;
    if machine.trim() != "Linux x86_64" {
        bail!("{} is '{}': the agent runs on Linux x86_64", visible(of.to), visible(machine.trim()));
    }
    run(of.to, COPY, &[], &program, COPY_WITHIN).context("the agent cannot be copied")?;
    let needs = run(of.to, CHECK, &[], b"", ANSWER_WITHIN).context("the agent does not run there")?;
    run(of.to, END, &[], b"", ANSWER_WITHIN)?;
    if let Some((addr, psk)) = of.listen {
        let start = format!("{END}\n{START}");
        run(of.to, &start, &[&addr.to_string()], psk.to_hex().as_bytes(), ANSWER_WITHIN)
            .context("the agent does not start there")?;
    }
    Ok(needs)
}

/// Ends it and leaves nothing of it in the guest. Comes to what the guest says.
///
/// # Errors
/// If the guest cannot be reached, or something is left.
pub(super) fn remove(to: &str) -> Result<String> {
    run(to, &format!("{END}\n{REMOVE}"), &[], b"", ANSWER_WITHIN).context("it cannot be removed")
}

/// A program that runs in a guest of any userland.
fn program(named: Option<&Path>) -> Result<Vec<u8>> {
    let own = PathBuf::from("/proc/self/exe");
    let path = named.unwrap_or(&own);
    let shown = path.display();
    let bytes = crate::files::read(path, PROGRAM_LIMIT).with_context(|| format!("{shown} cannot be read"))?;
    match elf::interpreter(&bytes).with_context(|| format!("{shown} is no program for a guest"))? {
        None => Ok(bytes),
        Some(loader) => bail!(
            "{} is linked with this machine's libraries (by {}) and may not run in the guest: give a static build with \
             --program, for instance target/x86_64-unknown-linux-musl/release/blackout after 'just agent'",
            if named.is_some() { shown.to_string() } else { "this program".to_owned() },
            loader.display()
        ),
    }
}

/// Runs a script in the guest, by its `sh`, whatever shell the user has. Comes to what it printed.
fn run(to: &str, script: &str, arguments: &[&str], input: &[u8], within: Duration) -> Result<String> {
    let words = [script, "sh"].iter().chain(arguments).map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    let mut ssh = Command::new("ssh");
    ssh.args(["-oBatchMode=yes", "-oConnectTimeout=15", to, &format!("sh -c {words}")]);
    ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().context("ssh cannot be started")?;
    let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(mut stdin), Some(stdout), Some(stderr)) = pipes else { bail!("ssh has no pipes") };
    let (status, out, err) = std::thread::scope(|scope| {
        // A guest that refuses closes its end; what it says of it is read.
        scope.spawn(move || drop(stdin.write_all(input)));
        let (out, err) = (scope.spawn(|| heard(stdout)), scope.spawn(|| heard(stderr)));
        let status = wait(&mut child, within);
        (status, out.join().unwrap_or_default(), err.join().unwrap_or_default())
    });
    let status: ExitStatus = status.with_context(|| format!("'{}'", visible(to)))?;
    if status.success() {
        return Ok(out);
    }
    let said = format!("{}{}", err, out);
    let said = visible_lines(&capped(said.trim(), TEXT_LIMIT)).into_owned();
    bail!("{}: {} ({status})", visible(to), if said.is_empty() { "said nothing".to_owned() } else { said })
}

/// Waits for it; past its time it is killed, and its pipes end.
fn wait(child: &mut std::process::Child, within: Duration) -> Result<ExitStatus> {
    let until = Instant::now() + within;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            bail!("no answer within {} s", within.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The beginning of what is said; the rest is read and let go, so that the other end is not held up.
fn heard(mut from: impl Read) -> String {
    let mut bytes = Vec::new();
    let _ = (&mut from).take(4 * TEXT_LIMIT as u64).read_to_end(&mut bytes);
    let _ = std::io::copy(&mut from, &mut std::io::sink());
    String::from_utf8_lossy(&bytes).into_owned()
}

/// A word for `sh`, whatever is in it.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_reach_the_shell_as_they_are() {
        for word in ["plain", "it's", "a b; $(reboot) `x`", "", "\"$HOME\""] {
            let out = Command::new("sh").args(["-c", &format!("printf %s {}", quoted(word))]).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&out.stdout), word);
        }
    }

    #[test]
    fn a_destination_is_ssh_and_no_option() {
        assert_eq!(destination("ssh:root@a").as_deref(), Ok("root@a"));
        for text in ["root@a", "ssh:", "ssh:-oProxyCommand=x"] {
            assert!(destination(text).unwrap_err().contains("ssh:root@192.0.2.10"), "{text}");
        }
    }

    #[test]
    fn a_program_that_needs_libraries_is_refused_with_what_would_do() {
        let shell = Path::new("/bin/sh");
        let e = program(Some(shell)).unwrap_err().to_string();
        assert!(e.contains("--program") && e.contains("just agent"), "{e}");
        let e = format!("{:#}", program(Some(Path::new("/etc/hostname"))).unwrap_err());
        assert!(e.contains("no program for a guest"), "{e}");
    }
}
