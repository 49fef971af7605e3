//! What becomes of one request to one host.
//!
//! A status does not repeat the id of its request. So the job of a request is the first one with its command that is
//! newer than all jobs that the host had before: ids of later jobs sort behind earlier ones, and the words of a job are
//! in the stream before those of the next one.

use std::collections::VecDeque;
use std::time::Duration;

use nixfleet_fleet::{AskError, Reply};
use nixfleet_protocol::{AgentMessage, BatchLine, Output, Status, StatusKind};

pub(crate) use outcome::{ENDED, Outcome, taken};

mod outcome;

/// Most messages of a host that wait for the reply to its request, which comes within seconds.
const MOST_WAITING: usize = 1024;

/// How long the last lines of a job may take behind its status. They are on their way to the stream already.
pub(crate) const LINES_LIMIT: Duration = Duration::from_secs(10);

/// Statuses that answer a stop.
const STOPS: [&str; 3] = ["stop", "kill", "kill_command"];

/// How a line begins that says that a stop is refused.
const REFUSED: &str = "nixfleet: stop refused: ";

/// How a gateway calls the evidence of an agent that has said nothing within its time.
pub(crate) const SILENCE: &str = "silence";

/// What was known of a host's jobs before it was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    /// The host's newest entry in the stream, at least.
    pub(crate) sequence: u64,
    /// The newest job that has said something.
    pub(crate) seen: Option<String>,
    /// The newest job that has ended.
    pub(crate) ended: Option<String>,
}

/// What a host was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// To run this command. `lines`: its lines are wanted as well.
    Command { command: String, id: String, lines: bool },
    /// To end what runs.
    Stop,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    /// The host runs the command, or will not say that it does not. The evidence is the gateway's.
    Accepted { evidence: String },
    /// A line of the command.
    Line { job: Option<String>, line: BatchLine },
    /// Nothing more will come.
    Ended(Outcome),
}

/// How far a request is.
#[derive(Debug, PartialEq)]
enum Phase {
    /// There is no reply yet.
    Open,
    /// The agent has it. If the reply is missing, that is why.
    Sent { unclear: Option<String> },
    /// It has ended, and lines are still to come.
    Ending(Status),
    /// Nothing more will come.
    Over,
}

/// One request to one host.
#[derive(Debug)]
pub(crate) struct Track {
    asked: Asked,
    floor: Floor,
    phase: Phase,
    waiting: VecDeque<(u64, AgentMessage)>,
    /// Messages that waited in vain, because too many others did.
    pub(crate) dropped: u64,
    job: Option<String>,
    last_seq: u64,
    /// How the gateway knows that the agent has it.
    evidence: Option<String>,
    /// The newest refusal of a stop: its job, and the number of its line.
    refusal: Option<(String, u64)>,
}

impl Track {
    /// A request that is about to be sent.
    pub(crate) fn new(asked: Asked) -> Self {
        Self {
            asked,
            floor: Floor::default(),
            phase: Phase::Open,
            waiting: VecDeque::new(),
            dropped: 0,
            job: None,
            last_seq: 0,
            evidence: None,
            refusal: None,
        }
    }

    /// Whether nothing more will come.
    pub(crate) fn is_over(&self) -> bool {
        self.phase == Phase::Over
    }

