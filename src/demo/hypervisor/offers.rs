//! What a simulated product offers, by its own names, and what becomes of settings by these names.
//!
//! Offered is what the product has and the model heeds. A bandwidth without a product's name is something
//! else: it is how the simulated link is shaped, so it counts with every product, also where the product
//! itself has no such setting. A downtime limit is the product's: it counts only where the product has one.

use serde_json::Value;

use crate::event::{
    Cancels, Capabilities, Counts, Ends, MigrationSettings, OwnDowntime, Parameter, Resumer, Sees, Stamped, StopPolicy,
    Then,
};
use crate::hypervisor::HvError;
use crate::model::about::{Meaning, Own};
use crate::model::parameters::{by_own_names, number, switch};
use crate::model::{Link, Product};
use crate::text::nearest;

/// Product and version, as a session's header has it.
#[must_use]
pub fn version(product: Product) -> String {
    format!("SIMULATED {}", product.name())
}

/// What the product offers with these settings over this link.
#[must_use]
pub fn offers(product: Product, link: Link, settings: &MigrationSettings) -> Capabilities {
    let heeded = heeded(product, settings);
    let value = |p: &Own| match p.meaning {
        Meaning::Bandwidth => heeded.bandwidth_bytes_per_s.unwrap_or(link.bytes_per_s as u64).into(),
        Meaning::DowntimeLimit => heeded.downtime_limit_ms.map_or(Value::Null, Value::from),
        Meaning::Own => heeded.extra.get(p.name).cloned().unwrap_or(Value::Bool(false)),
    };
    let parameter = |p: &Own| Parameter { name: p.name.into(), value: value(p), unit: p.unit.into(), live: p.live };
    Capabilities {
        product: version(product),
        parameters: product.about().parameters().iter().map(parameter).collect(),
        post_copy: product.about().has_post_copy(),
        auto_converge: product.about().has_auto_converge(),
        throttle_from_start: false,
        // No product but QEMU has a command for it; the guest can be suspended on each of them.
        stop_and_copy: true,
        cancel: true,
        own_rule: product.about().own_rule(),
        sees: Some(sees(product)),
        cancels: Some(Cancels::UntilSwitchOver),
        resumer: Some(Resumer::Product),
        ends: Some(Ends::TwoHosts),
    }
}

/// What can be seen of a simulated product: all the model knows, also where the product itself shows less. Pages of
/// zeroes and a downtime of its own are told only where it is known how the product counts them.
fn sees(product: Product) -> Sees {
    let downtime = OwnDowntime { counts: Counts::SwitchOver, resolution_ns: 1 };
    Sees {
        progress: false,
        rounds: true,
        sent: true,
        remaining: true,
        total: true,
        throughput: true,
        dirty_rate: true,
        zero_pages: product == Product::Qemu,
        stop_resume: Some(Stamped::Session),
        downtime: (product == Product::Qemu).then_some(downtime),
        location: true,
    }
}

/// The settings as the model takes them: what is given by the product's own name counts, and the
/// stop policy is left to who watches.
#[must_use]
pub(super) fn heeded(product: Product, settings: &MigrationSettings) -> MigrationSettings {
    MigrationSettings { policy: StopPolicy::none(), ..by_own_names(product, settings) }
}

/// Whether post-copy has to be prepared: asked for, or what the stop policy ends with.
pub(super) fn wants_post_copy(settings: &MigrationSettings) -> bool {
    settings.post_copy || settings.policy.has_rules() && settings.policy.then == Then::PostCopy
}

/// The settings of a running migration that is given others: what is fixed by now or cannot be had stays
/// as it was, each with the reason.
pub(super) fn retuned(
    product: Product,
    host: &str,
    before: &MigrationSettings,
    asked: &MigrationSettings,
) -> (MigrationSettings, Vec<HvError>) {
    let errors = refused(product, host, asked, Some(before));
    let mut to = MigrationSettings {
        post_copy: asked.post_copy && product.about().has_post_copy(),
        auto_converge: asked.auto_converge && product.about().has_auto_converge(),
        ..asked.clone()
    };
    let mut as_before = |name: &str| match before.extra.get(name) {
        Some(value) => to.extra.insert(name.to_owned(), value.clone()),
        None => to.extra.remove(name),
    };
    for e in &errors {
        if let HvError::NotOffered { name, .. } | HvError::BadValue { name, .. } = e {
            as_before(name);
        }
    }
    for p in product.about().parameters().iter().filter(|p| !p.live) {
        as_before(p.name);
    }
    if fixed_limit(product).is_some() {
        to.downtime_limit_ms = before.downtime_limit_ms;
    }
    (to, errors)
}

