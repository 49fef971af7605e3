//! Compares: the new settings, and what is different on this host. No I/O.

use std::path::Path;

use nixfleet_config::{
    Config, DEFAULT_FILE, DEFAULT_INTERVAL, INTERVAL, Problem, Source, TOKEN_VARIABLE, near_hostname,
};
use nixfleet_os::short;

use super::old::Origin;
use super::plan::{Difference, Plan, Setting, Value};
use super::{Host, Old, repository, services, text};

/// Seconds between heartbeats of the Go agent if nothing was set.
const OLD_INTERVAL: i64 = 5;

/// The file from which the unit of `dist/systemd` passes the token.
pub const TOKEN_FILE: &str = "/etc/nixfleet/token";

/// How a unit says the name of its host (systemd.unit(5), specifiers). That is the default here.
const OWN_NAME: [&str; 2] = ["%H", "%l"];

/// Variables whose text becomes the value of a key as it is.
const SAME: [(&str, &str); 4] = [
    ("NIXFLEET_THEME_COLOR", "theme_color"),
    ("NIXFLEET_LOCATION", "location"),
    ("NIXFLEET_DEVICE_TYPE", "device_type"),
    ("NIXFLEET_URL", "url"),
];

/// Variables that are handled, each in a function of its own.
const OTHERS: [&str; 11] = [
    TOKEN_VARIABLE,
    "NIXFLEET_TOKEN_CACHE",
    "NIXFLEET_INTERVAL",
    "NIXFLEET_HOSTNAME",
    "NIXFLEET_NIXPKGS_VERSION",
    "NIXFLEET_LOG_LEVEL",
    "NIXFLEET_REPO_URL",
    "NIXFLEET_REPO_DIR",
    "NIXFLEET_NIXCFG",
    "NIXFLEET_BRANCH",
    "NIXFLEET_SSH_KEY",
];

/// The order of keys, which is that of the table in docs/settings.md.
const ORDER: [&str; 12] = [
    "url",
    "interval",
    "hostname",
    "theme_color",
    "location",
    "device_type",
    "log_level",
    "repo.url",
    "repo.dir",
    "repo.branch",
    "repo.ssh_key",
    "rebuild.flake_attr",
];

/// Compares the old settings with what they mean here, on this host.
pub fn compare(old: &Old, host: &Host) -> Plan {
    let mut plan = Plan::default();
    for (name, key) in SAME {
        if let Some(text) = old.text(name) {
            plan.set(key, text, None);
        }
    }
    interval(&mut plan, old);
    hostname(&mut plan, old, host);
    log_level(&mut plan, old);
    repository::compare(&mut plan, old, host);
    token(&mut plan, old, host);
    left_out(&mut plan, old, host);
    let rank = |setting: &Setting| ORDER.iter().position(|key| *key == setting.key);
    short::sort_by(&mut plan.settings, |one, other| rank(one).cmp(&rank(other)));
    let named = plan.settings.iter().any(|setting| setting.key == "hostname");
    let problems = problems(&text::toml(&plan, old), if named { "" } else { &host.name });
    plan.is_complete = problems.is_empty();
    // First of all, because without them there is no agent.
    plan.differences.splice(0..0, problems.iter().map(|problem| to_be_set(problem, host)));
    services::compare(&mut plan, old, host);
    plan
}

/// What this agent would say about a file with this text, on a host with this name. Token and state folder come
/// from elsewhere.
fn problems(text: &str, hostname: &str) -> Vec<Problem> {
    let given = [
        (TOKEN_VARIABLE, "not-looked-at"),
        ("NIXFLEET_STATE_DIR", "/var/lib/nixfleet-agent"),
        ("NIXFLEET_HOSTNAME", hostname),
    ];
    let environment = given.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let source = Source { file: None, environment };
    match Config::of_text(&source, Path::new(DEFAULT_FILE), text) {
        Ok(_) => Vec::new(),
        Err(err) => err.problems().to_vec(),
    }
}

/// The fixes of problems name variables; here everything is a key of the file, or an option.
fn to_be_set(problem: &Problem, host: &Host) -> Difference {
    let insecure = format!("{} = true", text::name("allow_insecure", host.has_module));
    let fix = problem.fix.replace("NIXFLEET_ALLOW_INSECURE=1", &insecure);
    let text = format!("{}: {}", problem.key, problem.what);
    Difference { about: "to be set", text, fix: fix.replace("NIXFLEET_URL", "url") }
}

/// Whether this agent accepts a value of a key.
fn is_accepted(key: &str, value: &str) -> bool {
    let line = format!("{key} = {}\n", text::toml_text(value));
    problems(&line, "host").iter().all(|problem| problem.key != key)
}

fn interval(plan: &mut Plan, old: &Old) {
    const ABOUT: &str = "interval";
    let (least, most) = (INTERVAL.start(), INTERVAL.end());
    let (seconds, comment) = match old.text("NIXFLEET_INTERVAL") {
        None => {
            let text = format!(
                "none was set, which meant a heartbeat every {OLD_INTERVAL} s; here it means {DEFAULT_INTERVAL} s"
            );
            let fix = format!("interval = {OLD_INTERVAL} keeps the pace; without it, {DEFAULT_INTERVAL} s");
            plan.tell(ABOUT, text, fix);
            (OLD_INTERVAL, Some("The default of the Go agent. Here it is 30."))
        }
        Some(text) => match text.trim().parse::<i64>() {
            Ok(seconds) if INTERVAL.contains(&seconds) => (seconds, None),
            Ok(seconds) if seconds > *most => {
                let text = format!("{seconds} s is more than this agent accepts");
                plan.tell(ABOUT, text, format!("{most}, the most, is set instead"));
                (*most, Some("The most that is possible. It was more."))
            }
            _ => {
                let what = format!("{text:?} is no number of seconds from {least} to {most}");
                plan.tell(ABOUT, what, format!("it is left out, which means {DEFAULT_INTERVAL} s"));
                (DEFAULT_INTERVAL, None)
            }
        },
    };
    if seconds != DEFAULT_INTERVAL {
        plan.settings.push(Setting { key: "interval", value: Value::Number(seconds), comment });
    }
}

