//! The way back from a new system that cuts the host off, with the direct launcher: the guard is a process of its own.
//!
//! The stand-ins behave as NixOS does: `build` leaves a link in its working directory, and `switch-to-configuration`
//! changes `/run/current-system` with `test`, and the boot loader only with `boot`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};

use nixfleet_dashboard::{Faults, Refusal};
use nixfleet_jobs::rollback::is_guarded;
use nixfleet_jobs::{JobDir, JobsDir, Urgency, signal_supervisor};
use nixfleet_protocol::{AgentMessage, Heartbeat, Status, UpdateState, UpdateStatus};

use crate::rig::{AgentProcess, Fleet, HOST, eventually, job_folder, journal, json, supervisor};

mod kills;

/// The profile of the system.
const PROFILE: &str = "nix/profiles/system";

/// Builds `two`. Of a plain `switch`, it says so.
const REBUILD: &str = "#!/bin/sh\n\
    if [ -e FOLDER/hold-build ]; then : > FOLDER/building; while [ -e FOLDER/hold-build ]; do sleep 0.02; done; fi\n\
    case $1 in\n\
    build) ln -s FOLDER/two result; echo built;;\n\
    *) echo plain $1; ln -sfn FOLDER/two FOLDER/current;;\n\
    esac\n";

/// Activates its own system: waits while it is told to, and ends as it is told to.
const ACTIVATE: &str = "#!/bin/sh\n\
    echo $1 SYSTEM >> FOLDER/actions\n\
    if [ $1 = boot ]; then exit $(cat FOLDER/boot-exit 2>/dev/null || echo 0); fi\n\
    if [ SYSTEM = two ]; then\n\
    : > FOLDER/activating; while [ -e FOLDER/hold ]; do sleep 0.02; done\n\
    if [ -e FOLDER/refuse ]; then echo \"Pre-switch check 'inhibitors' failed\"; echo 'Pre-switch checks failed'; exit 1; fi\n\
    fi\n\
    ln -sfn FOLDER/SYSTEM FOLDER/current; echo activated SYSTEM\n\
    if [ SYSTEM = two ]; then exit $(cat FOLDER/exit 2>/dev/null || echo 0); fi\n";

/// `nix-env -p PROFILE --set SYSTEM`
const NIX_ENV: &str =
    "#!/bin/sh\necho set $4 >> FOLDER/actions\n[ \"$1 $3\" = '-p --set' ] && ln -sfn $4 $2\n";

