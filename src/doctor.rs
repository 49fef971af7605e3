//! `nixfleet-agent doctor`: what is wrong with this host's agent, and what to do about it.
//!
//! ```text
//! subject.rs      the agent that is meant: its settings, its units
//! unit.rs         a unit's text, as systemctl shows it
//! network.rs      name, TCP, TLS, token, clock: the first that fails explains the rest
//! certificate.rs  until when a certificate is valid
//! local.rs        folders, disk, token file, readings of the host
//! repo.rs         the checkout and where it comes from
//! service.rs      what rebuilds, what starts jobs, the agent that runs
//! ```
//!
//! It looks and changes nothing, but that ssh may note the key of the repository's server, as `pull` would
//! (the environment is that of jobs, or it would prove nothing of them). Each check ends in bounded time, and all of them together in [`LIMIT`]:
//! what hangs by then has its verdict. Verdicts are functions of what was seen, apart from the looking.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nixfleet_config::{Problem, Source};

mod certificate;
mod local;
mod network;
mod repo;
mod service;
mod subject;
mod unit;

pub use subject::Subject;

/// For all checks together. Above the sum of the limits within each group.
const LIMIT: Duration = Duration::from_secs(30);

/// What is thought of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warning,
    /// Something will not work.
    Fail,
    /// Could not or need not be looked at.
    Skipped,
}

impl Verdict {
    /// For people and programs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Fail => "fail",
            Self::Skipped => "skipped",
        }
    }
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What was looked at, such as `disk space`.
    pub name: &'static str,
    /// How that is.
    pub verdict: Verdict,
    /// What was seen. No secrets.
    pub text: String,
    /// What to do; empty where there is nothing to do.
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

fn fail(name: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Finding {
    finding(name, Verdict::Fail, text, fix)
}

fn skipped(name: &'static str, text: impl Into<String>) -> Finding {
    finding(name, Verdict::Skipped, text, "")
}

/// What only root may look at.
fn root_only(name: &'static str, what: impl std::fmt::Display) -> Finding {
    finding(name, Verdict::Skipped, format!("this user may not look at {what}"), "run it as root")
}

/// All findings.
#[derive(Debug)]
pub struct Diagnosis {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
    /// There was no configuration to go by.
    pub unusable: bool,
}

impl Diagnosis {
    /// How many findings have this verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

/// Checks that belong together, and their name should they hang.
type Group<S> = (&'static str, fn(&S) -> Vec<Finding>);

/// Looks at everything.
pub fn diagnose(source: &Source) -> Diagnosis {
    let subject = match Subject::find(source) {
        Ok(subject) => subject,
        Err(err) => {
            let mut findings: Vec<Finding> = err.problems().iter().map(wrong_setting).collect();
            findings.push(skipped("the rest", "nothing else can be looked at without a configuration"));
            return Diagnosis { findings, unusable: true };
        }
    };
    let mut findings = subject.findings();
    let groups: [Group<Subject>; 5] = [
        ("state folder", local::state),
        ("network", network::look),
        ("repository", repo::look),
        ("service", service::look),
        ("readings", local::readings),
    ];
    findings.extend(side_by_side(&subject, &groups, LIMIT));
    Diagnosis { findings, unusable: false }
}

fn wrong_setting(problem: &Problem) -> Finding {
    let what = Problem { fix: String::new(), ..problem.clone() };
    fail("configuration", what.to_string(), problem.fix.clone())
}

/// Runs groups of checks at the same time, and gives up those that take longer than `limit`.
fn side_by_side<S: Clone + Send + 'static>(
    subject: &S,
    groups: &[Group<S>],
    limit: Duration,
) -> Vec<Finding> {
    let until = Instant::now() + limit;
    let started: Vec<_> = groups
        .iter()
        .map(|&(name, look)| {
            let (sender, receiver) = mpsc::channel();
            let subject = subject.clone();
            // Never joined: what hangs in a dead disk cannot be interrupted.
            let thread = thread::Builder::new().name(name.to_owned()).spawn(move || {
                // Nobody waits any more if this took too long.
                drop(sender.send(look(&subject)));
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
