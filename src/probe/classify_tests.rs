//! Scripts in the words of the field, and properties over hostile histories.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::event::Class;

/// Runs a script of `sent K @T`, `reply K @T`, `refused K @T`, `gone K`, `unreachable K`, `not-sent ..K`, `time T` lines
/// with a deadline of 100 and returns what was emitted, a line each.
fn play(script: &str) -> Vec<String> {
    let mut c = Classifier::new(ProbeId(7), 100);
    let mut out = Vec::new();
    for line in script.lines().map(str::trim).filter(|l| !l.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let num = |i: usize| words[i].trim_start_matches(['@', '.']).parse::<u64>().unwrap();
        match words[0] {
            "sent" => c.sent(num(1), num(2), &mut out),
            "reply" => c.reply(num(1), num(2), &mut out),
            "failed" => c.failed(num(1), "no route", &mut out),
            "refused" => c.refused(num(1), num(2), "503", &mut out),
            "gone" => c.lost(num(1), &mut out),
            "unreachable" => c.error(num(1), "host unreachable", &mut out),
            "not-sent" => c.not_sent_through(num(1), &mut out),
            "time" => c.advance(num(1), &mut out),
            other => panic!("unknown word {other}"),
        }
    }
    out.iter().map(show).collect()
}

fn show(ev: &ProbeEvent) -> String {
    match ev {
        ProbeEvent::Ok { k, rtt, .. } => format!("ok {k} rtt {rtt}"),
        ProbeEvent::Late { k, rtt, .. } => format!("late {k} rtt {rtt}"),
        ProbeEvent::Lost { k, sent, .. } => format!("lost {k} sent {sent}"),
        ProbeEvent::Duplicate { k, rtt, .. } => format!("duplicate {k} rtt {rtt}"),
        ProbeEvent::NotSent { k, why: None, .. } => format!("not-sent {k}"),
        ProbeEvent::NotSent { k, why: Some(why), .. } => format!("not-sent {k} {why}"),
        ProbeEvent::Error { k, what, .. } => format!("error {k} {what}"),
        ProbeEvent::Refused { k, rtt, what, .. } => format!("refused {k} rtt {rtt} {what}"),
        ProbeEvent::Started { .. } | ProbeEvent::Stopped { .. } | ProbeEvent::Heard { .. } => {
            panic!("not the classifier's to say")
        }
    }
}

#[test]
fn answered_in_time_out_of_order_and_twice() {
    let script = "
        sent 0 @0
        sent 1 @50
        reply 1 @60
        reply 0 @70
        reply 1 @80
        time 1000";
    assert_eq!(play(script), ["ok 1 rtt 10", "ok 0 rtt 70", "duplicate 1 rtt 30"]);
}

#[test]
fn a_refusal_ends_the_slot_before_its_deadline_and_is_a_loss_after_it() {
    let script = "
        sent 0 @0
        sent 1 @10
        sent 2 @20
        refused 0 @99
        refused 1 @110
        gone 2
        refused 0 @100
        reply 0 @101
        gone 0
        time 1000";
    assert_eq!(play(script), ["refused 0 rtt 99 503", "lost 1 sent 10", "lost 2 sent 20"]);
}

#[test]
fn lost_at_the_deadline_and_revised_by_a_late_answer() {
    let script = "
        sent 0 @0
        sent 1 @50
        time 99
        time 100
        reply 0 @140
        reply 0 @141
        time 150";
    assert_eq!(play(script), ["lost 0 sent 0", "late 0 rtt 140", "duplicate 0 rtt 141", "lost 1 sent 50"]);
}

#[test]
fn a_late_answer_seen_before_its_deadline_was_judged_is_lost_then_late() {
    assert_eq!(play("sent 0 @0\nreply 0 @100"), ["lost 0 sent 0", "late 0 rtt 100"]);
}

#[test]
fn an_icmp_error_is_not_a_reply_and_ends_the_slot() {
    let script = "
        sent 0 @0
        unreachable 0
        reply 0 @10
        time 500";
    assert_eq!(play(script), ["error 0 host unreachable"]);
}

#[test]
fn a_failed_sending_is_ours_and_no_answer_counts_for_it() {
    let script = "
        sent 0 @0
        failed 0
        failed 0
        reply 0 @10
        sent 1 @50
        reply 1 @60
        failed 1
        time 500";
    assert_eq!(play(script), ["not-sent 0 no route", "ok 1 rtt 10"]);
}

#[test]
fn an_icmp_error_after_the_loss_changes_nothing() {
    assert_eq!(play("sent 0 @0\ntime 100\nunreachable 0"), ["lost 0 sent 0"]);
}

#[test]
fn skipped_slots_are_not_sent_and_no_answer_counts_for_them() {
    let script = "
        sent 0 @0
        sent 3 @150
        reply 1 @151
        reply 9 @152
        reply 3 @155
        not-sent ..5
        time 150";
    assert_eq!(play(script), ["not-sent 1", "not-sent 2", "ok 3 rtt 5", "not-sent 4", "not-sent 5", "lost 0 sent 0"]);
}

#[test]
fn a_saw_tooth_after_a_pause_is_all_answers() {
    let script = "
        sent 0 @0
        sent 1 @30
        sent 2 @60
        reply 0 @80
        reply 1 @81
        reply 2 @82
        time 500";
    assert_eq!(play(script), ["ok 0 rtt 80", "ok 1 rtt 51", "ok 2 rtt 22"]);
}

