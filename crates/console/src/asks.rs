//! Requests of people, on their way to hosts.

use std::sync::Arc;

use async_nats::Client;
use nixfleet_dashboard::{Answer, Asked};
use nixfleet_fleet::{AskError, Reply, Request, ask};
use nixfleet_os::error::chain;
use tokio::sync::{Semaphore, mpsc};

/// Requests that are on their way at a time. Each waits two seconds for an agent that says nothing, and five for a
/// gateway: a command for 5,000 hosts takes ten of them, and at the worst 25, when all gateways have just died. A page
/// waits for 30.
const AT_A_TIME: usize = 1024;

/// What a gateway calls the evidence of an agent that has not said anything within its time.
const SILENCE: &str = "silence";

/// Passes requests on, until there are no more.
pub(crate) async fn run(client: Client, mut asked: mpsc::Receiver<Asked>) {
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    while let Some(Asked { host, message, reply }) = asked.recv().await {
        // An error would mean that it was closed, which nobody does.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let client = client.clone();
        tokio::spawn(async move {
            let answer = answer(ask(&client, &host, &Request(message)).await);
            // An error means that whoever asked has left.
            drop(reply.send(answer));
            drop(place);
        });
    }
}

/// What a reply means. Nothing but a word of the agent is an acceptance.
fn answer(reply: Result<Reply, AskError>) -> Answer {
    match reply {
        Ok(Reply::Accepted { evidence }) if evidence == SILENCE => Answer::Sent,
        Ok(Reply::Accepted { evidence }) => Answer::Accepted(evidence),
        Ok(Reply::Rejected { rejection }) => Answer::Rejected(rejection),
        Ok(Reply::Sent) => Answer::Sent,
        Ok(Reply::Refused { reason }) => Answer::Refused(reason),
        Ok(Reply::Unknown { reason }) => Answer::Unknown(reason),
        Err(err @ AskError::Offline(_)) => Answer::Offline(chain(&err)),
        Err(err @ (AskError::Away(_) | AskError::Name(_))) => Answer::Refused(chain(&err)),
        Err(err) => Answer::Unknown(chain(&err)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_no_acceptance_and_a_lost_reply_is_not_known() {
        let accepted = |evidence: &str| answer(Ok(Reply::Accepted { evidence: evidence.to_owned() }));
        assert_eq!(accepted("output"), Answer::Accepted("output".to_owned()));
        assert_eq!(accepted("silence"), Answer::Sent);
        let offline = answer(Err(AskError::Offline("web-1".to_owned())));
        assert_eq!(offline, Answer::Offline("web-1 is not connected".to_owned()));
        assert!(matches!(answer(Err(AskError::Late("web-1".to_owned()))), Answer::Unknown(_)));
        // Nothing was sent.
        assert!(matches!(answer(Err(AskError::Away("web-1".to_owned()))), Answer::Refused(_)));
    }
}
