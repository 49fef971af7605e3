use super::*;
use crate::doctor::Verdict;
use crate::doctor::tests::subject;
use crate::observe::stats::Stats;
use crate::observe::status::Connection;

#[track_caller]
fn check(found: &Finding, verdict: Verdict, words: &[&str]) {
    assert_eq!(found.verdict, verdict, "{found:?}");
    for word in words {
        assert!(found.text.contains(word) || found.fix.contains(word), "`{word}` is not in {found:?}");
    }
}

#[test]
fn programs_are_found_as_the_kernel_would() {
    let folder = tempfile::tempdir().unwrap();
    let (program, plain) = (folder.path().join("program"), folder.path().join("plain"));
    for (file, mode) in [(&program, 0o755), (&plain, 0o644)] {
        fs::write(file, "").unwrap();
        fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    }
    let path = format!("/nonexistent::{}", folder.path().display());
    assert_eq!(find_program("program", &path).as_ref(), Some(&program));
    assert_eq!(find_program("plain", &path), None);
    assert_eq!(find_program("program", ""), None);
    assert_eq!(find_program(program.to_str().unwrap(), "").as_ref(), Some(&program));
    assert_eq!(find_program("/nonexistent/program", &path), None);
}

#[test]
fn the_rebuild_program_is_looked_for_where_jobs_look() {
    let folder = tempfile::tempdir().unwrap();
    let mut subject = subject(folder.path());
    subject.host.jobs.launcher = nixfleet_config::LauncherKind::Systemd;
    subject.host.rebuild.program = Some(vec!["rebuild-for-tests".to_owned(), "--flag".to_owned()]);
    check(&rebuild(&subject), Verdict::Fail, &["rebuild-for-tests is not on the PATH", "/usr/bin"]);
    let program = folder.path().join("rebuild-for-tests");
    fs::write(&program, "").unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let path = [("PATH".to_owned(), folder.path().display().to_string())].into();
    subject.job_unit = Some(unit::Unit { environment: path, ..Default::default() });
    check(&rebuild(&subject), Verdict::Ok, &[program.to_str().unwrap()]);
    let path = [("PATH".to_owned(), "/nonexistent".to_owned())].into();
    subject.job_unit = Some(unit::Unit { environment: path, ..Default::default() });
    subject.host.rebuild.program = None;
    check(&rebuild(&subject), Verdict::Warning, &["rollback will fail"]);
    subject.host.repo.dir = Some(folder.path().to_owned());
    check(&rebuild(&subject), Verdict::Fail, &["is not on the PATH of jobs: /nonexistent"]);
}

#[test]
fn the_rule_for_polkit_is_looked_for_in_every_place() {
    let folder = tempfile::tempdir().unwrap();
    let places = [Path::new("/nonexistent"), folder.path()];
    check(&polkit_rule(find_rule(&places), None), Verdict::Fail, &["there is no rule", "dist/polkit"]);
    fs::write(folder.path().join(RULE), "").unwrap();
    check(&polkit_rule(find_rule(&places), Some("inactive")), Verdict::Ok, &["lets the agent start jobs"]);
    check(&polkit_rule(find_rule(&places), Some("failed")), Verdict::Fail, &["polkit has failed"]);
    let hidden = Err(PathBuf::from("/etc/polkit-1/rules.d"));
    check(&polkit_rule(hidden, None), Verdict::Skipped, &["run it as root", "/etc/polkit-1"]);
}

#[test]
fn a_unit_that_is_not_active_is_a_failure() {
    check(&agent_unit(true, Some("active")), Verdict::Ok, &[]);
    check(&agent_unit(true, Some("activating")), Verdict::Fail, &["is activating", "journalctl"]);
    check(&agent_unit(true, None), Verdict::Skipped, &[]);
    check(&agent_unit(false, None), Verdict::Skipped, &["not installed"]);
}

fn report(state: State, beat: Option<&str>) -> Report {
    Report {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: 7,
        connection: Connection { state, last_error: Some("no route".to_owned()), ..Connection::default() },
        interval_s: 30,
        last_beat_at: beat.map(str::to_owned),
        stats: Stats { registrations: 1, ..Stats::default() },
        ..Report::default()
    }
}

#[test]
fn an_agent_is_absent_waiting_connected_or_old() {
    let absent = || Err("no agent answers at /x: is it running? systemctl status nixfleet-agent".to_owned());
    check(&agent(&absent(), true), Verdict::Fail, &["no agent answers at /x", "is it running?"]);
    check(&agent(&absent(), false), Verdict::Warning, &["no agent answers"]);
    check(&agent(&Ok(report(State::Waiting, None)), true), Verdict::Fail, &["not connected: no route"]);
    check(&agent(&Ok(report(State::Connecting, None)), true), Verdict::Warning, &[]);
    check(&agent(&Ok(report(State::Connected, None)), true), Verdict::Ok, &["process 7"]);
    for state in [State::Waiting, State::Connecting] {
        let never = Report { stats: Stats::default(), ..report(state, None) };
        check(&agent(&Ok(never), true), Verdict::Fail, &["not connected since its start: no route"]);
    }
    let mut starting = report(State::Connecting, None);
    (starting.stats, starting.connection.last_error) = (Stats::default(), None);
    check(&agent(&Ok(starting), true), Verdict::Warning, &["about to connect"]);
    let old = Report { version: "0.0.1".to_owned(), ..report(State::Connected, None) };
    check(&agent(&Ok(old), true), Verdict::Warning, &["0.0.1", "restart"]);
}

#[test]
fn beats_are_late_and_then_missing() {
    let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
    for (beat, verdict) in [
        (Some("2026-01-01T11:59:31Z"), Verdict::Ok),
        (Some("2026-01-01T11:59:25Z"), Verdict::Ok),
        (Some("2026-01-01T11:59:24Z"), Verdict::Warning),
        (Some("2026-01-01T11:58:30Z"), Verdict::Warning),
        (Some("2026-01-01T11:58:29Z"), Verdict::Fail),
        (None, Verdict::Warning),
    ] {
        check(&heartbeats(Some(&report(State::Connected, beat)), now), verdict, &[]);
    }
    check(&heartbeats(Some(&report(State::Waiting, None)), now), Verdict::Skipped, &[]);
    check(&heartbeats(None, now), Verdict::Skipped, &[]);
}
