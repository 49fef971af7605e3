//! Sockets of browsers: the list of all hosts, then its changes, and everything about the one host that is watched.

use std::sync::Arc;
use std::time::Duration;

use axum::{
    Extension,
    extract::{
        ConnectInfo, State,
        ws::{
            CloseFrame, Message, Utf8Bytes, WebSocket, WebSocketUpgrade, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    response::{IntoResponse, Response},
};
use futures_util::{
    SinkExt, StreamExt,
    stream::{SplitSink, SplitStream},
};
use serde::Deserialize;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::{broadcast, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tracing::debug;

use nixfleet_protocol::is_hostname;

use crate::hub::Live;
use crate::listener::Peer;
use crate::web::{AppState, READ_BUFFER};
use crate::{Lifetime, Shared, Stay};

/// The longest message accepted from a browser, in bytes: a name and a number have a hundred.
const MAX_MESSAGE: usize = 4 * 1024;

/// Most messages that are written with one flush.
const FLUSH_EVERY: usize = 64;

/// Bytes that are collected before a write. A flush follows each bundle.
const WRITE_BUFFER: usize = 64 * 1024;

/// Most bytes that wait for a socket. Lists of many hosts are long.
const MAX_WRITE_BUFFER: usize = 64 * 1024 * 1024;

/// Time between two pings. They detect lost browsers, and prevent proxies from closing quiet sockets.
const PING_INTERVAL: Duration = Duration::from_secs(30);

/// Longest duration of one write. After it the browser counts as lost; it gets a new list when it returns.
const WRITE_LIMIT: Duration = Duration::from_secs(20);

/// How long a browser has to read that its connection ends.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// `GET /browser`.
pub(super) async fn connect(
    State(state): State<AppState>,
    ConnectInfo(peer): ConnectInfo<Peer>,
    stay: Option<Extension<Stay>>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    match upgrade {
        Err(rejection) => rejection.into_response(),
        Ok(upgrade) => upgrade
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(WRITE_BUFFER)
            .max_write_buffer_size(MAX_WRITE_BUFFER)
            .max_message_size(MAX_MESSAGE)
            .max_frame_size(MAX_MESSAGE)
            .on_upgrade(async move |socket| {
                run(state.shared, socket, state.lifetime, stay.map(|Extension(stay)| stay)).await;
                drop(peer.place);
            }),
    }
}

/// What a browser says.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", content = "payload", rename_all = "snake_case")]
enum Wish {
    /// It watches this host from now on, and none before or after.
    Watch {
        host: Option<String>,
        /// The number of the newest entry of its log that the browser has.
        #[serde(default)]
        after: Option<u64>,
    },
}

async fn run(shared: Arc<Shared>, socket: WebSocket, mut lifetime: Lifetime, stay: Option<Stay>) {
    let (mut sink, stream) = socket.split();
    // The newest wish counts. A browser that changes its mind ten times in a write gets the last answer only.
    let (wish, wishes) = watch::channel(None);
    tokio::select! {
        () = lifetime.ended() => {}
        () = listen(stream, &wish) => {}
        () = Viewer::new(&shared).serve(&mut sink, wishes) => {}
        () = over(stay) => {
            let reason = Utf8Bytes::from_static("the session has ended");
            let close = Message::Close(Some(CloseFrame { code: close_code::POLICY, reason }));
            // An error means that the connection is closed already.
            drop(timeout(CLOSE_LIMIT, sink.send(close)).await);
        }
    }
    debug!("a browser's connection ends");
    // The page reconnects by itself. An error means that the connection is closed already.
    drop(timeout(CLOSE_LIMIT, sink.close()).await);
}

/// Resolves when the browser may not stay any longer; never without a login.
async fn over(stay: Option<Stay>) {
    match stay {
        Some(mut stay) => stay.over().await,
        None => std::future::pending().await,
    }
}

/// Takes what a browser says, until the connection ends. What is not understood is ignored; a message that is too long
/// is an end.
async fn listen(mut stream: SplitStream<WebSocket>, wish: &watch::Sender<Option<Wish>>) {
    while let Some(Ok(message)) = stream.next().await {
        if let Message::Text(text) = message
            && let Ok(wished) = serde_json::from_str(&text)
        {
            wish.send_replace(Some(wished));
        }
    }
}

/// A host that is watched.
struct Watched {
    id: String,
    live: broadcast::Receiver<Live>,
    /// The number of the first entry of its log that the browser does not have.
    next: u64,
}

/// What one browser gets.
struct Viewer<'a> {
    shared: &'a Shared,
    updates: broadcast::Receiver<Utf8Bytes>,
    watched: Option<Watched>,
    /// What is written next.
    bundle: Vec<Message>,
}

impl<'a> Viewer<'a> {
    fn new(shared: &'a Shared) -> Self {
        let (hosts, updates) = shared.subscribe();
        Self { shared, updates, watched: None, bundle: vec![Message::Text(hosts)] }
    }

    /// Returns when writing fails.
    async fn serve(
        mut self,
        sink: &mut SplitSink<WebSocket, Message>,
        mut wishes: watch::Receiver<Option<Wish>>,
    ) {
        let mut pings = interval_at(Instant::now() + PING_INTERVAL, PING_INTERVAL);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let written = async {
                for message in self.bundle.drain(..) {
                    sink.feed(message).await?;
                }
                sink.flush().await
            };
            if !matches!(timeout(WRITE_LIMIT, written).await, Ok(Ok(()))) {
                return;
            }
            // All branches are cancel-safe.
            tokio::select! {
                Ok(()) = wishes.changed() => {
                    if let Some(Wish::Watch { host, after }) = &*wishes.borrow_and_update() {
                        self.watch(host.as_deref(), *after);
                    }
                }
                update = self.updates.recv() => self.update(update),
                live = next_of(&mut self.watched) => self.live(live),
                _ = pings.tick() => self.bundle.push(Message::Ping(axum::body::Bytes::new())),
            }
            self.take_waiting();
        }
    }

    /// Takes what else is there, up to a bundle.
    fn take_waiting(&mut self) {
        while self.bundle.len() < FLUSH_EVERY {
            match self.watched.as_mut().map(|watched| watched.live.try_recv()) {
                Some(Ok(live)) => self.live(Ok(live)),
                Some(Err(TryRecvError::Lagged(count))) => self.live(Err(RecvError::Lagged(count))),
                Some(Err(TryRecvError::Empty | TryRecvError::Closed)) | None => break,
            }
        }
    }

    fn watch(&mut self, id: Option<&str>, after: Option<u64>) {
        self.watched = None;
        let Some(id) = id.filter(|id| is_hostname(id)) else { return };
        let (first, next, live) = self.shared.watch(id, after);
        self.bundle.extend(first.into_iter().map(Message::Text));
        self.watched = Some(Watched { id: id.to_owned(), live, next });
    }

    fn update(&mut self, update: Result<Utf8Bytes, RecvError>) {
        match update {
            Ok(update) => self.bundle.push(Message::Text(update)),
            Err(RecvError::Lagged(_)) => {
                let hosts;
                (hosts, self.updates) = self.shared.subscribe();
                self.bundle.push(Message::Text(hosts));
            }
            // This cannot happen, because the sender is in `shared`.
            Err(RecvError::Closed) => {}
        }
    }

    fn live(&mut self, live: Result<Live, RecvError>) {
        let Some(watched) = &mut self.watched else { return };
        match live {
            Ok(Live { next, text: Some(text) }) => {
                watched.next = next;
                self.bundle.push(Message::Text(text));
            }
            // As after a reconnect: the newest entries behind what the browser has.
            Ok(Live { text: None, .. }) | Err(RecvError::Lagged(_)) => {
                let (id, after) = (watched.id.clone(), watched.next.checked_sub(1));
                self.watch(Some(&id), after);
            }
            // This cannot happen while there is a receiver.
            Err(RecvError::Closed) => self.watched = None,
        }
    }
}

/// The next message about the watched host. Waits forever if there is none.
async fn next_of(watched: &mut Option<Watched>) -> Result<Live, RecvError> {
    match watched {
        Some(watched) => watched.live.recv().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::tests::world::{line, link, register};
    use nixfleet_protocol::{AgentMessage, Output, Register, encode};

    impl Viewer<'_> {
        /// What is written next, read.
        fn taken(&mut self) -> Vec<Value> {
            let read = |message: Message| match message {
                Message::Text(text) => serde_json::from_str(&text).expect("JSON"),
                other => panic!("{other:?}"),
            };
            self.bundle.drain(..).map(read).collect()
        }
    }

    #[test]
    fn a_browser_that_is_too_slow_gets_the_newest_entries_behind_those_that_it_has() {
        let shared = Shared::new("t", "c".to_owned(), None);
        let host = Register { hostname: "h".to_owned(), ..Register::default() };
        shared.apply(|hub, moment| hub.register(moment, &link(1), &register(&host), host, None));
        let say = |lines: std::ops::Range<u64>| {
            for seq in lines {
                shared.apply(|hub, moment| hub.receive(moment, "h", 1, &encode(&line(seq)), line(seq)));
            }
        };
        let mut viewer = Viewer::new(&shared);
        viewer.watch(Some("h"), None);
        say(1..3);
        viewer.take_waiting();
        let kinds: Vec<_> = viewer.taken().iter().map(|message| message["type"].clone()).collect();
        assert_eq!(kinds, ["hosts", "host", "backlog", "output", "output"]);
        say(3..5_000);
        viewer.take_waiting();
        let messages = viewer.taken();
        let kinds: Vec<_> = messages.iter().map(|message| message["type"].clone()).collect();
        assert_eq!(kinds, ["host", "backlog"], "nothing of what was missed in between");
        let backlog = &messages[1]["payload"];
        let numbers: Vec<u64> = backlog["entries"]
            .as_array()
            .expect("entries")
            .iter()
            .filter_map(|entry| entry["n"].as_u64())
            .collect();
        assert_eq!((numbers.len(), numbers.last()), (500, Some(&4_999)));
        assert_eq!(backlog["older"], 4_500, "which can be asked for");
        say(5_000..5_003);
        viewer.take_waiting();
        assert_eq!(viewer.taken().len(), 3, "it goes on");
        viewer.watch(None, None);
        say(5_003..5_010);
        viewer.take_waiting();
        assert_eq!(viewer.taken(), Vec::<Value>::new(), "nothing is watched");
    }

    #[test]
    fn a_message_that_is_too_long_to_wait_is_read_from_the_log() {
        let shared = Shared::new("t", "c".to_owned(), None);
        let host = Register { hostname: "h".to_owned(), ..Register::default() };
        shared.apply(|hub, moment| hub.register(moment, &link(1), &register(&host), host, None));
        let say = |seq, text: &str| {
            let AgentMessage::Output(said) = line(seq) else { unreachable!("it is output") };
            let said = AgentMessage::Output(Output { line: text.to_owned(), ..said });
            shared.apply(|hub, moment| hub.receive(moment, "h", 1, &encode(&said), said));
        };
        say(1, "before");
        let mut viewer = Viewer::new(&shared);
        viewer.watch(Some("h"), None);
        drop(viewer.taken());
        let long = "x".repeat(200_000);
        say(2, &long);
        viewer.take_waiting();
        let messages = viewer.taken();
        let kinds: Vec<_> = messages.iter().map(|message| message["type"].clone()).collect();
        assert_eq!(kinds, ["host", "backlog"]);
        let entries = messages[1]["payload"]["entries"].as_array().expect("entries");
        assert_eq!((entries.len(), entries[0]["line"].as_str()), (1, Some(long.as_str())));
        say(3, "after");
        viewer.take_waiting();
        assert_eq!(viewer.taken()[0]["payload"]["lines"][0]["line"], "after");
    }

    #[tokio::test]
    async fn a_browser_that_has_missed_a_list_of_changes_gets_the_list_of_all_hosts() {
        let shared = Shared::new("t", "c".to_owned(), None);
        let mut viewer = Viewer::new(&shared);
        viewer.bundle.clear();
        for session in 1..100 {
            let host = Register { hostname: format!("h{session}"), ..Register::default() };
            shared.apply(|hub, moment| hub.register(moment, &link(session), &register(&host), host, None));
            shared.send_updates();
        }
        let missed = viewer.updates.recv().await;
        viewer.update(missed);
        let lists = viewer.taken();
        assert_eq!((lists.len(), &lists[0]["type"]), (1, &"hosts".into()));
        assert_eq!(lists[0]["payload"]["hosts"].as_array().map(Vec::len), Some(99));
        assert!(viewer.updates.is_empty(), "older ones would undo it");
    }
}
