//! What proves who this host is (token, client certificate) is replaced while the agent runs.
//!
//! A task reads it anew when somebody asks (SIGHUP, `systemctl reload`), and from time to time before the end of the
//! client certificate. The agent compares the newest look with what its connection was made with.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep};

use nixfleet_config::{Connection, Remark};
use nixfleet_os::certificate::Validity;
use nixfleet_os::error;
use nixfleet_os::text::one_line;

use crate::dial::{self, Identity};

/// A connection is made anew so long before the end of its client certificate, if there is a newer one: half a day
/// allows for a clock that is some hours off, and for a newer one that comes late.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(12);

/// Of a certificate that is valid for less than some days, this part of its time.
const RENEW_PART: i32 = 4;

/// Longest time between two looks at a client certificate. A look reads two small files.
const LOOK: Duration = Duration::from_secs(3600);

/// Shortest time between two looks.
const SHORTEST_LOOK: Duration = Duration::from_secs(1);

/// Looks between the time from which a connection is made anew and the end of its certificate.
const LOOKS: u32 = 8;

/// How often the log is told of a client certificate that ends soon: somebody who reads it once a day sees it.
const TOLD: Duration = Duration::from_secs(24 * 3600);

/// What a request does not reach, and how to reach it.
const BEYOND: &str = "systemd passes a new credential at a reload only with RefreshOnReload=credentials (version 260 or \
                      later), else at systemctl restart nixfleet-agent; the settings file is read at a start only";

/// Longest text about a file that cannot be read, in characters.
const REASON: usize = 500;

/// What proves now who this is.
#[derive(Debug, Clone)]
struct Look {
    /// How often somebody asked for it so far.
    asked: u64,
    /// It, or why it cannot be read.
    identity: Result<Identity, String>,
}

impl Default for Look {
    fn default() -> Self {
        Self { asked: 0, identity: Ok(Identity::default()) }
    }
}

/// What a connection has to do because of a look.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing.
    Stay,
    /// End, so that another one is made with what is new.
    Renew,
}

/// What the agent knows of what proves who this is.
#[derive(Debug, Default)]
pub struct Rotation {
    looks: Option<watch::Receiver<Look>>,
    /// How many of the requests were answered.
    answered: u64,
    /// What the connection was made with.
    proven: Identity,
}

impl Rotation {
    /// Starts the task that reads anew when `asks` says so.
    pub fn start(connection: Connection, asks: mpsc::Receiver<()>) -> Self {
        let (sender, looks) = watch::channel(Look::default());
        tokio::spawn(look_again_and_again(connection, asks, sender));
        Self { looks: Some(looks), ..Self::default() }
    }

    /// A connection was made with this.
    pub fn connected(&mut self, identity: Identity) {
        self.proven = identity;
    }

    /// The file with the client certificate and its time, as far as they are known.
    pub fn certificate(&self) -> Option<(PathBuf, Validity)> {
        let newest = self.looks.as_ref().and_then(|looks| looks.borrow().identity.clone().ok());
        newest.unwrap_or_default().certificate.or_else(|| self.proven.certificate.clone())
    }

    /// Waits for another look. Cancel-safe.
    pub async fn looked(&mut self) {
        if let Some(looks) = &mut self.looks
            && looks.changed().await.is_ok()
        {
            return;
        }
        pending().await
    }

    /// Waits until somebody has asked and was not answered yet. Cancel-safe.
    pub fn asked(&self) -> impl Future<Output = ()> + 'static {
        let (looks, answered) = (self.looks.clone(), self.answered);
        async move {
            let Some(mut looks) = looks else { return pending().await };
            if looks.wait_for(|look| look.asked > answered).await.is_err() {
                pending().await
            }
        }
    }

    /// Answers a request while there is no connection: the next attempt, after this time, reads everything anew.
    pub fn answer_without_connection(&mut self, retry_in: Duration) {
        if let Some(looks) = &mut self.looks {
            self.answered = looks.borrow_and_update().asked;
            tracing::info!(
                ?retry_in,
                "Asked to read the token and the certificates anew, which each attempt to connect does. Note: {BEYOND}."
            );
        }
    }

    /// Judges the newest look, for a connection.
    pub fn verdict(&mut self) -> Verdict {
        let Some(looks) = &mut self.looks else { return Verdict::Stay };
        let Look { asked, identity } = looks.borrow_and_update().clone();
        let is_asked = asked > self.answered;
        self.answered = asked;
        let newest = match identity {
            Ok(newest) => newest,
            Err(why) => {
                if is_asked {
                    tracing::warn!(
                        "Asked to read the token and the certificates anew: {why}. The connection stays."
                    );
                }
                return Verdict::Stay;
            }
        };
        let changes = self.proven.changes(&newest).join(" and ");
        if is_asked && changes.is_empty() {
            tracing::info!(
                "Asked to read the token and the certificates anew: nothing has changed, and the connection stays. \
                 Note: {BEYOND}."
            );
            return Verdict::Stay;
        }
        if is_asked {
            tracing::info!(
                "Asked to read the token and the certificates anew: new {changes}; connecting anew."
            );
            return Verdict::Renew;
        }
        if ends_too_soon(&self.proven, &newest, Timestamp::now()) {
            tracing::info!(
                "The client certificate of this connection ends soon; connecting anew with the new one."
            );
            return Verdict::Renew;
        }
        Verdict::Stay
    }
}

