//! Seeded mutations, for compilers without libFuzzer. They know nothing of coverage: they change inputs of the corpus
//! a little, insert words of the dictionary, and join two inputs. The same seed makes the same inputs.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::Target;

/// Longest input, in bytes: the default of libFuzzer, which is enough for several lines of each format.
const MAX_INPUT: usize = 4096;

/// Most changes of one input. More make noise of it, which every parser refuses at its first byte.
const MAX_CHANGES: usize = 6;

/// Bytes that formats treat in a special way.
const SPECIAL: &[u8] = b"\0\t\n\r\x1b \"#$',-./0189:;<=>@[\\]_`am{|}\x7f\x80\x9b\xc3\xe2\xf0\xff";

/// How long to run.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// So many inputs.
    Inputs(u64),
    /// So long.
    Time(Duration),
}

/// What was run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ran {
    /// Inputs of the corpus.
    pub corpus: usize,
    /// Inputs that were made of them.
    pub made: u64,
}

/// Folder of the inputs that a target begins with.
pub fn corpus(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// Runs a target over its corpus, and over inputs that are made of it from `seed`.
///
/// # Errors
/// The corpus cannot be read or is empty.
///
/// # Panics
/// As the target does. The input is then in a file, whose path is printed.
pub fn run((name, target): Target, seed: u64, limit: Limit) -> io::Result<Ran> {
    let inputs = inputs(&corpus(name))?;
    let words = words(name);
    inputs.iter().for_each(|input| check(name, target, input, 0));
    let begun = Instant::now();
    let mut rng = Rng::with_seed(seed);
    let mut made = 0;
    loop {
        let done = match limit {
            Limit::Inputs(count) => made >= count,
            Limit::Time(time) => begun.elapsed() >= time,
        };
        if done {
            return Ok(Ran { corpus: inputs.len(), made });
        }
        made += 1;
        check(name, target, &mutated(&inputs, &words, &mut rng), made);
    }
}

fn inputs(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    paths.sort();
    let inputs: Vec<Vec<u8>> = paths.iter().map(fs::read).collect::<io::Result<_>>()?;
    if inputs.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("no input in {}", folder.display())));
    }
    Ok(inputs)
}

/// The words of a dictionary of libFuzzer: lines `"word"`, without escapes but `\\`, `\"` and `\xNN`. A target may
/// have none.
fn words(name: &str) -> Vec<Vec<u8>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dictionaries").join(format!("{name}.dict"));
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| Some(unescaped(line.strip_prefix('"')?.strip_suffix('"')?))).collect()
}

fn unescaped(word: &str) -> Vec<u8> {
    let mut bytes = word.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        let next = if byte == b'\\' { bytes.next() } else { None };
        plain.push(match next {
            Some(b'x') => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let digits = std::str::from_utf8(&digits).unwrap_or_default();
                u8::from_str_radix(digits, 16).unwrap_or_default()
            }
            Some(escaped) => escaped,
            None => byte,
        });
    }
    plain
}

fn mutated(inputs: &[Vec<u8>], words: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let mut input = one(inputs, rng).to_vec();
    for _ in 0..rng.usize(1..=MAX_CHANGES) {
        change(&mut input, inputs, words, rng);
        input.truncate(MAX_INPUT);
    }
    input
}

fn change(input: &mut Vec<u8>, inputs: &[Vec<u8>], words: &[Vec<u8>], rng: &mut Rng) {
    let at = rng.usize(0..=input.len());
    let end = rng.usize(at..=input.len().min(at + 32));
    match rng.u8(0..9) {
        0 if at < input.len() => input[at] ^= 1 << rng.u8(0..8),
        1 if at < input.len() => input[at] = one(SPECIAL.chunks(1), rng)[0],
        2 => input.insert(at, one(SPECIAL.chunks(1), rng)[0]),
        3 => drop(input.drain(at..end)),
        4 => input.truncate(at),
        5 => {
            let part = input[at..end].to_vec();
            insert(input, at, &part.repeat(rng.usize(1..8)));
        }
        6 if !words.is_empty() => insert(input, at, one(words, rng)),
        7 => {
            let other = one(inputs, rng);
            let from = rng.usize(0..=other.len());
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        _ => {
            let number = [0, 1, u64::MAX, u64::MAX / 2, 1 << 32, rng.u64(..)];
            insert(input, at, number[rng.usize(0..number.len())].to_string().as_bytes());
        }
    }
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    drop(input.splice(at..at, bytes.iter().copied()));
}

/// One of several. There is at least one.
fn one<'a, T: AsRef<[u8]> + 'a, I: IntoIterator<Item = T>>(all: I, rng: &mut Rng) -> T
where
    I::IntoIter: ExactSizeIterator,
{
    let mut all = all.into_iter();
    let index = rng.usize(0..all.len());
    all.nth(index).expect("an index below the length")
}

/// Runs the target, and keeps an input that it does not survive: the `made`th one; 0 for one of the corpus.
fn check(name: &str, target: fn(&[u8]), input: &[u8], made: u64) {
    // The panic goes on below, so nothing of the target is used after it.
    let result = catch_unwind(AssertUnwindSafe(|| target(input)));
    if let Err(panic) = result {
        let path = std::env::temp_dir().join(format!("nixfleet-fuzz-{name}"));
        match fs::write(&path, input) {
            Ok(()) => eprintln!("{name}: after {made} made inputs, one that is in {}", path.display()),
            Err(err) => eprintln!("{name}: the input {input:?} cannot be kept: {err}"),
        }
        std::panic::resume_unwind(panic);
    }
}
