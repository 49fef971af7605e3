//! What a host says about its commands, as entries of streams.

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use nixfleet_protocol::AgentMessage;

use crate::{envelope, names};

/// Longest id of a job that becomes a part of an id of NATS. Agents use 32 characters.
const MAX_JOB_ID: usize = 64;

/// One entry to publish, and to wait for its acknowledgement. The payload is the agent's message, to the letter.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its subjects, in this order: the log, and for the end of a command the status as well.
    pub subjects: Vec<String>,
    /// Its headers.
    pub headers: HeaderMap,
}

/// How this message of `host` is kept, which was read at `at_ms` (Unix milliseconds) on this connection. None for
/// `register` and heartbeats, which are kept in buckets.
///
/// NATS stores a message once whose id it has seen within the stream's window. An agent sends again what may have been
/// lost, and may cut it into other pieces, so readers drop the lines of a job that they have.
#[must_use]
pub fn said(host: &str, connection: u64, at_ms: i64, message: &AgentMessage) -> Option<Said> {
    let (what, id) = match message {
        AgentMessage::Register(_) | AgentMessage::Heartbeat(_) => return None,
        AgentMessage::Output(output) => {
            let id = output
                .job_id
                .as_deref()
                .zip(output.seq)
                .and_then(|(job, seq)| id(host, job, &seq.to_string()));
            ("output", id)
        }
        AgentMessage::OutputBatch(batch) => {
            let ends = batch.lines.first().zip(batch.lines.last());
            let id = ends.and_then(|(first, last)| {
                let lines = if first.seq == last.seq {
                    first.seq.to_string()
                } else {
                    format!("{}-{}", first.seq, last.seq)
                };
                id(host, &batch.job_id, &lines)
            });
            ("output", id)
        }
        AgentMessage::Status(status) => {
            ("status", status.job_id.as_deref().and_then(|job| id(host, job, "end")))
        }
        AgentMessage::CommandRejected(_) => ("rejected", None),
        AgentMessage::TestProgress(_) | AgentMessage::OperationProgress(_) => ("progress", None),
        AgentMessage::Prewarm(_) => ("prewarm", None),
    };
    let mut headers = envelope::headers(connection, at_ms);
    if let Some(id) = id {
        headers.insert(NATS_MESSAGE_ID, id);
    }
    let mut subjects = vec![names::said(host, what)];
    if what == "status" {
        subjects.push(names::status(host));
    }
    Some(Said { subjects, headers })
}

/// The id of a message of NATS. It begins with the host: no host can make NATS drop the lines of another one. A job with
/// a hyphen in its id has none, or lines 1 to 3 of `j` would be line 3 of `j-1`; neither has one that is a number, as the
/// gateway's own ids for other messages are numbers of a connection.
fn id(host: &str, job: &str, part: &str) -> Option<String> {
    let plain = (1..=MAX_JOB_ID).contains(&job.len()) && job.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (plain && job.parse::<u64>().is_err()).then(|| format!("{host}.{job}-{part}"))
}
