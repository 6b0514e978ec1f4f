//! The table of the products: a line each.

use super::{cloud_hypervisor, hyper_v, qemu, vmware_4_0, vmware_5, xen_3_4, xen_4_6};
use crate::model::about::About;
use crate::model::costs::Costs;

macro_rules! products {
    ($($id:ident => $about:expr, $what:literal;)+) => {
        /// The products whose rules are known.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Product {
            $(#[doc = $what] $id,)+
        }

        impl Product {
            /// All of them.
            pub const ALL: [Self; [$(stringify!($id)),+].len()] = [$(Self::$id),+];

            /// What the model knows of it.
            #[must_use]
            pub(crate) fn about(self) -> &'static dyn About {
                match self {
                    $(Self::$id => &$about,)+
                }
            }
        }
    };
}

products! {
    Qemu => qemu::About, "QEMU.";
    Xen34 => xen_3_4::About, "Xen 3.4, as in XenServer 5.6 (the paper's).";
    Xen46 => xen_4_6::About, "Xen from 4.6 on (migration v2).";
    Vmware40 => vmware_4_0::About, "VMware ESX 4.0, before Stun During Page Send (the paper's).";
    Vmware5 => vmware_5::About, "VMware ESX from 5.0 on.";
    HyperV => hyper_v::About, "Hyper-V.";
    CloudHypervisor => cloud_hypervisor::About, "Cloud Hypervisor.";
}

impl Product {
    /// Its name, as written on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        self.about().name()
    }

    /// Its name, for people.
    #[must_use]
    pub fn title(self) -> &'static str {
        self.about().title()
    }

    /// What its migrations cost besides pages.
    #[must_use]
    pub fn costs(self) -> Costs {
        self.about().costs()
    }

    /// The product of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|p| p.name() == name)
    }

    /// The product that calls itself so: what a driver tells of it (`QEMU 10.0.2`), or a simulated one
    /// (`SIMULATED xen-3.4`). None where its rule is not known.
    #[must_use]
    pub fn told(product: &str) -> Option<Self> {
        match product.strip_prefix("SIMULATED ") {
            Some(name) => Self::named(name),
            None => Self::ALL.into_iter().find(|p| p.about().is(product)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_product_is_known_by_what_it_calls_itself_or_not_at_all() {
        assert_eq!(Product::told("QEMU 10.0.2"), Some(Product::Qemu));
        for product in Product::ALL {
            assert_eq!(Product::told(&format!("SIMULATED {}", product.name())), Some(product));
        }
        for other in ["", "QEMUlator 1", "virsh migrate", "Cloud Hypervisor v48.0", "SIMULATED", "SIMULATED bhyve"] {
            assert_eq!(Product::told(other), None, "{other}");
        }
    }
}
