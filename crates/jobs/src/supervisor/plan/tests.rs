//! What each name runs, as tables.

use nixfleet_os::address::Address;

use super::*;
use crate::settings::{CustomCommand, CustomStep, Rebuild, Repo};

/// A host with these changes, two commands of its own and nothing of the machine the test runs on.
pub(in crate::supervisor) fn host(changes: &[Change]) -> Settings {
    let step = |argv: &[&str], activation| CustomStep { argv: words(argv), activation };
    let backup = CustomCommand {
        steps: vec![step(&["/usr/bin/restic", "backup", "/home/a b", "$HOME; rm -rf /"], false)],
        timeout: Some(Duration::from_secs(600)),
        killable: true,
        cwd: Some("/srv".into()),
        env: BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]),
        description: String::new(),
    };
    let deploy_all = CustomCommand {
        steps: vec![step(&["nix", "flake", "update"], false), step(&["./activate", "now"], true)],
        timeout: None,
        killable: false,
        cwd: None,
        env: BTreeMap::new(),
        description: String::new(),
    };
    let mut settings = Settings {
        hostname: "web-1".to_owned(),
        host_type: "nixos",
        user: "alice".to_owned(),
        repo: Repo {
            url: None,
            dir: None,
            branch: "main".to_owned(),
            ssh_key: None,
            submodules: false,
            lfs: false,
        },
        rebuild: Rebuild {
            program: None,
            flake_attr: None,
            extra_args: Vec::new(),
            log_format: None,
            env: Secrets::default(),
            netrc_file: None,
            access_tokens_file: None,
        },
        rollback: crate::settings::Rollback {
            confirm_timeout: None,
            hold: Duration::from_secs(10),
            checks: Vec::new(),
        },
        commands: BTreeMap::from([("backup".to_owned(), backup), ("deploy-all".to_owned(), deploy_all)]),
        reboot: false,
        state_dir: "/state".into(),
        dir: "/state/jobs".into(),
        log_limit: 1 << 20,
        own_units: false,
        stop_grace: Duration::from_secs(10),
        keep: 20,
        remarks: Vec::new(),
        proc: "/proc".into(),
        system: crate::settings::SystemPaths {
            running: "/run/current-system".into(),
            profile: "/nix/var/nix/profiles/system".into(),
            lock: "/run/nixos/switch-to-configuration.lock".into(),
            boot: "/boot".into(),
            cgroups: "/sys/fs/cgroup".into(),
            systemd: "/run/systemd".into(),
            efi_variables: "/sys/firmware/efi/efivars".into(),
        },
        preflight: crate::settings::FreeSpace {
            nix_bytes: 0,
            nix_inodes: 0,
            state_bytes: 0,
            boot_bytes: Some(0),
        },
    };
    changes.iter().for_each(|change| change(&mut settings));
    settings
}

pub(in crate::supervisor) type Change = fn(&mut Settings);

pub(super) fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

pub(super) fn mac(changes: &[Change]) -> Settings {
    Settings { host_type: "macos", ..host(changes) }
}

pub(super) const PLAIN: Change = |settings| settings.repo.dir = Some("/repo".into());
pub(super) const ISOLATED: Change = |settings| isolated(settings, URL);

pub(super) const URL: &str = "https://git.example.org/fleet.git";

pub(in crate::supervisor) fn isolated(settings: &mut Settings, url: &str) {
    settings.repo.url = Some(Address::new(url.to_owned()));
    settings.repo.dir = Some("/state/repo".into());
}

pub(super) fn preflight(repo: RepoState) -> Preflight {
    Preflight { repo, ..GIT }
}

pub(super) const GIT: Preflight = Preflight {
    repo: RepoState::Git,
    checked_out: true,
    above: None,
    leftovers: Vec::new(),
    blocking: Vec::new(),
    owner: None,
    tests: TestScripts { run: Vec::new(), not_run: Vec::new() },
    unreadable: Vec::new(),
};

pub(super) fn argvs(plan: &Plan) -> Vec<Vec<&str>> {
    plan.steps.iter().map(|step| step.argv.iter().map(String::as_str).collect()).collect()
}

