//! A network of the lab's own: namespace, bridge, addresses. It vanishes with its last process.

use std::fs;
use std::net::Ipv6Addr;
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

use super::error::LabError;
use super::guest_config::Addresses;
use super::links::Links;

/// Name of the lab's bridge, inside its own network namespace.
pub const BRIDGE: &str = "bo0";

/// The bridge's addresses.
const HOST: Addresses =
    Addresses { v4: std::net::Ipv4Addr::new(10, 99, 0, 1), v6: Some(address6(1)), mac: [0x02, 0x62, 0x6f, 0, 0, 1] };
/// The guest's addresses, on whichever host it runs.
const GUEST: Addresses =
    Addresses { v4: std::net::Ipv4Addr::new(10, 99, 0, 2), v6: Some(address6(2)), mac: [0x52, 0x54, 0, 0x62, 0x6f, 1] };

const fn address6(n: u16) -> Ipv6Addr {
    // A unique local prefix: fd62:6c61:636b is "blac k" after the fd.
    Ipv6Addr::new(0xfd62, 0x6c61, 0x636b, 0, 0, 0, 0, n)
}

/// Proof that this process is in the lab's network namespace, and what is to be known of it.
#[derive(Debug, Clone)]
pub struct Network {
    /// The bridge's addresses: this process's own in the lab.
    pub host: Addresses,
    /// The guest's.
    pub guest: Addresses,
    /// True if user namespaces made it possible without root.
    pub unprivileged: bool,
    /// A command that runs a shell in the lab's network, from another terminal.
    pub enter: String,
}

/// Puts this process into a fresh network namespace and sets its network up. Must be the first
/// thing a process does: the kernel allows it only as long as there is a single thread, and only
/// threads made later are in the namespace too.
///
/// # Errors
/// [`LabError::Namespace`] with the exact remedy when the kernel refuses, [`LabError::Network`]
/// when the network cannot be set up inside.
pub fn enter() -> Result<Network, LabError> {
    let unprivileged = separate()?;
    // Wide where the kernel can express it, else the one group this user namespace knows.
    let range = "/proc/sys/net/ipv4/ping_group_range";
    let _ = fs::write(range, "0 2147483647").or_else(|_| fs::write(range, "0 0"));
    let has_v6 = Path::new("/proc/sys/net/ipv6/conf").exists();
    let trim = |a: Addresses| Addresses { v6: a.v6.filter(|_| has_v6), ..a };
    let network = Network { host: trim(HOST), guest: trim(GUEST), unprivileged, enter: enter_command(unprivileged) };
    let failed = |step: &str| {
        let step = step.to_owned();
        move |why: String| {
            let why = match why.contains("not permitted") {
                true => format!("{why}; {}", remedy(Errno::EPERM)),
                false if why.contains("not supported") => format!("{why}; load the module with `sudo modprobe bridge`"),
                false => why,
            };
            LabError::Network { step, why }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| failed("routing socket")(e.to_string()))?;
    runtime.block_on(async {
        let links = Links::open().map_err(|e| failed("routing socket")(e.to_string()))?;
        links.up("lo").await.map_err(failed("loopback"))?;
        links.bridge(BRIDGE, network.host.mac).await.map_err(failed("bridge"))?;
        // Addresses count at once: nobody else can claim them here.
        let _ = fs::write(format!("/proc/sys/net/ipv6/conf/{BRIDGE}/accept_dad"), "0");
        links.address(BRIDGE, &network.host).await.map_err(failed("addresses"))?;
        links.neighbour(BRIDGE, &network.guest).await.map_err(failed("neighbours"))
    })?;
    Ok(network)
}

/// The namespaces themselves; true if a user namespace was needed.
fn separate() -> Result<bool, LabError> {
    let (uid, gid) = (geteuid(), getegid());
    let refused = |step: &'static str, e: Errno| LabError::Namespace { step, source: e.into(), remedy: remedy(e) };
    if uid.is_root() {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => return Ok(false),
            // Root in a container without CAP_SYS_ADMIN is as good as anybody else.
            Err(Errno::EPERM) => {}
            Err(e) => return Err(refused("unshare(CLONE_NEWNET)", e)),
        }
    }
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .map_err(|e| refused("unshare(CLONE_NEWUSER | CLONE_NEWNET)", e))?;
    let write = |step: &'static str, path: &str, text: String| {
        fs::write(path, text).map_err(|e| refused(step, Errno::from_raw(e.raw_os_error().unwrap_or(0))))
    };
    // Without this the kernel takes no gid_map from an unprivileged writer.
    write("writing /proc/self/setgroups", "/proc/self/setgroups", "deny".into())?;
    write("writing /proc/self/uid_map", "/proc/self/uid_map", format!("0 {uid} 1"))?;
    write("writing /proc/self/gid_map", "/proc/self/gid_map", format!("0 {gid} 1"))?;
    Ok(true)
}

