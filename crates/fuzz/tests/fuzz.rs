//! Each target over its corpus, and over seeded changes of it. `cargo xtask fuzz` sets the time and the target.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nixfleet_fuzz::mutate::{Limit, corpus, run};
use nixfleet_fuzz::{TARGETS, Target};

/// Seconds for each target. Without it, [`INPUTS`] are made.
const SECONDS: &str = "NIXFLEET_FUZZ_SECONDS";

/// The only target to run.
const ONLY: &str = "NIXFLEET_FUZZ_TARGET";

/// Inputs of each target in `cargo test`: half a second without optimization, on one processor.
const INPUTS: u64 = 200;

/// The seed in `cargo test`, so that it does the same each time. With a time, each run has another one,
/// unless [`SEED_VARIABLE`] sets it.
const SEED: u64 = 1;

/// The seed of a run with a time.
const SEED_VARIABLE: &str = "NIXFLEET_FUZZ_SEED";

/// Bytes of all corpora together, so that they stay small.
const MAX_CORPORA: u64 = 100 * 1024;

fn wanted() -> Vec<Target> {
    let only = env::var(ONLY).ok().filter(|name| !name.is_empty());
    let wanted: Vec<Target> =
        TARGETS.into_iter().filter(|(name, _)| only.as_deref().is_none_or(|only| only == *name)).collect();
    assert!(!wanted.is_empty(), "{ONLY} names no target; there are {:?}", TARGETS.map(|(name, _)| name));
    wanted
}

#[test]
fn the_promises_of_all_targets_hold() {
    let seconds: Option<u64> =
        env::var(SECONDS).ok().map(|seconds| seconds.parse().expect("NIXFLEET_FUZZ_SECONDS is a number"));
    let given: Option<u64> =
        env::var(SEED_VARIABLE).ok().map(|seed| seed.parse().expect("NIXFLEET_FUZZ_SEED is a number"));
    let (limit, seed) = match seconds {
        Some(seconds) => {
            (Limit::Time(Duration::from_secs(seconds)), given.unwrap_or_else(|| fastrand::u64(..)))
        }
        None => (Limit::Inputs(INPUTS), SEED),
    };
    for target in wanted() {
        let begun = Instant::now();
        let ran = run(target, seed, limit).expect("a corpus");
        let per_second = ran.made as f64 / begun.elapsed().as_secs_f64();
        println!("{}: {} + {} inputs, {per_second:.0}/s, seed {seed}", target.0, ran.corpus, ran.made);
    }
}

#[test]
fn a_broken_promise_is_found_and_its_input_is_kept() {
    fn no_word_of_the_dictionary(data: &[u8]) {
        assert!(!data.windows(13).any(|word| word == b"\"kill_command"), "found");
    }
    let broken = std::panic::catch_unwind(|| {
        run(("messages", no_word_of_the_dictionary), SEED, Limit::Inputs(0)).is_ok()
    });
    assert!(broken.is_err());
    let made = std::panic::catch_unwind(|| {
        run(("lines", |data| assert!(!data.contains(&0x1b))), SEED, Limit::Inputs(5000)).is_ok()
    });
    assert!(made.is_err(), "5,000 inputs and none has an escape");
    assert!(env::temp_dir().join("nixfleet-fuzz-lines").exists());
}

#[test]
fn every_target_has_a_small_corpus_and_an_entry_point_for_libfuzzer() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let names = |folder: &Path| -> BTreeSet<String> {
        let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
        entries.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
    };
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names(&root.join("fuzz_targets")), targets);
    assert_eq!(names(corpus("messages").parent().expect("the folder of all")), targets);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).expect("the manifest");
    let mut bytes = 0;
    for (name, _) in TARGETS {
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in fuzz/Cargo.toml");
        let entry = fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs"))).expect("an entry point");
        assert!(entry.contains(&format!("nixfleet_fuzz::{name}(data)")), "{entry}");
        let inputs = fs::read_dir(corpus(name)).expect("a corpus");
        bytes +=
            inputs.map(|input| input.expect("an input").metadata().expect("its size").len()).sum::<u64>();
    }
    assert!(bytes <= MAX_CORPORA, "{bytes} bytes");
}
