//! The dependencies between crates and between modules, and the check that they follow the rules.
//!
//! Crates may use what [`ALLOWED`] says. Modules of one folder may use each other in one direction
//! only: a cycle between siblings is an error. A module and its own children count as one module in
//! several files, and may use each other. Test code is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

mod source;

/// Each crate, where it is, and which of the others it may use (its tests may use more).
const ALLOWED: &[(&str, &str, &[&str])] = &[
    ("nixfleet-os", "crates/os", &[]),
    ("nixfleet-protocol", "crates/protocol", &[]),
    ("nixfleet-jobs", "crates/jobs", &["nixfleet-os"]),
    ("nixfleet-vitals", "crates/vitals", &["nixfleet-os"]),
    ("nixfleet-config", "crates/config", &["nixfleet-jobs", "nixfleet-os", "nixfleet-vitals"]),
    ("nixfleet-sessions", "crates/sessions", &["nixfleet-protocol"]),
    ("nixfleet-fleet", "crates/fleet", &["nixfleet-os", "nixfleet-protocol"]),
    (
        "nixfleet-gateway",
        "crates/gateway",
        &["nixfleet-fleet", "nixfleet-os", "nixfleet-protocol", "nixfleet-sessions"],
    ),
    ("nixfleet-cli", "crates/cli", &["nixfleet-fleet", "nixfleet-os", "nixfleet-protocol"]),
    ("nixfleet-testbed", "crates/testbed", &[]),
    (
        "nixfleet-dashboard",
        "crates/dashboard",
        &["nixfleet-jobs", "nixfleet-os", "nixfleet-protocol", "nixfleet-sessions"],
    ),
    (
        "nixfleet-console",
        "crates/console",
        &["nixfleet-dashboard", "nixfleet-fleet", "nixfleet-os", "nixfleet-protocol", "nixfleet-sessions"],
    ),
    (
        "nixfleet-mock-dashboard",
        "crates/mock-dashboard",
        &["nixfleet-dashboard", "nixfleet-jobs", "nixfleet-os"],
    ),
    (
        "nixfleet-sim",
        "crates/sim",
        &["nixfleet-agent", "nixfleet-config", "nixfleet-jobs", "nixfleet-os", "nixfleet-protocol"],
    ),
    (
        "nixfleet-agent",
        ".",
        &["nixfleet-config", "nixfleet-jobs", "nixfleet-os", "nixfleet-protocol", "nixfleet-vitals"],
    ),
    (
        "nixfleet-fuzz",
        "crates/fuzz",
        &[
            "nixfleet-agent",
            "nixfleet-config",
            "nixfleet-jobs",
            "nixfleet-os",
            "nixfleet-protocol",
            "nixfleet-vitals",
        ],
    ),
];

/// Libraries that a crate must not depend on, with the reason.
const FORBIDDEN: &[(&str, &[&str], &str)] = &[
    ("nixfleet-protocol", &["tokio", "tokio-tungstenite", "axum"], "dashboards in any language bind it"),
    ("nixfleet-jobs", &["tokio", "tokio-tungstenite", "axum"], "root runs it: no runtime, no network"),
    ("nixfleet-agent", &["axum"], "hosts need no web framework"),
];

/// Edges from a module to those that it uses.
type Edges = BTreeMap<String, BTreeSet<String>>;

