//! The rebuild program, the launcher of jobs, and the running agent.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use nixfleet_config::Host;
use nixfleet_os::time::length;

use super::subject::JOB_UNIT;
use super::{Finding, Subject, fail, ok, skipped, users, warning};
use crate::observe::status::{Report, State, client};
use crate::unit::{self, AGENT_UNIT};

/// Folders from which polkit reads rules (polkit(8)); which of the last three exist depends on the distribution.
const RULES: [&str; 5] = [
    "/etc/polkit-1/rules.d",
    "/run/polkit-1/rules.d",
    "/run/current-system/sw/share/polkit-1/rules.d",
    "/usr/local/share/polkit-1/rules.d",
    "/usr/share/polkit-1/rules.d",
];

/// File name of the rule that allows the agent to start jobs.
const RULE: &str = "50-nixfleet-agent.rules";

/// Number of intervals without a heartbeat after which dashboards show a host as offline.
const OFFLINE: u32 = 3;

/// Delay of a heartbeat above which there is a warning. A busy host may reach some seconds.
const LATE: Duration = Duration::from_secs(5);

/// Findings about the rebuild program, launcher, unit, agent and heartbeats.
pub(super) fn findings(subject: &Subject) -> Vec<Finding> {
    let mut findings = vec![rebuild(subject)];
    findings.extend(launcher(subject));
    let installed = subject.agent_unit.is_some();
    let is_active = if installed { unit::state(AGENT_UNIT).ok() } else { None };
    findings.push(agent_unit(installed, is_active.as_deref()));
    let answer = client::ask(&client::places(&subject.host));
    let report = answer.map_err(|why| why.to_string()).and_then(|document| {
        serde_json::from_slice::<Report>(&document).map_err(|err| format!("its answer makes no sense: {err}"))
    });
    findings.push(agent(&report, installed));
    let report = report.ok();
    findings.extend(report.as_ref().filter(|_| subject.last_good.is_none()).and_then(old_settings));
    findings.push(heartbeats(report.as_ref(), Timestamp::now()));
    findings
}

fn rebuild(subject: &Subject) -> Finding {
    let Host { rebuild, host_type, .. } = &subject.host;
    let default = if *host_type == "macos" { "home-manager" } else { "nixos-rebuild" };
    let program = rebuild.program.as_ref().map_or(default, |words| words[0].as_str());
    let path = subject.jobs_path();
    match find_program(program, &path) {
        Some(found) => ok("rebuild", format!("{program} is {}", found.display())),
        // Such a host, for example without NixOS, may only run commands that its operator configured.
        None if rebuild.program.is_none() && subject.host.repo.dir.is_none() => warning(
            "rebuild",
            format!("there is no {program}: rollback will fail"),
            "fine where this host runs commands of your own only; else install it",
        ),
        None => fail(
            "rebuild",
            format!("{program} is not on the PATH of jobs: {path}"),
            "install it, or set rebuild.program; without it switch and rollback fail",
        ),
    }
}

/// The path of a program, searched like execvp(3) does.
fn find_program(program: &str, path: &str) -> Option<PathBuf> {
    let can_run = |file: &PathBuf| {
        fs::metadata(file).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(can_run);
    }
    path.split(':')
        .filter(|folder| !folder.is_empty())
        .map(|folder| Path::new(folder).join(program))
        .find(can_run)
}

fn launcher(subject: &Subject) -> Vec<Finding> {
    const NAME: &str = "launcher";
    if !subject.jobs_are_units() {
        let rights =
            if subject.is_root { "root's rights" } else { "this user's rights, so switch needs sudo" };
        return vec![ok(NAME, format!("direct: commands have the agent's rights; as started now, {rights}"))];
    }
    let template = match subject.job_unit.is_some() || unit::find(JOB_UNIT).is_some() {
        true => ok(NAME, format!("systemd: {JOB_UNIT} is installed")),
        false => fail(
            NAME,
            format!("systemd knows no {JOB_UNIT}, so no command can start"),
            "install the files of dist/systemd and run systemctl daemon-reload, or set jobs.launcher = \"direct\"",
        ),
    };
    let polkit = unit::state("polkit.service").ok();
    let user = subject.agent_unit.as_ref().and_then(|unit| unit.user.as_deref());
    let rights = match user {
        Some("root") => ok("polkit", "not needed: the agent is root"),
        _ => polkit_rule(find_rule(&RULES.map(Path::new)), polkit.as_deref()),
    };
    let user = user.filter(|user| *user != "root").map(|user| match users::uid_of(user) {
        Some(uid) => ok("user", format!("{user} exists, as {uid}")),
        None => fail(
            "user",
            format!("the user {user} does not exist"),
            "systemd-sysusers; on NixOS a switch makes it",
        ),
    });
    [Some(template), Some(rights), user].into_iter().flatten().collect()
}

