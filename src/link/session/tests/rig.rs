//! A dashboard on a string: the other end of a session's socket, and a desk that only takes notes.

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncReadExt, DuplexStream, duplex};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role};

use crate::facts::Facts;
use crate::heartbeat::Snapshots;
use crate::jobs::executor::{Executor, ExecutorEvent};
use crate::jobs::follower::{Followed, Follower, Live};
use crate::jobs::table::JobTable;
use crate::link::agent::Agent;
use crate::link::ended::Ended;
use crate::link::session;
use crate::observe::status::{ASKS, Ask, Asker, Report};
use nixfleet_config::{Host, Source};
use nixfleet_jobs::Urgency;
use nixfleet_jobs::journal;
use nixfleet_jobs::journal::Entry;
use nixfleet_jobs::record::Record;
use nixfleet_jobs::spec::{JobResult, Outcome};
use nixfleet_jobs::{Instance, JobId};
use nixfleet_protocol::{AgentMessage, Heartbeat, Status};
use nixfleet_vitals::prewarm::Notice;

/// Process id of every command here.
pub(super) const PID: u32 = 4711;

const HOUR: Duration = Duration::from_secs(3600);

/// Bytes that the socket holds: less than what a noisy command fills in no time.
const SOCKET: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    Launch(Record),
    End(JobId, Urgency),
    Save(Record),
    Forget(JobId),
}

/// The writing end of a followed job.
#[derive(Debug, Clone)]
pub(super) struct Job {
    pub(super) id: JobId,
    items: mpsc::Sender<Followed>,
    _live: Arc<watch::Sender<Live>>,
}

impl Job {
    pub(super) async fn say(&self, entries: Vec<Entry>) {
        self.items.send(Followed::Entries(entries)).await.unwrap();
    }

    pub(super) async fn end(&self, result: JobResult) {
        self.items.send(Followed::Ended(Box::new(result))).await.unwrap();
    }

    /// Writes for ever, as fast as it is read.
    pub(super) fn flood(&self) -> JoinHandle<()> {
        let items = self.items.clone();
        tokio::spawn(async move {
            let mut next = 1;
            while items.send(Followed::Entries(entries(next..=next + 199))).await.is_ok() {
                next += 200;
                // Gentle: a fake that never rests would stop the virtual clock.
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        })
    }
}

pub(super) fn entries(seqs: RangeInclusive<u64>) -> Vec<Entry> {
    let entry = |seq| Entry {
        seq,
        at: "2026-01-01T00:00:00.000Z".to_owned(),
        stream: if seq % 2 == 0 { journal::Source::Stderr } else { journal::Source::Stdout },
        line: format!("line {seq} {}", "x".repeat(100)),
        cont: false,
        test: None,
        operation: None,
    };
    seqs.map(entry).collect()
}

pub(super) fn result(outcome: Outcome) -> JobResult {
    let mut result = JobResult::without_supervisor(outcome, "message".to_owned(), 0);
    result.exit_code = i32::from(outcome != Outcome::Ok);
    result
}

#[derive(Debug, Clone)]
struct Notes {
    orders: mpsc::UnboundedSender<Order>,
    followed: Arc<Mutex<Vec<(JobId, u64)>>>,
    jobs: Arc<Mutex<Vec<Job>>>,
    live: Arc<Mutex<Live>>,
}

impl Executor for Notes {
    fn launch(&self, record: Record) {
        self.orders.send(Order::Launch(record)).unwrap();
    }

    fn end(&self, job: &Instance, urgency: Urgency) {
        self.orders.send(Order::End(job.id.clone(), urgency)).unwrap();
    }

    fn follow(&self, id: &JobId, after: u64, known: Live) -> Follower {
        self.followed.lock().unwrap().push((id.clone(), after));
        let (items, items_receiver) = mpsc::channel(4);
        let live_now = *self.live.lock().unwrap();
        let (live, live_receiver) =
            watch::channel(if live_now == Live::default() { known } else { live_now });
        self.jobs.lock().unwrap().push(Job { id: id.clone(), items, _live: Arc::new(live) });
        Follower { live: live_receiver, items: items_receiver }
    }

    fn save(&self, record: Record) {
        self.orders.send(Order::Save(record)).unwrap();
    }