/// The name for the dashboard. Dashboards accept letters, digits and hyphens, and this agent takes the part up to
/// the first dot.
fn hostname(plan: &mut Plan, old: &Old, host: &Host) {
    const ABOUT: &str = "hostname";
    let given = old.text("NIXFLEET_HOSTNAME").filter(|name| !OWN_NAME.contains(name));
    let name = given.unwrap_or(&host.name);
    let Some(new) = near_hostname(name) else {
        // That the host's own name cannot be used is among the problems of the settings.
        if given.is_some() {
            let text = format!("{name:?} is left out: dashboards refuse it");
            plan.tell(ABOUT, text, "set hostname to a short name such as web-1");
        }
        return;
    };
    if new == name {
        // Without the setting it is the name of the host.
        if Some(name) != host.name.split('.').next() {
            plan.set("hostname", name, None);
        }
        return;
    }
    let is_domain = name.split('.').next() == Some(&new);
    let why = if is_domain { "has a domain" } else { "is a name that dashboards refuse" };
    plan.set("hostname", &new, Some("Dashboards accept letters, digits and hyphens only."));
    plan.set("rebuild.flake_attr", name, Some("The name that the flake has for this host."));
    plan.tell(
        ABOUT,
        format!("{name:?} {why}: this host becomes {new}, which is another row in the dashboard"),
        format!(
            "is {new} right? Remove the row of the old name; {} keeps {name:?} for the flake",
            text::name("rebuild.flake_attr", host.has_module)
        ),
    );
}

fn log_level(plan: &mut Plan, old: &Old) {
    let Some(level) = old.text("NIXFLEET_LOG_LEVEL") else { return };
    if !is_accepted("log_level", level) {
        plan.tell(
            "log level",
            format!("{level:?} is no level, and meant info; here it would be an error"),
            "it is left out, which means info",
        );
    } else if level != "info" {
        plan.set("log_level", level, None);
    }
}

fn token(plan: &mut Plan, old: &Old, host: &Host) {
    const ABOUT: &str = "token";
    if let ([(path, _)], None) = (old.unreadable.as_slice(), old.variables.get(TOKEN_VARIABLE)) {
        // The module of the Go agent had its `tokenFile` as the only file with variables.
        plan.token_file = Some(path.clone());
    }
    for (path, why) in &old.unreadable {
        let fix = if host.has_module && plan.token_file.is_some() {
            "it is named in tokenFile; is the token in it? What else it sets is missing above"
        } else {
            "what it sets is missing above"
        };
        plan.tell(ABOUT, format!("{} was not read: {why}", path.display()), fix);
    }
    let place = if host.has_module {
        "a file of its own, named in tokenFile".to_owned()
    } else {
        format!("{TOKEN_FILE}, mode 0400: the unit reads it there")
    };
    let Some(variable) = old.variables.get(TOKEN_VARIABLE) else {
        if old.unreadable.is_empty() {
            plan.tell(ABOUT, "none was seen", format!("write it to {place}"));
        }
        return;
    };
    match &variable.origin {
        Origin::Unit => plan.tell(
            ABOUT,
            "it is in Environment= of the unit, where everybody on this host can read it",
            format!("make a new one, and write it alone to {place}"),
        ),
        Origin::File { path, mode } => {
            let shown = path.display();
            let who = if mode & 0o077 == 0 { "" } else { ", so others on this host may read it" };
            plan.token_file = Some(path.clone());
            let fix = format!(
                "write the token alone to {place}; a file with variables is understood there, too, with a warning"
            );
            plan.tell(ABOUT, format!("it is in {shown} as a variable (mode {mode:04o}{who})"), fix);
        }
    }
}

/// Variables that do not become a setting.
fn left_out(plan: &mut Plan, old: &Old, host: &Host) {
    if let Some(version) = old.text("NIXFLEET_NIXPKGS_VERSION") {
        plan.tell(
            "nixpkgs version",
            format!(
                "{version:?} is left out: it is read from the running system, and stays right after a switch"
            ),
            format!("to report that one for ever, set {}", text::name("nixpkgs_version", host.has_module)),
        );
    }
    if old.text("NIXFLEET_TOKEN_CACHE").is_some() {
        plan.tell(
            "token cache",
            "NIXFLEET_TOKEN_CACHE is gone: the token is read from its file for each connection",
            "remove the file that it names",
        );
    }
    for name in &old.garbled {
        plan.tell(
            "variables",
            format!("{name} is left out: its value has control characters"),
            "set it again",
        );
    }
    let known = |name: &str| OTHERS.contains(&name) || SAME.iter().any(|(known, _)| *known == name);
    for name in old.variables.keys().filter(|name| !known(name)) {
        plan.tell(
            "variables",
            format!("{name} is none of the Go agent's, and is left out"),
            if host.has_module {
                "if it is a setting of this agent (see docs/settings.md), put it into settings"
            } else {
                "if it is a setting of this agent (see docs/settings.md), write it to the file"
            },
        );
    }
}
