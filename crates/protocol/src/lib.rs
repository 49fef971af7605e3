//! The messages between nixfleet-agent and a fleet dashboard: their fields, their limits, and how to read and
//! write them.
//!
//! ```text
//! agent                                   dashboard
//!   | --- register ----------------------> |   first message of every connection
//!   | <-------------------- registered --- |   the agent sends nothing else before this
//!   | --- heartbeat ---------------------> |   at once, then every interval
//!   | <----------------- heartbeat_ack --- |   to each heartbeat, if `registered` announced it
//!   | <----------------------- command --- |
//!   | --- heartbeat (pending_command) ---> |   while the command runs
//!   | --- output, test_progress,
//!   |     operation_progress ------------> |   behind every control message
//!   | --- status ------------------------> |   exactly one for each command
//!   | --- command_rejected --------------> |   instead, while another command runs
//!   | <------------------ kill_command --- |
//! ```
//!
//! Each message is one text frame `{"type": "<name>", "payload": {..}}`. Both sides ignore unknown types and unknown
//! fields. A malformed message is logged and skipped; the connection stays open. An optional field of a dashboard's
//! message that cannot be read is ignored by itself. Fields marked *additive* are newer than version 1 of the
//! protocol: a peer that does not know them ignores them, and they may be missing.
//!
//! ```
//! use nixfleet_protocol::{AgentMessage, DashboardMessage, Registered, encode};
//!
//! let frame = r#"{"type": "register", "payload": {"hostname": "web-1", "heartbeat_interval": 30}}"#;
//! let AgentMessage::Register(register) = AgentMessage::decode(frame)? else { panic!("not a register") };
//!
//! let answer = Registered { host_id: register.hostname, ..Registered::default() };
//! assert_eq!(
//!     encode(&DashboardMessage::Registered(answer)),
//!     r#"{"type":"registered","payload":{"host_id":"web-1"}}"#
//! );
//! # Ok::<(), nixfleet_protocol::DecodeError>(())
//! ```
#![cfg_attr(test, allow(clippy::string_slice, reason = "a wrong index fails the test"))]
#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use agent::{
    BatchLine, CommandRejected, OfferedCommand, Output, OutputBatch, Register, RunningJob, Status,
    StatusKind, Stream,
};
pub use dashboard::{
    CommandRequest, HeartbeatAck, KillCommand, KillSignal, Registered, ServerState, ServerStatus,
};
pub use heartbeat::{
    CommandActivity, Heartbeat, HostSystem, LastError, LastGoodSettings, Metrics, NextBoot, NextBootSource,
    UpdateState, UpdateStatus, Verdict,
};
pub use hostname::is_hostname;
pub use lenient::{NO_PROCESS, OddField};
pub use progress::{OperationProgress, Part, PartState, Parts, TestProgress, TestResult, TestsPart};
pub use pulse::Pulse;
pub use vitals::{
    DeviceVitals, DiskIo, DiskVitals, FailedUnits, GpuVitals, Pressures, Prewarm, TemperatureVitals,
    Throughput,
};

mod agent;
pub mod bounds;
mod dashboard;
mod heartbeat;
mod hostname;
mod lenient;
mod progress;
mod pulse;
#[cfg(feature = "schema")]
pub mod schema;
mod vitals;

#[cfg(test)]
mod tests;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// The longest message that the agent sends, in bytes. Existing dashboards close the connection with code
/// 1009 above 512 KiB; half of that leaves room for what a proxy adds.
pub const MAX_SENT_BYTES: usize = 256 * 1024;

/// The longest message that the agent accepts, in bytes. A longer frame ends the connection, never the agent.
/// Usual messages of a dashboard have a few hundred bytes.
pub const MAX_RECEIVED_BYTES: usize = 1024 * 1024;

/// The longest piece of a line in one [`Output`], in bytes of UTF-8. JSON escapes can make it six times
/// longer, which is still below [`MAX_SENT_BYTES`].
pub const MAX_LINE_BYTES: usize = 32 * 1024;

/// Most entries of [`TestsPart::results`]: existing dashboards show that many.
pub const MAX_TEST_RESULTS: usize = 8;

/// [`CommandRejected::reason`] while another command runs. The wording is part of the protocol.
pub const ALREADY_RUNNING: &str = "command already running";

/// Capability of a dashboard that can read [`AgentMessage::OutputBatch`].
pub const CAPABILITY_OUTPUT_BATCH: &str = "output_batch";

/// Capability of an agent that counts [`DashboardMessage::HeartbeatAck`].
pub const CAPABILITY_ACK: &str = "ack";

/// A message from the agent to the dashboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum AgentMessage {
    /// The first message on every connection. The dashboard answers with `registered`.
    Register(Box<Register>),
    /// Sent after `registered`, then once in each interval. There is no answer unless `registered` announced
    /// `heartbeat_ack`.
    Heartbeat(Box<Heartbeat>),
    /// One line of the running command.
    Output(Output),
    /// Several lines of the running command, to a dashboard with the capability `output_batch` (additive).
    OutputBatch(OutputBatch),
    /// The end of a command, exactly one for each.
    Status(Status),
    /// The answer to a `command` that is not started, because another one runs or because of a maintenance.
    CommandRejected(CommandRejected),
    /// Sent before and after each script of the `test` command.
    TestProgress(TestProgress),
    /// Progress of the parts of a command.
    OperationProgress(OperationProgress),
    /// The stress of a GPU has begun or ended (additive).
    Prewarm(Prewarm),
}