/// The product's own name of its downtime limit, where it cannot be changed on the way.
fn fixed_limit(product: Product) -> Option<&'static str> {
    product.about().parameters().iter().find(|p| p.meaning == Meaning::DowntimeLimit && !p.live).map(|p| p.name)
}

/// What of the settings cannot be had, each with the reason. `before` when a migration runs: then
/// what is fixed cannot be changed from it.
#[must_use]
pub fn refused(
    product: Product,
    host: &str,
    settings: &MigrationSettings,
    before: Option<&MigrationSettings>,
) -> Vec<HvError> {
    let fixed = |name: &str| HvError::NotNow {
        what: format!("set '{name}'"),
        why: "it is fixed while a migration runs, and counts from the next one on".into(),
    };
    let mut errors = Vec::new();
    if let (Some(name), Some(before)) = (fixed_limit(product), before)
        && before.downtime_limit_ms != settings.downtime_limit_ms
    {
        errors.push(fixed(name));
    }
    for (name, value) in &settings.extra {
        let Some(p) = product.about().parameters().iter().find(|p| p.name == name) else {
            errors.push(not_offered(product, host, "migration parameter", name));
            continue;
        };
        let (right, hint) = match p.meaning {
            Meaning::Own => (switch(value).is_some(), "write true or false"),
            Meaning::Bandwidth => (number(value).is_some(), "write a whole number of bytes/s, 0 for no limit"),
            Meaning::DowntimeLimit => (number(value).is_some(), "write a whole number of milliseconds"),
        };
        if !right {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            errors.push(HvError::BadValue { name: name.clone(), value, hint: hint.to_owned() });
        } else if !p.live && before.is_some_and(|before| before.extra.get(name) != Some(value)) {
            errors.push(fixed(name));
        }
    }
    for (asked, offered, name) in [
        (settings.post_copy, product.about().has_post_copy(), "post-copy"),
        (settings.auto_converge, product.about().has_auto_converge(), "auto-converge"),
    ] {
        if asked && !offered {
            errors.push(not_offered(product, host, "migration capability", name));
        }
    }
    errors
}

