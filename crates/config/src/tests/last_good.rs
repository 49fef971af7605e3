//! Starts with a wrong file.

use std::os::unix::fs::PermissionsExt;

use super::*;

/// An agent with a state folder of its own.
fn with_state(toml: &str, extra: &[(&str, &str)]) -> (Given, PathBuf) {
    let mut given = Given::new(toml, extra);
    let state = given.folder.path().join("state");
    given.source.environment.insert("NIXFLEET_STATE_DIR".to_owned(), state.to_str().unwrap().to_owned());
    (given, state)
}

fn write(given: &Given, toml: &str) {
    fs::write(given.folder.path().join("agent.toml"), toml).unwrap();
}

#[track_caller]
fn starts(given: &Given) -> Started {
    Config::start(&given.source).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn a_wrong_file_does_not_keep_an_agent_from_starting_that_started_once() {
    let (given, state) = with_state("interval = 7\n", &[]);
    let started = starts(&given);
    assert_eq!((started.config.connection.interval.as_secs(), started.last_good), (7, None));
    assert_eq!(started.config.warnings, [] as [&str; 0]);
    for wrong in
        ["interval = 0\n", "interval = \n", "nonsense = 1\n", "ca_file = 'a.pem'\n", "interval = 'x'\n\u{0}"]
    {
        write(&given, wrong);
        let started = starts(&given);
        assert_eq!(started.config.connection.interval.as_secs(), 7, "{wrong}");
        let used = started.last_good.expect("a reason");
        assert!(!used.problems.is_empty() && used.sentence().contains("agent.toml is wrong"), "{used:?}");
        // What a supervisor uses is the same.
        let (host, of_job) = Host::for_job(&given.source).unwrap();
        assert_eq!(host.state_dir, state, "{wrong}");
        let of_job = of_job.map(|used| used.accepted_at);
        // A supervisor does not look at the connection.
        let concerns = !wrong.starts_with("ca_file") && !wrong.contains("interval = 0");
        assert_eq!(of_job, concerns.then_some(used.accepted_at), "{wrong}");
        assert!(Config::load(&given.source).is_err() && Config::check(&given.source).is_err(), "{wrong}");
    }
    fs::remove_file(given.folder.path().join("agent.toml")).unwrap();
    let lines = starts(&given).last_good.unwrap().lines();
    assert!(lines[0].contains("cannot be read: No such file"), "{lines:?}");
    write(&given, "interval = 8\n");
    assert_eq!(starts(&given).last_good, None, "mended");
}

#[test]
fn without_an_earlier_start_a_wrong_file_is_told_as_before() {
    let (given, state) = with_state("interval = 0\n", &[]);
    let told = Config::load(&given.source).unwrap_err();
    assert_eq!(Config::start(&given.source).unwrap_err(), told);
    assert!(!state.exists(), "a start that fails leaves nothing");
}

/// As in the demo, and in a trial of another agent beside the installed one.
#[test]
fn an_agent_with_a_file_and_a_state_folder_of_its_own_leaves_other_state_folders_alone() {
    let (given, installed) = with_state("interval = 7\n", &[]);
    starts(&given).proof.expect("a note").store().unwrap();
    let copy = installed.join("settings/last-good.json");
    let before = fs::read(&copy).unwrap();

    let (mut own, _) = with_state("", &[]);
    let state = own.folder.path().join("own");
    write(&own, &format!("interval = 8\nstate_dir = '{}'\n", state.display()));
    own.source.environment.remove("NIXFLEET_STATE_DIR");
    let installed_text = installed.to_str().unwrap().to_owned();
    own.source.environment.insert("STATE_DIRECTORY".to_owned(), installed_text);
    let started = starts(&own);
    assert_eq!((started.config.connection.interval.as_secs(), started.proof), (8, None));
    assert_eq!(fs::read(&copy).unwrap(), before);
    write(&own, "interval = 0\n");
    assert_eq!(Config::start(&own.source).unwrap_err(), Config::load(&own.source).unwrap_err());
    assert_eq!(fs::read(&copy).unwrap(), before);
}

#[test]
fn a_missing_token_and_a_wrong_variable_are_not_helped_by_the_copy() {
    let (mut given, state) = with_state("interval = 7\n", &[]);
    starts(&given);
    given.source.environment.remove("NIXFLEET_TOKEN");
    let missing = "token: missing; set NIXFLEET_TOKEN_FILE to a file that holds it, or NIXFLEET_TOKEN";
    assert_eq!(Config::start(&given.source).unwrap_err().to_string(), missing);
    write(&given, "nonsense = 1\n");
    let told = Config::start(&given.source).unwrap_err().to_string();
    assert!(told.contains("nonsense: unknown key") && told.ends_with(missing), "{told}");
    given.source.environment.insert("NIXFLEET_TOKEN".to_owned(), "s3cret".to_owned());
    given.source.environment.insert("NIXFLEET_INTERVAL".to_owned(), "soon".to_owned());
    let told = Config::start(&given.source).unwrap_err().to_string();
    assert!(told.contains("interval: \"soon\" is not") && told.lines().count() == 2, "{told}");
    // A copy that nobody should believe is told as such.
    given.source.environment.remove("NIXFLEET_INTERVAL");
    fs::set_permissions(state.join("settings"), fs::Permissions::from_mode(0o777)).unwrap();
    let told = Config::start(&given.source).unwrap_err().to_string();
    assert!(
        told.contains("\nlast good settings: cannot be used either: others than its owner may write"),
        "{told}"
    );
    assert_eq!(Host::for_job(&given.source).unwrap_err().to_string(), told);
}

#[test]
fn the_copy_is_for_its_owner_alone_and_has_no_token_in_it() {
    let (given, state) =
        with_state("interval = 7\n", &[("NIXFLEET_REPO_URL", "https://me:hidden@host/r.git")]);
    starts(&given);
    let file = state.join("settings/last-good.json");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("interval = 7") && !text.contains("s3cret") && !text.contains("hidden"), "{text}");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(file.parent().unwrap()), 0o700);
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    starts(&given);
    assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), before, "nothing new, nothing written");
}

