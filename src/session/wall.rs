//! Times by the wall clock, for people.
//!
//! The wall clock is that of the session's beginning, as the machine had it that recorded it: where it was set or the
//! machine slept meanwhile, it is not followed.

use std::time::Duration;

use jiff::civil::Time;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, ZonedDateTime};

use super::state::State;
use crate::event::{Header, Nanos};
use crate::units::{parse_duration, show_duration};

/// The wall clock of a session, read in a time zone.
#[derive(Debug, Clone)]
pub struct Wall {
    origin_unix_ns: u64,
    zone: TimeZone,
}

impl Wall {
    /// In the time zone of this machine. None where the session has no wall clock: a simulated one, or one that did
    /// not know it.
    #[must_use]
    pub fn of(state: &State) -> Option<Self> {
        Self::of_header(state.header.as_ref()?, TimeZone::system())
    }

    pub(crate) fn of_header(header: &Header, zone: TimeZone) -> Option<Self> {
        let known = !header.simulated && header.wall_origin_unix_ns > 0;
        known.then(|| Self { origin_unix_ns: header.wall_origin_unix_ns, zone })
    }

    fn zoned(&self, t: Nanos) -> Option<ZonedDateTime> {
        let at = Timestamp::from_nanosecond(i128::from(self.origin_unix_ns) + i128::from(t)).ok()?;
        Some(at.to_zoned_datetime(self.zone.clone()))
    }

    /// A time of the session clock in the form of RFC 3339, to the millisecond, with the offset of the zone.
    #[must_use]
    pub fn time(&self, t: Nanos) -> Option<String> {
        Some(self.zoned(t)?.strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
    }

    /// The same as `14:03:17`, with as many decimals as tell neighbours `step` ns apart.
    #[must_use]
    pub fn clock(&self, t: Nanos, step: Nanos) -> String {
        let form = match step {
            step if step >= 1_000_000_000 => "%H:%M:%S",
            step if step >= 100_000_000 => "%H:%M:%S%.1f",
            _ => "%H:%M:%S%.3f",
        };
        self.zoned(t).map_or_else(|| "?".to_owned(), |at| at.strftime(form).to_string())
    }

    /// The offset of the zone at a time of the session clock: `UTC+02:00`.
    #[must_use]
    pub fn offset(&self, t: Nanos) -> String {
        self.zoned(t).map_or_else(|| "UTC?".to_owned(), |at| at.strftime("UTC%:z").to_string())
    }

    /// How long after midnight the session began, ns: round times of the wall clock are where this and a time of the
    /// session clock add up to one. Where the zone's offset changes during a session, that is not followed.
    #[must_use]
    pub fn after_midnight(&self) -> Nanos {
        let of = |at: ZonedDateTime| at.time().duration_since(Time::midnight()).as_nanos();
        self.zoned(0).and_then(|at| u64::try_from(of(at)).ok()).unwrap_or(0)
    }
}

/// A time of the session clock by the wall clock: RFC 3339 to the millisecond, with the offset of the time zone it is
/// read in. None where the session has no wall clock.
#[must_use]
pub(super) fn time(state: &State, t: Nanos) -> Option<String> {
    Wall::of(state)?.time(t)
}

/// Reads an instant of a session: a time of RFC 3339, one of the day (`14:03:17`: the first such since the session
/// began), or how long after the beginning (`25.4`, in seconds, or `90s`). ns of the session clock.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub fn instant(header: &Header, text: &str) -> Result<Nanos, String> {
    instant_in(header, text, TimeZone::system())
}