/// Whether the certificate of a connection is near its end, and there is one that is valid for longer.
fn ends_too_soon(proven: &Identity, newest: &Identity, now: Timestamp) -> bool {
    let (Some((_, old)), Some((_, new))) = (&proven.certificate, &newest.certificate) else { return false };
    now >= renew_from(*old) && new.not_after > old.not_after && new.not_before <= now
}

/// From when on a connection with this certificate is made anew.
fn renew_from(validity: Validity) -> Timestamp {
    let Validity { not_before, not_after } = validity;
    let part = not_after.duration_since(not_before) / RENEW_PART;
    not_after.checked_sub(RENEW_BEFORE.min(part)).unwrap_or(not_after)
}

/// When to look at the certificate again.
fn next_look(validity: Validity, now: Timestamp) -> Duration {
    let from = renew_from(validity);
    let wait = match now < from {
        true => from.duration_since(now),
        false => validity.not_after.duration_since(from) / i32::try_from(LOOKS).unwrap_or(1),
    };
    Duration::try_from(wait).unwrap_or_default().clamp(SHORTEST_LOOK, LOOK)
}

async fn look_again_and_again(
    connection: Connection,
    mut asks: mpsc::Receiver<()>,
    sender: watch::Sender<Look>,
) {
    let mut asked = 0;
    let mut told: Option<Instant> = None;
    // Without a client certificate nothing has an end.
    let mut is_due = connection.client_certificate.is_some();
    loop {
        let mut wait = connection.client_certificate.as_ref().map(|_| LOOK);
        if is_due {
            let identity = dial::identity(&connection).await;
            let identity = identity.map_err(|err| one_line(&error::chain(&err), REASON));
            let certificate = identity.as_ref().ok().and_then(|identity| identity.certificate.clone());
            if let Some((path, validity)) = certificate {
                let now = Timestamp::now();
                wait = Some(next_look(validity, now));
                tell(Remark::of(&path, validity, now), &mut told);
            }
            sender.send_replace(Look { asked, identity });
        }
        tokio::select! {
            ask = asks.recv() => match ask {
                Some(()) => asked += 1,
                None => return,
            },
            () = async { match wait { Some(wait) => sleep(wait).await, None => pending().await } } => {}
            () = sender.closed() => return,
        }
        is_due = true;
    }
}

/// Writes what is unusual about the certificate to the log, once a day.
fn tell(remark: Option<Remark>, told: &mut Option<Instant>) {
    let Some(Remark { text, is_error }) = remark else {
        *told = None;
        return;
    };
    if told.is_some_and(|at| at.elapsed() < TOLD) {
        return;
    }
    *told = Some(Instant::now());
    let text = one_line(&text, REASON);
    match is_error {
        true => tracing::error!("Note: {text}."),
        false => tracing::warn!("Note: {text}."),
    }
}

/// Somebody who asks, in tests.
#[cfg(test)]
pub(super) mod told {
    use super::*;

    #[derive(Debug)]
    pub(in crate::link) struct Asker(watch::Sender<Look>);

    impl Asker {
        /// Somebody, and the state of the agent that is asked.
        pub(in crate::link) fn new() -> (Self, Rotation) {
            let (sender, looks) = watch::channel(Look::default());
            (Self(sender), Rotation { looks: Some(looks), ..Rotation::default() })
        }

        pub(in crate::link) fn ask(&self) {
            self.0.send_modify(|look| look.asked += 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn validity(from: &str, to: &str) -> Validity {
        Validity { not_before: from.parse().unwrap(), not_after: to.parse().unwrap() }
    }

    fn of(validity: Validity) -> Identity {
        let mut identity = Identity::default();
        identity.certificate = Some((PathBuf::from("/c.pem"), validity));
        identity
    }

    #[test]
    fn a_connection_is_made_anew_before_the_end_of_its_certificate_if_there_is_a_newer_one() {
        let year = validity("2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z");
        let day = validity("2026-12-31T00:00:00Z", "2027-01-01T00:00:00Z");
        let next = validity("2026-12-01T00:00:00Z", "2028-01-01T00:00:00Z");
        let later = validity("2026-12-31T23:00:00Z", "2028-01-01T00:00:00Z");
        for (old, new, now, renewed) in [
            (year, next, "2026-12-31T11:59:59Z", false),
            (year, next, "2026-12-31T12:00:00Z", true),
            (year, year, "2026-12-31T12:00:00Z", false),
            (year, day, "2027-02-01T00:00:00Z", false),
            (year, next, "2027-02-01T00:00:00Z", true),
            (day, next, "2026-12-31T17:59:59Z", false),
            (day, next, "2026-12-31T18:00:00Z", true),
            (year, later, "2026-12-31T22:59:59Z", false),
            (year, later, "2026-12-31T23:00:00Z", true),
        ] {
            assert_eq!(ends_too_soon(&of(old), &of(new), now.parse().unwrap()), renewed, "{old:?} {now}");
        }
        assert!(!ends_too_soon(&Identity::default(), &of(next), Timestamp::now()));
        assert!(!ends_too_soon(&of(year), &Identity::default(), "2027-01-01T00:00:00Z".parse().unwrap()));
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
            assert_eq!(next_look(validity, now.parse().unwrap()).as_secs(), seconds, "{now}");
        }
    }
}
