//! `nixfleet-agent doctor`: finds out what is wrong with the agent of this host, and what to do about it.
//!
//! ```text
//! subject.rs             the examined agent: its settings and units
//! network.rs             proxy, name, TCP, TLS, token, clock: the first failure explains the rest
//! local.rs               folders, disk, token file, vitals of the host
//! client_certificate.rs  the certificate by which the dashboard knows this host
//! repo.rs                the checkout and its remote
//! users.rs               names and uids of users
//! service.rs             the rebuild program, the launcher of jobs, the running agent
//! ```
//!
//! The checks change nothing, with one exception: ssh may store the key of the repository's server, as it would
//! during `pull`. (git runs in the environment of jobs; otherwise its result would not apply to them.)
//!
//! Each check has a time limit, and all of them together have one, too; a group that exceeds it is a failure.
//! Functions that judge are pure and separate from those that read the system.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nixfleet_config::{Problem, Source};

mod client_certificate;
mod local;
mod network;
mod repo;
mod service;
mod subject;
mod users;

pub use subject::{Installed, Subject};
pub use users::name_of as user_name;

/// Time limit for all checks together. Longer than the sum of the limits within any group: those of the network take 32 s.
const LIMIT: Duration = Duration::from_secs(35);

/// How good or bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Good.
    Ok,
    /// It works, but needs attention.
    Warning,
    /// Something will not work.
    Fail,
    /// Not checked: not possible, or not needed.
    Skipped,
}

impl Verdict {
    /// The name of the verdict, for people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Name of the check, such as `disk space`.
    pub name: &'static str,
    /// The verdict.
    pub verdict: Verdict,
    /// What was found. It contains no secrets.
    pub text: String,
    /// What to do; empty if nothing.
    pub fix: String,
}

fn finding(name: &'static str, verdict: Verdict, text: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { name, verdict, text: text.into(), fix: fix.into() }
}

fn ok(name: &'static str, text: impl Into<String>) -> Finding {
    finding(name, Verdict::Ok, text, "")
}

fn warning(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
    finding(name, Verdict::Warning, text, fix)
}

/// A warning of the settings, which often has a semicolon and what to do behind it.
fn warning_of_line(name: &'static str, line: &str) -> Finding {
    let (text, fix) = line.split_once("; ").unwrap_or((line, ""));
    warning(name, text, fix.trim_end_matches('.'))
}

fn fail(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
    finding(name, Verdict::Fail, text, fix)
}

fn skipped(name: &'static str, text: impl Into<String>) -> Finding {
    finding(name, Verdict::Skipped, text, "")
}

/// The finding for a check that needs root.
fn root_only(name: &'static str, what: impl std::fmt::Display) -> Finding {
    finding(name, Verdict::Skipped, format!("this user may not look at {what}"), "run it as root")
}

/// The findings of all checks.
#[derive(Debug)]
pub struct Diagnosis {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// The configuration is wrong. Nothing else was checked, unless there are settings of an earlier start.
    pub unusable: bool,
}

impl Diagnosis {
    /// The number of findings with this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

/// Checks that run one after the other, and the name for a finding if they hang.
type Group<S> = (&'static str, fn(&S) -> Vec<Finding>);

/// Runs all checks.
pub fn diagnose(source: &Source) -> Diagnosis {
    let subject = match Subject::find(source) {
        Ok(subject) => subject,
        Err(err) => {
            let mut findings: Vec<Finding> = err.problems().iter().map(wrong_setting).collect();
            findings.push(skipped("the rest", "nothing else can be looked at without a configuration"));
            return Diagnosis { findings, unusable: true };
        }
    };
    let unusable = subject.last_good.is_some();
    let mut findings = subject.findings();
    let groups: [Group<Subject>; 5] = [
        ("state folder", local::state),
        ("network", network::findings),
        ("repository", repo::findings),
        ("service", service::findings),
        ("readings", local::readings),
    ];
    findings.extend(run_groups(&subject, &groups, LIMIT));
    Diagnosis { findings, unusable }
}

fn wrong_setting(problem: &Problem) -> Finding {
    let what = Problem { fix: String::new(), ..problem.clone() };
    fail("configuration", what.to_string(), problem.fix.clone())
}

/// Runs groups of checks concurrently. A group that takes longer than `limit` is reported as failed.
fn run_groups<S: Clone + Send + 'static>(subject: &S, groups: &[Group<S>], limit: Duration) -> Vec<Finding> {
    let until = Instant::now() + limit;
    let started: Vec<_> = groups
        .iter()
        .map(|&(name, group)| {
            let (sender, receiver) = mpsc::channel();
            let subject = subject.clone();
            // Never joined: a thread that hangs in a read cannot be interrupted.
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
                // The receiver is gone if this took too long.
                drop(sender.send(group(&subject)));
            });
            (name, thread.map(|_| receiver))
        })
        .collect();
    let mut findings = Vec::new();
    for (name, receiver) in started {
        let left = until.saturating_duration_since(Instant::now());
        findings.extend(match receiver.map(|receiver| receiver.recv_timeout(left)) {
            Ok(Ok(found)) => found,
            Ok(Err(mpsc::RecvTimeoutError::Timeout)) => {
                vec![fail(
                    name,
                    format!("no answer within {limit:?}"),
                    "a disk or a network file system hangs",
                )]
            }
            Ok(Err(mpsc::RecvTimeoutError::Disconnected)) => {
                vec![fail(name, "the check itself broke down", "please report this")]
            }
            Err(err) => vec![fail(name, format!("cannot start a thread: {err}"), "")],
        });
    }
    findings
}

#[cfg(test)]
mod tests;
