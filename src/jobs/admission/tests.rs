//! Decisions about requests, as tables.

use std::fs;

use nixfleet_config::Source;

use super::*;

const AT: &str = "2026-07-14T12:00:00.000Z";

const CUSTOM: &str = r#"
[commands.backup]
run = ["/usr/bin/restic", "backup"]

[commands.deploy-all]
killable = false
steps = [["nix", "flake", "update"], { run = ["./activate", "now"], activation = true }]
"#;

/// A host with the two custom commands above.
fn host() -> Host {
    host_with(CUSTOM)
}

fn host_with(settings: &str) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, settings).unwrap();
    let environment =
        [("NIXFLEET_HOSTNAME", "web-1"), ("NIXFLEET_STATE_DIR", "/state"), ("NIXFLEET_REPO_DIR", "/repo")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Host::load(&Source { file: Some(file), environment: environment.into() }).unwrap()
}

#[test]
fn one_job_at_a_time_is_let_in_and_a_stop_always_is() {
    let host = host();
    let running = |id| Some(Current { command: "switch", command_id: id, pid: Some(12345), accepted_at: AT });
    let request =
        |name: &str, id: Option<&str>| CommandRequest { command: name.to_owned(), id: id.map(str::to_owned) };
    let states = [
        ("idle", None),
        ("a job without id", running(None)),
        ("a job with id a", running(Some("a"))),
        (
            "a job that has no process yet",
            Some(Current { command: "switch", command_id: None, pid: None, accepted_at: AT }),
        ),
    ];
    for (state, current) in states {
        for id in [None, Some("a"), Some("b")] {
            let same_id = id == Some("a") && state == "a job with id a";
            let rejected = |name: &str| {
                Decision::Reject(CommandRejected {
                    reason: "command already running".to_owned(),
                    current_command: Some("switch".to_owned()),
                    current_pid: current.and_then(|current| current.pid),
                    command: Some(name.to_owned()),
                    command_id: id.map(str::to_owned),
                })
            };
            let when_idle = |idle: Decision, name: &str| match current {
                None => idle,
                Some(_) if same_id => Decision::Duplicate,
                Some(_) => rejected(name),
            };
            for name in JOBS.iter().copied().chain(["backup", "deploy-all"]) {
                let decision = admit(&host, &request(name, id), current, None);
                assert_eq!(decision, when_idle(Decision::Start, name), "{name} {id:?} during {state}");
            }
            let decision = admit(&host, &request("restart", id), current, None);
            let expected = when_idle(Decision::Control(Control::Restart), "restart");
            assert_eq!(decision, expected, "restart {id:?} during {state}");
            for name in ["stop", "kill"] {
                let decision = admit(&host, &request(name, id), current, None);
                assert_eq!(decision, Decision::Control(Control::Stop), "{name} {id:?} during {state}");
            }
            for name in ["bump-flake", "force-rebuild", "force-update"] {
                let decision = admit(&host, &request(name, id), current, None);
                assert!(
                    matches!(decision, Decision::Replaced(_)),
                    "{name:?} {id:?} during {state}: {decision:?}"
                );
            }
            for name in ["", "Force-Update", "Pull", "pull ", "../pull", "pull\0", "exec-job"] {
                let decision = admit(&host, &request(name, id), current, None);
                assert_eq!(decision, Decision::Unknown, "{name:?} {id:?} during {state}");
            }
        }
    }
}

#[test]
fn a_name_of_the_go_agent_is_answered_with_its_replacement_and_is_free_for_the_operator() {
    let plain = host();
    let request = |name: &str| CommandRequest { command: name.to_owned(), id: None };
    for (name, replacement) in
        [("bump-flake", "`update`"), ("force-rebuild", "`switch`"), ("force-update", "`pull-switch`")]
    {
        let Decision::Replaced(by) = admit(&plain, &request(name), None, None) else { panic!("{name}") };
        assert!(by.contains(replacement), "{name}: {by}");
        for known in by.split('`').skip(1).step_by(2) {
            assert!(kind(&plain, known).is_some(), "{name} is replaced by {known}, which is there");
        }
        let own = format!("[commands.{name}]\nrun = [\"true\"]\n");
        assert_eq!(admit(&host_with(&own), &request(name), None, None), Decision::Start, "{name}");
    }
}

#[test]
fn two_requests_without_an_id_are_never_the_same_request() {
    let host = host();
    let current = Current { command: "pull", command_id: None, pid: Some(7), accepted_at: AT };
    let request = CommandRequest { command: "pull".to_owned(), id: None };
    assert!(matches!(admit(&host, &request, Some(current), None), Decision::Reject(_)));
}

