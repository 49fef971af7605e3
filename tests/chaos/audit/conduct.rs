//! How the agent behaved: it lived, it was modest, it ran one command at a time, and it came to rest.

use std::collections::BTreeMap;

use nixfleet_dashboard::{Rule, Violation};
use nixfleet_protocol::AgentMessage;

use super::excuses::{Excuses, log_damaged, request_lost};
use crate::act::{Act, Hit, Who};
use crate::evidence::{Asked, Evidence};

/// Threads of the agent: some fifteen for what it measures and follows, four attempts to connect, and one for each of
/// a few orders and supervisors.
pub(crate) const MAX_THREADS: u64 = 48;

/// File descriptors of the agent.
pub(crate) const MAX_FILES: u64 = 96;

/// Memory of the agent in KiB. It is the unoptimized program with its symbols; libraries are among it.
pub(crate) const MAX_KIB: u64 = 96 * 1024;

/// Bytes of the agent's log in the half minute of a schedule: some 2,000 lines.
const MAX_LOG: u64 = 256 * 1024;

pub(super) fn check(evidence: &Evidence) -> Vec<String> {
    let mut findings = Vec::new();
    findings.extend(evidence.deaths.iter().map(|how| format!("the agent ended by itself: {how}")));
    findings.extend(evidence.together.first().map(|two| format!("two commands ran at a time: {two}")));
    findings.extend(evidence.side.overlaps.first().map(|text| format!("two commands ran at a time: {text}")));
    let needs = evidence.needs;
    for (what, needed, most) in [
        ("threads", needs.threads, MAX_THREADS),
        ("file descriptors", needs.files, MAX_FILES),
        ("KiB of memory", needs.kib, MAX_KIB),
        ("bytes of log", evidence.log_bytes, MAX_LOG),
    ] {
        if needed > most {
            findings.push(format!("the agent needed {needed} {what}, more than {most}"));
        }
    }
    let log = std::fs::read_to_string(evidence.path().join("agent.log")).unwrap_or_default();
    let forged = log.lines().find(|line| !line.starts_with("20") || !line.contains("Z "));
    findings.extend(forged.map(|line| format!("a line of the log that the agent did not begin: {line}")));
    let rest = &evidence.rest;
    if rest.after.is_none() {
        findings.push(format!("it never came to rest: {}", rest.missing.join("; ")));
    }
    if rest.exit != "exit status: 0" {
        findings.push(format!("the last agent was told to end: {}", rest.exit));
    }
    findings.extend(rejected_too_often(evidence));
    let told = evidence.violations.iter().filter(|violation| !is_excused(evidence, violation));
    findings.extend(told.map(|violation| format!("existing dashboards could not cope with: {violation}")));
    findings
}

/// How often each request was rejected.
fn rejections(evidence: &Evidence) -> BTreeMap<&str, usize> {
    let mut rejections: BTreeMap<&str, usize> = BTreeMap::new();
    for recorded in &evidence.messages {
        if let AgentMessage::CommandRejected(rejected) = &recorded.message
            && let Some(id) = rejected.command_id.as_deref()
        {
            *rejections.entry(id).or_default() += 1;
        }
    }
    rejections
}

/// A request is not rejected more often than it was sent.
fn rejected_too_often(evidence: &Evidence) -> Vec<String> {
    let rejections = rejections(evidence);
    let times = |asked: &Asked| rejections.get(asked.id.as_str()).copied().unwrap_or_default();
    let too_often = evidence.asked.iter().filter(|asked| times(asked) > asked.sent.len());
    too_often
        .map(|asked| {
            format!("`{}` was sent {} times and rejected {}", asked.name, asked.sent.len(), times(asked))
        })
        .collect()
}

/// A log that was damaged, whose writer was killed, or for which the disk had no room, may have other numbers
/// than the strict rules want: the audit of lines looks at these jobs. And a request that was sent twice may
/// be answered twice. What was done after the violation explains nothing.
pub(super) fn is_excused(evidence: &Evidence, violation: &Violation) -> bool {
    let at = violation.at.parse::<jiff::Timestamp>().unwrap().as_millisecond();
    let asked = || {
        let says = |field: &str, text: &str| violation.message.contains(&format!("\"{field}\":\"{text}\""));
        let named = move |asked: &&Asked| says("command_id", &asked.id) || says("command", &asked.name);
        evidence.asked.iter().filter(named)
    };
    let harmed = |asked: &Asked| {
        let killed = evidence.done.iter().any(|done| {
            let supervisor = matches!(done.act, Act::Signal(Who::Supervisor, Hit::Kill));
            supervisor && done.hit && done.at <= at && done.note.contains(&format!("`{}`", asked.name))
        });
        let full = Excuses::new(evidence, asked, at).any(|act| matches!(act, Act::FullDisk(..)));
        killed || full || log_damaged(evidence, &asked.name, at) || request_lost(evidence, &asked.name, at)
    };
    match violation.rule {
        Rule::LineNumbers => asked().any(harmed),
        // Two jobs under one name, if the agent could not know that the first one was accepted.
        Rule::OutputAfterStatus => asked().any(|asked| request_lost(evidence, &asked.name, at)),
        Rule::Rejection | Rule::Unasked => asked().any(|asked| asked.sent.len() > 1),
        _ => false,
    }
}
