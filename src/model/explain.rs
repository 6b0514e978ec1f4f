//! The rules in words, each constant with its source.

use std::fmt::Write as _;

use super::about::{Constant, Sourced};
use super::products::Product;

/// The constants of a product's rule, and what a migration costs besides pages.
#[must_use]
pub fn constants(product: Product) -> Vec<Constant> {
    let mut all = product.about().constants();
    all.extend(costs(product));
    all
}

fn costs(product: Product) -> Vec<Constant> {
    let (costs, known) = (product.costs(), product.about().costs_known());
    let ms = |d: std::time::Duration| format!("{} ms", d.as_secs_f64() * 1e3);
    let of = |name, value: String, (known, from): Sourced| Constant::new(name, value, known, from);
    vec![
        of("set-up", ms(costs.setup), known.times),
        of("between rounds", ms(costs.per_round), known.small),
        of("sent with each page", format!("{} bytes", costs.page_header_bytes), known.header),
        of("stopping the guest", ms(costs.stop), known.times),
        of("device state", crate::units::show_bytes(costs.device_state_bytes), known.small),
        of("setting up the destination", ms(costs.resume), known.times),
        of("until the network leads there", ms(costs.announce), known.times),
        of("until the source can go", ms(costs.finish), known.times),
    ]
}

/// A product's rule in words, with its constants.
#[must_use]
pub fn explain(product: Product) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{} ({})\n\n{}\n", product.title(), product.name(), product.about().words());
    let all = constants(product);
    let width = |f: fn(&Constant) -> usize| all.iter().map(f).max().unwrap_or(0);
    let (name, value) = (width(|c| c.name.len()), width(|c| c.value.len().min(40)));
    for constant in &all {
        let (known, from) = (constant.known.word(), constant.from);
        let _ = writeln!(out, "  {:name$}  {:value$}  {known}: {from}", constant.name, constant.value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_product_is_explained_and_says_what_is_assumed() {
        for product in Product::ALL {
            let text = explain(product);
            assert!(text.contains(product.name()) && text.lines().count() > 8, "{text}");
            assert_eq!(Product::named(product.name()), Some(product));
        }
        assert!(explain(Product::HyperV).contains("ASSUMED"));
        // Less than a millisecond is not nothing.
        let qemu = explain(Product::Qemu);
        assert!(qemu.contains("0.3 ms") && !qemu.contains(" 0 ms"), "{qemu}");
    }
}