pub(super) fn names_of(plan: &Plan) -> Vec<&str> {
    plan.steps.iter().map(|step| step.name.as_str()).collect()
}

#[test]
fn a_reboot_is_the_operators_to_allow() {
    let refused = plan(&host(&[PLAIN]), "reboot", &GIT).unwrap_err();
    assert!(refused.to_string().contains("reboot.enable"), "{refused}");
    let plan =
        plan(&host(&[PLAIN, |settings| settings.reboot = true]), "reboot", &Preflight::default()).unwrap();
    assert_eq!(argvs(&plan), [REBOOT]);
}

#[test]
fn a_clone_moves_no_checkout_that_is_there() {
    let isolated = host(&[ISOLATED]);
    assert_eq!(plan(&isolated, "clone", &GIT).unwrap(), Plan::default());
    let cut_short = Preflight { checked_out: false, ..GIT };
    for preflight in [Preflight::default(), preflight(RepoState::Corrupt), cut_short] {
        let cloned = plan(&isolated, "clone", &preflight).unwrap();
        assert_eq!(cloned, plan(&isolated, "pull", &preflight).unwrap(), "{preflight:?}");
    }
    assert_eq!(plan(&host(&[PLAIN]), "clone", &Preflight::default()), Err(PlanError::NoUrl));
}

#[test]
fn with_a_way_back_a_switch_builds_first() {
    let tried: Change = |settings| settings.rollback.confirm_timeout = Some(Duration::from_secs(180));
    for (command, settings) in [("switch", host(&[PLAIN, tried])), ("pull-switch", host(&[ISOLATED, tried]))]
    {
        let plain = Settings { rollback: host(&[]).rollback, ..settings.clone() };
        let (tried, plain) = (plan(&settings, command, &GIT).unwrap(), plan(&plain, command, &GIT).unwrap());
        assert_eq!(tried.untried.as_deref(), plain.steps.last(), "{command}: without a connection");
        assert_eq!(plain.untried, None);
        let build = tried.steps.last().unwrap();
        let mut argv = plain.steps.last().unwrap().argv.clone();
        argv[1] = "build".to_owned();
        assert_eq!(build.argv, argv);
        assert_eq!(names_of(&tried), names_of(&plain));
    }
    let not_nixos = plan(&mac(&[PLAIN, tried]), "switch", &GIT).unwrap();
    assert_eq!((not_nixos.steps[0].argv[1].as_str(), not_nixos.untried), ("switch", None));
    let other = plan(&host(&[PLAIN, tried]), "rollback", &GIT).unwrap();
    assert_eq!(other.untried, None);
}

#[test]
fn a_switch_rebuilds_this_host_from_the_checkout() {
    let nixos = host(&[PLAIN]);
    let plan_of = |settings: &Settings| plan(settings, "switch", &GIT).unwrap();
    assert_eq!(argvs(&plan_of(&nixos)), [["nixos-rebuild", "switch", "--flake", "/repo#web-1"]]);
    assert_eq!(argvs(&plan_of(&mac(&[PLAIN]))), [["home-manager", "switch", "--flake", "/repo#alice@web-1"]]);
    let isolated = host(&[ISOLATED]);
    assert_eq!(argvs(&plan_of(&isolated)), [["nixos-rebuild", "switch", "--flake", "/state/repo#web-1"]]);
}

#[test]
fn a_boot_is_a_switch_with_another_action() {
    let settings: [Change; 2] = [PLAIN, |settings| settings.rebuild.flake_attr = Some("other".to_owned())];
    let boot = plan(&host(&settings), "boot", &GIT).unwrap();
    assert_eq!(argvs(&boot), [["nixos-rebuild", "boot", "--flake", "/repo#other"]]);
    assert_eq!(names_of(&boot), ["boot"]);
    assert_eq!(plan(&mac(&[PLAIN]), "boot", &GIT), Err(PlanError::NoBoot));
    let program: Change = |settings| settings.rebuild.program = Some(words(&["rebuild"]));
    assert_eq!(
        argvs(&plan(&mac(&[PLAIN, program]), "boot", &GIT).unwrap()),
        [["rebuild", "boot", "--flake", "/repo#alice@web-1"]]
    );
}

