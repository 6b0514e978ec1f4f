//! What `blackout` says when it is given nothing to do: one screen, and the next command.

use std::fmt::Write as _;

/// The one-screen explanation. `lab_ready` decides which command it names next.
pub(super) fn text(lab_ready: bool) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "blackout {}: watch what a VM live migration costs, while you turn the load.

It boots a real Linux guest (or attaches to yours), dirties its memory at a RATE
you choose, fires a migration, pings the guest all the while, and shows and
records every round, every lost ping, and how long the guest was really gone.

  blackout           on a terminal: a screen to choose from all this
  blackout demo      the cockpit on a model, SIMULATED: needs nothing
  blackout lab       two QEMU hosts on this machine and a guest, in a screen
  blackout migrate   the same against QEMUs that you started
  blackout watch     the screen on a ping target alone
  blackout replay    opens a recorded session in the same screen
  blackout show      prints a recorded session's result table
  blackout ping      the probe alone, with an honest summary
  blackout load      the load generators alone, on this machine
  blackout agent     the load generators in a guest, driven from outside
  blackout doctor    checks what is missing here, and says what mends it
  blackout help      every command and option
",
        env!("CARGO_PKG_VERSION")
    );
    if lab_ready {
        out.push_str("This machine can run the lab. Next:\n\n  blackout lab\n");
    } else {
        out.push_str("This machine cannot run the lab yet (blackout doctor says why). Next:\n\n  blackout demo\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::text;

    #[test]
    fn fits_one_screen_and_names_the_next_command() {
        for ready in [true, false] {
            let t = text(ready);
            assert!(t.lines().count() <= 24, "{} lines", t.lines().count());
            assert!(t.lines().all(|l| l.chars().count() <= 80));
            assert!(t.contains("  blackout demo ") && t.contains("SIMULATED"));
        }
        assert!(text(true).trim_end().ends_with("blackout lab"));
        assert!(text(false).trim_end().ends_with("blackout demo"));
    }
}
