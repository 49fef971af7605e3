//! Each command that a document names exists, with its options.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use crate::page::{pages, repository};
use crate::run::programs;
use crate::shell::calls;

/// Programs of other projects, whose arguments nobody here can check. `run.rs` runs some of them.
const OTHERS: &str = "apt-get avocado cd chmod cp curl echo export grep kill ln mdbook mkdir mksquashfs nix rustup sleep \
                      systemd-confext systemd-sysext systemd-sysusers systemd-tmpfiles";

/// Commands with a stand-in for something that differs each time.
const EXAMPLES: [&str; 2] = ["linux.uml", "nixfleet_agent-HASH"];

/// What `cargo xtask help` prints.
fn xtask_help() -> String {
    let source = fs::read_to_string(repository("xtask/src/main.rs")).unwrap();
    source.split("const HELP: &str = \"\\\n").nth(1).unwrap().split("\";").next().unwrap().to_owned()
}

/// The lines of the help about one command of xtask.
fn xtask_entry(name: &str) -> Option<String> {
    let help = xtask_help();
    let mut lines = help.lines().skip_while(|line| line.split_whitespace().next() != Some(name));
    let first = lines.next().filter(|line| line.starts_with("  ") && !line.starts_with("   "))?;
    let rest = lines.take_while(|line| line.starts_with("   "));
    Some([first].into_iter().chain(rest).collect::<Vec<_>>().join("\n"))
}

/// Whether a package has this test, benchmark or example: by its manifest, or by the place of the file.
fn has_target(kind: &str, name: &str) -> bool {
    let named = |folder: &str| {
        let manifest = fs::read_to_string(repository(folder).join("Cargo.toml")).unwrap_or_default();
        let place = repository(folder).join(kind).join(name);
        manifest.contains(&format!("name = \"{name}\""))
            || place.with_extension("rs").exists()
            || place.exists()
    };
    let crates = fs::read_dir(repository("crates")).unwrap().map(|entry| entry.unwrap().file_name());
    named("") || crates.map(|name| format!("crates/{}", name.display())).any(|folder| named(&folder))
}

fn has_feature(name: &str) -> bool {
    ["Cargo.toml", "crates/protocol/Cargo.toml"]
        .iter()
        .any(|file| fs::read_to_string(repository(file)).unwrap().contains(&format!("\n{name} = [")))
}

fn cargo(words: &[&str]) -> Result<(), String> {
    let words = words.iter().take_while(|word| **word != "--").copied().collect::<Vec<_>>();
    match words.first().copied() {
        Some("xtask") => xtask(&words[1..]),
        Some("build" | "test" | "bench" | "run" | "clippy" | "fmt" | "doc" | "install" | "deny") => {
            for pair in words.windows(2) {
                let exists = match pair[0] {
                    "-p" | "--package" => {
                        let folder = pair[1].strip_prefix("nixfleet-").unwrap_or(pair[1]);
                        pair[1] == "nixfleet-agent"
                            || repository(&format!("crates/{folder}/Cargo.toml")).exists()
                    }
                    "--test" => has_target("tests", pair[1]),
                    "--bench" => has_target("benches", pair[1]),
                    "--example" => has_target("examples", pair[1]),
                    "--features" => has_feature(pair[1]),
                    _ => true,
                };
                if !exists {
                    return Err(format!("{} {} does not exist", pair[0], pair[1]));
                }
            }
            Ok(())
        }
        other => Err(format!("cargo {}: not understood", other.unwrap_or_default())),
    }
}

fn xtask(words: &[&str]) -> Result<(), String> {
    let Some(name) = words.first().filter(|name| **name != "help") else { return Ok(()) };
    let entry = xtask_entry(name).ok_or("there is no such command of xtask")?;
    // These hand their options on.
    if entry.contains("[OPTIONS]") {
        return Ok(());
    }
    match words.iter().find(|word| word.starts_with("--") && !entry.contains(**word)) {
        Some(option) => Err(format!("xtask {name} has no {option}")),
        None => Ok(()),
    }
}

/// Asks one of our programs for its help behind these arguments, which fails if it knows one of them not.
fn own(program: &str, words: &[&str]) -> Result<(), String> {
    let file = programs().join(program);
    let output = Command::new(file).args(words).arg("--help").env_clear().output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() && !output.stdout.is_empty() { Ok(()) } else { Err(text) }
}

