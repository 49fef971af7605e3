//! Runs the models of threads that hand over to each other, and keeps the model checker out of the program.

use std::process::Command;

use crate::shown;

/// Prints a line for each model and for each planted fault that it found.
pub(crate) fn run(cargo: Command, runs: Option<&str>) -> Result<(), String> {
    let mut cargo = test(cargo);
    cargo.args(["--", "models::", "--show-output"]);
    // Each planted fault panics.
    cargo.env("RUST_BACKTRACE", "0");
    if let Some(runs) = runs {
        cargo.env("MODEL_RUNS", runs);
    }
    let output = cargo.output().map_err(|err| format!("cannot run {}: {err}", shown(&cargo)))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        eprint!("{}{text}", String::from_utf8_lossy(&output.stderr));
        return Err(format!(
            "{}: {}; the text above repeats an interleaving that failed",
            shown(&cargo),
            output.status
        ));
    }
    let rows: Vec<&str> =
        text.lines().filter(|line| line.starts_with("model ") || line.starts_with("| ")).collect();
    if rows.is_empty() {
        return Err(format!("{} ran no model", shown(&cargo)));
    }
    println!("{}", rows.join("\n"));
    Ok(())
}

/// Builds what [`run`] runs.
pub(crate) fn build(cargo: Command) -> Result<(), String> {
    crate::run(test(cargo).arg("--no-run"))
}

fn test(mut cargo: Command) -> Command {
    cargo.args(["test", "--locked", "-p", "nixfleet-vitals", "-p", "nixfleet-agent", "--lib"]);
    // They have no library, so nothing of them is built. With them libraries have features that they have for other
    // packages as well, and fewer are compiled anew.
    cargo.args(["-p", "nixfleet-mock-dashboard", "-p", "nixfleet-cli"]);
    cargo.args(["--features", "models"]);
    cargo
}

/// Fails if the program for hosts would have the model checker in it.
pub(crate) fn stay_out_of_the_program(mut cargo: Command) -> Result<(), String> {
    cargo.args([
        "tree",
        "--locked",
        "--quiet",
        "-p",
        "nixfleet-agent",
        "-e",
        "normal,build",
        "--prefix",
        "none",
    ]);
    let output = cargo.output().map_err(|err| format!("cannot run {}: {err}", shown(&cargo)))?;
    let tree = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !tree.contains("nixfleet-os ") {
        return Err(format!(
            "{}: {}: {}",
            shown(&cargo),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        ));
    }
    match tree.lines().find(|line| line.starts_with("shuttle")) {
        Some(line) => Err(format!("nixfleet-agent must not use {line}: it is for models")),
        None => Ok(()),
    }
}
