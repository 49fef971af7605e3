//! What hosts said about their commands.

use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{DirectGetError, DirectGetErrorKind, Stream};
use nixfleet_fleet::names::{LOG, STATUS, said, status};
use nixfleet_protocol::{AgentMessage, BatchLine, OutputBatch};

use crate::job::Floor;
use crate::reader::{Entry, MOST_NAMED, ReadError};

/// Ends of a host that are looked at: more than gateways keep as they come.
const MOST_ENDS: usize = 256;

/// What an entry says. None if it cannot be read.
pub(crate) fn message(entry: &Entry) -> Option<AgentMessage> {
    read(entry.text()?)
}

fn read(text: &str) -> Option<AgentMessage> {
    let message = AgentMessage::decode(text).ok()?;
    // From here on, a line is a line of a batch.
    match message {
        AgentMessage::Output(output) => match (output.job_id, output.seq) {
            (Some(job_id), Some(seq)) => {
                let at = output.at.unwrap_or_default();
                let line = BatchLine { seq, at, stream: output.stream, line: output.line, cont: output.cont };
                let command = output.command;
                Some(AgentMessage::OutputBatch(OutputBatch { command, job_id, lines: vec![line] }))
            }
            (job_id, seq) => Some(AgentMessage::Output(nixfleet_protocol::Output { job_id, seq, ..output })),
        },
        other => Some(other),
    }
}

/// The subjects of these kinds of entries of these hosts, or of more hosts than these.
pub(crate) fn subjects(hosts: &[String], kinds: &[&str]) -> Vec<String> {
    let of = |host: &str| kinds.iter().map(|kind| said(host, kind)).collect::<Vec<_>>();
    if hosts.len() <= MOST_NAMED { hosts.iter().flat_map(|host| of(host)).collect() } else { of("*") }
}

/// The newest entry of this kind of a host, with its number.
pub(crate) async fn newest(
    log: &Stream,
    host: &str,
    kind: &str,
) -> Result<Option<(u64, AgentMessage)>, ReadError> {
    let entry = answered(LOG, log.direct_get_last_for_subject(said(host, kind)).await)?;
    Ok(entry.and_then(|entry| Some((entry.sequence, read(str::from_utf8(&entry.payload).ok()?)?))))
}

/// What is known of a host's jobs before it is asked. With `ends`, it is looked back for the newest job that has ended:
/// answers of commands without a job may have come behind it.
pub(crate) async fn floor(log: &Stream, ends: Option<&Stream<()>>, host: &str) -> Result<Floor, ReadError> {
    let last = async |kind| {
        let Some((sequence, message)) = newest(log, host, kind).await? else { return Ok(None) };
        let job = match message {
            AgentMessage::Output(output) => output.job_id,
            AgentMessage::OutputBatch(batch) => Some(batch.job_id),
            AgentMessage::Status(status) => status.job_id,
            _ => None,
        };
        Ok::<_, ReadError>(Some((sequence, job)))
    };
    let (output, status) = futures_util::future::try_join(last("output"), last("status")).await?;
    let mut ended = status.as_ref().and_then(|(_, job)| job.clone());
    if let (Some(ends), Some((_, None))) = (ends, &status) {
        ended = newest_end(ends, host).await?;
    }
    let seen = output.as_ref().and_then(|(_, job)| job.clone());
    let sequence = |entry: Option<(u64, Option<String>)>| entry.map_or(0, |(sequence, _)| sequence);
    Ok(Floor { sequence: sequence(output).max(sequence(status)), seen: seen.max(ended.clone()), ended })
}

/// The newest job among the ends of a host that are kept longer.
async fn newest_end(ends: &Stream<()>, host: &str) -> Result<Option<String>, ReadError> {
    let (mut newest, mut from) = (None, 1);
    for _ in 0..MOST_ENDS {
        let entry = ends.direct_get_next_for_subject(status(host), Some(from)).await;
        let Some(entry) = answered(STATUS, entry)? else { break };
        from = entry.sequence + 1;
        if let Some(AgentMessage::Status(status)) = str::from_utf8(&entry.payload).ok().and_then(read) {
            newest = newest.max(status.job_id);
        }
    }
    Ok(newest)
}

/// The entry. None if there is none.
fn answered(
    what: &'static str,
    answer: Result<StreamMessage, DirectGetError>,
) -> Result<Option<StreamMessage>, ReadError> {
    match answer {
        Ok(entry) => Ok(Some(entry)),
        Err(err) if err.kind() == DirectGetErrorKind::NotFound => Ok(None),
        Err(err) if err.kind() == DirectGetErrorKind::TimedOut => Err(ReadError::Silent(what)),
        Err(source) => Err(ReadError::Nats { what, source: source.into() }),
    }
}
