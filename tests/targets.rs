//! Targets by name: what is written of them, what is said of it, and sessions with them.
#![allow(clippy::unwrap_used, reason = "helpers of tests, too")]

mod common;

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use common::{Place, Ran, run};
use serde_json::Value;

/// A key nobody would guess, as hex.
const KEY: &str = "6f1e0c9b27a84d35be90c1f2a3d4475861708b9cadbecfd0e1f2031425364758";

fn with(targets: &str) -> Place {
    let place = Place::new();
    fs::create_dir(place.path("blackout")).unwrap();
    place.file("blackout/blackout.toml", targets);
    place
}

fn targets(place: &Place, args: &str) -> Ran {
    run(place.blackout(["targets"].into_iter().chain(args.split_whitespace())))
}

/// Nothing below the place holds this text.
fn nowhere_in(place: &Place, text: &str) {
    let mut folders = vec![place.path("")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
            } else if let Ok(bytes) = fs::read(entry.path()) {
                assert!(!String::from_utf8_lossy(&bytes).contains(text), "{} holds it", entry.path().display());
            }
        }
    }
}

#[test]
fn a_target_by_name_is_a_session_with_its_defaults() {
    let place = with(
        "[target.small]\nproduct = \"demo\"\nmemory = \"256M\"\nspeed = 200\nseed = 7\n\
         [target.small.defaults]\nbandwidth = \"20M\"\nrate = 100\nwset = \"32M\"\npost-copy = true\n",
    );
    let attach = |args: &str| {
        let out = place.path(&format!("out{}", args.len()));
        let mut c = place.blackout(["attach", "small", "--headless", "--json", "--out"]);
        c.arg(&out).args(args.split_whitespace());
        let result = run(c).ended_with(0).json();
        let capture = fs::read_to_string(out.join("capture.jsonl")).unwrap();
        (result, serde_json::from_str::<Value>(capture.lines().next().unwrap()).unwrap())
    };
    let (result, header) = attach("");
    assert_eq!(result["migrations"].as_array().unwrap().len(), 1, "{result}");
    let text = header.to_string();
    let settings = header.get("settings").or_else(|| header["header"].get("settings")).unwrap_or(&Value::Null).clone();
    assert_eq!(settings["target"]["name"], "small", "{text}");
    assert_eq!(settings["target"]["product"], "demo");
    assert_eq!(settings["demo"]["memory_bytes"], 256 << 20);
    assert_eq!(settings["migration"]["bandwidth_bytes_per_s"], 20_000_000);
    assert_eq!(settings["migration"]["post_copy"], true);
    assert_eq!(settings["load"]["wset_bytes"], 32 << 20);
    // The command line wins.
    let (_, header) = attach("--bandwidth 30M");
    let settings = header.get("settings").or_else(|| header["header"].get("settings")).unwrap().clone();
    assert_eq!(settings["migration"]["bandwidth_bytes_per_s"], 30_000_000);
}

#[test]
fn what_is_always_there_is_attached_by_name_too() {
    let place = Place::new();
    let mut c = place.blackout(["attach", "demo", "--headless", "--json", "--rate", "500", "--migrations", "1"]);
    // At real speed a guest of 2 GiB takes long; a limit of the time makes no difference to what is tested.
    c.args(["--give-up-after", "200ms", "--warm-up", "10ms"]);
    let ran = run(c).ended_with(1);
    assert_eq!(ran.json()["migrations"].as_array().unwrap().len(), 1, "{ran}");
}

#[test]
fn targets_are_listed_and_what_is_wrong_with_one_is_told() {
    let place = with(
        "[target.rack1]\nproduct = \"qmp\"\nsource = \"/run/a\"\ndest = \"/run/b\"\nuri = \"tcp:h:1\"\n\
         [target.bad]\nproduct = \"qmp\"\nsource = \"/run/a\"\ndset = \"/run/b\"\n",
    );
    let ran = targets(&place, "").ended_with(1);
    for words in
        ["rack1", "source /run/a", "always there", "line 9: target 'bad': unknown field 'dset'", "mean 'dest'?"]
    {
        assert!(ran.out.contains(words), "'{words}' is missing in\n{ran}");
    }
    let json = targets(&place, "rack1 --json").ended_with(0).json();
    assert_eq!((&json[0]["product"], &json[0]["fields"]["uri"]), (&"qmp".into(), &"tcp:h:1".into()), "{json}");
    targets(&place, "rack2").ended_with(2).said(&["there is no target 'rack2'; did you mean 'rack1'?"]);
    run(place.blackout(["attach", "rack2"])).ended_with(2).said(&["no target 'rack2'; did you mean 'rack1'?"]);
    run(place.blackout(["attach", "bad", "--headless"])).ended_with(2).said(&["blackout.toml, line 9: target 'bad'"]);
    let ran = targets(&place, "--fields qmp").ended_with(0);
    assert!(ran.out.contains("# key-file = ") && ran.out.contains("source = \"unix:"), "{ran}");
    targets(&place, "--fields qmq").ended_with(2).said(&["did you mean 'qmp'?"]);
}

