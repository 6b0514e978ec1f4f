//! The tree of modules: what each file declares, imports and names.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::words::{self, Word, group_end};

/// A name that a module brings in from elsewhere.
#[derive(Debug, Clone)]
pub(crate) struct Import {
    /// As it is called here; `*` for all of a module.
    pub(crate) name: String,
    /// Where it comes from, as written.
    pub(crate) path: Vec<String>,
    /// Handed on (`pub use`): no use of its own.
    pub(crate) handed_on: bool,
}

/// A module, which has a file of its own or stands in its parent's.
#[derive(Debug, Default)]
pub(crate) struct Module {
    /// The file, below the root.
    pub(crate) file: String,
    pub(crate) parent: Option<usize>,
    pub(crate) children: BTreeMap<String, usize>,
    /// What is defined here.
    pub(crate) items: Vec<String>,
    pub(crate) imports: Vec<Import>,
    /// Paths in the code, each of two names or more.
    pub(crate) paths: Vec<Vec<String>>,
    /// Single names in the code.
    pub(crate) names: Vec<String>,
    /// Macros that are called.
    pub(crate) calls: Vec<String>,
    /// Macros that are defined.
    pub(crate) macros: Vec<String>,
}

/// All modules; the first is the crate.
#[derive(Debug, Default)]
pub(crate) struct Tree(pub(crate) Vec<Module>);

impl Tree {
    /// Reads `root/src/lib.rs` and what it declares.
    pub(crate) fn read(root: &Path) -> Self {
        let mut tree = Self::default();
        tree.file(root, Path::new("src/lib.rs"), Path::new("src"), None);
        tree
    }

    /// Reads a file; its submodules are in `folder`.
    fn file(&mut self, root: &Path, file: &Path, folder: &Path, parent: Option<usize>) -> usize {
        let text = fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let id = self.add(file, parent);
        self.body(root, file, folder, id, &words::of(&text));
        id
    }

    fn add(&mut self, file: &Path, parent: Option<usize>) -> usize {
        self.0.push(Module { file: file.display().to_string(), parent, ..Module::default() });
        self.0.len() - 1
    }

    fn body(&mut self, root: &Path, file: &Path, folder: &Path, id: usize, words: &[Word]) {
        let name = |i: usize| words.get(i).and_then(Word::name);
        let (mut i, mut depth, mut own_path) = (0, 0_usize, None);
        while i < words.len() {
            match &words[i] {
                // #[path = "…"]: the literal's text is gone; only test modules are declared so.
                Word::Sign('#') if name(i + 2) == Some("path") => own_path = Some(i),
                Word::Sign('{' | '(' | '[') => depth += 1,
                Word::Sign('}' | ')' | ']') => depth = depth.saturating_sub(1),
                Word::Name(word) => {
                    let (word, here) = (word.as_str(), depth == 0);
                    match word {
                        "use" if name(i + 1).is_some() || words.get(i + 1).is_some_and(|w| *w == Word::Path) => {
                            i = self.import(id, words, i, depth);
                            continue;
                        }
                        "mod" if here && name(i + 1).is_some() => {
                            let child = name(i + 1).unwrap_or_default().to_owned();
                            assert!(own_path.take().is_none(), "{}: #[path] on {child}", file.display());
                            let below = folder.join(&child);
                            let inline = words.get(i + 2).is_some_and(|w| w.is('{'));
                            let made = if inline {
                                let end = group_end(words, i + 2);
                                let made = self.add(file, Some(id));
                                self.body(root, file, &below, made, &words[i + 3..end - 1]);
                                i = end;
                                made
                            } else {
                                i += 2;
                                let flat = below.with_extension("rs");
                                let file = if root.join(&flat).exists() { flat } else { below.join("mod.rs") };
                                self.file(root, &file, &below, Some(id))
                            };
                            self.0[id].children.insert(child, made);
                            continue;
                        }
                        "macro_rules" => {
                            let called = name(i + 2).unwrap_or_default().to_owned();
                            self.0[id].macros.push(called);
                            i += 3;
                            continue;
                        }
                        "fn" | "struct" | "enum" | "trait" | "type" | "const" | "static" | "union" if here => {
                            let at = if name(i + 1) == Some("mut") { i + 2 } else { i + 1 };
                            if let Some(item) = name(at) {
                                self.0[id].items.push(item.to_owned());
                            }
                        }
                        _ => {}
                    }
                    i = self.path(id, words, i);
                    continue;
                }
                _ => {}
            }
            i += 1;
        }
    }

