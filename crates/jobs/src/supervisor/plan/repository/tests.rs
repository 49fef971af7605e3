//! The repository as tables: what becomes of it, as whom, and what git gets to see.

use super::*;
use crate::spec::User;
use crate::supervisor::plan::tests::{GIT, ISOLATED, PLAIN, URL, argvs, host, isolated, names_of, preflight};
use crate::supervisor::plan::{TestScripts, plan};

#[test]
fn a_plain_pull_pulls_in_the_folder_and_touches_nothing_else() {
    let host = host(&[PLAIN, |settings| settings.repo.branch = "other".to_owned()]);
    let plan = plan(&host, "pull", &GIT).unwrap();
    assert_eq!(argvs(&plan), [["git", "-C", "/repo", "pull", "--progress"]]);
    assert_eq!((plan.private_dir, plan.timeout, plan.unstoppable), (None, None, false));
}

#[test]
fn an_isolated_pull_makes_the_clone_equal_to_the_branch() {
    let host = host(&[ISOLATED, |settings| settings.repo.branch = "stable".to_owned()]);
    let plan = plan(&host, "pull", &GIT).unwrap();
    let git = ["git", "-C", "/state/repo"];
    let expected = [
        [
            &git[..],
            &[
                "fetch",
                "--progress",
                "--no-recurse-submodules",
                "--",
                URL,
                "+refs/heads/stable:refs/remotes/origin/stable",
            ],
        ]
        .concat(),
        [&git[..], &["config", "--replace-all", "remote.origin.url", URL]].concat(),
        [&git[..], &["reset", "--hard", "refs/remotes/origin/stable"]].concat(),
        [&git[..], &["clean", "-fd"]].concat(),
    ];
    assert_eq!(argvs(&plan), expected);
    assert_eq!(names_of(&plan), ["fetch", "origin", "reset", "clean"], "dashboards show four steps");
    assert_eq!(plan.private_dir.as_deref(), Some(Path::new("/state/repo")));
    assert_eq!((plan.set_aside, plan.leftovers), (None, Vec::new()));
}

const BOTH: crate::supervisor::plan::tests::Change =
    |settings| (settings.repo.submodules, settings.repo.lfs) = (true, true);

#[test]
fn submodules_and_files_in_lfs_are_fetched_behind_the_rest_where_the_settings_ask_for_them() {
    let more = ["submodule-sync", "submodules", "submodule-clean", "lfs-install", "lfs"];
    for (repo, before) in
        [(RepoState::Git, &["fetch", "origin", "reset", "clean"][..]), (RepoState::Missing, &["clone"])]
    {
        let plan = plan(&host(&[ISOLATED, BOTH]), "pull", &preflight(repo)).unwrap();
        assert_eq!(names_of(&plan), [before, &more].concat(), "{repo:?}");
        assert!(plan.steps.iter().all(|step| step.env == plan.steps[0].env && step.argv[0] == "git"));
        assert_eq!(plan.steps[0].env["GIT_LFS_FORCE_PROGRESS"], "1");
    }
    let planned = plan(&host(&[ISOLATED, BOTH]), "pull", &GIT).unwrap();
    assert_eq!(planned.steps[3].argv[3..], ["clean", "-ffd"], "a former submodule is a repository");
    // In somebody's folder nothing is removed, and no setting is changed.
    let theirs = plan(&host(&[PLAIN, BOTH]), "pull", &alices()).unwrap();
    assert_eq!(names_of(&theirs), ["pull", "submodule-sync", "submodules", "lfs"]);
    assert!(theirs.steps.iter().all(|step| step.user == alices().owner));
}

