//! What styles are for: the semantic names that theme files use.

macro_rules! roles {
    ($($variant:ident $name:literal $($fallback:ident)? : $doc:literal),+ $(,)?) => {
        /// What a style is for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Role { $(#[doc = $doc] $variant),+ }

        impl Role {
            /// Every role.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name in a theme file.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }

            /// What it is for.
            #[must_use]
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => $doc),+ }
            }

            /// The role whose style it takes where a theme file says nothing of it.
            #[must_use]
            pub fn fallback(self) -> Option<Self> {
                match self {
                    $($(Self::$variant => Some(Self::$fallback),)?)+
                    _ => None,
                }
            }
        }
    };
}

// The word after a name is the role to fall back on. Each stands above the roles that fall back on
// it (tested), so that no chain of them is a circle.
roles! {
    Text "text": "Ordinary text.",
    Muted "muted": "Labels, units, scales: quieter, still readable.",
    Rule "rule" Muted: "Lines that divide.",
    Title "title": "Panel titles.",
    Key "key" Title: "Keys in hints.",
    Value "value": "Numbers that matter.",
    Selected "selected": "The selected control.",
    SelectedRow "selected_row" Selected: "The selected row of a table or a list.",
    Slider "slider" Title: "The filled part of a slider.",
    Button "button" Key: "Something to click.",
    Good "good": "Something is as it should be.",
    Warn "warn": "Something to look at.",
    Error "error": "Something went wrong.",
    Unread "unread" Error: "An error that has not been read yet.",
    Banner "banner": "A loud banner across the screen.",
    Simulated "simulated" Banner: "The badge of a simulated hypervisor.",
    Frozen "frozen" Simulated: "The sign that the screen stands still.",
    SearchMatch "search_match" Selected: "Text that a search has found.",
    PhaseIdle "phase_idle" Muted: "Phase idle.",
    PhaseSetup "phase_setup" Muted: "Phase setup.",
    PhasePreCopy "phase_pre_copy" Title: "Phase pre-copy.",
    PhaseStopAndCopy "phase_stop_and_copy" Error: "Phase stop-and-copy.",
    PhasePostCopy "phase_post_copy" Warn: "Phase post-copy.",
    PhaseRecovery "phase_recovery" Warn: "Phase recovery.",
    PhaseDone "phase_done" Good: "Phase done.",
    PhaseFailed "phase_failed" Error: "Phase failed.",
    PhaseCancelled "phase_cancelled" Muted: "Phase cancelled.",
    PhaseUnknown "phase_unknown" Warn: "A phase that is not known.",
    PingOk "ping_ok" Good: "A reply in time.",
    PingBody "ping_body" PingOk: "Below the top of a bar of a reply.",
    PingLate "ping_late" Warn: "A late reply.",
    PingLost "ping_lost" Banner: "A lost probe.",
    PingError "ping_error" Simulated: "A probe that ended in an error.",
    PingNotSent "ping_not_sent" Muted: "A slot not sent.",
    PingPending "ping_pending" Muted: "A probe whose fate is open.",
    PingDuplicate "ping_duplicate" Warn: "A duplicate reply.",
    RateAchieved "rate_achieved" Title: "Dirty rate achieved, under the bandwidth limit.",
    RateBody "rate_body" RateAchieved: "Below the top of a bar of the rate achieved.",
    RateOver "rate_over" Warn: "Dirty rate achieved, over the bandwidth limit.",
    RateSet "rate_set" Text: "Dirty rate set.",
    RateRequested "rate_requested" Value: "Dirty rate requested.",
    RateHypervisor "rate_hypervisor" Warn: "Dirty rate seen by the hypervisor.",
    Link "link" Error: "The bandwidth limit.",
    Remaining "remaining" RateAchieved: "Memory left to send.",
    RemainingBody "remaining_body" Remaining: "Below the top of a bar of memory left to send.",
    Throughput "throughput" RateSet: "Bytes sent a second.",
    ThroughputBody "throughput_body" Throughput: "Below the top of a bar of bytes sent a second.",
    CpuGuest "cpu_guest" RateAchieved: "CPU used in the guest.",
    CpuHost "cpu_host" RateSet: "CPU used on the host, by everything.",
    CpuHypervisor "cpu_hypervisor" RateHypervisor: "CPU used by the hypervisor's own processes.",
    ClockStep "clock_step" Warn: "A step of the guest's clock.",
    Mark "mark" Warn: "A mark set by the operator.",
    Cursor "cursor" Selected: "The cursor in time, and its readout.",
    Anchor "anchor" Cursor: "Where a measure begins.",
    Measure "measure" Cursor: "The span between a measure's two ends, and its length.",
    Baseline "baseline" Title: "The migration that others are compared with.",
    Better "better" Good: "A difference to the baseline for the better.",
    Worse "worse" Error: "A difference to the baseline for the worse.",
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_falls_back_on_one_above_it() {
        for role in Role::ALL {
            assert!(role.fallback().is_none_or(|f| (f as usize) < *role as usize), "{}", role.name());
        }
    }

    #[test]
    fn names_are_snake_case_and_differ() {
        for (i, role) in Role::ALL.iter().enumerate() {
            assert!(role.name().chars().all(|c| c.is_ascii_lowercase() || c == '_'), "{}", role.name());
            assert!(Role::ALL[..i].iter().all(|r| r.name() != role.name()), "{}", role.name());
        }
    }
}
