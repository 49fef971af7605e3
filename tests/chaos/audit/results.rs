//! Every request has one answer, and it is true.

use std::collections::BTreeMap;

use nixfleet_protocol::{AgentMessage, Status, StatusKind};

use super::{Excuses, Job, is_damaged, names, own_record_damaged, record_damaged};
use crate::act::{Act, Hit, Who};
use crate::commands::Run;
use crate::damage::{Damaged, Target};
use crate::evidence::{Asked, Evidence};

pub(super) fn check(evidence: &Evidence, jobs: &BTreeMap<String, Job>) -> Vec<String> {
    let mut findings: Vec<String> = evidence
        .asked
        .iter()
        .filter(|asked| !asked.sent.is_empty())
        .flat_map(|asked| request(evidence, jobs, asked))
        .collect();
    let names = names(evidence);
    let foreign = jobs
        .iter()
        .filter(|(id, job)| !names.contains(job.command.as_str()) && !own_record_damaged(evidence, id));
    findings.extend(foreign.map(|(_, job)| format!("a job of `{}`, which nobody asked for", job.command)));
    findings
}

fn request(evidence: &Evidence, jobs: &BTreeMap<String, Job>, asked: &Asked) -> Vec<String> {
    let name = asked.name.as_str();
    let mut findings = Vec::new();
    let own: Vec<(&String, &Job)> = jobs.iter().filter(|(_, job)| job.command == name).collect();
    let runs = evidence.side.runs.get(name).map(Vec::as_slice).unwrap_or_default();
    // On a full disk there is no record of a job that was not started for that reason, and no answer can be noted.
    let unwritten = own.iter().filter_map(|(_, job)| job.statuses.first()).any(|(at, _, status)| {
        status.outcome.as_deref() == Some("not_started") && disk_was_full(evidence, *at)
    });
    let forgotten = unwritten || record_damaged(evidence, name);
    if own.len() > 1 && !forgotten {
        findings.push(format!(
            "`{name}` was told as {} jobs: {:?}",
            own.len(),
            own.iter().map(|(id, _)| id).collect::<Vec<_>>()
        ));
    }
    if runs.len() > 1 && !forgotten {
        findings.push(format!("`{name}` ran {} times for one request: {runs:?}", runs.len()));
    }
    let mut refusals = Vec::new();
    for recorded in &evidence.messages {
        match &recorded.message {
            AgentMessage::CommandRejected(rejected) if rejected.command_id.as_ref() == Some(&asked.id) => {
                refusals.push((recorded.index, format!("rejected: {}", rejected.reason)));
            }
            AgentMessage::Status(status) if status.command == name && status.job_id.is_none() => {
                refusals.push((recorded.index, format!("refused: {}", status.message)));
            }
            _ => {}
        }
    }
    let told = own.iter().any(|(_, job)| !job.statuses.is_empty());
    if !told && refusals.is_empty() {
        findings.push(format!("`{name}` has no answer; it ran: {runs:?}"));
    }
    if !told && !runs.is_empty() && !forgotten {
        findings.push(format!("`{name}` ran, and was told only as {refusals:?}"));
    }
    if let Some((_, job)) = own.first()
        && let Some((_, text)) = refusals.iter().find(|(at, _)| *at > job.first)
        && !forgotten
    {
        findings.push(format!("`{name}` ran as a job, and was {text} afterwards"));
    }
    let several = own.len() > 1;
    for (id, job) in own {
        let Some((at, _, first)) = job.statuses.first() else {
            if !forgotten {
                findings.push(format!("`{name}` ({id}) has no status"));
            }
            continue;
        };
        // The counts are those of the log, which may be damaged between two repeats.
        let counts = !is_damaged(evidence, name, |_| true);
        for (_, _, other) in &job.statuses[1..] {
            if plain(other, counts) != plain(first, counts) && !own_record_damaged(evidence, id) {
                findings.push(format!("`{name}` ({id}) has two results: {first:?} and {other:?}"));
            }
        }
        // The record of another job of this request was damaged: it may be the one that ran.
        let of_another = |damaged: &Damaged| {
            let job = damaged.path.file_stem();
            damaged.target == Target::Record && job.is_some_and(|job| job != id.as_str())
        };
        if forgotten && (runs.len() > 1 || several || is_damaged(evidence, name, of_another)) {
            // Nobody can say which run it was.
            continue;
        }
        let excuses = Excuses::new(evidence, asked, *at);
        if let Err(why) = is_true(first, runs, &excuses) {
            findings.push(format!("`{name}` ({id}): {why}: {first:?}; it ran: {runs:?}"));
        }
    }
    findings
}

