//! `cargo xtask test`: all tests, of which some run beside the others.
//!
//! Cargo runs one test program after the other, and some of them wait for timers and processes nearly all the time.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Write as _};
use std::num::NonZero;
use std::process::{Command, Output, Stdio};
use std::thread;

/// Test programs that run beside the others. Together they take less time than those, and less than one processor.
const BESIDE: &[&str] = &["chaos", "demo", "fleet", "nats", "replicas", "servers"];

/// Tests of the agent that run a second time, with a fleet in NATS in the place of the mock dashboard: those of the
/// connection, of commands, of output and of heartbeats.
const IN_NATS: &[&str] = &[
    "acks::",
    "command::",
    "heartbeat::",
    "one_result::",
    "output::",
    "reconnect::",
    "slot::",
    "stop::",
    "t01::",
    "t03::",
];

/// How many of them run at a time: they wait for timers of seconds, and need less than one processor.
const IN_NATS_THREADS: &str = "8";

/// Builds and runs all tests. With options for `cargo test`, that alone is run.
///
/// # Errors
/// A test failed, or cannot be built.
pub(crate) fn run(cargo: fn() -> Command, options: &[OsString]) -> Result<(), String> {
    eprintln!("Building and running all tests: nine minutes or so on two cores the first time.");
    let test = |options: &[&str]| {
        let mut command = cargo();
        // Most tests wait for a program, a connection or a clock, so more of them run than there are processors.
        if env::var_os("RUST_TEST_THREADS").is_none() {
            let threads = thread::available_parallelism().map_or(1, NonZero::get) * 2;
            command.env("RUST_TEST_THREADS", threads.to_string());
        }
        command.args(["test", "--locked"]).args(options);
        command
    };
    if !options.is_empty() {
        return super::run(test(&[]).args(options));
    }
    let (beside, others): (Vec<_>, Vec<_>) =
        build(test(&["--no-run"]))?.into_iter().partition(|name| BESIDE.contains(&name.as_str()));
    let named = |names: &[String]| {
        names.iter().flat_map(|name| ["--test".to_owned(), name.clone()]).collect::<Vec<_>>()
    };
    let mut aside = test(&["--no-fail-fast"]);
    aside.args(named(&beside)).stdin(Stdio::null());
    let mut in_nats = test(&["--test", "it", "--"]);
    in_nats.args(IN_NATS).args(["--skip", "late_stop::", "--test-threads", IN_NATS_THREADS]);
    in_nats.env("NIXFLEET_TEST_FLEET", "1").stdin(Stdio::null());
    let aside = thread::spawn(move || match has_nats() {
        true => Ok((aside.output()?, Some(in_nats.output()?))),
        false => Ok((aside.output()?, None)),
    });
    let result = super::run(test(&["--lib", "--bins"]).args(named(&others)))
        .and_then(|()| super::run(&mut test(&["--doc"])));
    // They have ended long ago, unless the others failed soon.
    let aside = aside.join().map_err(|_| "the tests beside the others cannot be run".to_owned())?;
    let (aside, in_nats) = aside.map_err(|err: std::io::Error| format!("cannot run cargo: {err}"))?;
    show(&aside)?;
    match &in_nats {
        Some(output) => show(output)?,
        None => eprintln!("skipped: no nats-server, so the agent's tests do not run with a fleet in NATS"),
    }
    result?;
    let check = |output: &Output, which: &str| match output.status.success() {
        true => Ok(()),
        false => Err(format!("a test of these failed: {which}")),
    };
    check(&aside, &beside.join(", "))?;
    in_nats.map_or(Ok(()), |output| check(&output, "it, with a fleet in NATS"))
}

/// Whether there is a server for tests, of 2.11 or newer. One that is named must work, as the tests say.
fn has_nats() -> bool {
    if env::var_os("NIXFLEET_NATS_SERVER").is_some() {
        return true;
    }
    let Ok(output) = Command::new("nats-server").arg("--version").output() else { return false };
    version_of(&String::from_utf8_lossy(&output.stdout)).is_some_and(|version| version >= (2, 11))
}

/// Major and minor version, out of `nats-server: v2.14.0`.
fn version_of(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.rsplit('v').next()?.trim().split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Builds all tests, and returns the names of those in folders `tests`.
fn build(mut command: Command) -> Result<Vec<String>, String> {
    let cannot = |err: std::io::Error| format!("cannot run cargo: {err}");
    let mut build =
        command.env("CARGO_TERM_COLOR", "never").stderr(Stdio::piped()).spawn().map_err(cannot)?;
    let mut names = Vec::new();
    if let Some(said) = build.stderr.take() {
        for line in BufReader::new(said).lines() {
            let line = line.map_err(cannot)?;
            eprintln!("{line}");
            names.extend(test_of(&line));
        }
    }
    if !build.wait().map_err(cannot)?.success() {
        return Err("the tests cannot be built".to_owned());
    }
    Ok(names)
}

/// The name of a test program, out of a line of Cargo such as `  Executable tests/it/main.rs (target/..)`.
fn test_of(line: &str) -> Option<String> {
    let path = line.trim_start().strip_prefix("Executable tests/")?.split(" (").next()?;
    let path = path.strip_suffix("/main.rs").or_else(|| path.strip_suffix(".rs"))?;
    Some(path.to_owned())
}

fn show(output: &Output) -> Result<(), String> {
    let mut stdout = std::io::stdout().lock();
    let written = stdout.write_all(&output.stderr).and_then(|()| stdout.write_all(&output.stdout));
    written.map_err(|err| format!("cannot write: {err}"))
}

#[cfg(test)]
mod tests {
    use super::{test_of, version_of};

    #[test]
    fn an_old_server_is_none() {
        assert!(version_of("nats-server: v2.10.29\n") < Some((2, 11)));
        assert_eq!(version_of("nats-server: v2.14.0\n"), Some((2, 14)));
        assert_eq!(version_of("nats-server: unknown\n"), None);
    }

    #[test]
    fn names_are_those_of_files_and_folders() {
        let name = |line| test_of(line);
        assert_eq!(name("  Executable tests/it/main.rs (target/debug/deps/it-1)").as_deref(), Some("it"));
        assert_eq!(name("  Executable tests/storm.rs (target/debug/deps/storm-1)").as_deref(), Some("storm"));
        assert_eq!(name("  Executable unittests src/lib.rs (target/debug/deps/a-1)"), None);
        assert_eq!(name("   Compiling tests v1"), None);
    }
}
