//! Rejection of concurrent commands, and the built-in commands with real git.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nixfleet_protocol::{AgentMessage, StatusKind};

use crate::rig::{AgentProcess, Fleet, HOST, LIMIT, in_nats, job_folder};

#[tokio::test]
async fn t02_scenario_7_concurrent_command_rejection() {
    let fleet = Fleet::start().await.held("long", "echo done");
    let _agent = fleet.agent().await;
    fleet.send("long");
    let pid = fleet.running("long").await;
    fleet.send("test");
    let rejected = fleet.wait("a rejection", |fleet| fleet.rejections().pop()).await;
    assert_eq!(rejected.reason, "command already running");
    assert_eq!(rejected.current_command.as_deref(), Some("long"));
    assert_eq!(rejected.current_pid, Some(pid));
    fleet.let_go();
    let status = fleet.wait("the first command's status", |fleet| fleet.statuses().pop()).await;
    assert_eq!((status.command.as_str(), status.exit_code), ("long", 0), "the first command went on");
    assert_eq!(fleet.lines().last().unwrap().1, "done");
}

#[tokio::test]
async fn fifty_pairs_in_one_packet_fifty_run_and_fifty_are_rejected() {
    let fleet = Fleet::start().await.script("quick", "true");
    let _agent = fleet.agent().await;
    for n in 0..50 {
        let ids = [format!("{n}-first"), format!("{n}-second")];
        if in_nats::is_on() {
            // Two requests, one behind the other.
            ids.iter().for_each(|id| fleet.dashboard.send_command(HOST, "quick", Some(id)).unwrap());
        } else {
            let command = |id| format!(r#"{{"type":"command","payload":{{"command":"quick","id":"{id}"}}}}"#);
            fleet.dashboard.send_many(HOST, ids.iter().map(command).collect()).unwrap();
        }
        fleet
            .wait(&format!("pair {n}"), |fleet| {
                (fleet.statuses().len() == n + 1 && fleet.rejections().len() == n + 1).then_some(())
            })
            .await;
        let rejected = fleet.rejections().pop().unwrap();
        assert_eq!(rejected.command_id, Some(format!("{n}-second")));
    }
    assert!(fleet.statuses().iter().all(|status| status.exit_code == 0), "{:?}", fleet.statuses());
}

pub(crate) fn git(folder: &Path, arguments: &[&str]) -> String {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "init.defaultBranch=main"];
    let output = Command::new("git").arg("-C").arg(folder).args(identity).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

pub(crate) fn commit(origin: &Path, file: &str, text: &str) -> String {
    let path = origin.join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    if file.ends_with(".sh") {
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    git(origin, &["add", "."]);
    git(origin, &["commit", "--quiet", "--message", file]);
    git(origin, &["rev-parse", "HEAD"])
}

/// A fleet with an origin, and a `nixos-rebuild` that prints its arguments and activates a system, unless it ends with
/// exit code 1.
async fn fleet_with_origin() -> Fleet {
    with_origin(Fleet::start().await)
}

/// A fleet with an origin, and a program in place of `nixos-rebuild`.
pub(crate) async fn rebuilt_by(program: &str) -> Fleet {
    let fleet = with_origin(Fleet::strict().await);
    fs::write(fleet.path("rebuild"), program).unwrap();
    fleet
}

/// Adds an origin to pull from, and a `nixos-rebuild` that prints its arguments.
pub(crate) fn with_origin(fleet: Fleet) -> Fleet {
    let origin = fleet.path("origin");
    fs::create_dir(&origin).unwrap();
    git(&origin, &["init", "--quiet"]);
    commit(&origin, "flake.nix", "{ }");
    let rebuild = fleet.path("rebuild");
    let current = fleet.path("current-system");
    let script = format!(
        "#!/bin/sh\necho \"rebuild $*\"\ncode=$(cat {code} 2>/dev/null || echo 0)\n[ $code = 1 ] && exit 1\n\
         ln -sfn /nix/store/new-system {current}\necho 'activating the configuration...' >&2\n\
         echo 'restarting sysinit-reactivation.target' >&2\n\
         [ $code = 4 ] && echo 'warning: the following units failed: web.service' >&2\nexit $code\n",
        current = current.display(),
        code = fleet.path("rebuild-exit-code").display(),
    );
    fs::write(&rebuild, script).unwrap();
    fs::set_permissions(&rebuild, fs::Permissions::from_mode(0o755)).unwrap();
    let text = format!(
        "[repo]\nurl = \"file://{}\"\n[rebuild]\nprogram = [\"{}\"]\n[paths]\ncurrent_system = \"{}\"\n",
        origin.display(),
        rebuild.display(),
        current.display(),
    );
    fleet.configure(&text)
}

#[tokio::test]
async fn pull_clones_follows_and_cleans_its_own_checkout() {
    let fleet = fleet_with_origin().await;
    let _agent = fleet.agent().await;
    let first = fleet.ended("clone").await;
    let origin = fleet.path("origin");
    let head = git(&origin, &["rev-parse", "HEAD"]);
    assert_eq!(
        (first.exit_code, first.message.as_str()),
        (0, format!("Clone: Cloned {}", &head[..7]).as_str()),
        "unasked"
    );
    let repo = fleet.path("state/repo");
    assert_eq!(fs::metadata(&repo).unwrap().permissions().mode() & 0o777, 0o700);

    fs::write(repo.join("flake.nix"), "changed by hand").unwrap();
    fs::write(repo.join("stray"), "").unwrap();
    let next = commit(&origin, "flake.nix", "{ a = 1; }");
    let second = fleet.run("pull").await;
    assert_eq!((second.exit_code, second.generation.as_str()), (0, &next[..7]));
    assert_eq!(second.message, format!("Pull: Updated to {}", &next[..7]));
    assert_eq!(fs::read_to_string(repo.join("flake.nix")).unwrap(), "{ a = 1; }");
    assert!(!repo.join("stray").exists());
    assert_eq!(fleet.run("pull").await.message, format!("Pull: Already at {}", &next[..7]));

    // Without a switch, the generation in heartbeats is the commit of the checkout.
    fleet
        .wait("the new generation", |fleet| (fleet.beats().pop()?.1.generation == next[..7]).then_some(()))
        .await;
}

#[tokio::test]
async fn a_pull_that_fails_says_what_git_said() {
    let fleet = fleet_with_origin().await;
    fs::remove_dir_all(fleet.path("origin")).unwrap();
    let _agent = fleet.agent().await;
    let status = fleet.ended("clone").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Error, 128), "people see it");
    let status = fleet.run("pull").await;
    assert_eq!((status.status, status.exit_code), (StatusKind::Error, 128));
    assert!(
        status.message.contains("clone failed with exit code 128") && status.message.contains("origin"),
        "{}",
        status.message
    );
    fs::create_dir_all(fleet.path("state/repo")).unwrap();
    fs::write(fleet.path("state/repo/precious"), "").unwrap();
    let status = fleet.run("pull").await;
    assert!(status.message.contains("not a git checkout"), "{}", status.message);
    assert!(fleet.path("state/repo/precious").exists(), "what is no checkout is not touched");
}

