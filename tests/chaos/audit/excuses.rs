//! What was done to the host that explains an answer. Each excuse has a time, and names a command or its job.
//! Damage also names a file; that of the lock is the damage of all commands.

use std::ops::RangeBounds;

use nixfleet_protocol::{AgentMessage, Status};

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
        damages(self.evidence, self.name, self.to).any(which)
    }

    /// The lock of all supervisors was damaged before. It stays so, and no supervisor can begin.
    pub(super) fn lock_damaged(&self) -> bool {
        let lock = |damaged: &Damaged| damaged.target == Target::Lock;
        all(self.evidence, self.to).any(lock)
    }
}

/// All damage that was done until then.
fn all(evidence: &Evidence, until: i64) -> impl Iterator<Item = &Damaged> {
    between(evidence, ..=until)
}

/// All damage that was done in this time.
fn between(evidence: &Evidence, span: impl RangeBounds<i64>) -> impl Iterator<Item = &Damaged> {
    evidence.done.iter().filter(move |done| span.contains(&done.at)).filter_map(|done| done.damaged.as_ref())
}

/// The damage to files of this command's jobs until then. Where neither a file nor a message says to which
/// command a job belongs, it may be this one.
fn damages<'a>(evidence: &'a Evidence, name: &'a str, until: i64) -> impl Iterator<Item = &'a Damaged> {
    all(evidence, until).filter(move |damaged| {
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

/// A record of this command was damaged until then, when nothing else said which request it answers; or it
/// can be read, and may say something else.
pub(super) fn request_lost(evidence: &Evidence, name: &str, until: i64) -> bool {
    damages(evidence, name, until).any(request_unknown)
}

/// The same for the record of this job.
pub(super) fn job_unknown(evidence: &Evidence, id: &str, until: i64) -> bool {
    all(evidence, until).any(|damaged| damaged.job.as_deref() == Some(id) && request_unknown(damaged))
}

/// Nobody asked for a command of this name, and a record was damaged until then that can be read: it may have any name.
pub(super) fn misnamed(evidence: &Evidence, name: &str, until: i64) -> bool {
    let changed = |damaged: &Damaged| damaged.target == Target::Record && damaged.readable;
    evidence.asked.iter().all(|asked| asked.name != name) && all(evidence, until).any(changed)
}

fn request_unknown(damaged: &Damaged) -> bool {
    damaged.target == Target::Record && (damaged.noted == Noted::Nothing || damaged.readable)
}

/// The record of this job was damaged between the two times at which its end was told. If it can be read, it
/// may have any words. Otherwise, if nothing else had the words, the end is made from what is left: the
/// outcome of a job that has no result is `lost` for ever, in other words, and a job that was not started may
/// be `lost`.
pub(super) fn words_lost(
    evidence: &Evidence,
    id: &str,
    (told, first): (i64, &Status),
    (again, other): (i64, &Status),
) -> bool {
    let outcomes = (first.outcome.as_deref(), other.outcome.as_deref());
    let made_anew = matches!(outcomes, (Some("lost" | "not_started"), Some("lost")));
    between(evidence, told..=again).any(|damaged| {
        let of_it = damaged.target == Target::Record && damaged.job.as_deref() == Some(id);
        of_it && (damaged.readable || damaged.noted != Noted::Answer && made_anew)
    })
}

/// The text of the log was damaged until then, so lines may be other ones. A file without a check sum cannot
/// tell.
pub(super) fn text_damaged(evidence: &Evidence, name: &str, until: i64) -> bool {
    damages(evidence, name, until)
        .any(|damaged| damaged.target == Target::Log && matches!(damaged.how, How::Flip | How::Garbage))
}

/// The log of this command was damaged in any way until then.
pub(super) fn log_damaged(evidence: &Evidence, name: &str, until: i64) -> bool {
    damages(evidence, name, until).any(|damaged| damaged.target == Target::Log)
}

/// The log of this job was damaged between the two times at which its end was told: lines that are repeated
/// behind it may be missing now, and the status says so. The agent counts what is missing a moment before the
/// status arrives.
pub(super) fn log_damaged_since(evidence: &Evidence, id: &str, told: i64, again: i64) -> bool {
    between(evidence, told - MOMENT..=again)
        .any(|damaged| damaged.target == Target::Log && damaged.job.as_deref() == Some(id))
}

/// The file with the process of this command was damaged until then and can be read, so it may have another
/// number.
pub(super) fn process_lost(evidence: &Evidence, name: &str, until: i64) -> bool {
    damages(evidence, name, until).any(|damaged| damaged.target == Target::State && damaged.readable)
}
