//! Commands for people who work on this repository: `cargo xtask help`.
//!
//! It uses only the standard library, so that the first command on a fresh machine compiles in a
//! second.
#![allow(clippy::string_slice, reason = "it reads the sources of this repository only")]

use std::env;
use std::ffi::{OsStr, OsString};
use std::iter;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

mod chaos;
mod fuzz;
mod graph;
mod models;
mod size;
mod soak;
mod testing;

const HELP: &str = "\
cargo xtask COMMAND

  demo [OPTIONS]   build the agent and the mock dashboard, and show all of it on this machine
  test [OPTIONS]   all tests; OPTIONS go to `cargo test`
  chaos N [--seed S] [--planted FAULT]
                   N schedules of chaos with real processes, from seed S (default: a new one); with --planted, of an
                   agent with this fault, until one fails: an error if none does
  check            formatting, lints, documentation, the module graph
  fuzz [TARGET] [--seconds N] [--stable] [--seed S] [--planted]
                   fuzz one or all targets, for N seconds each; by libFuzzer if nightly and cargo-fuzz are installed,
                   else, or with --stable, by changes from seed S (default: a new one); with --planted, shows which
                   planted faults they find
  models [N | --build]
                   threads that hand over to each other, under a model checker: N interleavings of each scheduler;
                   --build: only builds them
  sim [N] [--seed S] [--trace] [--planted]
                   N simulated runs of the agent from seed S on; with --planted, shows which planted faults they find
  size [--program FILE] [--since FILE]
                   builds the program for hosts and fails if it is larger than Cargo.toml allows; --program: looks at
                   this one instead; --since: shows what grew since an earlier one
  soak [--beats N] [--connections N] [--seconds N]
                   does the agent grow or drift? a million heartbeats and a thousand connections in virtual time, then
                   built agents for 300 s
  storm [N]        how many of N agents (default: 10000) register in the busiest second after an outage
  graph [--check]  draw which crate and which module uses which; fail on an arrow upwards
";

/// Wrong usage (`EX_USAGE` of sysexits.h).
const USAGE: u8 = 64;

/// Lints of all, of the agent alone as it is built for hosts (features of other packages must not hide a mistake), and
/// of the models.
const CLIPPY: &[&[&str]] = &[
    &["clippy", "--all-targets", "--locked", "--", "-D", "warnings"],
    &["clippy", "-p", "nixfleet-agent", "--lib", "--bins", "--locked", "--", "-D", "warnings"],
    &[
        "clippy",
        "-p",
        "nixfleet-agent",
        "--lib",
        "--bins",
        "--no-default-features",
        "--locked",
        "--",
        "-D",
        "warnings",
    ],
    &[
        "clippy",
        "-p",
        "nixfleet-os",
        "-p",
        "nixfleet-vitals",
        "-p",
        "nixfleet-agent",
        // As in `models`: it has no library, and brings the features that other packages have chosen.
        "-p",
        "nixfleet-mock-dashboard",
        "--lib",
        "--profile",
        "test",
        "--features",
        "models",
        "--locked",
        "--",
        "-D",
        "warnings",
    ],
];

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    let result = match command.to_str() {
        Some("demo") => demo(&rest),
        Some("test") => testing::run(cargo, &rest),
        Some("sim") => sim(&rest),
        Some("storm") => storm(&rest),
        Some("soak") => match soak::Options::read(&rest) {
            Ok(options) => soak::run(&options),
            Err(problem) => return usage(&problem),
        },
        Some("size") => match size::Options::read(&rest) {
            Ok(options) => size::run(&root(), &options),
            Err(problem) => return usage(&problem),
        },
        Some("chaos") => match chaos::Options::read(&rest, &root()) {
            Ok(options) => chaos::run(&options),
            Err(problem) => return usage(&problem),
        },
        Some("check") => check(),
        Some("fuzz") => match fuzz::Options::read(&rest) {
            Ok(options) => fuzz::run(&root(), &options),
            Err(problem) => return usage(&problem),
        },
        Some("models") => {
            match rest.iter().map(|word| word.to_str()).collect::<Option<Vec<_>>>().as_deref() {
                Some([]) => models::run(cargo(), None),
                Some([build]) if *build == "--build" => models::build(cargo()),
                Some([runs]) if runs.parse::<u32>().is_ok_and(|runs| runs > 1) => {
                    models::run(cargo(), Some(runs))
                }
                _ => {
                    return usage(
                        "models takes nothing but a number of interleavings, of at least 2, or --build",
                    );
                }
            }
        }
        Some("graph") => match rest.as_slice() {
            [] => graph::run(&root(), false),
            [check] if check == "--check" => graph::run(&root(), true),
            _ => return usage("graph takes --check and nothing else"),
        },
        Some("" | "help" | "--help" | "-h") => {
            print!("{HELP}");
            Ok(())
        }
        _ => return usage(&format!("there is no command {}", command.display())),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn usage(problem: &str) -> ExitCode {
    eprint!("xtask: {problem}\n\n{HELP}");
    ExitCode::from(USAGE)
}

/// The root folder of the repository.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_owned).unwrap_or_default()
}

