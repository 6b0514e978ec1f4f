//! Which product a session migrates with, and whether the model has its rule.

use thiserror::Error;

use super::state::State;
use crate::model::Product;
use crate::text::visible;

/// The rule of the product is not known: nothing is predicted of it, least of all by another product's rule.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no prediction: the rule of {} is not known", visible(product))]
pub struct NoModel {
    /// The product, as it calls itself.
    pub product: String,
}

/// The product as a host has told it, else as the session's header has it. None where nobody has told.
fn told(state: &State) -> Option<&str> {
    let hosts = state.hosts.values().map(|host| {
        let offered = host.offers.as_ref().map(|offers| offers.product.as_str());
        offered.filter(|product| !product.is_empty()).unwrap_or(&host.version)
    });
    let header = state.header.as_ref().and_then(|h| h.versions.hypervisor.as_deref());
    hosts.chain(header).find(|product| !product.is_empty())
}

/// The product by whose rule the session's migrations go; None while nobody has told which it is.
///
/// # Errors
/// If it has been told, and the model does not have its rule.
pub fn product(state: &State) -> Result<Option<Product>, NoModel> {
    let Some(told) = told(state) else { return Ok(None) };
    Product::told(told).map(Some).ok_or_else(|| NoModel { product: told.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Body, Capabilities, Event, HvEvent};
    use crate::session::testing;

    #[test]
    fn it_is_what_the_hosts_say_and_nothing_is_made_of_an_unknown_one() {
        let mut state = State::begin(testing::header());
        let up = |version: &str| HvEvent::HostUp { host: "a".into(), version: version.into(), pid: None };
        state.apply(&Event::new(1, Body::Hypervisor(up("QEMU 10.0.2"))));
        assert_eq!(product(&state), Ok(Some(Product::Qemu)));
        let offers = Capabilities { product: "xl \x1b[2J4.17".into(), ..Capabilities::default() };
        state.apply(&Event::new(2, Body::Hypervisor(HvEvent::Offers { host: "a".into(), offers })));
        let why = product(&state).unwrap_err().to_string();
        assert!(why.starts_with("no prediction: the rule of xl ") && why.ends_with("4.17 is not known"), "{why}");
        assert!(!why.contains('\x1b'));
    }
}
