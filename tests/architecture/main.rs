//! The rooms below `src` use each other downwards only, and no files use each other in a circle.
//!
//! Reads the sources themselves: every `use`, every path and every macro call outside tests is followed to
//! the file that defines the name, also where a `mod.rs` hands it on.

mod arrows;
mod modules;
mod words;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::Path;

use arrows::Arrows;

/// The rooms, each with those that it stands on. It may use whatever they may use.
const ROOMS: &[(&str, &[&str])] = &[
    ("allowed", &[]),
    ("text", &[]),
    ("units", &["text"]),
    ("chunked", &[]),
    ("own_folder", &["allowed", "text"]),
    ("event", &["units", "text"]),
    ("files", &["own_folder", "units"]),
    ("setting_file", &["files"]),
    ("host", &["event"]),
    ("load", &["event", "allowed"]),
    ("model", &["load", "event"]),
    ("probe", &["event", "allowed"]),
    ("agent", &["load", "host", "event", "files"]),
    ("hypervisor", &["event", "files"]),
    ("lab", &["hypervisor", "agent", "probe"]),
    ("demo", &["model", "hypervisor", "probe"]),
    ("target", &["lab", "demo", "hypervisor", "agent", "probe", "setting_file"]),
    ("analysis", &["model", "event", "chunked"]),
    ("session", &["analysis", "event", "files"]),
    ("controller", &["target", "session", "analysis", "host"]),
    ("report", &["session", "analysis"]),
    ("experiment", &["controller", "session", "analysis", "model", "report"]),
    ("tui", &["session", "analysis", "event", "setting_file"]),
    ("picture", &["tui"]),
    ("cli", &["picture", "experiment", "tui"]),
];

/// Circles and upward arrows that are known, by the beginning of the files' names, and why they still stand.
const KNOWN: &[(&str, &str)] = &[];

/// Whether `room` may use `other`.
fn may_use(room: &str, other: &str) -> bool {
    let below = ROOMS.iter().find(|(name, _)| *name == room).map_or(&[][..], |(_, below)| below);
    below.iter().any(|name| *name == other || may_use(name, other))
}

/// The room of a file: the first part of its name below `src`.
fn room(file: &str) -> &str {
    let below = file.strip_prefix("src/").unwrap_or(file);
    below.split('/').next().unwrap_or(below).trim_end_matches(".rs")
}

fn names(arrows: &Arrows, from: &str, to: &str) -> String {
    let names = arrows.get(&(from.to_owned(), to.to_owned())).into_iter().flatten();
    names.map(String::as_str).collect::<Vec<_>>().join(", ")
}

/// Every fault of the house: the files, and how it reads.
fn faults(arrows: &Arrows) -> Vec<(Vec<String>, String)> {
    let mut faults = Vec::new();
    for (from, to) in arrows.keys() {
        if room(from) != room(to) && !may_use(room(from), room(to)) && room(from) != "lib" {
            let text = format!("{} must not use {}: {from} -> {to}: {}", room(from), room(to), names(arrows, from, to));
            faults.push((vec![from.clone()], text));
        }
    }
    for circle in arrows::circles(arrows) {
        let mut text = format!("a circle of {} files", circle.len());
        for (from, to) in arrows.keys().filter(|(from, to)| circle.contains(from) && circle.contains(to)) {
            let _ = write!(text, "\n  {from} -> {to}: {}", names(arrows, from, to));
        }
        faults.push((circle, text));
    }
    faults
}

#[test]
fn arrows_run_downwards_and_in_no_circle() {
    let tree = modules::Tree::read(Path::new(env!("CARGO_MANIFEST_DIR")));
    let arrows = arrows::of(&tree);
    assert!(arrows.len() > 500, "only {} arrows found: is the reading broken?", arrows.len());
    let (mut used, mut told) = (BTreeSet::new(), String::new());
    for (files, text) in faults(&arrows) {
        let known = KNOWN.iter().find(|(start, _)| files.iter().all(|f| f.starts_with(start)));
        match known {
            Some((start, _)) => drop(used.insert(*start)),
            None => _ = writeln!(told, "{text}\n"),
        }
    }
    for (start, _) in KNOWN.iter().filter(|(start, _)| !used.contains(start)) {
        let _ = writeln!(told, "{start} is in order: take it out of KNOWN");
    }
    for room in tree.0[0].children.keys().filter(|r| !ROOMS.iter().any(|(name, _)| name == r)) {
        let _ = writeln!(told, "the room {room} is not in ROOMS");
    }
    assert!(told.is_empty(), "\n{told}");
}

/// The rooms as a picture for people, in the language of Mermaid.
fn picture() -> String {
    let mut out = String::from("```mermaid\ngraph TD\n");
    for (room, below) in ROOMS.iter().rev() {
        for other in *below {
            let _ = writeln!(out, "    {room} --> {other}");
        }
    }
    out + "```"
}

#[test]
fn the_manual_draws_the_rooms_as_they_are() {
    let manual = include_str!("../../docs/architecture.md");
    let drawn = manual.split_once("<!-- rooms -->").and_then(|(_, rest)| rest.split_once("<!-- /rooms -->"));
    let (drawn, _) = drawn.expect("docs/architecture.md has <!-- rooms --> and <!-- /rooms -->");
    assert!(drawn.trim() == picture(), "docs/architecture.md: between the marks should stand\n{}", picture());
}
