//! What a virsh shell says to one command, and what of it is an error.

/// What virsh writes when it waits for a command: as root, and else.
pub(super) const PROMPTS: [&str; 2] = ["virsh # ", "virsh > "];
/// What virsh says once it has the hypervisor again; errors before it are of the time without.
const BACK: &str = "error: Reconnected to the hypervisor";

/// Words of errors that are about the connection and not about the guest (libvirt 9.0; sources of 11).
const CONNECTION: [&str; 12] = [
    "Disconnected from ",
    "Failed to reconnect to the hypervisor",
    "failed to connect to the hypervisor",
    "Failed to connect socket",
    "unable to connect to server",
    "client socket is closed",
    "Cannot recv data",
    "Cannot write data",
    "End of file while reading data",
    "no connection driver available",
    "invalid connection pointer",
    "connection closed due to",
];

/// An answer: its lines, with neither prompt nor echo.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Answer(Vec<String>);

impl Answer {
    /// Of what came after `command` was given. A virsh that was built with readline echoes the command behind its
    /// prompt; one without leaves the prompt before the first line.
    pub(super) fn new(lines: Vec<String>, command: &str) -> Self {
        let bare = |line: String| match PROMPTS.iter().find_map(|prompt| line.strip_prefix(prompt)) {
            Some(behind) if behind.starts_with("echo @") => String::new(),
            Some(behind) => behind.trim().to_owned(),
            None => line,
        };
        let said = lines.into_iter().map(bare);
        Self(
            said.filter(|line| !line.is_empty() && line != command && line != "virsh #" && line != "virsh >").collect(),
        )
    }

    /// Its lines.
    pub(super) fn lines(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }

    /// Its only line.
    pub(super) fn line(&self) -> Option<&str> {
        match self.0.as_slice() {
            [line] => Some(line),
            _ => None,
        }
    }

    /// What went wrong since the connection was there last, without `error: `.
    pub(super) fn errors(&self) -> Vec<&str> {
        let since = self.0.iter().rposition(|line| line == BACK).map_or(0, |at| at + 1);
        self.0[since..].iter().filter_map(|line| line.strip_prefix("error: ")).collect()
    }

    /// Why there is no connection, if there is none.
    pub(super) fn lost(&self) -> Option<String> {
        let errors = self.errors();
        let is = |error: &&str| CONNECTION.iter().any(|words| error.contains(words));
        // The last of them has the cause.
        errors.iter().rev().find(|error| is(error)).map(|error| (*error).to_owned())
    }

    /// Whether all it says is that there is no such guest. Without a connection virsh says that, too.
    pub(super) fn is_absent(&self) -> bool {
        let errors = self.errors();
        let absent = |error: &&str| {
            error.starts_with("failed to get domain ")
                || error.starts_with("Domain not found: no domain with matching ")
        };
        !errors.is_empty() && errors.iter().all(absent)
    }

    /// What it says, in a line, for people.
    pub(super) fn said(&self) -> String {
        crate::text::capped(&self.0.join(" / "), 300).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(text: &str) -> Answer {
        Answer::new(text.lines().map(str::to_owned).collect(), "domstate g1")
    }

    #[test]
    fn prompt_and_echo_are_no_answer() {
        let with_echo = answer("virsh # domstate g1\nrunning\nvirsh # echo @7@");
        let without = answer("virsh # running\n");
        assert_eq!((with_echo.line(), without.line()), (Some("running"), Some("running")));
        assert!(with_echo.errors().is_empty() && !with_echo.is_absent());
    }

    #[test]
    fn a_guest_that_is_not_there_is_told_from_a_host_that_is_not() {
        assert!(answer("error: failed to get domain 'g1'").is_absent());
        assert!(
            answer("error: failed to get domain 'g1'\nerror: Domain not found: no domain with matching name 'g1'")
                .is_absent()
        );
        let hung = answer(
            "error: Disconnected from qemu+unix:///system?socket=/run/sock due to keepalive timeout\n\
             error: failed to get domain 'g1'",
        );
        assert!(!hung.is_absent());
        assert!(hung.lost().unwrap().ends_with("due to keepalive timeout"));
        let dead = answer(
            "error: failed to connect to the hypervisor\n\
             error: Failed to connect socket to '/run/libvirt-sock': Connection refused",
        );
        assert_eq!(dead.lost().unwrap(), "Failed to connect socket to '/run/libvirt-sock': Connection refused");
        let back = answer(
            "error: Disconnected from x due to end of file\nerror: Reconnected to the hypervisor\nrunning (booted)",
        );
        assert_eq!((back.lost(), back.errors()), (None, vec![]));
        let back = answer("error: Reconnected to the hypervisor\nerror: failed to get domain 'g1'");
        assert!(back.is_absent());
    }
}
