//! Requests for load: their numbers, and the ramp that makes them by itself. Decides only; the
//! controller records and sends.

use std::collections::VecDeque;
use std::time::Duration;

use super::patience::ns;
use crate::event::{DirtyCycle, LoadSettings, Nanos};
use crate::load::ramp::{cycle_at, rate_after};
use crate::load::{MAX_RATE, RampSpec};

/// Distance of a ramp's steps, ns of the session clock.
const STEP: Nanos = 100_000_000;
/// The same where the clock goes faster: no closer than that, ns of real time.
const STEP_LEAST: Nanos = 5_000_000;
/// Steps remembered: a request made while the screen still showed one of them means no change of
/// RATE. At ten a second, more than any screen is behind.
const REMEMBERED: usize = 64;

/// A request that goes out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Request {
    pub(crate) id: u64,
    pub(crate) to: LoadSettings,
    /// The ramp ends: with a change of RATE, BPC or PERIOD, before it; with the last step, after it.
    pub(crate) ends_ramp: bool,
}

/// All requests of a session.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    /// The highest number given out.
    last: u64,
    newest: Option<LoadSettings>,
    ramp: Option<Ramp>,
    /// Distance of a ramp's steps, if not the usual.
    step: Option<Nanos>,
}

#[derive(Debug)]
struct Ramp {
    from: f64,
    to: f64,
    over: Duration,
    began: Nanos,
    next: Nanos,
    /// What PERIOD is held from.
    base: DirtyCycle,
    steps: VecDeque<DirtyCycle>,
}

impl Ramp {
    fn cycle(&self, now: Nanos) -> DirtyCycle {
        let elapsed = Duration::from_nanos(now.saturating_sub(self.began));
        cycle_at(self.base, rate_after(self.from, self.to, self.over, elapsed))
    }
}

impl Requests {
    /// The requests of a session whose clock goes so many times as fast as real time: a ramp has as many
    /// steps there.
    pub(crate) fn at_speed(speed: f64) -> Self {
        let step = STEP.max((STEP_LEAST as f64 * speed) as Nanos);
        Self { step: Some(step), ..Self::default() }
    }

    /// Takes in what somebody asked for, and gives it its number. Numbers rise by one.
    pub(crate) fn take(&mut self, to: LoadSettings, now: Nanos) -> Request {
        let mut to = to;
        let mut ends_ramp = false;
        if let Some(ramp) = &self.ramp {
            if ramp.steps.contains(&to.dirty) {
                to.dirty = ramp.cycle(now);
            } else {
                self.ramp = None;
                ends_ramp = true;
            }
        }
        self.request(to, ends_ramp)
    }

    fn request(&mut self, to: LoadSettings, ends_ramp: bool) -> Request {
        self.last += 1;
        self.newest = Some(to);
        Request { id: self.last, to, ends_ramp }
    }

    /// Begins a ramp on top of the newest request, or of `set` before there is one. The first step
    /// is due at once.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn begin(
        &mut self,
        from: f64,
        to: f64,
        over: Duration,
        set: LoadSettings,
        now: Nanos,
    ) -> Result<(), String> {
        for rate in [from, to] {
            if !(rate.is_finite() && (0.0..=MAX_RATE).contains(&rate)) {
                return Err(format!("invalid RATE {rate} pages/s: expected 0 to 1,000,000,000"));
            }
        }
        if over.is_zero() {
            return Err("a ramp takes some time: give for instance 20s".into());
        }
        let newest = *self.newest.get_or_insert(set);
        let base = self.ramp.as_ref().map_or(newest.dirty, |former| former.base);
        let steps = VecDeque::from([newest.dirty]);
        self.ramp = Some(Ramp { from, to, over, began: now, next: now, base, steps });
        Ok(())
    }

    /// When the next step is due; None without a ramp.
    pub(crate) fn due(&self) -> Option<Nanos> {
        self.ramp.as_ref().map(|ramp| ramp.next)
    }

    /// The step that is due.
    pub(crate) fn step(&mut self, now: Nanos) -> Option<Request> {
        let every = self.step.unwrap_or(STEP);
        let ramp = self.ramp.as_mut()?;
        let dirty = ramp.cycle(now);
        if ramp.steps.len() >= REMEMBERED {
            ramp.steps.pop_front();
        }
        ramp.steps.push_back(dirty);
        let end = ramp.began.saturating_add(ns(ramp.over));
        // Steps that were missed are not made up for.
        let gone = now.saturating_sub(ramp.began) / every;
        ramp.next = ramp.began.saturating_add(every.saturating_mul(gone + 1)).min(end);
        let last = now >= end;
        if last {
            self.ramp = None;
        }
        let to = LoadSettings { dirty, ..self.newest? };
        Some(self.request(to, last))
    }

    /// Ends the ramp where it is; whether there was one.
    pub(crate) fn end(&mut self) -> bool {
        self.ramp.take().is_some()
    }
}

