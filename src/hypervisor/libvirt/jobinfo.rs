//! What libvirt says of the job a guest has: `domjobinfo --rawstats`, and the same figures in `job-completed`.

use serde_json::{Map, Value};

use super::answer::Answer;
use crate::event::Sample;
use crate::units::PAGE_BYTES;

/// Figures of one job that are kept; libvirt 11 has about 40.
const FIGURES: usize = 64;
/// Longest name of one, bytes.
const NAME_LIMIT: usize = 40;
/// `VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT`.
const OUTGOING: u64 = 5;

/// How far a job is (`virDomainJobType`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// There is none.
    None,
    /// It runs.
    Running,
    /// It ended well.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled and is not gone yet. All its figures are zero then.
    Cancelled,
    /// One that we do not know.
    Unknown(u64),
}

/// A job, and its figures by libvirt's own names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) kind: Kind,
    figures: Vec<(String, u64)>,
}

/// What an answer to `domjobinfo` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// Of the job.
    Job(Job),
    /// That the guest does not run at this host: it is off, or not there.
    Gone,
    /// That this host is where a migration goes to, which has no figures.
    Destination,
    /// Nothing, and why.
    Blind(String),
}

impl Job {
    /// A job of which nothing is said yet.
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, figures: Vec::new() }
    }

    /// Takes in `name: figure`; whether that is what it was.
    pub(super) fn take(&mut self, line: &str) -> bool {
        let Some((name, figure)) = line.split_once(':') else { return false };
        let (name, figure) = (name.trim(), figure.trim().parse::<u64>());
        let plain = !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        match figure {
            Ok(figure) if plain && name.len() <= NAME_LIMIT && self.figures.len() < FIGURES => {
                self.figures.push((name.to_owned(), figure));
                true
            }
            _ => false,
        }
    }

    /// A figure by libvirt's own name.
    pub(super) fn get(&self, name: &str) -> Option<u64> {
        self.figures.iter().find(|(key, _)| key == name).map(|(_, figure)| *figure)
    }

    /// Whether it is a migration of the guest away from this host that runs.
    pub(super) fn is_leaving(&self) -> bool {
        self.kind == Kind::Running && self.get("operation").is_none_or(|operation| operation == OUTGOING)
    }

    /// All of it, by libvirt's own names.
    pub(super) fn raw(&self) -> Value {
        let figures = self.figures.iter().map(|(name, figure)| (name.clone(), Value::from(*figure)));
        Value::Object(figures.collect::<Map<String, Value>>())
    }

    /// What we understand of it; None where it has no figures: before the first are there, and once it is
    /// cancelled, all of them are zero. `pulled`: in post-copy the downtime it reports is not the whole of it.
    pub(super) fn sample(&self, pulled: bool) -> Option<Sample> {
        let total = self.get("memory_total").filter(|total| *total > 0)?;
        if self.kind == Kind::Cancelled {
            return None;
        }
        let over = self.kind == Kind::Completed;
        let float = |name| self.get(name).map(|figure| figure as f64);
        let page = self.get("memory_page_size").filter(|bytes| *bytes > 0).unwrap_or(PAGE_BYTES) as f64;
        Some(Sample {
            transferred_bytes: self.get("memory_processed"),
            // Of a post-copy that was interrupted and went on it says that something is left for ever.
            remaining_bytes: self.get("memory_remaining").filter(|_| !over),
            total_bytes: Some(total),
            round: self.get("memory_iteration"),
            dirty_pages_per_s: float("memory_dirty_rate").map(|rate| rate * page / PAGE_BYTES as f64),
            throughput_bytes_per_s: float("memory_bps").filter(|rate| *rate > 0.0),
            throttle_pct: float("auto_converge_throttle"),
            // The same name for what it expects while it runs, and for what it was.
            expected_downtime_ms: float("downtime").filter(|_| !over),
            downtime_ms: float("downtime").filter(|_| over && !pulled),
            total_time_ms: float("time_elapsed"),
            setup_time_ms: float("setup_time"),
            zero_pages: self.get("memory_constant"),
            progress: None,
        })
    }
}

/// What an answer says.
pub(super) fn read(answer: &Answer) -> Said {
    if let Some(why) = answer.lost() {
        return Said::Blind(why);
    }
    let mut job: Option<Job> = None;
    for line in answer.lines() {
        match (line.strip_prefix("Job type:").map(|kind| kind.trim().parse::<u64>()), &mut job) {
            (Some(Ok(kind)), None) => job = Some(Job::new(kind_of(kind))),
            (None, Some(job)) => drop(job.take(line)),
            _ => {}
        }
    }
    let errors = answer.errors();
    match job {
        Some(job) => Said::Job(job),
        None if answer.is_absent() || errors.iter().any(|e| e.contains("domain is not running")) => Said::Gone,
        None if errors.iter().any(|e| e.contains("only on the source host")) => Said::Destination,
        None => Said::Blind(format!("its answer '{}' is not known", answer.said())),
    }
}