    /// Takes the path or the name that begins at `i`; returns what is behind it.
    fn path(&mut self, id: usize, words: &[Word], mut i: usize) -> usize {
        let follows_path = i > 0 && words[i - 1] == Word::Path;
        let mut path = vec![words[i].name().unwrap_or_default().to_owned()];
        while words.get(i + 1) == Some(&Word::Path) {
            let Some(next) = words.get(i + 2).and_then(Word::name) else { break };
            path.push(next.to_owned());
            i += 2;
        }
        let module = &mut self.0[id];
        if words.get(i + 1).is_some_and(|w| w.is('!')) && !words.get(i + 2).is_some_and(|w| w.is('=')) {
            module.calls.extend(path.last().cloned());
        }
        match path.len() {
            // `::name` begins with the name of a crate.
            _ if follows_path => {}
            1 => module.names.append(&mut path),
            _ => module.paths.push(path),
        }
        i + 1
    }

    /// Takes the declaration `use …;` at `i`; returns what is behind it.
    fn import(&mut self, id: usize, words: &[Word], i: usize, depth: usize) -> usize {
        let end = (i..words.len()).find(|&j| words[j].is(';')).unwrap_or(words.len());
        let public = i > 0
            && depth == 0
            && (words[i - 1].name() == Some("pub") || (words[i - 1].is(')') && names_before(words, i)));
        let mut found = Vec::new();
        branch(&words[i + 1..end], &[], &mut found);
        self.0[id].imports.extend(found.into_iter().map(|(name, path)| Import { name, path, handed_on: public }));
        end + 1
    }
}

/// Whether `pub(…)` stands before `i`.
fn names_before(words: &[Word], i: usize) -> bool {
    let open = (0..i).rev().find(|&j| words[j].is('('));
    open.is_some_and(|j| j > 0 && words[j - 1].name() == Some("pub"))
}

/// One branch of a `use` tree, whose stem is `stem`.
fn branch(words: &[Word], stem: &[String], found: &mut Vec<(String, Vec<String>)>) {
    let mut path = stem.to_vec();
    let mut i = 0;
    while i < words.len() {
        match &words[i] {
            Word::Name(name) if name == "as" => {
                let alias = words.get(i + 1).and_then(Word::name).unwrap_or("_");
                found.push((alias.to_owned(), path));
                return;
            }
            Word::Name(name) if name == "self" && !path.is_empty() => {}
            Word::Name(name) => path.push(name.clone()),
            Word::Sign('*') => {
                found.push(("*".to_owned(), path));
                return;
            }
            Word::Sign('{') => {
                let inner = &words[i + 1..group_end(words, i) - 1];
                let (mut start, mut depth) = (0, 0);
                for (j, word) in inner.iter().enumerate() {
                    match word {
                        Word::Sign('{') => depth += 1,
                        Word::Sign('}') => depth -= 1,
                        Word::Sign(',') if depth == 0 => {
                            branch(&inner[start..j], &path, found);
                            start = j + 1;
                        }
                        _ => {}
                    }
                }
                if start < inner.len() {
                    branch(&inner[start..], &path, found);
                }
                return;
            }
            _ => {}
        }
        i += 1;
    }
    if let Some(name) = path.last().cloned() {
        found.push((name, path));
    }
}
