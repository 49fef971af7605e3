//! Every request has one answer, and it is true.

use std::collections::BTreeMap;

use nixfleet_protocol::{AgentMessage, Status, StatusKind};

use super::excuses::{Excuses, job_unknown, log_damaged_since, request_lost, words_lost};
use super::{Job, names};
use crate::act::{Act, Hit, Who};
use crate::commands::{Run, TIMEOUT_S};
use crate::damage::Target;
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
        .filter(|(id, job)| !names.contains(job.command.as_str()) && !job_unknown(evidence, id, job.from));
    findings.extend(foreign.map(|(_, job)| format!("a job of `{}`, which nobody asked for", job.command)));
    findings
}

fn request(evidence: &Evidence, jobs: &BTreeMap<String, Job>, asked: &Asked) -> Vec<String> {
    let name = asked.name.as_str();
    let mut findings = Vec::new();
    let own: Vec<(&String, &Job)> = jobs.iter().filter(|(_, job)| job.command == name).collect();
    let runs = evidence.side.runs.get(name).map(Vec::as_slice).unwrap_or_default();
    let mut refusals = Vec::new();
    for recorded in &evidence.messages {
        match &recorded.message {
            AgentMessage::CommandRejected(rejected) if rejected.command_id.as_ref() == Some(&asked.id) => {
                refusals.push((recorded.index, recorded.at_ms, format!("rejected: {}", rejected.reason)));
            }
            AgentMessage::Status(status) if status.command == name && status.job_id.is_none() => {
                refusals.push((recorded.index, recorded.at_ms, format!("refused: {}", status.message)));
            }
            _ => {}
        }
    }
    // The agent cannot know that it accepted the request, if that was damaged before it told the last thing
    // about it.
    let told = own.iter().map(|(_, job)| job.to).chain(refusals.iter().map(|(_, at, _)| *at));
    let forgotten = request_lost(evidence, name, told.max().unwrap_or(evidence.ended));
    // On a full disk there is no record of a job that was not started for that reason, and no answer can be noted. It
    // did not run, so it runs once if the agent dies and the request is repeated.
    let unwritten = |job: &Job| {
        job.statuses.first().is_some_and(|(at, _, status)| {
            status.outcome.as_deref() == Some("not_started") && forgets_on_full_disk(evidence, *at)
        })
    };
    let is_unwritten = own.iter().any(|(_, job)| unwritten(job));
    let told_once = own.iter().filter(|(_, job)| !unwritten(job)).count() <= 1;
    if own.len() > 1 && !forgotten && !told_once {
        findings.push(format!(
            "`{name}` was told as {} jobs: {:?}",
            own.len(),
            own.iter().map(|(id, _)| id).collect::<Vec<_>>()
        ));
    }
    if runs.len() > 1 && !forgotten {
        findings.push(format!("`{name}` ran {} times for one request: {runs:?}", runs.len()));
    }
    let told = own.iter().any(|(_, job)| !job.statuses.is_empty());
    if !told && refusals.is_empty() {
        findings.push(format!("`{name}` has no answer; it ran: {runs:?}"));
    }
    if !told && !runs.is_empty() && !forgotten {
        findings.push(format!("`{name}` ran, and was told only as {refusals:?}"));
    }
    if let Some((_, job)) = own.first()
        && let Some((_, _, text)) = refusals.iter().find(|(index, ..)| *index > job.first)
        && !forgotten
        && !is_unwritten
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
        for (again, _, other) in &job.statuses[1..] {
            let (mut one, mut two) = (plain(first), plain(other));
            if log_damaged_since(evidence, id, *at, *again) && one.dropped_lines < two.dropped_lines {
                (one.dropped_lines, two.dropped_lines) = (None, None);
            }
            if one != two && !words_lost(evidence, id, (*at, first), (*again, other)) {
                findings.push(format!("`{name}` ({id}) has two results: {first:?} and {other:?}"));
            }
        }
        // Nobody can say which run it was.
        if (forgotten && (runs.len() > 1 || several)) || (several && unwritten(job)) {
            continue;
        }
        let excuses = Excuses::new(evidence, asked, *at);
        if let Err(why) = is_true(first, runs, &excuses) {
            findings.push(format!("`{name}` ({id}): {why}: {first:?}; it ran: {runs:?}"));
        }
    }
    findings
}

/// Whether the disk was full at that time, and the agent ended before it could note what it had told.
fn forgets_on_full_disk(evidence: &Evidence, told: i64) -> bool {
    let spans = evidence.done.iter().filter_map(|done| {
        let Act::FullDisk(_, length) = done.act else { return None };
        let until = done.at + i64::try_from(length.as_millis()).unwrap();
        done.hit.then_some(done.at - MOMENT..until + NOTED)
    });
    let mut spans = spans.filter(|span| span.contains(&told));
    let ends = |span: std::ops::Range<i64>| {
        evidence.done.iter().any(|done| {
            let ended =
                matches!(done.act, Act::Agent(Hit::Kill | Hit::Term, _) | Act::Damage { down: true, .. });
            done.hit && ended && (told..span.end).contains(&done.at)
        })
    };
    spans.any(ends)
}

/// Milliseconds from the result of a job to what is noted about it, with a margin for a machine that is busy.
pub(super) const MOMENT: i64 = 500;

/// Milliseconds from the end of a full disk until the agent has noted what it could not note before: it tries every 2 s.
const NOTED: i64 = 2_000 + MOMENT;

/// A status without the commit of the host, which may change between two repeats.
fn plain(status: &Status) -> Status {
    Status { generation: String::new(), ..status.clone() }
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
    // The supervisor and the command inherit the limits of the agent.
    let few = excuses.any(|act| matches!(act, Act::FewFiles(..) | Act::FewThreads(..)));
    let limited = few || excuses.any(|act| matches!(act, Act::FullDisk(..)));
    let damaged = excuses.damaged(|_| true) || excuses.lock_damaged();
    let agent_ended = excuses
        .any(|act| matches!(act, Act::Agent(Hit::Kill | Hit::Term, _) | Act::Damage { down: true, .. }));
    let late = excuses.name.starts_with("late") || excuses.name.starts_with("deaf");
    let outlived = status.duration_ms.is_some_and(|ms| ms >= u64::from(TIMEOUT_S) * 1000);
    match outcome {
        "ok" if exit != Some(0) => Err("success that the command does not know of"),
        "ok" => Ok(()),
        "failed" => match exit {
            Some(0) => Err("a failure of a command that succeeded"),
            Some(own) if own != code => Err("another exit code than the command's own"),
            None if !command_hit && !few => Err("a failure that nothing explains"),
            _ => Ok(()),
        },
        "stopped" if !excuses.any(terms) => Err("stopped, and nobody stopped it"),
        "stopped" => Ok(()),
        "timed_out" if !late => Err("timed out, and it did not"),
        // It ignores the signal, and may end by itself then if it cannot start a process.
        "timed_out" if exit.is_some() && !(few && outlived) => Err("timed out, and it did not"),
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
