//! What a connection is made with (token, certificates, login for the proxy) is replaced while the agent runs.
//!
//! A task reads it anew when somebody asks (SIGHUP, `systemctl reload`), and from time to time before the end of the
//! client certificate. The agent compares the newest look with what its connection was made with. What is new was tried
//! out by then: a connection that works is not given up for a file that is wrong.

use std::future::pending;
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{mpsc, watch};

use nixfleet_config::Connection;
use nixfleet_os::certificate::Validity;

use crate::dial::Identity;

mod look;

/// A connection is made anew so long before the end of its client certificate, if there is a newer one: half a day
/// allows for a clock that is some hours off, and for a newer one that comes late.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(12);

/// Of a certificate that is valid for less than some days, this part of its time.
const RENEW_PART: i32 = 4;

/// What a request does not reach, and how to reach it.
const BEYOND: &str = "systemd passes a new credential at a reload only with RefreshOnReload=credentials (version 260 or \
                      later), else at systemctl restart nixfleet-agent; the settings file is read at a start only";

/// What proves now who this is.
#[derive(Debug, Clone)]
struct Look {
    /// How often somebody asked for it so far.
    asked: u64,
    /// It, or why it cannot be read or leads to no connection.
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
    /// What the connection was made with; none without one.
    proven: watch::Sender<Option<Identity>>,
}

impl Rotation {
    /// Starts the task that reads anew when `asks` says so.
    pub fn start(connection: Connection, asks: mpsc::Receiver<()>) -> Self {
        let (sender, looks) = watch::channel(Look::default());
        let rotation = Self { looks: Some(looks), ..Self::default() };
        tokio::spawn(look::again_and_again(connection, asks, rotation.proven.subscribe(), sender));
        rotation
    }

    /// A connection was made with this, or there is none any more.
    pub fn connected(&mut self, identity: Option<Identity>) {
        self.proven.send_replace(identity);
    }

    /// The file with the client certificate and its time, as far as they are known.
    pub fn certificate(&self) -> Option<(PathBuf, Validity)> {
        let newest = self.looks.as_ref().and_then(|looks| looks.borrow().identity.clone().ok());
        let proven = || self.proven.borrow().as_ref().and_then(|proven| proven.certificate.clone());
        newest.unwrap_or_default().certificate.or_else(proven)
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
        let proven = self.proven.borrow().clone().unwrap_or_default();
        let changes = proven.changes(&newest).join(" and ");
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
        if ends_too_soon(&proven, &newest, Timestamp::now()) {
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

        /// Somebody replaces a secret, and asks.
        pub(in crate::link) fn replace(&self, name: &'static str) {
            self.0.send_modify(|look| {
                look.asked += 1;
                look.identity = Ok(Identity::of(name, "another"));
            });
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
}
