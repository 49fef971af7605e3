//! Reasons of failures, from what programs really write.

use super::quote::{QUOTED, REASON};
use super::rule::When;
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
        check(
            &format!("{cause}\n{denied}\n{ADVICE}"),
            &format!("{cause}{}{denied}", if cause.ends_with('.') { " " } else { "; " }),
        );
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
        "error: attribute 'nope' missing at /nix/store/4qw3-source/flake.nix:1:36",
    );
    check(
        "building '/nix/store/h1cd-bad.drv'...\nerror: builder for '/nix/store/h1cd-bad.drv' failed with exit \
         code 3;\n       last 2 log lines:\n       > line1\n       > boom\n       For full logs, run:\n         \
         nix log /nix/store/h1cd-bad.drv\nerror: 1 dependencies of derivation '/nix/store/cl72-dep.drv' failed \
         to build",
        "error: builder for '/nix/store/h1cd-bad.drv' failed with exit code 3; boom",
    );
    check(
        "error: Cannot build '/nix/store/h1cd-bad.drv'.\n       Reason: builder failed with exit code 1.\nerror: \
         Cannot build '/nix/store/cl72-dep.drv'.\n       Reason: 1 dependency failed.\nerror: Build failed due to \
         failed dependency",
        "error: Cannot build '/nix/store/h1cd-bad.drv'. Reason: builder failed with exit code 1.",
    );
}

#[test]
fn without_any_such_word_the_last_line_is_quoted_in_part() {
    check("one\ntwo\n  \n-----\n", "two");
    check("", "");
    check("error:\nfatal: \n", "error: fatal:");
    check(&"x".repeat(1000), &format!("{}…", "x".repeat(QUOTED - 1)));
    check(
        &format!("error: a:\n{}", "ä ".repeat(1000)),
        &format!(
            "error: a: {}…",
            "ä ".repeat(QUOTED).chars().take(QUOTED - 1).collect::<String>().trim_end()
        ),
    );
    let list: String = (0..1000).map(|number| format!("\t{number}-{}\n", "x".repeat(50))).collect();
    let mut reason = FailureReason::default();
    format!("error: in the way:\n{list}").lines().for_each(|line| reason.add_line(line));
    let reason = FailureReason::best(reason, FailureReason::default());
    assert_eq!(reason.chars().count(), REASON, "{reason}");
    assert!(reason.starts_with("error: in the way: 0-xxx") && reason.ends_with('…'), "{reason}");
}

/// Outputs of programs with the reason that is to be found in them: `#` is the title of a case, `=` the reason, `1|`
/// and `2|` are lines of standard output and standard error.
const CASES: &[(&str, &str)] = &[
    ("git", include_str!("../../../tests/fixtures/reasons/git.txt")),
    ("ssh", include_str!("../../../tests/fixtures/reasons/ssh.txt")),
    ("systemd", include_str!("../../../tests/fixtures/reasons/systemd.txt")),
    ("curl", include_str!("../../../tests/fixtures/reasons/curl.txt")),
    ("switch", include_str!("../../../tests/fixtures/reasons/switch.txt")),
    ("nix", include_str!("../../../tests/fixtures/reasons/nix.txt")),
];

/// Fewer cases than this would mean that a file was not read.
const CASES_AT_LEAST: usize = 200;

/// The lines of a case behind its title and its reason, with the number of their output.
fn output(case: &str) -> impl Iterator<Item = (usize, String)> {
    case.lines().filter_map(|line| {
        let (mark, text) = line.split_at_checked(2)?;
        let stream = ["1|", "2|"].iter().position(|known| *known == mark)?;
        Some((stream, text.strip_prefix(' ').unwrap_or(text).replace("\\e", "\u{1b}")))
    })
}

/// All cases: the file, the title, the reason, and the whole text.
fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str, &'static str)> {
    let split = |(file, text): &(&'static str, &'static str)| {
        let file = *file;
        text.split("\n\n").map(str::trim).filter(|case| !case.is_empty()).map(move |case| (file, case))
    };
    CASES.iter().flat_map(split).map(|(file, case)| {
        let (title, rest) = case.split_once('\n').unwrap();
        let reason = rest.lines().next().and_then(|line| line.strip_prefix("= "));
        assert!(
            title.starts_with("# ") && output(case).count() + 2 == case.lines().count(),
            "{file}: {case}"
        );
        (file, title, reason.unwrap_or_else(|| panic!("{file}: {case}")), case)
    })
}

#[test]
fn the_reason_is_found_in_what_programs_really_write() {
    let mut wrong = String::new();
    for (file, title, wanted, case) in cases() {
        let mut reasons = [FailureReason::default(), FailureReason::default()];
        output(case).for_each(|(stream, line)| reasons[stream].add_line(&line));
        let [of_output, of_errors] = reasons;
        let found = FailureReason::best(of_errors, of_output);
        if found != wanted {
            wrong += &format!("{file}: {title}\n  wanted {wanted}\n  found  {found}\n");
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    assert!(cases().count() >= CASES_AT_LEAST);
}

/// A rule that matches no line of the cases is a guess.
#[test]
fn each_rule_is_about_a_line_that_some_program_writes() {
    let mut seen = std::collections::HashSet::new();
    for (_, line) in cases().flat_map(|(.., case)| output(case)) {
        let line = printable(&line, false);
        seen.extend(RULES.find(line.trim()).map(std::ptr::from_ref));
    }
    // The first byte of a line leaves no rule out.
    for (_, line) in cases().flat_map(|(.., case)| output(case)) {
        let line = printable(&line, false);
        let line = line.trim();
        let first = TABLES.iter().copied().flatten().find(|(when, _)| match *when {
            When::Starts(text) => line.starts_with(text),
            When::Has(text) => line.contains(text),
            When::Both(start, text) => line.starts_with(start) && line.contains(text),
        });
        assert_eq!(RULES.find(line).map(std::ptr::from_ref), first.map(std::ptr::from_ref), "{line}");
    }
    let unseen: Vec<_> =
        TABLES.iter().copied().flatten().filter(|rule| !seen.contains(&std::ptr::from_ref(*rule))).collect();
    assert!(unseen.is_empty(), "{unseen:#?}");
}
