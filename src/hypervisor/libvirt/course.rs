//! The course of one migration, from what libvirt and QEMU say of it. Pure: no clock, no process.

use super::events::{LibvirtEvent, QemuEvent};
use super::jobinfo::{Job, Kind, Said};
use crate::event::{Phase, Substate};
use crate::hypervisor::Side;

/// Longest of the product's words that is kept, bytes.
const RAW_LIMIT: usize = 80;
/// So many looks in a row have to say that there is no job any more: the first may come before it begins.
const GONE_LOOKS: u32 = 3;

/// What is known of a migration that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Course {
    /// The guest stood still before it began, and will stand still afterwards.
    pub(super) asleep: bool,
    /// Memory is being copied.
    copying: bool,
    /// The guest has been stopped at the source.
    pub(super) stopped: bool,
    /// Post-copy has begun.
    pub(super) pulled: bool,
    /// Post-copy has lost its connection.
    broken: bool,
    /// The guest runs at the destination.
    pub(super) resumed: bool,
    /// All of its memory is there.
    whole: bool,
    /// It was seen to be cancelled.
    pub(super) cancelled: bool,
    /// The source's QEMU was told to cancel. libvirt does that, too, where it has lost the other host.
    pub(super) aborted: bool,
    /// The source has taken its guest down, since the other has it.
    pub(super) left: bool,
    /// The last figures.
    pub(super) completed: Option<Job>,
    /// What ended it at one of the hosts, in libvirt's words.
    pub(super) trouble: Option<String>,
    /// A job was seen; so many looks since then have seen none.
    seen: bool,
    gone: u32,
    /// libvirt's or QEMU's own word for where it is.
    raw: String,
}

impl Course {
    /// Of one that is seen under way: the guest may have been stopped already, and post-copy have begun.
    pub(super) fn under_way(stopped: bool, pulled: bool) -> Self {
        let raw = "seen under way".into();
        Self { seen: true, copying: true, stopped: stopped || pulled, pulled, resumed: pulled, raw, ..Self::default() }
    }

    /// The phase it is in while it is not over, in our words and in theirs.
    pub(super) fn phase(&self) -> (Phase, &str, Option<Substate>) {
        let paused = self.broken.then_some(Substate::Paused);
        let (phase, substate) = match () {
            () if self.resumed && self.pulled && !self.whole => (Phase::PostCopy, paused),
            () if self.resumed => (Phase::Recovery, None),
            () if self.stopped => (Phase::StopAndCopy, paused),
            () if self.copying => (Phase::PreCopy, None),
            () => (Phase::Setup, None),
        };
        (phase, if self.raw.is_empty() { "started" } else { &self.raw }, substate)
    }

    /// Whether libvirt says that it is done.
    pub(super) fn is_done(&self) -> bool {
        self.completed.is_some() || self.left
    }

    /// Whether nothing is left of it at the source, or one of the hosts gave it up.
    pub(super) fn is_over(&self) -> bool {
        self.trouble.is_some() || (self.seen && self.gone >= GONE_LOOKS)
    }

    /// Pre-copy goes on with the guest running, so that a round is a round.
    pub(super) fn is_live(&self) -> bool {
        !self.stopped && !self.resumed
    }

    fn say(&mut self, raw: &str) {
        self.raw = crate::text::capped(raw, RAW_LIMIT).into_owned();
    }

    /// libvirt tells this of the guest at that end.
    pub(super) fn libvirt(&mut self, side: Side, event: &LibvirtEvent) {
        match (side, event) {
            (Side::Source, LibvirtEvent::Round(_)) => self.copying = true,
            (Side::Source, LibvirtEvent::Completed(job)) if job.get("operation") == Some(5) => {
                self.completed = Some(job.clone());
            }
            (_, LibvirtEvent::Life { what, how }) => {
                self.say(&format!("{what} {how}"));
                self.life(side, what, how);
            }
            _ => {}
        }
    }

