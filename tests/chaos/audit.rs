//! The audit of a schedule. It knows what the dashboard received, what is on disk, what the commands wrote about
//! themselves, and which faults there were. It knows nothing of how the agent works.

use std::collections::{BTreeMap, BTreeSet};

use nixfleet_protocol::{AgentMessage, BatchLine, Status};

use crate::act::Act;
use crate::damage::{Damaged, How, Target};
use crate::evidence::{Asked, Evidence};

mod beats;
mod conduct;
mod lines;
mod results;

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
        let new = || Job { command: command.clone(), first: recorded.index, ..Job::default() };
        let job = jobs.entry(id.clone()).or_insert_with(new);
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

/// What was done to the agent that may explain an end.
struct Excuses<'a> {
    evidence: &'a Evidence,
    name: &'a str,
    from: i64,
    to: i64,
}

/// A fault counts from so many milliseconds before a request was sent: faults last for 3 s at most, and what they
/// cause shows a little later.
const BEFORE: i64 = 5_000;

impl<'a> Excuses<'a> {
    fn new(evidence: &'a Evidence, asked: &'a Asked, to: i64) -> Self {
        let from = asked.sent.first().copied().unwrap_or(evidence.begun) - BEFORE;
        Self { evidence, name: &asked.name, from, to }
    }

    fn any(&self, kind: impl Fn(&Act) -> bool) -> bool {
        self.evidence
            .done
            .iter()
            .any(|done| done.hit && (self.from..=self.to).contains(&done.at) && kind(&done.act))
    }

    /// Files of this command's job that were damaged.
    fn damaged(&self, which: impl Fn(&Damaged) -> bool) -> bool {
        is_damaged(self.evidence, self.name, which)
    }
}

/// Whether files of this command's job were damaged. Where nobody knows to which job a file belonged, it may be this.
fn is_damaged(evidence: &Evidence, name: &str, which: impl Fn(&Damaged) -> bool) -> bool {
    let of_it = |damaged: &&Damaged| damaged.command.as_deref().is_none_or(|command| command == name);
    evidence.done.iter().filter_map(|done| done.damaged.as_ref()).filter(of_it).any(which)
}

/// The record was damaged, so the agent may not know any more which request was accepted.
fn record_damaged(evidence: &Evidence, name: &str) -> bool {
    is_damaged(evidence, name, |damaged| damaged.target == Target::Record)
}

/// The record of this very job was damaged. It holds in which words the end was told, and of which command.
fn own_record_damaged(evidence: &Evidence, id: &str) -> bool {
    let own = |damaged: &Damaged| {
        damaged.target == Target::Record && damaged.path.file_stem().is_some_and(|job| job == id)
    };
    evidence.done.iter().filter_map(|done| done.damaged.as_ref()).any(own)
}

/// The text of the log was damaged, so lines may be other ones. A file without a check sum cannot tell.
fn text_damaged(evidence: &Evidence, name: &str) -> bool {
    is_damaged(evidence, name, |damaged| {
        damaged.target == Target::Log && matches!(damaged.how, How::Flip | How::Garbage)
    })
}

/// Names of all commands that were asked for.
fn names(evidence: &Evidence) -> BTreeSet<&str> {
    evidence.asked.iter().map(|asked| asked.name.as_str()).collect()
}