/// Whether the disk was full at that time, or a moment before or after it.
fn disk_was_full(evidence: &Evidence, at: i64) -> bool {
    evidence.done.iter().any(|done| {
        let Act::FullDisk(_, length) = done.act else { return false };
        let until = done.at + i64::try_from(length.as_millis()).unwrap();
        done.hit && (done.at - MOMENT..until + MOMENT).contains(&at)
    })
}

/// Milliseconds from the result of a job to what is noted about it.
const MOMENT: i64 = 500;

/// A status without the commit of the host, which may change between two repeats, and perhaps without the counts.
fn plain(status: &Status, counts: bool) -> Status {
    let (lines, dropped_lines) = if counts { (status.lines, status.dropped_lines) } else { (None, None) };
    Status { generation: String::new(), lines, dropped_lines, ..status.clone() }
}

/// Whether the result of a job is what happened.
fn is_true(status: &Status, runs: &[Run], excuses: &Excuses<'_>) -> Result<(), &'static str> {
    let exit = runs.last().and_then(|run| run.exit);
    let code = status.exit_code;
    let outcome = status.outcome.as_deref().unwrap_or_default();
    if (status.status == StatusKind::Ok) != (code == 0) || (outcome == "ok") != (code == 0) {
        return Err("word, outcome and exit code disagree");
    }
    let supervisor_hit =
        excuses.any(|act| matches!(act, Act::Signal(Who::Supervisor, Hit::Kill | Hit::Term)));
    let supervisor_killed = excuses.any(|act| matches!(act, Act::Signal(Who::Supervisor, Hit::Kill)));
    let command_hit = excuses.any(|act| matches!(act, Act::Signal(Who::Command, Hit::Kill | Hit::Term)));
    let terms = |act: &Act| matches!(act, Act::Stop | Act::Kill | Act::Signal(_, Hit::Term));
    let limited =
        excuses.any(|act| matches!(act, Act::FewFiles(..) | Act::FewThreads(..) | Act::FullDisk(..)));
    let damaged = excuses.damaged(|_| true);
    let agent_ended = excuses
        .any(|act| matches!(act, Act::Agent(Hit::Kill | Hit::Term, _) | Act::Damage { down: true, .. }));
    let late = excuses.name.starts_with("late") || excuses.name.starts_with("deaf");
    match outcome {
        "ok" if exit != Some(0) => Err("success that the command does not know of"),
        "ok" => Ok(()),
        "failed" => match exit {
            Some(0) => Err("a failure of a command that succeeded"),
            Some(own) if own != code => Err("another exit code than the command's own"),
            None if !command_hit && !limited => Err("a failure that nothing explains"),
            _ => Ok(()),
        },
        "stopped" if !excuses.any(terms) => Err("stopped, and nobody stopped it"),
        "stopped" => Ok(()),
        "timed_out" if !late || exit.is_some() => Err("timed out, and it did not"),
        "timed_out" => Ok(()),
        "not_started" if !runs.is_empty() => Err("not started, but it ran"),
        "not_started" if !(limited || damaged || supervisor_hit || agent_ended) => {
            Err("not started, and nothing explains it")
        }
        "not_started" => Ok(()),
        "lost" if supervisor_killed || damaged || limited => Ok(()),
        "lost" if runs.is_empty() && agent_ended => Ok(()),
        "lost" => Err("lost, and nothing explains it"),
        "interrupted_by_reboot" if excuses.damaged(|damaged| damaged.target == Target::Spec) => Ok(()),
        _ => Err("an outcome that cannot be"),
    }
}
