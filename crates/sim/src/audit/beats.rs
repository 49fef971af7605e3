//! Heartbeats: none before the registration, none twice, none late while there is a connection.

use std::collections::BTreeSet;

use jiff::Timestamp;
use nixfleet_protocol::AgentMessage;
use tokio::time::Instant;

use super::{Evidence, SLACK};
use crate::dashboard::Seen;
use crate::faults::{Act, Kind, What};

/// What is known of a connection while its notes are read.
#[derive(Default)]
struct Connection {
    registers: bool,
    registered: Option<Instant>,
    last_beat: Option<Instant>,
    last_seq: Option<u64>,
    disturbed: bool,
}

pub(super) fn check(evidence: &Evidence<'_>, findings: &mut Vec<String>) {
    let clock = evidence.happened(|what| matches!(what, What::SetClock(_) | What::Suspend));
    let mut known: BTreeSet<(Option<String>, Option<u64>)> = BTreeSet::new();
    let mut connections: std::collections::BTreeMap<usize, Connection> = std::collections::BTreeMap::new();
    for noted in &evidence.notes {
        let connection = connections.entry(noted.connection).or_default();
        match &noted.what {
            Seen::Opened | Seen::Asked(_) | Seen::Read(_) => {}
            Seen::Odd(text) => findings.push(format!("a text that is no message: {text}")),
            Seen::Disturbed => connection.disturbed = true,
            Seen::Registered => connection.registered = connection.registered.or(Some(noted.at)),
            Seen::Closed => late(evidence, connection, noted.at, findings),
            Seen::Message(message) => match &**message {
                AgentMessage::Register(_) => connection.registers = true,
                other if !connection.registers || connection.registered.is_none() => {
                    findings.push(format!("before it was registered, the agent sent {other:?}"));
                }
                AgentMessage::Heartbeat(beat) => {
                    late(evidence, connection, noted.at, findings);
                    connection.last_beat = Some(noted.at);
                    if connection.last_seq >= beat.seq {
                        findings
                            .push(format!("heartbeat {:?} came after {:?}", beat.seq, connection.last_seq));
                    }
                    connection.last_seq = beat.seq;
                    if !known.insert((beat.sent_at.clone(), beat.seq)) {
                        findings.push(format!("heartbeat {:?} came twice", beat.seq));
                    }
                    let sent: Option<Timestamp> = beat.sent_at.as_deref().and_then(|at| at.parse().ok());
                    let age = sent.map(|sent| noted.wall.duration_since(sent).unsigned_abs());
                    if !clock && !connection.disturbed && age.is_none_or(|age| age > SLACK) {
                        findings.push(format!("heartbeat {:?} was {age:?} old when it arrived", beat.seq));
                    }
                }
                _ => {}
            },
        }
    }
}

/// Whether the time since the last heartbeat was too long.
fn late(evidence: &Evidence<'_>, connection: &Connection, now: Instant, findings: &mut Vec<String>) {
    let Some(since) = connection.last_beat.or(connection.registered) else { return };
    // In a maintenance the interval is twice as long, and this may be the case for a while behind its end.
    let maintained = evidence.happened(|what| *what == What::Dashboard(Act::Maintenance));
    let interval = evidence.interval * if maintained { 2 } else { 1 };
    let killed = evidence.deaths.iter().any(|(at, kind)| *kind == Kind::Agent && *at >= since && *at <= now);
    let leaves = evidence.happened(|what| matches!(what, What::StopAgent | What::Dashboard(Act::Restart)));
    if !connection.disturbed && !killed && !leaves && now - since > interval + SLACK {
        findings.push(format!("no heartbeat for {:?}, the interval is {interval:?}", now - since));
    }
}
