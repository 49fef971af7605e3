//! Finds the line of a program's output that best explains why the program failed.

/// Longest quotation of a line in a message, in characters.
const QUOTED: usize = 300;

/// Texts with which git ends every failed transfer. The reason is in the line before.
const GENERAL: &[&str] = &[
    "Could not read from remote repository",
    "remote end hung up",
    "early EOF",
    "invalid index-pack output",
];

/// Texts that nix writes after the actual failure. They name derivations that could not be built because of
/// it.
const CONSEQUENCES: &[&str] =
    &["dependencies of derivation", "Cannot build '", "Build failed due to failed dependency"];

/// Beginnings of lines in which ssh names the cause of its last line.
const CAUSES: &[&str] = &["Host key for ", "Load key ", "Warning: Identity file "];

/// Last lines of ssh that are incomplete without such a cause.
const REFUSALS: &[&str] = &["Host key verification failed", "Permission denied ("];

/// Beginnings of lines in which `git pull` names the failure without `fatal: `. Advice follows them.
const STATEMENTS: &[&str] = &[
    "CONFLICT (",
    "There is no tracking information",
    "You are not currently on a branch",
    "Your configuration specifies to merge",
];

/// The lines of a stream that may explain a failure.
#[derive(Default)]
pub(super) struct FailureReason {
    /// The first `fatal: ..` line that is not [`GENERAL`], or the first of the [`STATEMENTS`]. Later lines of
    /// git are advice.
    fatal: String,
    /// The first `fatal: ..` line that is [`GENERAL`].
    general: String,
    /// The last line before `general`.
    before: String,
    /// The last line of ssh that is one of the [`CAUSES`].
    cause: String,
    /// The last `error: ..` line: in a trace of nix the deepest error comes last.
    error: String,
    /// The last line with any text.
    last: String,
    /// The sentence that the next line continues, because the last line ended with a colon.
    open: Option<Open>,
}

#[derive(Clone, Copy)]
enum Open {
    Fatal,
    Error,
}

impl FailureReason {
    /// Adds a line of the output.
    pub(super) fn add_line(&mut self, line: &str) {
        let text = line.trim();
        // Some servers frame their message with `remote: =====`.
        let empty = !text.strip_prefix("remote:").unwrap_or(text).contains(char::is_alphanumeric);
        if empty || text.starts_with("Cloning into ") {
            return;
        }
        self.continue_sentence(text);
        let says = |prefix: &str| text.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty());
        let among = |list: &[&str]| list.iter().any(|part| text.contains(part));
        let states = STATEMENTS.iter().any(|statement| text.starts_with(statement));
        if says("fatal: ") || states {
            if among(GENERAL) {
                if self.general.is_empty() {
                    self.before = std::mem::take(&mut self.last);
                    quote(&mut self.general, text);
                }
            } else if self.fatal.is_empty() {
                self.open = text.ends_with(':').then_some(Open::Fatal);
                quote(&mut self.fatal, text);
            }
        } else if says("error: ") && (self.error.is_empty() || !among(CONSEQUENCES)) {
            self.open = text.ends_with(':').then_some(Open::Error);
            quote(&mut self.error, text);
        } else if CAUSES.iter().any(|cause| text.starts_with(cause)) {
            quote(&mut self.cause, text);
        }
        quote(&mut self.last, text);
    }

    /// Appends the line to the open sentence.
    fn continue_sentence(&mut self, text: &str) {
        let slot = match self.open.take() {
            Some(Open::Fatal) => &mut self.fatal,
            Some(Open::Error) => &mut self.error,
            None => return,
        };
        let room = QUOTED.saturating_sub(slot.chars().count());
        slot.extend([" ", text].concat().chars().take(room));
    }

    /// The best line of a program; may be empty. An explanation in either stream takes precedence over the
    /// last line.
    pub(super) fn best(mut errors: Self, mut output: Self) -> String {
        let of_errors = errors.explanation();
        let said = of_errors.or_else(|| output.explanation());
        said.unwrap_or(if errors.last.is_empty() { output.last } else { errors.last })
    }

    /// The line that is most likely an explanation.
    fn explanation(&mut self) -> Option<String> {
        if !self.cause.is_empty() && REFUSALS.iter().any(|refusal| self.before.contains(refusal)) {
            self.before = format!("{} {}", self.cause, self.before);
        }
        let candidates = [&mut self.fatal, &mut self.before, &mut self.general, &mut self.error];
        candidates.into_iter().find(|text| !text.is_empty()).map(std::mem::take)
    }
}

