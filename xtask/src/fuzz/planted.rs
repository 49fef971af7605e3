//! Shows that each fuzz target finds faults of the parser that it guards.
//!
//! A copy of the sources in `target/planted` gets all [`faults`] at once. Each is behind a test of a variable, so one
//! build serves all of them. The copy is never shipped, and the code that is has no trace of this.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::faults::{Fault, faults};
use super::{Options, has_libfuzzer, libfuzzer_command, mutations_command};

/// The variable with the number of the fault that is active.
const VARIABLE: &str = "NIXFLEET_PLANTED_FAULT";

/// The copy has folders of its own for what is built. cargo takes its crates for those of the checkout, by their paths
/// in the workspace: in one folder, the next `cargo test` of the checkout would run the copy.
const TARGET_DIR: &str = "CARGO_TARGET_DIR";

/// Runs each target with each of its faults until that is found, or for the seconds of `options`.
pub(super) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let copy = copy(root)?;
    let libfuzzer = !options.stable && has_libfuzzer(root);
    // Building is no part of the time until a fault is found.
    let mut build = if libfuzzer { super::nightly(&copy) } else { super::super::cargo() };
    if libfuzzer {
        build
            .args(["fuzz", "build", "--sanitizer", "none"])
            .arg("--target-dir")
            .arg(copy.join("fuzz/target"));
    } else {
        build.args(["test", "--locked", "--test", "fuzz", "--no-run"]).env(TARGET_DIR, copy.join("target"));
    }
    super::super::run(build.current_dir(&copy))?;
    println!("| target | planted fault | found after | inputs |\n| --- | --- | --- | --- |");
    let wanted = |fault: &&Fault| options.target.as_ref().is_none_or(|only| only == fault.target);
    let mut missed = Vec::new();
    for (number, fault) in faults().enumerate().filter(|(_, fault)| wanted(fault)) {
        let mut fuzz = if libfuzzer {
            libfuzzer_command(&copy, &copy.join("fuzz/target"), fault.target, options.seconds)?
        } else {
            mutations_command(&copy, Some(fault.target), options)
        };
        let begun = Instant::now();
        if !libfuzzer {
            fuzz.env(TARGET_DIR, copy.join("target"));
        }
        let output = fuzz.current_dir(&copy).env(VARIABLE, number.to_string()).output();
        let output = output.map_err(|err| format!("cannot run {fuzz:?}: {err}"))?;
        let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
        let found = !output.status.success() && text.contains("panicked at");
        let seconds = begun.elapsed().as_secs_f64();
        let after = if found { format!("{seconds:.1} s") } else { "not found".to_owned() };
        println!("| `{}` | {} | {after} | {} |", fault.target, fault.what, inputs(&text));
        if !found {
            missed.push(format!("{}: {}", fault.target, fault.what));
        }
    }
    if missed.is_empty() { Ok(()) } else { Err(format!("not found:\n{}", missed.join("\n"))) }
}

/// The count of inputs, which libFuzzer tells at its end, and the runner of mutations with an input that it keeps.
fn inputs(text: &str) -> &str {
    let libfuzzer = text.split("stat::number_of_executed_units:").nth(1).and_then(|rest| rest.lines().next());
    let runner = || text.split(" made inputs").next()?.rsplit(' ').next();
    libfuzzer.or_else(runner).map_or("", str::trim)
}

/// The sources with all faults. Files that are as they were before keep their time, so that little is built anew.
fn copy(root: &Path) -> Result<PathBuf, String> {
    let copy = root.join("target/planted");
    let mut list = Command::new("git");
    list.current_dir(root).args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"]);
    let names = list.output().map_err(|err| format!("cannot run git: {err}"))?.stdout;
    for name in String::from_utf8_lossy(&names).split('\0').filter(|name| !name.is_empty()) {
        // One that was removed is still in the index.
        let Ok(mut content) = fs::read(root.join(name)) else { continue };
        if faults().any(|fault| fault.file == name) {
            let text = String::from_utf8(content).map_err(|err| format!("{name}: {err}"))?;
            content = planted(name, text)?.into_bytes();
        }
        let path = copy.join(name);
        if fs::read(&path).is_ok_and(|old| old == content) {
            continue;
        }
        let written =
            fs::create_dir_all(path.parent().unwrap_or(&copy)).and_then(|()| fs::write(&path, content));
        written.map_err(|err| format!("cannot write {}: {err}", path.display()))?;
    }
    Ok(copy)
}

/// The text of a file with its faults.
fn planted(name: &str, mut text: String) -> Result<String, String> {
    for (number, Fault { what, right, wrong, .. }) in
        faults().enumerate().filter(|(_, fault)| fault.file == name)
    {
        if text.matches(right).count() != 1 {
            return Err(format!("{name}: `{right}` is not there once, for the fault \"{what}\""));
        }
        let is_active = format!(
            "::std::env::var_os({VARIABLE:?}).is_some_and(|fault| fault == {:?})",
            number.to_string()
        );
        text = text.replace(right, &format!("(if {is_active} {{ {wrong} }} else {{ {right} }})"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn each_fault_fits_the_sources_and_each_target_has_two() {
        let root = super::super::super::root();
        let mut targets: BTreeMap<String, usize> =
            super::super::targets(&root).unwrap().into_iter().map(|name| (name, 0)).collect();
        for fault in faults() {
            let text = fs::read_to_string(root.join(fault.file)).unwrap();
            // Each stands between the braces of a condition, in the place of the other one.
            let before = text.split(fault.right).next().unwrap();
            assert!(!before.ends_with('.'), "`{}` is the end of an expression", fault.right);
            for text in [fault.right, fault.wrong] {
                assert!(!text.trim_end().ends_with([';', '{']), "`{text}` is no expression");
            }
            let with_faults = planted(fault.file, text.clone()).unwrap();
            assert!(with_faults.contains(fault.wrong) && !text.contains(&format!("{{ {} }}", fault.wrong)));
            *targets.get_mut(fault.target).expect("a target") += 1;
        }
        assert!(targets.values().all(|count| *count >= 2), "{targets:?}");
    }
}
