//! The table as tables: who is let in, and what each name runs.

use std::fs;

use super::*;
use crate::config::Source;

const AT: &str = "2026-07-14T12:00:00.000Z";

const CUSTOM: &str = r#"
[commands.backup]
run = ["/usr/bin/restic", "backup", "/home/a b", "$HOME; rm -rf /"]
timeout = 600
cwd = "/srv"
env = { LANG = "C.UTF-8" }

[commands.deploy-all]
killable = false
steps = [["nix", "flake", "update"], { run = ["./activate", "now"], activation = true }]
"#;

/// A host with these settings, the two commands above and nothing of the machine the test runs on.
pub(super) fn host(settings: &[(&str, &str)]) -> Host {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("agent.toml");
    fs::write(&file, CUSTOM).unwrap();
    let always = [("NIXFLEET_HOSTNAME", "web-1"), ("NIXFLEET_STATE_DIR", "/state"), ("USER", "alice")];
    let environment = always.iter().chain(settings);
    let environment = environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let mut host = Host::load(&Source { file: Some(file), environment }).unwrap();
    host.host_type = "nixos";
    host
}

pub(super) fn mac(settings: &[(&str, &str)]) -> Host {
    Host { host_type: "macos", ..host(settings) }
}

pub(super) const PLAIN: (&str, &str) = ("NIXFLEET_REPO_DIR", "/repo");
pub(super) const ISOLATED: (&str, &str) = ("NIXFLEET_REPO_URL", "https://git.example.org/fleet.git");

pub(super) fn survey(repo: RepoState) -> Survey {
    Survey { repo, ..GIT }
}

pub(super) const GIT: Survey = Survey {
    repo: RepoState::Git,
    checked_out: true,
    above: None,
    leftovers: Vec::new(),
    owner: None,
    test_scripts: Vec::new(),
};

pub(super) fn argvs(plan: &Plan) -> Vec<Vec<&str>> {
    plan.steps.iter().map(|step| step.argv.iter().map(String::as_str).collect()).collect()
}

pub(super) fn names_of(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.name.as_str()).collect()
}

#[test]
fn one_job_at_a_time_is_let_in_and_a_stop_always_is() {
    let host = host(&[PLAIN]);
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
                let decision = admit(&host, &request(name, id), current);
                assert_eq!(decision, when_idle(Decision::Start, name), "{name} {id:?} during {state}");
            }
            let decision = admit(&host, &request("restart", id), current);
            let expected = when_idle(Decision::Control(Control::Restart), "restart");
            assert_eq!(decision, expected, "restart {id:?} during {state}");
            for name in ["stop", "kill"] {
                let decision = admit(&host, &request(name, id), current);
                assert_eq!(decision, Decision::Control(Control::Stop), "{name} {id:?} during {state}");
            }
            for name in ["", "bump-flake", "force-rebuild", "Pull", "pull ", "../pull", "pull\0", "exec-job"]
            {
                let decision = admit(&host, &request(name, id), current);
                assert_eq!(decision, Decision::Unknown, "{name:?} {id:?} during {state}");
            }
        }
    }
}

#[test]
fn two_requests_without_an_id_are_never_the_same_request() {
    let host = host(&[PLAIN]);
    let current = Current { command: "pull", command_id: None, pid: Some(7), accepted_at: AT };
    let request = CommandRequest { command: "pull".to_owned(), id: None };
    assert!(matches!(admit(&host, &request, Some(current)), Decision::Reject(_)));
}

#[test]
fn the_names_told_to_people_are_those_that_work() {
    let host = host(&[PLAIN]);
    let told = names(&host);
    assert!(told.iter().all(|name| kind(&host, name).is_some()), "{told:?}");
    assert!(told.contains(&"backup") && told.contains(&"switch") && told.contains(&"stop"), "{told:?}");
    let known = |name: &&&str| !matches!(plan(&host, name, &GIT), Err(PlanError::Unknown(_)));
    assert!(JOBS.iter().all(|name| known(&name)), "every job has a plan");
}

