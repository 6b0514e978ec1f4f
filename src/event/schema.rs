//! The schema of a capture, generated from the types, and the page on captures made from it.
//!
//! `BLACKOUT_WRITE_DOCS=1 cargo test --lib event::schema` writes both anew.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Map, Value};

use super::{Event, Header};

/// Where the page has its generated part.
const BEGIN: &str = "<!-- records -->";
const END: &str = "<!-- /records -->";

fn schema() -> Value {
    let mut generator = schemars::generate::SchemaSettings::draft2020_12().into_generator();
    let header = generator.subschema_for::<Header>();
    let event = generator.subschema_for::<Event>();
    let definitions: Map<String, Value> = generator.take_definitions(true);
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "a line of a capture",
        "description": "The first line is the header; each further line is an event.",
        "anyOf": [header, event],
        "$defs": definitions,
    })
}

/// One line, for a table.
fn words(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    text.split("\n\n").next().unwrap_or_default().replace('\n', " ").replace('|', "\\|")
}

/// What a field holds, in a word or a link.
fn kind(schema: &Value) -> String {
    if let Some(reference) = schema["$ref"].as_str() {
        let name = reference.rsplit('/').next().unwrap_or_default();
        return format!("[{name}](#{})", name.to_lowercase());
    }
    if let Some(all) = schema["allOf"].as_array() {
        return all.first().map(kind).unwrap_or_default();
    }
    for of in ["anyOf", "oneOf"] {
        if let Some(some) = schema[of].as_array() {
            return some.iter().map(kind).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" or ");
        }
    }
    if let Some(constant) = schema["const"].as_str() {
        return format!("`{constant}`");
    }
    match &schema["type"] {
        Value::String(t) if t == "array" && schema["prefixItems"].is_array() => {
            let items: Vec<String> = schema["prefixItems"].as_array().into_iter().flatten().map(kind).collect();
            format!("[{}]", items.join(", "))
        }
        Value::String(t) if t == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(t) if t == "object" && schema["additionalProperties"].is_object() => {
            format!("map of {}", kind(&schema["additionalProperties"]))
        }
        Value::String(t) => schema["format"].as_str().unwrap_or(t).to_owned(),
        Value::Array(types) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any JSON".into(),
    }
}

/// The fields of an object, a row each.
fn fields(out: &mut String, schema: &Value) {
    let Some(properties) = schema["properties"].as_object() else { return };
    let _ = writeln!(out, "\n\n| field | holds | |\n|---|---|---|");
    for (name, field) in properties {
        let _ = writeln!(out, "| `{name}` | {} | {} |", kind(field), words(field));
    }
}

/// The kinds of a record, a heading each.
fn variants(out: &mut String, schema: &Value, name: &str) {
    for variant in schema["oneOf"].as_array().into_iter().flatten() {
        if let Some(names) = variant["enum"].as_array() {
            for value in names.iter().filter_map(Value::as_str) {
                let _ = writeln!(out, "\n**`{value}`**");
            }
        } else if let Some(value) = variant["const"].as_str() {
            let _ = writeln!(out, "\n**`{value}`**: {}", words(variant));
        } else if let Some((key, inner)) = variant["properties"].as_object().and_then(|p| p.iter().next()) {
            let _ = write!(out, "\n**`{key}`**: {}", words(variant));
            match inner["properties"].is_object() {
                true => fields(out, inner),
                false => {
                    let _ = writeln!(out, " Holds {}.", kind(inner));
                }
            }
        } else {
            panic!("{name} has a kind this page cannot show: {variant}");
        }
    }
}

fn page(schema: &Value) -> String {
    let mut out = String::new();
    for (name, of) in schema["$defs"].as_object().into_iter().flatten() {
        let _ = writeln!(out, "\n### {name}\n\n{}", words(of));
        fields(&mut out, of);
        variants(&mut out, of, name);
    }
    out.replace("\n\n\n", "\n\n").trim().to_owned()
}

/// Holds a file of `docs` against what it should be, or writes it.
fn held(file: &str, make: impl Fn(&str) -> String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(file);
    let now = std::fs::read_to_string(&path).unwrap_or_default();
    let due = make(&now);
    if std::env::var_os("BLACKOUT_WRITE_DOCS").is_some() {
        std::fs::write(&path, &due).unwrap();
    } else {
        assert!(now == due, "docs/{file} is stale: BLACKOUT_WRITE_DOCS=1 cargo test --lib event::schema writes it");
    }
}

#[test]
fn the_schema_is_that_of_the_types() {
    held("capture.schema.json", |_| serde_json::to_string_pretty(&schema()).unwrap() + "\n");
}

#[test]
fn the_page_has_every_record_and_field() {
    let records = page(&schema());
    held("captures.md", |now| {
        let (head, rest) = now.split_once(BEGIN).unwrap_or((now, END));
        let (_, tail) = rest.split_once(END).expect("the generated part ends");
        format!("{head}{BEGIN}\n{records}\n{END}{tail}")
    });
}

/// Whether the schema knows every field of a value; says which it does not.
fn unknown(root: &Value, schema: &Value, value: &Value, at: &str) -> Option<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        return unknown(root, root.pointer(&reference[1..])?, value, at);
    }
    for of in ["anyOf", "oneOf", "allOf"] {
        if let Some(some) = schema[of].as_array() {
            let all: Vec<_> = some.iter().map(|s| unknown(root, s, value, at)).collect();
            return if all.iter().any(Option::is_none) { None } else { all.into_iter().flatten().next() };
        }
    }
    match value {
        Value::Object(fields) if schema["properties"].is_object() => {
            fields.iter().find_map(|(name, field)| match schema["properties"].get(name) {
                Some(inner) => unknown(root, inner, field, &format!("{at}.{name}")),
                None if schema["additionalProperties"] == true => None,
                None => Some(format!("{at}.{name}")),
            })
        }
        Value::Array(items) if schema["items"].is_object() => {
            items.iter().find_map(|item| unknown(root, &schema["items"], item, at))
        }
        Value::String(text) if schema["const"].is_string() && schema["const"] != *text => Some(format!("{at}: {text}")),
        Value::String(text) if schema["enum"].is_array() => {
            let known = schema["enum"].as_array().is_some_and(|all| all.iter().any(|v| v == text));
            (!known).then(|| format!("{at}: {text}"))
        }
        Value::Object(_) if schema["type"] == "string" => Some(at.to_owned()),
        _ => None,
    }
}

#[test]
fn recorded_captures_follow_the_schema() {
    let schema = schema();
    let mut lines = 0;
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")).unwrap().flatten() {
        let path = entry.path();
        if !path.to_string_lossy().ends_with(".jsonl.gz") {
            continue;
        }
        let mut text = String::new();
        let file = std::fs::File::open(&path).unwrap();
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(file), &mut text).unwrap();
        for (i, line) in text.lines().enumerate() {
            let value: Value = serde_json::from_str(line).unwrap();
            let fault = unknown(&schema, &schema, &value, "");
            assert_eq!(fault, None, "{} line {}: {line}", path.display(), i + 1);
            lines += 1;
        }
    }
    assert!(lines > 1000, "{lines}");
    let made_up = serde_json::json!({"t": 1, "ev": {"log": {"level": "info", "from": "a", "text": "b", "colour": 1}}});
    assert!(unknown(&schema, &schema, &made_up, "").is_some());
}