fn quote(slot: &mut String, text: &str) {
    slot.clear();
    slot.extend(text.chars().take(QUOTED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, best: &str) {
        let mut reason = FailureReason::default();
        text.lines().for_each(|line| reason.add_line(line));
        assert_eq!(FailureReason::best(reason, FailureReason::default()), best, "of\n{text}");
    }

    #[test]
    fn an_explanation_on_standard_output_is_better_than_the_last_error_line() {
        let best = |errors: &str, output: &str| {
            let of = |text: &str| {
                let mut reason = FailureReason::default();
                text.lines().for_each(|line| reason.add_line(line));
                reason
            };
            FailureReason::best(of(errors), of(output))
        };
        let fetched = "From file:///origin\n   6cc6790..eb2d6f6  main       -> origin/main";
        let conflict = "CONFLICT (content): Merge conflict in flake.nix";
        let merge = format!(
            "Auto-merging flake.nix\n{conflict}\nAutomatic merge failed; fix conflicts and then commit the result."
        );
        assert_eq!(best(fetched, &merge), conflict);
        assert_eq!(best("fatal: a", &merge), "fatal: a");
        assert_eq!(best("one\ntwo", "three"), "two");
        assert_eq!(best("", "three"), "three");
        assert_eq!(best("", ""), "");
    }

    /// What git adds when a transfer failed.
    const ADVICE: &str = "fatal: Could not read from remote repository.\n\nPlease make sure you have the \
                          correct access rights\nand the repository exists.";

    #[test]
    fn of_gits_words_the_reason_is_quoted() {
        let missing = "fatal: '/origin' does not appear to be a git repository";
        check(&format!("Cloning into '.'...\n{missing}\n{ADVICE}"), missing);
        for fatal in [
            "fatal: Remote branch nope not found in upstream origin",
            "fatal: couldn't find remote ref refs/heads/nope",
            "fatal: repository 'https://git.example.org/x/' not found",
            "fatal: Authentication failed for 'https://git.example.org/x.git/'",
            "fatal: could not read Username for 'https://git.example.org': terminal prompts disabled",
            "fatal: unable to access 'https://git.example.org/x/': Could not resolve host: git.example.org",
        ] {
            check(&format!("Cloning into '.'...\nremote: Not Found\n{fatal}"), fatal);
        }
        check(
            "fatal: detected dubious ownership in repository at '/c'\nTo add an exception for this \
             directory, call:\n\n\tgit config --global --add safe.directory /c",
            "fatal: detected dubious ownership in repository at '/c'",
        );
        check(
            "fatal: Unable to create '/c/.git/index.lock': File exists.\n\nAnother git process seems to be \
             running in this repository, e.g.\nan editor opened by 'git commit'.",
            "fatal: Unable to create '/c/.git/index.lock': File exists.",
        );
        for statement in
            ["There is no tracking information for the current branch.", "You are not currently on a branch."]
        {
            check(
                &format!(
                    "{statement}\nPlease specify which branch you want to merge with.\nSee git-pull(1) for \
                     details.\n\n    git pull <remote> <branch>\n"
                ),
                statement,
            );
        }
        check(
            "error: Your local changes to the following files would be overwritten by merge:\n\tflake.nix\n\
             Please commit your changes or stash them before you merge.\nAborting",
            "error: Your local changes to the following files would be overwritten by merge: flake.nix",
        );
        check(
            "fatal: unable to connect to git.example.org:\ngit.example.org[0: 192.0.2.1]: errno=Connection refused\n",
            "fatal: unable to connect to git.example.org: git.example.org[0: 192.0.2.1]: errno=Connection refused",
        );
    }

    #[test]
    fn a_full_disk_is_named() {
        check(
            "fatal: write error: No space left on device\nfatal: fetch-pack: invalid index-pack output",
            "fatal: write error: No space left on device",
        );
        check(
            "error: unable to write file flake.nix: No space left on device\nfatal: early EOF",
            "error: unable to write file flake.nix: No space left on device",
        );
    }

    #[test]
    fn what_ssh_or_the_server_said_is_better_than_gits_advice() {
        for line in [
            "Host key verification failed.",
            "ssh: connect to host 127.0.0.1 port 1: Connection refused",
            "ssh: Could not resolve hostname no-such-host.invalid: Name or service not known",
            "git@git.example.org: Permission denied (publickey).",
            "ERROR: Repository not found.",
        ] {
            check(&format!("Cloning into '.'...\n{line}\n{ADVICE}"), line);
        }
        check(&format!("Cloning into '.'...\n{ADVICE}"), "fatal: Could not read from remote repository.");
        check(
            &format!(
                "remote: \nremote: =====\nremote: \nremote: ERROR: No such project.\nremote: \nremote: =====\nremote: \n{ADVICE}"
            ),
            "remote: ERROR: No such project.",
        );
    }

    #[test]
    fn a_changed_host_key_and_a_key_that_cannot_be_used_are_told_from_any_other_refusal() {
        let changed = "Host key for [git.example.org]:22 has changed and you have requested strict checking.";
        let frame = "@".repeat(59);
        check(
            &format!(
                "{frame}\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n{frame}\nIT IS POSSIBLE THAT \
                 SOMEONE IS DOING SOMETHING NASTY!\nAdd correct host key in /state/known_hosts to get rid of this \
                 message.\nOffending ED25519 key in /state/known_hosts:1\n{changed}\nHost key verification failed.\n{ADVICE}"
            ),
            &format!("{changed} Host key verification failed."),
        );
        let denied = "git@git.example.org: Permission denied (publickey).";
        for cause in [
            "Load key \"/keys/deploy\": bad permissions",
            "Warning: Identity file /keys/deploy not accessible: No such file or directory.",
        ] {
            check(&format!("{cause}\n{denied}\n{ADVICE}"), &format!("{cause} {denied}"));
        }
        // A key that did not cause the failure.
        let refused = "ssh: connect to host git.example.org port 22: Connection refused";
        let cause = "Warning: Identity file /keys/deploy not accessible: No such file or directory.";
        check(&format!("{cause}\n{refused}\n{ADVICE}"), refused);
    }

    #[test]
    fn of_nixs_errors_the_deepest_is_quoted_and_of_a_build_the_one_that_failed() {
        check(
            "error:\n       … while fetching the input 'git+file:///c'\n\n       error: opening Git repository \
             \"/c\": repository path '/c' is not owned by current user",
            "error: opening Git repository \"/c\": repository path '/c' is not owned by current user",
        );
        check(
            "error: attribute 'nope' missing\n       at /nix/store/4qw3-source/flake.nix:1:36:\n            1| { x }",
            "error: attribute 'nope' missing",
        );
        check(
            "building '/nix/store/h1cd-bad.drv'...\nerror: builder for '/nix/store/h1cd-bad.drv' failed with exit \
             code 3;\n       last 2 log lines:\n       > line1\n       > boom\n       For full logs, run:\n         \
             nix log /nix/store/h1cd-bad.drv\nerror: 1 dependencies of derivation '/nix/store/cl72-dep.drv' failed \
             to build",
            "error: builder for '/nix/store/h1cd-bad.drv' failed with exit code 3;",
        );
        check(
            "error: Cannot build '/nix/store/h1cd-bad.drv'.\n       Reason: builder failed with exit code 1.\nerror: \
             Cannot build '/nix/store/cl72-dep.drv'.\n       Reason: 1 dependency failed.\nerror: Build failed due to \
             failed dependency",
            "error: Cannot build '/nix/store/h1cd-bad.drv'.",
        );
    }

    #[test]
    fn without_any_such_word_the_last_line_is_quoted_in_part() {
        check("one\ntwo\n  \n-----\n", "two");
        check("", "");
        check("error:\nfatal: \n", "fatal:");
        check(&"x".repeat(1000), &"x".repeat(QUOTED));
        check(&format!("error: a:\n{}", "ä".repeat(1000)), &format!("error: a: {}", "ä".repeat(QUOTED - 10)));
    }
}
