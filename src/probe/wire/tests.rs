use proptest::prelude::*;

use super::*;

const BODY: Body = Body { token: 0xfeed_beef_dead_cafe, k: 70_000, sent: 123 };
const IDENT: u16 = 0x1234;

fn target(family: Family) -> IpAddr {
    match family {
        Family::V4 => [192, 0, 2, 1].into(),
        Family::V6 => "2001:db8::1".parse().unwrap(),
    }
}

fn ours(family: Family, mode: Mode) -> Ours {
    Ours { family, mode, target: target(family), token: BODY.token, prefix: 0 }
}

fn request(family: Family) -> Vec<u8> {
    let mut b = [0; 40];
    echo_request(family, IDENT, &BODY, &mut b);
    b.to_vec()
}

/// Puts the checksum of an ICMP message right.
fn summed(mut icmp: Vec<u8>) -> Vec<u8> {
    icmp[2..4].fill(0);
    let sum = checksum(&icmp).to_be_bytes();
    icmp[2..4].copy_from_slice(&sum);
    icmp
}

fn reply(family: Family) -> Vec<u8> {
    let mut b = request(family);
    b[0] = family.reply();
    summed(b)
}

/// With the IPv4 header, with one word of options, that a raw socket has in front.
fn raw(family: Family, icmp: &[u8]) -> Vec<u8> {
    let mut b = if family == Family::V4 { vec![0x46; 24] } else { Vec::new() };
    b.extend(icmp);
    b
}

/// An ICMP error that quotes `inner` as sent to `to`.
fn error(family: Family, kind: u8, to: IpAddr, inner: &[u8]) -> Vec<u8> {
    let mut b = vec![kind, 1, 0, 0, 0, 0, 0, 0];
    match to {
        IpAddr::V4(to) => {
            b.extend([0x45, 0, 0, 60, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9]);
            b.extend(to.octets());
        }
        IpAddr::V6(to) => {
            b.extend([0x60, 0, 0, 0, 0, 40, 58, 64]);
            b.extend([9; 16]);
            b.extend(to.octets());
        }
    }
    b.extend(inner);
    if family == Family::V4 { summed(b) } else { b }
}

/// What each kind of socket hears, which must be the same.
#[track_caller]
fn all_hear(family: Family, source: IpAddr, icmp: &[u8]) -> Heard {
    let by_raw = hear(&ours(family, Mode::Raw { ident: IDENT }), Some(source), &raw(family, icmp));
    let by_datagram = hear(&ours(family, Mode::Datagram), Some(source), icmp);
    assert_eq!(by_raw, by_datagram);
    by_raw
}

#[test]
fn an_answer_is_ours_only_from_the_target_and_whole() {
    for family in [Family::V4, Family::V6] {
        let whole = reply(family);
        let from = target(family);
        assert_eq!(all_hear(family, from, &whole), Heard::Reply { k: 70_000, sent: 123 });
        assert_eq!(all_hear(family, from, &request(family)), Heard::Other, "our own request is no answer");
        let elsewhere: IpAddr = if family == Family::V4 { [192, 0, 2, 9].into() } else { "::2".parse().unwrap() };
        assert_eq!(all_hear(family, elsewhere, &whole), Heard::Aside(Aside::Elsewhere));
        for cut in 8..40 {
            assert_eq!(all_hear(family, from, &summed(whole[..cut].to_vec())), Heard::Aside(Aside::Truncated), "{cut}");
        }
        for cut in 0..8 {
            assert_eq!(all_hear(family, from, &whole[..cut]), Heard::Other, "{cut}");
        }
        // What was changed on the way, its checksum put right: magic, version, token, the slot's low bits.
        for at in (8..24).chain(30..32) {
            let mut changed = whole.clone();
            changed[at] ^= 0x55;
            assert_eq!(all_hear(family, from, &summed(changed)), Heard::Aside(Aside::Corrupt), "{at}");
        }
        let mut others = whole.clone();
        others[16..24].copy_from_slice(&(!BODY.token).to_be_bytes());
        assert_eq!(all_hear(family, from, &summed(others)), Heard::Other, "another run's");
        let strangers = ours(family, Mode::Raw { ident: 7 });
        assert_eq!(hear(&strangers, Some(from), &raw(family, &whole)), Heard::Other, "another program's");
    }
}

