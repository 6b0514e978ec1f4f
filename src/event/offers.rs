//! What a hypervisor offers, and what can be seen of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{StopPolicy, Then};

/// A parameter a migration can be tuned with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Parameter {
    /// The product's own name.
    pub name: String,
    /// Its value when it was asked for.
    pub value: Value,
    /// Its unit (`bytes/s`, `ms`, `%`, …); empty where it has none or we do not know it.
    pub unit: String,
    /// Whether it may be changed while a migration runs.
    pub live: bool,
}

/// What a hypervisor offers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Capabilities {
    /// Product and version.
    pub product: String,
    /// Parameters with their present values.
    pub parameters: Vec<Parameter>,
    /// The guest can be run at the destination before its memory is there.
    pub post_copy: bool,
    /// The guest can be throttled until pre-copy converges.
    pub auto_converge: bool,
    /// The guest can be throttled from the start of a migration, but not later. Since schema 1.4.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub throttle_from_start: bool,
    /// The source can be stopped from outside to end pre-copy.
    pub stop_and_copy: bool,
    /// A running migration can be cancelled.
    pub cancel: bool,
    /// The product's own rule that ends a pre-copy which does not converge, in words; None where it
    /// has none, or we do not know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own_rule: Option<String>,
    /// What can be seen of its migrations; None where that was not said. Since schema 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sees: Option<Sees>,
    /// How long a running migration can be cancelled; None where that was not said. Since schema 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancels: Option<Cancels>,
    /// Who runs a guest that we stopped, if we die; None where that was not said. Since schema 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumer: Option<Resumer>,
    /// Whom we speak to; None where that was not said. Since schema 1.4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ends: Option<Ends>,
}

impl Capabilities {
    /// The parameter of this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|p| p.name == name)
    }

    /// Whether a running migration can be ended so.
    #[must_use]
    pub fn takes(&self, then: Then) -> bool {
        match then {
            Then::StopAndCopy => self.stop_and_copy,
            Then::PostCopy => self.post_copy,
            Then::AutoConverge => self.auto_converge,
            Then::Cancel => self.cancel,
        }
    }

    /// Why a policy cannot be followed where this is offered, and what can be had instead; None if it can, or nobody
    /// knows. A rule that looks at what is not told would never fire.
    #[must_use]
    pub fn unfit(&self, policy: &StopPolicy) -> Option<String> {
        let (name, product) = (&policy.name, &self.product);
        if policy.has_rules() && !self.takes(policy.then) {
            let then = policy.then.word();
            return Some(format!("the stop policy '{name}' ends with {then}, but {}", self.instead()));
        }
        let sees = self.sees.as_ref()?;
        let begins = "what is left when a round begins";
        let rules = [
            ("rounds", policy.rounds.is_some(), sees.rounds, "its rounds"),
            ("ram", policy.ram_factor.is_some(), sees.sent && sees.total, "how much it has sent of how much memory"),
            ("remaining", policy.remaining_pages_below.is_some(), sees.rounds && sees.remaining, begins),
        ];
        let (rule, .., lacks) = rules.iter().find(|(_, asked, seen, _)| *asked && !seen)?;
        let can: Vec<&str> =
            rules.iter().filter(|(.., seen, _)| *seen).map(|(rule, ..)| *rule).chain(["after"]).collect();
        Some(format!(
            "the stop policy '{name}' cannot be followed: {product} does not tell {lacks}, so its rule '{rule}' would \
             never fire; rules that can: {}",
            can.join(", ")
        ))
    }

    /// That something is not offered, and what is: `virsh 11.3 does not offer it; it offers: cancel`.
    #[must_use]
    pub fn instead(&self) -> String {
        let all = [Then::StopAndCopy, Then::PostCopy, Then::AutoConverge, Then::Cancel];
        let offered: Vec<&str> = all.into_iter().filter(|then| self.takes(*then)).map(Then::word).collect();
        let offered = if offered.is_empty() { "nothing of the kind".to_owned() } else { offered.join(", ") };
        format!("{} does not offer it; it offers: {offered}", self.product)
    }
}

/// What can be seen of a product's migrations. What cannot is not waited for: whoever needs it says that this
/// product does not tell it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(default)]
pub struct Sees {
    /// A percentage of its own. It may fall.
    pub progress: bool,
    /// Pre-copy rounds.
    pub rounds: bool,
    /// How much has been sent, bytes.
    pub sent: bool,
    /// How much is left, bytes.
    pub remaining: bool,
    /// The guest's RAM, bytes.
    pub total: bool,
    /// How fast it sends, bytes/s.
    pub throughput: bool,
    /// How fast the guest dirties its memory, pages/s.
    pub dirty_rate: bool,
    /// How many pages are all zeroes.
    pub zero_pages: bool,
    /// When the guest stops and runs again, and by whose clock; None if it is not told.
    pub stop_resume: Option<Stamped>,
    /// The downtime it reports of itself; None if it reports none.
    pub downtime: Option<OwnDowntime>,
    /// Where the guest is.
    pub location: bool,
}

/// Whose clock an instant is told by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Stamped {
    /// Each host's own.
    Hosts,
    /// That of the manager of both hosts.
    Manager,
    /// The session's: the hypervisor is simulated, or the instant is when we heard of it.
    Session,
}

/// A downtime that a product reports of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OwnDowntime {
    /// What it counts.
    pub counts: Counts,
    /// The least step of the figure, ns.
    pub resolution_ns: u64,
}

/// What a product's own downtime counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// From its own decision to stop the guest until it has sent everything: not the whole of a stop from
    /// outside (QEMU).
    SwitchOver,
    /// From the guest's stop at the source to its resume at the destination.
    StopToResume,
    /// It does not say.
    Unsaid,
}

/// How long a running migration can be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Cancels {
    /// As long as the guest has not left the source, also while it stands still there.
    AnyTime,
    /// As long as the guest runs at the source.
    UntilSwitchOver,
    /// Not at all.
    Never,
}

impl Cancels {
    /// In words that follow "can be cancelled".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::AnyTime => "until the guest has left the source",
            Self::UntilSwitchOver => "while the guest runs at the source",
            Self::Never => "never",
        }
    }
}

/// Who runs a guest that we stopped, if we die.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Resumer {
    /// A process of ours that outlives us.
    Guardian,
    /// The product itself.
    Product,
    /// Nobody: it has to be done by hand.
    Nobody,
}

/// Whom we speak to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Ends {
    /// To each of the two hosts.
    TwoHosts,
    /// To one that manages both, or to the source alone.
    OneManager,
}
