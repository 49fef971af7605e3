//! A hub without sockets, whose time passes as a test says.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use nixfleet_protocol::{AgentMessage, Output, Register, Status, StatusKind, Stream, encode};

use crate::HostStatus;
use crate::hub::{Hub, Registration};
use crate::moment::Moment;
use nixfleet_sessions::Link;

pub(crate) struct World {
    pub(crate) hub: Hub,
    start: Instant,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut hub = Hub::default();
        hub.set_has_browsers(true);
        Self { hub, start: Instant::now() }
    }

    pub(crate) fn at(&self, ms: u64) -> Moment {
        Moment { now: self.start + Duration::from_millis(ms), unix_ms: 1_700_000_000_000 + ms as i64 }
    }

    pub(crate) fn register(
        &mut self,
        ms: u64,
        link: &Arc<Link>,
        hostname: &str,
        interval: u64,
    ) -> Registration {
        let facts =
            Register { hostname: hostname.to_owned(), heartbeat_interval: interval, ..Register::default() };
        let moment = self.at(ms);
        self.hub.register(moment, link, &register(&facts), facts, None)
    }

    pub(crate) fn message(&mut self, ms: u64, link: &Link, message: AgentMessage) {
        let moment = self.at(ms);
        self.hub.receive(moment, "h", link.session, &encode(&message), message);
    }

    pub(crate) fn status(&self) -> HostStatus {
        self.hub.view("h").expect("the host is known").status
    }
}

pub(crate) fn register(facts: &Register) -> String {
    encode(&AgentMessage::Register(Box::new(facts.clone())))
}

pub(crate) fn link(session: u64) -> Arc<Link> {
    Link::with_room(session, 4)
}

pub(crate) fn line(seq: u64) -> AgentMessage {
    AgentMessage::Output(Output {
        line: format!("line {seq}"),
        stream: Stream::Stdout,
        command: "pull".to_owned(),
        is_error: false,
        seq: Some(seq),
        job_id: Some("j".to_owned()),
        at: None,
        cont: false,
    })
}

pub(crate) fn status() -> AgentMessage {
    AgentMessage::Status(Status {
        status: StatusKind::Ok,
        command: "pull".to_owned(),
        exit_code: 0,
        message: String::new(),
        generation: String::new(),
        job_id: Some("j".to_owned()),
        signal: None,
        outcome: None,
        duration_ms: None,
        lines: None,
        dropped_lines: None,
    })
}