/// Prints the graph. With `check`, fails if a dependency breaks the rules.
pub(crate) fn run(root: &Path, check: bool) -> Result<(), String> {
    let mut problems = Vec::new();
    let mut drawing = String::from("crates\n");
    for &(name, folder, allowed) in ALLOWED {
        let used = dependencies(&root.join(folder).join("Cargo.toml"))?;
        let own: Vec<&String> = used.iter().filter(|used| used.starts_with("nixfleet-")).collect();
        draw(&mut drawing, name, own.iter().map(|used| used.as_str()));
        problems.extend(
            own.iter()
                .filter(|used| !allowed.contains(&used.as_str()))
                .map(|used| format!("{name} must not use {used}")),
        );
        for (_, libraries, why) in FORBIDDEN.iter().filter(|(of, ..)| *of == name) {
            problems.extend(
                libraries
                    .iter()
                    .filter(|library| used.contains(**library))
                    .map(|library| format!("{name} must not use {library}: {why}")),
            );
        }
    }
    for &(name, folder, _) in ALLOWED {
        let modules = source::modules(&root.join(folder).join("src"))?;
        for (parent, edges) in source::siblings(&modules) {
            let title = if parent.is_empty() { name.to_owned() } else { format!("{name}: {parent}") };
            writeln!(drawing, "\n{title}").ok();
            for (module, used) in &edges {
                draw(&mut drawing, module, used.iter().map(String::as_str));
            }
            problems.extend(cycle(&edges).map(|cycle| format!("{title}: cycle {}", cycle.join(" -> "))));
        }
    }
    if !check {
        print!("{drawing}");
    }
    if !problems.is_empty() {
        return Err(problems.join("\nxtask: "));
    }
    if check {
        println!("No arrow upwards between crates, and no circle among modules.");
    }
    Ok(())
}

fn draw<'a>(drawing: &mut String, name: &str, used: impl Iterator<Item = &'a str>) {
    let used: Vec<&str> = used.collect();
    let arrow = if used.is_empty() { String::new() } else { format!(" -> {}", used.join(", ")) };
    writeln!(drawing, "  {name}{arrow}").ok();
}

/// The names of the dependencies, without those that only tests use.
fn dependencies(manifest: &Path) -> Result<BTreeSet<String>, String> {
    let text = fs::read_to_string(manifest).map_err(|err| format!("{}: {err}", manifest.display()))?;
    let mut names = BTreeSet::new();
    let mut inside = false;
    for line in text.lines().map(str::trim) {
        if let Some(table) = line.strip_prefix('[') {
            let table = table.trim_end_matches(']');
            inside =
                table == "dependencies" || (table.starts_with("target.") && table.ends_with(".dependencies"));
        } else if inside
            && let Some(end) = line.find(['.', ' ', '='])
            && !line.starts_with('#')
        {
            names.insert(line[..end].to_owned());
        }
    }
    Ok(names)
}

/// A cycle, if there is one: its modules in order, the first one again at the end.
fn cycle(edges: &Edges) -> Option<Vec<String>> {
    fn visit(
        module: &str,
        edges: &Edges,
        path: &mut Vec<String>,
        done: &mut BTreeSet<String>,
    ) -> Option<Vec<String>> {
        if let Some(begin) = path.iter().position(|before| before == module) {
            let mut cycle = path[begin..].to_vec();
            cycle.push(module.to_owned());
            return Some(cycle);
        }
        if !done.insert(module.to_owned()) {
            return None;
        }
        path.push(module.to_owned());
        let found = edges.get(module).into_iter().flatten().find_map(|used| visit(used, edges, path, done));
        path.pop();
        found
    }
    let mut done = BTreeSet::new();
    edges.keys().find_map(|module| visit(module, edges, &mut Vec::new(), &mut done))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edges(pairs: &[(&str, &[&str])]) -> Edges {
        pairs
            .iter()
            .map(|(from, to)| ((*from).to_owned(), to.iter().map(|to| (*to).to_owned()).collect()))
            .collect()
    }

    #[test]
    fn a_cycle_is_found_and_a_diamond_is_none() {
        assert_eq!(cycle(&edges(&[("a", &["b", "c"]), ("b", &["d"]), ("c", &["d"]), ("d", &[])])), None);
        let found = cycle(&edges(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])])).unwrap();
        assert_eq!(found, ["b", "c", "b"]);
    }

    #[test]
    fn this_repository_has_no_arrow_upwards() {
        run(&crate::root(), true).unwrap();
    }
}