fn kind_of(kind: u64) -> Kind {
    match kind {
        0 => Kind::None,
        1 | 2 => Kind::Running,
        3 => Kind::Completed,
        4 => Kind::Failed,
        5 => Kind::Cancelled,
        other => Kind::Unknown(other),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Said {
        read(&Answer::new(text.lines().map(|line| line.trim().to_owned()).collect(), "domjobinfo g1 --rawstats"))
    }

    fn job(text: &str) -> Job {
        match of(text) {
            Said::Job(job) => job,
            other => panic!("{other:?}"),
        }
    }

    const RUNNING: &str = "virsh # domjobinfo g1 --rawstats
        Job type: 2

        operation: 5
        time_elapsed: 69903
        downtime: 10134
        setup_time: 1
        data_total: 268967936
        data_processed: 356718066
        data_remaining: 24363008
        memory_total: 268967936
        memory_processed: 356718066
        memory_remaining: 24363008
        memory_bps: 5201287
        memory_constant: 35820
        memory_normal: 86838
        memory_normal_bytes: 355688448
        memory_dirty_rate: 1277
        memory_iteration: 6
        memory_postcopy_requests: 0
        memory_page_size: 4096
        disk_total: 0
        disk_processed: 0
        disk_remaining: 0
        auto_converge_throttle: 20";

    #[test]
    fn a_job_that_runs_has_its_figures() {
        let job = job(RUNNING);
        assert!(job.is_leaving());
        let sample = job.sample(false).unwrap();
        assert_eq!((sample.transferred_bytes, sample.remaining_bytes), (Some(356_718_066), Some(24_363_008)));
        assert_eq!((sample.round, sample.dirty_pages_per_s), (Some(6), Some(1277.0)));
        assert_eq!((sample.expected_downtime_ms, sample.downtime_ms), (Some(10134.0), None));
        assert_eq!((sample.throttle_pct, sample.zero_pages), (Some(20.0), Some(35820)));
        assert_eq!(job.raw()["memory_normal"], 86838);
    }

    #[test]
    fn zeroes_are_no_figures() {
        let zero = "\noperation: 5\ntime_elapsed: 0\nmemory_total: 0\nmemory_processed: 0\nmemory_remaining: 0\nmemory_iteration: 0";
        let cancelled = job(&format!("Job type: 5\n{zero}"));
        assert_eq!((cancelled.kind, cancelled.sample(false)), (Kind::Cancelled, None));
        assert!(!cancelled.is_leaving());
        let first = job(&format!("Job type: 2\n{zero}"));
        assert_eq!((first.is_leaving(), first.sample(false)), (true, None));
        assert_eq!(job("Job type: 0").kind, Kind::None);
    }

    #[test]
    fn the_downtime_of_a_job_that_is_over_is_not_what_it_expected() {
        let text =
            RUNNING.replace("Job type: 2", "Job type: 3").replace("downtime: 10134", "downtime: 36\ndowntime_net: 33");
        let sample = job(&text).sample(false).unwrap();
        assert_eq!((sample.expected_downtime_ms, sample.downtime_ms, sample.remaining_bytes), (None, Some(36.0), None));
        assert_eq!(job(&text).sample(true).unwrap().downtime_ms, None, "post-copy's is only QEMU's");
    }

    #[test]
    fn what_is_no_job() {
        assert_eq!(of("error: Requested operation is not valid: domain is not running"), Said::Gone);
        assert_eq!(of("error: failed to get domain 'g1'"), Said::Gone);
        let there = "error: Operation not supported: migration statistics are available only on the source host";
        assert_eq!(of(there), Said::Destination);
        let hung = "error: Disconnected from x due to keepalive timeout\nerror: failed to get domain 'g1'";
        assert!(matches!(of(hung), Said::Blind(_)));
        assert!(matches!(of("hello"), Said::Blind(_)));
        // Another's work is not a migration.
        assert!(!job("Job type: 2\noperation: 8\nmemory_total: 5").is_leaving());
    }

    proptest! {
        #[test]
        fn garbage_is_read_without_harm(text in "(\\PC|\n){0,400}", kind: u64) {
            of(&text);
            if let Said::Job(job) = of(&format!("Job type: {kind}\n{text}")) {
                job.sample(true);
                prop_assert!(job.raw().as_object().unwrap().len() <= FIGURES);
            }
        }
    }
}
