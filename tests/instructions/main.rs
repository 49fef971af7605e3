//! How many instructions the agent needs for what it does again and again: a heartbeat, a line of output. They are the
//! same on a busy machine, so a change that makes one of them dearer is seen in the commit that makes it.
//!
//! Valgrind counts. Each operation is run a few times and many times in a process of its own, and the difference of the
//! two counts is divided by the difference of the runs: the start of the process does not count. The build is the one
//! of the tests, so the numbers say what became more or less, and nothing about a release.
//!
//! ```text
//! cargo test --test instructions                            compares with counts.txt
//! UPDATE_INSTRUCTIONS=1 cargo test --test instructions      writes counts.txt anew
//! ```
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod operations;

/// What is counted.
struct Operation {
    name: &'static str,
    run: fn(u32),
    /// How often it is run: what does more is run less often, because valgrind is fifty times slower.
    times: u32,
}

const OPERATIONS: [Operation; 7] = [
    Operation { name: "beat", run: operations::beats, times: 50 },
    Operation { name: "request", run: operations::requests, times: 500 },
    Operation { name: "acknowledgement", run: operations::acknowledgements, times: 500 },
    Operation { name: "line-written", run: operations::lines_written, times: 2000 },
    Operation { name: "line-read", run: operations::lines_read, times: 2000 },
    Operation { name: "line-sent", run: operations::lines_sent, times: 2000 },
    Operation { name: "vitals", run: operations::vitals, times: 20 },
];

/// By how much a count may differ, as a share of the noted one. Seeds of hash tables and addresses change a little.
const TOLERANCE: f64 = 0.05;

/// Runs that are not counted.
const FEW: u32 = 5;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("--run") {
        let (name, times) = (arguments.next().unwrap(), arguments.next().unwrap());
        let operation = OPERATIONS.iter().find(|operation| operation.name == name).unwrap();
        (operation.run)(times.parse().unwrap());
        return ExitCode::SUCCESS;
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!("SKIPPED: instructions are not counted, because valgrind is not installed.");
        return ExitCode::SUCCESS;
    }
    let counted = OPERATIONS.map(|Operation { name, times, .. }| (name, count(name, times)));
    let compiler = compiler();
    if std::env::var_os("UPDATE_INSTRUCTIONS").is_some() {
        std::fs::write(file(), text(&compiler, &counted)).unwrap();
        return ExitCode::SUCCESS;
    }
    let noted = std::fs::read_to_string(file()).unwrap();
    if noted.lines().next() != Some(compiler.as_str()) {
        println!("SKIPPED: {} was not counted with this compiler, {compiler}.", file().display());
        return ExitCode::SUCCESS;
    }
    compare(&noted, &counted)
}

/// Prints a line for each operation. Fails if one of them needs more than was noted, or less.
fn compare(noted: &str, counted: &[(&str, u64)]) -> ExitCode {
    let mut differ = false;
    for (name, count) in counted {
        let line = noted.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        let Some(before) = line else {
            println!("{name}: {count} instructions, and none are noted");
            differ = true;
            continue;
        };
        let change = *count as f64 / before as f64 - 1.0;
        let is_other = change.abs() > TOLERANCE;
        differ |= is_other;
        let said = if is_other { "  DIFFERS" } else { "" };
        println!("{name:<16}{count:>10} instructions, {before:>10} noted, {:+.1} %{said}", change * 100.0);
    }
    if !differ {
        return ExitCode::SUCCESS;
    }
    println!(
        "Something became dearer or cheaper by more than {:.0} %. If it is meant, note the new counts:\n    \
         UPDATE_INSTRUCTIONS=1 cargo test --test instructions",
        TOLERANCE * 100.0
    );
    ExitCode::FAILURE
}

/// Instructions of one run of an operation.
fn count(name: &str, times: u32) -> u64 {
    let total = |times: u32| {
        let output = Command::new("valgrind")
            .args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"])
            .arg(std::env::current_exe().unwrap())
            .args(["--run", name, &times.to_string()])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {text}");
        let counted = text.lines().find_map(|line| line.split_once("refs:")?.1.split_whitespace().next());
        counted.unwrap_or_else(|| panic!("no count: {text}")).replace(',', "").parse::<u64>().unwrap()
    };
    (total(FEW + times) - total(FEW)) / u64::from(times)
}

/// The compiler, its target and the build: others make other instructions.
fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().unwrap().stdout;
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    format!("{}, {}, {build}", String::from_utf8_lossy(&version).trim(), std::env::consts::ARCH)
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/instructions/counts.txt")
}

fn text(compiler: &str, counted: &[(&str, u64)]) -> String {
    let mut text = format!("{compiler}\n");
    for (name, count) in counted {
        writeln!(text, "{name:<16}{count:>10}").unwrap();
    }
    text
}