fn not_offered(product: Product, host: &str, kind: &'static str, name: &str) -> HvError {
    let mut offered: Vec<String> = product.about().parameters().iter().map(|p| p.name.to_owned()).collect();
    for (has, word) in
        [(product.about().has_post_copy(), "post-copy"), (product.about().has_auto_converge(), "auto-converge")]
    {
        if has {
            offered.push(word.to_owned());
        }
    }
    let nearest = nearest(name, offered.iter().map(String::as_str)).map(str::to_owned);
    if offered.is_empty() {
        offered.push("none".to_owned());
    }
    HvError::NotOffered { host: host.into(), kind, name: name.into(), nearest, offered }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_offered_counts_by_its_own_name() {
        let link = Link { bytes_per_s: 1e8, of_limit: 1.0 };
        let mut settings = MigrationSettings { downtime_limit_ms: Some(300), ..MigrationSettings::default() };
        let offered = offers(Product::Qemu, link, &settings);
        assert_eq!(offered.parameter("max-bandwidth").unwrap().value, 100_000_000);
        settings.extra.insert("max-bandwidth".into(), 7.into());
        assert_eq!(heeded(Product::Qemu, &settings).bandwidth_bytes_per_s, Some(7));
        assert_eq!(heeded(Product::Xen46, &settings).bandwidth_bytes_per_s, None);
        assert_eq!(heeded(Product::Qemu, &settings).policy, StopPolicy::none());
        assert!(refused(Product::Qemu, "a", &settings, None).is_empty());
        let e = refused(Product::Xen34, "a", &settings, None);
        assert!(e[0].to_string().contains("offers no migration parameter 'max-bandwidth'"), "{e:?}");
    }

    #[test]
    fn what_a_product_does_not_have_is_refused() {
        for product in Product::ALL {
            let settings = MigrationSettings { post_copy: true, auto_converge: true, ..MigrationSettings::default() };
            let refused = refused(product, "a", &settings, None).len();
            let has = offers(product, Link { bytes_per_s: 1.0, of_limit: 1.0 }, &settings);
            assert_eq!(refused, usize::from(!has.post_copy) + usize::from(!has.auto_converge), "{product:?}");
        }
        let mut settings = MigrationSettings::default();
        settings.extra.insert("adaptive".into(), true.into());
        assert!(refused(Product::Xen34, "a", &settings, None).is_empty());
        let e = refused(Product::Xen34, "a", &settings, Some(&MigrationSettings::default()));
        assert!(matches!(e[..], [HvError::NotNow { .. }]), "{e:?}");
    }

    #[test]
    fn what_is_given_as_text_counts_as_with_a_real_driver() {
        let with = |name: &str, value: &str| {
            let extra = [(name.to_owned(), Value::from(value))].into();
            MigrationSettings { extra, ..MigrationSettings::default() }
        };
        let settings = with("max-bandwidth", " 64000000");
        assert!(refused(Product::Qemu, "a", &settings, None).is_empty());
        assert_eq!(heeded(Product::Qemu, &settings).bandwidth_bytes_per_s, Some(64_000_000));
        let settings = with("adaptive", "on");
        assert!(refused(Product::Xen34, "a", &settings, None).is_empty());
        assert_eq!(heeded(Product::Xen34, &settings).extra["adaptive"], true);
        let e = refused(Product::Qemu, "a", &with("max-bandwidth", "much"), None);
        assert!(matches!(&e[..], [HvError::BadValue { value, .. }] if value == "much"), "{e:?}");
    }

    #[test]
    fn a_running_migration_keeps_what_cannot_be_changed() {
        let before = MigrationSettings {
            bandwidth_bytes_per_s: Some(1000),
            downtime_limit_ms: Some(300),
            ..MigrationSettings::default()
        };
        let mut asked =
            MigrationSettings { bandwidth_bytes_per_s: Some(0), downtime_limit_ms: Some(9), ..before.clone() };
        let (to, errors) = retuned(Product::CloudHypervisor, "a", &before, &asked);
        // 0 lifts the bandwidth limit; the downtime limit is fixed.
        assert_eq!(to, MigrationSettings { bandwidth_bytes_per_s: Some(0), ..before.clone() });
        assert!(matches!(&errors[..], [HvError::NotNow { .. }]), "{errors:?}");
        asked.bandwidth_bytes_per_s = Some(2000);
        asked.extra.insert("downtime_ms".into(), 7.into());
        asked.extra.insert("max-bandwidth".into(), 7.into());
        let (to, errors) = retuned(Product::CloudHypervisor, "a", &before, &asked);
        assert_eq!(to, MigrationSettings { bandwidth_bytes_per_s: Some(2000), ..before.clone() });
        assert_eq!(errors.len(), 3, "{errors:?}");
        let (to, errors) = retuned(Product::Qemu, "a", &before, &asked);
        assert_eq!((heeded(Product::Qemu, &to).bandwidth_bytes_per_s, to.downtime_limit_ms), (Some(7), Some(9)));
        assert!(matches!(&errors[..], [HvError::NotOffered { name, .. }] if name == "downtime_ms"), "{errors:?}");
    }

    #[test]
    fn a_stop_policy_ends_with_what_the_product_has() {
        for then in [Then::PostCopy, Then::AutoConverge] {
            let policy = StopPolicy { rounds: Some(3), then, ..StopPolicy::none() };
            let settings = MigrationSettings { policy, ..MigrationSettings::default() };
            assert_eq!(wants_post_copy(&settings), then == Then::PostCopy);
            let link = Link { bytes_per_s: 1e8, of_limit: 1.0 };
            let unfit = |product| offers(product, link, &settings).unfit(&settings.policy);
            assert_eq!(unfit(Product::Qemu), None);
            let why = unfit(Product::HyperV).unwrap();
            assert!(why.contains("does not offer it; it offers: stop-and-copy, cancel"), "{why}");
        }
    }
}