    fn forget(&self, id: &JobId) {
        self.orders.send(Order::Forget(id.clone())).unwrap();
    }
}

type Running = JoinHandle<(Ended, Agent)>;

pub(super) struct Rig {
    socket: Option<WebSocketStream<DuplexStream>>,
    session: Option<Running>,
    agent: Option<Agent>,
    shutdown: watch::Sender<bool>,
    facts: watch::Sender<Arc<Facts>>,
    prewarm: watch::Sender<Option<Notice>>,
    _metrics: watch::Sender<Option<nixfleet_vitals::stasysmo::Reading>>,
    news: mpsc::Sender<ExecutorEvent>,
    asks: Asker,
    orders: mpsc::UnboundedReceiver<Order>,
    notes: Notes,
    /// Looks that were asked for and are not answered yet.
    looks: Arc<Mutex<Vec<oneshot::Sender<()>>>>,
    begun: Instant,
}

impl Rig {
    /// A session that has just connected.
    pub(super) async fn start(interval: Duration) -> Self {
        Self::with(interval, &[]).await
    }

    /// As [`Self::start`], with settings of the host.
    pub(super) async fn with(interval: Duration, settings: &[(&str, &str)]) -> Self {
        let (orders, orders_receiver) = mpsc::unbounded_channel();
        let notes = Notes { orders, followed: Arc::default(), jobs: Arc::default(), live: Arc::default() };
        let (news, news_receiver) = mpsc::channel(64);
        let (asks, asks_receiver) = mpsc::channel(ASKS);
        let (facts, facts_receiver) = watch::channel(Arc::new(Facts { complete: true, ..Facts::default() }));
        let (metrics, metrics_receiver) = watch::channel(None);
        let (prewarm, prewarm_receiver) = watch::channel(None);
        let looks: Arc<Mutex<Vec<oneshot::Sender<()>>>> = Arc::default();
        let snapshots = Snapshots {
            facts: facts_receiver,
            metrics: metrics_receiver,
            vitals: Box::new(|_| None),
            prewarm: prewarm_receiver,
            look: {
                let looks = Arc::clone(&looks);
                Box::new(move || {
                    let (looked, receiver) = oneshot::channel();
                    looks.lock().unwrap().push(looked);
                    receiver
                })
            },
        };
        let always = [("NIXFLEET_HOSTNAME", "test-host"), ("NIXFLEET_STATE_DIR", "/nowhere")];
        let environment = always.iter().chain(settings);
        let environment =
            environment.map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let host = Host::load(&Source { file: None, environment }).unwrap();
        let agent = Agent::new(
            host,
            interval,
            JobTable::resume(Vec::new(), Box::new(notes.clone())),
            news_receiver,
            snapshots,
            asks_receiver,
        );
        let mut rig = Self {
            socket: None,
            session: None,
            agent: Some(agent),
            shutdown: watch::Sender::new(false),
            facts,
            _metrics: metrics,
            prewarm,
            news,
            asks,
            orders: orders_receiver,
            notes,
            looks,
            begun: Instant::now(),
        };
        rig.reconnect().await;
        rig
    }

    /// A session after its registration and first beat.
    pub(super) async fn live(interval: Duration, capabilities: &[&str]) -> Self {
        let mut rig = Self::start(interval).await;
        rig.accept_registration(capabilities).await;
        rig.beat().await;
        rig
    }

    pub(super) async fn reconnect(&mut self) {
        let (ours, theirs) = duplex(SOCKET);
        let client = WebSocketStream::from_raw_socket(theirs, Role::Client, None).await;
        self.socket = Some(WebSocketStream::from_raw_socket(ours, Role::Server, None).await);
        let mut agent = self.agent.take().unwrap();
        let mut shutdown = self.shutdown.subscribe();
        self.session = Some(tokio::spawn(async move {
            let summary = session::run(client, &mut agent, &mut shutdown).await;
            (summary.ended, agent)
        }));
    }

    fn socket(&mut self) -> &mut WebSocketStream<DuplexStream> {
        self.socket.as_mut().unwrap()
    }