fn cargo() -> Command {
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root());
    // Cargo describes this package in them. Build scripts of libraries ask for these names, too, so that each change
    // between `cargo xtask` and cargo itself would build the cryptography and all above it again.
    for (name, _) in env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            cargo.env_remove(name);
        }
    }
    cargo
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|err| format!("cannot run {}: {err}", shown(command)))?;
    if status.success() { Ok(()) } else { Err(format!("{}: {status}", shown(command))) }
}

/// A command as a person would repeat it: the name of the program, and its arguments.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// The dev profile: the release profile takes minutes to link, and the tests use the same libraries.
fn demo(options: &[OsString]) -> Result<(), String> {
    eprintln!(
        "Building the agent and the mock dashboard: a minute or two on two cores the first time. \
         Then there is a page to open, and Ctrl-C ends it all."
    );
    run(cargo().args([
        "build",
        "--locked",
        "-p",
        "nixfleet-agent",
        "-p",
        "nixfleet-mock-dashboard",
        "--bins",
    ]))?;
    let own = env::current_exe().map_err(|err| format!("cannot find the built programs: {err}"))?;
    let dashboard = own.with_file_name("nixfleet-mock-dashboard");
    nvml_stand_in(&own.with_file_name("nvml-stand-in.so"));
    // Replaces this process, so that the demo gets Ctrl-C and its exit code is the result.
    let err = Command::new(&dashboard).arg("demo").args(options).exec();
    Err(format!("cannot run {}: {err}", dashboard.display()))
}

/// Builds what stands in for NVIDIA's library in tests, beside the demo, which has one GPU more then.
fn nvml_stand_in(library: &Path) {
    let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
    let mut command = Command::new(&compiler);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/vitals/tests/fixtures/gpu/nvml.c");
    command.args(["-shared", "-fPIC", "-o"]).args([library, &source]).arg("-ldl");
    if !command.status().is_ok_and(|status| status.success()) {
        eprintln!("No GPU of NVIDIA in the demo: {} cannot build the library.", compiler.display());
    }
}

/// The dev profile, as in the tests: a seed takes some hundredths of a second.
fn sim(options: &[OsString]) -> Result<(), String> {
    let mut command = cargo();
    command.args(["run", "--locked", "--quiet", "-p", "nixfleet-sim"]);
    if options.iter().any(|option| option == "--planted") {
        command.args(["--features", "planted-faults"]);
    }
    run(command.arg("--").args(options))
}

fn storm(options: &[OsString]) -> Result<(), String> {
    run(cargo().args(["run", "--locked", "--quiet", "-p", "nixfleet-sim", "--", "storm"]).args(options))
}

fn check() -> Result<(), String> {
    run(cargo().args(["fmt", "--check"]))?;
    for arguments in CLIPPY {
        run(cargo().args(*arguments))?;
    }
    // Includes private items and links to them, because the readers are people who change the code.
    let flags = "-D warnings -A rustdoc::private-intra-doc-links";
    run(cargo()
        .args(["doc", "--no-deps", "--document-private-items", "--locked"])
        .env("RUSTDOCFLAGS", flags))?;
    models::stay_out_of_the_program(cargo())?;
    graph::run(&root(), true)
}