#[test]
fn a_flake_with_submodules_or_lfs_is_named_as_a_repository() {
    type Set = fn(&mut Settings);
    const SPACE: Set = |settings| settings.repo.dir = Some("/a b/c#d".into());
    let flake = |changes: &[Set], state| {
        let settings = host(changes);
        let planned = plan(&settings, "switch", &preflight(state)).unwrap();
        planned.steps[0].argv[3].clone()
    };
    for (changes, state, expected) in [
        (&[PLAIN][..], RepoState::Git, "/repo#web-1"),
        (&[PLAIN, BOTH], RepoState::Git, "git+file:///repo?submodules=1&lfs=1#web-1"),
        (&[PLAIN, |settings| settings.repo.lfs = true], RepoState::Git, "git+file:///repo?lfs=1#web-1"),
        (
            &[SPACE, |settings| settings.repo.submodules = true],
            RepoState::Git,
            "git+file:///a%20b/c%23d?submodules=1#web-1",
        ),
        // A folder of files is no repository.
        (&[PLAIN, BOTH], RepoState::Foreign, "/repo#web-1"),
    ] {
        assert_eq!(flake(changes, state), expected);
    }
    let settings = host(&[ISOLATED, BOTH]);
    let planned = plan(&settings, "pull-switch", &preflight(RepoState::Missing)).unwrap();
    assert_eq!(planned.steps.last().unwrap().argv[3], "git+file:///state/repo?submodules=1&lfs=1#web-1");
}

#[test]
fn branches_in_the_way_are_forgotten_before_the_fetch_and_only_in_a_clone() {
    let host = host(&[ISOLATED, |settings| settings.repo.branch = "main/prod".to_owned()]);
    let blocking = vec!["origin/main".to_owned(), "origin/-x".to_owned()];
    let before = Preflight { blocking, ..GIT };
    let planned = plan(&host, "pull", &before).unwrap();
    assert_eq!(names_of(&planned), ["branch", "fetch", "origin", "reset", "clean"]);
    let forget = ["branch", "--delete", "--force", "--remotes", "--", "origin/main", "origin/-x"];
    assert_eq!(argvs(&planned)[0], [&["git", "-C", "/state/repo"][..], &forget].concat());
    assert_eq!(planned.steps[0].env, planned.steps[1].env);
    for repo in [RepoState::Missing, RepoState::Corrupt] {
        let before = Preflight { blocking: vec!["origin/main".to_owned()], ..preflight(repo) };
        assert_eq!(names_of(&plan(&host, "pull", &before).unwrap()), ["clone"], "{repo:?}");
    }
}

#[test]
fn an_isolated_pull_clones_what_is_missing_into_a_private_folder() {
    let host = host(&[ISOLATED, PLAIN]);
    let plan = plan(&host, "pull", &preflight(RepoState::Missing)).unwrap();
    assert_eq!(
        argvs(&plan),
        [["git", "-C", "/repo", "clone", "--progress", "--branch", "main", "--", URL, "."]]
    );
    assert_eq!(plan.private_dir.as_deref(), Some(Path::new("/repo")), "0700 before a secret is in it");
}

#[test]
fn git_never_waits_for_a_password_and_nothing_asks_to_trust_any_host() {
    for (host, repo) in [
        (host(&[PLAIN]), RepoState::Git),
        (host(&[ISOLATED]), RepoState::Git),
        (host(&[ISOLATED]), RepoState::Missing),
    ] {
        for step in plan(&host, "pull", &preflight(repo)).unwrap().steps {
            assert_eq!(step.env.get("GIT_TERMINAL_PROMPT").map(String::as_str), Some("0"), "{step:?}");
            assert!(
                !step.env.contains_key("GIT_SSH_COMMAND"),
                "no key, so the user's own settings: {step:?}"
            );
            assert!(!step.activation && !step.test);
        }
    }
}

#[test]
fn a_key_file_is_quoted_for_the_shell_that_git_gives_it_to() {
    let host = host(&[ISOLATED, |settings| settings.repo.ssh_key = Some("/keys/it's a $(key)".into())]);
    for repo in [RepoState::Git, RepoState::Missing] {
        for step in plan(&host, "pull", &preflight(repo)).unwrap().steps {
            let ssh = &step.env["GIT_SSH_COMMAND"];
            assert!(ssh.starts_with(r"ssh -i '/keys/it'\''s a $(key)' "), "{ssh}");
            assert!(ssh.contains("UserKnownHostsFile='/state/known_hosts'"), "{ssh}");
            assert!(ssh.contains("StrictHostKeyChecking=accept-new"), "{ssh}");
            assert!(!ssh.contains("StrictHostKeyChecking=no"), "{ssh}");
        }
    }
}