#[test]
fn the_sixteen_bits_wrap() {
    let mut c = Classifier::new(ProbeId(0), 100);
    let mut out = Vec::new();
    for k in 0..70_000u64 {
        c.sent(k, k, &mut out);
        c.reply(c.slot_of_seq(k as u16).unwrap(), k + 1, &mut out);
    }
    assert_eq!(out.len(), 70_000);
    assert!(out.iter().enumerate().all(|(i, e)| matches!(e, ProbeEvent::Ok { k, rtt: 1, .. } if *k == i as u64)));
    assert_eq!(c.slot_of_seq(69_999u64 as u16), Some(69_999));
    // The oldest remembered slot is found by its bits, one that is forgotten is not.
    assert_eq!(c.slot_of_seq(5_000), Some(5_000));
    assert_eq!(c.slot_of_seq(4_999), None);
}

#[test]
fn memory_is_bounded_even_if_time_stands_still() {
    let mut c = Classifier::with_window(ProbeId(0), u64::MAX, 10);
    let mut out = Vec::new();
    for k in 0..100 {
        c.sent(k, k, &mut out);
    }
    assert_eq!((c.slots.len(), c.pending()), (10, 10));
    assert_eq!(out.len(), 90);
    c.reply(3, 100, &mut out);
    assert_eq!((c.stray(), out.len()), (1, 90));
}

#[derive(Debug, Clone)]
enum Act {
    Send { skip: u64 },
    Miss { n: u64 },
    Reply { back: u64, by_seq: bool },
    Error { back: u64 },
    Time { step: u64 },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => prop_oneof![9 => Just(0u64), 1 => 1u64..4].prop_map(|skip| Act::Send { skip }),
        1 => (1u64..4).prop_map(|n| Act::Miss { n }),
        4 => (0u64..40, any::<bool>()).prop_map(|(back, by_seq)| Act::Reply { back, by_seq }),
        1 => (0u64..40).prop_map(|back| Act::Error { back }),
        2 => (1u64..60).prop_map(|step| Act::Time { step }),
    ];
    proptest::collection::vec(act, 1..300)
}

proptest! {
    #[test]
    fn every_slot_ends_in_exactly_one_class(acts in acts(), window in 20usize..200) {
        let mut c = Classifier::with_window(ProbeId(0), 100, window);
        let (mut out, mut now) = (Vec::new(), 0u64);
        let (mut was_sent, mut replies, mut errors) = (BTreeMap::new(), 0u64, 0u64);
        for act in acts {
            now += 1;
            match act {
                Act::Send { skip } => {
                    let k = c.next() + skip;
                    was_sent.insert(k, now);
                    c.sent(k, now, &mut out);
                }
                Act::Miss { n } => { let k = c.next() + n - 1; c.not_sent_through(k, &mut out); }
                Act::Reply { back, by_seq } => {
                    // Sometimes a slot not sent yet, sometimes one that is forgotten.
                    let k = (c.next() + 2).saturating_sub(back);
                    let k = if by_seq { c.slot_of_seq(k as u16).unwrap_or(k) } else { k };
                    replies += 1;
                    c.reply(k, now, &mut out);
                }
                Act::Error { back } => {
                    errors += 1;
                    let k = (c.next() + 2).saturating_sub(back);
                    c.error(k, "x", &mut out);
                }
                Act::Time { step } => { now += step; c.advance(now, &mut out); }
            }
        }
        c.advance(now + 101, &mut out);

        let mut class: BTreeMap<u64, Class> = BTreeMap::new();
        let (mut answers, mut error_events) = (0u64, 0u64);
        for ev in &out {
            let (k, new) = match *ev {
                ProbeEvent::Ok { k, sent, rtt, .. } => {
                    answers += 1;
                    prop_assert!(rtt < 100 && was_sent.get(&k) == Some(&sent));
                    (k, Class::Ok)
                }
                ProbeEvent::Late { k, sent, .. } => {
                    answers += 1;
                    prop_assert_eq!(class.get(&k), Some(&Class::Lost));
                    prop_assert_eq!(was_sent.get(&k), Some(&sent));
                    class.insert(k, Class::Late);
                    continue;
                }
                ProbeEvent::Duplicate { k, .. } => {
                    answers += 1;
                    prop_assert!(matches!(class.get(&k), Some(Class::Ok | Class::Late)));
                    continue;
                }
                ProbeEvent::Lost { k, .. } => (k, Class::Lost),
                ProbeEvent::NotSent { k, .. } => { prop_assert!(!was_sent.contains_key(&k)); (k, Class::NotSent) }
                ProbeEvent::Error { k, .. } => { error_events += 1; (k, Class::Error) }
                ProbeEvent::Started { .. } | ProbeEvent::Stopped { .. } | ProbeEvent::Heard { .. } | ProbeEvent::Refused { .. } => unreachable!(),
            };
            prop_assert_eq!(class.insert(k, new), None, "slot {} was classified twice", k);
        }
        prop_assert_eq!(class.len() as u64, c.next(), "every slot has a class, none is left out");
        prop_assert_eq!(c.pending(), 0);
        prop_assert_eq!(c.next_deadline(), None);
        prop_assert_eq!(answers + error_events + c.stray(), replies + errors, "nothing received vanishes");
        prop_assert!(c.slots.len() <= window);
    }
}
