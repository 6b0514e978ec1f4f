//! The keys in print: for a terminal, for a manual, and as a keymap file to begin with.

use super::names::{label, name};
use super::{Binding, Key, Keymap, Scope};
use crate::tui::glyphs::Markers;

/// A heading and the bindings under it.
type Group<'a> = (&'static str, Vec<(&'static Binding, &'a [Key])>);

/// The groups of the table in its order, each with its bindings.
fn groups(map: &Keymap) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (binding, keys) in map.bindings() {
        match groups.iter_mut().find(|(group, _)| *group == binding.group) {
            Some((_, bindings)) => bindings.push((binding, keys)),
            None => groups.push((binding.group, vec![(binding, keys)])),
        }
    }
    groups
}

fn place(scope: Scope) -> &'static str {
    match scope {
        Scope::Always => "",
        Scope::Live => "live",
        Scope::Replay => "replay",
        Scope::OnHistory => "on the history",
        Scope::OnLog => "on the log",
    }
}

/// A table for people: keys, action, what it does, where it holds.
#[must_use]
pub fn text(map: &Keymap) -> String {
    let mut out = String::new();
    for (group, bindings) in groups(map) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("{}\n", group.to_uppercase()));
        for (b, keys) in bindings {
            let keys: Vec<String> = keys.iter().map(|k| label(*k, Markers::Ascii)).collect();
            let place = match place(b.scope) {
                "" => String::new(),
                place => format!(" ({place})"),
            };
            let keys = if keys.is_empty() { "-".to_owned() } else { keys.join(" ") };
            out.push_str(&format!("  {keys:<18} {:<17} {}{place}\n", b.name, b.help));
        }
    }
    out
}

/// The same as a table in Markdown.
#[must_use]
pub fn markdown(map: &Keymap) -> String {
    let mut out = String::from("| Keys | What it does | Where | Action |\n|---|---|---|---|\n");
    for (group, bindings) in groups(map) {
        for (b, keys) in bindings {
            let keys: Vec<String> =
                keys.iter().map(|k| format!("`{}`", label(*k, Markers::Unicode).replace('|', "\\|"))).collect();
            let place = place(b.scope);
            out.push_str(&format!("| {} | {group}: {} | {place} | `{}` |\n", keys.join(" "), b.help, b.name));
        }
    }
    out
}

/// A keymap file with every action, as it is now; reading it changes nothing.
#[must_use]
pub fn template(map: &Keymap) -> String {
    let mut out = String::from(
        "# Keys of blackout. What is named here takes the place of the built-in keys; what is not keeps them.\n\
         # A key in quotes or a list of them: \"m\", \",\", \"Ctrl-x\", \"Alt-x\", \"Shift-Left\", \"F5\", \"Space\",\n\
         # \"Enter\", \"Esc\", \"Tab\", \"Backspace\", \"Delete\", \"Insert\", \"Home\", \"End\", \"PgUp\", \"PgDn\", \"Up\",\n\
         # \"Down\", \"Left\", \"Right\". [] takes the action off the keyboard.\n",
    );
    for (group, bindings) in groups(map) {
        out.push_str(&format!("\n# {group}\n"));
        for (b, keys) in bindings {
            let place = match place(b.scope) {
                "" => String::new(),
                place => format!(" ({place})"),
            };
            let keys = keys.iter().map(|k| toml::Value::from(name(*k)).to_string()).collect::<Vec<_>>().join(", ");
            out.push_str(&format!("{:<40} # {}{place}\n", format!("{} = [{keys}]", b.name), b.help));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tui::keys::BINDINGS;

    #[test]
    fn the_template_changes_nothing_and_has_everything() {
        let map = Keymap::parse("k.toml", "migrate = [\"F5\", '\"']\nmark = []").unwrap();
        for map in [Keymap::default(), map] {
            let text = template(&map);
            assert_eq!(Keymap::parse("template", &text).unwrap(), map, "{text}");
            assert!(BINDINGS.iter().all(|b| text.contains(&format!("{} = ", b.name))));
        }
    }

    #[test]
    fn every_action_is_in_every_print() {
        let map = Keymap::default();
        for b in BINDINGS {
            assert!(text(&map).contains(b.name) && markdown(&map).contains(&format!("| `{}` |", b.name)), "{}", b.name);
        }
        assert!(markdown(&map).contains("| `m` | Migration: fire a migration | live | `migrate` |"));
    }

    #[test]
    fn the_manual_has_the_table_as_it_is() {
        let manual = include_str!("../../../docs/keys.md");
        if let Some((_, rest)) = manual.split_once("<!-- keys -->") {
            let (section, _) = rest.split_once("<!-- /keys -->").expect("<!-- /keys --> ends the section");
            assert_eq!(section.trim(), markdown(&Keymap::default()).trim(), "'blackout keys --markdown' makes it");
        }
    }
}