/// A message from the dashboard to the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum DashboardMessage {
    /// Accepts a registration.
    Registered(Registered),
    /// Starts a command. The agent answers with `status` at its end, or with `command_rejected` at once.
    Command(CommandRequest),
    /// Sends a signal to the running command.
    KillCommand(KillCommand),
    /// A heartbeat has arrived. Sent only if `ack` in `registered` announced it (additive).
    HeartbeatAck(HeartbeatAck),
}

/// Why a text frame is not a message.
#[derive(Debug)]
pub enum DecodeError {
    /// The type is not known, because the peer is newer. Count it and continue.
    UnknownType(String),
    /// The text is not an envelope, or the payload does not fit its type.
    Malformed(serde_json::Error),
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownType(name) => write!(f, "unknown message type `{name}`"),
            Self::Malformed(_) => f.write_str("malformed message"),
        }
    }
}

impl Error for DecodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::UnknownType(_) => None,
            Self::Malformed(error) => Some(error),
        }
    }
}

impl From<serde_json::Error> for DecodeError {
    fn from(error: serde_json::Error) -> Self {
        Self::Malformed(error)
    }
}

/// How the frame of a heartbeat begins.
const HEARTBEAT: &str = r#"{"type":"heartbeat","payload":"#;

/// The outer object. The payload stays text until its type is known.
///
/// Decoding takes two steps because serde's adjacently tagged enums cannot tell an unknown tag from a wrong
/// payload, and do not accept a missing payload.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

impl Envelope<'_> {
    fn payload<T: DeserializeOwned>(&self) -> Result<T, DecodeError> {
        Ok(serde_json::from_str(self.payload.map_or("{}", RawValue::get))?)
    }
}

impl AgentMessage {
    /// The name on the wire, which is the `type` of the message. A new variant does not compile here before it has a
    /// name, and then a test wants its golden file.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Register(_) => "register",
            Self::Heartbeat(_) => "heartbeat",
            Self::Output(_) => "output",
            Self::OutputBatch(_) => "output_batch",
            Self::Status(_) => "status",
            Self::CommandRejected(_) => "command_rejected",
            Self::TestProgress(_) => "test_progress",
            Self::OperationProgress(_) => "operation_progress",
            Self::Prewarm(_) => "prewarm",
        }
    }

    /// Reads one text frame of an agent.
    ///
    /// # Errors
    /// [`DecodeError`]. No variant of it is a reason to close the connection.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        // Most messages are heartbeats, and the largest ones. What is written as agents write it is read once instead of
        // twice. Anything else is left to what follows.
        if let Some(payload) = text.strip_prefix(HEARTBEAT).and_then(|rest| rest.strip_suffix('}'))
            && let Ok(heartbeat) = serde_json::from_str(payload)
        {
            return Ok(Self::Heartbeat(heartbeat));
        }
        let envelope: Envelope<'_> = serde_json::from_str(text)?;
        Ok(match &*envelope.kind {
            "register" => Self::Register(envelope.payload()?),
            "heartbeat" => Self::Heartbeat(envelope.payload()?),
            "output" => Self::Output(envelope.payload()?),
            "output_batch" => Self::OutputBatch(envelope.payload()?),
            "status" => Self::Status(envelope.payload()?),
            "command_rejected" => Self::CommandRejected(envelope.payload()?),
            "test_progress" => Self::TestProgress(envelope.payload()?),
            "operation_progress" => Self::OperationProgress(envelope.payload()?),
            "prewarm" => Self::Prewarm(envelope.payload()?),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
    }
}

impl DashboardMessage {
    /// Reads one text frame of a dashboard. An optional field that cannot be read counts as absent.
    ///
    /// # Errors
    /// [`DecodeError`]. No variant of it is a reason to close the connection.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        Ok(Self::decode_noting(text)?.0)
    }

    /// As [`Self::decode`], and tells which fields could not be read.
    ///
    /// A `kill_command` whose `pid` cannot be read has the pid [`NO_PROCESS`]: absent, it would mean "whichever
    /// command runs".
    ///
    /// # Errors
    /// [`DecodeError`]. No variant of it is a reason to close the connection.
    pub fn decode_noting(text: &str) -> Result<(Self, Vec<OddField>), DecodeError> {
        let envelope: Envelope<'_> = serde_json::from_str(text)?;
        let payload = envelope.payload;
        Ok(match &*envelope.kind {
            "registered" => noted(lenient::read(payload)?, Self::Registered),
            "command" => noted(lenient::read(payload)?, Self::Command),
            "kill_command" => {
                let (mut kill, odd): (KillCommand, _) = lenient::read(payload)?;
                if odd.iter().any(|odd| odd.field != "signal") {
                    kill.pid = NO_PROCESS;
                }
                (Self::KillCommand(kill), odd)
            }
            "heartbeat_ack" => noted(lenient::read(payload)?, Self::HeartbeatAck),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
    }
}

fn noted<T>(
    (payload, odd): (T, Vec<OddField>),
    message: fn(T) -> DashboardMessage,
) -> (DashboardMessage, Vec<OddField>) {
    (message(payload), odd)
}

/// The text frame of a message. For what the agent sends see [`AgentMessage::encode`].
///
/// This cannot fail: the message types have no maps with keys that are not strings, and no `Serialize` that
/// returns an error.
pub fn encode(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("wire types always serialize")
}
