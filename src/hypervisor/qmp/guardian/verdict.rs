//! What a guardian does about a guest that a controller has stopped, decided by what is known.
//!
//! The rules of design: the source is told to run the guest only if it is known to stand there and no
//! post-copy has begun; the destination only if it is known to stand there. An end that cannot be
//! reached is neither "gone" nor "not running": it is waited for. [`Sight::Ended`] needs a process
//! known to be dead.

use super::Duty;

/// What the guardian sees of one end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It answers.
    Seen(End),
    /// Its process is known to have ended, and the guest that ran there with it.
    Ended,
    /// It cannot be reached, and may well run.
    Unknown,
}

/// What one end says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct End {
    /// `status` of `query-status`.
    pub guest: String,
    /// `status` of `query-migrate`, empty if it has none.
    pub migration: String,
}

impl End {
    /// A guest that sleeps (ACPI S3) sleeps on; it is for others to wake it.
    fn runs(&self) -> bool {
        matches!(self.guest.as_str(), "running" | "suspended")
    }
}

/// What the guardian does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The migration goes on, or things may become clearer.
    Wait,
    /// Resume the guest at the destination.
    ResumeDestination,
    /// Resume the guest at the source.
    ResumeSource,
    /// The guest runs: nothing to do.
    Runs,
    /// It stands still, but not because of us (an I/O error, a shutdown, a panic, …): not ours to resume.
    Leave,
    /// Both processes have ended: nothing is left to resume.
    Gone,
}

