//! What was done to the host that explains an answer. Each excuse names a command, a file and a time.

use nixfleet_protocol::AgentMessage;

use super::results::MOMENT;
use crate::act::Act;
use crate::damage::{Damaged, How, Noted, Target};
use crate::evidence::{Asked, Evidence};

/// What may explain the end of one command.
pub(super) struct Excuses<'a> {
    evidence: &'a Evidence,
    pub(super) name: &'a str,
    from: i64,
    /// When its end was told.
    to: i64,
}

/// A fault counts from so many milliseconds before a request was sent: faults last for 3 s at most, and what they
/// cause shows a little later.
const BEFORE: i64 = 5_000;

impl<'a> Excuses<'a> {
    pub(super) fn new(evidence: &'a Evidence, asked: &'a Asked, to: i64) -> Self {
        let from = asked.sent.first().copied().unwrap_or(evidence.begun) - BEFORE;
        Self { evidence, name: &asked.name, from, to }
    }

    pub(super) fn any(&self, kind: impl Fn(&Act) -> bool) -> bool {
        self.evidence
            .done
            .iter()
            .any(|done| done.hit && (self.from..=self.to).contains(&done.at) && kind(&done.act))
    }

    /// Such a file of this command's job was damaged before its end was told.
    pub(super) fn damaged(&self, which: impl Fn(&Damaged) -> bool) -> bool {
        damages(self.evidence, self.name).any(|(at, damaged)| at <= self.to && which(damaged))
    }

    /// The lock of all supervisors was damaged before. It stays so, and no supervisor can begin.
    pub(super) fn lock_damaged(&self) -> bool {
        let lock = |damaged: &Damaged| damaged.target == Target::Lock;
        all(self.evidence).any(|(at, damaged)| at <= self.to && lock(damaged))
    }
}

/// All damage, and when it was done.
fn all(evidence: &Evidence) -> impl Iterator<Item = (i64, &Damaged)> {
    evidence.done.iter().filter_map(|done| Some((done.at, done.damaged.as_ref()?)))
}

/// The damage to files of this command's jobs. Where neither a file nor a message says to which command a job belongs,
/// it may be this one.
fn damages<'a>(evidence: &'a Evidence, name: &'a str) -> impl Iterator<Item = (i64, &'a Damaged)> {
    all(evidence).filter(move |(_, damaged)| {
        let Some(job) = damaged.job.as_deref() else { return false };
        let asked = |command: &&str| evidence.asked.iter().any(|asked| asked.name == *command);
        let known = damaged.command.as_deref().filter(asked).or_else(|| told(evidence, job).filter(asked));
        known.is_none_or(|command| command == name)
    })
}

/// The command of a job, as the dashboard was told.
fn told<'a>(evidence: &'a Evidence, job: &str) -> Option<&'a str> {
    evidence.messages.iter().find_map(|recorded| {
        let (id, command) = match &recorded.message {
            AgentMessage::Output(output) => (output.job_id.as_deref(), &output.command),
            AgentMessage::OutputBatch(batch) => (Some(batch.job_id.as_str()), &batch.command),
            AgentMessage::Status(status) => (status.job_id.as_deref(), &status.command),
            _ => return None,
        };
        (id == Some(job)).then_some(command.as_str())
    })
}

/// A record of this command was damaged when nothing else said which request it answers; or it can be read, and may
/// say something else.
pub(super) fn request_lost(evidence: &Evidence, name: &str) -> bool {
    damages(evidence, name).any(|(_, damaged)| request_unknown(damaged))
}

/// The same for the record of this job.
pub(super) fn job_unknown(evidence: &Evidence, id: &str) -> bool {
    all(evidence).any(|(_, damaged)| damaged.job.as_deref() == Some(id) && request_unknown(damaged))
}

fn request_unknown(damaged: &Damaged) -> bool {
    damaged.target == Target::Record && (damaged.noted == Noted::Nothing || damaged.readable)
}

/// The record of this job was damaged after its end was told at that time and before anything else said in which words;
/// or it can be read, and may have others.
pub(super) fn words_lost(evidence: &Evidence, id: &str, told: i64) -> bool {
    all(evidence).any(|(at, damaged)| {
        let of_it = damaged.target == Target::Record && damaged.job.as_deref() == Some(id);
        of_it && at >= told && (damaged.noted != Noted::Answer || damaged.readable)
    })
}

/// The text of the log was damaged, so lines may be other ones. A file without a check sum cannot tell.
pub(super) fn text_damaged(evidence: &Evidence, name: &str) -> bool {
    damages(evidence, name)
        .any(|(_, damaged)| damaged.target == Target::Log && matches!(damaged.how, How::Flip | How::Garbage))
}

/// The log of this command was damaged in any way.
pub(super) fn log_damaged(evidence: &Evidence, name: &str) -> bool {
    damages(evidence, name).any(|(_, damaged)| damaged.target == Target::Log)
}

/// The log of this job was damaged after its end was told at that time: lines that are repeated behind it may be missing
/// now, and the status says so.
pub(super) fn log_damaged_since(evidence: &Evidence, id: &str, told: i64) -> bool {
    all(evidence).any(|(at, damaged)| {
        damaged.target == Target::Log && damaged.job.as_deref() == Some(id) && at >= told - MOMENT
    })
}

/// The file with the process of this command was damaged and can be read, so it may have another number.
pub(super) fn process_lost(evidence: &Evidence, name: &str) -> bool {
    damages(evidence, name).any(|(_, damaged)| damaged.target == Target::State && damaged.readable)
}