/// The path of the rule.
///
/// # Errors
/// The folder that cannot be read, if the rule is in none of the others.
fn find_rule(folders: &[&Path]) -> Result<Option<PathBuf>, PathBuf> {
    let mut hidden = None;
    for folder in folders {
        let rule = folder.join(RULE);
        match fs::metadata(&rule) {
            Ok(_) => return Ok(Some(rule)),
            Err(err) if err.kind() == io::ErrorKind::PermissionDenied => hidden = Some((*folder).to_owned()),
            Err(_) => {}
        }
    }
    hidden.map_or(Ok(None), Err)
}

fn polkit_rule(rule: Result<Option<PathBuf>, PathBuf>, service: Option<&str>) -> Finding {
    const NAME: &str = "polkit";
    match (rule, service) {
        (Ok(None), _) => fail(
            NAME,
            format!("there is no rule {RULE}, so the agent may not start jobs"),
            "install dist/polkit/50-nixfleet-agent.rules to /usr/share/polkit-1/rules.d",
        ),
        (Err(folder), _) => super::root_only(NAME, folder.display()),
        (Ok(Some(rule)), Some("failed")) => fail(
            NAME,
            format!("{} is there, and polkit has failed", rule.display()),
            "systemctl status polkit",
        ),
        // D-Bus starts polkit on demand.
        (Ok(Some(rule)), _) => ok(NAME, format!("{} lets the agent start jobs", rule.display())),
    }
}

fn agent_unit(installed: bool, state: Option<&str>) -> Finding {
    const NAME: &str = "unit";
    match state {
        _ if !installed => skipped(NAME, format!("{AGENT_UNIT} is not installed, or another agent is meant")),
        Some("active") => ok(NAME, format!("{AGENT_UNIT} is active")),
        Some("") | None => skipped(NAME, "systemctl does not answer"),
        Some(other) => fail(
            NAME,
            format!("{AGENT_UNIT} is {other}"),
            "systemctl restart nixfleet-agent; journalctl -u nixfleet-agent says why",
        ),
    }
}

fn agent(report: &Result<Report, String>, installed: bool) -> Finding {
    const NAME: &str = "agent";
    const OWN: &str = env!("CARGO_PKG_VERSION");
    let report = match report {
        Ok(report) => report,
        Err(why) => {
            let (text, fix) = why.split_once(": ").unwrap_or((why, ""));
            return if installed { fail(NAME, text, fix) } else { warning(NAME, text, fix) };
        }
    };
    let connection = &report.connection;
    let why = connection.last_error.as_deref().unwrap_or("no reason is known");
    let fix = "see the checks of the network";
    match connection.state {
        // An attempt that takes long is no reason for hope: the ones before it failed.
        State::Waiting | State::Connecting if report.never_connected() && connection.last_error.is_some() => {
            fail(NAME, format!("it runs and has not connected since its start: {why}"), fix)
        }
        State::Waiting => fail(NAME, format!("it runs and is not connected: {why}"), fix),
        State::Connecting => warning(NAME, "it runs and is about to connect", "look again in a moment"),
        State::Connected if report.version != OWN => warning(
            NAME,
            format!("it is connected, as version {}, and installed is {OWN}", report.version),
            "systemctl restart nixfleet-agent",
        ),
        State::Connected => ok(NAME, format!("process {} is connected", report.pid)),
    }
}

/// The file has been mended, and the running agent has not read it.
fn old_settings(report: &Report) -> Option<Finding> {
    let used = report.last_good_settings.as_ref()?;
    let text = format!("it runs with settings of {}, from before {} was mended", used.accepted_at, used.file);
    Some(warning("agent", text, "systemctl restart nixfleet-agent"))
}

fn heartbeats(report: Option<&Report>, now: Timestamp) -> Finding {
    const NAME: &str = "heartbeats";
    let Some(report) = report.filter(|report| report.connection.state == State::Connected) else {
        return skipped(NAME, "no agent that is connected");
    };
    let Some(at) = report.last_beat_at.as_deref().and_then(|at| at.parse::<Timestamp>().ok()) else {
        return warning(NAME, "none was sent yet", "look again in a moment");
    };
    let age = Duration::try_from(now.duration_since(at)).unwrap_or_default();
    let interval = Duration::from_secs(report.interval_s);
    let text = format!("the last one {} ago, one every {} s", length(age), report.interval_s);
    let fix = "is the host overloaded? nixfleet-agent status shows how late beats were";
    if age > interval * OFFLINE {
        fail(NAME, format!("{text}: the dashboard takes this host for offline"), fix)
    } else if age > interval + LATE {
        warning(NAME, text, fix)
    } else {
        ok(NAME, text)
    }
}

#[cfg(test)]
mod tests;