#[test]
fn a_wrong_checksum_is_seen_where_the_kernel_does_not_look() {
    let mut damaged = reply(Family::V4);
    damaged[39] ^= 1;
    let raw_socket = ours(Family::V4, Mode::Raw { ident: IDENT });
    let heard = hear(&raw_socket, Some(target(Family::V4)), &raw(Family::V4, &damaged));
    assert_eq!(heard, Heard::Aside(Aside::Corrupt));
}

#[test]
fn checksum_is_that_of_rfc_1071() {
    assert_eq!(checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
    assert_eq!(checksum(&request(Family::V4)), 0, "a packet with its checksum sums to nought");
}

#[test]
fn an_error_decides_only_if_it_shows_the_token() {
    for family in [Family::V4, Family::V6] {
        let socket = ours(family, Mode::Raw { ident: IDENT });
        let (inner, to) = (request(family), target(family));
        let kind = family.errors()[0];
        let hear = |bytes: Vec<u8>| hear(&socket, Some([10, 9, 9, 9].into()), &raw(family, &bytes));
        let decides = |slot| Heard::Error { slot, family, kind, code: 1 };
        assert_eq!(hear(error(family, kind, to, &inner)), decides(Quoted::Slot(70_000)));
        for cut in 32..40 {
            assert_eq!(hear(error(family, kind, to, &inner[..cut])), decides(Quoted::Slot(70_000)), "{cut}");
        }
        for cut in 24..32 {
            assert_eq!(hear(error(family, kind, to, &inner[..cut])), decides(Quoted::Seq(4_464)), "{cut}");
        }
        // All that can be guessed by one who is not on the way.
        for cut in 8..24 {
            assert_eq!(hear(error(family, kind, to, &inner[..cut])), Heard::Hint { seq: Some(4_464) }, "{cut}");
        }
        let elsewhere: IpAddr = if family == Family::V4 { [192, 0, 2, 9].into() } else { "::2".parse().unwrap() };
        assert_eq!(hear(error(family, kind, elsewhere, &inner)), Heard::Aside(Aside::Implausible));
        let mut guessed = inner.clone();
        guessed[16..24].fill(3);
        assert_eq!(hear(error(family, kind, to, &guessed)), Heard::Aside(Aside::Implausible), "a token made up");
        let mut other = inner.clone();
        other[4..6].fill(9);
        assert_eq!(hear(error(family, kind, to, &other)), Heard::Other, "another program's");
    }
}

#[test]
fn what_is_no_failure_decides_nothing() {
    let socket = ours(Family::V4, Mode::Raw { ident: IDENT });
    let (inner, to) = (request(Family::V4), target(Family::V4));
    for kind in [4, 5] {
        let heard = hear(&socket, Some([10, 0, 0, 1].into()), &raw(Family::V4, &error(Family::V4, kind, to, &inner)));
        assert_eq!(heard, Heard::Aside(Aside::Informational));
        let told = hear_error(&ours(Family::V4, Mode::Datagram), Some(to), kind, 0, &inner);
        assert_eq!(told, Heard::Aside(Aside::Informational));
    }
    let told = hear_error(&ours(Family::V6, Mode::Datagram), Some(target(Family::V6)), 137, 0, &request(Family::V6));
    assert_eq!(told, Heard::Aside(Aside::Informational));
    assert_eq!(describe(Family::V6, 1, 3), "host unreachable (ICMPv6 type 1 code 3)");
}

#[test]
fn the_error_queue_is_judged_as_packets_are() {
    let socket = ours(Family::V4, Mode::Datagram);
    let (inner, to) = (request(Family::V4), Some(target(Family::V4)));
    let slot = Quoted::Slot(70_000);
    assert_eq!(hear_error(&socket, to, 3, 1, &inner), Heard::Error { slot, family: Family::V4, kind: 3, code: 1 });
    assert_eq!(hear_error(&socket, to, 3, 1, &inner[..8]), Heard::Hint { seq: Some(4_464) });
    assert_eq!(hear_error(&socket, to, 3, 1, &[]), Heard::Hint { seq: None });
    let elsewhere = Some([192, 0, 2, 9].into());
    assert_eq!(hear_error(&socket, elsewhere, 3, 1, &inner), Heard::Aside(Aside::Implausible));
    let udp = Ours { prefix: 6, ..ours(Family::V4, Mode::Udp) };
    let sent = [b"prefix", &BODY.bytes()[..]].concat();
    assert!(matches!(hear_error(&udp, to, 3, 3, &sent), Heard::Error { slot: Quoted::Slot(70_000), .. }));
    assert_eq!(hear_error(&udp, to, 3, 3, &sent[..12]), Heard::Hint { seq: None });
}

#[test]
fn a_udp_echo_may_keep_its_prefix() {
    let udp = Ours { prefix: 6, ..ours(Family::V4, Mode::Udp) };
    let from = Some(target(Family::V4));
    let kept = [b"prefix", &BODY.bytes()[..]].concat();
    assert_eq!(hear(&udp, from, &kept), Heard::Reply { k: 70_000, sent: 123 });
    assert_eq!(hear(&udp, from, &BODY.bytes()), Heard::Reply { k: 70_000, sent: 123 });
    assert_eq!(hear(&udp, from, b"short"), Heard::Aside(Aside::Truncated));
    assert_eq!(hear(&udp, from, &[7; 40]), Heard::Aside(Aside::Corrupt));
    assert_eq!(hear(&udp, Some([192, 0, 2, 9].into()), &kept), Heard::Aside(Aside::Elsewhere));
}

proptest! {
    #[test]
    fn nothing_received_is_too_strange(mut b in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u8..140) {
        if let Some(first) = b.first_mut() {
            *first = kind;
        }
        for family in [Family::V4, Family::V6] {
            for mode in [Mode::Datagram, Mode::Raw { ident: 7 }, Mode::Udp] {
                let decides = |heard| matches!(heard, Heard::Reply { .. } | Heard::Error { .. });
                let all = Ours { prefix: 3, ..ours(family, mode) };
                prop_assert!(!decides(hear(&all, None, &b)));
                prop_assert!(!decides(hear(&all, Some(target(family)), &raw(family, &b))));
                prop_assert!(!decides(hear_error(&all, None, kind, 0, &b)));
            }
        }
    }

    /// Of an answer changed in any one byte, whatever its checksum says, none is taken for whole
    /// for the slot it belongs to, but where the time of its sending was changed or the slot is none that
    /// was sent: both are held against what is known.
    #[test]
    fn no_changed_answer_passes(at in 0usize..40, with in 1u8..=255) {
        for family in [Family::V4, Family::V6] {
            let mut changed = reply(family);
            changed[at] ^= with;
            let changed = if at == 2 || at == 3 { changed } else { summed(changed) };
            let heard = hear(&ours(family, Mode::Raw { ident: IDENT }), Some(target(family)), &raw(family, &changed));
            let time_only = matches!(heard, Heard::Reply { k, sent } if k != 70_000 || sent != 123) && at >= 24;
            let code_or_sum = at == 1 || (family == Family::V6 && (at == 2 || at == 3));
            prop_assert!(time_only || code_or_sum || !matches!(heard, Heard::Reply { .. }), "{:?}", heard);
        }
    }
}