/// `install` of files of this repository.
fn install(words: &[&str]) -> Result<(), String> {
    for word in words.iter().filter(|word| word.starts_with("dist/") && !word.contains("overlay/usr")) {
        let path = word.strip_suffix("/*").unwrap_or(word);
        if !repository(path).exists() {
            return Err(format!("there is no {path}"));
        }
    }
    Ok(())
}

/// Units of this project that a command names.
fn units(words: &[&str]) -> Result<(), String> {
    for word in words.iter().filter(|word| word.starts_with("nixfleet-")) {
        let name = word.strip_suffix(".service").unwrap_or(word);
        let template = name.split('@').next().unwrap();
        let known = [
            format!("dist/systemd/{name}.service"),
            format!("dist/systemd/{template}@.service"),
            format!("dist/gateway/{name}.service"),
            format!("dist/dashboard/{name}.service"),
        ];
        if !known.iter().any(|path| repository(path).exists()) {
            return Err(format!("there is no unit {word}"));
        }
    }
    Ok(())
}

fn check(words: &[String]) -> Result<(), String> {
    let words: Vec<&str> = words.iter().map(String::as_str).skip_while(|word| *word == "sudo").collect();
    let (path, arguments) = words.split_first().ok_or("sudo alone")?;
    let name = path.rsplit('/').next().unwrap();
    match name {
        "nixfleet-agent" | "nixfleet-mock-dashboard" => own(name, arguments),
        // A test of crates/cli reads the commands of its page, so that this one needs no NATS library built.
        "nixfleet" => Ok(()),
        "cargo" => cargo(arguments),
        "just" => {
            let recipes = fs::read_to_string(repository("justfile")).unwrap();
            let known = arguments.first().is_none_or(|recipe| recipes.contains(&format!("\n{recipe} ")));
            if known { Ok(()) } else { Err("there is no such recipe".to_owned()) }
        }
        "install" => install(arguments),
        "systemctl" | "journalctl" => units(arguments),
        _ if OTHERS.split(' ').any(|other| other == name) || EXAMPLES.contains(&name) => Ok(()),
        _ if path.contains('/') && repository(path).exists() => Ok(()),
        _ => Err("nothing here knows this program: see tests/docs/commands.rs".to_owned()),
    }
}

/// What has been checked, since programs are asked, and most commands are named often.
#[derive(Default)]
struct Checked(BTreeMap<Vec<String>, Result<(), String>>);

impl Checked {
    fn check(&mut self, words: &[String]) -> Result<(), String> {
        self.0.entry(words.to_vec()).or_insert_with(|| check(words)).clone()
    }
}

#[test]
fn every_command_in_a_block_exists_with_its_options() {
    let mut checked = Checked::default();
    let mut wrong = Vec::new();
    let mut count = 0;
    for block in pages().iter().flat_map(crate::page::Page::blocks) {
        let elsewhere = ["heartbeat.conf", "crates/cli/tests/start.rs"];
        if block.language != "sh" || block.marker.as_deref().is_some_and(|marker| elsewhere.contains(&marker))
        {
            continue;
        }
        for call in calls(&block.text) {
            count += 1;
            if let Err(problem) = checked.check(&call.words) {
                wrong.push(format!("{}: {}: {problem}", block.place, call.words.join(" ")));
            }
        }
    }
    assert!(count > 50, "where are the commands?");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// A sentence names a command as well. What ends in `..` is not whole, and a release may have had other commands.
#[test]
fn every_command_in_a_sentence_exists_with_its_options() {
    let mut checked = Checked::default();
    let mut wrong = Vec::new();
    let pages = pages();
    for (place, span) in
        pages.iter().filter(|page| page.path != "CHANGELOG.md").flat_map(|page| page.code_spans())
    {
        let ours = ["nixfleet-agent ", "nixfleet-mock-dashboard ", "cargo ", "just ", "sudo nixfleet-agent "];
        if !ours.iter().any(|start| span.starts_with(start)) || span.contains("..") {
            continue;
        }
        for call in calls(&span) {
            if let Err(problem) = checked.check(&call.words) {
                wrong.push(format!("{place}: {span}: {problem}"));
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}