#[test]
fn with_the_systemd_launcher_root_keeps_the_settings_and_the_agent_does_not() {
    let (given, state) = with_state("interval = 7\n", &[("NIXFLEET_JOBS__LAUNCHER", "systemd")]);
    assert!(starts(&given).proof.is_some());
    let file = state.join("settings/last-good.json");
    assert!(!file.exists());
    // The unit passes the token to the agent alone.
    let mut root = given.source.clone();
    root.environment.remove("NIXFLEET_TOKEN");
    assert_eq!(keep_settings(&root), Ok(None));
    assert!(file.exists());
    write(&given, "interval = 0\n");
    assert_eq!(keep_settings(&root), Ok(None), "the agent tells it");
    assert_eq!(starts(&given).config.connection.interval.as_secs(), 7);
    // Settings that never led to a registration are given up for those that did.
    fs::create_dir_all(state.join("agent")).unwrap();
    starts(&given).proof.unwrap().store().unwrap();
    write(&given, "interval = 8\n");
    assert_eq!(keep_settings(&root), Ok(None));
    assert_eq!(starts(&given).config.connection.interval.as_secs(), 8);
    write(&given, "interval = 0\n");
    assert_eq!(starts(&given).config.connection.interval.as_secs(), 8, "the agent decides nothing");
    assert_eq!(keep_settings(&root), Ok(None));
    assert_eq!(starts(&given).config.connection.interval.as_secs(), 7);
}

#[test]
fn status_and_logs_know_where_to_look_whatever_the_file_says() {
    let usual = "the environment alone counts";
    for (toml, state, jobs, said) in [
        ("state_dir = '/s'\n", "/s", "/s/jobs", None),
        ("state_dir = '/s'\ninterval = 'soon'\n", "/s", "/s/jobs", None),
        (
            "state_dir = '/s'\nnonsense = 1\n",
            "/s",
            "/s/jobs",
            Some("what is right in them counts: state folder /s,"),
        ),
        ("state_dir = '/s'\n[jobs]\ndir = 'x'\n", "/home/.local/state/nixfleet-agent", "", Some(usual)),
        ("state_dir = \n", "/home/.local/state/nixfleet-agent", "", Some(usual)),
    ] {
        let mut given = Given::new(toml, &[]).without("NIXFLEET_STATE_DIR");
        given.source.environment.insert("XDG_STATE_HOME".to_owned(), "/home/.local/state".to_owned());
        let root = rustix::process::geteuid().is_root();
        let state = if root && !state.starts_with("/s") { "/var/lib/nixfleet-agent" } else { state };
        let jobs = if jobs.is_empty() { format!("{state}/jobs") } else { jobs.to_owned() };
        let (host, line) = Host::to_look_at(&given.source);
        assert_eq!(
            (host.state_dir.to_str().unwrap(), host.jobs.dir.to_str().unwrap()),
            (state, jobs.as_str())
        );
        match said {
            None => assert_eq!(line, None, "{toml}"),
            Some(said) => {
                let line = line.expect("a line");
                assert!(line.contains(said) && line.contains(state) && line.contains("agent.toml"), "{line}");
            }
        }
    }
    // Whatever else is wrong, there is a place to look at.
    let wrong = [("NIXFLEET_STATE_DIR", "~/x"), ("NIXFLEET_HOSTNAME", ""), ("NIXFLEET_JOBS__KEEP", "many")];
    let environment = wrong.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let source = Source { file: Some("/no/such/file".into()), environment: environment.into() };
    let (host, line) = Host::to_look_at(&source);
    assert!(host.state_dir.is_absolute() && line.is_some(), "{host:?} {line:?}");
    // The copy counts, if there is one: the agent uses it.
    let (given, state) = with_state("[jobs]\ndir = '/elsewhere'\n", &[]);
    starts(&given);
    write(&given, "nonsense = 1\n");
    let (host, line) = Host::to_look_at(&given.source);
    assert_eq!((host.state_dir, host.jobs.dir), (state, PathBuf::from("/elsewhere")));
    let line = line.unwrap();
    assert!(line.contains("accepted at") && line.contains("nonsense: unknown key"), "{line}");
}