#[test]
fn the_activation_is_a_child_where_no_switch_restarts_the_job() {
    const OWN_UNITS: Change = |settings| settings.own_units = true;
    for (settings, expected) in [
        (host(&[PLAIN]), None),
        (host(&[PLAIN, OWN_UNITS]), Some("1")),
        (mac(&[PLAIN, OWN_UNITS]), None),
        (
            host(&[PLAIN, OWN_UNITS, |settings| {
                settings.rebuild.program = Some(words(&["sudo", "rebuild"]))
            }]),
            Some("1"),
        ),
    ] {
        for name in ["switch", "pull-switch", "rollback", "boot"] {
            if name == "boot" && settings.host_type == "macos" {
                continue;
            }
            let steps = plan(&settings, name, &GIT).unwrap().steps;
            let (last, others) = steps.split_last().unwrap();
            let value = |step: &Step| step.env.get("NIXOS_REBUILD_NO_SYSTEMD_RUN").cloned();
            assert_eq!(value(last).as_deref(), expected, "{name}");
            assert!(others.iter().all(|step| value(step).is_none()), "{name}");
        }
    }
}

#[test]
fn a_plain_folder_of_files_is_flake_enough_for_a_switch() {
    let plan = plan(&host(&[PLAIN]), "switch", &preflight(RepoState::Foreign)).unwrap();
    assert_eq!(argvs(&plan), [["nixos-rebuild", "switch", "--flake", "/repo#web-1"]]);
}