#[test]
fn a_shell_reads_a_quoted_path_as_the_path() {
    for path in ["/plain", "/with space", "/it's", "/$(id)`id`\\\"\n*?;&|<>", "/''''"] {
        let script = format!("printf %s {}", shell_quoted(Path::new(path)));
        let output = std::process::Command::new("sh").arg("-c").arg(script).output().unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), path);
    }
}

#[test]
fn a_pull_never_touches_files_that_are_no_checkout() {
    for setting in [PLAIN, ISOLATED] {
        for name in ["pull", "pull-switch"] {
            let error = plan(&host(&[setting]), name, &preflight(RepoState::Foreign)).unwrap_err();
            assert!(matches!(error, PlanError::Foreign(_)), "{name}: {error:?}");
        }
    }
}

#[test]
fn a_clone_that_git_denies_is_moved_away_and_made_anew() {
    let host = host(&[ISOLATED]);
    for name in ["pull", "pull-switch"] {
        let plan = plan(&host, name, &preflight(RepoState::Corrupt)).unwrap();
        assert_eq!(plan.set_aside.as_deref(), Some(Path::new("/state/repo")), "{name}");
        assert_eq!(plan.private_dir, plan.set_aside, "{name}");
        assert_eq!(names_of(&plan)[0], "clone", "{name}");
    }
    // In the folder of another user, git itself reports the problem.
    let plan = plan(&self::host(&[PLAIN]), "pull", &preflight(RepoState::Corrupt)).unwrap();
    assert_eq!((names_of(&plan), plan.set_aside.as_ref()), (vec!["pull"], None));
}

#[test]
fn leftovers_are_removed_from_a_clone_of_the_agents_own_alone() {
    let leftovers = vec![PathBuf::from("/x/.git/index.lock")];
    let preflight = || Preflight { leftovers: leftovers.clone(), ..GIT };
    assert_eq!(plan(&host(&[ISOLATED]), "pull", &preflight()).unwrap().leftovers, leftovers);
    assert_eq!(plan(&host(&[PLAIN]), "pull", &preflight()).unwrap().leftovers, Vec::<PathBuf>::new());
}

fn alices() -> Preflight {
    let alice = User {
        uid: 1000,
        gid: 100,
        groups: vec![100, 10],
        name: Some("alice".to_owned()),
        home: Some("/home/alice".into()),
    };
    let run = vec!["/repo/hosts/web-1/tests/T01.sh".into()];
    Preflight { owner: Some(alice), tests: TestScripts { run, ..TestScripts::default() }, ..GIT }
}

#[test]
fn what_writes_into_somebodys_folder_runs_as_they_and_what_changes_the_system_as_root() {
    let (host, preflight) = (host(&[PLAIN]), alices());
    for (command, step, theirs) in [
        ("pull", 0, true),
        ("update", 0, true),
        ("switch", 0, false),
        ("pull-switch", 0, true),
        ("pull-switch", 1, false),
        ("test", 0, false),
    ] {
        let step = plan(&host, command, &preflight).unwrap().steps.remove(step);
        let env = |name: &str| step.env.get(name).map(String::as_str);
        if theirs {
            assert_eq!(step.user, preflight.owner, "{command}");
            assert_eq!(
                [env("HOME"), env("USER"), env("LOGNAME")],
                [Some("/home/alice"), Some("alice"), Some("alice")]
            );
            assert_eq!((step.cwd.as_deref(), env("SUDO_UID")), (Some(Path::new("/repo")), None));
        } else {
            assert_eq!(
                (step.user.as_ref(), env("HOME"), env("SUDO_UID")),
                (None, None, Some("1000")),
                "{command}"
            );
        }
    }
    let rollback = plan(&host, "rollback", &preflight).unwrap().steps.remove(0);
    assert_eq!((rollback.user, rollback.env.len()), (None, 0), "reads no folder");
}