fn program(path: &Path, text: &str, folder: &Path, system: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let text = text.replace("FOLDER", folder.to_str().unwrap()).replace("SYSTEM", system);
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A host that runs `one`, and takes a new system back after that many seconds.
async fn fleet(timeout: u64, more: &str) -> Fleet {
    let fleet = Fleet::strict().await;
    let folder = fleet.folder.path().to_owned();
    for system in ["one", "two"] {
        let root = folder.join(system);
        program(&root.join("bin/switch-to-configuration"), ACTIVATE, &folder, system);
        program(&root.join("sw/bin/nix-env"), NIX_ENV, &folder, system);
    }
    program(&folder.join("rebuild"), REBUILD, &folder, "");
    fs::create_dir_all(folder.join("nix/profiles")).unwrap();
    fs::create_dir(folder.join("repo")).unwrap();
    fs::write(folder.join("repo/flake.nix"), "{ }").unwrap();
    symlink(folder.join("one"), folder.join("current")).unwrap();
    symlink(folder.join("one"), folder.join(PROFILE)).unwrap();
    let path = folder.display();
    fleet.configure(&format!(
        "[repo]\ndir = \"{path}/repo\"\n[rebuild]\nprogram = [\"{path}/rebuild\"]\n\
         [paths]\ncurrent_system = \"{path}/current\"\nsystem_profile = \"{path}/{PROFILE}\"\n\
         [rollback]\nconfirm_timeout = {timeout}\nhold = 1\n{}",
        more.replace("FOLDER", &path.to_string())
    ))
}

fn actions(fleet: &Fleet) -> Vec<String> {
    let text = fs::read_to_string(fleet.path("actions")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

fn link(fleet: &Fleet, name: &str) -> String {
    let target = fs::read_link(fleet.path(name)).unwrap();
    target.file_name().unwrap().to_string_lossy().into_owned()
}

fn set(fleet: &Fleet, name: &str, text: &str) {
    fs::write(fleet.path(name), text).unwrap();
}

fn unset(fleet: &Fleet, name: &str) {
    fs::remove_file(fleet.path(name)).unwrap();
}

async fn exists(fleet: &Fleet, name: &str) {
    let path = fleet.path(name);
    eventually(name, || path.exists().then_some(())).await;
}

fn cut_off(fleet: &Fleet, cut: bool) {
    let refuse_auth = cut.then_some(Refusal { status: 503, retry_after: None });
    fleet.dashboard.set_faults(Faults { refuse_auth, ..Faults::default() });
}

fn kill(process: Pid) {
    kill_process(process, Signal::KILL).unwrap();
}

/// The folder of the only job.
fn job(fleet: &Fleet) -> JobDir {
    let id = job_folder(fleet).file_name().unwrap().to_str().unwrap().parse().unwrap();
    JobsDir::new(fleet.path("state/jobs")).job(&id)
}

/// The process that guards the trial of the only job. One that is about to is none yet.
async fn guard(fleet: &Fleet) -> Pid {
    let folder = job_folder(fleet).to_string_lossy().into_owned();
    eventually("a lock of a guard", || is_guarded(&job(fleet)).then_some(())).await;
    eventually("a guard", || {
        fs::read_dir("/proc").unwrap().flatten().find_map(|process| {
            let pid = process.file_name().to_str()?.parse().ok().and_then(Pid::from_raw)?;
            let argv = fs::read(process.path().join("cmdline")).ok()?;
            let argv: Vec<&[u8]> = argv.split(|byte| *byte == 0).collect();
            let [_, b"exec-guard", job, ..] = argv[..] else { return None };
            (job == folder.as_bytes()).then_some(pid)
        })
    })
    .await
}

/// Waits until the activation was noted to have ended.
async fn confirming(fleet: &Fleet) {
    eventually("the end of the activation", || {
        json(&job_folder(fleet).join("trial.json"))?["activation"].is_object().then_some(())
    })
    .await;
}

/// Begins a switch, and waits until its activation runs. It goes on when `hold` is removed.
async fn activating(fleet: &Fleet) {
    set(fleet, "hold", "");
    fleet.send("switch");
    exists(fleet, "activating").await;
}

/// Begins a switch, and cuts the host off before its build ends.
async fn built_while_cut_off(fleet: &Fleet) {
    set(fleet, "hold-build", "");
    fleet.send("switch");
    exists(fleet, "building").await;
    cut_off(fleet, true);
    fleet.dashboard.drop_connection(HOST).unwrap();
    unset(fleet, "hold-build");
}

#[track_caller]
fn assert_rolled_back(fleet: &Fleet, status: &Status, why: &str) {
    assert_eq!(status.outcome.as_deref(), Some("rolled_back"), "{status:?}");
    assert_ne!(status.exit_code, 0);
    assert!(status.message.contains(why), "{status:?}");
    assert_eq!((link(fleet, "current").as_str(), link(fleet, PROFILE).as_str()), ("one", "one"));
    assert_eq!(actions(fleet), ["test two", "test one"]);
    assert_eq!(left(fleet), Vec::<PathBuf>::new());
}

/// Roots of nix that were not removed.
fn left(fleet: &Fleet) -> Vec<PathBuf> {
    let roots = fs::read_dir(fleet.path("nix/gcroots/nixfleet-agent")).unwrap();
    roots.flatten().map(|item| item.path()).collect()
}

/// Details of the progress of the system, in order.
fn details(fleet: &Fleet) -> Vec<String> {
    let detail = |recorded: nixfleet_dashboard::Recorded| match recorded.message {
        AgentMessage::OperationProgress(message) => Some(message.progress.system?.detail),
        _ => None,
    };
    fleet.messages().into_iter().filter_map(detail).collect()
}

const HEALTHY: &str =
    "checks = [{ run = [\"true\"] }, { run = [\"test\", \"-e\", \"FOLDER/healthy\"], timeout = 5 }]\n";

#[tokio::test]
async fn a_new_system_is_kept_when_a_new_connection_holds_and_all_checks_pass() {
    let fleet = fleet(30, HEALTHY).await;
    set(&fleet, "healthy", "");
    let mut agent = fleet.agent().await;
    let before = fleet.dashboard.connections(HOST);
    activating(&fleet).await;
    let roots = ["previous", "new"].map(|name| link(&fleet, &format!("nix/gcroots/nixfleet-agent/{name}")));
    assert_eq!(roots, ["one", "two"]);
    unset(&fleet, "hold");
    let status = fleet.ended("switch").await;
    assert_eq!((status.exit_code, status.outcome.as_deref()), (0, Some("ok")), "{status:?}");
    assert!(fleet.dashboard.connections(HOST) > before, "it connected anew");
    assert_eq!((link(&fleet, "current").as_str(), link(&fleet, PROFILE).as_str()), ("two", "two"));
    let two = fleet.path("two").display().to_string();
    assert_eq!(actions(&fleet), ["test two".to_owned(), format!("set {two}"), "boot two".to_owned()]);
    let details = details(&fleet);
    assert!(details.iter().any(|text| text.starts_with("confirming, ")), "{details:?}");
    let says = |beat: &Heartbeat| beat.update_status.as_ref().map(|status| status.system.message.clone());
    let beats: Vec<String> = fleet.beats().iter().filter_map(|(_, beat)| says(beat)).collect();
    assert!(beats.iter().any(|text| text.starts_with("switch is running: confirming, ")), "{beats:?}");
    let texts: Vec<String> = journal(&fleet).into_iter().map(|(_, text)| text).collect();
    assert!(texts.iter().any(|text| text == "activated two"), "{texts:?}");
    assert_eq!(left(&fleet), Vec::<PathBuf>::new());
    let contact = fleet.path("state/agent/contact.json");
    eventually("the end of the contact", || (!contact.exists()).then_some(())).await;
    assert!(agent.is_running());
    fleet.assert_no_violations();
}

/// A command counts as working for four minutes at most, and with such an interval not at all.
#[tokio::test]
async fn heartbeats_say_that_a_new_system_waits_also_when_its_command_counts_as_working_no_more() {
    let fleet = fleet(30, "").await;
    let mut command = fleet.agent_command();
    command.env("NIXFLEET_INTERVAL", "240");
    let _agent = AgentProcess::spawn(command, fleet.path("state"));
    fleet.wait("a first heartbeat", |fleet| fleet.beats().pop()).await;
    fleet.run("switch").await;
    let said: Vec<_> = fleet.beats().into_iter().filter_map(|(_, beat)| beat.update_status).collect();
    let waits = |status: &UpdateStatus| status.system.message.starts_with("switch is running: confirming, ");
    assert!(said.iter().any(|status| waits(status)), "{said:?}");
    assert!(said.iter().all(|status| status.system.status != UpdateState::Working), "{said:?}");
    assert!(!waits(said.last().unwrap()), "it has ended: {said:?}");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_new_system_that_cuts_the_host_off_is_taken_back_and_told_at_the_next_contact() {
    let fleet = fleet(5, "").await;
    let _agent = fleet.agent().await;
    activating(&fleet).await;
    cut_off(&fleet, true);
    unset(&fleet, "hold");
    confirming(&fleet).await;
    assert_eq!(link(&fleet, "current"), "two");
    eventually("the way back", || (link(&fleet, "current") == "one").then_some(())).await;
    cut_off(&fleet, false);
    let status = fleet.ended("switch").await;
    let why = "it was not confirmed within 5 s: the dashboard accepted no registration on a new connection";
    assert_rolled_back(&fleet, &status, why);
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_check_that_fails_takes_the_new_system_back_and_is_named() {
    // The connection comes back within a second, and has to hold for one.
    let fleet = fleet(15, HEALTHY).await;
    let _agent = fleet.agent().await;
    let status = fleet.run("switch").await;
    assert_rolled_back(&fleet, &status, "the check `test` (2 of 2) ended with exit status: 1");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn without_a_connection_at_its_start_a_switch_is_no_trial() {
    let fleet = fleet(5, "").await;
    let _agent = fleet.agent().await;
    built_while_cut_off(&fleet).await;
    eventually("the switch", || (link(&fleet, "current") == "two").then_some(())).await;
    cut_off(&fleet, false);
    let status = fleet.ended("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("ok"), "{status:?}");
    assert_eq!(actions(&fleet), Vec::<String>::new());
    let texts: Vec<String> = journal(&fleet).into_iter().map(|(_, text)| text).collect();
    assert!(texts.iter().any(|text| text == "plain switch"), "{texts:?}");
    assert!(texts.iter().any(|text| text.contains("no connection to the dashboard")), "{texts:?}");
    fleet.assert_no_violations();
}

#[tokio::test]
async fn a_stop_during_the_wait_for_the_connection_activates_nothing() {
    for urgency in [Urgency::Stop, Urgency::Kill] {
        let fleet = fleet(30, "").await;
        let _agent = fleet.agent().await;
        built_while_cut_off(&fleet).await;
        eventually("the question", || job_folder(&fleet).join("trial.json").exists().then_some(())).await;
        signal_supervisor(&job(&fleet), urgency).unwrap();
        cut_off(&fleet, false);
        let status = fleet.ended("switch").await;
        assert_eq!(status.outcome.as_deref(), Some("stopped"), "{status:?}");
        assert_eq!(link(&fleet, "current"), "one");
        let texts: Vec<String> = journal(&fleet).into_iter().map(|(_, text)| text).collect();
        assert!(!texts.iter().any(|text| text.contains("without a way back")), "{texts:?}");
        assert!(!job_folder(&fleet).join("trial.json").exists());
        fleet.assert_no_violations();
    }
}

#[tokio::test]
async fn an_activation_that_fails_is_taken_back_without_waiting_and_failed_units_are_not() {
    for (code, outcome, expected) in [
        ("2", "rolled_back", "because the activation failed: an activation script failed (exit code 2)"),
        ("101", "rolled_back", "because the activation failed: its program broke off (exit code 101)"),
        ("4", "activated_with_failures", "some units failed"),
    ] {
        let fleet = fleet(600, "").await;
        let _agent = fleet.agent().await;
        set(&fleet, "exit", code);
        let status = fleet.run("switch").await;
        assert_eq!(status.outcome.as_deref(), Some(outcome), "{status:?}");
        assert_eq!(status.exit_code.to_string(), code, "{status:?}");
        assert!(status.message.contains(expected), "{status:?}");
        let runs = if outcome == "rolled_back" { "one" } else { "two" };
        assert_eq!((link(&fleet, "current"), link(&fleet, PROFILE)), (runs.to_owned(), runs.to_owned()));
    }
    // It was refused before anything was changed.
    let fleet = fleet(600, "").await;
    let _agent = fleet.agent().await;
    set(&fleet, "refuse", "");
    let status = fleet.run("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("refused"), "{status:?}");
    let said = "Switch: refused by the pre-switch check `inhibitors`; nothing was changed;";
    assert!(status.message.starts_with(said), "nothing of the build is quoted: {status:?}");
    assert_eq!(actions(&fleet), ["test two"]);
}

#[tokio::test]
async fn a_confirmed_system_whose_boot_loader_fails_runs_and_is_told_so() {
    let fleet = fleet(30, "").await;
    let _agent = fleet.agent().await;
    set(&fleet, "boot-exit", "1");
    let status = fleet.run("switch").await;
    assert_eq!(status.outcome.as_deref(), Some("bootloader_failed"), "{status:?}");
    assert!(status.message.contains("the boot loader could not be installed"), "{status:?}");
    assert_eq!(link(&fleet, "current"), "two");
}