#[tokio::test]
async fn switch_reports_the_commit_it_deployed_and_registers_again() {
    let fleet = fleet_with_origin().await;
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let status = fleet.run("pull-switch").await;
    assert_eq!(status.exit_code, 0, "{status:?}");
    let head = git(&fleet.path("origin"), &["rev-parse", "HEAD"]);
    let call = format!("rebuild switch --flake {}#test-host", fleet.path("state/repo").display());
    assert!(fleet.lines().iter().any(|(_, line, _)| *line == call), "{:?}", fleet.lines());
    fleet
        .wait("status, heartbeat, register, heartbeat", |fleet| {
            let messages = fleet.messages();
            if in_nats::is_on() {
                // Each is kept in a place of its own there, and only the order within one is told.
                let again = messages.iter().filter(|m| matches!(m.message, AgentMessage::Register(_))).nth(1);
                return again.map(|_| ());
            }
            let at = messages.iter().rposition(|m| matches!(m.message, AgentMessage::Status(_)))?;
            // A scheduled heartbeat may come in between.
            let mut kinds: Vec<_> = messages[at..].iter().map(|m| &m.message).collect();
            kinds.dedup_by(|b, a| matches!((a, b), (AgentMessage::Heartbeat(_), AgentMessage::Heartbeat(_))));
            matches!(
                kinds[..],
                [
                    AgentMessage::Status(_),
                    AgentMessage::Heartbeat(_),
                    AgentMessage::Register(_),
                    AgentMessage::Heartbeat(_)
                ]
            )
            .then_some(())
        })
        .await;
    assert_eq!(fleet.dashboard.connections(HOST), 1, "on the same socket");

    // A later pull changes the checkout, not the deployed commit.
    commit(&fleet.path("origin"), "flake.nix", "{ b = 2; }");
    fleet.run("pull").await;
    let beat = fleet.beats().pop().unwrap().1;
    assert_eq!(beat.generation, head[..7]);
}

