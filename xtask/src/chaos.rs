//! Chaos with real processes, also of an agent with a planted fault.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::SystemTime;

use super::{cargo, run as run_program, shown};

/// What the test writes of a schedule that failed: its seed is in between.
const FAILED: (&str, &str) = ("seed ", " FAILED");

/// What to run.
#[derive(Debug)]
pub(crate) struct Options {
    /// How many schedules.
    count: u64,
    /// That of the first schedule.
    seed: u64,
    /// The fault of the agent, which a schedule has to find.
    planted: Option<String>,
}

impl Options {
    /// Reads `N [--seed S] [--planted FAULT]`. The faults are those in the sources below `root`.
    pub(crate) fn read(arguments: &[OsString], root: &Path) -> Result<Self, String> {
        let takes = "chaos takes a number of schedules, and perhaps --seed S and --planted FAULT";
        let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        let number = |word: Option<String>| word.and_then(|word| word.parse().ok()).ok_or(takes);
        let mut options = Self { count: number(words.next())?, seed: new_seed(), planted: None };
        while let Some(word) = words.next() {
            match word.as_str() {
                "--seed" => options.seed = number(words.next())?,
                "--planted" => options.planted = Some(words.next().ok_or(takes)?),
                _ => return Err(takes.to_owned()),
            }
        }
        if let Some(fault) = &options.planted {
            let known = faults(root)?;
            if !known.contains(fault) {
                let names: Vec<String> = known.into_iter().collect();
                return Err(format!("there is no planted fault {fault}; there are {}", names.join(", ")));
            }
        }
        Ok(options)
    }
}

/// A seed that was not used before: the seconds since 1970.
fn new_seed() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The names of all faults that are planted into the agent.
fn faults(root: &Path) -> Result<BTreeSet<String>, String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![root.join("src"), root.join("crates")];
    while let Some(folder) = folders.pop() {
        let problem = |err| format!("{}: {err}", folder.display());
        for entry in fs::read_dir(&folder).map_err(problem)? {
            let path = entry.map_err(problem)?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).map_err(problem)?;
                let names = text.split("planted!(\"").skip(1).filter_map(|rest| rest.split('"').next());
                found.extend(names.map(str::to_owned));
            }
        }
    }
    Ok(found)
}

/// Runs the schedules. With a planted fault, the first one that fails is the success.
pub(crate) fn run(options: &Options) -> Result<(), String> {
    let Options { count, seed, planted } = options;
    eprintln!("{count} schedules from seed {seed}: 40 of them take a minute and a half.");
    let mut test = cargo();
    test.args(["test", "--locked", "-p", "nixfleet-agent", "--test", "chaos"]);
    test.env("CHAOS_SEEDS", count.to_string()).env("CHAOS_SEED", seed.to_string());
    let Some(fault) = planted else { return run_program(test.args(["--", "--nocapture"])) };
    test.args(["--features", "nixfleet-os/planted-faults", "--", "--nocapture"]);
    if finds(test.env("PLANTED_FAULT", fault).env("CHAOS_STOP", "1"))? {
        eprintln!("{fault} was found.");
        Ok(())
    } else {
        Err(format!("{fault} was not found by {count} schedules from seed {seed}"))
    }
}

/// Whether a schedule fails. An error is anything else that keeps the test from its end, such as a build that
/// fails.
fn finds(test: &mut Command) -> Result<bool, String> {
    let cannot_run = |test: &Command, err| format!("cannot run {}: {err}", shown(test));
    let mut child = test.stdout(Stdio::piped()).spawn().map_err(|err| cannot_run(test, err))?;
    let mut found = false;
    for line in child.stdout.take().into_iter().flat_map(|output| BufReader::new(output).split(b'\n')) {
        let line = line.map_err(|err| cannot_run(test, err))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        found |= is_failure(&line);
    }
    let status = child.wait().map_err(|err| cannot_run(test, err))?;
    if found != status.success() { Ok(found) } else { Err(format!("{}: {status}", shown(test))) }
}

/// Whether a line of the test's output says that a schedule failed.
fn is_failure(line: &str) -> bool {
    // On one processor, the name of the test is in front of the first line.
    let number = line.strip_suffix(FAILED.1).and_then(|line| line.rsplit_once(FAILED.0));
    number.is_some_and(|(_, number)| number.parse::<u64>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(words: &[&str]) -> Result<(u64, Option<u64>, Option<String>), String> {
        let arguments: Vec<OsString> = words.iter().map(Into::into).collect();
        let before = new_seed();
        let Options { count, seed, planted } = Options::read(&arguments, &super::super::root())?;
        Ok((count, Some(seed).filter(|seed| *seed < before), planted))
    }

    #[test]
    fn the_seed_is_a_new_one_unless_it_is_given() {
        let fault = Some("drop-a-line".to_owned());
        assert_eq!(read(&["40"]), Ok((40, None, None)));
        assert_eq!(read(&["40", "--seed", "7"]), Ok((40, Some(7), None)));
        assert_eq!(read(&["40", "--planted", "drop-a-line"]), Ok((40, None, fault.clone())));
        assert_eq!(read(&["4", "--seed", "7", "--planted", "drop-a-line"]), Ok((4, Some(7), fault.clone())));
        assert_eq!(read(&["4", "--planted", "drop-a-line", "--seed", "7"]), Ok((4, Some(7), fault)));
        for wrong in
            [&[][..], &["many"], &["4", "--seed"], &["4", "--seed", "x"], &["4", "--planted"], &["4", "5"]]
        {
            assert!(read(wrong).unwrap_err().contains("--planted FAULT"), "{wrong:?}");
        }
    }

    #[test]
    fn a_fault_that_is_planted_nowhere_is_wrong_usage() {
        let problem = read(&["4", "--planted", "drop-a-lime"]).unwrap_err();
        assert!(problem.contains("no planted fault drop-a-lime;"), "{problem}");
        // One of the agent, one of its supervisors, one of its threads.
        for fault in [" drop-a-line,", " no-kill-after-grace,", " look-and-then-claim,"] {
            assert!(problem.contains(fault), "{problem}");
        }
        assert!(!problem.contains("(,") && !problem.contains(" ,"), "{problem}");
    }

    /// The status of the test, and what it wrote, decide together.
    #[test]
    fn only_a_schedule_that_failed_has_found_a_fault() {
        let finds = |script: &str| finds(Command::new("sh").args(["-c", script]));
        assert_eq!(finds("echo seed 12 FAILED; exit 101"), Ok(true));
        assert_eq!(finds("echo test nothing_is_lost ... seed 12 FAILED; exit 101"), Ok(true));
        assert_eq!(finds("echo 40 schedules from seed 1; exit 0"), Ok(false));
        for broken in
            ["exit 101", "echo seed 12 FAILED; exit 0", "echo seed 3: the test itself panicked; exit 1"]
        {
            assert!(finds(broken).is_err(), "{broken}");
        }
    }
}
