//! Times by the wall clock, for people.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::state::State;
use crate::event::Nanos;

/// A time of the session clock by the wall clock: RFC 3339 to the millisecond, with the offset of the time
/// zone it is read in. None where the session has no wall clock: a simulated one, or one that did not
/// know it.
///
/// The wall clock is that of the session's beginning: where it was set or the machine slept meanwhile, it
/// is not followed.
#[must_use]
pub(super) fn time(state: &State, t: Nanos) -> Option<String> {
    let header = state.header.as_ref().filter(|h| !h.simulated && h.wall_origin_unix_ns > 0)?;
    in_zone(header.wall_origin_unix_ns, t, TimeZone::system())
}

fn in_zone(origin_unix_ns: u64, t: Nanos, zone: TimeZone) -> Option<String> {
    let at = Timestamp::from_nanosecond(i128::from(origin_unix_ns) + i128::from(t)).ok()?;
    Some(at.to_zoned_datetime(zone).strftime("%Y-%m-%dT%H:%M:%S%.3f%:z").to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_3339_with_the_offset() {
        let origin = 1_795_376_700_000_000_000;
        assert_eq!(in_zone(origin, 1_500_000_000, TimeZone::UTC).unwrap(), "2026-11-22T19:45:01.500+00:00");
        let zone = TimeZone::fixed(jiff::tz::offset(-3));
        assert_eq!(in_zone(origin, 0, zone).unwrap(), "2026-11-22T16:45:00.000-03:00");
        assert!(in_zone(u64::MAX, u64::MAX, TimeZone::UTC).is_some());
    }
}
