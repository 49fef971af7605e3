//! The messages about wrong settings.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use super::*;

#[track_caller]
fn variable_fails(name: &str, value: &str, wanted: &str) {
    assert_eq!(Given::new("", &[(name, value)]).fails(), wanted, "{name}={value}");
}

#[track_caller]
fn file_fails(toml: &str, wanted: &str) {
    // The file is used only for keys that no variable sets.
    let given = Given::new(toml, &[]).without("NIXFLEET_URL");
    let given = if toml.contains("url") { given } else { Given::new(toml, &[]) };
    assert_eq!(given.fails(), wanted, "{toml}");
}

#[test]
fn bad_variables_are_told_with_their_name_and_the_fix() {
    for (name, value, wanted) in [
        (
            "NIXFLEET_INTERVAL",
            "0",
            "interval: 0 is not between 1 and 3600 seconds (environment variable NIXFLEET_INTERVAL); set it to a number of seconds such as 30",
        ),
        (
            "NIXFLEET_INTERVAL",
            "-5",
            "interval: -5 is not between 1 and 3600 seconds (environment variable NIXFLEET_INTERVAL); set it to a number of seconds such as 30",
        ),
        (
            "NIXFLEET_INTERVAL",
            "3601",
            "interval: 3601 is not between 1 and 3600 seconds (environment variable NIXFLEET_INTERVAL); set it to a number of seconds such as 30",
        ),
        (
            "NIXFLEET_INTERVAL",
            "30s",
            "interval: \"30s\" is not a whole number of seconds (environment variable NIXFLEET_INTERVAL); set it to a number of seconds such as 30",
        ),
        (
            "NIXFLEET_INTERVAL",
            "99999999999999999999",
            "interval: \"99999999999999999999\" is not a whole number of seconds (environment variable NIXFLEET_INTERVAL); set it to a number of seconds such as 30",
        ),
        (
            "NIXFLEET_METRICS__LISTEN",
            "9464",
            "metrics.listen: \"9464\" is not an address with a port (environment variable NIXFLEET_METRICS__LISTEN); set it to 127.0.0.1:9464",
        ),
        (
            "NIXFLEET_METRICS__LISTEN",
            "0.0.0.0:9464",
            "metrics.listen: 0.0.0.0:9464 can be reached by other machines, and nobody is asked for a password (environment variable NIXFLEET_METRICS__LISTEN); set it to 127.0.0.1:9464, or set NIXFLEET_METRICS__ALLOW_REMOTE=1 on a network you trust",
        ),
        (
            "NIXFLEET_URL",
            "http://fleet.example.org",
            "url: http:// is for web pages (environment variable NIXFLEET_URL); write wss://fleet.example.org/ws",
        ),
        (
            "NIXFLEET_URL",
            "https://fleet.example.org:8443/a/ws",
            "url: https:// is for web pages (environment variable NIXFLEET_URL); write wss://fleet.example.org:8443/a/ws",
        ),
        (
            "NIXFLEET_URL",
            "fleet.example.org",
            "url: \"fleet.example.org\" is not a URL: relative URL without a base (environment variable NIXFLEET_URL); write it as wss://HOST/ws",
        ),
        (
            "NIXFLEET_URL",
            "localhost:8000/ws",
            "url: \"localhost:\" is neither ws:// nor wss:// (environment variable NIXFLEET_URL); write it as wss://HOST/ws",
        ),
        (
            "NIXFLEET_URL",
            "wss://me:pw@host/ws",
            "url: holds a user name or a password (environment variable NIXFLEET_URL); leave it out; the token goes into NIXFLEET_TOKEN_FILE",
        ),
        (
            "NIXFLEET_URL",
            "ws://192.0.2.1/ws",
            "url: ws://192.0.2.1 would send the token unencrypted to another machine (environment variable NIXFLEET_URL); write wss://, or set NIXFLEET_ALLOW_INSECURE=1 on a network you trust",
        ),
        (
            "NIXFLEET_URL",
            "ws://localhost.example.org/ws",
            "url: ws://localhost.example.org would send the token unencrypted to another machine (environment variable NIXFLEET_URL); write wss://, or set NIXFLEET_ALLOW_INSECURE=1 on a network you trust",
        ),
        (
            "NIXFLEET_TOKEN",
            "s3 cret",
            "token: NIXFLEET_TOKEN holds something else than a token: character 3 is a blank, which no token has; set NIXFLEET_TOKEN to the token alone",
        ),
        (
            "NIXFLEET_HOSTNAME",
            "web 1",
            "hostname: \"web 1\" is not 1 to 63 letters, digits and hyphens (environment variable NIXFLEET_HOSTNAME); set NIXFLEET_HOSTNAME to a short name such as web-1",
        ),
        (
            "NIXFLEET_REPO_URL",
            "ext::sh -c id",
            "repo.url: is not the address of a repository (environment variable NIXFLEET_REPO_URL); write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH",
        ),
        (
            "NIXFLEET_REPO_URL",
            "--upload-pack=id",
            "repo.url: is not the address of a repository (environment variable NIXFLEET_REPO_URL); write https://HOST/PATH, ssh://USER@HOST/PATH or USER@HOST:PATH",
        ),
        (
            "NIXFLEET_BRANCH",
            "-f",
            "repo.branch: \"-f\" is not the name of a branch (environment variable NIXFLEET_BRANCH); set it to a name such as main",
        ),
        (
            "NIXFLEET_BRANCH",
            "a..b",
            "repo.branch: \"a..b\" is not the name of a branch (environment variable NIXFLEET_BRANCH); set it to a name such as main",
        ),
        (
            "NIXFLEET_REPO_DIR",
            "~/cfg",
            "repo.dir: \"~/cfg\" is not an absolute path (environment variable NIXFLEET_REPO_DIR); set it to text such as \"/var/lib/nixfleet-agent/repo\"",
        ),
        (
            "NIXFLEET_ALLOW_INSECURE",
            "maybe",
            "allow_insecure: \"maybe\" is not true or false (environment variable NIXFLEET_ALLOW_INSECURE); set it to true or false",
        ),
        (
            "NIXFLEET_JOBS__STOP_GRASE",
            "1",
            "NIXFLEET_JOBS__STOP_GRASE: unknown variable; did you mean NIXFLEET_JOBS__STOP_GRACE?",
        ),
        (
            "NIXFLEET_THEME_COLOR",
            "a\nb",
            "theme_color: holds the control character '\\n' (environment variable NIXFLEET_THEME_COLOR); set it to text such as \"#7aa2f7\"",
        ),
        (
            "NIXFLEET_REBUILD__PROGRAM",
            "[1",
            "rebuild.program: \"[1\" is not a list of words (environment variable NIXFLEET_REBUILD__PROGRAM); write it as [\"nixos-rebuild\"]",
        ),
        (
            "NIXFLEET_REBUILD__LOG_FORMAT",
            "json",
            "rebuild.log_format: \"json\" is not a format of nix's log (environment variable NIXFLEET_REBUILD__LOG_FORMAT); set it to one of raw, raw-with-logs, internal-json, bar, bar-with-logs, multiline, multiline-with-logs",
        ),
    ] {
        variable_fails(name, value, wanted);
    }
}

