//! How large the program for hosts is: built as a package builds it, and held against the limit in `Cargo.toml`.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{cargo, run as run_program, shown};

use elf::Sections;

mod elf;

/// The manifest of the workspace, which has the limit. The Nix package is held against the same line.
const MANIFEST: &str = include_str!("../../Cargo.toml");

/// The name of the limit in it.
const LIMIT: &str = "largest-program";

/// Number of sections that are shown: the others have a few hundred bytes each.
const SHOWN: usize = 10;

/// Which program is looked at.
#[derive(Debug, Default)]
pub(crate) struct Options {
    /// A program that exists; else one is built.
    program: Option<PathBuf>,
    /// An earlier program, to show what grew.
    since: Option<PathBuf>,
}

impl Options {
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, String> {
        let mut options = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            let option = match word.to_str() {
                Some("--program") => &mut options.program,
                Some("--since") => &mut options.since,
                _ => return Err(format!("size has no option {}", word.display())),
            };
            *option = Some(words.next().ok_or_else(|| format!("{} takes a file", word.display()))?.into());
        }
        Ok(options)
    }
}

pub(crate) fn run(root: &Path, options: &Options) -> Result<(), String> {
    let limit = limit(MANIFEST)?;
    let program = match &options.program {
        Some(program) => program.clone(),
        None => build(root)?,
    };
    let bytes = read(&program)?;
    let size = bytes.len() as u64;
    println!("{}: {} of at most {}", program.display(), in_words(size), in_words(limit));
    let sections = elf::sections(&bytes);
    let before = match &options.since {
        Some(earlier) => Some(elf::sections(&read(earlier)?)),
        None => None,
    };
    print!("{}", table(&sections, before.as_ref()));
    verdict(size, limit)
}

/// The package as for hosts. `-p`, because a build of all packages joins their features.
fn build(root: &Path) -> Result<PathBuf, String> {
    eprintln!("Building the agent in the release profile: minutes, most of them in the linker.");
    run_program(cargo().args(["build", "--release", "--locked", "-p", "nixfleet-agent", "--bins"]))?;
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    Ok(target.join("release/nixfleet-agent"))
}

fn read(program: &Path) -> Result<Vec<u8>, String> {
    fs::read(program).map_err(|err| format!("cannot read {}: {err}", program.display()))
}

fn limit(manifest: &str) -> Result<u64, String> {
    let values = manifest.lines().filter_map(|line| line.strip_prefix(LIMIT)?.trim_start().strip_prefix('='));
    let numbers: Vec<u64> = values.filter_map(|value| value.trim().replace('_', "").parse().ok()).collect();
    match numbers.as_slice() {
        [limit] => Ok(*limit),
        _ => Err(format!("Cargo.toml needs one line \"{LIMIT} = BYTES\"")),
    }
}

/// A size in decimal and in binary units, because both are in use.
fn in_words(bytes: u64) -> String {
    format!("{bytes} bytes ({:.2} MB, {:.2} MiB)", bytes as f64 / 1e6, bytes as f64 / f64::from(1 << 20))
}

fn table(sections: &Sections, before: Option<&Sections>) -> String {
    let mut rows: Vec<(&String, &u64)> = sections.iter().collect();
    rows.sort_by_key(|(name, size)| (std::cmp::Reverse(**size), *name));
    let row = |(name, size): (&String, &u64)| match before {
        None => format!("{size:>9}  {name}\n"),
        Some(before) => {
            let grown = i128::from(*size) - i128::from(before.get(name).copied().unwrap_or(0));
            format!("{size:>9} {grown:>+9}  {name}\n")
        }
    };
    rows.into_iter().take(SHOWN).map(row).collect()
}

fn verdict(size: u64, limit: u64) -> Result<(), String> {
    let Some(over) = size.checked_sub(limit).filter(|over| *over > 0) else { return Ok(()) };
    let mut bloat = cargo();
    bloat.args(["bloat", "--release", "-p", "nixfleet-agent", "--bin", "nixfleet-agent", "--crates"]);
    Err(format!(
        "the program has {over} bytes more than \"{LIMIT}\" in Cargo.toml allows; `cargo xtask size --since EARLIER` \
         shows which part grew since an earlier program, and `{}` (of cargo-bloat) shows the crates; the usual reason \
         is a new dependency or one of its features. Raise the limit only for something that hosts need",
        shown(&bloat)
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_in_the_manifest_once() {
        assert!(limit(MANIFEST).unwrap() > 1_000_000);
        assert_eq!(limit("[x]\nlargest-program = 1_000\n"), Ok(1000));
        for wrong in ["", "largest-program = many\n", "largest-program = 1\nlargest-program = 2\n"] {
            assert!(limit(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn one_byte_too_many_is_an_error_that_says_how_to_find_it() {
        assert_eq!(verdict(1000, 1000), Ok(()));
        let words = verdict(1001, 1000).unwrap_err();
        assert!(words.contains("1 bytes more") && words.contains("--since"), "{words}");
        assert!(words.contains("cargo bloat --release -p nixfleet-agent"), "{words}");
    }

    #[test]
    fn growth_is_shown_by_section() {
        let sections = |all: &[(&str, u64)]| -> Sections {
            all.iter().map(|(name, size)| ((*name).to_owned(), *size)).collect()
        };
        let (now, before) = (sections(&[(".data", 5), (".text", 90)]), sections(&[(".text", 100)]));
        assert_eq!(table(&now, None), "       90  .text\n        5  .data\n");
        assert_eq!(table(&now, Some(&before)), "       90       -10  .text\n        5        +5  .data\n");
    }

    #[test]
    fn options_that_do_not_exist_are_refused() {
        let read = |words: &[&str]| Options::read(&words.iter().map(OsString::from).collect::<Vec<_>>());
        assert!(read(&["--program", "a", "--since", "b"]).is_ok());
        assert!(read(&["--program"]).is_err() && read(&["--bytes", "1"]).is_err());
    }
}
