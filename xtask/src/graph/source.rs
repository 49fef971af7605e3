//! The modules of a crate and the paths they name, read as text.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use super::Edges;

/// A module, with the text of its file without tests and comments.
pub(super) struct Module {
    /// Its path, such as `link::session`; empty for the root of the crate.
    path: String,
    text: String,
}

/// All modules of the crate whose root is in `folder`.
pub(super) fn modules(folder: &Path) -> Result<Vec<Module>, String> {
    let mut modules = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        let items = fs::read_dir(&current).map_err(|err| format!("{}: {err}", current.display()))?;
        for path in items.flatten().map(|item| item.path()) {
            let is_test = path
                .file_stem()
                .is_some_and(|stem| stem == "tests" || stem == "models" || stem == "test_util");
            if is_test {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).map_err(|err| format!("{}: {err}", path.display()))?;
                modules.push(Module { path: module_path(folder, &path), text: without_tests(&text) });
            }
        }
    }
    modules.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(modules)
}

fn module_path(root: &Path, file: &Path) -> String {
    let relative: PathBuf = file.strip_prefix(root).unwrap_or(file).with_extension("");
    let names: Vec<String> = relative.iter().map(|name| name.to_string_lossy().into_owned()).collect();
    match names.join("::").as_str() {
        "lib" | "main" => String::new(),
        path => path.to_owned(),
    }
}

/// Removes comments and the inline module of tests, which is at the end of a file.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = code.lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// For each folder of modules, the dependencies between its modules.
pub(super) fn siblings(modules: &[Module]) -> BTreeMap<String, Edges> {
    let known: BTreeSet<&str> = modules.iter().map(|module| module.path.as_str()).collect();
    let exports: BTreeMap<&str, BTreeMap<String, String>> =
        modules.iter().map(|module| (module.path.as_str(), exported(module, &known))).collect();
    let mut folders: BTreeMap<String, Edges> = BTreeMap::new();
    for module in modules.iter().filter(|module| !module.path.is_empty()) {
        let (parent, name) = module.path.rsplit_once("::").unwrap_or(("", &module.path));
        folders.entry(parent.to_owned()).or_default().entry(name.to_owned()).or_default();
    }
    for module in modules {
        for path in paths(&module.text) {
            let Some(target) = resolve(module, &path, &known, &exports) else { continue };
            if let Some((parent, from, to)) = parting(&module.path, &target) {
                folders.entry(parent).or_default().entry(from).or_default().insert(to);
            }
        }
    }
    folders
}

/// The deepest folder that contains both modules, and its child on the path to each of them. None if one
/// module contains the other.
fn parting(from: &str, to: &str) -> Option<(String, String, String)> {
    let (from, to): (Vec<&str>, Vec<&str>) = (parts(from), parts(to));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let (a, b) = (from.get(shared)?, to.get(shared)?);
    Some((from[..shared].join("::"), (*a).to_owned(), (*b).to_owned()))
}

fn parts(path: &str) -> Vec<&str> {
    if path.is_empty() { Vec::new() } else { path.split("::").collect() }
}

/// The module that a path refers to. A name that a module re-exports refers to the module that it comes from.
fn resolve(
    module: &Module,
    path: &str,
    known: &BTreeSet<&str>,
    exports: &BTreeMap<&str, BTreeMap<String, String>>,
) -> Option<String> {
    let absolute = absolute(module, path, known)?;
    let names = parts(&absolute);
    let length =
        (0..=names.len()).rev().find(|length| known.contains(names[..*length].join("::").as_str()))?;
    let found = names[..length].join("::");
    let passed_on = names.get(length).and_then(|name| exports.get(found.as_str())?.get(*name));
    Some(passed_on.cloned().unwrap_or(found))
}

/// The path from the root of this crate; none for a path into another crate.
fn absolute(module: &Module, path: &str, known: &BTreeSet<&str>) -> Option<String> {
    let names = parts(path);
    let own = parts(&module.path);
    let ups = names.iter().take_while(|name| **name == "super").count();
    let joined = |base: &[&str], rest: &[&str]| [base, rest].concat().join("::");
    match *names.first()? {
        "crate" => Some(joined(&[], &names[1..])),
        "self" => Some(joined(&own, &names[1..])),
        "super" => Some(joined(own.get(..own.len().checked_sub(ups)?)?, &names[ups..])),
        first => known.contains(joined(&own, &[first]).as_str()).then(|| joined(&own, &names)),
    }
}

