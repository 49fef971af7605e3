//! What arrived, without repeats, is what the commands wrote; holes are announced.

use std::collections::BTreeMap;

use super::Job;
use super::excuses::{job_unknown, request_lost, text_damaged};
use crate::commands::Run;
use crate::evidence::Evidence;

/// Prefix of remarks among the output.
const REMARK: &str = "nixfleet: ";

/// What the shell and the library for the clock say by themselves when they cannot do something.
const FOREIGN: [&str; 2] = ["/", "libfaketime: "];

pub(super) fn check(evidence: &Evidence, jobs: &BTreeMap<String, Job>) -> Vec<String> {
    let mut findings = Vec::new();
    for (id, job) in jobs {
        let name = job.command.as_str();
        let runs = evidence.side.runs.get(name).map(Vec::as_slice).unwrap_or_default();
        let several = jobs.values().filter(|other| other.command == name).count() > 1;
        // Nobody knows to which of two runs a line belongs. The audit of results says whether there may be two.
        let damaged = request_lost(evidence, name, job.to) || job_unknown(evidence, id, job.to);
        if damaged || text_damaged(evidence, name, job.to) || runs.len() > 1 || several {
            continue;
        }
        let result = unique(job).and_then(|lines| compare(job, &lines, runs.first()));
        findings
            .extend(result.err().map(|why| format!("output of `{name}` ({id}): {why}; it ran: {runs:?}")));
    }
    findings
}

/// The lines by their number. A repeat is the same line, but a remark may count lines that arrived before it.
fn unique(job: &Job) -> Result<BTreeMap<u64, &str>, String> {
    let mut lines: BTreeMap<u64, &str> = BTreeMap::new();
    for line in &job.lines {
        let text = line.text.as_str();
        match lines.get(&line.seq) {
            None => drop(lines.insert(line.seq, text)),
            Some(known) if *known == text || missing(text).is_some() => {}
            Some(known) if missing(known).is_some() => drop(lines.insert(line.seq, text)),
            Some(known) => return Err(format!("line {} is `{known}`, and then `{text}`", line.seq)),
        }
    }
    Ok(lines)
}

/// The count in a remark about missing lines.
fn missing(text: &str) -> Option<u64> {
    let rest = text.strip_prefix(REMARK)?;
    let (count, rest) = rest.split_once(' ')?;
    rest.contains("missing here").then(|| count.parse().ok())?
}

fn compare(job: &Job, lines: &BTreeMap<u64, &str>, run: Option<&Run>) -> Result<(), String> {
    let prefix = format!("{} line ", job.command);
    let (mut next, mut announced, mut holes) = (1, 0, 0);
    for (seq, text) in lines {
        if let Some(count) = missing(text) {
            announced += count;
        } else if let Some(number) = text.strip_prefix(&prefix) {
            let number: u64 = number.trim_end().parse().map_err(|_| format!("line {seq} is `{text}`"))?;
            if number < next {
                return Err(format!("`{text}` came again as line {seq}"));
            }
            if number - next > announced {
                return Err(format!(
                    "lines {next} to {} are missing, and {announced} are announced",
                    number - 1
                ));
            }
            holes += number - next;
            (next, announced) = (number + 1, 0);
        } else if !text.starts_with(REMARK) && !FOREIGN.iter().any(|prefix| text.starts_with(prefix)) {
            return Err(format!("the command never wrote `{text}`"));
        }
    }
    let arrived = next - 1;
    let written = run.map_or(0, |run| run.lines);
    // A command that is killed may have printed one line that it did not note.
    if arrived > written + 1 {
        return Err(format!("{arrived} lines arrived, {written} were written"));
    }
    let status = job.statuses.first().map(|(_, _, status)| status);
    let outcome = status.and_then(|status| status.outcome.as_deref()).unwrap_or_default();
    // Of a supervisor that was killed, what it had not written yet is lost, and the outcome says so.
    if arrived + announced < written && outcome != "lost" {
        return Err(format!(
            "{arrived} lines arrived, {written} were written, {announced} are announced as missing"
        ));
    }
    let dropped = status.and_then(|status| status.dropped_lines);
    if outcome != "lost" && dropped.is_some_and(|dropped| dropped < holes) {
        return Err(format!("{holes} lines are missing, and the status counts {dropped:?}"));
    }
    let last = lines.keys().last().copied().unwrap_or_default();
    if let Some(told) = status.and_then(|status| status.lines)
        && told != last
        && outcome != "lost"
    {
        return Err(format!("the status says that the last line is {told}, but {last} arrived"));
    }
    Ok(())
}
