//! The parameters that a product has by names of its own and the model heeds, and settings by these names.

use serde_json::Value;

use super::about::Meaning;
use super::products::Product;
use crate::event::{Capabilities, MigrationSettings};

/// The bandwidth limit, bytes/s, and the downtime limit, ms, as a product has told that they are set.
#[must_use]
pub fn limits_told(product: Product, told: &Capabilities) -> (Option<f64>, Option<f64>) {
    let of = |meaning: Meaning| {
        let known = product.about().parameters().iter().find(|p| p.meaning == meaning)?;
        told.parameter(known.name)?.value.as_f64()
    };
    (of(Meaning::Bandwidth), of(Meaning::DowntimeLimit))
}

/// A number, also where it is given as text, as a real driver takes it.
pub(crate) fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.trim().parse().ok())
}

/// The same for a truth value.
pub(crate) fn switch(value: &Value) -> Option<bool> {
    match value.as_str().map(str::trim) {
        Some("true" | "on" | "yes") => Some(true),
        Some("false" | "off" | "no") => Some(false),
        _ => value.as_bool(),
    }
}

/// The settings with what is given by the product's own names in its place: this counts before what is
/// given without them. A downtime limit goes where the product has none.
#[must_use]
pub fn by_own_names(product: Product, settings: &MigrationSettings) -> MigrationSettings {
    let mut to = settings.clone();
    if !product.about().parameters().iter().any(|p| p.meaning == Meaning::DowntimeLimit) {
        to.downtime_limit_ms = None;
    }
    for p in product.about().parameters() {
        let Some(value) = settings.extra.get(p.name) else { continue };
        match p.meaning {
            Meaning::Bandwidth => to.bandwidth_bytes_per_s = number(value).or(to.bandwidth_bytes_per_s),
            Meaning::DowntimeLimit => to.downtime_limit_ms = number(value).or(to.downtime_limit_ms),
            Meaning::Own => {
                if let Some(on) = switch(value) {
                    to.extra.insert(p.name.to_owned(), on.into());
                }
            }
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::StopPolicy;

    #[test]
    fn a_downtime_limit_counts_only_where_the_product_has_one() {
        let settings = MigrationSettings { downtime_limit_ms: Some(77), ..MigrationSettings::default() };
        for product in Product::ALL {
            let has = matches!(product, Product::Qemu | Product::CloudHypervisor);
            assert_eq!(by_own_names(product, &settings).downtime_limit_ms.is_some(), has, "{product:?}");
        }
        let policy = StopPolicy { rounds: Some(3), ..StopPolicy::none() };
        let asked = MigrationSettings { policy: policy.clone(), ..settings };
        assert_eq!(by_own_names(Product::Xen34, &asked).policy, policy);
    }
}