/// What asks for a ramp that begins at `rate` unless it says otherwise.
pub(crate) fn intent(ramp: &RampSpec, rate: f64) -> crate::event::Intent {
    crate::event::Intent::Ramp {
        from_pages_per_s: ramp.from_pages_per_s.unwrap_or(rate),
        to_pages_per_s: ramp.to_pages_per_s,
        over_ns: u64::try_from(ramp.over.as_nanos()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const MS: Nanos = 1_000_000;
    /// When it all begins.
    const T: Nanos = 7_777;

    fn load(rate: u64, wset: u64) -> LoadSettings {
        let dirty = DirtyCycle { bpc_pages: rate / 100, period_ns: 10_000_000 };
        LoadSettings { dirty, wset_bytes: wset * MIB, ..LoadSettings::default() }
    }

    /// All steps of a ramp that is served on time, with the time of each in ms.
    fn run(requests: &mut Requests, began: Nanos) -> Vec<(u64, Request)> {
        let mut steps = Vec::new();
        while let Some(due) = requests.due() {
            steps.push(((due - began) / MS, requests.step(due).unwrap()));
        }
        steps
    }

    #[test]
    fn a_ramp_goes_straight_to_its_end_at_ten_steps_a_second() {
        let (mut requests, t) = (Requests::default(), T);
        assert_eq!(requests.take(load(500, 96), t).id, 1);
        requests.begin(2000.0, 4000.0, Duration::from_millis(1050), load(0, 0), t).unwrap();
        let steps = run(&mut requests, t);
        let times: Vec<u64> = steps.iter().map(|s| s.0).collect();
        assert_eq!(times, [0, 100, 200, 300, 400, 500, 600, 700, 800, 900, 1000, 1050]);
        for (ms, step) in &steps {
            let wanted = 2000.0 + 2000.0 * *ms as f64 / 1050.0;
            assert!((step.to.dirty.rate_pages_per_s() - wanted).abs() < 0.01, "{ms} ms: {step:?}");
            assert_eq!(step.to.wset_bytes, 96 * MIB);
            assert_eq!(step.ends_ramp, *ms == 1050);
        }
        assert_eq!(steps.last().unwrap().1.to.dirty, load(4000, 0).dirty, "PERIOD as at the beginning");
        let ids: Vec<u64> = steps.iter().map(|s| s.1.id).collect();
        assert_eq!(ids, (2..=13).collect::<Vec<_>>());
    }

    #[test]
    fn a_changed_rate_ends_it_and_anything_else_goes_with_it() {
        let (mut requests, t) = (Requests::default(), T);
        let at = |ms| t + ms * MS;
        requests.take(load(1000, 96), t);
        requests.begin(1000.0, 11_000.0, Duration::from_secs(10), load(0, 0), t).unwrap();
        let shown = requests.step(at(0)).unwrap().to;
        requests.step(at(100));
        // The screen is a step behind, and changes WSET only.
        let request = requests.take(LoadSettings { wset_bytes: 64 * MIB, ..shown }, at(150));
        assert!(!request.ends_ramp && request.to.wset_bytes == 64 * MIB, "{request:?}");
        assert!((request.to.dirty.rate_pages_per_s() - 1150.0).abs() < 0.01, "{request:?}");
        assert_eq!(requests.step(at(200)).unwrap().to.wset_bytes, 64 * MIB);
        let request = requests.take(load(9000, 64), at(250));
        assert!(request.ends_ramp && request.to == load(9000, 64), "{request:?}");
        assert_eq!((requests.due(), requests.end()), (None, false));
    }

    #[test]
    fn what_is_no_ramp_is_refused() {
        let (mut requests, t) = (Requests::default(), T);
        let second = Duration::from_secs(1);
        for (from, to, over) in
            [(-1.0, 5.0, second), (5.0, f64::NAN, second), (0.0, 2e9, second), (0.0, 1.0, Duration::ZERO)]
        {
            assert!(requests.begin(from, to, over, load(0, 0), t).is_err(), "{from} {to} {over:?}");
        }
        assert!(requests.due().is_none());
    }

    #[test]
    fn a_late_step_is_on_the_line_all_the_same() {
        let (mut requests, t) = (Requests::default(), T);
        requests.begin(0.0, 1000.0, Duration::from_secs(1), load(0, 32), t).unwrap();
        let step = requests.step(t + 730 * MS).unwrap();
        assert!((step.to.dirty.rate_pages_per_s() - 730.0).abs() < 0.01 && !step.ends_ramp, "{step:?}");
        assert_eq!(requests.due(), Some(t + 800 * MS));
        let step = requests.step(t + 5000 * MS).unwrap();
        assert!(step.ends_ramp && (step.to.dirty.rate_pages_per_s() - 1000.0).abs() < 0.01, "{step:?}");
    }
}