#[tokio::test]
async fn a_switch_with_failed_units_is_told_as_what_it_is() {
    let fleet = fleet_with_origin().await;
    fs::write(fleet.path("rebuild-exit-code"), "4").unwrap();
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let status = fleet.run("pull-switch").await;
    assert_eq!((status.exit_code, status.outcome.as_deref()), (4, Some("activated_with_failures")));
    assert!(status.message.contains("web.service failed"), "{}", status.message);
    let rollback = fleet.run("rollback").await;
    assert!(fleet.lines().iter().any(|(_, line, _)| line == "rebuild switch --rollback"));
    assert_eq!(rollback.exit_code, 4);
}

#[tokio::test]
async fn test_runs_every_script_even_after_a_failure_and_reports_progress() {
    let fleet = fleet_with_origin().await;
    let origin = fleet.path("origin");
    commit(&origin, "hosts/test-host/tests/T01-good.sh", "#!/bin/sh\necho one");
    commit(&origin, "hosts/test-host/tests/T02-bad.sh", "#!/bin/sh\necho broken >&2\nexit 3");
    commit(&origin, "hosts/test-host/tests/T03-good.sh", "#!/bin/sh\npwd");
    commit(&origin, "hosts/test-host/tests/README", "no test");
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let status = fleet.run("test").await;
    assert_eq!((status.exit_code, status.message.as_str()), (3, "Test: 2/3 passed"));
    let progress: Vec<_> = fleet
        .messages()
        .into_iter()
        .filter_map(|recorded| match recorded.message {
            AgentMessage::TestProgress(p) => Some((p.current, p.total, p.passed, p.running, p.result)),
            _ => None,
        })
        .collect();
    let at = |current, passed| (current, 3, passed, true, None);
    let end = (3, 3, 2, false, Some("2/3 passed".to_owned()));
    assert_eq!(progress, [at(1, 0), at(1, 1), at(2, 1), at(2, 1), at(3, 1), end]);
    let repo = fleet.path("state/repo").display().to_string();
    assert!(fleet.lines().iter().any(|(_, line, _)| *line == repo), "scripts run in the repository");
}

#[tokio::test]
async fn tests_are_those_of_the_hostname_or_else_of_the_flake_attribute() {
    for attribute in ["test_host", "test-host.example.org"] {
        let fleet = fleet_with_origin().await;
        let origin = fleet.path("origin");
        commit(&origin, &format!("hosts/{attribute}/tests/T1.sh"), "#!/bin/sh\necho attribute");
        let mut agent = fleet.agent_command();
        agent.env("NIXFLEET_REBUILD__FLAKE_ATTR", attribute);
        let _agent = AgentProcess::spawn(agent, fleet.path("state"));
        fleet.ended("clone").await;
        assert_eq!(fleet.run("test").await.message, "Test: 1/1 passed", "{attribute}");
        commit(&origin, "hosts/test-host/tests/T1.sh", "#!/bin/sh\necho hostname");
        fleet.run("pull").await;
        fleet.run("test").await;
        let lines = fleet.lines();
        let texts = lines.iter().map(|(_, line, _)| line.as_str());
        let said: Vec<&str> = texts.filter(|line| ["attribute", "hostname"].contains(line)).collect();
        assert_eq!(said, ["attribute", "hostname"]);
    }
}

#[tokio::test]
async fn no_tests_is_fine_and_a_missing_program_is_named() {
    let fleet = fleet_with_origin().await.configure("[commands.ghost]\nrun = [\"no-such-program\"]\n");
    let _agent = fleet.agent().await;
    fleet.ended("clone").await;
    let status = fleet.run("test").await;
    assert_eq!((status.exit_code, status.message.as_str()), (0, "Test: no tests"));
    let status = fleet.run("ghost").await;
    assert_eq!(status.exit_code, 127);
    assert!(status.message.contains("cannot start `no-such-program`"), "{}", status.message);
}

#[tokio::test]
async fn a_command_over_its_timeout_is_stopped() {
    let fleet = Fleet::start().await.configure("[commands.slow]\nrun = [\"sleep\", \"60\"]\ntimeout = 1\n");
    let _agent = fleet.agent().await;
    let status = fleet.run("slow").await;
    assert_eq!((status.exit_code, status.outcome.as_deref()), (124, Some("timed_out")));
}

