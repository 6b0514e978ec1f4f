//! Forecasts: what a migration will be, said anew whenever something it depends on has changed, and
//! each second while one runs. A source of events as any other; it takes no part in measuring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::analysis::prediction::Calibration;
use crate::event::{Body, EventSink, Level, LogEvent, MigrationEnd, MigrationEvent, Nanos, StopForecast, Then};
use crate::load::clock;
use crate::session::Shared;
use crate::session::outlook::{Question, Rests, question};
use crate::session::state::State;
use crate::session::stopping::stop_forecast;

/// Reads a calibration file.
pub(crate) fn read_calibration(path: &str) -> Result<Calibration, String> {
    let text = crate::files::read_text(std::path::Path::new(path), crate::files::SETTINGS_LIMIT)
        .map_err(|e| format!("{path} cannot be read: {e}"))?;
    let calibration: Calibration = toml::from_str(&text)
        .map_err(|e| format!("{path} cannot be read as a calibration ('blackout calibrate --out' writes them): {e}"))?;
    calibration.check().map_err(|why| format!("{path}: {why}"))?;
    Ok(calibration)
}

/// How often it is looked whether something has changed, in the session's time.
const LOOK: Duration = Duration::from_millis(250);
/// The same in real time at least.
const LOOK_LEAST: Duration = Duration::from_millis(10);
/// While a migration runs it is said anew so often, in the session's time, ns.
const ANEW_NS: u64 = 1_000_000_000;
/// It rests so many times as long as it worked: at most a tenth of one CPU.
const REST: u32 = 9;

/// Whether there is nothing to forecast: the session has ended, or a migration is done and its guest not yet
/// known to answer.
fn is_over(state: &State) -> bool {
    state.ended.is_some()
        || state
            .migrations
            .last()
            .is_some_and(|m| matches!(m.ended, Some((_, MigrationEnd::Done))) && m.settled.is_none())
}

/// Forecasts until it is dropped.
pub(crate) struct Forecaster {
    over: Arc<AtomicBool>,
}

impl Drop for Forecaster {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Begins to forecast; None where no thread can be had, and a session does without.
pub(crate) fn begin(sink: EventSink, shared: Shared, rests: Rests) -> Option<Forecaster> {
    let over = Arc::new(AtomicBool::new(false));
    let of_thread = Arc::clone(&over);
    let look = LOOK.div_f64(sink.clock().speed().max(1.0)).max(LOOK_LEAST);
    tell_stops(sink.clone(), shared.clone(), Arc::clone(&over), look);
    let work = move || {
        clock::stand_back();
        let (mut last, mut said_at, mut told, mut unknown) = (None, 0, None, None);
        while !of_thread.load(Ordering::Relaxed) {
            let now = sink.clock().now();
            let asked = shared.with_state(|state| if is_over(state) { Ok(None) } else { question(state, &rests, now) });
            let asked = asked.unwrap_or_else(|why| {
                // Once; there will be none as long as this product is what it is.
                if unknown.as_ref() != Some(&why) {
                    tell(&sink, why.to_string());
                    unknown = Some(why);
                }
                None
            });
            let due = match (&asked, &last) {
                (Some(asked), Some(last)) => differs(asked, last) || (asked.seen.is_some() && now >= said_at + ANEW_NS),
                (Some(_), None) => true,
                (None, _) => false,
            };
            let began = Instant::now();
            if let Some(asked) = asked.filter(|_| due) {
                let answer = asked.answer();
                if of_thread.load(Ordering::Relaxed) {
                    return;
                }
                match answer {
                    Ok(forecast) => {
                        let (n, of) = (asked.n, asked.of);
                        sink.emit(Body::Migration(MigrationEvent::Forecast { n, of, forecast }));
                    }
                    // Once, and not each time something else is changed.
                    Err(why) if told.as_ref() == Some(&why) => {}
                    Err(why) => {
                        tell(&sink, format!("no forecast: {why}"));
                        told = Some(why);
                    }
                }
                (last, said_at) = (Some(asked), now);
            }
            std::thread::sleep(look.max(began.elapsed() * REST));
        }
    };
    std::thread::Builder::new().name("forecast".into()).spawn(work).ok()?;
    Some(Forecaster { over })
}

/// Says why there is no forecast.
fn tell(sink: &EventSink, text: String) {
    sink.emit(Body::Log(LogEvent { level: Level::Warn, from: "forecast".into(), text }));
}

/// Tells of stops on a thread of its own: a forecast may take long, and a stop is over soon. Without a thread a
/// session does without.
fn tell_stops(sink: EventSink, shared: Shared, over: Arc<AtomicBool>, look: Duration) {
    let work = move || {
        while !over.load(Ordering::Relaxed) {
            if let Some((n, of, forecast)) = shared.with_state(|state| stop_to_tell(state, sink.clock().now())) {
                sink.emit(Body::Migration(MigrationEvent::StopForecast { n, of, forecast }));
            }
            std::thread::sleep(look);
        }
    };
    let _ = std::thread::Builder::new().name("stops".into()).spawn(work);
}

/// What is to be told of a stop: how long the guest would stand still, as it was known when it was ordered to
/// stop; and while it stands, each second anew how long it still will.
fn stop_to_tell(state: &State, now: Nanos) -> Option<(u32, Nanos, StopForecast)> {
    let m = state.migrations.last()?;
    let ordered = m.ruled.iter().find(|(_, _, then)| *then == Then::StopAndCopy).map(|(t, ..)| *t)?;
    let of = match (&m.stop_predicted, m.stop_left.last()) {
        (None, _) => m.stopped.as_ref().map_or(ordered, |(stopped, ..)| ordered.min(*stopped)),
        (Some(_), last) => {
            let (stopped, ..) = m.stopped.as_ref()?;
            Some(now).filter(|now| *now >= last.map_or(*stopped, |(of, _)| *of).saturating_add(ANEW_NS))?
        }
    };
    Some((m.n, of, stop_forecast(state, m, of)?))
}

/// Whether it is another question, time apart.
fn differs(a: &Question, b: &Question) -> bool {
    let rounds = |q: &Question| q.seen.as_ref().map(|seen| (seen.rounds.len(), seen.stopped_s.is_some()));
    // Below the jump rounds may follow each other ten times a second; then once a second is enough.
    a.n != b.n
        || a.situation != b.situation
        // While it runs, what is known of its memory changes with every sample.
        || (a.basis != b.basis && a.seen.is_none())
        || (rounds(a) != rounds(b) && a.seen.as_ref().is_some_and(|s| s.rounds.len() <= 3))
}
