//! KVM or emulation: what was asked, what this machine can do, and what was learned of it before.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccelChoice {
    /// KVM if it works here, else TCG.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Emulation.
    Tcg,
}

impl FromStr for AccelChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "kvm" => Ok(Self::Kvm),
            "tcg" => Ok(Self::Tcg),
            other => Err(format!("'{other}' is not an accelerator: auto, kvm or tcg")),
        }
    }
}

/// What runs a guest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accel {
    /// The processor itself.
    Kvm,
    /// QEMU's translator.
    Tcg,
}

impl Accel {
    /// Its name in QEMU.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What to do about the accelerator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Use this one and no other.
    Only(Accel, String),
    /// Try KVM, and fall back to TCG if the guest does not come up.
    TryKvm,
}

/// Plans from what was asked, whether `/dev/kvm` opens (or why not), and what is remembered.
#[must_use]
pub fn plan(asked: AccelChoice, kvm: Result<(), String>, remembered: Option<&Remembered>) -> Plan {
    match (asked, kvm, remembered) {
        (AccelChoice::Tcg, ..) => Plan::Only(Accel::Tcg, "asked for".into()),
        (AccelChoice::Kvm, ..) => Plan::Only(Accel::Kvm, "asked for".into()),
        (AccelChoice::Auto, Err(why), _) => Plan::Only(Accel::Tcg, why),
        (AccelChoice::Auto, Ok(()), Some(r)) if r.chosen == Accel::Tcg => {
            Plan::Only(Accel::Tcg, format!("remembered from an earlier start: {} (--accel kvm tries again)", r.why))
        }
        (AccelChoice::Auto, Ok(()), _) => Plan::TryKvm,
    }
}

/// Whether `/dev/kvm` can be opened.
///
/// # Errors
/// For people: why not.
pub fn kvm_opens() -> Result<(), String> {
    fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").map(drop).map_err(|e| format!("/dev/kvm: {e}"))
}

/// An answer found by trying.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// What worked.
    pub chosen: Accel,
    /// Why, e.g. what the other did not do.
    pub why: String,
}

/// Answers by host kernel and QEMU version, in `$XDG_CACHE_HOME/blackout/accel.json`.
#[derive(Debug, Clone)]
pub struct Memory {
    path: Option<PathBuf>,
    key: String,
}

impl Memory {
    /// For this machine and this QEMU.
    #[must_use]
    pub fn new(qemu_version: &str) -> Self {
        let home = || std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
        let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|p| p.is_absolute()).or_else(home);
        Self::at(cache.map(|c| c.join("blackout/accel.json")), qemu_version)
    }

    /// In another file; None remembers nothing.
    #[must_use]
    pub fn at(path: Option<PathBuf>, qemu_version: &str) -> Self {
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self { path, key: format!("Linux {}, {qemu_version}", release.trim()) }
    }

    /// What was learned before. A missing or damaged file is no answer.
    #[must_use]
    pub fn recall(&self) -> Option<Remembered> {
        read(self.path.as_deref()?).remove(&self.key)
    }

    /// Keeps an answer. Failing is no harm: the next start tries again.
    pub fn keep(&self, answer: Remembered) {
        let Some(path) = &self.path else { return };
        let mut all = read(path);
        all.insert(self.key.clone(), answer);
        let Ok(json) = serde_json::to_vec_pretty(&all) else { return };
        let part = path.with_extension(format!("part-{}", std::process::id()));
        let _ = path.parent().map(fs::create_dir_all);
        if fs::write(&part, json).and_then(|()| fs::rename(&part, path)).is_err() {
            let _ = fs::remove_file(&part);
        }
    }
}

fn read(path: &Path) -> BTreeMap<String, Remembered> {
    fs::read(path).ok().and_then(|b| serde_json::from_slice(&b).ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_follow_the_request_then_the_machine_then_memory() {
        let slow = Remembered { chosen: Accel::Tcg, why: "the guest hung".into() };
        let good = Remembered { chosen: Accel::Kvm, why: "it came up".into() };
        assert_eq!(plan(AccelChoice::Auto, Ok(()), None), Plan::TryKvm);
        assert_eq!(plan(AccelChoice::Auto, Ok(()), Some(&good)), Plan::TryKvm);
        let Plan::Only(Accel::Tcg, why) = plan(AccelChoice::Auto, Ok(()), Some(&slow)) else { panic!("tries again") };
        assert!(why.contains("the guest hung") && why.contains("--accel kvm"), "{why}");
        let denied = Err("/dev/kvm: Permission denied".to_owned());
        assert_eq!(
            plan(AccelChoice::Auto, denied.clone(), Some(&good)),
            Plan::Only(Accel::Tcg, "/dev/kvm: Permission denied".into())
        );
        assert_eq!(plan(AccelChoice::Kvm, denied, Some(&slow)), Plan::Only(Accel::Kvm, "asked for".into()));
        assert!("xen".parse::<AccelChoice>().unwrap_err().contains("'xen'"));
    }

    #[test]
    fn answers_are_kept_by_qemu_version() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/accel.json");
        let memory = Memory::at(Some(file.clone()), "QEMU 10.0.2");
        assert_eq!(memory.recall(), None);
        let answer = Remembered { chosen: Accel::Tcg, why: "the guest hung".into() };
        memory.keep(answer.clone());
        assert_eq!(memory.recall(), Some(answer));
        assert_eq!(Memory::at(Some(file.clone()), "QEMU 10.1.0").recall(), None);
        fs::write(&file, "{ torn").unwrap();
        assert_eq!(memory.recall(), None);
        Memory::at(None, "x").keep(Remembered { chosen: Accel::Kvm, why: String::new() });
    }
}