    pub(super) async fn next(&mut self) -> AgentMessage {
        loop {
            match self.socket().next().await.unwrap().unwrap() {
                Message::Text(text) => return AgentMessage::decode(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// In an hour of virtual time, which is as good as never: a test that hangs says nothing.
    pub(super) async fn next_but_beats(&mut self) -> AgentMessage {
        let next = async {
            loop {
                let message = self.next().await;
                if !matches!(message, AgentMessage::Heartbeat(_)) {
                    return message;
                }
            }
        };
        tokio::time::timeout(HOUR, next).await.expect("a message that is no heartbeat")
    }

    /// The next beat, past output.
    pub(super) async fn beat(&mut self) -> Heartbeat {
        loop {
            match self.next().await {
                AgentMessage::Heartbeat(beat) => return *beat,
                AgentMessage::Output(_) | AgentMessage::OutputBatch(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub(super) async fn beat_at(&mut self) -> Instant {
        self.beat().await;
        Instant::now()
    }

    pub(super) async fn status(&mut self) -> Status {
        match self.next_but_beats().await {
            AgentMessage::Status(status) => status,
            other => panic!("{other:?}"),
        }
    }

    pub(super) async fn accept_registration(&mut self, capabilities: &[&str]) {
        assert!(matches!(self.next().await, AgentMessage::Register(_)));
        self.registered(capabilities).await;
    }

    pub(super) async fn registered(&mut self, capabilities: &[&str]) {
        let text = serde_json::json!({
            "type": "registered", "payload": {"host_id": "test-host", "capabilities": capabilities}
        });
        self.texts(&[&text.to_string()]).await;
    }

    pub(super) async fn acknowledge(&mut self, seq: u64, server_status: &str) {
        let server_status: serde_json::Value = serde_json::from_str(server_status).unwrap();
        let payload = serde_json::json!({
            "seq": seq, "server_time": "2026-01-01T00:00:00Z", "server_status": server_status
        });
        let text = serde_json::json!({"type": "heartbeat_ack", "payload": payload});
        self.texts(&[&text.to_string()]).await;
    }

    /// Reads and answers pings, until the session ends.
    pub(super) async fn listening(&mut self) -> Ended {
        let mut socket = self.hold();
        let listen = tokio::spawn(async move { while matches!(socket.next().await, Some(Ok(_))) {} });
        let ended = self.ended().await;
        listen.abort();
        ended
    }

    /// Several frames in one packet.
    pub(super) async fn texts(&mut self, texts: &[&str]) {
        for text in texts {
            self.socket().feed(Message::text(*text)).await.unwrap();
        }
        self.socket().flush().await.unwrap();
    }

    pub(super) async fn binary(&mut self, bytes: Vec<u8>) {
        self.socket().send(Message::binary(bytes)).await.unwrap();
    }

    pub(super) async fn command(&mut self, name: &str, id: Option<&str>) {
        let payload = serde_json::json!({"type": "command", "payload": {"command": name, "id": id}});
        self.texts(&[&payload.to_string()]).await;
    }

    pub(super) async fn close(&mut self, code: u16, reason: &'static str) {
        let frame = CloseFrame { code: code.into(), reason: reason.into() };
        self.socket().send(Message::Close(Some(frame))).await.unwrap();
    }

    pub(super) async fn close_frame(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(Some(frame)) = self.socket().next().await.unwrap().unwrap() {
                // Flushes the answer.
                drop(self.socket().next().await);
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }

    /// Lets both sides answer whatever is on its way, pings above all.
    pub(super) async fn pong(&mut self) {
        let limit = Duration::from_millis(1);
        while let Ok(message) = tokio::time::timeout(limit, self.socket().next()).await {
            message.unwrap().unwrap();
        }
        self.socket().flush().await.unwrap();
        tokio::time::sleep(limit).await;
    }

    pub(super) async fn order(&mut self) -> Order {
        tokio::time::timeout(HOUR, self.orders.recv()).await.expect("an order").unwrap()
    }

    pub(super) fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.orders.try_recv().ok()).collect()
    }

    pub(super) fn followed(&self) -> Vec<(JobId, u64)> {
        self.notes.followed.lock().unwrap().clone()
    }

    /// The job that was followed last.
    pub(super) fn job(&self) -> Job {
        self.notes.jobs.lock().unwrap().last().unwrap().clone()
    }

    /// Says that a launch went through; returns once the session follows the job.
    pub(super) fn launched(&mut self, order: &Order, live: Live) -> LaunchedJob {
        let Order::Launch(record) = order else { panic!("{order:?}") };
        *self.notes.live.lock().unwrap() = live;
        self.news.try_send(ExecutorEvent::Launched(record.id.clone())).unwrap();
        LaunchedJob { id: record.id.clone(), notes: self.notes.clone() }
    }

    pub(super) fn not_launched(&mut self, order: &Order, why: &str) {
        let Order::Launch(record) = order else { panic!("{order:?}") };
        self.news.try_send(ExecutorEvent::NotLaunched(record.id.clone(), why.to_owned())).unwrap();
    }

    /// Asks for a command and lets it run.
    pub(super) async fn run_command(&mut self, name: &str) -> Job {
        self.run_command_as(name, None).await
    }

    /// As [`Self::run_command`], by a request with an id.
    pub(super) async fn run_command_as(&mut self, name: &str, id: Option<&str>) -> Job {
        self.command(name, id).await;
        let order = loop {
            let order = self.order().await;
            if matches!(order, Order::Launch(_)) {
                break order;
            }
        };
        let before = self.followed().len();
        self.launched(&order, Live { pid: Some(PID), ended: false });
        while self.followed().len() == before {
            tokio::task::yield_now().await;
        }
        self.job()
    }

    pub(super) fn facts(&self, change: impl FnOnce(&mut Facts)) {
        self.facts.send_modify(|facts| change(Arc::make_mut(facts)));
    }

    /// Looks that wait for an answer.
    pub(super) fn looks(&self) -> usize {
        self.looks.lock().unwrap().len()
    }

    /// Says that a look has found this.
    pub(super) fn looked(&self, change: impl FnOnce(&mut Facts)) {
        self.facts(change);
        for look in self.looks.lock().unwrap().drain(..) {
            let _may_be_gone = look.send(());
        }
    }

    pub(super) fn prewarm(&self, notice: Notice) {
        self.prewarm.send_replace(Some(notice));
    }

    pub(super) fn shut_down(&self) {
        self.shutdown.send_replace(true);
    }

    /// What the agent says of itself.
    pub(super) async fn report(&self) -> Report {
        let (sender, answer) = oneshot::channel();
        self.asks.send(Ask(sender)).await.unwrap();
        answer.await.unwrap()
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// How the session ended.
    pub(super) async fn ended(&mut self) -> Ended {
        let session = self.session.take().unwrap();
        let (ended, agent) = tokio::time::timeout(HOUR, session).await.expect("the session's end").unwrap();
        self.agent = Some(agent);
        ended
    }

    pub(super) async fn drop_connection(&mut self) {
        self.socket = None;
        self.ended().await;
    }

    /// Takes the socket away from the rig: open, and not read.
    pub(super) fn hold(&mut self) -> WebSocketStream<DuplexStream> {
        self.socket.take().unwrap()
    }

    pub(super) async fn answer_to_ping(&mut self, payload: &'static [u8]) -> Vec<u8> {
        self.socket().send(Message::Ping(payload.into())).await.unwrap();
        loop {
            if let Message::Pong(payload) = self.socket().next().await.unwrap().unwrap() {
                return payload.to_vec();
            }
        }
    }

    /// Reads nothing until the session ends.
    pub(super) async fn without_reading(&mut self) -> Ended {
        let held = self.hold();
        self.begun = Instant::now();
        let ended = self.ended().await;
        drop(held);
        ended
    }

    /// Takes all bytes and answers none, until the session ends.
    pub(super) async fn swallow(&mut self) -> Ended {
        let mut raw = self.socket.take().unwrap().into_inner();
        let swallow = tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while matches!(raw.read(&mut buffer).await, Ok(1..)) {}
        });
        let ended = self.ended().await;
        swallow.abort();
        ended
    }
}

/// A job that the session is about to follow.
pub(super) struct LaunchedJob {
    pub(super) id: JobId,
    notes: Notes,
}

impl LaunchedJob {
    pub(super) async fn end(&self, result: JobResult) {
        let job = loop {
            let job = self.notes.jobs.lock().unwrap().iter().find(|job| job.id == self.id).cloned();
            match job {
                Some(job) => break job,
                None => tokio::task::yield_now().await,
            }
        };
        job.end(result).await;
    }
}