#[test]
fn questions_and_stops_are_let_in_beside_a_command_and_a_reboot_is_not() {
    let host = host(&[PLAIN]);
    let current = Current { command: "switch", command_id: Some("1"), pid: Some(7), accepted_at: AT };
    let decide = |name: &str, current| {
        admit(&host, &CommandRequest { command: name.to_owned(), id: Some("2".to_owned()) }, current)
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
fn a_reboot_is_the_operators_to_allow() {
    let refused = plan(&host(&[PLAIN]), "reboot", &GIT).unwrap_err();
    assert!(refused.to_string().contains("reboot.enable"), "{refused}");
    let plan = plan(&host(&[PLAIN, ("NIXFLEET_REBOOT__ENABLE", "1")]), "reboot", &Survey::default()).unwrap();
    assert_eq!(argvs(&plan), [REBOOT]);
}

#[test]
fn a_clone_moves_no_checkout_that_is_there() {
    let isolated = host(&[ISOLATED]);
    assert_eq!(plan(&isolated, "clone", &GIT).unwrap(), Plan::default());
    let cut_short = Survey { checked_out: false, ..GIT };
    for survey in [Survey::default(), survey(RepoState::Corrupt), cut_short] {
        let cloned = plan(&isolated, "clone", &survey).unwrap();
        assert_eq!(cloned, plan(&isolated, "pull", &survey).unwrap(), "{survey:?}");
    }
    assert_eq!(plan(&host(&[PLAIN]), "clone", &Survey::default()), Err(PlanError::NoUrl));
}

#[test]
fn only_what_replaces_the_system_counts_as_a_deployment() {
    let deploying: Vec<&str> = JOBS.iter().copied().filter(|name| deploys(name)).collect();
    assert_eq!(deploying, ["switch", "pull-switch", "rollback"]);
    assert!(!deploys("backup") && !deploys("restart"));
}

#[test]
fn a_switch_rebuilds_this_host_from_the_checkout() {
    let nixos = host(&[PLAIN]);
    let plan_of = |host: &Host| plan(host, "switch", &GIT).unwrap();
    assert_eq!(argvs(&plan_of(&nixos)), [["nixos-rebuild", "switch", "--flake", "/repo#web-1"]]);
    assert_eq!(argvs(&plan_of(&mac(&[PLAIN]))), [["home-manager", "switch", "--flake", "/repo#alice@web-1"]]);
    let isolated = host(&[ISOLATED]);
    assert_eq!(argvs(&plan_of(&isolated)), [["nixos-rebuild", "switch", "--flake", "/state/repo#web-1"]]);
}

#[test]
fn a_plain_folder_of_files_is_flake_enough_for_a_switch() {
    let plan = plan(&host(&[PLAIN]), "switch", &survey(RepoState::Foreign)).unwrap();
    assert_eq!(argvs(&plan), [["nixos-rebuild", "switch", "--flake", "/repo#web-1"]]);
}

#[test]
fn the_operator_chooses_the_attribute_the_program_and_more_arguments() {
    let settings = [
        PLAIN,
        ("NIXFLEET_REBUILD__FLAKE_ATTR", "other"),
        ("NIXFLEET_REBUILD__EXTRA_ARGS", r#"["--impure", "--option", "a b"]"#),
    ];
    let more = ["--impure", "--option", "a b"];
    let switch =
        |program: &[&'static str]| [[program, &["switch", "--flake", "/repo#other"], &more[..]].concat()];
    for name in ["switch", "pull-switch"] {
        let last = |host: &Host| {
            let mut plan = plan(host, name, &GIT).unwrap();
            plan.steps.drain(..plan.steps.len() - 1);
            plan
        };
        assert_eq!(argvs(&last(&host(&settings))), switch(&["nixos-rebuild"]), "{name}");
        assert_eq!(argvs(&last(&mac(&settings))), switch(&["home-manager"]), "{name}");
        let program = ("NIXFLEET_REBUILD__PROGRAM", r#"["sudo", "-n", "rebuild"]"#);
        let own = [&settings[..], &[program]].concat();
        assert_eq!(argvs(&last(&host(&own))), switch(&["sudo", "-n", "rebuild"]), "{name}");
        assert_eq!(argvs(&last(&mac(&own))), switch(&["sudo", "-n", "rebuild"]), "{name}");
    }
}

#[test]
fn a_rollback_needs_no_repository() {
    for repo in [RepoState::Missing, RepoState::Foreign, RepoState::Git] {
        let nixos = plan(&host(&[]), "rollback", &survey(repo)).unwrap();
        assert_eq!(argvs(&nixos), [["nixos-rebuild", "switch", "--rollback"]]);
        let mac = plan(&mac(&[]), "rollback", &survey(repo)).unwrap();
        assert_eq!(argvs(&mac), [["home-manager", "switch", "--rollback"]]);
    }
}

#[test]
fn a_rollback_takes_the_extra_arguments_as_every_rebuild_does() {
    let host = host(&[("NIXFLEET_REBUILD__EXTRA_ARGS", r#"["--impure"]"#)]);
    let plan = plan(&host, "rollback", &GIT).unwrap();
    assert_eq!(argvs(&plan), [["nixos-rebuild", "switch", "--rollback", "--impure"]]);
}

#[test]
fn every_rebuild_is_told_the_format_of_its_log_if_one_is_set_and_extra_arguments_have_the_last_word() {
    let settings = [
        PLAIN,
        ("NIXFLEET_REBUILD__LOG_FORMAT", "internal-json"),
        ("NIXFLEET_REBUILD__EXTRA_ARGS", r#"["-L"]"#),
    ];
    for name in ["switch", "pull-switch", "rollback"] {
        for host in [host(&settings), mac(&settings)] {
            let argv = plan(&host, name, &GIT).unwrap().steps.pop().unwrap().argv;
            assert_eq!(argv[argv.len() - 3..], ["--log-format", "internal-json", "-L"], "{name}: {argv:?}");
        }
    }
    for name in ["pull", "update"] {
        let steps = plan(&host(&settings), name, &GIT).unwrap().steps;
        assert!(steps.iter().all(|step| !step.argv.contains(&"--log-format".to_owned())), "{name}");
    }
}

#[test]
fn a_pull_switch_is_a_pull_and_then_a_switch() {
    for (host, repo) in [
        (host(&[PLAIN]), RepoState::Git),
        (host(&[ISOLATED]), RepoState::Git),
        (host(&[ISOLATED]), RepoState::Missing),
        (mac(&[ISOLATED]), RepoState::Git),
    ] {
        let both = plan(&host, "pull-switch", &survey(repo)).unwrap();
        let pull = plan(&host, "pull", &survey(repo)).unwrap();
        let switch = plan(&host, "switch", &GIT).unwrap();
        assert_eq!(both.private_dir, pull.private_dir);
        assert_eq!(both.steps, [pull.steps, switch.steps].concat());
    }
}

#[test]
fn a_test_runs_each_script_in_the_checkout_and_no_script_is_no_error() {
    let host = host(&[PLAIN]);
    let scripts = ["/repo/hosts/web-1/tests/T01 a.sh", "/repo/hosts/web-1/tests/T02.sh"];
    let survey = Survey { test_scripts: scripts.map(PathBuf::from).into(), ..GIT };
    let plan_of = |survey: &Survey| plan(&host, "test", survey).unwrap();
    let tests = plan_of(&survey);
    assert_eq!(argvs(&tests), scripts.map(|script| [script]));
    assert_eq!(names_of(&tests), ["T01 a.sh", "T02.sh"]);
    for step in &tests.steps {
        assert!(step.test && !step.activation);
        assert_eq!(step.cwd.as_deref(), Some(Path::new("/repo")));
    }
    assert!(plan_of(&GIT).steps.is_empty());
}

#[test]
fn an_update_runs_in_the_checkout() {
    let plan = plan(&host(&[PLAIN]), "update", &GIT).unwrap();
    assert_eq!(argvs(&plan), [["nix", "flake", "update"]]);
    assert_eq!(plan.steps[0].cwd.as_deref(), Some(Path::new("/repo")));
}

#[test]
fn what_needs_a_repository_says_what_is_missing() {
    let needing = ["pull", "switch", "pull-switch", "test", "update"];
    for name in needing {
        let none = plan(&host(&[]), name, &GIT).unwrap_err();
        assert_eq!(none, PlanError::NoRepo, "{name}");
        assert!(none.to_string().contains("repo.url"), "{none}");

        let gone = plan(&host(&[PLAIN]), name, &survey(RepoState::Missing)).unwrap_err();
        assert_eq!(gone, PlanError::NoCheckout("/repo".into()), "{name}");
        assert!(gone.to_string().contains("/repo is gone"), "{gone}");
    }
    // An isolated checkout that is not there yet is for `pull` to make.
    for (name, makes_it) in [("pull", true), ("pull-switch", true), ("switch", false), ("test", false)] {
        let planned = plan(&host(&[ISOLATED]), name, &survey(RepoState::Missing));
        assert_eq!(planned.is_ok(), makes_it, "{name}");
    }
}

#[test]
fn a_command_of_the_operators_own_runs_as_written() {
    let host = host(&[]);
    let backup = plan(&host, "backup", &survey(RepoState::Missing)).unwrap();
    assert_eq!(argvs(&backup), [["/usr/bin/restic", "backup", "/home/a b", "$HOME; rm -rf /"]], "no shell");
    assert_eq!(names_of(&backup), ["restic"]);
    assert_eq!(backup.timeout, Some(Duration::from_secs(600)));
    assert!(!backup.unstoppable);
    let step = &backup.steps[0];
    assert_eq!(step.cwd.as_deref(), Some(Path::new("/srv")));
    assert_eq!(step.env, BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]));
    assert!(!step.activation && !step.test);

    let deploy = plan(&host, "deploy-all", &survey(RepoState::Missing)).unwrap();
    assert_eq!(argvs(&deploy), [&["nix", "flake", "update"][..], &["./activate", "now"]]);
    assert_eq!(deploy.steps.iter().map(|step| step.activation).collect::<Vec<_>>(), [false, true]);
    assert_eq!((deploy.timeout, deploy.unstoppable, deploy.private_dir), (None, true, None));
}

#[test]
fn a_name_that_is_not_in_the_table_has_no_plan() {
    for name in ["", "stop", "restart", "bump-flake", "backup2", "../backup"] {
        let error = plan(&host(&[PLAIN]), name, &GIT).unwrap_err();
        assert_eq!(error, PlanError::Unknown(name.to_owned()));
    }
}
