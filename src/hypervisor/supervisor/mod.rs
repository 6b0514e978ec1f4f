//! Seeing one migration to its end: made ready, begun, watched, ended by policy or on command, and made sure that
//! the guest runs somewhere at the end. Knows no product.
//!
//! A pure state machine (`machine`, `orders`, `ending`) decides; a thin shell (`shell`) carries its questions to the
//! [`Hypervisor`](super::Hypervisor) and the answers back. Every wait has an end: what is asked is waited for only
//! so long; a migration that is to be cancelled and is not is left; one of which neither host tells anything
//! is given up. Then the end is [`Unsettled`](crate::event::MigrationEnd::Unsettled), with the place where the guest
//! was seen last.

mod ending;
mod machine;
mod orders;
mod shell;
mod state;
#[cfg(test)]
mod tests;

pub use shell::{follow_migration, run_migration};
pub use state::RunCommand;
