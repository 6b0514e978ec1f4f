//! Several probes in one session, of every kind, as `blackout watch` runs them; and connections over a path that
//! changes, made of a pair of devices in a network namespace of the test's own.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends")]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::{Place, Running, eventually, run, tun};
use serde_json::Value;

/// Watches without a screen for so long; what it says of its probes.
fn watch(place: &Place, time: &str, args: &[&str]) -> Value {
    let mut command = place.blackout(["watch", "--headless", "--json", "--duration", time]);
    command.args(args);
    run(command).ended_with(0).json()["probes"].clone()
}

/// How many slots of a probe ended so.
fn count(probe: &Value, class: &str) -> u64 {
    probe["summary"][class].as_u64().unwrap_or_else(|| panic!("no {class} in {probe}"))
}

/// How many messages of that kind a probe heard.
fn heard(probe: &Value, what: &str) -> u64 {
    let all = probe["summary"]["heard"].as_array().unwrap().iter();
    all.filter(|h| h["what"] == what).filter_map(|h| h["n"].as_u64()).sum()
}

#[test]
fn probes_of_each_kind_run_side_by_side() {
    let place = Place::new();
    run(place.blackout(["agent", "--make-psk"]).arg_of(place.path("psk"))).ended_with(0);
    // A web server of one page.
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = web.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in web.incoming() {
            let Ok(mut stream) = stream else { return };
            let mut request = [0; 512];
            let n = stream.read(&mut request).unwrap_or(0);
            let status = if request[..n].starts_with(b"GET /health ") { "200 OK" } else { "404 Not Found" };
            let _ = write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n\r\n");
        }
    });
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut agent = place.blackout(["agent", "--listen", &free.to_string(), "--psk-file"]);
    agent.arg(place.path("psk"));
    let mut agent = Running::start(agent);
    eventually("the agent to listen", || {
        agent.runs();
        std::net::TcpStream::connect(free).is_ok()
    });
    let (tcp, closed) = (format!("tcp:localhost:{port},interval=20ms"), format!("tcp:127.0.0.1:{}", closed_port()));
    let (page, missing) = (format!("http://127.0.0.1:{port}/health"), format!("http://127.0.0.1:{port}/nothing"));
    let enough = format!("{closed},refused-is-ok,primary");
    let psk = place.path("psk").display().to_string();
    let probes = [&tcp, &closed, &page, &missing, "udp:agent", "udp:127.0.0.1:9", &enough];
    let mut args: Vec<&str> = probes.iter().flat_map(|probe| ["--probe", probe]).collect();
    let at = free.to_string();
    args.extend(["--agent", &at, "--psk-file", &psk]);
    let said = watch(&place, "2s", &args);
    // The one that was called primary comes first, the others in the order in which they were written.
    let [enough, tcp, closed, page, missing, agent, nobody] = said.as_array().unwrap().as_slice() else {
        panic!("{said}")
    };
    for answered in [enough, tcp, page, agent] {
        assert!(count(answered, "ok") > 10 && count(answered, "lost") == 0, "{answered}");
        assert_eq!(count(answered, "error"), 0, "{answered}");
    }
    assert!(count(tcp, "ok") > count(page, "ok"), "each has an interval of its own: {said}");
    for refused in [closed, missing] {
        assert!(count(refused, "refused") > 10 && count(refused, "ok") == 0, "{refused}");
    }
    assert!(count(nobody, "error") > 10 && count(nobody, "ok") == 0, "{nobody}");
}

fn closed_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// One more argument, in a chain.
trait ArgOf {
    fn arg_of(self, arg: impl AsRef<std::ffi::OsStr>) -> Self;
}

impl ArgOf for std::process::Command {
    fn arg_of(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.arg(arg);
        self
    }
}

#[test]
fn what_a_connection_comes_to_when_there_is_no_way() {
    if !tun::inside("what_a_connection_comes_to_when_there_is_no_way") {
        return;
    }
    let place = Place::new();
    tun::ip("link set lo up");
    tun::ip("link add va type veth peer name vb");
    tun::ip("addr add 10.97.0.1/24 dev va");
    tun::ip("link set va up");
    tun::ip("link set vb up");

    // No route at all: nothing was sent, and nothing is blamed on the target.
    let said = watch(&place, "1s", &["--probe", "tcp:10.55.0.1:80"]);
    let probe = &said[0];
    assert_eq!((count(probe, "lost"), count(probe, "error"), count(probe, "ok")), (0, 0, 0), "{probe}");
    assert!(probe["summary"]["unsent"]["Network is unreachable"].as_u64() > Some(10), "{probe}");

    // Nobody there answers for that address: the SYN was handed to the network, and its slot is lost, by the deadline
    // or sooner, when this machine gives up to look for its neighbour; that is told. (It tells some 50 sockets at once,
    // the oldest first: net.ipv4.icmp_msgs_burst.)
    let said = watch(
        &place,
        "6s",
        &["--probe", "tcp:10.97.0.2:80,interval=200ms", "--probe", "http://10.97.0.2/,interval=200ms"],
    );
    for probe in said.as_array().unwrap() {
        assert!(count(probe, "lost") > 15, "{probe}");
        assert_eq!((count(probe, "error"), count(probe, "refused"), count(probe, "ok")), (0, 0, 0), "{probe}");
        assert!(heard(probe, "unreachable") > 0, "{probe}");
    }

    // One port for all: while the first connection waits, the next slots have none.
    std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "50000 50000").unwrap();
    let said = watch(&place, "2s", &["--probe", "tcp:10.97.0.3:80"]);
    let probe = &said[0];
    assert!(count(probe, "not_sent") > 10 && count(probe, "error") == 0, "{probe}");
    let unsent = probe["summary"]["unsent"].to_string();
    assert!(unsent.contains("no free port"), "{probe}");
}