#[test]
fn the_operator_chooses_the_attribute_the_program_and_more_arguments() {
    let settings: [Change; 3] = [
        PLAIN,
        |settings| settings.rebuild.flake_attr = Some("other".to_owned()),
        |settings| settings.rebuild.extra_args = words(&["--impure", "--option", "a b"]),
    ];
    let more = ["--impure", "--option", "a b"];
    let switch =
        |program: &[&'static str]| [[program, &["switch", "--flake", "/repo#other"], &more[..]].concat()];
    for name in ["switch", "pull-switch"] {
        let last = |settings: &Settings| {
            let mut plan = plan(settings, name, &GIT).unwrap();
            plan.steps.drain(..plan.steps.len() - 1);
            plan
        };
        assert_eq!(argvs(&last(&host(&settings))), switch(&["nixos-rebuild"]), "{name}");
        assert_eq!(argvs(&last(&mac(&settings))), switch(&["home-manager"]), "{name}");
        let program: Change = |settings| settings.rebuild.program = Some(words(&["sudo", "-n", "rebuild"]));
        let own = [&settings[..], &[program]].concat();
        assert_eq!(argvs(&last(&host(&own))), switch(&["sudo", "-n", "rebuild"]), "{name}");
        assert_eq!(argvs(&last(&mac(&own))), switch(&["sudo", "-n", "rebuild"]), "{name}");
    }
}

#[test]
fn a_rollback_needs_no_repository() {
    for repo in [RepoState::Missing, RepoState::Foreign, RepoState::Git] {
        let nixos = plan(&host(&[]), "rollback", &preflight(repo)).unwrap();
        assert_eq!(argvs(&nixos), [["nixos-rebuild", "switch", "--rollback"]]);
        let mac = plan(&mac(&[]), "rollback", &preflight(repo)).unwrap();
        assert_eq!(argvs(&mac), [["home-manager", "switch", "--rollback"]]);
    }
}

#[test]
fn a_rollback_takes_the_extra_arguments_as_every_rebuild_does() {
    let host = host(&[|settings| settings.rebuild.extra_args = words(&["--impure"])]);
    let plan = plan(&host, "rollback", &GIT).unwrap();
    assert_eq!(argvs(&plan), [["nixos-rebuild", "switch", "--rollback", "--impure"]]);
}

#[test]
fn every_rebuild_is_told_the_format_of_its_log_if_one_is_set_and_extra_arguments_have_the_last_word() {
    let settings: [Change; 3] = [
        PLAIN,
        |settings| settings.rebuild.log_format = Some("internal-json".to_owned()),
        |settings| settings.rebuild.extra_args = words(&["-L"]),
    ];
    for name in ["switch", "pull-switch", "rollback", "boot"] {
        for host in [host(&settings), mac(&settings)]
            .into_iter()
            .filter(|host| name != "boot" || host.host_type == "nixos")
        {
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
        let both = plan(&host, "pull-switch", &preflight(repo)).unwrap();
        let pull = plan(&host, "pull", &preflight(repo)).unwrap();
        let switch = plan(&host, "switch", &GIT).unwrap();
        assert_eq!(both.private_dir, pull.private_dir);
        assert_eq!(both.steps, [pull.steps, switch.steps].concat());
    }
}

#[test]
fn a_test_runs_each_script_in_the_checkout_and_no_script_is_no_error() {
    let host = host(&[PLAIN]);
    let scripts = ["/repo/hosts/web-1/tests/T01 a.sh", "/repo/hosts/web-1/tests/T02.sh"];
    let not_run = vec![("T03.sh".to_owned(), NotRun::NotExecutable)];
    let tests = TestScripts { run: scripts.map(PathBuf::from).into(), not_run };
    let preflight = Preflight { tests, ..GIT };
    let plan_of = |preflight: &Preflight| plan(&host, "test", preflight).unwrap();
    let tests = plan_of(&preflight);
    assert_eq!(argvs(&tests), scripts.map(|script| [script]));
    assert_eq!(names_of(&tests), ["T01 a.sh", "T02.sh"]);
    for step in &tests.steps {
        assert!(step.test && !step.activation);
        assert_eq!(step.cwd.as_deref(), Some(Path::new("/repo")));
    }
    assert_eq!(tests.remarks.len(), 1, "the one that is not run: {:?}", tests.remarks);
    assert!(plan_of(&GIT).steps.is_empty() && plan_of(&GIT).remarks.is_empty());
}

#[test]
fn an_update_runs_in_the_checkout() {
    let plan = plan(&host(&[PLAIN]), "update", &GIT).unwrap();
    assert_eq!(argvs(&plan), [["nix", "flake", "update"]]);
    assert_eq!(plan.steps[0].cwd.as_deref(), Some(Path::new("/repo")));
}

#[test]
fn what_needs_a_repository_says_what_is_missing() {
    let needing = ["pull", "switch", "pull-switch", "boot", "test", "update"];
    for name in needing {
        let none = plan(&host(&[]), name, &GIT).unwrap_err();
        assert_eq!(none, PlanError::NoRepo, "{name}");
        assert!(none.to_string().contains("repo.url"), "{none}");

        let gone = plan(&host(&[PLAIN]), name, &preflight(RepoState::Missing)).unwrap_err();
        assert_eq!(gone, PlanError::NoCheckout("/repo".into()), "{name}");
        assert!(gone.to_string().contains("/repo is gone"), "{gone}");
    }
    // An isolated checkout that is not there yet is for `pull` to make.
    for (name, makes_it) in [("pull", true), ("pull-switch", true), ("switch", false), ("test", false)] {
        let planned = plan(&host(&[ISOLATED]), name, &preflight(RepoState::Missing));
        assert_eq!(planned.is_ok(), makes_it, "{name}");
    }
}

#[test]
fn a_command_of_the_operators_own_runs_as_written() {
    let host = host(&[]);
    let backup = plan(&host, "backup", &preflight(RepoState::Missing)).unwrap();
    assert_eq!(argvs(&backup), [["/usr/bin/restic", "backup", "/home/a b", "$HOME; rm -rf /"]], "no shell");
    assert_eq!(names_of(&backup), ["restic"]);
    assert_eq!(backup.timeout, Some(Duration::from_secs(600)));
    assert!(!backup.unstoppable);
    let step = &backup.steps[0];
    assert_eq!(step.cwd.as_deref(), Some(Path::new("/srv")));
    assert_eq!(step.env, BTreeMap::from([("LANG".to_owned(), "C.UTF-8".to_owned())]));
    assert!(!step.activation && !step.test);

    let deploy = plan(&host, "deploy-all", &preflight(RepoState::Missing)).unwrap();
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

#[test]
fn every_built_in_job_has_a_plan() {
    let host = host(&[PLAIN]);
    let known = |name: &&&str| !matches!(plan(&host, name, &GIT), Err(PlanError::Unknown(_)));
    assert!(JOBS.iter().all(|name| known(&name)));
}