#[test]
fn a_file_that_is_named_takes_the_place_of_the_persons_own() {
    let place = with("[target.mine]\nproduct = \"demo\"\n");
    let both = place.file("both.toml", "fps = 12\n[target.other]\nproduct = \"demo\"\n");
    let ran = targets(&place, &format!("--config {}", both.display())).ended_with(0);
    assert!(ran.out.contains("other") && !ran.out.contains("mine"), "{ran}");
    // The same file is good for settings.
    let mut c = place.blackout(["config", "--check", "--config"]);
    c.arg(&both);
    run(c).ended_with(0);
    place.file("blackout/config.toml", "[target.mine]\nproduct = \"lab\"\n");
    targets(&place, "").ended_with(2).said(&["blackout.toml, line 1: target 'mine' stands in", "rename one of them"]);
}

/// One that is dead, and one that takes the connection and never says a word.
#[test]
fn a_look_at_what_does_not_answer_has_an_end() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let place = with(&format!(
        "[target.dead]\nproduct = \"qmp\"\nsource = \"/no/such/a\"\ndest = \"/no/such/b\"\nuri = \"tcp:h:1\"\n\
         [target.silent]\nproduct = \"qmp\"\nsource = \"tcp:127.0.0.1:{port}\"\ndest = \"/no/such/b\"\nuri = \"tcp:h:1\"\n",
    ));
    let began = Instant::now();
    let ran = targets(&place, "dead --check").ended_with(1);
    assert!(ran.out.contains("NOT  hosts: ") && ran.out.contains("/no/such/a"), "{ran}");
    let ran = targets(&place, "silent --check").ended_with(1);
    assert!(ran.out.contains("NOT  hosts: "), "{ran}");
    // 15 s a target at most, as it says; what else a busy machine takes does not count.
    assert!(began.elapsed() < Duration::from_secs(45), "{:?}", began.elapsed());
    let ran = targets(&place, "demo --check").ended_with(0);
    assert!(ran.out.contains("always there"), "{ran}");
}

#[test]
fn a_secret_is_refused_where_it_stands_and_shows_up_nowhere() {
    let table = |key: &str| {
        format!(
            "[target.r]\nproduct = \"qmp\"\nsource = \"/no/such/a\"\ndest = \"/no/such/b\"\nuri = \"tcp:h:1\"\n\
             agent = \"127.0.0.1:1\"\n{key}\n"
        )
    };
    let place = with(&table(&format!("key = \"{KEY}\"")));
    for ran in [targets(&place, ""), targets(&place, "--json --check r")] {
        assert!(ran.out.contains("'key' is a secret") && !ran.out.contains(KEY) && !ran.err.contains(KEY), "{ran}");
    }
    // A name that is misspelt does not make it one that may be shown.
    let place = with(&table(&format!("kye = \"{KEY}\"")));
    let ran = targets(&place, "");
    assert!(ran.out.contains("unknown field 'kye'") && !ran.out.contains(KEY), "{ran}");

    for from in ["key-env = \"RACK_KEY\"", "key-command = \"printenv RACK_KEY\""] {
        let place = with(&table(from));
        let mut c = place.blackout(["attach", "r", "--headless", "--out"]);
        c.arg(place.path("out")).env("RACK_KEY", KEY);
        let ran = run(c).ended_with(2).said(&["/no/such/a"]);
        assert!(!ran.err.contains(KEY) && !ran.out.contains(KEY), "{ran}");
        nowhere_in(&place, KEY);
        let mut c = place.blackout(["targets", "r", "--check", "--json"]);
        c.env("RACK_KEY", KEY);
        let ran = run(c).ended_with(1);
        assert!(ran.out.contains("its key is there") && !ran.out.contains(KEY), "{ran}");
        let ran = targets(&place, "r --check");
        assert!(ran.out.contains("the secret cannot be had from"), "{ran}");
    }
}
