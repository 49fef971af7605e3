//! Heartbeats are on time whenever there is a connection, tell the truth, and are never sent again.

use std::collections::{BTreeMap, BTreeSet};

use nixfleet_dashboard::Recorded;
use nixfleet_protocol::{AgentMessage, Heartbeat};

use super::Job;
use super::excuses::{misnamed, process_lost, request_lost};
use crate::evidence::{Evidence, Excused};
use crate::schedule::Family;

/// Longest time between two heartbeats with an interval of 1 s: after three intervals a dashboard calls a host
/// offline.
pub(crate) const LATE: i64 = 3_000;

/// Three heartbeats with an interval of 1 s are never made within this time: one is due, one may follow new facts.
const BURST: i64 = 500;

/// Two times in milliseconds, each rounded.
const ROUNDING: i64 = 2;

/// How long a dashboard that does not answer `register` may still handle what it was about to.
const MARGIN: i64 = 100;

pub(super) fn check(evidence: &Evidence, jobs: &BTreeMap<String, Job>) -> Vec<String> {
    let mut findings: Vec<String> = gaps(evidence)
        .into_iter()
        .filter(|gap| gap.length > LATE)
        .map(|gap| {
            format!(
                "no heartbeat for {} ms from {} on connection {}",
                gap.length,
                evidence.seconds(gap.from),
                gap.connection
            )
        })
        .collect();
    findings.extend(order(evidence));
    findings.extend(bursts(evidence));
    findings.extend(old(evidence));
    findings.extend(truth(evidence, jobs));
    findings.extend(before_registered(evidence));
    findings
}

pub(super) fn longest_gap(evidence: &Evidence) -> i64 {
    gaps(evidence).iter().map(|gap| gap.length).max().unwrap_or_default()
}

struct Gap {
    connection: u64,
    from: i64,
    length: i64,
}

/// The times between two heartbeats of one connection, from its registration to its end, that nothing excuses.
fn gaps(evidence: &Evidence) -> Vec<Gap> {
    let mut times: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    for recorded in &evidence.messages {
        if matches!(recorded.message, AgentMessage::Heartbeat(_) | AgentMessage::Register(_)) {
            times.entry(recorded.connection).or_default().push(recorded.at_ms);
        }
    }
    let mut gaps = Vec::new();
    for (connection, mut times) in times {
        let opened = evidence.connections.iter().rev().find(|opened| opened.opened <= times[0]);
        times.extend(opened.map(|opened| opened.ended.unwrap_or(evidence.ended)));
        for pair in times.windows(2) {
            let (from, to) = (pair[0], pair[1]);
            let excused = |excused: &Excused| excused.from <= to && excused.to >= from;
            if !evidence.excused.iter().any(excused) {
                gaps.push(Gap { connection, from, length: to - from });
            }
        }
    }
    gaps
}

fn beats(evidence: &Evidence) -> impl Iterator<Item = (&Recorded, &Heartbeat)> {
    evidence.messages.iter().filter_map(|recorded| match &recorded.message {
        AgentMessage::Heartbeat(beat) => Some((recorded, &**beat)),
        _ => None,
    })
}

/// Each agent counts its heartbeats up from 1, and sends none twice.
fn order(evidence: &Evidence) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut last, mut agents) = (0, 0);
    for (recorded, beat) in beats(evidence) {
        let seq = beat.seq.unwrap_or_default();
        let at = evidence.seconds(recorded.at_ms);
        if seq <= last || agents == 0 {
            agents += 1;
        }
        last = seq;
        if agents > evidence.starts {
            findings.push(format!("heartbeat {seq} came again at {at}"));
            break;
        }
        let sent = beat.sent_at.as_deref().and_then(|sent| sent.parse::<jiff::Timestamp>().ok());
        let Some(sent) = sent.map(jiff::Timestamp::as_millisecond) else {
            findings.push(format!("heartbeat {seq} has no time"));
            continue;
        };
        let excused = |excused: &Excused| excused.from <= recorded.at_ms && excused.to >= sent;
        if evidence.family != Family::Clock
            && recorded.at_ms - sent > LATE
            && !evidence.excused.iter().any(excused)
        {
            findings.push(format!("heartbeat {seq} of {} came at {at}", evidence.seconds(sent)));
        }
    }
    findings
}

