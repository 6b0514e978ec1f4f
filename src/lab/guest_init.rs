//! What this program does as process 1 of the lab's guest: mounts, modules, addresses, the agent.
//!
//! Each step is told on the serial line, and so is every reason to give up; then the guest powers
//! off, which ends its QEMU and brings the tale to the host.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MsFlags, mount};
use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use super::guest_agent::start_agent;
use super::guest_config::{GuestConfig, MARK, MODULES, PATH};
use super::links;

const AGENT: &str = "blackout-guest-agent";

/// Whether this process is the init of a lab's guest, or the agent that init has started. To be
/// asked before anything else in `main`.
#[must_use]
pub fn is_guest_init() -> bool {
    // Not as text: whoever starts a program may call it what he likes.
    let name = std::env::args_os().next().unwrap_or_default();
    (std::process::id() == 1 && name == "/init") || name == AGENT
}

/// Does the work of the guest's init (or of its agent). To be called when [`is_guest_init`].
pub fn run() -> ! {
    if std::process::id() == 1 { init() } else { agent() }
}

fn say(what: impl AsRef<str>) {
    // One write, so that the kernel's own lines do not fall into it; and a dead console is no
    // reason to stop.
    let _ = std::io::stdout().write_all(format!("{MARK} {}\n", what.as_ref()).as_bytes());
    let _ = std::io::stdout().flush();
}

fn power_off() -> ! {
    // The serial line empties at its own pace.
    std::thread::sleep(Duration::from_millis(50));
    let _ = reboot(RebootMode::RB_POWER_OFF);
    // A kernel that cannot power off can at least reset, which ends QEMU too (-no-reboot).
    let _ = reboot(RebootMode::RB_AUTOBOOT);
    loop {
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn init() -> ! {
    std::panic::set_hook(Box::new(|info| {
        say(format!("init panicked: {info}"));
        power_off();
    }));
    say("init started");
    let Err(why) = bring_up();
    say(format!("gives up: {why}"));
    power_off()
}

/// Comes back only to say why the guest cannot go on.
fn bring_up() -> Result<Infallible, String> {
    for (kind, at) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/tmp")] {
        match mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(e) => return Err(format!("cannot mount {kind} on {at}: {e}")),
        }
    }
    let json = fs::read(PATH).map_err(|e| format!("cannot read {PATH}: {e}"))?;
    let config: GuestConfig = serde_json::from_slice(&json).map_err(|e| format!("{PATH} is damaged: {e}"))?;
    load_modules(&config.modules)?;
    let _ = fs::write("/proc/sys/kernel/hostname", &config.name);
    network(&config)?;
    say(format!("network up at {}", config.own.v4));
    // The agent is a child, so that the kernel may kill it for memory without the guest dying of
    // it unheard, and so that this process can say how it ended.
    let child =
        Command::new("/proc/self/exe").arg0(AGENT).spawn().map_err(|e| format!("cannot start the agent: {e}"))?;
    say(format!("agent started on port {}", config.agent.port));
    let status = reap_until(Pid::from_raw(child.id() as i32))?;
    Err(format!("the agent ended: {status}"))
}

fn load_modules(files: &[String]) -> Result<(), String> {
    for name in files {
        let path = format!("{MODULES}/{name}");
        let file = File::open(&path).map_err(|e| format!("cannot open {path}: {e}"))?;
        match finit_module(&file, &CString::default(), ModuleInitFlags::empty()) {
            // EEXIST: built in or loaded already.
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(e) => return Err(format!("cannot load the module {name}: {e}")),
        }
        // It is in the kernel now, and a file here is guest memory.
        let _ = fs::remove_file(&path);
    }
    say(format!("{} modules loaded", files.len()));
    Ok(())
}

fn network(config: &GuestConfig) -> Result<(), String> {
    let card = network_card()?;
    // Addresses count at once, without waiting for someone to claim them too.
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{card}/accept_dad"), "0");
    let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{card}/accept_ra"), "0");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
    runtime.block_on(async {
        let links = links::Links::open().map_err(|e| e.to_string())?;
        links.up("lo").await?;
        links.up(&card).await?;
        links.address(&card, &config.own).await?;
        links.neighbour(&card, &config.bridge).await
    })
}

/// The one card there is, whatever the kernel calls it; it takes a moment to appear.
fn network_card() -> Result<String, String> {
    let until = Instant::now() + Duration::from_secs(5);
    loop {
        let cards = fs::read_dir("/sys/class/net").map_err(|e| format!("cannot read /sys/class/net: {e}"))?;
        let card = cards.flatten().map(|c| c.file_name().to_string_lossy().into_owned()).find(|name| {
            // Tunnels that the kernel makes by itself (sit0 and its like) have no device behind them.
            fs::exists(format!("/sys/class/net/{name}/device")).unwrap_or(false)
        });
        if let Some(card) = card {
            return Ok(card);
        }
        if Instant::now() > until {
            return Err("no network card appeared; is virtio_net built into this kernel or among its modules?".into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for all children as an init must, and returns when `agent` has ended.
fn reap_until(agent: Pid) -> Result<String, String> {
    loop {
        match waitpid(None::<Pid>, None) {
            Ok(WaitStatus::Exited(pid, code)) if pid == agent => {
                return Ok(ExitStatus::from_raw(code << 8).to_string());
            }
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == agent => {
                return Ok(format!("killed by {signal} (out of memory, if that is SIGKILL)"));
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(format!("cannot wait for the agent: {e}")),
        }
    }
}

fn agent() -> ! {
    let config = fs::read(PATH)
        .map_err(|e| e.to_string())
        .and_then(|json| serde_json::from_slice::<GuestConfig>(&json).map_err(|e| e.to_string()));
    let result = config.map_err(|e| format!("{PATH}: {e}")).and_then(|c| start_agent(&c.agent));
    match result {
        Ok(()) => std::process::exit(0),
        Err(why) => {
            say(format!("agent: {why}"));
            std::process::exit(1)
        }
    }
}