#[test]
fn bad_files_are_told_with_their_path_and_the_fix() {
    for (toml, wanted) in [
        (
            "urll = 'wss://a/ws'",
            "urll: unknown key (FILE); did you mean \"url\"?\nurl: missing; set NIXFLEET_URL to the dashboard's address such as wss://fleet.example.org/ws",
        ),
        (
            "token = 'abc'",
            "token: unknown key (FILE); put the token into a file of its own and name that in token_file",
        ),
        ("branch = 'main'", "branch: unknown key (FILE); did you mean \"repo.branch\"?"),
        ("[repo]\nbrunch = 'main'", "repo.brunch: unknown key (FILE); did you mean \"branch\"?"),
        ("[zzz]\na = 1", "zzz: unknown key (FILE); remove it"),
        ("repo = 'x'", "repo: \"x\" is not a table (FILE); write it as [repo] with keys below"),
        (
            "interval = 'soon'",
            "interval: \"soon\" is not a whole number of seconds (FILE); set it to a number of seconds such as 30",
        ),
        (
            "interval = 1.5",
            "interval: 1.5 is not a whole number of seconds (FILE); set it to a number of seconds such as 30",
        ),
        ("theme_color = 5", "theme_color: 5 is not text (FILE); set it to text such as \"#7aa2f7\""),
        ("allow_insecure = 1", "allow_insecure: 1 is not true or false (FILE); set it to true or false"),
        (
            "[repo]\ndir = 'here'",
            "repo.dir: \"here\" is not an absolute path (FILE); set it to text such as \"/var/lib/nixfleet-agent/repo\"",
        ),
        (
            "[rollback]\nconfirm_timeout = 4",
            "rollback.confirm_timeout: 4 is not between 5 and 3600 seconds (FILE); set it to a number of seconds such as 180",
        ),
        (
            "[rollback]\nconfirm_timeout = 60\nhold = 60",
            "rollback.hold: 60 s is not less than rollback.confirm_timeout, which is 60 s, so no system could be confirmed (FILE); set it some way below, such as to 10",
        ),
        (
            "[rollback]\nchecks = [{ run = [] }]",
            "rollback.checks: names no program (FILE); write it as [{ run = [\"systemctl\", \"is-active\", \"sshd.service\"], timeout = 30 }]",
        ),
        (
            "[rollback]\nchecks = [{ run = ['a'], timeuot = 3 }]",
            "rollback.checks: unknown field: found `timeuot`, expected `run` or `timeout` (FILE); write it as [{ run = [\"systemctl\", \"is-active\", \"sshd.service\"], timeout = 30 }]",
        ),
        (
            "[rebuild]\nenv = { NIXOS_NO_CHECK = '1' }",
            "rebuild.env: holds NIXOS_NO_CHECK, with which nobody is warned of a system that breaks the running one (FILE); leave it out; where a check refuses a system, send `boot` and then `reboot`",
        ),
        (
            "[rollback]\nchecks = [{ run = ['a'], timeout = 601 }]",
            "rollback.checks: 601 is not between 1 and 600 seconds (FILE); write it as [{ run = [\"systemctl\", \"is-active\", \"sshd.service\"], timeout = 30 }]",
        ),
        (
            "[commands.backup]\nrun = []",
            "commands.backup.run: names no program (FILE); write it as [\"restic\", \"backup\", \"/home\"]",
        ),
        (
            "[commands.backup]\nrun = ['sleep', 5]",
            "commands.backup.run: a value in it is not text (FILE); write it as [\"restic\", \"backup\", \"/home\"]",
        ),
        (
            "[commands.backup]\nrun = 'sleep 5'",
            "commands.backup.run: the value is not a list of words (FILE); write it as [\"restic\", \"backup\", \"/home\"]",
        ),
        (
            "[commands.backup]\nsteps = []",
            "commands.backup: has no steps (FILE); write run = [\"PROGRAM\", \"ARGUMENT\"]",
        ),
        (
            "[commands.backup]\nsteps = [5]",
            "commands.backup.steps: a step is a list of words, or a table with `run` and `activation` (FILE); write it as [[\"nix\", \"flake\", \"update\"], [\"git\", \"commit\", \"-a\"]]",
        ),
        (
            "[commands.backup]\nrun = ['a']\nsteps = [['a']]",
            "commands.backup: has both run and steps (FILE); keep one of them",
        ),
        (
            "[commands.backup]\nrun = ['a']\ntimeout = 0",
            "commands.backup.timeout: 0 is not between 1 and 604800 seconds (FILE); set it to a number of seconds such as 600",
        ),
        (
            "[commands.switch]\nrun = ['a']",
            "commands.switch: is a command that the agent has itself (FILE); choose another name",
        ),
        (
            "[commands.backup]\nrun = ['a']\nenv = { A = 5 }",
            "commands.backup.env: a value in it is not text (FILE); write it as { LANG = \"C.UTF-8\" }",
        ),
        (
            "[commands.-bad]\nrun = ['a']",
            "commands.-bad: is not a name for a command (FILE); choose up to 32 lower-case letters, digits and hyphens, such as backup",
        ),
        (
            "[commands.'a b']\nrun = ['a']",
            "commands.a b: is not a name for a command (FILE); choose up to 32 lower-case letters, digits and hyphens, such as backup",
        ),
        (
            "[commands.\"x\\ny\"]\nrun = ['a']",
            "commands.x\\ny: is not a name for a command (FILE); choose up to 32 lower-case letters, digits and hyphens, such as backup",
        ),
    ] {
        file_fails(toml, wanted);
    }
}

