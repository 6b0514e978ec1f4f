//! The commands that mend a missing piece, in the words of this machine's distribution.

use std::fs;

/// Families of distributions we know the packages of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distro {
    /// Debian and its children other than Ubuntu.
    Debian,
    /// Ubuntu and its children.
    Ubuntu,
    /// Fedora, RHEL and their like.
    Fedora,
    /// Arch and its children.
    Arch,
}

impl Distro {
    /// This machine's, by `/etc/os-release`; None when it is none of those.
    #[must_use]
    pub fn here() -> Option<Self> {
        let text = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release")).ok()?;
        Self::from_os_release(&text)
    }

    fn from_os_release(text: &str) -> Option<Self> {
        let field = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches('"').to_lowercase()
        };
        let words = format!("{} {}", field("ID"), field("ID_LIKE"));
        // In order: Ubuntu's ID_LIKE says debian too.
        words.split_whitespace().find_map(|w| match w {
            "ubuntu" => Some(Self::Ubuntu),
            "debian" => Some(Self::Debian),
            "fedora" | "rhel" | "centos" => Some(Self::Fedora),
            "arch" => Some(Self::Arch),
            _ => None,
        })
    }
}

/// A piece, by the packages that bring it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Package {
    debian: &'static str,
    ubuntu: &'static str,
    fedora: &'static str,
    arch: &'static str,
}

/// `qemu-system-x86_64`.
pub const QEMU: Package = Package {
    debian: "qemu-system-x86",
    ubuntu: "qemu-system-x86",
    fedora: "qemu-system-x86-core",
    arch: "qemu-system-x86",
};

/// A kernel and its modules. Debian's is the small one made for virtual machines.
pub const KERNEL: Package = Package {
    debian: "linux-image-cloud-amd64",
    ubuntu: "linux-image-virtual",
    fedora: "kernel-core kernel-modules-core",
    arch: "linux",
};

impl Package {
    /// The command that installs it on `distro`, or on each where that is not known.
    #[must_use]
    pub fn install(&self, distro: Option<Distro>) -> String {
        let apt = |p: &str| format!("sudo apt-get install --no-install-recommends {p}");
        let dnf = format!("sudo dnf install {}", self.fedora);
        let pacman = format!("sudo pacman -S {}", self.arch);
        match distro {
            Some(Distro::Debian) => apt(self.debian),
            Some(Distro::Ubuntu) => apt(self.ubuntu),
            Some(Distro::Fedora) => dnf,
            Some(Distro::Arch) => pacman,
            None => {
                format!("Debian: {}; Ubuntu: {}; Fedora: {dnf}; Arch: {pacman}", apt(self.debian), apt(self.ubuntu))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distributions_and_their_children() {
        let of = Distro::from_os_release;
        assert_eq!(of("ID=debian\n"), Some(Distro::Debian));
        assert_eq!(of("NAME=\"Linux Mint\"\nID=linuxmint\nID_LIKE=\"ubuntu debian\"\n"), Some(Distro::Ubuntu));
        assert_eq!(of("ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"), Some(Distro::Fedora));
        assert_eq!(of("ID=endeavouros\nID_LIKE=arch\n"), Some(Distro::Arch));
        assert_eq!(of("ID=plan9\nVERSION_ID=debian\n"), None);
    }

    #[test]
    fn an_unknown_machine_gets_all_commands() {
        let all = QEMU.install(None);
        for part in ["apt-get", "dnf", "pacman"] {
            assert!(all.contains(part), "{all}");
        }
        assert!(KERNEL.install(Some(Distro::Debian)).ends_with("linux-image-cloud-amd64"));
    }
}
