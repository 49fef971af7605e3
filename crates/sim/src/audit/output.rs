//! Output: after repeats are taken out, the dashboard has every line that was written, in order, or was told how many
//! are missing.

use std::collections::BTreeMap;

use nixfleet_protocol::AgentMessage;

use super::Evidence;
use crate::faults::{Kind, What};
use crate::machine::programs::Ran;

/// What the dashboard has of a job: its command, and its lines by number.
#[derive(Default)]
struct Job<'a> {
    command: &'a str,
    lines: BTreeMap<u64, &'a str>,
    /// The lines that were said to be missing, by the number of the last one of them.
    missing: BTreeMap<u64, u64>,
    outcome: Option<&'a str>,
}

pub(super) fn check(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let mut jobs: BTreeMap<&str, Job<'_>> = BTreeMap::new();
    for (_, message) in evidence.messages() {
        match message {
            AgentMessage::Output(output) => {
                let (Some(id), Some(seq)) = (&output.job_id, output.seq) else { continue };
                add(jobs.entry(id).or_default(), &output.command, seq, &output.line, findings);
            }
            AgentMessage::OutputBatch(batch) => {
                for line in &batch.lines {
                    add(
                        jobs.entry(&batch.job_id).or_default(),
                        &batch.command,
                        line.seq,
                        &line.line,
                        findings,
                    );
                }
            }
            AgentMessage::Status(status) => {
                if let Some(id) = &status.job_id {
                    let job = jobs.entry(id).or_default();
                    job.command = &status.command;
                    job.outcome = status.outcome.as_deref();
                }
            }
            _ => {}
        }
    }
    for job in jobs.values() {
        if let Some(ran) = evidence.ran.iter().find(|ran| ran.command == job.command) {
            compare(evidence, job, ran, findings);
        }
    }
}

fn add<'a>(job: &mut Job<'a>, command: &'a str, number: u64, line: &'a str, findings: &mut Vec<String>) {
    job.command = command;
    if let Some(missing) = announced(line) {
        let most = job.missing.entry(number).or_default();
        *most = missing.max(*most);
        return;
    }
    let first = *job.lines.entry(number).or_insert(line);
    if first != line {
        findings.push(format!(
            "line {number} of `{command}` was told as {:?} and as {:?}",
            short(first),
            short(line)
        ));
    }
}

/// The number of lines that a remark says are missing.
fn announced(line: &str) -> Option<u64> {
    let (count, rest) = line.strip_prefix("nixfleet: ").unwrap_or(line).split_once(' ')?;
    let says = rest.starts_with("line is missing here") || rest.starts_with("lines are missing here");
    says.then(|| count.parse().ok()).flatten()
}

fn compare(evidence: &Evidence<'_>, job: &Job<'_>, ran: &Ran, findings: &mut Vec<String>) {
    let position = |line: &str| ran.lines.iter().position(|written| written == line);
    let (mut next, mut allowed) = (0, 0);
    let mut announcements = job.missing.iter().peekable();
    for (number, line) in &job.lines {
        while let Some((_, missing)) = announcements.next_if(|(before, _)| *before <= number) {
            allowed += missing;
        }
        let Some(at) = position(line) else {
            if line.starts_with(job.command) {
                findings.push(format!("`{}` never wrote {:?}", job.command, short(line)));
            }
            continue;
        };
        if at < next {
            findings.push(format!("{:?} of `{}` came out of its order", short(line), job.command));
            continue;
        }
        let hole = (at - next) as u64;
        // Standard output and standard error are two pipes: what was written to both at once may change places.
        if hole > allowed {
            findings.push(format!(
                "a hole in the output of `{}`: {hole} lines before {:?} are missing, {allowed} were announced",
                job.command,
                short(line)
            ));
        }
        allowed = allowed.saturating_sub(hole);
        next = at + 1;
    }
    allowed += announcements.map(|(_, missing)| missing).sum::<u64>();
    // The size limit may remove lines that were told. Nothing else may.
    let told = job.missing.keys().find(|number| job.lines.contains_key(*number));
    if let Some(number) = told.filter(|_| !evidence.limited && matches!(job.outcome, Some("ok" | "failed"))) {
        findings.push(format!("line {number} of `{}` was told, and then that it is missing", job.command));
    }
    let excused = evidence.limited
        || evidence.lost_power()
        || evidence.died(Kind::Supervisor)
        || evidence.happened(|what| matches!(what, What::Disk { .. }));
    if let Some((number, missing)) = job.missing.first_key_value().filter(|_| !excused) {
        findings.push(format!(
            "{missing} lines of `{}` before line {number} were said to be missing, and nothing explains that",
            job.command
        ));
    }
    let complete = matches!(job.outcome, Some("ok" | "failed")) && !ran.orphaned;
    let rest = (ran.lines.len() - next) as u64;
    // What a process that was left behind writes comes after the end; these programs leave none that writes.
    if complete && rest > allowed {
        findings.push(format!(
            "the output of `{}` ends early: {rest} lines are missing at its end, {allowed} were announced",
            job.command
        ));
    }
}

fn short(line: &str) -> String {
    line.chars().take(40).collect()
}
