//! The audit of a schedule. It knows what the dashboard received, what is on disk, what the commands wrote about
//! themselves, and which faults there were. It knows nothing of how the agent works.

use std::collections::{BTreeMap, BTreeSet};

use nixfleet_protocol::{AgentMessage, BatchLine, Status};

use crate::evidence::Evidence;

mod beats;
mod conduct;
mod excuses;
mod lines;
mod results;
mod tests;

/// Everything that is wrong, as sentences.
pub(crate) fn audit(evidence: &Evidence) -> Vec<String> {
    let jobs = jobs(evidence);
    let mut findings = conduct::check(evidence);
    findings.extend(results::check(evidence, &jobs));
    findings.extend(lines::check(evidence, &jobs));
    findings.extend(beats::check(evidence, &jobs));
    findings
}

/// The longest time between two heartbeats of one connection that nothing excuses, in milliseconds.
pub(crate) fn longest_gap(evidence: &Evidence) -> i64 {
    beats::longest_gap(evidence)
}

/// A line as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    seq: u64,
    text: String,
}

/// What the dashboard received about one job.
#[derive(Debug, Default)]
struct Job {
    command: String,
    /// In the order of arrival, repeats included.
    lines: Vec<Line>,
    /// With the time and the index of their arrival.
    statuses: Vec<(i64, u64, Status)>,
    /// Index of its first message.
    first: u64,
    /// When its first message arrived.
    from: i64,
    /// When its last message arrived.
    to: i64,
}

fn jobs(evidence: &Evidence) -> BTreeMap<String, Job> {
    let mut jobs: BTreeMap<String, Job> = BTreeMap::new();
    for recorded in &evidence.messages {
        let (id, command) = match &recorded.message {
            AgentMessage::Output(output) => (output.job_id.as_ref(), &output.command),
            AgentMessage::OutputBatch(batch) => (Some(&batch.job_id), &batch.command),
            AgentMessage::Status(status) => (status.job_id.as_ref(), &status.command),
            _ => continue,
        };
        let Some(id) = id else { continue };
        let new = || Job {
            command: command.clone(),
            first: recorded.index,
            from: recorded.at_ms,
            ..Job::default()
        };
        let job = jobs.entry(id.clone()).or_insert_with(new);
        job.to = recorded.at_ms;
        match &recorded.message {
            AgentMessage::Output(output) => {
                job.lines.push(Line { seq: output.seq.unwrap_or_default(), text: output.line.clone() });
            }
            AgentMessage::OutputBatch(batch) => {
                let line = |line: &BatchLine| Line { seq: line.seq, text: line.line.clone() };
                job.lines.extend(batch.lines.iter().map(line));
            }
            AgentMessage::Status(status) => {
                job.statuses.push((recorded.at_ms, recorded.index, status.clone()));
            }
            _ => {}
        }
    }
    jobs
}

/// Names of all commands that were asked for.
fn names(evidence: &Evidence) -> BTreeSet<&str> {
    evidence.asked.iter().map(|asked| asked.name.as_str()).collect()
}