/// The names that a module re-exports, and the modules that they come from.
fn exported(module: &Module, known: &BTreeSet<&str>) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for path in uses(&module.text, true) {
        let Some(absolute) = absolute(module, &path, known) else { continue };
        if let Some((from, name)) = absolute.rsplit_once("::")
            && known.contains(from)
        {
            found.insert(name.to_owned(), from.to_owned());
        }
    }
    found
}

/// All paths in the text: those of `use`, and those elsewhere that begin with `crate` or `super`.
fn paths(text: &str) -> Vec<String> {
    let mut found = uses(text, false);
    for begin in ["crate::", "super::"] {
        for (at, _) in text.match_indices(begin) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|letter| letter.is_alphanumeric() || letter == '_' || letter == ':') {
                continue;
            }
            let rest = &text[at..];
            let end = rest
                .find(|letter: char| !(letter.is_alphanumeric() || letter == '_' || letter == ':'))
                .unwrap_or(rest.len());
            found.push(rest[..end].trim_end_matches(':').to_owned());
        }
    }
    found
}

/// The paths of `use` statements, one for each name. With `public`, only those of re-exports.
fn uses(text: &str, public: bool) -> Vec<String> {
    let mut found = Vec::new();
    for statement in text.split(';') {
        let Some(at) = statement.rfind("use ") else { continue };
        let line = statement[..at].rsplit('\n').next().unwrap_or_default().trim();
        let is_use = line.is_empty() || line.starts_with("pub");
        if is_use && (!public || line.starts_with("pub")) {
            expand(statement[at + "use ".len()..].trim(), "", &mut found);
        }
    }
    found
}

/// Splits `a::{b, c::d as e}` into its paths.
fn expand(tree: &str, prefix: &str, found: &mut Vec<String>) {
    let tree = tree.trim();
    let Some(open) = tree.find('{') else {
        let name = tree.split(" as ").next().unwrap_or_default().trim();
        let path = format!("{prefix}{name}");
        found.push(path.trim_end_matches("::self").to_owned());
        return;
    };
    let (head, inner) = (&tree[..open], tree[open + 1..].trim_end().trim_end_matches('}'));
    let mut depth = 0;
    let mut begin = 0;
    let inner_with_end = format!("{inner},");
    for (at, letter) in inner_with_end.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let item = inner_with_end[begin..at].trim();
                if !item.is_empty() {
                    expand(item, &format!("{prefix}{head}"), found);
                }
                begin = at + 1;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn module(path: &str, text: &str) -> Module {
        Module { path: path.to_owned(), text: without_tests(text) }
    }

    #[test]
    fn a_use_is_taken_apart() {
        let text = "use crate::{a::{B, C as D}, e};\npub use super::f;\nlet x = crate::g::h();";
        assert_eq!(uses(text, false), ["crate::a::B", "crate::a::C", "crate::e", "super::f"]);
        assert_eq!(uses(text, true), ["super::f"]);
        assert!(paths(text).contains(&"crate::g::h".to_owned()));
    }

    #[test]
    fn arrows_between_siblings_are_seen_and_those_to_children_and_parents_are_not() {
        let modules = [
            module("", "pub use a::A;\nmod a;\nmod b;"),
            module("a", "use crate::b::B;\nmod inner;"),
            module("a::inner", "use super::A;"),
            module(
                "b",
                "fn f() { crate::A::new() }\n// use crate::c;\n#[cfg(test)]\nmod tests { use crate::c; }",
            ),
            module("c", ""),
        ];
        let folders = siblings(&modules);
        let root = &folders[""];
        assert_eq!(root["a"].iter().collect::<Vec<_>>(), ["b"]);
        assert_eq!(root["b"].iter().collect::<Vec<_>>(), ["a"], "by a name that the root passes on");
        assert!(root["c"].is_empty() && folders["a"]["inner"].is_empty());
    }
}
