use std::fs;
use std::path::Path;

use nixfleet_jobs::{JobId, JobsDir};
use nixfleet_os::test_util::write_script;

use super::*;

/// A fake systemctl, which appends its arguments to the file `calls` and then runs `body`.
fn fake(folder: &Path, body: &str) -> Systemd {
    let systemctl = folder.join("systemctl");
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\n{body}\n", folder.join("calls").display());
    write_script(&systemctl, &script);
    Systemd { systemctl, ..Systemd::default() }
}

fn calls(folder: &Path) -> Vec<String> {
    fs::read_to_string(folder.join("calls")).unwrap().lines().map(str::to_owned).collect()
}

fn job() -> Instance {
    Instance { command: "pull-switch".to_owned(), id: JobId::generate() }
}

#[test]
fn a_start_waits_for_the_unit_and_asks_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let (systemd, job) = (fake(folder.path(), "exit 0"), job());
    systemd.start(&job).unwrap();
    let unit = format!("nixfleet-job@pull-switch-{}.service", job.id);
    assert_eq!(calls(folder.path()), [format!("start --no-ask-password -- {unit}")]);
}

#[test]
fn a_supervisor_that_gives_up_has_the_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let body =
        "case $1 in start) echo 'Job for x failed.' >&2; exit 1;; show) echo 'the lock is held';; esac";
    let (systemd, job) = (fake(folder.path(), body), job());
    assert_eq!(systemd.start(&job).unwrap_err().to_string(), "the lock is held");
    let verbs: Vec<String> =
        calls(folder.path()).iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    // The unit is reset only after its status has been read.
    assert_eq!(verbs, ["start", "show", "reset-failed"]);
}

#[test]
fn a_signal_goes_to_the_supervisor_alone() {
    let folder = tempfile::tempdir().unwrap();
    let (systemd, job) = (fake(folder.path(), "exit 0"), job());
    let dir = JobsDir::new(folder.path()).job(&job.id);
    systemd.end(&job, &dir, Urgency::Stop).unwrap();
    systemd.end(&job, &dir, Urgency::Kill).unwrap();
    let calls = calls(folder.path());
    assert!(calls[0].starts_with("kill --no-ask-password --kill-whom=main --signal=2 -- "), "{calls:?}");
    assert!(calls[1].contains(" --signal=10 "), "{calls:?}");
}

#[test]
fn a_refused_signal_is_told_only_while_the_supervisor_lives() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = fake(folder.path(), "echo 'Access denied' >&2; exit 1");
    let (job, jobs) = (job(), JobsDir::new(folder.path()));
    let dir = jobs.job(&job.id);
    fs::create_dir(dir.path()).unwrap();
    let log = nixfleet_jobs::journal::Writer::create(dir.clone(), 1 << 20).unwrap();
    let refused = systemd.end(&job, &dir, Urgency::Stop).unwrap_err();
    assert!(refused.to_string().contains("polkit"), "{refused}");
    drop(log);
    nixfleet_jobs::test_util::wait_until_dead(&dir);
    let dead = systemd.end(&job, &dir, Urgency::Stop).unwrap_err().to_string();
    assert!(dead.starts_with("its supervisor is dead"), "{dead}");
    fs::write(dir.result(), "{}").unwrap();
    assert!(matches!(systemd.end(&job, &dir, Urgency::Stop), Err(LaunchError::Ended)));
}

#[test]
fn without_systemctl_the_error_names_it() {
    let systemd = Systemd { systemctl: PathBuf::from("/nonexistent/systemctl"), ..Systemd::default() };
    assert!(systemd.start(&job()).unwrap_err().to_string().contains("systemctl"));
}

#[test]
fn a_reason_that_cannot_be_asked_for_is_not_made_of_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let systemd = fake(folder.path(), "echo 'Failed to connect to bus: Connection refused' >&2; exit 1");
    let error = systemd.start(&job()).unwrap_err().to_string();
    assert!(error.ends_with("are systemd and D-Bus running?"), "{error}");
}

