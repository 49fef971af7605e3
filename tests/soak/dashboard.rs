//! The dashboard's end of a connection: it acknowledges, sends commands and nonsense, and checks what comes.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use nixfleet_jobs::JobId;
use nixfleet_protocol::{AgentMessage, Heartbeat};

use crate::host::{Attempt, Machine, Socket};
use crate::pace::Pace;

/// The interval that the host is configured with.
pub(crate) const INTERVAL: Duration = Duration::from_secs(30);

/// Longest time without any message: the longest interval of this test, in maintenance, and a little more.
const SILENCE: Duration = Duration::from_secs(300);

/// Jobs after which the agent has all that it keeps of earlier ones. It remembers 256 answered requests, for a day;
/// with the intervals of this test there are always more in a day.
pub(crate) const WARM: u64 = 300;

/// What came over all connections.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) beats: u64,
    pub(crate) lines: u64,
    /// Jobs whose status came.
    pub(crate) jobs: u64,
    pub(crate) rejected: u64,
    /// The sequence number of the last heartbeat.
    seq: u64,
    /// Jobs whose status came, and may come again: the agent has no proof yet that it was read.
    told: HashSet<JobId>,
    requests: u64,
}

pub(crate) struct Connection<'a> {
    socket: Socket,
    machine: &'a Machine,
    rng: &'a mut fastrand::Rng,
    seen: &'a mut Seen,
    pace: Pace,
    /// The interval of this connection, without maintenance.
    interval: Duration,
    acks: bool,
    /// Heartbeats in a row that were not acknowledged.
    unacknowledged: u32,
    maintenance: bool,
    /// Nothing is asked for any more.
    at_rest: bool,
}

impl<'a> Connection<'a> {
    /// Accepts the connection and the registration.
    pub(crate) async fn open(
        attempt: Attempt,
        machine: &'a Machine,
        rng: &'a mut fastrand::Rng,
        seen: &'a mut Seen,
    ) -> Self {
        let mut socket = attempt.accept().await;
        let register = socket.next().await.unwrap().unwrap();
        let register = AgentMessage::decode(register.to_text().unwrap()).unwrap();
        assert!(matches!(register, AgentMessage::Register(_)), "{register:?}");
        let wish = rng.bool().then(|| rng.u64(1..=30));
        let (acks, batches) = (rng.u8(..) > 50, rng.bool());
        let capabilities: &[&str] = if batches { &["output_batch"] } else { &[] };
        let registered = serde_json::json!({"type": "registered", "payload": {
            "host_id": "soak", "capabilities": capabilities, "heartbeat_interval": wish, "ack": acks,
        }});
        socket.send(Message::text(registered.to_string())).await.unwrap();
        let interval = wish.map_or(INTERVAL, Duration::from_secs);
        let pace = Pace::begin(interval);
        Self {
            socket,
            machine,
            rng,
            seen,
            pace,
            interval,
            acks,
            unacknowledged: 0,
            maintenance: false,
            at_rest: false,
        }
    }

    /// Reads this many heartbeats.
    pub(crate) async fn beats(&mut self, count: u64) {
        let until = self.seen.beats + count;
        while self.seen.beats < until {
            self.message().await;
        }
    }

    /// Reads until the agent keeps as much as it will ever keep.
    pub(crate) async fn warm_up(&mut self) {
        while self.seen.jobs < WARM {
            self.message().await;
        }
        self.rest().await;
    }

    /// Reads until no job runs and all that was said is known to have arrived.
    pub(crate) async fn rest(&mut self) {
        self.at_rest = true;
        // By then it has read what it was asked for.
        self.beats(1).await;
        let begun = Instant::now();
        while !self.machine.executor.work.lock().unwrap().records.is_empty() {
            assert!(begun.elapsed() < Duration::from_secs(3600), "jobs that nobody forgets");
            if timeout(Duration::from_secs(1), self.message()).await.is_err() {
                self.pace.in_time();
            }
        }
        // With its memory, which would be counted.
        self.seen.told = HashSet::new();
        self.at_rest = false;
    }