    /// Whether only lines are missing.
    pub(crate) fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending(_))
    }

    /// Why it is not known whether it runs, as long as nothing shows that it does.
    pub(crate) fn unclear(&self) -> Option<&str> {
        match &self.phase {
            Phase::Sent { unclear } if self.job.is_none() => unclear.as_deref(),
            _ => None,
        }
    }

    /// The reply to the request, which was sent when this was known of the host.
    pub(crate) fn replied(&mut self, floor: Floor, reply: Result<Reply, AskError>) -> Vec<Step> {
        self.floor = floor;
        let sent = |unclear| Phase::Sent { unclear };
        let (phase, mut steps) = match reply {
            Ok(Reply::Accepted { evidence }) => {
                self.evidence = Some(evidence.clone());
                (sent(None), vec![Step::Accepted { evidence }])
            }
            Ok(Reply::Sent) => (sent(None), vec![]),
            Ok(Reply::Rejected { rejection }) => return self.over(Outcome::Rejected(rejection)),
            Ok(Reply::Refused { reason }) => return self.over(Outcome::Refused(reason)),
            Ok(Reply::Unknown { reason }) => (sent(Some(reason)), vec![]),
            Err(AskError::Offline(_)) => return self.over(Outcome::Offline),
            Err(AskError::Away(_)) => {
                return self.over(Outcome::Refused("NATS is away; ask again when it is back".to_owned()));
            }
            // What to do is said with the outcome.
            Err(AskError::Late(_)) => (sent(Some("its gateway did not reply in time".to_owned())), vec![]),
            // The others leave it open whether the request has arrived.
            Err(err) => (sent(Some(nixfleet_os::error::chain(&err))), vec![]),
        };
        self.phase = phase;
        for (sequence, message) in std::mem::take(&mut self.waiting) {
            steps.extend(self.said(sequence, message));
        }
        steps
    }

    /// What the host says, as the entry of this number.
    pub(crate) fn said(&mut self, sequence: u64, message: AgentMessage) -> Vec<Step> {
        match &self.phase {
            Phase::Over => return vec![],
            Phase::Open => {
                if self.waiting.len() == MOST_WAITING {
                    // The oldest one is the least likely to be an answer.
                    self.waiting.pop_front();
                    self.dropped += 1;
                }
                self.waiting.push_back((sequence, message));
                return vec![];
            }
            Phase::Sent { .. } | Phase::Ending(_) => {}
        }
        match self.asked.clone() {
            Asked::Command { command, id, lines } => self.of_command(sequence, message, &command, &id, lines),
            Asked::Stop => self.of_stop(sequence, message),
        }
    }

    fn of_command(
        &mut self,
        sequence: u64,
        message: AgentMessage,
        command: &str,
        id: &str,
        lines: bool,
    ) -> Vec<Step> {
        match message {
            AgentMessage::OutputBatch(batch) if batch.command == command => {
                if !self.is_own(sequence, Some(&batch.job_id)) {
                    return vec![];
                }
                let mut steps = Vec::new();
                for line in batch.lines.into_iter().filter(|_| lines) {
                    if line.seq > self.last_seq {
                        self.last_seq = line.seq;
                        steps.push(Step::Line { job: Some(batch.job_id.clone()), line });
                    }
                }
                if let Phase::Ending(status) = &self.phase
                    && self.has_all(status)
                {
                    let status = status.clone();
                    steps.extend(self.over(Outcome::Ended(status)));
                }
                steps
            }
            // Of an older agent: its lines have no numbers.
            AgentMessage::Output(Output { command: of, job_id, seq, line, stream, at, cont, .. })
                if of == command && lines && self.is_own(sequence, job_id.as_deref()) =>
            {
                let line =
                    BatchLine { seq: seq.unwrap_or(0), at: at.unwrap_or_default(), stream, line, cont };
                vec![Step::Line { job: job_id, line }]
            }
            AgentMessage::Status(status) if status.command == command => {
                if self.is_ending() || !self.is_own(sequence, status.job_id.as_deref()) {
                    return vec![];
                }
                if lines && !self.has_all(&status) {
                    self.phase = Phase::Ending(status);
                    return vec![];
                }
                self.over(Outcome::Ended(status))
            }
            AgentMessage::CommandRejected(rejection) if rejection.command_id.as_deref() == Some(id) => {
                self.over(Outcome::Rejected(rejection))
            }
            _ => vec![],
        }
    }

    fn of_stop(&mut self, sequence: u64, message: AgentMessage) -> Vec<Step> {
        if sequence <= self.floor.sequence {
            return vec![];
        }
        match message {
            AgentMessage::OutputBatch(batch) => {
                let mut steps = Vec::new();
                for line in batch.lines.into_iter().filter(|line| line.line.starts_with(REFUSED)) {
                    let this = Some((batch.job_id.clone(), line.seq));
                    // A host that connects again says it again.
                    if this > self.refusal {
                        self.refusal = this;
                        steps.push(Step::Line { job: Some(batch.job_id.clone()), line });
                    }
                }
                steps
            }
            AgentMessage::Status(status) if STOPS.contains(&status.command.as_str()) => {
                self.over(Outcome::Ended(status))
            }
            // A repeated status of a job that had ended before is none.
            AgentMessage::Status(status)
                if status.job_id.is_some() && status.job_id.as_deref() > self.floor.ended.as_deref() =>
            {
                let refused =
                    matches!((&self.refusal, &status.job_id), (Some((of, _)), Some(job)) if of == job);
                self.over(match status.status {
                    StatusKind::Stopped => Outcome::Stopped(status),
                    StatusKind::Ok | StatusKind::Error => Outcome::ByItself { status, refused },
                })
            }
            _ => vec![],
        }
    }

    /// Whether words of this job answer the request. The first job that can be the one is it.
    fn is_own(&mut self, sequence: u64, job: Option<&str>) -> bool {
        if sequence <= self.floor.sequence {
            return false;
        }
        match (&self.job, job) {
            (Some(own), Some(job)) => own == job,
            (Some(_), None) => false,
            (None, Some(job)) if Some(job) > self.floor.seen.as_deref() => {
                self.job = Some(job.to_owned());
                true
            }
            (None, Some(_)) => false,
            // A request that starts no job, or an older agent.
            (None, None) => true,
        }
    }

    fn has_all(&self, status: &Status) -> bool {
        status.lines.is_none_or(|lines| self.last_seq >= lines)
    }

    /// What has become of it if nobody waits for the end.
    pub(crate) fn not_waited(&self) -> Outcome {
        match self.unclear() {
            Some(why) => Outcome::Unclear(why.to_owned()),
            None => Outcome::Accepted(self.evidence.clone().unwrap_or_default()),
        }
    }

    /// What has become of it if it takes too long.
    pub(crate) fn late(&self) -> Outcome {
        // Neither silence nor a stop that was sent shows that something runs, and with its end as evidence it does not.
        let is_shown = self.evidence.as_deref().is_some_and(|evidence| ![SILENCE, ENDED].contains(&evidence));
        Outcome::Late { runs: self.job.is_some() || is_shown }
    }

    /// Nobody waits any longer. Returns what has become of it.
    pub(crate) fn give_up(&mut self, outcome: Outcome) -> Vec<Step> {
        if let Phase::Ending(status) = &self.phase {
            let status = status.clone();
            return self.over(Outcome::Ended(status));
        }
        if self.is_over() { vec![] } else { self.over(outcome) }
    }

    fn over(&mut self, outcome: Outcome) -> Vec<Step> {
        self.phase = Phase::Over;
        self.waiting = VecDeque::new();
        vec![Step::Ended(outcome)]
    }
}

#[cfg(test)]
mod tests;