#[test]
fn what_is_wrong_comes_with_its_fix() {
    let unit = "nixfleet-job@x.service";
    let polkit =
        "; the polkit rule 50-nixfleet-agent.rules lets the user nixfleet-agent do that: is it installed?";
    for (text, wanted) in [
        (
            "Failed to start nixfleet-job@x.service: Access denied\nSee system logs and 'x' for details.\n",
            format!("Access denied{polkit}"),
        ),
        (
            "Failed to start nixfleet-job@x.service: Interactive authentication required.\nSee x\n",
            format!("Interactive authentication required{polkit}"),
        ),
        (
            "Failed to start nixfleet-job@x.service: Unit nixfleet-job@x.service not found.\n",
            "its unit is not found; is nixfleet-job@.service installed?".to_owned(),
        ),
        (
            "Failed to kill unit nixfleet-job@x.service: No main process to kill\n",
            "No main process to kill".to_owned(),
        ),
        (
            "Job for nixfleet-job@x.service failed because a timeout was exceeded.\nSee \"x\" for details.\n",
            "Job for its unit failed because a timeout was exceeded".to_owned(),
        ),
        ("", "systemctl failed without a word".to_owned()),
    ] {
        assert_eq!(explain("start", unit, text), format!("cannot start the job: {wanted}"));
    }
}

/// Fails the first `times` starts with this text.
fn failing(folder: &Path, times: usize, text: &str) -> Systemd {
    let body = format!(
        "if [ $1 = start ] && [ $(grep -c ^start {}) -le {times} ]; then echo \"{text}\" >&2; exit 1; fi",
        folder.join("calls").display()
    );
    fake(folder, &body)
}

#[test]
fn a_start_that_the_bus_timed_out_is_tried_once_more() {
    for text in [
        "Failed to start nixfleet-job@x.service: Connection timed out",
        "Failed to start nixfleet-job@x.service: Method call timed out",
        "Failed to start nixfleet-job@x.service: Failed to activate service 'org.freedesktop.PolicyKit1': \
         timed out (service_start_timeout=25000ms)",
    ] {
        let folder = tempfile::tempdir().unwrap();
        failing(folder.path(), 1, text).start(&job()).unwrap();
        assert_eq!(calls(folder.path()).len(), 2, "{text}");

        let folder = tempfile::tempdir().unwrap();
        let error = failing(folder.path(), 2, text).start(&job()).unwrap_err().to_string();
        assert!(error.contains("timed out") && error.contains("twice") && error.contains("again"), "{error}");
        assert_eq!(calls(folder.path()).len(), 2, "{text}");
    }
}

#[test]
fn a_start_that_is_refused_is_not_tried_again() {
    for text in [
        "Failed to start nixfleet-job@x.service: Access denied",
        "Failed to start nixfleet-job@x.service: Interactive authentication required.",
        "Failed to start nixfleet-job@x.service: Unit nixfleet-job@x.service not found.",
        "Job for nixfleet-job@x.service failed because a timeout was exceeded.",
        "Failed to connect to bus: Connection refused",
    ] {
        let folder = tempfile::tempdir().unwrap();
        failing(folder.path(), 1, text).start(&job()).unwrap_err();
        let starts = calls(folder.path()).iter().filter(|line| line.starts_with("start ")).count();
        assert_eq!(starts, 1, "{text}");
    }
}

#[test]
fn a_systemctl_that_is_too_slow_says_nothing_about_the_start() {
    /// Long enough for the shell to begin on a busy machine: it writes down the call.
    const START_LIMIT: Duration = Duration::from_secs(3);
    let folder = tempfile::tempdir().unwrap();
    let systemd = Systemd { start_limit: START_LIMIT, ..fake(folder.path(), "exec sleep 60") };
    let begun = Instant::now();
    systemd.start(&job()).unwrap();
    assert!(begun.elapsed() >= START_LIMIT, "{:?}", begun.elapsed());
    // There is no second attempt, and nobody asks why.
    let calls = calls(folder.path());
    assert!(calls.len() == 1 && calls[0].starts_with("start "), "{calls:?}");
}

#[test]
fn only_a_systemctl_that_had_time_to_give_the_order_may_still_start_the_unit() {
    for (err, may_still_start) in [
        (ProgramError::TooSlow(CALL_TIMEOUT), true),
        (ProgramError::Hangs(7), true),
        (ProgramError::TooManyHang, false),
        (ProgramError::TooMuch, false),
        (ProgramError::Io(std::io::ErrorKind::NotFound.into()), false),
    ] {
        assert_eq!(super::may_still_start(&err), may_still_start, "{err}");
    }
}
