//! Commands for one host: requests from NATS, sent to the agent, and replied to.

use std::sync::Arc;
use std::task::{Context, Poll};

use async_nats::{Client, Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use nixfleet_fleet::{Reply, Request, VERDICT_LIMIT};
use nixfleet_protocol::DashboardMessage;
use nixfleet_sessions::{Evidence, Link, Outgoing, Verdict, Verdicts};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::warn;

use crate::figures::Figures;

/// Most commands of one host that wait for a verdict. A host runs one at a time.
const MAX_OPEN: usize = 64;

/// Longest command, in bytes: what an agent reads is 1 MiB.
const MAX_REQUEST: usize = 64 * 1024;

/// What there is to say about a silent agent: see docs/fleet.md.
const SILENCE: &str = "silence";

/// The requests for one host.
pub(super) struct Commands {
    requests: Subscriber,
    client: Client,
    figures: Arc<Figures>,
    /// Each request that waits for a verdict has one.
    open: Arc<()>,
}

impl Commands {
    pub(super) fn new(requests: Subscriber, client: Client, figures: Arc<Figures>) -> Self {
        Self { requests, client, figures, open: Arc::default() }
    }

    /// Sends what was requested to the agent.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, link: &Link, verdicts: &mut Verdicts) {
        while let Poll::Ready(Some(request)) = self.requests.poll_next_unpin(cx) {
            self.take(request, link, verdicts);
        }
    }

    fn take(&self, message: Message, link: &Link, verdicts: &mut Verdicts) {
        let Message { payload, reply, .. } = message;
        let asked = self.send(&payload, link, verdicts);
        match asked {
            Ok(_) => self.figures.commands.add(),
            Err(_) => self.figures.refused_commands.add(),
        }
        let Some(reply) = reply else { return };
        let (client, open) = (self.client.clone(), Arc::clone(&self.open));
        tokio::spawn(async move {
            let answer = match asked {
                Ok(Some(asked)) => verdict(asked).await,
                Ok(None) => Reply::Sent,
                Err(reason) => Reply::Refused { reason },
            };
            send_reply(&client, reply, &answer).await;
            drop(open);
        });
    }

    /// Sends one request to the agent. Returns where its verdict comes, if there will be one.
    fn send(
        &self,
        payload: &Bytes,
        link: &Link,
        verdicts: &mut Verdicts,
    ) -> Result<Option<oneshot::Receiver<Verdict>>, String> {
        if payload.len() > MAX_REQUEST {
            return Err(format!("the request has {} bytes, and may have {MAX_REQUEST}", payload.len()));
        }
        let Request(message) = Request::decode(payload)?;
        if Arc::strong_count(&self.open) > MAX_OPEN {
            return Err("too many commands wait for this host; ask again later".to_owned());
        }
        let command = match &message {
            // These two are never rejected and never pending, so there is nothing to wait for.
            DashboardMessage::Command(request) if matches!(request.command.as_str(), "stop" | "kill") => None,
            DashboardMessage::Command(request) => match request.id.as_deref() {
                None | Some("") => return Err("the command has no `id`; choose a new one".to_owned()),
                Some(id) => Some((request.command.as_str(), id)),
            },
            _ => None,
        };
        let text = String::from_utf8(payload.to_vec()).map_err(|_| "the request is not UTF-8".to_owned())?;
        if link.send(Outgoing::text(text)).is_err() {
            return Err("the connection of this host takes no more, or ends; ask again".to_owned());
        }
        Ok(command.map(|(command, id)| verdicts.asked(command, id)))
    }
}

/// What the agent says to a command.
async fn verdict(asked: oneshot::Receiver<Verdict>) -> Reply {
    match timeout(VERDICT_LIMIT, asked).await {
        Ok(Ok(Verdict::Accepted(evidence))) => {
            Reply::Accepted { evidence: Evidence::name(evidence).to_owned() }
        }
        Ok(Ok(Verdict::Rejected(rejection))) => Reply::Rejected { rejection },
        Ok(Err(_)) => {
            let reason =
                "the connection of this host ended before it answered; look whether the command runs";
            Reply::Unknown { reason: reason.to_owned() }
        }
        // An agent rejects at once; what it accepts may be silent for long.
        Err(_) => Reply::Accepted { evidence: SILENCE.to_owned() },
    }
}

async fn send_reply(client: &Client, to: Subject, reply: &Reply) {
    let payload = serde_json::to_vec(reply).unwrap_or_default();
    if let Err(error) = client.publish(to, payload.into()).await {
        warn!(%error, "cannot reply to a command");
    }
}