#[tokio::test]
async fn the_token_is_in_no_childs_environment_and_in_no_file_of_the_job() {
    let fleet = Fleet::start().await.script("env", "env; tr '\\0' '\\n' < /proc/$PPID/environ || true");
    let _agent = fleet.agent().await;
    assert_eq!(fleet.run("env").await.exit_code, 0);
    let lines = fleet.lines();
    assert!(lines.iter().any(|(_, line, _)| line.starts_with("PATH=")), "{lines:?}");
    assert!(!lines.iter().any(|(_, line, _)| line.contains("test-token")));
    for item in fs::read_dir(job_folder(&fleet)).unwrap() {
        let text = fs::read(item.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&text).contains("test-token"));
    }
}

#[tokio::test]
async fn restart_brings_a_new_agent_that_registers() {
    let fleet = Fleet::start().await;
    let _agent = fleet.agent().await;
    let status = fleet.run("restart").await;
    assert_eq!(status.exit_code, 0);
    // Without a service manager the agent replaces its own process.
    fleet
        .dashboard
        .wait_until("a second connection", LIMIT, |d| (d.connections(HOST) == 2).then_some(()))
        .await;
    fleet
        .wait("a first beat of the new process", |fleet| {
            let is_first = |message: &AgentMessage| match message {
                AgentMessage::Heartbeat(beat) => beat.seq == Some(1),
                _ => false,
            };
            fleet.messages().into_iter().find(|m| m.connection == 2 && is_first(&m.message))
        })
        .await;
}

#[tokio::test]
async fn a_restart_that_is_repeated_by_its_id_gets_its_answer_again_and_happens_once() {
    let fleet = Fleet::strict().await;
    let _agent = fleet.agent().await;
    let restart = || fleet.dashboard.send_command(HOST, "restart", Some("r-1")).unwrap();
    restart();
    fleet.beats_on(2).await;
    restart();
    let repeated = |fleet: &Fleet| (fleet.statuses().len() == 2).then(|| fleet.statuses());
    let statuses = fleet.wait("the status again", repeated).await;
    assert_eq!(statuses[0].message, statuses[1].message);
    let beats = fleet.beats().len();
    fleet.wait("another beat", |fleet| (fleet.beats().len() > beats + 1).then_some(())).await;
    assert_eq!(fleet.dashboard.connections(HOST), 2);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn files_that_look_like_tests_and_are_not_run_are_named() {
    let fleet = Fleet::strict().await;
    let scripts = fleet.path("repo/hosts/test-host/tests");
    fs::create_dir_all(scripts.join("T9.sh")).unwrap();
    let add = |name: &str, mode| {
        fs::write(scripts.join(name), "#!/bin/sh\necho ran\n").unwrap();
        fs::set_permissions(scripts.join(name), fs::Permissions::from_mode(mode)).unwrap();
    };
    for (name, mode) in [("T2.sh", 0o644), ("disk.sh", 0o755), ("T3.py", 0o755), ("README.md", 0o644)] {
        add(name, mode);
    }
    std::os::unix::fs::symlink("nowhere", scripts.join("T4.sh")).unwrap();
    git(&fleet.path("repo"), &["init", "--quiet"]);
    let repo = fleet.path("repo");
    let fleet = fleet.configure(&format!("[repo]\ndir = \"{}\"\n", repo.display()));
    let _agent = fleet.agent().await;
    let named = [
        "nixfleet: not run: T2.sh is not executable; set it with `git update-index --chmod=+x`",
        "nixfleet: not run: T3.py does not match `T*.sh`",
        "nixfleet: not run: T4.sh cannot be read; is it a link that leads nowhere?",
        "nixfleet: not run: disk.sh does not match `T*.sh`",
    ];
    let lines = |from: usize| -> Vec<String> {
        fleet.lines().into_iter().skip(from).map(|(_, line, _)| line).collect()
    };
    assert_eq!(fleet.run("test").await.message, "Test: no tests");
    assert_eq!(lines(0), named);

    add("T1.sh", 0o755);
    assert_eq!(fleet.run("test").await.message, "Test: 1/1 passed");
    assert_eq!(lines(named.len()), [&named[..], &["ran"]].concat());
    fleet.assert_no_violations();
}
