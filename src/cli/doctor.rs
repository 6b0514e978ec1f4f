//! `blackout doctor`: what is missing on this machine, and the command that mends it.

use std::process::ExitCode;

use clap::Args as ClapArgs;
use serde_json::json;

use crate::lab::doctor::{Check, Part, Status, examine, lab_passes};
use crate::units::parse_bytes;

/// Checks all that a lab, a probe, an agent and a capture need.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Print the checks as JSON.
    #[arg(long)]
    pub json: bool,
    /// RAM of the guest a lab would have.
    #[arg(long, default_value = "256M", value_name = "SIZE")]
    pub memory: String,
}

/// Runs the checks. Success only if all that the lab needs is there.
///
/// # Errors
/// A size that is none, or an output that cannot be written.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let checks = examine(parse_bytes(&args.memory)?);
    let passes = lab_passes(&checks);
    if args.json {
        super::say::print_json(&json!({ "lab_ready": passes, "checks": checks }))?;
    } else {
        super::say::print(&table(&checks, passes))?;
    }
    Ok(if passes { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn table(checks: &[Check], passes: bool) -> String {
    let mut out = String::new();
    let parts = [
        (Part::Lab, "lab (blackout lab)"),
        (Part::Probe, "probe (blackout ping)"),
        (Part::Agent, "agent on this machine (blackout load, blackout agent)"),
        (Part::Capture, "captures"),
    ];
    for (part, title) in parts {
        out += &format!("{title}\n");
        for check in checks.iter().filter(|c| c.part == part) {
            let status = match check.status {
                Status::Ok => "ok  ",
                Status::Warn => "warn",
                Status::Miss => "MISS",
            };
            out += &format!(
                "  {status}  {:<15} {}\n",
                check.name,
                check.found.replace('\n', "\n                        ")
            );
            if let Some(mend) = &check.mend {
                out += &format!("                        fix: {mend}\n");
            }
        }
    }
    out += match passes {
        true => "\nA lab will start here: blackout lab\n",
        false => "\nA lab will not start here until each MISS under \"lab\" is fixed.\n",
    };
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_names_the_miss_and_its_mending() {
        let check = |status, mend: Option<&str>| Check {
            part: Part::Lab,
            name: "qemu",
            status,
            found: "it is not there".into(),
            mend: mend.map(Into::into),
        };
        let text = table(&[check(Status::Miss, Some("sudo dnf install qemu"))], false);
        assert!(text.contains("MISS  qemu            it is not there\n"), "{text}");
        assert!(text.contains("fix: sudo dnf install qemu") && text.contains("will not start"), "{text}");
        assert!(table(&[check(Status::Ok, None)], true).contains("A lab will start here"));
    }
}
