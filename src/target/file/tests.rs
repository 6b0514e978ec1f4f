use super::*;

const RACK: &str = "\
[target.rack1]
product = \"qmp\"
source = \"unix:/run/src.qmp\"
dest = \"unix:/run/dst.qmp\"
uri = \"tcp:192.0.2.2:4444\"
agent = \"192.0.2.10:7070\"
key_env = \"RACK_KEY\"

[target.rack1.defaults]
bandwidth = \"32M\"
post-copy = true

[target.small]
product = \"demo\"
memory = \"256M\"
speed = 200
";

fn fault(text: &str) -> String {
    match read("b.toml", text, false) {
        Err(e) => e.to_string(),
        Ok(found) => found.iter().find_map(|d| d.target().err()).expect("something is wrong").to_string(),
    }
}

#[test]
fn targets_are_read_with_their_defaults() {
    let found = read("b.toml", RACK, false).unwrap();
    let [rack, small] = found.as_slice() else { panic!("{}", found.len()) };
    assert_eq!((rack.name(), rack.kind.name, rack.place.clone()), ("rack1", "qmp", Some(("b.toml".into(), 1))));
    let preset = |option: &str, value: &str, line| Preset {
        option: option.into(),
        value: value.into(),
        file: "b.toml".into(),
        line,
    };
    assert_eq!(rack.defaults, [preset("bandwidth", "32M", 10), preset("post-copy", "true", 11)]);
    let target = rack.target().unwrap();
    assert_eq!(target.header()["source"], "unix:/run/src.qmp");
    assert!(target.has_agent() && target.product.migrations() == Some(1));
    assert!(target.probes.is_empty() && target.header().get("probes").is_none());
    let text = RACK.replace("agent = ", "probes = [\"icmp:a,primary\", \"tcp:guest:443\"]\nagent = ");
    let target = read("b.toml", &text, false).unwrap()[0].target().unwrap();
    let probes = target.probes.iter().map(|p| (p.written.as_str(), p.primary)).collect::<Vec<_>>();
    assert_eq!(probes, [("icmp:a", true), ("tcp:guest:443", false)]);
    assert_eq!(target.header()["probes"], serde_json::json!(["icmp:a", "tcp:guest:443"]));
    assert_eq!(small.target().unwrap().product.simulation().unwrap().0, Some(200.0));
}

#[test]
fn what_is_wrong_is_told_with_its_line_and_a_remedy() {
    let with = |line: &str| RACK.replacen("uri = \"tcp:192.0.2.2:4444\"\n", line, 1);
    let cases: Vec<(String, &[&str])> = vec![
        (
            with("uri = \"x\"\nsorce = 1\n"),
            &["b.toml, line 6: target 'rack1': unknown field 'sorce'", "mean 'source'?"],
        ),
        (with(""), &["b.toml, line 1: target 'rack1': 'uri' is missing: Where the source", "uri = \"tcp:192.0.2.2"]),
        (
            with("uri = \"x\"\nprobes = [\"icmp:a\", \"tcp:b\"]\n"),
            &["b.toml, line 6: target 'rack1': probes: 'tcp:b': 'b' has no port: write tcp:HOST:PORT"],
        ),
        (with("uri = \"x\"\nprobes = \"icmp:a\"\n"), &["line 6: target 'rack1'", "expected a list of texts in quotes"]),
        (with("uri = [1]\n"), &["line 5: target 'rack1': uri = [1]: expected a text in quotes or a number"]),
        (
            with("uri = \"x\"\nkey = \"s3cret\"\n"),
            &["line 6: target 'rack1': 'key' is a secret", "key-file (", "key-env", "key-command"],
        ),
        (with("uri = \"x\"\nkey-file = \"f\"\n"), &["give one of key-file, key-env, not several"]),
        (
            RACK.replace("192.0.2.10:7070", "192.0.2.10"),
            &["line 6", "agent = \"192.0.2.10\": '192.0.2.10' has no port"],
        ),
        (RACK.replace("key_env = \"RACK_KEY\"\n", ""), &["listens authenticated only", "key-file"]),
        (RACK.replace("unix:/run/src.qmp", "src"), &["line 3: target 'rack1': source = \"src\"", "tcp:host:port"]),
        (
            RACK.replace("\"qmp\"", "\"qmo\""),
            &["line 2: target 'rack1': product = \"qmo\": unknown product; did you mean 'qmp'?", "demo"],
        ),
        (RACK.replace("product = \"qmp\"\n", ""), &["line 1: target 'rack1': 'product' is missing"]),
        (RACK.replace("\"256M\"", "\"256\\u001bX\""), &["line 15: target 'small': memory = \"256\\u001BX\": "]),
        (RACK.replace("speed = 200", "agent = \"h:1\""), &["unknown field 'agent' of product 'demo'"]),
        (format!("{RACK}[target.small]\n"), &["b.toml, line 17: not TOML: duplicate key"]),
        ("[targets.x]\n".into(), &["b.toml, line 1: unknown table 'targets': targets stand in [target.NAME]"]),
        ("target = 3\n".into(), &["line 1: 'target' is no table"]),
        ("[target]\nx = 3\n".into(), &["line 2: 'target.x' is no table"]),
        ("[target.\"a b\"]\nproduct = \"demo\"\n".into(), &["line 1: invalid name 'a b' of a target"]),
        ("[target.a]\nproduct = \"demo\"\ndefaults = 3\n".into(), &["line 3: target 'a': 'defaults' is no table"]),
    ];
    for (text, words) in cases {
        let why = fault(&text);
        for word in words {
            assert!(why.contains(word), "'{word}' is missing in: {why}\n{text}");
        }
        assert!(!why.contains("s3cret"), "{why}");
    }
}

#[test]
fn a_name_is_given_once_in_all_files() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("b.toml");
    std::fs::write(&path, "[target.lab]\nproduct = \"lab\"\n").unwrap();
    let e = find(Some(&path)).err().unwrap().to_string();
    assert!(e.ends_with("b.toml, line 1: target 'lab' is always there: give this one another name"), "{e}");
    std::fs::write(&path, format!("fps = 3\n{RACK}")).unwrap();
    let names: Vec<String> = find(Some(&path)).unwrap().into_keys().collect();
    assert_eq!(names, ["demo", "lab", "rack1", "small"]);
}
