//! What git, git-lfs and git servers say.

use super::rule::Meaning::{Cause, CauseWith, FollowsLine, Lead, Noise, Remark};
use super::rule::Rule;
use super::rule::Topic::Server;
use super::rule::When::{Both, Starts};

pub(super) const RULES: &[Rule] = &[
    // Progress, and advice behind a failure.
    (Starts("Cloning into "), Noise),
    (Starts("hint: "), Noise),
    (Starts("From "), Noise),
    (Starts("Receiving objects:"), Noise),
    (Starts("Resolving deltas:"), Noise),
    (Starts("Updating files:"), Noise),
    (Starts("Filtering content:"), Noise),
    (Starts("remote: Enumerating objects:"), Noise),
    (Starts("remote: Counting objects:"), Noise),
    (Starts("remote: Compressing objects:"), Noise),
    (Starts("remote: Total "), Noise),
    (Starts("Fetching submodule "), Noise),
    (Starts("Submodule path "), Noise),
    (Starts("HEAD is now at "), Noise),
    (Starts("! ["), Noise),
    (Starts("* ["), Noise),
    (Starts("Downloading "), Noise),
    (Starts("Please make sure you have the correct access rights"), Noise),
    (Starts("and the repository exists."), Noise),
    (Starts("Errors logged to "), Noise),
    (Starts("Use `git lfs logs last`"), Noise),
    (Starts("Auto-merging "), Noise),
    (Starts("Automatic merge failed"), Noise),
    // The status of HTTP in words; the line of git behind it says as much.
    (Starts("remote: Not Found"), Noise),
    (Starts("remote: "), Lead(Server)),
    // Without `fatal: `. Advice follows these.
    (Starts("CONFLICT ("), Cause),
    (Starts("There is no tracking information"), Cause),
    (Starts("You are not currently on a branch"), Cause),
    (Starts("Your configuration specifies to merge"), Cause),
    // Servers reached by ssh.
    (Starts("ERROR: "), Cause),
    // git-lfs names the reason; git names the filter that failed.
    (Starts("Error downloading object:"), Cause),
    (Starts("Smudge error:"), Cause),
    (Starts("batch response:"), Cause),
    (Starts("batch request:"), Cause),
    (Both("git: '", "is not a git command"), Cause),
    (Both("error: external filter '", "failed"), FollowsLine),
    (Both("fatal: ", ": smudge filter "), FollowsLine),
    // How every failed transfer, submodule and checkout ends.
    (Both("fatal: ", "Could not read from remote repository"), FollowsLine),
    (Both("fatal: ", "remote end hung up"), FollowsLine),
    (Both("fatal: ", "early EOF"), FollowsLine),
    (Both("fatal: ", "invalid index-pack output"), FollowsLine),
    (Both("fatal: ", "index-pack failed"), FollowsLine),
    (Both("fatal: ", "expected flush after ref listing"), FollowsLine),
    (Both("fatal: ", "error reading section header"), FollowsLine),
    (Both("fatal: ", "unable to checkout working tree"), FollowsLine),
    (Both("fatal: clone of '", "into submodule path"), FollowsLine),
    (Starts("fatal: Unable to fetch in submodule path"), FollowsLine),
    (Starts("fatal: Failed to recurse into submodule path"), FollowsLine),
    (Both("fatal: could not fetch ", " from promisor remote"), FollowsLine),
    (Both("Failed to clone '", "Retry scheduled"), FollowsLine),
    (Both("Failed to clone '", "a second time, aborting"), FollowsLine),
    (Starts("fetch-pack: unexpected disconnect"), FollowsLine),
    (Both("error: ", "bytes of body are still expected"), FollowsLine),
    (Both("error: ", "some local refs could not be updated"), FollowsLine),
    (Starts("error: Could not fetch "), FollowsLine),
    (Starts("error: unable to read askpass response"), Remark),
    (Starts("error: failed to push some refs"), FollowsLine),
    // The server says why.
    (Both("fatal: ", "Authentication failed for"), CauseWith(Server)),
    (Both("fatal: ", "The requested URL returned error:"), CauseWith(Server)),
    (Both("fatal: repository '", "not found"), CauseWith(Server)),
    (Both("fatal: ", "remote error:"), CauseWith(Server)),
    (Starts("fatal: "), Cause),
];
