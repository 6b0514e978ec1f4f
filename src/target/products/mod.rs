//! One file a product: its fields, and how a target of it is opened.

pub(crate) mod command;
pub(crate) mod demo;
pub(crate) mod lab;
pub(crate) mod libvirt;
pub(crate) mod qmp;
