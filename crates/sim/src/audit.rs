//! The auditor: what must hold whatever happened. It knows the messages on the wire, what the programs really did,
//! and what was done to the host; it does not know how the agent works.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nixfleet_protocol::{AgentMessage, Status};
use tokio::time::Instant;

use crate::dashboard::{Noted, Seen};
use crate::faults::{Act, DiskFault, Event, Kind, NetFault, What};
use crate::machine::programs::Ran;

mod beats;
mod output;
mod sleeps;
#[cfg(test)]
mod tests;

/// How late a heartbeat may be: delays of the simulated network are shorter.
const SLACK: Duration = Duration::from_millis(1500);

/// Threads of the agent: `main`, `records`, one for each job that is followed, one for each order.
const MOST_THREADS: usize = 40;

/// Files that one process may have open.
const MOST_OPEN: usize = 64;

/// An agent that is killed earlier than this after it read a request may not have made it durable yet.
const ACCEPTANCE: Duration = Duration::from_secs(3);

/// What an auditor gets.
pub(crate) struct Evidence<'a> {
    pub(crate) begun: Instant,
    pub(crate) events: &'a [Event],
    pub(crate) notes: Vec<Noted>,
    pub(crate) ran: Vec<Ran>,
    pub(crate) interval: Duration,
    /// The size limit may remove lines from logs.
    pub(crate) limited: bool,
    pub(crate) power_cuts: Vec<Instant>,
    /// When the agent tried to connect.
    pub(crate) attempts: Vec<Instant>,
    pub(crate) most_threads: usize,
    pub(crate) most_open: usize,
    /// Of processes that did not end by themselves.
    pub(crate) deaths: Vec<(Instant, Kind)>,
    /// Of processes that ended by themselves.
    pub(crate) exits: Vec<(Instant, Kind)>,
}

impl Evidence<'_> {
    fn happened(&self, what: impl Fn(&What) -> bool) -> bool {
        self.events.iter().any(|event| what(&event.what))
    }

    fn died(&self, kind: Kind) -> bool {
        self.deaths.iter().any(|(_, of)| *of == kind)
    }

    fn lost_power(&self) -> bool {
        !self.power_cuts.is_empty()
    }

    fn messages(&self) -> impl Iterator<Item = (&Noted, &AgentMessage)> {
        self.notes.iter().filter_map(|noted| match &noted.what {
            Seen::Message(message) => Some((noted, &**message)),
            _ => None,
        })
    }

    /// The statuses of jobs.
    fn statuses(&self) -> impl Iterator<Item = (&Noted, &Status, &str)> {
        self.messages().filter_map(|(noted, message)| match message {
            AgentMessage::Status(status) => Some((noted, status, status.job_id.as_deref()?)),
            _ => None,
        })
    }

    /// Whether errors of the disk met such processes.
    fn disk_failed(&self, of: Kind) -> bool {
        self.happened(|what| match what {
            What::Disk { who, fault, .. } => {
                *who == of && !matches!(fault, DiskFault::Crash | DiskFault::PowerCut)
            }
            _ => false,
        })
    }

    /// Whether an agent ended after it had sent what arrived at that time, or the machine lost its power
    /// then. An agent ends by itself some time after it was told to.
    fn agent_ended_after(&self, at: Instant) -> bool {
        let is_told = |what: &What| matches!(what, What::StopAgent | What::Dashboard(Act::Restart));
        let told_before = |exit: Instant| {
            self.events.iter().any(|event| is_told(&event.what) && self.begun + event.at <= exit)
        };
        let of_agents = |ends: &[(Instant, Kind)], counts: &dyn Fn(Instant) -> bool| {
            ends.iter().any(|(end, kind)| *kind == Kind::Agent && *end + SLACK >= at && counts(*end))
        };
        self.power_cuts.iter().any(|cut| *cut + SLACK >= at)
            || of_agents(&self.deaths, &|_| true)
            || of_agents(&self.exits, &told_before)
    }

    /// Whether it may be forgotten that a request was answered: there was no record of its job, because the disk took
    /// none, and the answer could not be noted for the same reason. If the agent ends then, a request that is repeated
    /// runs.
    fn may_forget_answer(&self, command: &str) -> bool {
        let not_started = |(noted, status, _): (&Noted, &Status, &str)| {
            status.command == command
                && status.outcome.as_deref() == Some("not_started")
                && self.agent_ended_after(noted.at)
        };
        self.disk_failed(Kind::Agent) && self.statuses().any(not_started)
    }

    /// Whether it may be forgotten in which words the end of a job was told: the disk did not take them, and the agent
    /// or the machine went down before it did. What is told then is made from what is left: the outcome of a job that
    /// has no result is `lost` for ever, in other words, and a job that was not started for want of a record may be
    /// `lost`.
    fn may_forget_words(&self, first: (Instant, &Status), again: &Status) -> bool {
        let (at, first) = first;
        let outcomes = (first.outcome.as_deref(), again.outcome.as_deref());
        matches!(outcomes, (Some("lost" | "not_started"), Some("lost")))
            && self.disk_failed(Kind::Agent)
            && self.agent_ended_after(at)
    }
}

