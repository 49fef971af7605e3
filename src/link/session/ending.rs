//! Requests to end the running command: `stop` and `kill_command`, and their answers.

use tokio::time::Instant;

use nixfleet_jobs::Urgency;
use nixfleet_os::planted;
use nixfleet_protocol::{KillCommand, KillSignal, NO_PROCESS, Status, StatusKind};

use super::Session;
use crate::jobs::table::{Stage, Unanswered};
use crate::observe::limiter::Topic;

impl Session<'_> {
    pub(super) fn stop(&mut self, asked: &str, now: Instant) {
        if self.agent.end_current(Urgency::Stop, asked, now) {
            if !self.may_log(Topic::End) {
                return;
            }
            let span = self.agent.jobs.current_span();
            span.in_scope(|| tracing::info!("Stopping the running command."));
        } else {
            self.refuse(asked, self.nothing_runs());
        }
    }

    /// The answer to a request to end a command when none runs.
    fn nothing_runs(&self) -> String {
        let waiting = self.agent.jobs.unreported_record();
        let waiting = waiting.map(|record| {
            format!("; `{}` has ended, its output and its status are still to come", record.command)
        });
        format!("nothing is running{}", waiting.unwrap_or_default())
    }

    /// Answers the requests to end a command that nothing else has answered in time.
    pub(super) fn answer_stops(&mut self, now: Instant) {
        for Unanswered { asked, command, stage } in self.agent.jobs.unanswered(now) {
            let why = match stage {
                Stage::Ended => {
                    let text = format!("`{command}` has ended, its output and its status are still to come");
                    self.send_status(Status::answer(&asked, StatusKind::Ok, 0, &text), now);
                    continue;
                }
                Stage::Launching => "it is still being started, and ends as soon as it runs",
                Stage::Running => {
                    "it has not ended in time; its output says whether the stop was refused, and otherwise its \
                     supervisor does not react"
                }
            };
            tracing::warn!(asked, command, "A request to end the command had no effect so far: {why}.");
            self.refuse(&asked, format!("The command goes on: {why}"));
        }
    }

    pub(super) fn kill_command(&mut self, kill: &KillCommand, now: Instant) {
        let pid = self.agent.jobs.current().map(|current| current.pid);
        let urgency = match kill.signal {
            KillSignal::Term => Urgency::Stop,
            KillSignal::Kill => Urgency::Kill,
        };
        match pid {
            None => self.refuse("kill_command", self.nothing_runs()),
            Some(own) if kill.pid != 0 && own != Some(kill.pid) && !planted!("kill-any-pid") => {
                if self.may_log(Topic::Refused) {
                    tracing::warn!(
                        pid = kill.pid,
                        "Refused to signal a process that is not the running command."
                    );
                }
                let what = match kill.pid {
                    NO_PROCESS => "what was sent as `pid`".to_owned(),
                    pid => format!("process {pid}"),
                };
                self.refuse("kill_command", format!("{what} is not the running command"));
            }
            Some(_) => {
                if self.may_log(Topic::End) {
                    let span = self.agent.jobs.current_span();
                    let how = match urgency {
                        Urgency::Stop => "at the dashboard's request",
                        Urgency::Kill => "by force, at the dashboard's request",
                    };
                    span.in_scope(|| tracing::info!("Ending the running command {how}."));
                }
                self.agent.end_current(urgency, "kill_command", now);
            }
        }
    }
}
