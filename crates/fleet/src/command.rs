//! Commands to a host: a request, and the reply of the gateway that has its connection.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, RequestErrorKind};
use nixfleet_os::text::one_line;
use nixfleet_protocol::{CommandRejected, DashboardMessage, DecodeError, encode, is_hostname};
use serde::{Deserialize, Serialize};

use crate::names;

/// How long a gateway waits for the verdict of the agent. An agent rejects a command as soon as it knows the process id
/// of the running one, which takes a second at most.
pub const VERDICT_LIMIT: Duration = Duration::from_secs(2);

/// How long an asker waits for the reply: the verdict, and the way there and back on a busy network.
const REPLY_LIMIT: Duration = Duration::from_secs(5);

/// Longest quotation of a name that is none.
const MAX_QUOTED: usize = 80;

/// What is sent to an agent, to the letter.
#[derive(Debug, Clone)]
pub struct Request(pub DashboardMessage);

impl Request {
    /// The payload of the request.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        encode(&self.0).into_bytes()
    }

    /// Reads the payload of a request.
    ///
    /// # Errors
    /// Why it is none. Only `command` and `kill_command` are requests.
    pub fn decode(payload: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(payload).map_err(|_| "the request is not UTF-8".to_owned())?;
        match DashboardMessage::decode(text) {
            Ok(message @ (DashboardMessage::Command(_) | DashboardMessage::KillCommand(_))) => {
                Ok(Self(message))
            }
            Ok(_) => Err("the request is neither `command` nor `kill_command`".to_owned()),
            Err(DecodeError::UnknownType(kind)) => Err(format!("the request has the unknown type `{kind}`")),
            Err(DecodeError::Malformed(err)) => Err(format!("the request cannot be read: {err}")),
        }
    }
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Reply {
    /// The agent runs the command, or has run it.
    Accepted {
        /// The message that shows it: `heartbeat`, `output` or `status`.
        evidence: String,
    },
    /// The agent does not run it, because of the command that runs.
    Rejected {
        /// The agent's own words.
        rejection: CommandRejected,
    },
    /// A signal was sent. What becomes of it shows in the status.
    Sent,
    /// Nothing was sent, for this reason. It may be asked again.
    Refused {
        /// The reason, for people.
        reason: String,
    },
    /// The command was sent, and it is not known whether the agent runs it.
    Unknown {
        /// The reason, for people.
        reason: String,
    },
}

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// This cannot be the name of a host.
    #[error("`{}` is no name of a host: those have 1 to 63 letters, digits and hyphens", one_line(.0, MAX_QUOTED))]
    Name(String),
    /// There is no connection to NATS now. Nothing was sent.
    #[error("NATS is away, so nothing was sent to {0}; ask again when it is back")]
    Away(String),
    /// No gateway has a connection of this host.
    #[error("{0} is not connected")]
    Offline(String),
    /// The gateway did not reply in time. The command may run.
    #[error(
        "the gateway of {0} did not reply within 5 s; look whether the command runs before it is sent again"
    )]
    Late(String),
    /// The reply cannot be read.
    #[error("the reply of the gateway of {host} cannot be read")]
    Reply {
        /// The host.
        host: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// NATS cannot be used.
    #[error("cannot ask {host} through NATS")]
    Nats {
        /// The host.
        host: String,
        /// The cause.
        source: async_nats::RequestError,
    },
}

/// Sends a request to `host`.
///
/// # Errors
/// [`AskError`].
pub async fn ask(client: &Client, host: &str, request: &Request) -> Result<Reply, AskError> {
    let message = async_nats::Request::new().payload(request.encode().into()).timeout(Some(REPLY_LIMIT));
    let host = host.to_owned();
    // A wildcard would ask every host.
    if !is_hostname(&host) {
        return Err(AskError::Name(host));
    }
    // The library would keep the request, and send it at the reconnect, however long after the limit that is.
    if client.connection_state() != State::Connected {
        return Err(AskError::Away(host));
    }
    match client.send_request(names::command(&host), message).await {
        Ok(reply) => {
            serde_json::from_slice(&reply.payload).map_err(|source| AskError::Reply { host, source })
        }
        Err(err) if err.kind() == RequestErrorKind::NoResponders => Err(AskError::Offline(host)),
        Err(err) if err.kind() == RequestErrorKind::TimedOut => Err(AskError::Late(host)),
        Err(source) => Err(AskError::Nats { host, source }),
    }
}