/// Everything that does not hold.
pub(crate) fn audit(evidence: &Evidence<'_>) -> Vec<String> {
    let mut findings = Vec::new();
    beats::check(evidence, &mut findings);
    results(evidence, &mut findings);
    output::check(evidence, &mut findings);
    one_at_a_time(evidence, &mut findings);
    answers(evidence, &mut findings);
    sleeps::check(evidence, &mut findings);
    if evidence.most_threads > MOST_THREADS {
        findings.push(format!(
            "a process had {} threads, at most {MOST_THREADS} are allowed",
            evidence.most_threads
        ));
    }
    if evidence.most_open > MOST_OPEN {
        findings.push(format!(
            "a process had {} open files, at most {MOST_OPEN} are allowed",
            evidence.most_open
        ));
    }
    findings
}

/// Every job has one result, whatever is repeated, and it is the true one.
fn results(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let mut by_job: BTreeMap<&str, (Instant, &Status)> = BTreeMap::new();
    for (noted, status, job) in evidence.statuses() {
        let (at, first) = *by_job.entry(job).or_insert((noted.at, status));
        if comparable(first) != comparable(status) && !evidence.may_forget_words((at, first), status) {
            findings.push(format!(
                "`{}` was told as {:?} (exit {}: {}) and again as {:?} (exit {}: {})",
                status.command,
                first.outcome,
                first.exit_code,
                first.message,
                status.outcome,
                status.exit_code,
                status.message
            ));
        }
    }
    for (_, status) in by_job.values() {
        if let Err(why) = is_true(evidence, status) {
            findings.push(format!(
                "`{}` was told as {:?} (exit {}: {}), but {why}",
                status.command, status.outcome, status.exit_code, status.message
            ));
        }
    }
    let mut jobs: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (_, status, job) in evidence.statuses() {
        jobs.entry(&status.command).or_default().insert(job);
    }
    // Each command has one request here, by one id: whatever is repeated is the same request.
    let forgotten = |command: &str| evidence.may_forget_answer(command);
    for (command, jobs) in jobs.iter().filter(|(command, jobs)| jobs.len() > 1 && !forgotten(command)) {
        findings.push(format!("the one request for `{command}` became {} jobs", jobs.len()));
    }
}

/// What must be the same whenever a status is told again. The generation is that of the host at the moment.
fn comparable(status: &Status) -> Status {
    Status { generation: String::new(), ..status.clone() }
}