#[test]
fn bad_syntax_is_told_with_file_line_and_column() {
    // The rest is the wording of the parser.
    for (toml, wanted) in
        [("interval = [", "FILE:1:13: "), ("a = 1\na = 2", "FILE:2:1: "), ("x = 1\n\n[", "FILE:3:1: ")]
    {
        let hint = Given::new(toml, &[]).fails().split_once("; ").map(|(_, hint)| hint.len());
        assert!(hint.is_some_and(|length| length > 10), "{toml:?}: how to fix it");
        let error = Given::new(toml, &[]).fails();
        assert!(error.starts_with(wanted) && error.len() > wanted.len(), "{toml:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

#[test]
fn all_problems_are_told_together() {
    let toml = "interval = 'soon'\ncolor = 1\n[jobs]\nkeep = 0\nlog_limit = 'big'\n";
    let given =
        Given::new(toml, &[("NIXFLEET_BRANCH", "-")]).without("NIXFLEET_TOKEN").without("NIXFLEET_URL");
    let error = Config::load(&given.source).unwrap_err();
    let mut keys: Vec<&str> = error.problems().iter().map(|problem| problem.key.as_str()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["color", "interval", "jobs.keep", "jobs.log_limit", "repo.branch", "token", "url"]);
}

#[test]
fn a_missing_token_and_a_missing_file_are_told() {
    let given = Given::new("", &[]).without("NIXFLEET_TOKEN");
    assert_eq!(
        given.fails(),
        "token: missing; set NIXFLEET_TOKEN_FILE to a file that holds it, or NIXFLEET_TOKEN"
    );
    let mut given = Given::new("", &[]);
    fs::remove_file(given.source.file.as_ref().unwrap()).unwrap();
    assert_eq!(
        given.fails(),
        "FILE: cannot be read: No such file or directory (os error 2); check the path, or leave it out"
    );
    let file = given.source.file.take().unwrap();
    given.source.environment.insert("NIXFLEET_CONFIG".to_owned(), file.to_str().unwrap().to_owned());
    assert_eq!(
        given.fails(),
        "FILE: cannot be read: No such file or directory (os error 2) (environment variable NIXFLEET_CONFIG); check the path, or leave it out"
    );
}

#[test]
fn bytes_that_are_no_text_are_told_only_where_they_matter() {
    let bytes = || OsString::from_vec(vec![0xff]);
    let error = Source::new(None, [("NIXFLEET_BRANCH".into(), bytes())]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "NIXFLEET_BRANCH: not UTF-8 (environment variable NIXFLEET_BRANCH); set it to plain text or unset it"
    );
    let source = Source::new(None, [("LESS".into(), bytes()), (bytes(), "x".into())]).unwrap();
    assert!(source.environment.is_empty());
}