#[test]
fn a_folder_of_the_agents_own_user_changes_nothing() {
    for command in ["pull", "update", "switch", "pull-switch"] {
        for step in plan(&host(&[PLAIN]), command, &GIT).unwrap().steps {
            assert_eq!((&step.user, step.env.get("SUDO_UID"), step.env.get("HOME")), (&None, None, None));
        }
    }
}

#[test]
fn an_owner_that_the_system_does_not_know_gets_nobodys_home() {
    let unknown = User { uid: 4242, gid: 4242, groups: Vec::new(), name: None, home: None };
    let preflight = Preflight { owner: Some(unknown), ..GIT };
    let step = plan(&host(&[PLAIN]), "pull", &preflight).unwrap().steps.remove(0);
    assert_eq!((step.env["HOME"].as_str(), step.env.get("USER")), ("/", None));
}

#[test]
fn an_owner_has_known_hosts_of_their_own() {
    let host = host(&[PLAIN, |settings| settings.repo.ssh_key = Some("/keys/deploy".into())]);
    let ssh = |preflight: &Preflight| {
        plan(&host, "pull", preflight).unwrap().steps.remove(0).env.remove("GIT_SSH_COMMAND")
    };
    assert!(ssh(&GIT).unwrap().contains("UserKnownHostsFile='/state/known_hosts'"));
    let theirs = ssh(&alices()).unwrap();
    assert!(!theirs.contains("UserKnownHostsFile") && theirs.contains("BatchMode=yes"), "{theirs}");
}

#[test]
fn git_looks_at_no_repository_above_and_asks_nobody() {
    let preflight = |repo| Preflight { repo, above: Some("/state".into()), ..GIT };
    for (host, repo) in [
        (host(&[PLAIN]), RepoState::Git),
        (host(&[ISOLATED]), RepoState::Git),
        (host(&[ISOLATED]), RepoState::Missing),
    ] {
        for step in plan(&host, "pull", &preflight(repo)).unwrap().steps {
            let env = |name: &str| step.env.get(name).map(String::as_str);
            assert_eq!(env("GIT_CEILING_DIRECTORIES"), Some("/state"));
            let asking = ["GIT_TERMINAL_PROMPT", "GIT_ASKPASS", "SSH_ASKPASS_REQUIRE"].map(env);
            assert_eq!(asking, [Some("0"), Some(""), Some("never")]);
            assert_eq!(
                env("GIT_CONFIG_COUNT").is_some(),
                host.repo.url.is_some(),
                "settings of ours for our clone"
            );
        }
    }
}

#[test]
fn a_password_in_the_address_is_in_no_argument_and_in_no_file_of_the_job() {
    let host = host(&[|settings| isolated(settings, "https://me:s%2Fcret@git.example.org/fleet.git")]);
    for repo in [RepoState::Missing, RepoState::Git] {
        let plan = plan(&host, "pull", &preflight(repo)).unwrap();
        for step in &plan.steps {
            let written = serde_json::to_string(step).unwrap() + &format!("{step:?}");
            assert!(!written.contains("s/cret") && !written.contains("s%2Fcret"), "{written}");
            assert_eq!(step.secrets.0["NIXFLEET_GIT_PASSWORD"], "s/cret");
        }
        assert!(plan.steps[0].argv.iter().any(|arg| arg == "https://git.example.org/fleet.git"));
        let env = &plan.steps[0].env;
        let count: usize = env["GIT_CONFIG_COUNT"].parse().unwrap();
        let keys = (0..count).map(|n| env[&format!("GIT_CONFIG_KEY_{n}")].as_str());
        assert_eq!(keys.filter(|key| *key == "credential.https://git.example.org.helper").count(), 2);
    }
}