/// Whether a result is what the program did.
fn is_true(evidence: &Evidence<'_>, status: &Status) -> Result<(), String> {
    let ran: Vec<&Ran> = evidence.ran.iter().filter(|ran| ran.command == status.command).collect();
    let ended = |ran: &&Ran| ran.ended.map(|(how, _)| how);
    let killed = evidence.died(Kind::Supervisor) || evidence.lost_power();
    match status.outcome.as_deref().unwrap_or_default() {
        "ok" => {
            let good = ran.iter().any(|ran| ended(ran) == Some(Ok(0)) && !ran.orphaned);
            good.then_some(()).ok_or_else(|| format!("its program did not end with 0: {}", what(&ran)))
        }
        "failed" => {
            let told = |ran: &&Ran| match ended(ran) {
                Some(Ok(code)) => code == status.exit_code && code != 0,
                // A signal of its supervisor is a stop or a timeout, and is told as one.
                Some(Err(signal)) => signal + 128 == status.exit_code && !ran.signals.contains(&signal),
                None => false,
            };
            let good = ran.iter().any(told);
            good.then_some(()).ok_or_else(|| format!("its program did not end so: {}", what(&ran)))
        }
        "stopped" => {
            let signalled = ran.iter().any(|ran| !ran.signals.is_empty());
            let asked = evidence.happened(|what| matches!(what, What::Dashboard(Act::Stop | Act::Kill)));
            (signalled && asked).then_some(()).ok_or_else(|| format!("nothing stopped it: {}", what(&ran)))
        }
        "not_started" if ran.is_empty() || evidence.may_forget_answer(&status.command) => Ok(()),
        "not_started" => Err(format!("it ran: {}", what(&ran))),
        "interrupted_by_reboot" if evidence.lost_power() => Ok(()),
        "interrupted_by_reboot" => Err("the machine did not go down".to_owned()),
        "lost" => {
            let whole = ran.iter().any(|ran| ran.ended.is_some() && !ran.orphaned);
            let launch = evidence.died(Kind::Agent)
                || evidence
                    .happened(|what| matches!(what, What::Launcher { .. } | What::NoThread | What::Hang(_)));
            if killed || evidence.disk_failed(Kind::Supervisor) || (ran.is_empty() && launch) {
                return Ok(());
            }
            Err(if whole {
                format!("nothing happened to its supervisor: {}", what(&ran))
            } else {
                "nothing explains that".to_owned()
            })
        }
        other => Err(format!("`{other}` has no cause here")),
    }
}

fn what(ran: &[&Ran]) -> String {
    if ran.is_empty() {
        return "it never ran".to_owned();
    }
    let one = |ran: &&Ran| {
        format!("{:?}, signals {:?}, orphaned {}", ran.ended.map(|(how, _)| how), ran.signals, ran.orphaned)
    };
    ran.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// One command runs at a time, and no request runs twice.
fn one_at_a_time(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let mut ran: Vec<&Ran> = evidence.ran.iter().collect();
    ran.sort_by_key(|ran| ran.begun);
    for pair in ran.windows(2) {
        if pair[0].ended.is_none_or(|(_, at)| at > pair[1].begun) {
            findings.push(format!("`{}` began while `{}` ran", pair[1].command, pair[0].command));
        }
    }
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for ran in &evidence.ran {
        *count.entry(&ran.command).or_default() += 1;
    }
    for (command, count) in count.into_iter().filter(|(_, count)| *count > 1) {
        findings.push(format!("the one request for `{command}` ran {count} times"));
    }
}

/// Every request that the agent certainly read has an answer.
fn answers(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let named: BTreeSet<&str> = evidence
        .messages()
        .filter_map(|(_, message)| match message {
            AgentMessage::Status(status) => Some(status.command.as_str()),
            AgentMessage::CommandRejected(rejected) => rejected.command.as_deref(),
            _ => None,
        })
        .collect();
    for ran in evidence.ran.iter().filter(|ran| !named.contains(ran.command.as_str())) {
        findings.push(format!("`{}` ran and was never answered", ran.command));
    }
    // By connection: the requests in order, and how many of all requests were read.
    let mut asked: Vec<(&Noted, &str)> = Vec::new();
    let mut read = 0;
    for noted in &evidence.notes {
        match &noted.what {
            Seen::Asked(name) => asked.push((noted, name)),
            Seen::Read(count) => {
                let certain = asked
                    .iter()
                    .take(*count)
                    .skip(read)
                    .filter(|(sent, _)| sent.connection == noted.connection);
                for (_, name) in
                    certain.filter(|(_, name)| name.starts_with("work-") && !named.contains(name))
                {
                    let killed = evidence.deaths.iter().any(|(at, kind)| {
                        *kind == Kind::Agent && *at + ACCEPTANCE > noted.at && *at < noted.at + ACCEPTANCE
                    });
                    let excused = killed || loses_answers(evidence, noted);
                    if !excused {
                        findings.push(format!("the request `{name}` was read and never answered"));
                    }
                }
                read = read.max(*count);
            }
            _ => {}
        }
    }
}

/// Whether an answer that is no status of a job may be lost: nobody proves that it arrived.
fn loses_answers(evidence: &Evidence<'_>, read: &Noted) -> bool {
    let disturbed = evidence.notes.iter().any(|noted| {
        noted.connection == read.connection
            && matches!(noted.what, Seen::Disturbed | Seen::Closed)
            && noted.at < read.at + ACCEPTANCE + Duration::from_secs(30)
    });
    disturbed || evidence.happened(|what| matches!(what, What::Net(NetFault::Stall)))
}
