//! The task that reads anew what proves who this host is.

use std::future::pending;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use nixfleet_config::{Connection, Remark, RemarkKind};
use nixfleet_os::certificate::Validity;
use nixfleet_os::error;
use nixfleet_os::text::one_line;

use super::{Look, ends_too_soon, renew_from};
use crate::dial::{self, Identity};

/// Longest time between two looks at a client certificate. A look reads two small files.
const LOOK: Duration = Duration::from_secs(3600);

/// Shortest time between two looks.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// Looks between the time from which a connection is made anew and the end of its certificate.
const LOOKS: u32 = 8;

/// How often the log is told of a client certificate that ends soon: somebody who reads it once a day sees it.
const TOLD: Duration = Duration::from_secs(24 * 3600);

/// Shortest time between two requests that are carried out: more of them mean the same.
const ASKED: Duration = Duration::from_secs(1);

/// Time limit for reading the files, and for a connection that tries them out: that of an attempt to connect.
const LIMIT: Duration = Duration::from_secs(15);

/// Longest text about a file that cannot be read, in characters.
const REASON: usize = 500;

/// When to look at a certificate again. Hosts whose certificates end together do not look together: `draw` is from 0
/// to 1.
fn next_look(validity: Validity, now: Timestamp, draw: f64) -> Duration {
    let from = renew_from(validity);
    let step = validity.not_after.duration_since(from) / i32::try_from(LOOKS).unwrap_or(1);
    let spread = step.mul_f64(draw);
    let wait = if now < from { from.duration_since(now) + spread } else { step };
    Duration::try_from(wait).unwrap_or_default().clamp(SHORTEST_LOOK, LOOK)
}

/// Looks when somebody asks, and at a client certificate from time to time. `proven` is what the connection was made with.
pub(super) async fn again_and_again(
    connection: Connection,
    mut asks: mpsc::Receiver<()>,
    proven: watch::Receiver<Option<Identity>>,
    sender: watch::Sender<Look>,
) {
    let has_end = connection.client_certificate.is_some();
    let mut asked = 0;
    let mut asked_at: Option<Instant> = None;
    let mut told = Told::default();
    // Without a client certificate nothing has an end.
    let mut wait = has_end.then_some(Duration::ZERO);
    loop {
        let is_asked = tokio::select! {
            ask = asks.recv() => match ask {
                Some(()) => true,
                None => return,
            },
            () = async { match wait { Some(wait) => sleep(wait).await, None => pending().await } } => false,
            () = sender.closed() => return,
        };
        if is_asked {
            if let Some(at) = asked_at {
                sleep_until(at + ASKED).await;
            }
            asked_at = Some(Instant::now());
            asked += 1;
        }
        let proven = proven.borrow().clone();
        let read = timeout(LIMIT, dial::identity(&connection)).await;
        let identity = match read {
            Ok(Ok(newest)) => try_out(&connection, newest, proven.as_ref(), is_asked).await,
            Ok(Err(err)) => Err(one_line(&error::chain(&err), REASON)),
            Err(_) => Err(format!("the files could not be read within {} s", LIMIT.as_secs())),
        };
        let now = Timestamp::now();
        if has_end {
            let newest = identity.as_ref().ok().and_then(|identity| identity.certificate.as_ref());
            let old = proven.as_ref().and_then(|proven| proven.certificate.as_ref());
            let looks = [newest, old].into_iter().flatten();
            wait = looks.map(|(_, validity)| next_look(*validity, now, fastrand::f64())).min().or(Some(LOOK));
            told.tell(&identity, now);
        }
        sender.send_replace(Look { asked, identity });
    }
}

/// Tries what is new by a connection without a registration, if a connection that works is to be given up for it.
async fn try_out(
    connection: &Connection,
    newest: Identity,
    proven: Option<&Identity>,
    is_asked: bool,
) -> Result<Identity, String> {
    let Some(proven) = proven else { return Ok(newest) };
    let changes = proven.changes(&newest).join(" and ");
    if changes.is_empty() || !(is_asked || ends_too_soon(proven, &newest, Timestamp::now())) {
        return Ok(newest);
    }
    match dial::probe(connection, true, LIMIT).await.error {
        None => Ok(newest),
        Some(err) => {
            Err(one_line(&format!("no connection with the new {changes}: {}", error::chain(&err)), REASON))
        }
    }
}

/// What the log was told about the client certificate.
#[derive(Debug, Default)]
struct Told(Option<(What, Instant)>);

/// What there is to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// It is unusual.
    Remark(RemarkKind),
    /// It cannot be read or does not work.
    Failed,
}

impl Told {
    /// Writes what is unusual to the log: what is new at once, and the same once a day.
    fn tell(&mut self, identity: &Result<Identity, String>, now: Timestamp) {
        let (what, text) = match identity {
            Err(why) => (What::Failed, why.clone()),
            Ok(identity) => {
                let certificate = identity.certificate.as_ref();
                let Some(Remark { kind, text }) =
                    certificate.and_then(|(path, validity)| Remark::of(path, *validity, now))
                else {
                    self.0 = None;
                    return;
                };
                (What::Remark(kind), one_line(&text, REASON))
            }
        };
        if !self.is_news(what, Instant::now()) {
            return;
        }
        match what {
            What::Remark(kind) if kind.is_error() => tracing::error!("Note: {text}."),
            _ => tracing::warn!("Note: {text}."),
        }
    }

    /// Whether this is to be told, which is noted then.
    fn is_news(&mut self, what: What, now: Instant) -> bool {
        let is_old = self.0.is_some_and(|(told, at)| told == what && now.duration_since(at) < TOLD);
        if !is_old {
            self.0 = Some((what, now));
        }
        !is_old
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity(from: &str, to: &str) -> Validity {
        Validity { not_before: from.parse().unwrap(), not_after: to.parse().unwrap() }
    }

    #[test]
    fn what_is_new_is_told_at_once_and_the_same_once_a_day() {
        let begun = Instant::now();
        let (soon, expired) = (What::Remark(RemarkKind::EndsSoon), What::Remark(RemarkKind::Expired));
        let mut told = Told::default();
        let moment = Duration::from_secs(1);
        for (what, after, news) in [
            (soon, Duration::ZERO, true),
            (soon, moment, false),
            (soon, TOLD - moment, false),
            (expired, TOLD - moment, true),
            (expired, TOLD, false),
            (What::Failed, TOLD, true),
            (expired, TOLD, true),
            (expired, TOLD * 2, true),
        ] {
            assert_eq!(told.is_news(what, begun + after), news, "{what:?} {after:?}");
        }
    }

    #[test]
    fn certificates_are_looked_at_more_often_near_their_end() {
        let year = validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let minute = validity("2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z");
        for (validity, now, seconds) in [
            (year, "2026-02-01T00:00:00Z", 3600),
            (year, "2026-12-31T11:59:30Z", 30),
            (year, "2026-12-31T12:00:00Z", 3600),
            (year, "2028-01-01T00:00:00Z", 3600),
            (minute, "2026-01-01T00:00:00Z", 45),
            (minute, "2026-01-01T00:00:45Z", 1),
        ] {
            assert_eq!(next_look(validity, now.parse().unwrap(), 0.0).as_secs(), seconds, "{now}");
        }
    }
}