/// What to do about a guest that the dead controller had stopped at the source, or was about to.
///
/// | source | destination | |
/// |---|---|---|
/// | any | runs it | nothing to do |
/// | runs it | any | nothing to do |
/// | ended | ended | nothing is left |
/// | any but seen standing before the end of the migration | `paused`, has everything | resume there |
/// | ended, or out of reach | anything else | wait |
/// | `paused`; migration none, failed or cancelled; neither post-copy nor a `cont` at the destination | any | resume the source |
/// | handed over (`completed`) | its loading has `failed` | resume the source (no post-copy) |
/// | handed over | ended, never told to run it, and the guest was stopped before | resume the source (no post-copy) |
/// | handed over | ended, may have run it; out of reach; still loading | wait |
/// | in post-copy | `paused` | resume there |
/// | stands for another reason | any | leave it |
#[must_use]
pub fn verdict(source: &Sight, destination: &Sight, duty: &Duty) -> Verdict {
    use Sight::{Ended, Seen, Unknown};
    if let Seen(d) = destination
        && d.runs()
    {
        return Verdict::Runs;
    }
    // Loaded, and standing as it was when it was handed over.
    let arrived = |d: &Sight| matches!(d, Seen(d) if d.guest == "paused" && d.migration == "completed");
    let s = match (source, destination) {
        (Ended, Ended) => return Verdict::Gone,
        // A destination that has everything got it from a source that had stopped for good.
        (Ended | Unknown, d) if arrived(d) => return Verdict::ResumeDestination,
        (Ended | Unknown, _) => return Verdict::Wait,
        (Seen(s), _) => s,
    };
    if s.runs() {
        return Verdict::Runs;
    }
    let post_copy = duty.post_copy || s.migration.starts_with("postcopy");
    if s.migration.starts_with("postcopy") {
        // Post-copy of a guest that we had stopped: it arrived paused, and only we would run it.
        let stands = matches!(destination, Seen(d) if d.guest == "paused");
        return if stands { Verdict::ResumeDestination } else { Verdict::Wait };
    }
    match (s.guest.as_str(), s.migration.as_str()) {
        ("paused", "" | "none" | "failed" | "cancelled") if !post_copy && !duty.told => Verdict::ResumeSource,
        ("postmigrate" | "paused", "completed" | "failed" | "cancelled") => match destination {
            d if arrived(d) => Verdict::ResumeDestination,
            Seen(d) if d.guest == "inmigrate" && d.migration == "failed" && !post_copy => Verdict::ResumeSource,
            // It arrived paused, nobody told it to run, and now it cannot any more.
            Ended if duty.stopped && !duty.told && !post_copy => Verdict::ResumeSource,
            _ => Verdict::Wait,
        },
        ("paused" | "postmigrate" | "finish-migrate", _) => Verdict::Wait,
        _ => Verdict::Leave,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(guest: &str, migration: &str) -> Sight {
        Sight::Seen(End { guest: guest.into(), migration: migration.into() })
    }

    fn duty() -> Duty {
        Duty { armed: true, stopped: true, ..Duty::default() }
    }

    #[test]
    fn the_guest_is_resumed_where_it_belongs_and_nowhere_else() {
        use Sight::{Ended, Unknown};
        for (source, destination, want) in [
            (seen("paused", "active"), seen("inmigrate", "active"), Verdict::Wait),
            (seen("paused", "device"), seen("paused", "completed"), Verdict::Wait),
            (seen("paused", "never-heard-of"), seen("inmigrate", ""), Verdict::Wait),
            (seen("finish-migrate", "device"), Unknown, Verdict::Wait),
            (seen("postmigrate", "completed"), seen("inmigrate", "active"), Verdict::Wait),
            (seen("postmigrate", "completed"), seen("inmigrate", "failed"), Verdict::ResumeSource),
            (seen("postmigrate", "completed"), seen("paused", "completed"), Verdict::ResumeDestination),
            (seen("postmigrate", "completed"), seen("running", "completed"), Verdict::Runs),
            (seen("postmigrate", "completed"), seen("suspended", "completed"), Verdict::Runs),
            (seen("postmigrate", "completed"), seen("postmigrate", "completed"), Verdict::Wait),
            (seen("postmigrate", "completed"), seen("io-error", "completed"), Verdict::Wait),
            (seen("postmigrate", "completed"), Ended, Verdict::ResumeSource),
            (seen("postmigrate", "completed"), Unknown, Verdict::Wait),
            (seen("paused", "failed"), Unknown, Verdict::ResumeSource),
            (seen("paused", "failed"), Ended, Verdict::ResumeSource),
            (seen("paused", "failed"), seen("running", "completed"), Verdict::Runs),
            (seen("paused", "cancelled"), seen("inmigrate", "failed"), Verdict::ResumeSource),
            (seen("paused", "none"), seen("inmigrate", ""), Verdict::ResumeSource),
            (seen("running", "active"), seen("inmigrate", "active"), Verdict::Runs),
            (seen("running", "active"), Unknown, Verdict::Runs),
            (seen("io-error", "failed"), seen("inmigrate", "failed"), Verdict::Leave),
            (seen("shutdown", "none"), seen("inmigrate", ""), Verdict::Leave),
            (seen("paused", "postcopy-active"), seen("paused", "active"), Verdict::ResumeDestination),
            (seen("paused", "postcopy-paused"), seen("inmigrate", "postcopy-paused"), Verdict::Wait),
            (seen("paused", "postcopy-active"), Unknown, Verdict::Wait),
            (Ended, seen("paused", "completed"), Verdict::ResumeDestination),
            (Ended, seen("inmigrate", "active"), Verdict::Wait),
            (Ended, seen("paused", "postcopy-paused"), Verdict::Wait),
            (Ended, Unknown, Verdict::Wait),
            (Unknown, seen("paused", "completed"), Verdict::ResumeDestination),
            (Unknown, seen("inmigrate", "active"), Verdict::Wait),
            (Unknown, Ended, Verdict::Wait),
            (Unknown, Unknown, Verdict::Wait),
            (Ended, Ended, Verdict::Gone),
        ] {
            assert_eq!(verdict(&source, &destination, &duty()), want, "{source:?} {destination:?}");
        }
    }

    #[test]
    fn a_source_is_never_resumed_where_the_guest_may_run_elsewhere() {
        let ends = |also: &[&str]| {
            let guests = ["running", "paused", "inmigrate", "postmigrate", "finish-migrate", "io-error", "shutdown"];
            let mut all = vec![Sight::Ended, Sight::Unknown];
            for guest in guests {
                for migration in ["", "none", "active", "device", "completed", "failed", "cancelled"].iter().chain(also)
                {
                    all.push(seen(guest, migration));
                }
            }
            all
        };
        let all = ends(&["postcopy-active", "postcopy-paused"]);
        for source in &all {
            for destination in &all {
                // Told to run it, and out of sight: it may.
                let told = Duty { told: true, ..duty() };
                let blind = matches!(destination, Sight::Unknown | Sight::Ended);
                let v = verdict(source, destination, &told);
                assert!(!(blind && v == Verdict::ResumeSource), "told: {source:?} {destination:?}");
                // Post-copy: the source's memory is stale.
                let post_copy = Duty { post_copy: true, ..duty() };
                let v = verdict(source, destination, &post_copy);
                assert_ne!(v, Verdict::ResumeSource, "post-copy: {source:?} {destination:?}");
                // Handed over while it may still have run: out of sight it may run there.
                let armed = Duty { stopped: false, ..duty() };
                let handed = matches!(source, Sight::Seen(s) if s.guest == "postmigrate");
                let v = verdict(source, destination, &armed);
                assert!(!(blind && handed && v == Verdict::ResumeSource), "armed: {source:?} {destination:?}");
                // Nothing is done at an end that is not seen to stand still.
                for (v, end) in [(Verdict::ResumeSource, source), (Verdict::ResumeDestination, destination)] {
                    if verdict(source, destination, &duty()) == v {
                        assert!(matches!(end, Sight::Seen(e) if !e.runs()), "{source:?} {destination:?}");
                    }
                }
            }
        }
    }
}
