//! What nix and nixpkgs say.

use super::rule::Meaning::{Begins, Cause, Lead, Noise, Remark, WithLead, WithLine};
use super::rule::Rule;
use super::rule::Topic::{Builder, Download, Hook};
use super::rule::When::{Both, Has, Starts};

pub(super) const RULES: &[Rule] = &[
    // Failures that nix got over.
    (Has("; continuing with the most recent version"), Begins),
    (Has("; using cached version"), Begins),
    (Has("; using cached result"), Begins),
    (Starts("error (ignored):"), Noise),
    (Starts("warning: error: "), Lead(Download)),
    (Starts("warning: "), Remark),
    (Starts("evaluation warning: "), Remark),
    (Starts("trace: "), Remark),
    (Both("these ", " will be "), Noise),
    (Starts("this derivation will be "), Noise),
    (Starts("this path will be "), Noise),
    // A remote builder. Another one, or the machine itself, may do.
    (Starts("cannot build on '"), Lead(Builder)),
    (Starts("Failed to find a machine for remote build!"), Noise),
    (Starts("derivation: "), Noise),
    (Starts("required (system, features): "), Noise),
    (Starts("(systems, maxjobs, "), Noise),
    (Both("([", "], "), Noise),
    (Starts("error: unable to start any build"), WithLead(Builder)),
    (Both("error: a '", "is required to build"), WithLead(Builder)),
    (Starts("error: failed to start SSH connection"), WithLine),
    (Starts("error: cannot connect to '"), WithLine),
    // What a hook wrote, as `nix -L` shows it.
    (Has(" (post)> "), Lead(Hook)),
    (Starts("post-build-hook: "), Lead(Hook)),
    // Follow from another error.
    (Both("error: program '", "' failed"), WithLead(Hook)),
    (Starts("error: Failed to fetch git repository"), WithLine),
    (Both("error: ", "dependencies of derivation"), WithLine),
    (Both("error: cannot build derivation '", "couldn't be built"), WithLine),
    (Both("error: build of ", " failed"), WithLine),
    (Starts("error: build failed due to failed"), WithLine),
    (Starts("error: Build failed due to failed"), WithLine),
    (Starts("error: some substitutes for the outputs of"), WithLead(Download)),
    (Both("error: some outputs of '", "are not valid"), WithLine),
    (Starts("error: unable to start build process"), WithLine),
    (Both("error: ", "there is no substituter that can build it"), WithLead(Download)),
    (Starts("error: interrupted by the user"), WithLine),
    (Starts("error: cached failure of attribute"), WithLine),
    (Starts("error:"), Cause),
];

/// Beginnings of errors about a build that failed. They say more than what a build wrote before.
pub(super) const OF_A_BUILD: &[&str] = &["error: builder for '", "error: Cannot build '"];

/// Words in an error about a build that mean: another build failed.
pub(super) const OF_ANOTHER_BUILD: &[&str] = &[" dependency failed", " dependencies failed"];

/// What nix adds to an error about a build if there is little room on the disk.
pub(super) const LACK_OF_ROOM: &str = "caused by lack of free disk space";