#[test]
fn the_names_told_to_people_are_those_that_work() {
    let host = host();
    let names = names(&host);
    assert!(names.iter().all(|name| kind(&host, name).is_some()), "{names:?}");
    assert!(names.contains(&"backup") && names.contains(&"switch") && names.contains(&"stop"), "{names:?}");
}

#[test]
fn questions_and_stops_are_let_in_beside_a_command_and_a_reboot_is_not() {
    let host = host();
    let current = Current { command: "switch", command_id: Some("1"), pid: Some(7), accepted_at: AT };
    let decide = |name: &str, current| {
        admit(&host, &CommandRequest { command: name.to_owned(), id: Some("2".to_owned()) }, current, None)
    };
    for (name, question) in [
        ("check-version", Question::Version),
        ("refresh-git", Question::Git),
        ("refresh-lock", Question::Lock),
        ("refresh-system", Question::System),
        ("refresh-all", Question::All),
    ] {
        for current in [None, Some(current)] {
            assert_eq!(decide(name, current), Decision::Control(Control::Ask(question)), "{name}");
        }
    }
    for (name, control) in [("reboot", Control::Reboot), ("restart", Control::Restart)] {
        assert_eq!(decide(name, None), Decision::Control(control));
        assert!(matches!(decide(name, Some(current)), Decision::Reject(_)), "{name}");
    }
}

#[test]
fn a_job_whose_status_is_to_come_blocks_only_what_could_be_taken_for_it() {
    let host = host();
    let unreported = Current { command: "pull", command_id: Some("a"), pid: None, accepted_at: AT };
    let running = Current { command: "switch", command_id: Some("b"), pid: Some(7), accepted_at: AT };
    let request =
        |name: &str, id: Option<&str>| CommandRequest { command: name.to_owned(), id: id.map(str::to_owned) };
    let repeat = request("pull", Some("a"));
    assert_eq!(admit(&host, &repeat, None, Some(unreported)), Decision::Duplicate, "its own request");
    assert_eq!(
        admit(&host, &repeat, Some(running), Some(unreported)),
        Decision::Duplicate,
        "beside another one"
    );
    let Decision::Reject(rejected) = admit(&host, &request("pull", None), None, Some(unreported)) else {
        panic!("a dashboard without ids would take the first status for the second")
    };
    assert_eq!((rejected.current_command.as_deref(), rejected.current_pid), (Some("pull"), None));
    for name in ["stop", "restart"] {
        let decision = admit(&host, &request(name, None), None, Some(unreported));
        assert!(matches!(decision, Decision::Control(_)), "{name}: {decision:?}");
    }
}

#[test]
fn what_a_host_offers_is_what_its_settings_allow() {
    let offered = |settings: &str| -> Vec<String> {
        let shown = |offered: OfferedCommand| {
            let OfferedCommand { name, description, own } = offered;
            if own { format!("{name} ({description})") } else { name }
        };
        super::offered(&host_with(settings)).into_iter().map(shown).collect()
    };
    let described = "[reboot]\nenable = true\n[commands.backup]\nrun = [\"/bin/true\"]\n\
                     description = \"Back up\u{2028}\u{202e}/home\"\n";
    let all = offered(described).join(" ");
    assert_eq!(
        all,
        "pull switch pull-switch boot test rollback update stop restart reboot check-version refresh-git \
         refresh-lock refresh-system refresh-all backup (Back up /home)"
    );
    let clones = offered("[repo]\nurl = \"https://git.example.org/fleet.git\"\n");
    assert!(clones.contains(&"clone".to_owned()) && !clones.contains(&"reboot".to_owned()), "{clones:?}");
    let mut host = host();
    host.repo.dir = None;
    let names: Vec<_> = super::offered(&host).into_iter().map(|offered| offered.name).collect();
    for name in ["pull", "switch", "pull-switch", "boot", "test", "update", "clone"] {
        assert!(!names.iter().any(|offered| offered == name), "{name} needs a repository");
    }
    assert!(names.contains(&"rollback".to_owned()) && names.contains(&"backup".to_owned()), "{names:?}");
    host.repo.dir = Some("/repo".into());
    (host.host_type, host.rebuild.program) = ("macos", None);
    assert!(super::offered(&host).iter().all(|offered| offered.name != "boot"));
    for offered in super::offered(&host) {
        assert!(kind(&host, &offered.name).is_some(), "{} is accepted", offered.name);
    }
}
