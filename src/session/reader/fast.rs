//! The short way to read the records a capture has most of: probe outcomes and heartbeats, exactly
//! as they are written. Whatever looks different in a single byte goes the long way.

use crate::event::{AgentEvent, Body, Event, ProbeEvent, ProbeId};

/// The event of a line, if it is one of these.
pub(super) fn event(line: &[u8]) -> Option<Event> {
    let mut rest = Rest(line);
    rest.literal(b"{\"t\":")?;
    let t = rest.number()?;
    rest.literal(b",\"ev\":{\"")?;
    let ev = if rest.literal(b"probe\":{\"").is_some() {
        Body::Probe(rest.probe()?)
    } else {
        rest.literal(b"agent\":{\"heartbeat\":{\"seq\":")?;
        let seq = rest.number()?;
        rest.literal(b",\"guest_ns\":")?;
        Body::Agent(AgentEvent::Heartbeat { seq, guest_ns: rest.number()? })
    };
    rest.literal(b"}}}}")?;
    rest.0.is_empty().then_some(Event::new(t, ev))
}

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.0 = self.0.strip_prefix(text)?;
        Some(())
    }

    /// A whole number without a sign, a leading zero, a fraction or an exponent.
    fn number(&mut self) -> Option<u64> {
        let (first, mut n) = (*self.0.first()?, 0_u64);
        let mut digits = 0;
        while let Some(digit) = self.0.get(digits).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10) {
            // Nineteen digits always fit.
            n = if digits < 19 {
                n * 10 + u64::from(digit)
            } else {
                n.checked_mul(10)?.checked_add(u64::from(digit))?
            };
            digits += 1;
        }
        if digits == 0 || (first == b'0' && digits > 1) {
            return None;
        }
        self.0 = &self.0[digits..];
        Some(n)
    }

    fn probe(&mut self) -> Option<ProbeEvent> {
        let late = self.literal(b"late").is_some();
        let lost = !late && self.literal(b"lost").is_some();
        if !late && !lost {
            self.literal(b"ok")?;
        }
        self.literal(b"\":{\"id\":")?;
        let id = ProbeId(u16::try_from(self.number()?).ok()?);
        self.literal(b",\"k\":")?;
        let k = self.number()?;
        self.literal(b",\"sent\":")?;
        let sent = self.number()?;
        if lost {
            return Some(ProbeEvent::Lost { id, k, sent });
        }
        self.literal(b",\"rtt\":")?;
        let rtt = self.number()?;
        Some(if late { ProbeEvent::Late { id, k, sent, rtt } } else { ProbeEvent::Ok { id, k, sent, rtt } })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::session::testing::any_event;

    fn is_hot(event: &Event) -> bool {
        use ProbeEvent::{Late, Lost, Ok};
        matches!(
            event.ev,
            Body::Probe(Ok { .. } | Late { .. } | Lost { .. }) | Body::Agent(AgentEvent::Heartbeat { .. })
        )
    }

    fn same(line: &[u8]) -> bool {
        event(line).is_none_or(|ours| serde_json::from_slice::<Event>(line).is_ok_and(|theirs| theirs == ours))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

        #[test]
        fn what_is_written_reads_the_same_either_way(wanted in any_event()) {
            let line = serde_json::to_vec(&wanted).unwrap();
            prop_assert_eq!(event(&line), is_hot(&wanted).then_some(wanted));
        }

        #[test]
        fn a_spoiled_line_is_never_read_otherwise(wanted in any_event(), at in any::<usize>(), byte in any::<u8>(), cut in 0_usize..3) {
            let mut line = serde_json::to_vec(&wanted).unwrap();
            let at = at % line.len();
            match cut {
                0 => line[at] = byte,
                1 => line.truncate(at),
                _ => line.insert(at, b"0123456789.e-+ \"{},:"[usize::from(byte) % 20]),
            }
            prop_assert!(same(&line), "{}", String::from_utf8_lossy(&line));
        }
    }

    #[test]
    fn numbers_are_those_of_json() {
        let line = |k: &str| format!("{{\"t\":1,\"ev\":{{\"probe\":{{\"lost\":{{\"id\":0,\"k\":{k},\"sent\":3}}}}}}}}");
        for good in ["0", "7", "18446744073709551615"] {
            assert!(event(line(good).as_bytes()).is_some(), "{good}");
        }
        for bad in ["", "00", "01", "-1", "1.0", "1e3", "18446744073709551616", " 1", "+1"] {
            assert!(event(line(bad).as_bytes()).is_none() && same(line(bad).as_bytes()), "{bad}");
        }
    }
}
