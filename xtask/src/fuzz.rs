//! Fuzzing: libFuzzer where it is installed, else seeded mutations on the compiler at hand.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

mod faults;
mod planted;

/// Seconds for each target without `--seconds`: what the CI job has.
const SECONDS: u64 = 60;

/// Memory of one target under libFuzzer, in MiB. Every target is bounded far below it.
const MEMORY_MIB: u32 = 512;

/// Seconds for one input under libFuzzer. The slowest takes milliseconds.
const INPUT_SECONDS: u32 = 10;

/// What to run.
pub(crate) struct Options {
    /// All targets, if none is named.
    target: Option<String>,
    seconds: u64,
    /// Of the changes that are made without libFuzzer; a new one each time if none is given.
    seed: Option<u64>,
    /// Without libFuzzer, also where it is installed.
    stable: bool,
    /// With the faults of [`faults`], one at a time.
    planted: bool,
}

impl Options {
    /// Reads `[TARGET] [--seconds N] [--stable] [--seed S] [--planted]`.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, String> {
        let mut options = Self { target: None, seconds: SECONDS, seed: None, stable: false, planted: false };
        let mut words = arguments.iter().map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            match word.as_str() {
                "--stable" => options.stable = true,
                "--planted" => options.planted = true,
                "--seconds" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    options.seconds = number.ok_or("--seconds takes a number")?;
                }
                "--seed" => {
                    let number = words.next().and_then(|number| number.parse().ok());
                    options.seed = Some(number.ok_or("--seed takes a number")?);
                }
                _ if word.starts_with('-') || options.target.is_some() => {
                    const TAKES: &str =
                        "fuzz takes one target at most, --seconds N, --stable, --seed S and --planted";
                    return Err(TAKES.to_owned());
                }
                _ => options.target = Some(word),
            }
        }
        Ok(options)
    }
}

/// Runs the targets.
pub(crate) fn run(root: &Path, options: &Options) -> Result<(), String> {
    if options.planted {
        return planted::run(root, options);
    }
    if options.stable || !has_libfuzzer(root) {
        return mutations(root, options);
    }
    let targets = targets(root)?;
    for target in targets.iter().filter(|target| options.target.as_ref().is_none_or(|only| only == *target)) {
        super::run(&mut libfuzzer_command(root, &root.join("fuzz/target"), target, options.seconds)?)?;
    }
    match &options.target {
        Some(target) if !targets.contains(target) => {
            Err(format!("there is no target {target}; there are {}", targets.join(", ")))
        }
        _ => Ok(()),
    }
}

/// The compiler of this process is of the workspace. `+nightly` needs rustup's `cargo`.
fn nightly(root: &Path) -> Command {
    let mut cargo = Command::new("cargo");
    cargo.arg("+nightly").current_dir(root);
    // Set by the `cargo` that started this program; they name its compiler.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC"] {
        cargo.env_remove(name);
    }
    cargo
}

fn has_libfuzzer(root: &Path) -> bool {
    let mut version = nightly(root);
    version.args(["fuzz", "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    version.status().is_ok_and(|status| status.success())
}

/// The targets have entry points, whose names they are.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let folder = root.join("fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).map_err(|err| format!("{}: {err}", folder.display()))?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.path().file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}

/// New inputs go into `fuzz/corpus`, which is not committed; those that break a promise into `fuzz/artifacts`.
fn libfuzzer_command(root: &Path, built: &Path, target: &str, seconds: u64) -> Result<Command, String> {
    let found = root.join("fuzz/corpus").join(target);
    std::fs::create_dir_all(&found).map_err(|err| format!("{}: {err}", found.display()))?;
    let mut fuzz = nightly(root);
    // The project has no unsafe code, so the address sanitizer would find nothing and halve the speed.
    fuzz.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"]).arg(built).arg(target);
    fuzz.arg(found).arg(root.join("crates/fuzz/corpus").join(target)).arg("--");
    fuzz.arg(format!("-dict={}", root.join(format!("crates/fuzz/dictionaries/{target}.dict")).display()));
    fuzz.args([
        format!("-max_total_time={seconds}"),
        format!("-rss_limit_mb={MEMORY_MIB}"),
        format!("-timeout={INPUT_SECONDS}"),
        "-max_len=4096".to_owned(),
        "-print_final_stats=1".to_owned(),
    ]);
    Ok(fuzz)
}

fn mutations(root: &Path, options: &Options) -> Result<(), String> {
    eprintln!("Without libFuzzer: seeded changes of the corpora, which know nothing of coverage.");
    super::run(&mut mutations_command(root, options.target.as_deref(), options))
}

fn mutations_command(root: &Path, target: Option<&str>, options: &Options) -> Command {
    // Of all packages, so that those of `cargo test` are used again.
    let mut test = super::cargo();
    test.current_dir(root).args([
        "test",
        "--locked",
        "--test",
        "fuzz",
        "--",
        "--nocapture",
        "promises_of_all",
    ]);
    test.env("NIXFLEET_FUZZ_SECONDS", options.seconds.to_string());
    test.env("NIXFLEET_FUZZ_TARGET", target.unwrap_or_default());
    if let Some(seed) = options.seed {
        test.env("NIXFLEET_FUZZ_SEED", seed.to_string());
    }
    test
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// Also with planted faults, each of which is looked for by such a command.
    #[test]
    fn changes_are_made_from_the_seed_that_was_given() {
        for (words, seed) in [(&["lines", "--planted", "--seed", "7"][..], Some("7")), (&["lines"], None)] {
            let arguments: Vec<OsString> = words.iter().map(Into::into).collect();
            let options = Options::read(&arguments).unwrap();
            let command = mutations_command(Path::new("/"), Some("lines"), &options);
            let given = command.get_envs().find(|(name, _)| *name == "NIXFLEET_FUZZ_SEED");
            assert_eq!(given.map(|(_, value)| value), seed.map(|seed| Some(OsStr::new(seed))), "{words:?}");
        }
    }
}
