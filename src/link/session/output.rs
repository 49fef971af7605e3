//! Output and status of a job, as messages.

use nixfleet_os::planted;
use tokio::time::Instant;

use nixfleet_jobs::JobId;
use nixfleet_jobs::history::deploys;
use nixfleet_jobs::journal::{Entry, REMARK, Source};
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_protocol::{AgentMessage, BatchLine, Output, OutputBatch, Status, StatusKind, Stream};

use super::delivery::Receipt;
use super::look::EndedJob;
use super::send_queue::Frame;
use super::{FACTS_TIMEOUT, Session};
use crate::jobs::follower::Followed;
use crate::jobs::table::{JobEvent, JobTable};
use crate::wire;

#[cfg(test)]
mod tests;

/// Bytes of JSON around the text of a line in a batch, and the pieces of a message that holds one line. What is sent is
/// cut by these, before it is encoded; what is on its way is counted exactly.
const AROUND_BATCH_LINE: usize = 80;
const AROUND_OUTPUT: usize = 190;

impl Session<'_> {
    /// Sends output or status of a job. Called only while the bulk lane is empty, so that a status, which
    /// goes into the control lane, cannot overtake its own output.
    pub(super) fn job_event(&mut self, event: JobEvent, now: Instant) {
        match event.what {
            // The dashboard already has the status of this command and expects no output after it.
            Followed::Entries(_) if event.announced => {}
            Followed::Ended(result) if event.announced && carried_out(result.outcome) => {
                let span = self.agent.jobs.span(&event.id);
                span.in_scope(|| tracing::info!("The announced command is under way."));
                self.agent.stats.job_ended(result.outcome, result.missing_lines());
                self.agent.history.ended(&event.id, &event.command, &result);
                self.agent.jobs.announced_ended(&event.id);
            }
            Followed::Entries(entries) => self.output(event.id, event.command, entries, now),
            Followed::Ended(result) => {
                let job = EndedJob { id: event.id, command: event.command, result };
                self.look_at_host(job, now);
            }
        }
    }

    /// The next output or end of a job.
    ///
    /// Cancel-safe: what is returned is taken in the step that returns it.
    pub(super) async fn next_job_event(rest: &mut Option<JobEvent>, jobs: &mut JobTable) -> JobEvent {
        match rest.take() {
            Some(event) => event,
            None => jobs.next().await,
        }
    }

    /// Sends as many entries as one batch may have. The others are the next event of a job.
    fn output(&mut self, id: JobId, command: String, mut entries: Vec<Entry>, now: Instant) {
        let size = self.delivery.batch_size(now);
        let rest = entries.split_off(fitting(&entries, size, self.batches));
        if planted!("drop-a-line") && entries.len() > 4 {
            entries.remove(2);
        }
        let Some(last) = entries.last().map(|entry| entry.seq) else { return };
        self.agent.stats.lines_sent += entries.iter().filter(|entry| entry.is_text()).count() as u64;
        let texts =
            if self.batches { batched(&id, &command, entries) } else { single(&id, &command, entries) };
        let bytes = texts.iter().map(String::len).sum();
        let ping = self.delivery.batch(Receipt::Lines(id.clone(), last), bytes, now);
        let mut frames: Vec<Frame> = texts.into_iter().map(Frame::Text).collect();
        frames.push(Frame::Ping(ping));
        self.send_queue.bulk(frames);
        let rest = Some(rest).filter(|rest| !rest.is_empty()).map(Followed::Entries);
        self.rest = rest.map(|what| JobEvent { id, command, announced: false, what });
    }

    /// Sends the status of a job, and the heartbeat behind it. `looked`: the facts are those after the job.
    pub(super) fn ended(&mut self, job: &EndedJob, looked: bool, now: Instant) {
        let EndedJob { id, command, result } = job;
        let facts = self.agent.snapshots.facts();
        let status = status(id, command, result, &facts.generation);
        let (exit_code, outcome) = (status.exit_code, result.outcome.as_str());
        self.agent.jobs.span(id).in_scope(|| match status.status {
            StatusKind::Error => {
                tracing::warn!(exit_code, outcome, "The command ended: {}", status.message);
            }
            _ => tracing::info!(exit_code, outcome, "The command ended: {}", status.message),
        });
        // The job is the reason for these rejections, so they come before its status.
        self.release_held(true);
        self.pid_overdue = false;
        self.send_queue.priority(Frame::Text(AgentMessage::Status(status.clone()).encode()));
        self.ping(Some(Receipt::Status(id.clone())), now);
        if planted!("prove-early") {
            self.agent.jobs.status_delivered(id);
        }
        if self.agent.jobs.status_sent(id, &status) {
            self.agent.stats.job_ended(result.outcome, result.missing_lines());
            self.agent.history.ended(id, command, result);
            self.agent.job_ended(command, result.outcome, now);
        }
        // Existing dashboards complete the operation only when a heartbeat follows the status.
        let succeeded = Some(command.as_str()).filter(|_| result.outcome == Outcome::Ok);
        self.heartbeat_behind(succeeded, &facts, now);
        if succeeded.is_some_and(deploys) {
            // Existing dashboards complete a switch only when the agent registers again.
            self.register_again = Some(now + FACTS_TIMEOUT);
            if looked {
                self.register_again();
            }
        }
    }
}

