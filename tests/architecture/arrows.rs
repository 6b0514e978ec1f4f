//! Which file uses which: every name is followed to the file that defines it.

use std::collections::{BTreeMap, BTreeSet};

use crate::modules::Tree;

/// What a file takes from another: from, to, and the names.
pub(crate) type Arrows = BTreeMap<(String, String), BTreeSet<String>>;

/// How often a name may be handed on before it counts as one that leads nowhere.
const HANDED_ON: usize = 12;

/// Where a path leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Module(usize),
    /// Something that this module defines.
    Item(usize),
}

/// All arrows between files.
pub(crate) fn of(tree: &Tree) -> Arrows {
    let mut arrows = Arrows::new();
    let mut add = |from: usize, to: usize, name: &str| {
        let (from, to) = (&tree.0[from].file, &tree.0[to].file);
        if from != to {
            arrows.entry((from.clone(), to.clone())).or_default().insert(name.to_owned());
        }
    };
    let macros: BTreeMap<&str, usize> =
        (0..tree.0.len()).flat_map(|id| tree.0[id].macros.iter().map(move |m| (m.as_str(), id))).collect();
    for (id, module) in tree.0.iter().enumerate() {
        let imports = module.imports.iter().filter(|i| !i.handed_on);
        for path in module.paths.iter().chain(imports.map(|i| &i.path)) {
            if let Some(Found::Item(to)) = head(tree, id, path, HANDED_ON) {
                add(id, to, path.last().map_or("", String::as_str));
            }
        }
        for import in module.imports.iter().filter(|i| i.name == "*" && !i.handed_on) {
            if let Some(Found::Module(all)) = head(tree, id, &import.path, HANDED_ON) {
                for name in &module.names {
                    if let Some(Found::Item(to)) = within(tree, all, std::slice::from_ref(name), HANDED_ON) {
                        add(id, to, name);
                    }
                }
            }
        }
        for call in &module.calls {
            if let Some(&to) = macros.get(call.as_str()) {
                add(id, to, &format!("{call}!"));
            }
        }
    }
    arrows
}

/// Follows a path as it is written in a module.
fn head(tree: &Tree, id: usize, path: &[String], left: usize) -> Option<Found> {
    let (first, rest) = path.split_first()?;
    match first.as_str() {
        "crate" => within(tree, 0, rest, left),
        "self" => within(tree, id, rest, left),
        "super" => {
            let mut at = tree.0[id].parent?;
            let mut rest = rest;
            while let Some(("super", after)) = rest.split_first().map(|(f, r)| (f.as_str(), r)) {
                (at, rest) = (tree.0[at].parent?, after);
            }
            within(tree, at, rest, left)
        }
        "Self" => None,
        _ => within(tree, id, path, left),
    }
}

/// Follows a path from a module downwards.
fn within(tree: &Tree, id: usize, path: &[String], left: usize) -> Option<Found> {
    let module = &tree.0[id];
    let Some((first, rest)) = path.split_first() else { return Some(Found::Module(id)) };
    let left = left.checked_sub(1)?;
    let child = || module.children.get(first).and_then(|&child| within(tree, child, rest, left));
    // A module and a function may have the same name: what goes on behind it is the module.
    if !rest.is_empty()
        && let Some(found) = child()
    {
        return Some(found);
    }
    if module.items.contains(first) {
        return Some(Found::Item(id));
    }
    for import in module.imports.iter().filter(|i| i.name == *first) {
        let whole: Vec<String> = import.path.iter().chain(rest).cloned().collect();
        // A name that is brought in under itself is another crate's.
        if import.path.first() != Some(first)
            && let Some(found @ Found::Item(_)) = head(tree, id, &whole, left)
        {
            return Some(found);
        }
        if import.path.first() == Some(first)
            && module.children.contains_key(first)
            && let Some(found @ Found::Item(_)) = head(tree, id, &whole, left)
        {
            return Some(found);
        }
    }
    if let Some(found) = child() {
        return Some(found);
    }
    let all = module.imports.iter().filter(|i| i.name == "*");
    all.filter_map(|i| match head(tree, id, &i.path, left)? {
        Found::Module(all) if all != id => within(tree, all, path, left),
        _ => None,
    })
    .next()
}

/// Groups of files that use each other in a circle.
pub(crate) fn circles(arrows: &Arrows) -> Vec<Vec<String>> {
    let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (from, to) in arrows.keys() {
        next.entry(from).or_default().push(to);
    }
    let reach = |from: &str| {
        let (mut seen, mut open) = (BTreeSet::new(), next.get(from).cloned().unwrap_or_default());
        while let Some(file) = open.pop() {
            if seen.insert(file.to_owned()) {
                open.extend(next.get(file).into_iter().flatten());
            }
        }
        seen
    };
    let reached: BTreeMap<&str, BTreeSet<String>> = next.keys().map(|&file| (file, reach(file))).collect();
    let mut groups: Vec<Vec<String>> = Vec::new();
    for (&file, seen) in reached.iter().filter(|(file, seen)| seen.contains(**file)) {
        if !groups.iter().any(|g| g.iter().any(|f| f == file)) {
            let back = |other: &&String| reached.get(other.as_str()).is_some_and(|s| s.contains(file));
            groups.push(seen.iter().filter(back).cloned().collect());
        }
    }
    groups
}