fn instant_in(header: &Header, text: &str, zone: TimeZone) -> Result<Nanos, String> {
    let wrong = || {
        format!(
            "invalid time '{text}': expected RFC 3339 (2026-11-27T14:03:17+01:00), a time of the day (14:03:17), or \
             seconds since the session began (25.4)"
        )
    };
    if !text.contains(':') {
        let seconds = text.parse::<f64>().ok().and_then(|s| Duration::try_from_secs_f64(s).ok());
        let since = seconds.or_else(|| parse_duration(text).ok()).ok_or_else(wrong)?;
        return u64::try_from(since.as_nanos()).map_err(|_| wrong());
    }
    let day = text.parse::<Timestamp>();
    if day.is_err() && text.contains(['T', 't']) {
        return Err(wrong());
    }
    let Some(wall) = Wall::of_header(header, zone) else {
        return Err(format!(
            "'{text}': this session has no wall clock; give the seconds since it began, for instance 25.4"
        ));
    };
    let began = wall.zoned(0).ok_or_else(wrong)?;
    let at = match day {
        Ok(at) => at.to_zoned_datetime(wall.zone.clone()),
        Err(_) => {
            let at = began.with().time(text.parse::<Time>().map_err(|_| wrong())?).build().map_err(|_| wrong())?;
            // What was told with whole seconds is not before what began within that second.
            let second = began.checked_sub(1.second()).map_err(|_| wrong())?;
            if at < second { at.checked_add(1.day()).map_err(|_| wrong())? } else { at }
        }
    };
    let since = at.timestamp().as_nanosecond() - i128::from(wall.origin_unix_ns);
    match u64::try_from(since) {
        Ok(t) => Ok(t),
        Err(_) if since > -1_000_000_000 => Ok(0),
        Err(_) => {
            let early = show_duration(Duration::from_nanos(u64::try_from(-since).unwrap_or(u64::MAX)));
            Err(format!("'{text}' is {early} before the session began, at {}", wall.time(0).unwrap_or_default()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::testing::header;

    const S: Nanos = 1_000_000_000;

    /// A session that began on 2026-11-22 at 19:45:00.5 UTC.
    fn began() -> Header {
        Header { wall_origin_unix_ns: 1_795_376_700_500_000_000, simulated: false, ..header() }
    }

    fn zone(hours: i8) -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(hours))
    }

    #[test]
    fn rfc_3339_with_the_offset() {
        let time = |zone, t| Wall::of_header(&began(), zone).unwrap().time(t).unwrap();
        assert_eq!(time(TimeZone::UTC, S), "2026-11-22T19:45:01.500+00:00");
        assert_eq!(time(zone(-3), 0), "2026-11-22T16:45:00.500-03:00");
        let late = Header { wall_origin_unix_ns: u64::MAX, ..began() };
        assert!(Wall::of_header(&late, TimeZone::UTC).unwrap().time(u64::MAX).is_some());
        assert!(Wall::of_header(&Header { simulated: true, ..began() }, TimeZone::UTC).is_none());
        assert!(Wall::of_header(&Header { wall_origin_unix_ns: 0, ..began() }, TimeZone::UTC).is_none());
    }

    #[test]
    fn the_clock_is_as_exact_as_it_has_to_be_and_knows_its_zone() {
        let wall = Wall::of_header(&began(), zone(2)).unwrap();
        let clock = |step| wall.clock(12_345 * S / 1000, step);
        assert_eq!((clock(5 * S).as_str(), clock(S / 5).as_str()), ("21:45:12", "21:45:12.8"));
        assert_eq!((clock(S / 100).as_str(), wall.offset(0).as_str()), ("21:45:12.845", "UTC+02:00"));
        assert_eq!(wall.after_midnight(), (21 * 3600 + 45 * 60) * S + S / 2);
    }

    #[test]
    fn an_instant_is_told_in_three_ways() {
        let at = |text: &str| instant_in(&began(), text, zone(2));
        assert_eq!((at("25.4"), at("90s"), at("0")), (Ok(25_400_000_000), Ok(90 * S), Ok(0)));
        assert_eq!(at("2026-11-22T19:46:00.500Z"), Ok(60 * S));
        assert_eq!(at("2026-11-22T21:46:00.500+02:00"), Ok(60 * S));
        assert_eq!((at("21:46:00.5"), at("21:45:00"), at("21:46")), (Ok(60 * S), Ok(0), Ok(59 * S + S / 2)));
        assert_eq!(at("00:00:00"), Ok((2 * 3600 + 15 * 60) * S - S / 2), "the first such since it began");
        let why = at("2026-11-22T19:00:00Z").unwrap_err();
        assert!(why.contains("45m00s before the session began, at 2026-11-22T21:45:00.500+02:00"), "{why}");
        for wrong in ["", "x", "-3", "25:00", "2026-11-22T", "NaN", "1e300", "14:03:17:00"] {
            assert!(at(wrong).unwrap_err().starts_with("invalid time '"), "{wrong}: {:?}", at(wrong));
        }
        let simulated = Header { simulated: true, ..began() };
        assert!(instant_in(&simulated, "21:46", zone(2)).unwrap_err().contains("no wall clock"));
        assert_eq!(instant_in(&simulated, "7", zone(2)), Ok(7 * S));
    }
}