/// No heartbeat comes twice, and none is older than the registration of its connection. An agent makes none before the
/// answer to `register`, so nothing excuses that, however slow the network is.
fn old(evidence: &Evidence) -> Vec<String> {
    let mut findings = Vec::new();
    let mut registered: BTreeMap<u64, i64> = BTreeMap::new();
    let mut known: BTreeSet<(Option<u64>, Option<&str>)> = BTreeSet::new();
    for recorded in &evidence.messages {
        if matches!(recorded.message, AgentMessage::Register(_)) {
            registered.entry(recorded.connection).or_insert(recorded.at_ms);
        }
        let AgentMessage::Heartbeat(beat) = &recorded.message else { continue };
        let (seq, at) = (beat.seq.unwrap_or_default(), evidence.seconds(recorded.at_ms));
        if !known.insert((beat.seq, beat.sent_at.as_deref())) {
            findings.push(format!("heartbeat {seq} came again at {at}"));
        }
        let sent = beat.sent_at.as_deref().and_then(|sent| sent.parse::<jiff::Timestamp>().ok());
        if let Some(sent) = sent.map(jiff::Timestamp::as_millisecond)
            && let Some(since) = registered.get(&recorded.connection)
            && evidence.family != Family::Clock
            && sent < since - ROUNDING
        {
            findings.push(format!(
                "heartbeat {seq} of {} came at {at}, and its connection was registered at {}",
                evidence.seconds(sent),
                evidence.seconds(*since)
            ));
        }
    }
    findings.truncate(3);
    findings
}

/// Heartbeats that were missed are not made later: three at a time, with nothing between them that is a reason for one.
fn bursts(evidence: &Evidence) -> Option<String> {
    let mut made: Vec<i64> = Vec::new();
    let mut has_reason = false;
    for recorded in &evidence.messages {
        match &recorded.message {
            AgentMessage::Heartbeat(_) if std::mem::take(&mut has_reason) => {}
            AgentMessage::Heartbeat(beat) => {
                let at = beat.sent_at.as_deref().and_then(|sent| sent.parse::<jiff::Timestamp>().ok());
                made.extend(at.map(jiff::Timestamp::as_millisecond));
            }
            AgentMessage::Status(_) | AgentMessage::Register(_) => {
                has_reason = true;
                made.clear();
            }
            _ => {}
        }
        if let [.., first, _, last] = made[..]
            && (0..BURST).contains(&(last - first))
            && evidence.family != Family::Clock
        {
            return Some(format!("three heartbeats were made at {}", evidence.seconds(last)));
        }
    }
    None
}

/// A heartbeat names a command that runs, and a process that is the command's.
fn truth(evidence: &Evidence, jobs: &BTreeMap<String, Job>) -> Vec<String> {
    let mut findings = Vec::new();
    let (mut last, mut agent_since) = (0, 0);
    for (recorded, beat) in beats(evidence) {
        let seq = beat.seq.unwrap_or_default();
        if seq <= std::mem::replace(&mut last, seq) {
            agent_since = recorded.index;
        }
        let at = evidence.seconds(recorded.at_ms);
        let Some(name) = beat.pending_command.as_deref() else {
            if beat.command_pid.is_some() {
                findings.push(format!("the heartbeat at {at} has a process and no command"));
            }
            continue;
        };
        if request_lost(evidence, name, recorded.at_ms) || misnamed(evidence, name, recorded.at_ms) {
            continue;
        }
        // A new agent does not know whether the status arrived. It names the command until it has told it again.
        let told = agent_since..recorded.index;
        let ended =
            |job: &&Job| job.command == name && job.statuses.iter().any(|(_, index, _)| told.contains(index));
        if jobs.values().find(ended).is_some() {
            findings.push(format!("the heartbeat at {at} names `{name}`, which has ended"));
        }
        let known =
            |pid: u32| evidence.side.runs.get(name).is_some_and(|runs| runs.iter().any(|run| run.pid == pid));
        // A process that the limits ended before it could write its begin.
        let unbegun = evidence.family == Family::Limits && !evidence.side.runs.contains_key(name);
        if let Some(pid) = beat.command_pid
            && !known(pid)
            && !process_lost(evidence, name, recorded.at_ms)
            && !unbegun
        {
            findings.push(format!(
                "the heartbeat at {at} says that `{name}` is process {pid}, which it never was"
            ));
        }
    }
    findings.truncate(3);
    findings
}

/// A connection whose `register` got no answer has nothing else.
fn before_registered(evidence: &Evidence) -> Vec<String> {
    let mut findings = Vec::new();
    for (from, until) in &evidence.mute {
        let registered = evidence.messages.iter().filter(|recorded| {
            matches!(recorded.message, AgentMessage::Register(_))
                && (from + MARGIN..until - MARGIN).contains(&recorded.at_ms)
        });
        for register in registered {
            let others = evidence.messages.iter().find(|other| {
                other.connection == register.connection && !matches!(other.message, AgentMessage::Register(_))
            });
            if let Some(other) = others {
                findings.push(format!(
                    "before `registered` on connection {}: {:?}",
                    register.connection, other.message
                ));
            }
        }
    }
    findings
}