    fn life(&mut self, side: Side, what: &str, how: &str) {
        match (side, what, how) {
            (Side::Source, "Suspended", "Post-copy Error") => self.broken = true,
            (Side::Source, "Suspended", "Post-copy") => (self.pulled, self.stopped) = (true, true),
            (Side::Source, "Suspended", _) => self.stopped = !self.asleep,
            (Side::Source, "Resumed", _) => self.stopped = false,
            (Side::Source, "Stopped", "Migrated") => self.left = true,
            (Side::Source, "Stopped" | "Crashed", _) => self.trouble = Some(format!("{what} {how} at the source")),
            (Side::Destination, "Resumed", "Post-copy") => (self.pulled, self.resumed) = (true, true),
            (Side::Destination, "Resumed", _) => (self.resumed, self.whole, self.broken) = (true, true, false),
            (Side::Destination, "Stopped" | "Crashed", _) => {
                self.trouble = Some(format!("{what} {how} at the destination"));
            }
            _ => {}
        }
    }

    /// QEMU itself tells this. `alone`: libvirt's own events are not heard from that end.
    pub(super) fn qemu(&mut self, side: Side, event: &QemuEvent, alone: bool) {
        let status = event.data["status"].as_str().filter(|_| event.name == "MIGRATION" && side == Side::Source);
        if let Some(status) = status {
            self.say(status);
            self.broken = matches!(status, "postcopy-paused" | "postcopy-recover" | "postcopy-recover-setup");
            self.pulled |= status.starts_with("postcopy");
            self.copying |= status == "active";
            self.aborted |= matches!(status, "cancelling" | "cancelled");
        }
        match (side, event.name.as_str()) {
            (Side::Source, "STOP") => self.stopped = !self.asleep,
            (Side::Source, "RESUME") => self.stopped = false,
            (Side::Source, "MIGRATION_PASS") => self.copying = true,
            // libvirt's word for it says whether its memory is there.
            (Side::Destination, "RESUME") if alone => (self.resumed, self.whole) = (true, !self.pulled),
            _ => {}
        }
    }

