//! The products whose rules are known, one file each. A product whose rule is not known has no prediction.

mod cloud_hypervisor;
mod hyper_v;
mod qemu;
mod table;
mod vmware;
mod vmware_4_0;
mod vmware_5;
mod xen_3_4;
mod xen_4_6;

pub use table::Product;