fn enter_command(unprivileged: bool) -> String {
    let pid = std::process::id();
    if unprivileged {
        format!("nsenter --target {pid} --user --net --preserve-credentials")
    } else {
        format!("sudo nsenter --target {pid} --net")
    }
}

/// What would make the kernel allow the namespaces, by what its own switches say.
fn remedy(e: Errno) -> String {
    let sysctl = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        text.trim().parse::<i64>().ok()
    };
    remedy_for(
        e,
        sysctl("kernel/unprivileged_userns_clone"),
        sysctl("kernel/apparmor_restrict_unprivileged_userns"),
        sysctl("user/max_user_namespaces"),
        threads(),
    )
}

fn threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(1, Iterator::count)
}

fn remedy_for(e: Errno, clone: Option<i64>, apparmor: Option<i64>, max: Option<i64>, threads: usize) -> String {
    let root = "or run it as root";
    if clone == Some(0) {
        return format!("allow user namespaces with `sudo sysctl -w kernel.unprivileged_userns_clone=1`, {root}");
    }
    if max == Some(0) {
        return format!("allow user namespaces with `sudo sysctl -w user.max_user_namespaces=10000`, {root}");
    }
    if apparmor == Some(1) {
        return format!(
            "AppArmor restricts user namespaces: allow them with `sudo sysctl -w \
             kernel.apparmor_restrict_unprivileged_userns=0`, {root}"
        );
    }
    match e {
        Errno::EINVAL if threads > 1 => {
            "this process has threads already, and only one without can change its namespace".into()
        }
        Errno::EINVAL | Errno::ENOSYS => {
            format!("this kernel has no user or network namespaces (CONFIG_USER_NS, CONFIG_NET_NS); {root}")
        }
        Errno::ENOSPC => {
            format!("the limit is reached: raise it with `sudo sysctl -w user.max_net_namespaces=10000`, {root}")
        }
        _ => "a container or security policy forbids it: outside a container run it as root; in one, start it with \
              --privileged (or --cap-add SYS_ADMIN --cap-add NET_ADMIN --security-opt seccomp=unconfined)"
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_of_our_own_or_a_reason_why_not() {
        // In a child: what is entered cannot be left.
        let (before, inside) = crate::lab::trial::in_child(|| {
            let devices = || fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
            let before = devices();
            let inside = enter().map_err(|e| e.to_string()).map(|network| {
                let sender = std::net::UdpSocket::bind((network.host.v4, 0));
                (devices(), sender.is_ok())
            });
            (before, inside)
        })
        .unwrap();
        match inside {
            Ok((devices, bound)) => {
                assert!(devices.contains("bo0:") && !before.contains("bo0:"), "{before}\n{devices}");
                assert!(bound, "the bridge's address must be ours");
            }
            Err(why) => assert!(why.contains("sudo") || why.contains("root"), "no remedy: {why}"),
        }
    }

    #[test]
    fn the_remedy_names_the_switch_that_is_off() {
        let of = |c, a, m| remedy_for(Errno::EPERM, c, a, m, 1);
        assert!(of(Some(0), None, Some(100)).contains("kernel.unprivileged_userns_clone=1"));
        assert!(of(Some(1), Some(1), Some(100)).contains("kernel.apparmor_restrict_unprivileged_userns=0"));
        assert!(of(None, None, Some(0)).contains("user.max_user_namespaces"));
        assert!(of(None, None, Some(9)).contains("container"));
        assert!(remedy_for(Errno::EINVAL, None, None, Some(9), 3).contains("threads"));
        assert!(remedy_for(Errno::EINVAL, None, None, Some(9), 1).contains("CONFIG_USER_NS"));
    }
}