    /// A look at its job.
    pub(super) fn look(&mut self, said: &Said) {
        match said {
            Said::Job(job) if job.is_leaving() => {
                (self.seen, self.gone) = (true, 0);
                self.copying |= job.get("memory_iteration").is_some_and(|round| round > 0);
            }
            Said::Job(job) if job.kind == Kind::Cancelled => (self.seen, self.gone, self.cancelled) = (true, 0, true),
            Said::Job(_) | Said::Gone | Said::Destination => self.gone = self.gone.saturating_add(1),
            Said::Blind(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hypervisor::libvirt::events::Reader;

    /// Takes in lines as virsh printed them, `<` from the source and `>` from the destination, and gives the phases.
    fn phases(course: &mut Course, lines: &str) -> Vec<Phase> {
        let mut readers = [Reader::new("g1"), Reader::new("g1")];
        let mut phases = vec![course.phase().0];
        for line in lines.lines() {
            let (side, text) = line.trim().split_at(1);
            let side = if side == "<" { Side::Source } else { Side::Destination };
            for event in readers[usize::from(side == Side::Destination)].push(text.trim()) {
                course.libvirt(side, &event);
                let phase = course.phase().0;
                if phases.last() != Some(&phase) {
                    phases.push(phase);
                }
            }
        }
        phases
    }

    #[test]
    fn a_migration_that_ends_well() {
        let mut course = Course::default();
        let phases = phases(
            &mut course,
            "> 2026-11-26 20:42:11.216+0000: event 'lifecycle' for domain 'g1': Started Migrated
             < 2026-11-26 20:42:11.235+0000: event 'migration-iteration' for domain 'g1': iteration: '1'
             < 2026-11-26 20:42:18.543+0000: event 'lifecycle' for domain 'g1': Suspended Migrated
             < 2026-11-26 20:42:18.556+0000: event 'migration-iteration' for domain 'g1': iteration: '6'
             > 2026-11-26 20:42:18.578+0000: event 'lifecycle' for domain 'g1': Resumed Migrated
             < 2026-11-26 20:42:20.601+0000: event 'lifecycle' for domain 'g1': Stopped Migrated",
        );
        assert_eq!(phases, [Phase::Setup, Phase::PreCopy, Phase::StopAndCopy, Phase::Recovery]);
        assert!(course.is_done() && !course.is_over());
    }

    #[test]
    fn a_post_copy_that_loses_its_link_and_finds_it_again() {
        let mut course = Course::default();
        let before = phases(
            &mut course,
            "< x: event 'migration-iteration' for domain 'g1': iteration: '1'
             < x: event 'lifecycle' for domain 'g1': Suspended Migrated
             < x: event 'lifecycle' for domain 'g1': Suspended Post-copy
             > x: event 'lifecycle' for domain 'g1': Resumed Post-copy
             < x: event 'lifecycle' for domain 'g1': Suspended Post-copy Error",
        );
        assert_eq!(before, [Phase::Setup, Phase::PreCopy, Phase::StopAndCopy, Phase::PostCopy]);
        assert_eq!(course.phase(), (Phase::PostCopy, "Suspended Post-copy Error", Some(Substate::Paused)));
        assert!(!course.is_done());
        let after = phases(
            &mut course,
            "> x: event 'lifecycle' for domain 'g1': Resumed Migrated
             < x: event 'lifecycle' for domain 'g1': Stopped Migrated",
        );
        assert_eq!(after, [Phase::PostCopy, Phase::Recovery]);
        assert!(course.is_done());
    }

    #[test]
    fn a_stopped_guest_that_is_resumed_at_the_source_runs_there() {
        let mut course = Course::default();
        let phases = phases(
            &mut course,
            "< x: event 'migration-iteration' for domain 'g1': iteration: '1'
             < x: event 'lifecycle' for domain 'g1': Suspended Migrated
             > x: event 'lifecycle' for domain 'g1': Stopped Failed
             < x: event 'lifecycle' for domain 'g1': Resumed Migrated",
        );
        assert_eq!(phases, [Phase::Setup, Phase::PreCopy, Phase::StopAndCopy, Phase::PreCopy]);
        assert!(course.is_over() && !course.is_done());
    }

    #[test]
    fn a_job_that_is_gone_is_over_and_one_that_has_not_begun_is_not() {
        let none = Said::Job(Job::new(Kind::None));
        let mut course = Course::default();
        (0..9).for_each(|_| course.look(&none));
        assert!(!course.is_over(), "it has not begun");
        course.look(&Said::Job(Job::new(Kind::Running)));
        (0..9).for_each(|_| course.look(&Said::Blind("?".into())));
        assert!(!course.is_over(), "blind is not over");
        course.look(&Said::Job(Job::new(Kind::Cancelled)));
        (0..GONE_LOOKS).for_each(|_| course.look(&Said::Gone));
        assert!(course.is_over() && course.cancelled);
    }

    #[test]
    fn qemus_words_are_kept_and_its_resume_counts_alone_only() {
        let of = |name: &str, data| QemuEvent { name: name.into(), at: None, data };
        let mut course = Course::default();
        course.qemu(Side::Source, &of("MIGRATION", json!({"status": "active"})), false);
        assert_eq!(course.phase(), (Phase::PreCopy, "active", None));
        course.qemu(Side::Source, &of("STOP", json!(null)), false);
        course.qemu(Side::Destination, &of("RESUME", json!(null)), false);
        assert_eq!(course.phase().0, Phase::StopAndCopy, "whether in post-copy, libvirt says");
        course.qemu(Side::Destination, &of("RESUME", json!(null)), true);
        assert_eq!(course.phase().0, Phase::Recovery);
        let mut asleep = Course { asleep: true, ..Course::default() };
        asleep.qemu(Side::Source, &of("STOP", json!(null)), false);
        assert_eq!(asleep.phase().0, Phase::Setup);
        assert!(!course.aborted);
        course.qemu(Side::Destination, &of("MIGRATION", json!({"status": "cancelled"})), false);
        assert!(!course.aborted, "the source's counts");
        course.qemu(Side::Source, &of("MIGRATION", json!({"status": "cancelling"})), false);
        assert!(course.aborted);
    }
}
