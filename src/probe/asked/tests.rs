use proptest::prelude::*;

use super::*;

fn read(text: &str) -> Asked {
    text.parse().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn refused(text: &str) -> String {
    text.parse::<Asked>().err().unwrap_or_else(|| panic!("{text} is taken")).to_string()
}

fn host_of(text: &str) -> String {
    match read(text).host {
        Host::Named(name) => name,
        other => format!("{other:?}"),
    }
}

#[test]
fn each_kind_is_read() {
    let of = |text: &str| (read(text).kind, host_of(text), read(text).port);
    assert_eq!(of("icmp:web"), (ProbeKind::Icmp, "web".into(), 0));
    assert_eq!(of("icmp:guest"), (ProbeKind::Icmp, "Guest".into(), 0));
    assert_eq!(of("icmp:2001:db8::1"), (ProbeKind::Icmp, "2001:db8::1".into(), 0));
    assert_eq!(of("icmp:[::1]"), (ProbeKind::Icmp, "::1".into(), 0));
    assert_eq!(of("tcp:192.0.2.10:443"), (ProbeKind::Tcp, "192.0.2.10".into(), 443));
    assert_eq!(of("tcp:[::1]:443"), (ProbeKind::Tcp, "::1".into(), 443));
    assert_eq!(of("tcp:guest:22"), (ProbeKind::Tcp, "Guest".into(), 22));
    assert_eq!(of("udp:[fe80::1%eth0]:7"), (ProbeKind::Udp, "fe80::1%eth0".into(), 7));
    assert_eq!(of("udp:agent"), (ProbeKind::Udp, "Agent".into(), 0));
    assert_eq!(of("http://web"), (ProbeKind::Http, "web".into(), 80));
    assert_eq!(of("http://[::1]:8080/x"), (ProbeKind::Http, "::1".into(), 8080));
    assert_eq!(of("http://[::1]/x"), (ProbeKind::Http, "::1".into(), 80));
}

#[test]
fn a_page_has_a_path_a_host_and_a_status() {
    let of = |text: &str| {
        let http = read(text).http.unwrap();
        (http.host, http.path, http.expected.to_string())
    };
    let is = |host: &str, path: &str, expected: &str| (host.into(), path.into(), expected.into());
    assert_eq!(of("http://web"), is("web", "/", "200..399"));
    assert_eq!(of("http://web=204"), is("web", "/", "204"));
    assert_eq!(of("http://web:81/health=200..204"), is("web:81", "/health", "200..204"));
    assert_eq!(of("http://[::1]:81/a?b=c"), is("[::1]:81", "/a?b=c", "200..399"));
    assert_eq!(of("http://[fe80::1%eth0]:81/"), is("[fe80::1]:81", "/", "200..399"));
    assert_eq!(of("http://web?n=200=404"), is("web", "/?n=200", "404"));
    assert_eq!(read("http://web/a=200,interval=1s").interval, Some(Duration::from_secs(1)));
}

#[test]
fn options_stand_behind_commas() {
    let asked = read("tcp:web:443,from=eth0,interval=100ms,deadline=500ms,refused-is-ok,primary");
    assert_eq!(asked.written, "tcp:web:443");
    assert_eq!(asked.from, Some(Source::Device("eth0".into())));
    assert_eq!((asked.interval, asked.deadline), (Some(Duration::from_millis(100)), Some(Duration::from_millis(500))));
    assert!(asked.refused_is_ok && asked.primary);
    assert_eq!(read("icmp:web,from=192.0.2.1").from, Some(Source::Address([192, 0, 2, 1].into())));
}

#[test]
fn what_is_not_said_is_as_usual_with_its_kind() {
    let ping = ProbeOptions {
        interval: Duration::from_millis(20),
        ..ProbeOptions::icmp(ProbeId(0), ([192, 0, 2, 1], 0).into())
    };
    let of = |text: &str| {
        let o = read(text).options(ProbeId(3), Role::Further, ([192, 0, 2, 7], 0).into(), &ping);
        (o.id.0, o.target.to_string(), o.interval.as_millis(), o.deadline.as_millis())
    };
    assert_eq!(of("icmp:web"), (3, "192.0.2.7:0".into(), 20, 1000));
    assert_eq!(of("udp:web:7"), (3, "192.0.2.7:7".into(), 20, 1000));
    assert_eq!(of("tcp:web:443"), (3, "192.0.2.7:443".into(), 50, 900));
    assert_eq!(of("http://web,deadline=200ms"), (3, "192.0.2.7:80".into(), 50, 200));
}

#[test]
fn what_is_wrong_is_said_with_what_would_be_right() {
    for (text, why) in [
        ("web", "write icmp:HOST, tcp:HOST:PORT"),
        ("web:443", "write icmp:HOST, tcp:HOST:PORT"),
        ("tcp:web", "'web' has no port: write tcp:HOST:PORT, for instance"),
        ("tcp:::1:443", "in brackets, for instance tcp:192.0.2.10:443 or tcp:[2001:db8::1]:443"),
        ("tcp:[::1]", "has no port"),
        ("tcp:[web]:443", "only such a one stands in brackets"),
        ("tcp:web:0", "'0' is no port: write a number from 1 to 65535"),
        ("tcp:web:+4", "is no port"),
        ("tcp::443", "the host is missing"),
        ("tcp:we\u{1b}[b:443", "'we\\x1b[b' is no name of a host"),
        ("icmp:web:443", "ICMP has no ports"),
        ("http:web", "write http://HOST"),
        ("https://web", "tcp:HOST:443"),
        ("http://me:secret@web/", "a name and a password are not sent"),
        ("http://web/a b", "it is written %20"),
        ("http://web/#top", "it is written %23"),
        ("http://web/health=ok", "'ok' is no HTTP status"),
        ("http://web/health=299..200", "no HTTP status"),
        ("tcp:web:443,interal=1s", "unknown option 'interal'; did you mean 'interval'? There are interval, deadline"),
        ("tcp:web:443,", "unknown option ''. There are"),
        ("tcp:web:443,interval=50", "interval: invalid duration '50'"),
        ("tcp:web:443,interval", "'interval' needs a value, for instance interval=100ms"),
        ("tcp:web:443,primary=1", "'primary' takes no value"),
        ("udp:web:443,refused-is-ok", "is for tcp only"),
        ("tcp:web:443,from=a/b", "'a/b' is neither an address nor a network device"),
        ("tcp:192.0.2.1:443,from=::1", "are not of one family"),
        ("tcp:web:443,interval=5ms", "10.0 ms"),
        ("tcp:web:443,deadline=1s", "SYN"),
        ("http://web,deadline=2s", "SYN"),
        ("icmp:224.0.0.1", "many hosts"),
    ] {
        let said = refused(text);
        assert!(said.contains(why), "{text}: {said}");
    }
    assert!(refused(&format!("icmp:{}", "x".repeat(5_000))).contains("2048 bytes"));
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in "(icmp:|tcp:|udp:|http://)?[a-z0-9:\\[\\]./=?,%@#-]{0,40}") {
        if let Ok(asked) = text.parse::<Asked>() {
            prop_assert_eq!(asked.written.as_str(), text.split(',').next().unwrap());
            prop_assert!(asked.http.is_none_or(|http| http.path.starts_with('/')));
        }
    }
}