/// Whether an announced reboot happens: its program succeeded, or was interrupted by the reboot itself.
fn carried_out(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Ok | Outcome::InterruptedByReboot)
}

fn status(id: &JobId, command: &str, result: &JobResult, generation: &str) -> Status {
    Status {
        status: match result.outcome {
            Outcome::Ok => StatusKind::Ok,
            Outcome::Stopped => StatusKind::Stopped,
            _ => StatusKind::Error,
        },
        command: command.to_owned(),
        exit_code: result.exit_code,
        message: result.message.clone(),
        generation: generation.to_owned(),
        job_id: Some(id.to_string()),
        signal: result.signal,
        outcome: Some(result.outcome.as_str().to_owned()),
        duration_ms: Some(result.duration_ms),
        lines: Some(result.line_count()),
        dropped_lines: Some(result.missing_lines()),
    }
}

/// How many entries a batch of messages of about `size` bytes holds: one at least.
fn fitting(entries: &[Entry], size: usize, batches: bool) -> usize {
    let around = if batches { AROUND_BATCH_LINE } else { AROUND_OUTPUT };
    let mut room = size;
    let fits = |entry: &&Entry| {
        let bytes = entry.line.len() + around;
        let fits = bytes <= room;
        room = room.saturating_sub(bytes);
        fits
    };
    entries.iter().take_while(fits).count().max(1).min(entries.len())
}

/// One message for each line, for dashboards that do not support batches.
fn single(id: &JobId, command: &str, entries: Vec<Entry>) -> Vec<String> {
    let message = |mut entry: Entry| {
        progress(&mut entry).unwrap_or_else(|| {
            let seq = entry.number();
            let stream = stream(entry.stream);
            let line = text(entry.stream, entry.line);
            AgentMessage::Output(Output {
                line,
                stream,
                command: command.to_owned(),
                is_error: stream == Stream::Stderr,
                seq: Some(seq),
                job_id: Some(id.to_string()),
                at: Some(entry.at),
                cont: entry.cont,
            })
        })
    };
    entries.into_iter().map(|entry| message(entry).encode()).collect()
}

/// One message for all lines up to the next progress report.
fn batched(id: &JobId, command: &str, entries: Vec<Entry>) -> Vec<String> {
    let mut texts = Vec::new();
    let mut lines = Vec::with_capacity(entries.len());
    let close = |lines: &mut Vec<BatchLine>, texts: &mut Vec<String>| {
        if !lines.is_empty() {
            let batch = OutputBatch {
                command: command.to_owned(),
                job_id: id.to_string(),
                lines: std::mem::take(lines),
            };
            texts.extend(batch.split().into_iter().map(|batch| AgentMessage::OutputBatch(batch).encode()));
        }
    };
    for mut entry in entries {
        if let Some(progress) = progress(&mut entry) {
            close(&mut lines, &mut texts);
            texts.push(progress.encode());
        } else {
            let seq = entry.number();
            let Entry { at, cont, .. } = entry;
            let (stream, line) = (stream(entry.stream), text(entry.stream, entry.line));
            lines.push(BatchLine { seq, at, stream, line, cont });
        }
    }
    close(&mut lines, &mut texts);
    texts
}

/// The message of an entry that is progress, not text.
fn progress(entry: &mut Entry) -> Option<AgentMessage> {
    let test = entry.test.take().map(|seen| AgentMessage::TestProgress(wire::progress::test(*seen)));
    test.or_else(|| {
        let seen = entry.operation.take()?;
        Some(AgentMessage::OperationProgress(wire::progress::operation(*seen)))
    })
}

fn stream(source: Source) -> Stream {
    match source {
        Source::Stderr => Stream::Stderr,
        Source::Stdout | Source::System => Stream::Stdout,
    }
}

fn text(source: Source, line: String) -> String {
    match source {
        Source::System => format!("{REMARK}{line}"),
        Source::Stdout | Source::Stderr => line,
    }
}
