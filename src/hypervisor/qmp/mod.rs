//! QEMU, driven over its machine protocol (QMP).
//!
//! Two connections a host: one for commands, one for events, so that events are read the moment
//! they come. What a QEMU can do is found by asking it (`query-migrate-capabilities`,
//! `query-migrate-parameters`), never by its version.
//!
//! # Hosts that are not ours
//!
//! At a QEMU that blackout did not start itself, every default is QEMU's own: a parameter or a
//! capability is set only if the operator asked for it, or if what was asked for needs it (`events` at
//! the source, to see rounds; `return-path` at the source, if the stop policy may stop the guest). Each
//! is told before it is set ([`crate::event::HvEvent::Setting`]), and gets the value it had before
//! blackout first touched it when the migration is over, however it ended, or when it is not asked
//! for any more. What QEMU does not let us put back is told with the command that does.
//!
//! # What a QEMU may say
//!
//! A message that cannot be read is skipped and told; texts, values and bytes a second are bounded
//! where they come in.
//!
//! # Stopping the guest from outside
//!
//! A QEMU ends pre-copy by itself only when what is left fits its `downtime-limit`; above the jump
//! it never does. The stop policy then gives `stop` at the source, QEMU sends the rest at
//! `max-bandwidth`, and the guest stays *paused* at the destination until somebody says `cont`
//! there. Whoever stops the guest must therefore make sure that it runs again:
//!
//! - `cont` is given at the destination as soon as the source has said `completed`, and repeated
//!   until the guest is seen to run; after a failed or cancelled migration it is given at the
//!   source, also if the destination died after `completed` but before it ever ran.
//! - With a return path (set whenever the URI's channel goes both ways) QEMU says `completed` only
//!   after the destination has loaded everything.
//! - A [`guardian`] process does the same if blackout dies in between, be it by `kill -9`, and puts
//!   back what was changed.
//!
//! Not guaranteed: that the guest runs again if the machine on which blackout and its guardian run
//! dies or loses its way to both monitors; if the source QEMU dies before the destination has
//! everything (then the guest is lost, as in any migration by QEMU); if somebody else gives
//! commands to the same QEMUs meanwhile; or if the guest had been stopped by somebody else before.
//! Without a monitor of its own the guardian can act only after blackout's connections are gone,
//! which the kernel sees to when blackout dies, but not when blackout merely hangs.
//!
//! There is another way to end pre-copy: raising `downtime-limit` until what is left fits, so that
//! QEMU switches over by itself. Then QEMU resumes the guest at the destination without anybody's
//! help, but it also lifts the `max-bandwidth` limit for the rest, so that the blackout is not the
//! one the link would give. It can be had by tuning `downtime-limit` while the migration runs.

mod bounds;
mod changes;
pub mod client;
mod endpoint;
mod former;
mod frame;
pub mod guardian;
mod host;
mod hypervisor;
mod locate;
mod migration;
mod negotiate;
mod pair;
mod status;
mod tuning;
mod watch;

pub use endpoint::{Endpoint, EndpointError, HostSpec};
pub use former::Former;
pub use frame::{FrameError, Framer};
pub use guardian::{Guardian, GuardianCommand};
pub use host::{CONNECT_PATIENCE, HostView, QmpHost};
pub use hypervisor::{QmpHypervisor, QmpOptions};
pub use status::{Whereabouts, is_final, phase_of, sample, substate_of};

/// Takes in what a monitor might send.
#[cfg(test)]
pub(crate) fn fuzz(bytes: &[u8]) {
    client::fuzz(bytes);
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(bytes) {
        let _ = status::sample(value.get("return").unwrap_or(&value));
    }
}