    async fn message(&mut self) {
        let message = match timeout(SILENCE, self.socket.next()).await.expect("a message") {
            Some(Ok(Message::Text(text))) => AgentMessage::decode(&text).unwrap(),
            // tungstenite answers pings when it is asked for the next frame.
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => return self.pace.in_time(),
            other => panic!("{other:?}"),
        };
        match message {
            AgentMessage::Heartbeat(beat) => self.beat(&beat).await,
            AgentMessage::Output(_) => self.seen.lines += 1,
            AgentMessage::OutputBatch(batch) => self.seen.lines += batch.lines.len() as u64,
            AgentMessage::CommandRejected(_) => self.seen.rejected += 1,
            AgentMessage::Status(status) => {
                self.pace.status();
                if let Some(job) = status.job_id {
                    // What the agent has forgotten cannot come again. A set of all jobs would make this program
                    // grow by megabytes, which the allocator keeps.
                    let work = self.machine.executor.work.lock().unwrap();
                    self.seen.told.retain(|job| work.records.contains(job));
                    self.seen.jobs += u64::from(self.seen.told.insert(job.parse().unwrap()));
                }
            }
            other => panic!("{other:?}"),
        }
        self.pace.in_time();
    }

    async fn beat(&mut self, beat: &Heartbeat) {
        self.pace.beat();
        self.seen.beats += 1;
        let seq = beat.seq.unwrap();
        assert!(seq > self.seen.seq, "beat {seq} after {}", self.seen.seq);
        self.seen.seq = seq;
        let mut answers = Vec::new();
        // Two in a row may go unacknowledged, three end the connection.
        if self.acks && (self.unacknowledged == 2 || self.rng.u8(..) > 5) {
            self.unacknowledged = 0;
            answers.push(self.acknowledgement(seq));
        } else {
            self.unacknowledged += 1;
        }
        match self.rng.u8(..) {
            _ if self.at_rest => {}
            0..60 => answers.extend((0..self.rng.u8(1..=2)).map(|_| self.command("pull"))),
            60..65 => answers.push(self.command("stop")),
            65..70 => answers.push(self.command("no-such-command")),
            70..75 => answers.push(Message::text("{\"type\":\"command\",\"payload\":")),
            75..80 => answers.push(Message::text("{\"type\":\"news\",\"payload\":{}}")),
            80..85 => answers.push(Message::binary(vec![0; 100])),
            85..90 => answers.push(Message::Ping(vec![1, 2, 3].into())),
            _ => {}
        }
        for answer in answers {
            self.socket.feed(answer).await.unwrap();
        }
        self.socket.flush().await.unwrap();
    }

    fn acknowledgement(&mut self, seq: u64) -> Message {
        // A fifth of the time is maintenance.
        if self.rng.u8(..) < if self.maintenance { 16 } else { 4 } {
            self.maintenance = !self.maintenance;
        }
        let state = if self.maintenance { "maintenance" } else { "healthy" };
        self.pace.change(if self.maintenance { self.interval * 2 } else { self.interval });
        let ack = serde_json::json!({"type": "heartbeat_ack", "payload": {
            "seq": seq, "server_status": {"state": state, "reason": "a reason", "until": ""},
        }});
        Message::text(ack.to_string())
    }

    fn command(&mut self, name: &str) -> Message {
        self.seen.requests += 1;
        let id = format!("request {}", self.seen.requests);
        let command = serde_json::json!({"type": "command", "payload": {"command": name, "id": id}});
        Message::text(command.to_string())
    }

    /// Ends the connection in one of the ways in which connections end. The result has to be kept until the agent
    /// connects again.
    pub(crate) async fn end(mut self) -> Option<Socket> {
        match self.rng.u8(0..4) {
            // The peer reads nothing more, and the connection stays open.
            0 => Some(self.socket),
            1 => {
                let frame = CloseFrame { code: 1001.into(), reason: "restart".into() };
                self.socket.send(Message::Close(Some(frame))).await.unwrap();
                Some(self.socket)
            }
            _ => None,
        }
    }
}
