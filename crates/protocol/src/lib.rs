//! The wire between an agent and a dashboard: every message, its limits, and how text becomes one.
//!
//! ```text
//! agent                                   dashboard
//!   | --- register ----------------------> |   first message of every connection
//!   | <-------------------- registered --- |   nothing but `register` goes out before this
//!   | --- heartbeat ---------------------> |   at once, then every interval
//!   | <----------------- heartbeat_ack --- |   to each heartbeat, if it was announced
//!   | <----------------------- command --- |
//!   | --- heartbeat (pending_command) ---> |   meanwhile
//!   | --- output, test_progress,
//!   |     operation_progress ------------> |   behind every control message
//!   | --- status ------------------------> |   exactly once a command
//!   | --- command_rejected --------------> |   instead, while another command runs
//!   | <------------------ kill_command --- |
//! ```
//!
//! Each message is one text frame `{"type": "<name>", "payload": {..}}`. Unknown types and unknown
//! fields are ignored by both sides; a malformed message is logged and skipped (T01 scenario 6).
//! Fields marked *additive* are not part of the T01/T02/T03 documents: old dashboards ignore them.

use std::borrow::Cow;
use std::error::Error;
use std::fmt;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

pub use agent::{
    BatchLine, CommandRejected, Heartbeat, HostSystem, Metrics, OperationProgress, Output, OutputBatch, Part,
    PartState, Parts, Register, RunningJob, Status, StatusKind, Stream, TestProgress, TestResult, TestsPart,
    UpdateState, UpdateStatus, Verdict,
};
pub use dashboard::{
    CommandRequest, HeartbeatAck, KillCommand, KillSignal, Registered, ServerState, ServerStatus,
};

pub use vitals::{
    DeviceVitals, DiskIo, DiskVitals, FailedUnits, GpuVitals, Pressures, Prewarm, TemperatureVitals,
    Throughput,
};

mod agent;
mod dashboard;
mod vitals;

#[cfg(test)]
mod tests;

/// The longest message the agent sends, in bytes. Existing dashboards close with 1009 above
/// 512 KiB; half of that leaves room for whatever a proxy adds.
pub const MAX_SENT_BYTES: usize = 256 * 1024;

/// The longest message the agent accepts, in bytes. Dashboard messages are a few hundred bytes; a
/// longer frame ends the connection, never the agent.
pub const MAX_RECEIVED_BYTES: usize = 1024 * 1024;

/// The longest piece of a line in one [`Output`], in bytes of UTF-8. JSON escapes can make it six
/// times longer, which still is below [`MAX_SENT_BYTES`].
pub const MAX_LINE_BYTES: usize = 32 * 1024;

/// Test scripts whose results go into [`TestsPart::results`]: existing dashboards show that many.
pub const MAX_TEST_RESULTS: usize = 8;

/// What [`CommandRejected::reason`] says while another command runs, to the letter (T02 scenario 7).
pub const ALREADY_RUNNING: &str = "command already running";

/// Capability of a dashboard that reads [`AgentMessage::OutputBatch`].
pub const CAPABILITY_OUTPUT_BATCH: &str = "output_batch";

/// Capability of an agent that counts [`DashboardMessage::HeartbeatAck`].
pub const CAPABILITY_ACK: &str = "ack";

/// A message from the agent to the dashboard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum AgentMessage {
    /// First on every connection; answered by [`DashboardMessage::Registered`].
    Register(Box<Register>),
    /// After `registered`, then every interval. Not answered.
    Heartbeat(Box<Heartbeat>),
    /// One line of the running command.
    Output(Output),
    /// Several lines, towards a dashboard that announced [`CAPABILITY_OUTPUT_BATCH`] (additive).
    OutputBatch(OutputBatch),
    /// The end of a command, exactly once for each.
    Status(Status),
    /// The answer to a `command` while another one runs.
    CommandRejected(CommandRejected),
    /// Before and after each script of the `test` command (T03 scenario 4).
    TestProgress(TestProgress),
    /// How far a command's parts are.
    OperationProgress(OperationProgress),
    /// A GPU is under stress, or no longer (additive, seed 001).
    Prewarm(Prewarm),
}

/// A message from the dashboard to the agent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
pub enum DashboardMessage {
    /// Accepts a registration.
    Registered(Registered),
    /// Starts a command; answered by `status` at its end or by `command_rejected` at once.
    Command(CommandRequest),
    /// Signals the running command.
    KillCommand(KillCommand),
    /// A heartbeat has arrived; only if [`Registered::ack`] announced it (additive, seed 001).
    HeartbeatAck(HeartbeatAck),
}

/// Why a text frame is not a message.
#[derive(Debug)]
pub enum DecodeError {
    /// A newer peer: count it and carry on.
    UnknownType(String),
    /// Not an envelope, or a known type with a wrong payload.
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

/// The outer object, with the payload left as text until its type is known.
///
/// Decoding in two steps, because serde's adjacently tagged enums can neither tell an unknown tag
/// from a bad payload nor do without a payload.
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
    /// Reads one text frame of an agent.
    ///
    /// # Errors
    /// [`DecodeError`]; neither kind is a reason to end the connection.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
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
    /// Reads one text frame of a dashboard.
    ///
    /// # Errors
    /// [`DecodeError`]; neither kind is a reason to end the connection.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        let envelope: Envelope<'_> = serde_json::from_str(text)?;
        Ok(match &*envelope.kind {
            "registered" => Self::Registered(envelope.payload()?),
            "command" => Self::Command(envelope.payload()?),
            "kill_command" => Self::KillCommand(envelope.payload()?),
            "heartbeat_ack" => Self::HeartbeatAck(envelope.payload()?),
            other => return Err(DecodeError::UnknownType(other.to_owned())),
        })
    }
}

/// The text frame of a message.
///
/// The wire types hold no maps with odd keys and no fallible `Serialize`, so this cannot fail.
pub fn encode(message: &impl Serialize) -> String {
    serde_json::to_string(message).expect("wire types always serialize")
}
