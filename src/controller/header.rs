//! The head of a session's capture: what it was asked to be, and on which machine.

use std::time::SystemTime;

use super::plan::Plan;
use crate::event::{Header, HostFacts, SCHEMA_MAJOR, SCHEMA_MINOR, SessionSettings, Versions};

/// The header of a session that begins now.
pub(super) fn header(plan: &Plan) -> Header {
    Header {
        schema_major: SCHEMA_MAJOR,
        schema_minor: SCHEMA_MINOR,
        name: plan.name.clone(),
        wall_origin_unix_ns: SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64),
        versions: Versions {
            blackout: env!("CARGO_PKG_VERSION").into(),
            hypervisor: plan.hypervisor.clone(),
            guest_kernel: plan.guest_kernel.clone(),
            accelerator: None,
        },
        host: host_facts(),
        settings: settings(plan),
        seed: plan.simulation.as_ref().map_or_else(rand::random, |s| s.seed),
        simulated: plan.simulation.is_some(),
    }
}

fn settings(plan: &Plan) -> SessionSettings {
    SessionSettings {
        command: Some(plan.command.clone()),
        load: Some(plan.load),
        migration: plan.migration.clone(),
        ping_interval_ns: Some(plan.ping_interval.as_nanos() as u64),
        ping_deadline_ns: Some(plan.ping_deadline.as_nanos() as u64),
        speed: plan.simulation.as_ref().map(|s| s.speed),
        own: plan.own.clone(),
    }
}

/// The machine, as far as it can be told.
fn host_facts() -> HostFacts {
    let mut facts = HostFacts {
        cpu: "unknown".into(),
        // What this process may use, where the machine as a whole cannot be asked; never 0.
        cpus: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
        ram_bytes: crate::load::limits::Memory::now().total_bytes,
        kernel: sysinfo::System::kernel_version().unwrap_or_else(|_| "unknown".into()),
    };
    if let Ok(mut machine) = sysinfo::System::new() {
        machine.refresh_cpu_all();
        if let Some(first) = machine.cpus().first() {
            facts.cpus = machine.cpus().len() as u32;
            facts.cpu = first.brand().trim().to_owned();
        }
    }
    facts
}
