//! What agents say.

use std::sync::Arc;

use nixfleet_protocol::{AgentMessage, CommandRejected, Heartbeat, Status};

use super::{Hub, is_earlier};
use crate::history::points_for;
use crate::log::{LOG_BYTES, Said};
use crate::moment::{Moment, rfc3339};
use crate::record::{Kept, MAX_BYTES, room_for};
use crate::view::{BrowserMessage, LastStatus, Line, Lines};

impl Hub {
    /// Handles any message but `register` of a registered socket. Messages of a replaced socket are ignored.
    pub(crate) fn receive(
        &mut self,
        moment: Moment,
        id: &str,
        session: u64,
        text: &str,
        message: AgentMessage,
    ) {
        let link = self.hosts.get(id).and_then(|host| host.link.as_ref());
        if link.is_some_and(|link| link.session == session) {
            self.take(moment, id, text, message);
        }
    }

    /// Handles any message but `register`, of whichever connection. Returns whether the host is known.
    pub(crate) fn take(&mut self, moment: Moment, id: &str, text: &str, message: AgentMessage) -> bool {
        let hosts = self.hosts.len();
        let Some(host) = self.hosts.get_mut(id) else { return false };
        match &message {
            AgentMessage::Register(_) => {}
            AgentMessage::Prewarm(prewarm) => {
                host.prewarm = Some(Box::new(prewarm.clone()));
                self.publish_host(id);
            }
            AgentMessage::Heartbeat(beat) => self.beat(moment, id, text, beat),
            AgentMessage::Output(output) => {
                let job = output.job_id.as_deref();
                let at_ms = written_at(output.at.as_deref(), moment);
                let (seq, stream, cont) = (output.seq, output.stream, output.cont);
                let said = Said { seq, stream, line: &output.line, cont, at_ms };
                self.lines(id, &output.command, job, [said].into_iter());
            }
            AgentMessage::OutputBatch(batch) => {
                let lines = batch.lines.iter().map(|line| {
                    let at_ms = written_at(Some(&line.at), moment);
                    let (seq, stream, cont) = (Some(line.seq), line.stream, line.cont);
                    Said { seq, stream, line: &line.line, cont, at_ms }
                });
                self.lines(id, &batch.command, Some(&batch.job_id), lines);
            }
            AgentMessage::Status(status) => self.ended(moment, id, status),
            AgentMessage::CommandRejected(rejection) => self.rejected(moment, id, rejection),
            AgentMessage::TestProgress(progress) => {
                host.test_progress = Some(Box::new(progress.clone()));
                if self.is_watched(id) {
                    let progress = progress.clone();
                    self.publish(id, BrowserMessage::TestProgress { host_id: id.to_owned(), progress });
                }
            }
            AgentMessage::OperationProgress(operation) => {
                host.running.get_or_insert_default().progress(&operation.progress);
                let parts = host.operation.get_or_insert_default();
                parts.merge(&operation.progress);
                let progress = (**parts).clone();
                self.mark_changed(id);
                if self.is_watched(id) {
                    let host_id = id.to_owned();
                    self.publish(id, BrowserMessage::OperationProgress { host_id, progress });
                }
            }
        }
        let Some(host) = self.hosts.get_mut(id) else { return false };
        // A heartbeat has its place already: the host has its text, too.
        if !matches!(message, AgentMessage::Heartbeat(_)) {
            let kept = Kept::Message(Box::new(message), text.len());
            host.record.push(host.connections, moment.unix_ms, kept);
        }
        host.record.trim(room_for(MAX_BYTES, hosts));
        if let Some(log) = &mut host.log {
            log.trim(room_for(LOG_BYTES, hosts));
        }
        true
    }

    fn beat(&mut self, moment: Moment, id: &str, text: &str, beat: &Heartbeat) {
        let points = points_for(self.hosts.len());
        let Some(host) = self.hosts.get_mut(id) else { return };
        let text: Arc<str> = text.into();
        host.record.push(host.connections, moment.unix_ms, Kept::Text(Arc::clone(&text)));
        host.beat(moment, text, beat, points);
        if self.has_browsers {
            host.note_summary(beat);
        }
        self.deadline_moved |= is_earlier(host.deadline(), &mut self.next_expiry);
        self.publish_host(id);
    }

    /// Handles a heartbeat of an older connection. Returns whether the host is known.
    pub(crate) fn late_beat(&mut self, moment: Moment, id: &str, text: &str, beat: &Heartbeat) -> bool {
        let Some(host) = self.hosts.get_mut(id) else { return false };
        if !host.has_beat() {
            self.beat(moment, id, text, beat);
            if let Some(host) = self.hosts.get_mut(id) {
                host.facts_count();
            }
        } else if !host.online {
            host.online = true;
            self.publish_host(id);
        }
        true
    }

    fn lines<'a>(
        &mut self,
        id: &str,
        command: &str,
        job: Option<&str>,
        lines: impl Iterator<Item = Said<'a>>,
    ) {
        let is_watched = self.is_watched(id);
        let Some(host) = self.hosts.get_mut(id) else { return };
        host.verdicts.output(command, job);
        let (mut head, mut shown, mut any) = (None, Vec::new(), false);
        for said in lines {
            if !host.verdicts.is_new_line(command, job, said.seq) {
                continue;
            }
            let log = host.log.get_or_insert_default();
            if !std::mem::replace(&mut any, true) {
                head = log.begin(said.at_ms, command, job);
            }
            let n = log.line(said);
            if is_watched {
                let Said { seq, stream, line, cont, at_ms } = said;
                shown.push(Line { n, seq, stream, line: line.to_owned(), cont, at: rfc3339(at_ms) });
            }
        }
        if !shown.is_empty() {
            let (host_id, command, job_id) = (id.to_owned(), command.to_owned(), job.map(str::to_owned));
            let lines = Lines { host_id, command, job_id, head, lines: shown };
            self.publish(id, BrowserMessage::Output(lines));
        }
    }

    fn ended(&mut self, moment: Moment, id: &str, status: &Status) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        let job = status.job_id.as_deref();
        if !host.verdicts.ended(&status.command, job) {
            return;
        }
        if let Some(running) = &mut host.running {
            running.ended(&status.command);
        }
        let n = host.log.get_or_insert_default().end(moment.unix_ms, status);
        let last = LastStatus { received_at: rfc3339(moment.unix_ms), status: status.clone() };
        host.last_status = Some(Box::new(last.clone()));
        if self.is_watched(id) {
            self.publish(id, BrowserMessage::Status { host_id: id.to_owned(), n, status: last });
        }
        self.publish_host(id);
    }

    fn rejected(&mut self, moment: Moment, id: &str, rejection: &CommandRejected) {
        let Some(host) = self.hosts.get_mut(id) else { return };
        host.verdicts.rejected(rejection);
        let n = host.log.get_or_insert_default().rejected(moment.unix_ms, rejection);
        if self.is_watched(id) {
            let (host_id, at, rejection) = (id.to_owned(), rfc3339(moment.unix_ms), rejection.clone());
            self.publish(id, BrowserMessage::CommandRejected { host_id, n, at, rejection });
        }
    }
}

/// When a line was written, by the clock of its host; when it came, if the agent does not say it.
fn written_at(at: Option<&str>, moment: Moment) -> i64 {
    let written = at.and_then(|at| at.parse::<jiff::Timestamp>().ok());
    written.map_or(moment.unix_ms, |at| at.as_millisecond())
}
